#include "contract/spec_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#include "base/banned.h"

void spec_enter_key(struct spec_reader *reader, const char *key)
{
    if (reader->depth < SPEC_PATH_LIMIT)
        reader->path[reader->depth] = (struct spec_step){.key = key};
    reader->depth++;
}

void spec_enter_index(struct spec_reader *reader, size_t index)
{
    if (reader->depth < SPEC_PATH_LIMIT)
        reader->path[reader->depth] = (struct spec_step){.index = index};
    reader->depth++;
}

void spec_leave(struct spec_reader *reader)
{
    reader->depth--;
}

/* RFC 6901: "~" is ~0 and "/" is ~1. */
static void append_key(struct cyx_buf *pointer, const char *key)
{
    for (; *key; key++) {
        if (*key == '~')
            cyx_buf_puts(pointer, "~0");
        else if (*key == '/')
            cyx_buf_puts(pointer, "~1");
        else
            cyx_buf_append(pointer, key, 1);
    }
}

static void make_pointer(const struct spec_reader *reader, struct cyx_buf *pointer)
{
    for (int i = 0; i < reader->depth && i < SPEC_PATH_LIMIT; i++) {
        cyx_buf_puts(pointer, "/");
        if (reader->path[i].key)
            append_key(pointer, reader->path[i].key);
        else
            cyx_buf_printf(pointer, "%zu", reader->path[i].index);
    }
}

static enum cyx_status fail(struct spec_reader *reader, const char *format, va_list args)
{
    char message[sizeof(reader->error->message)];
    vsnprintf(message, sizeof(message), format, args);
    CYX_CLEANUP_BUF struct cyx_buf pointer = {0};
    make_pointer(reader, &pointer);
    /* A key longer than the error's room is cut before it, so that the pointer still points
     * somewhere. */
    if (pointer.length >= sizeof(reader->error->pointer) && reader->depth > 0) {
        reader->depth--;
        cyx_buf_clear(&pointer);
        make_pointer(reader, &pointer);
        reader->depth++;
    }
    return cyx_error_set(reader->error, CYX_ERR_INVALID, pointer.data, "%s", message);
}

enum cyx_status spec_fail(struct spec_reader *reader, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum cyx_status status = fail(reader, format, args);
    va_end(args);
    return status;
}

enum cyx_status spec_fail_at(struct spec_reader *reader, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    spec_enter_key(reader, key);
    enum cyx_status status = fail(reader, format, args);
    spec_leave(reader);
    va_end(args);
    return status;
}

enum cyx_status spec_no_memory(struct spec_reader *reader)
{
    return cyx_error_set(reader->error, CYX_ERR_NO_MEMORY, NULL,
                         "memory ran out while reading the job spec");
}

/* "between 1 and 10", "above 0", "at least 1": the field's range. */
static const char *range_text(const struct spec_field *field, char text[SPEC_QUOTE_BYTES])
{
    if (field->above_min || field->below_max)
        snprintf(text, SPEC_QUOTE_BYTES, "%s %.16g and %s %.16g",
                 field->above_min ? "above" : "at least", field->min,
                 field->below_max ? "below" : "at most", field->max);
    else
        snprintf(text, SPEC_QUOTE_BYTES, "between %.16g and %.16g", field->min, field->max);
    return text;
}

static bool in_range(const struct spec_field *field, double number)
{
    return isfinite(number) && (field->above_min ? number > field->min : number >= field->min) &&
           (field->below_max ? number < field->max : number <= field->max);
}

static enum cyx_status wrong_number(struct spec_reader *reader, const struct spec_field *field,
                                    const char *what, const json_t *value)
{
    char range[SPEC_QUOTE_BYTES], got[SPEC_QUOTE_BYTES];
    return spec_fail(reader, "expected %s %s, got %s", what, range_text(field, range),
                     spec_describe(value, got));
}

enum cyx_status spec_read_number(struct spec_reader *reader, const struct spec_field *field,
                                 const json_t *value, double *ret_number)
{
    if (!json_is_number(value) || !in_range(field, json_number_value(value)))
        return wrong_number(reader, field, "a number", value);
    *ret_number = json_number_value(value);
    return CYX_OK;
}

