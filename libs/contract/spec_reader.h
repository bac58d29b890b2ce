/*
 * Private to libs/contract: reads JSON objects into structs by tables. A table row says a member's
 * key, kind, range, default and place in the struct, so that a new layer or option is a row and
 * nothing else; the JSON Schema (job_schema.c) is written from the same rows.
 *
 * The reader keeps the path to where it stands, so that every error carries its exact JSON Pointer.
 * What it has read it puts into its shortest form in place (defaults dropped, equal pairs as one
 * number): that is the canonical spec. Ownership: memory comes from the reader's arena. One thread
 * at a time.
 */
#ifndef CYX_CONTRACT_SPEC_READER_H
#define CYX_CONTRACT_SPEC_READER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

enum { SPEC_PATH_LIMIT = 16, SPEC_QUOTE_BYTES = 96 };

/* The largest integer that every JSON reader keeps exact (RFC 7493): 2^53 - 1. */
#define SPEC_INTEGER_MAX 9007199254740991.0

struct spec_step {
    const char *key; /* NULL: `index` */
    size_t index;
};

struct spec_reader {
    struct cyx_arena *arena;
    struct cyx_error *error;
    struct spec_step path[SPEC_PATH_LIMIT];
    int depth;
    /* Set by a row's reader for its canonical form: leave the member out, or put another in its
     * place. */
    bool drop;
    json_t *replacement;
};

enum spec_kind {
    SPEC_TAG,         /* the member that chose this table; read by who chose */
    SPEC_IGNORED,     /* accepted, not read, not in the canonical form ("$schema") */
    SPEC_INTEGER,     /* int64_t */
    SPEC_NUMBER,      /* double */
    SPEC_BOOLEAN,     /* bool */
    SPEC_CHOICE,      /* int-sized enum: index in `choices` */
    SPEC_CHOICE_TEXT, /* const char *: one of `choices` */
    SPEC_CHOICE_BOOL, /* bool: the second of two `choices` */
    SPEC_PAIR,        /* int64_t[2]: (height, width); one number sets both */
    SPEC_OBJECT,      /* `object`, read into the struct that lies at offset */
    SPEC_UNION, /* `set`, read into the struct at offset, whose first member is the type's enum */
    SPEC_UNION_LIST, /* a list of `set`, by `read` */
    SPEC_CUSTOM,     /* by `read` */
};

struct spec_field;
struct spec_object;
struct spec_union;

/* Reads `value` (NULL: absent, set the default) into the whole struct `target`. */
typedef enum cyx_status spec_read_fn(struct spec_reader *reader, const struct spec_field *field,
                                     json_t *value, void *target);

struct spec_field {
    const char *key;
    enum spec_kind kind;
    bool required;
    bool above_min, below_max; /* the bound itself is not allowed */
    size_t offset;
    double min, max;            /* INTEGER, NUMBER, PAIR */
    double fallback;            /* default; index for choices, 0 or 1 for BOOLEAN */
    const char *const *choices; /* ends with NULL */
    const struct spec_object *object;
    const struct spec_union *set;
    size_t items_min, items_max; /* UNION_LIST */
    spec_read_fn *read;
    const char *help;   /* one sentence, for the schema */
    const char *schema; /* TAG, IGNORED, CUSTOM: what the schema says of it, a JSON object */
};

/* An object's table; `check` judges the members together once all are read. */
struct spec_object {
    const char *what; /* "Conv2d", "the job", for sentences */
    const struct spec_field *fields;
    size_t n_fields;
    enum cyx_status (*check)(struct spec_reader *reader, json_t *object, void *target);
    const char *help;
};

/*
 * One of several objects, chosen by the member `tag`. The target's first member is an enum, which
 * becomes `first_value` plus the variant's index.
 */
struct spec_union {
    const char *what; /* "layer type" */
    const char *tag;  /* NULL: "type" */
    int first_value;
    const struct spec_object *variants;
    size_t n_variants;
    const struct spec_field *common; /* members that every variant has besides its own */
    size_t n_common;
};

/* The member that chooses. */
const char *spec_tag(const struct spec_union *set);

#define SPEC_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Steps into a member or an element, and out again. */
void spec_enter_key(struct spec_reader *reader, const char *key);
void spec_enter_index(struct spec_reader *reader, size_t index);
void spec_leave(struct spec_reader *reader);

/* Fails at the place where the reader stands. */
enum cyx_status spec_fail(struct spec_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Fails at member `key` of the object where the reader stands. */
enum cyx_status spec_fail_at(struct spec_reader *reader, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum cyx_status spec_no_memory(struct spec_reader *reader);

/* Fills `target` from `json` by the table; refuses unknown members and what is not an object. */
enum cyx_status spec_read_object(struct spec_reader *reader, json_t *json,
                                 const struct spec_object *object, void *target);

/* Chooses the variant by its tag, then reads the common and the variant's own members into `target`.
 */
enum cyx_status spec_read_union(struct spec_reader *reader, json_t *json,
                                const struct spec_union *set, void *target);

/* Checks a number's type and range; the field's default is not applied. */
enum cyx_status spec_read_number(struct spec_reader *reader, const struct spec_field *field,
                                 const json_t *value, double *ret_number);
enum cyx_status spec_read_integer(struct spec_reader *reader, const struct spec_field *field,
                                  const json_t *value, int64_t *ret_number);
enum cyx_status spec_read_pair(struct spec_reader *reader, const struct spec_field *field,
                               json_t *value, int64_t ret_pair[2]);
enum cyx_status spec_read_string(struct spec_reader *reader, const json_t *value,
                                 const char **ret_text);

/* "got 3", "got a text": what stands there, for sentences. */
const char *spec_describe(const json_t *value, char ret_text[SPEC_QUOTE_BYTES]);

/* `text` in double quotes, cut and with unprintable characters replaced. */
const char *spec_quote(const char *text, char ret_text[SPEC_QUOTE_BYTES]);

/* The name nearest to `text` when one is close enough to be meant, NULL otherwise. */
const char *spec_nearest(const char *text, const char *const *names, size_t n_names);

#endif