enum cyx_status spec_read_integer(struct spec_reader *reader, const struct spec_field *field,
                                  const json_t *value, int64_t *ret_number)
{
    /* 3.0 is an integer in JSON Schema, and so here. */
    double number = json_number_value(value);
    if (!json_is_number(value) || !in_range(field, number) || number != floor(number))
        return wrong_number(reader, field, "an integer", value);
    *ret_number = (int64_t)number;
    return CYX_OK;
}

enum cyx_status spec_read_pair(struct spec_reader *reader, const struct spec_field *field,
                               json_t *value, int64_t ret_pair[2])
{
    if (json_is_number(value)) {
        enum cyx_status status = spec_read_integer(reader, field, value, &ret_pair[0]);
        ret_pair[1] = ret_pair[0];
        return status;
    }
    char got[SPEC_QUOTE_BYTES];
    if (!json_is_array(value) || json_array_size(value) != 2)
        return spec_fail(reader, "expected a number or a pair [height, width], got %s",
                         spec_describe(value, got));
    for (size_t i = 0; i < 2; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            spec_read_integer(reader, field, json_array_get(value, i), &ret_pair[i]);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

enum cyx_status spec_read_string(struct spec_reader *reader, const json_t *value,
                                 const char **ret_text)
{
    char got[SPEC_QUOTE_BYTES];
    if (!json_is_string(value))
        return spec_fail(reader, "expected a text, got %s", spec_describe(value, got));
    *ret_text = cyx_arena_strdup(reader->arena, json_string_value(value));
    return *ret_text ? CYX_OK : spec_no_memory(reader);
}

/* One of `names`, or a sentence that lists them. */
static enum cyx_status read_name(struct spec_reader *reader, const json_t *value, const char *what,
                                 const char *const *names, size_t n_names, size_t *ret_index)
{
    const char *text = json_string_value(value);
    for (size_t i = 0; text && i < n_names; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret_index = i;
            return CYX_OK;
        }
    }
    CYX_CLEANUP_BUF struct cyx_buf list = {0};
    for (size_t i = 0; i < n_names; i++)
        cyx_buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    if (list.failed)
        return spec_no_memory(reader);
    char got[SPEC_QUOTE_BYTES];
    const char *nearest = text ? spec_nearest(text, names, n_names) : NULL;
    if (nearest)
        return spec_fail(reader, "unknown %s %s: did you mean \"%s\"? Known: %s", what,
                         spec_describe(value, got), nearest, list.data);
    return spec_fail(reader, "expected one of %s; got %s", list.data, spec_describe(value, got));
}

static enum cyx_status read_choice(struct spec_reader *reader, const struct spec_field *field,
                                   const json_t *value, void *place)
{
    size_t n = 0, index = (size_t)field->fallback;
    while (field->choices[n])
        n++;
    if (value) {
        enum cyx_status status = read_name(reader, value, field->key, field->choices, n, &index);
        if (status != CYX_OK)
            return status;
    }
    if (field->kind == SPEC_CHOICE)
        *(int *)place = (int)index;
    else if (field->kind == SPEC_CHOICE_BOOL)
        *(bool *)place = index == 1;
    else
        *(const char **)place = field->choices[index];
    reader->drop = index == (size_t)field->fallback;
    return CYX_OK;
}

static enum cyx_status read_boolean(struct spec_reader *reader, const struct spec_field *field,
                                    const json_t *value, bool *place)
{
    char got[SPEC_QUOTE_BYTES];
    if (value && !json_is_boolean(value))
        return spec_fail(reader, "expected true or false, got %s", spec_describe(value, got));
    *place = value ? json_is_true(value) : field->fallback != 0;
    reader->drop = *place == (field->fallback != 0);
    return CYX_OK;
}

static enum cyx_status read_integer_field(struct spec_reader *reader,
                                          const struct spec_field *field, const json_t *value,
                                          int64_t *place)
{
    *place = (int64_t)field->fallback;
    enum cyx_status status = value ? spec_read_integer(reader, field, value, place) : CYX_OK;
    reader->drop = *place == (int64_t)field->fallback;
    reader->replacement = json_integer(*place);
    return status;
}

static enum cyx_status read_number_field(struct spec_reader *reader, const struct spec_field *field,
                                         const json_t *value, double *place)
{
    *place = field->fallback;
    enum cyx_status status = value ? spec_read_number(reader, field, value, place) : CYX_OK;
    reader->drop = *place == field->fallback;
    return status;
}

static enum cyx_status read_pair_field(struct spec_reader *reader, const struct spec_field *field,
                                       json_t *value, int64_t *place)
{
    place[0] = place[1] = (int64_t)field->fallback;
    enum cyx_status status = value ? spec_read_pair(reader, field, value, place) : CYX_OK;
    reader->drop = place[0] == (int64_t)field->fallback && place[1] == place[0];
    reader->replacement = place[0] == place[1]
                              ? json_integer(place[0])
                              : json_pack("[I,I]", (json_int_t)place[0], (json_int_t)place[1]);
    return status;
}

/* An absent object is an empty one: all its defaults. */
static enum cyx_status read_object_field(struct spec_reader *reader, const struct spec_field *field,
                                         json_t *value, void *place)
{
    json_t *object = value ? json_incref(value) : json_object();
    if (!object)
        return spec_no_memory(reader);
    enum cyx_status status = spec_read_object(reader, object, field->object, place);
    reader->drop = status == CYX_OK && json_object_size(object) == 0;
    json_decref(object);
    return status;
}

static enum cyx_status read_field(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    void *place = (char *)target + field->offset;
    switch (field->kind) {
    case SPEC_TAG:
        return CYX_OK;
    case SPEC_IGNORED:
        reader->drop = true;
        return CYX_OK;
    case SPEC_INTEGER:
        return read_integer_field(reader, field, value, place);
    case SPEC_NUMBER:
        return read_number_field(reader, field, value, place);
    case SPEC_BOOLEAN:
        return read_boolean(reader, field, value, place);
    case SPEC_CHOICE:
    case SPEC_CHOICE_TEXT:
    case SPEC_CHOICE_BOOL:
        return read_choice(reader, field, value, place);
    case SPEC_PAIR:
        return read_pair_field(reader, field, value, place);
    case SPEC_OBJECT:
        return read_object_field(reader, field, value, place);
    case SPEC_UNION:
        return value ? spec_read_union(reader, value, field->set, place) : CYX_OK;
    case SPEC_UNION_LIST:
    case SPEC_CUSTOM:
        return field->read(reader, field, value, target);
    }
    return cyx_error_set(reader->error, CYX_ERR_INTERNAL, NULL, "a member of no known kind");
}

/* Puts the member into its canonical form, as its reader has left it. */
static enum cyx_status settle(struct spec_reader *reader, const struct spec_field *field,
                              json_t *object)
{
    json_t *replacement = reader->replacement;
    reader->replacement = NULL;
    if (reader->drop && !field->required) {
        json_object_del(object, field->key);
    } else if (replacement && json_object_get(object, field->key)) {
        if (json_object_set(object, field->key, replacement) != 0) {
            json_decref(replacement);
            return spec_no_memory(reader);
        }
    }
    json_decref(replacement);
    return CYX_OK;
}

static enum cyx_status read_fields(struct spec_reader *reader, json_t *json, const char *what,
                                   const struct spec_field *fields, size_t n_fields, void *target)
{
    for (size_t i = 0; i < n_fields; i++) {
        const struct spec_field *field = &fields[i];
        json_t *value = json_object_get(json, field->key);
        if (!value && field->required)
            return spec_fail(reader, "%s needs the member \"%s\": %s", what, field->key,
                             field->help);
        spec_enter_key(reader, field->key);
        reader->drop = false;
        enum cyx_status status = read_field(reader, field, value, target);
        if (field->kind == SPEC_UNION)
            reader->drop = false;
        spec_leave(reader);
        if (status != CYX_OK) {
            json_decref(reader->replacement);
            reader->replacement = NULL;
            return status;
        }
        status = settle(reader, field, json);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

enum { KEYS_LIMIT = 64 };

struct key_list {
    const char *keys[KEYS_LIMIT];
    size_t n;
};

static void list_keys(struct key_list *list, const struct spec_field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields && list->n < KEYS_LIMIT; i++)
        list->keys[list->n++] = fields[i].key;
}

static bool has_key(const struct key_list *list, const char *key)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->keys[i], key) == 0)
            return true;
    return false;
}

static enum cyx_status unknown_key(struct spec_reader *reader, const char *what,
                                   const struct key_list *list, const char *key)
{
    CYX_CLEANUP_BUF struct cyx_buf known = {0};
    for (size_t i = 0; i < list->n; i++)
        cyx_buf_printf(&known, "%s%s", i ? ", " : "", list->keys[i]);
    if (known.failed)
        return spec_no_memory(reader);
    char quoted[SPEC_QUOTE_BYTES];
    spec_quote(key, quoted);
    const char *nearest = spec_nearest(key, list->keys, list->n);
    if (nearest)
        return spec_fail_at(reader, key, "%s has no member %s: did you mean \"%s\"? Known: %s",
                            what, quoted, nearest, known.data);
    return spec_fail_at(reader, key, "%s has no member %s; known: %s", what, quoted, known.data);
}

static enum cyx_status check_keys(struct spec_reader *reader, json_t *json, const char *what,
                                  const struct key_list *list)
{
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        if (!has_key(list, key))
            return unknown_key(reader, what, list, key);
    }
    return CYX_OK;
}

static enum cyx_status expect_object(struct spec_reader *reader, const json_t *json,
                                     const char *what)
{
    char got[SPEC_QUOTE_BYTES];
    if (json_is_object(json))
        return CYX_OK;
    return spec_fail(reader, "expected an object (%s), got %s", what, spec_describe(json, got));
}

enum cyx_status spec_read_object(struct spec_reader *reader, json_t *json,
                                 const struct spec_object *object, void *target)
{
    enum cyx_status status = expect_object(reader, json, object->what);
    if (status != CYX_OK)
        return status;
    struct key_list list = {0};
    list_keys(&list, object->fields, object->n_fields);
    status = check_keys(reader, json, object->what, &list);
    if (status == CYX_OK)
        status = read_fields(reader, json, object->what, object->fields, object->n_fields, target);
    if (status == CYX_OK && object->check)
        status = object->check(reader, json, target);
    return status;
}

const char *spec_tag(const struct spec_union *set)
{
    return set->tag ? set->tag : "type";
}

static enum cyx_status choose(struct spec_reader *reader, json_t *json,
                              const struct spec_union *set, size_t *ret_variant)
{
    const char *names[KEYS_LIMIT] = {0};
    size_t n = 0;
    for (; n < set->n_variants && n < KEYS_LIMIT; n++)
        names[n] = set->variants[n].what;
    const json_t *type = json_object_get(json, spec_tag(set));
    if (!type)
        return spec_fail(reader, "expected a member \"%s\" that names the %s, such as \"%s\"",
                         spec_tag(set), set->what, names[0]);
    spec_enter_key(reader, spec_tag(set));
    enum cyx_status status = read_name(reader, type, set->what, names, n, ret_variant);
    spec_leave(reader);
    return status;
}

enum cyx_status spec_read_union(struct spec_reader *reader, json_t *json,
                                const struct spec_union *set, void *target)
{
    size_t variant = 0;
    enum cyx_status status = expect_object(reader, json, set->what);
    if (status == CYX_OK)
        status = choose(reader, json, set, &variant);
    if (status != CYX_OK)
        return status;
    *(int *)target = set->first_value + (int)variant;

    const struct spec_object *object = &set->variants[variant];
    struct key_list list = {0};
    list_keys(&list, set->common, set->n_common);
    list_keys(&list, object->fields, object->n_fields);
    status = check_keys(reader, json, object->what, &list);
    if (status == CYX_OK)
        status = read_fields(reader, json, object->what, set->common, set->n_common, target);
    if (status == CYX_OK)
        status = read_fields(reader, json, object->what, object->fields, object->n_fields, target);
    if (status == CYX_OK && object->check)
        status = object->check(reader, json, target);
    return status;
}
