/*
 * CSV files by libcsv: a row a sample, every column but the targets and the ignored ones a number. Rows with a hole,
 * a text where a number belongs, or another count of columns are left out, named by their line, and counted.
 */
#include <csv.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/data/private.h"

#include "base/banned.h"

enum {
    FIELD_LIMIT_BYTES = 1024 * 1024,
    ROW_LIMIT_BYTES = 64 * 1024 * 1024,
    COLUMNS_LIMIT = 65536,
    CLASSES_LIMIT = 65536,
    CHUNK_BYTES = 64 * 1024,
};

enum role { ROLE_INPUT, ROLE_TARGET, ROLE_IGNORED };

/* Texts of the target column in the order in which they came, and a hash table over them. */
struct classes {
    char **text;
    size_t n;
    uint32_t *bucket; /* index + 1, 0: free */
    size_t n_buckets;
};

struct numbers {
    float *data;
    size_t n, room;
};

/* One file on its way in. */
struct reading {
    struct cyx_data *data;
    const struct cyx_source_spec *source;
    const char *path;
    bool training; /* decides columns and classes; the test part follows */
    bool as_classes;
    locale_t locale;
    /* the row being read */
    struct cyx_buf text;
    size_t *begin; /* of each column in text */
    size_t n_columns, room;
    int64_t line;
    bool header_seen;
    /* what columns are */
    uint8_t *role;
    size_t *order; /* of a target column: which number it is; of an input: which feature */
    size_t n_roles;
    char **input_names; /* the training part's, in order; NULL without a header */
    size_t n_inputs;
    /* what was read */
    struct classes *classes;
    struct numbers inputs, targets;
    float *row_inputs, *row_targets;
    int64_t n_rows;
    enum cyx_status status;
    struct cyx_error *error;
};

static void no_memory(struct reading *r)
{
    r->status = data_no_memory(r->path, r->error);
}

static const char *column(const struct reading *r, size_t i)
{
    return r->text.data + r->begin[i];
}

/* ---- classes ---- */

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}

static bool classes_grow(struct classes *self)
{
    size_t n_buckets = self->n_buckets ? 4 * self->n_buckets : 1024;
    uint32_t *bucket = calloc(n_buckets, sizeof(*bucket));
    char **text = realloc(self->text, n_buckets / 2 * sizeof(*text));
    self->text = text ? text : self->text;
    if (!bucket || !text) {
        free(bucket);
        return false;
    }
    for (size_t i = 0; i < self->n; i++) {
        size_t at = hash_text(self->text[i]) % n_buckets;
        while (bucket[at])
            at = (at + 1) % n_buckets;
        bucket[at] = (uint32_t)i + 1;
    }
    free(self->bucket);
    self->bucket = bucket;
    self->n_buckets = n_buckets;
    return true;
}

/* The text's index, -1 when it is not there; `add` puts it there, and -2 is no memory. */
static int64_t classes_find(struct classes *self, const char *text, bool add)
{
    if ((!self->bucket || 2 * (self->n + 1) > self->n_buckets) && !classes_grow(self))
        return -2;
    size_t at = hash_text(text) % self->n_buckets;
    for (; self->bucket[at]; at = (at + 1) % self->n_buckets)
        if (strcmp(self->text[self->bucket[at] - 1], text) == 0)
            return self->bucket[at] - 1;
    if (!add)
        return -1;
    self->text[self->n] = strdup(text);
    if (!self->text[self->n])
        return -2;
    self->bucket[at] = (uint32_t)++self->n;
    return (int64_t)self->n - 1;
}

static void classes_finish(struct classes *self)
{
    for (size_t i = 0; i < self->n; i++)
        free(self->text[i]);
    free(self->text);
    free(self->bucket);
    *self = (struct classes){0};
}

static bool whole_number(const char *text, long long *ret_number)
{
    char *end = NULL;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return end != text && !*end && errno == 0;
}

/* Numbers by their value and before texts, texts by their bytes. */
static int compare_classes(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    long long i = 0, j = 0;
    bool first = whole_number(x, &i), second = whole_number(y, &j);
    if (first != second)
        return first ? -1 : 1;
    return first && i != j ? (i < j ? -1 : 1) : strcmp(x, y);
}

/* ---- columns ---- */

static enum cyx_status no_column(struct reading *r, const struct cyx_column_spec *wanted,
                                 const char *key)
{
    char pointer[48], names[NAMES_BYTES] = "";
    size_t used = 0;
    snprintf(pointer, sizeof(pointer), "/data/dataset/%s", key);
    if (wanted->name && !r->source->header)
        return cyx_error_set(r->error, CYX_ERR_INVALID, pointer,
                             "%s has no header, so its columns have no names: give an index "
                             "instead of \"%.60s\"",
                             r->path, wanted->name);
    for (size_t i = 0; wanted->name && i < r->n_columns && used + 1 < sizeof(names); i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.60s", i ? ", " : "",
                                 column(r, i));
    if (wanted->name)
        return cyx_error_set(r->error, CYX_ERR_INVALID, pointer,
                             "%s has no column \"%.60s\"; it has: %s", r->path, wanted->name,
                             names);
    return cyx_error_set(r->error, CYX_ERR_INVALID, pointer,
                         "%s has %zu columns, so there is none with index %lld", r->path,
                         r->n_columns, (long long)wanted->index);
}

static bool find_column(const struct reading *r, const struct cyx_column_spec *wanted,
                        size_t *ret_index)
{
    if (!wanted->name) {
        *ret_index = (size_t)wanted->index;
        return wanted->index < (int64_t)r->n_columns;
    }
    for (size_t i = 0; r->source->header && i < r->n_columns; i++) {
        if (strcmp(column(r, i), wanted->name) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static enum cyx_status mark(struct reading *r, const struct cyx_column_spec *columns, size_t n,
                            enum role role, const char *key)
{
    for (size_t i = 0; i < n; i++) {
        size_t index;
        if (!find_column(r, &columns[i], &index))
            return no_column(r, &columns[i], key);
        r->role[index] = (uint8_t)role;
        r->order[index] = i;
    }
    return CYX_OK;
}

/* The training part's inputs are features in the order of its columns; the test part's by the same names. */
static enum cyx_status order_inputs(struct reading *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_columns; i++) {
        if (r->role[i] != ROLE_INPUT)
            continue;
        size_t feature = n++;
        if (!r->training && r->source->header) {
            for (feature = 0; feature < r->n_inputs; feature++)
                if (strcmp(r->input_names[feature], column(r, i)) == 0)
                    break;
            if (feature == r->n_inputs)
                return cyx_error_set(r->error, CYX_ERR_INVALID, "/data/dataset/test",
                                     "%s: the training part has no column \"%.60s\"", r->path,
                                     column(r, i));
        }
        r->order[i] = feature;
    }
    if (r->training)
        r->n_inputs = n;
    if (n == 0 || n != r->n_inputs)
        return cyx_error_set(r->error, CYX_ERR_INVALID, "/data/dataset",
                             "%s has %zu columns for inputs, expected %s", r->path, n,
                             n == 0 ? "one at least" : "as many as the training part");
    return CYX_OK;
}

static enum cyx_status keep_names(struct reading *r)
{
    if (!r->training || !r->source->header)
        return CYX_OK;
    r->input_names = calloc(r->n_inputs, sizeof(*r->input_names));
    if (!r->input_names)
        return data_no_memory(r->path, r->error);
    for (size_t i = 0; i < r->n_columns; i++) {
        if (r->role[i] != ROLE_INPUT)
            continue;
        r->input_names[r->order[i]] = cyx_arena_strdup(&r->data->memory->arena, column(r, i));
        if (!r->input_names[r->order[i]])
            return data_no_memory(r->path, r->error);
    }
    return CYX_OK;
}

/* By the first row, whether it is the header or not. */
static void find_roles(struct reading *r)
{
    const struct cyx_source_spec *source = r->source;
    r->n_roles = r->n_columns;
    r->role = calloc(r->n_columns, sizeof(*r->role));
    r->order = calloc(r->n_columns, sizeof(*r->order));
    r->row_inputs = calloc(r->n_columns, sizeof(float));
    r->row_targets = calloc(source->n_target, sizeof(float));
    if (!r->role || !r->order || !r->row_inputs || !r->row_targets) {
        no_memory(r);
        return;
    }
    r->status = mark(r, source->ignore, source->n_ignore, ROLE_IGNORED, "ignore");
    if (r->status == CYX_OK)
        r->status = mark(r, source->target, source->n_target, ROLE_TARGET, "target");
    if (r->status == CYX_OK)
        r->status = order_inputs(r);
    if (r->status == CYX_OK)
        r->status = keep_names(r);
}

/* ---- rows ---- */

static bool numbers_add(struct numbers *self, const float *from, size_t n)
{
    if (self->n + n > self->room) {
        size_t room = self->room ? 2 * self->room : 65536;
        room = room < self->n + n ? self->n + n : room;
        float *data = realloc(self->data, room * sizeof(*data));
        if (!data)
            return false;
        self->data = data;
        self->room = room;
    }
    memcpy(self->data + self->n, from, n * sizeof(*from));
    self->n += n;
    return true;
}

static void fault(struct reading *r, size_t i, const char *why)
{
    char what[200], sentence[160];
    snprintf(what, sizeof(what), "%.120s, row %lld", r->path, (long long)r->line);
    snprintf(sentence, sizeof(sentence), "column %zu: %s", i, why);
    data_fault(r->data, what, sentence);
}

static bool read_number(const struct reading *r, const char *text, float *ret_number)
{
    char *end = NULL;
    double number = strtod_l(text, &end, r->locale);
    *ret_number = (float)number;
    return end != text && !*end && isfinite(*ret_number);
}

/* A class's index as a float for now: below 65536 it is exact. */
static bool read_class(struct reading *r, const char *text, float *ret_number)
{
    int64_t found = *text ? classes_find(r->classes, text, r->training) : -1;
    if (found == -2)
        no_memory(r);
    if (found >= CLASSES_LIMIT)
        r->status =
            cyx_error_set(r->error, CYX_ERR_INVALID, "/data/dataset/target",
                          "%s: more than %d different values: are they numbers? Then say \"task\": "
                          "\"numbers\"",
                          r->path, CLASSES_LIMIT);
    *ret_number = (float)found;
    return found >= 0;
}

/* Whether the row could be read; names it otherwise. */
static bool read_row(struct reading *r)
{
    if (r->n_columns != r->n_roles) {
        char why[80];
        snprintf(why, sizeof(why), "expected %zu columns, got %zu", r->n_roles, r->n_columns);
        fault(r, r->n_columns, why);
        return false;
    }
    for (size_t i = 0; i < r->n_columns && r->status == CYX_OK; i++) {
        const char *text = column(r, i);
        bool good = true;
        if (r->role[i] == ROLE_INPUT)
            good = read_number(r, text, &r->row_inputs[r->order[i]]);
        else if (r->role[i] == ROLE_TARGET && r->as_classes)
            good = read_class(r, text, &r->row_targets[r->order[i]]);
        else if (r->role[i] == ROLE_TARGET)
            good = read_number(r, text, &r->row_targets[r->order[i]]);
        if (good)
            continue;
        char why[80];
        snprintf(why, sizeof(why), "\"%.20s\" is %s", text,
                 r->role[i] == ROLE_TARGET && r->as_classes ? "no class of the training part"
                                                            : "no number");
        if (!*text)
            snprintf(why, sizeof(why), "it is empty");
        fault(r, i, why);
        return false;
    }
    return r->status == CYX_OK;
}

static void on_field(void *bytes, size_t length, void *context)
{
    struct reading *r = context;
    if (r->status != CYX_OK)
        return;
    if (r->n_columns == COLUMNS_LIMIT || r->text.length + length > ROW_LIMIT_BYTES) {
        r->status = cyx_error_set(r->error, CYX_ERR_TOO_LARGE, "/data/dataset",
                                  "%s: row %lld has more than %d columns or %d bytes", r->path,
                                  (long long)r->line + 1, COLUMNS_LIMIT, ROW_LIMIT_BYTES);
        return;
    }
    if (r->n_columns == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        size_t *begin = realloc(r->begin, room * sizeof(*begin));
        if (!begin) {
            no_memory(r);
            return;
        }
        r->begin = begin;
        r->room = room;
    }
    r->begin[r->n_columns++] = r->text.length;
    cyx_buf_append(&r->text, bytes, length);
    cyx_buf_append(&r->text, "", 1);
    if (r->text.failed)
        no_memory(r);
}

static void on_row(int end, void *context)
{
    struct reading *r = context;
    (void)end;
    r->line++;
    if (r->status == CYX_OK && !r->role)
        find_roles(r);
    if (r->status == CYX_OK && r->source->header && !r->header_seen) {
        r->header_seen = true;
    } else if (r->status == CYX_OK) {
        r->data->memory->n_seen++;
        if (read_row(r)) {
            r->n_rows++;
            if (r->n_rows > CYX_ROWS_LIMIT ||
                !numbers_add(&r->inputs, r->row_inputs, r->n_inputs) ||
                !numbers_add(&r->targets, r->row_targets, r->source->n_target))
                no_memory(r);
        }
    }
    cyx_buf_clear(&r->text);
    r->n_columns = 0;
}

/* libcsv's memory is one field's. */
static void *limited_realloc(void *block, size_t size)
{
    return size > FIELD_LIMIT_BYTES ? NULL : realloc(block, size);
}

static enum cyx_status parse_error(struct reading *r, struct csv_parser *parser)
{
    int code = csv_error(parser);
    if (code == CSV_ENOMEM)
        return cyx_error_set(r->error, CYX_ERR_TOO_LARGE, "/data/dataset",
                             "%s: a field behind row %lld is over %d bytes: is a quote missing?",
                             r->path, (long long)r->line, FIELD_LIMIT_BYTES);
    return cyx_error_set(r->error, CYX_ERR_CORRUPT, "/data/dataset", "%s: behind row %lld: %s",
                         r->path, (long long)r->line, csv_strerror(code));
}

static enum cyx_status parse_file(struct reading *r, FILE *file, struct csv_parser *parser)
{
    char chunk[CHUNK_BYTES];
    bool first = true;
    size_t n;
    while (r->status == CYX_OK && (n = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        size_t skip = first && n >= 3 && memcmp(chunk, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        first = false;
        if (csv_parse(parser, chunk + skip, n - skip, on_field, on_row, r) != n - skip)
            return r->status != CYX_OK ? r->status : parse_error(r, parser);
    }
    if (ferror(file))
        return cyx_error_errno(r->error, "cannot read %s", r->path);
    if (r->status == CYX_OK && csv_fini(parser, on_field, on_row, r) != 0)
        return parse_error(r, parser);
    return r->status;
}

static enum cyx_status read_file(struct reading *r)
{
    struct csv_parser parser;
    FILE *file = fopen(r->path, "rbe");
    if (!file)
        return cyx_error_errno(r->error, "cannot open %s", r->path);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (csv_init(&parser, CSV_APPEND_NULL) == 0) {
        csv_set_delim(&parser, (unsigned char)r->source->delimiter);
        csv_set_realloc_func(&parser, limited_realloc);
        if (r->source->delimiter == '\t') /* otherwise a space, which is trimmed */
            csv_set_space_func(&parser, NULL);
        status = parse_file(r, file, &parser);
        csv_free(&parser);
    } else {
        data_no_memory(r->path, r->error);
    }
    fclose(file);
    return status;
}

/* ---- parts ---- */

/* Sorted, and every label of the training part renamed accordingly. */
static enum cyx_status sort_classes(struct reading *r)
{
    struct classes *classes = r->classes;
    struct cyx_data *data = r->data;
    struct classes ordered = {0};
    char **sorted = data_alloc(data, classes->n ? classes->n : 1, sizeof(*sorted));
    int32_t *rank = calloc(classes->n ? classes->n : 1, sizeof(*rank));
    bool good = sorted && rank;
    for (size_t i = 0; good && i < classes->n; i++)
        good = (sorted[i] = cyx_arena_strdup(&data->memory->arena, classes->text[i])) != NULL;
    if (good && classes->n > 0)
        qsort(sorted, classes->n, sizeof(*sorted), compare_classes);
    for (size_t i = 0; good && i < classes->n; i++) {
        rank[classes_find(classes, sorted[i], false)] = (int32_t)i;
        good = classes_find(&ordered, sorted[i], true) >= 0;
    }
    for (int64_t i = 0; good && i < r->n_rows; i++)
        r->targets.data[i] = (float)rank[(size_t)r->targets.data[i]];
    free(rank);
    classes_finish(classes);
    *classes = ordered; /* for the test part */
    if (!good)
        return data_no_memory(r->path, r->error);
    data->class_names = (const char *const *)sorted;
    return CYX_OK;
}

static enum cyx_status keep_part(struct reading *r, struct cyx_data_part *part)
{
    struct cyx_data *data = r->data;
    size_t n_target = r->source->n_target;
    char first[CYX_FAULT_BYTES];
    cyx_data_fault(data, 0, first);
    if (r->n_rows == 0)
        return cyx_error_set(r->error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s has no row that can be read%s%s", r->path,
                             *first ? "; first: " : "", first);
    float *inputs = data_alloc(data, r->inputs.n, sizeof(float));
    float *targets = data_alloc(data, r->targets.n, sizeof(float));
    if (!inputs || !targets)
        return data_no_memory(r->path, r->error);
    memcpy(inputs, r->inputs.data, r->inputs.n * sizeof(float));
    memcpy(targets, r->targets.data, r->targets.n * sizeof(float));
    *part = (struct cyx_data_part){.count = r->n_rows, .kind = CYX_ROWS_FLOATS, .floats = inputs};
    if (r->as_classes) {
        int32_t *labels = (int32_t *)(void *)targets;
        for (int64_t i = 0; i < r->n_rows; i++)
            labels[i] = (int32_t)r->targets.data[i];
        part->labels = labels;
    } else {
        part->numbers = targets;
    }
    data->row = (struct cyx_row_shape){.rank = 1, .dim = {(int64_t)r->n_inputs}};
    data->n_targets = r->as_classes ? 0 : (int64_t)n_target;
    return CYX_OK;
}

/* What belongs to one file, not to the columns and classes that both parts share. */
static void forget_file(struct reading *r)
{
    cyx_buf_finish(&r->text);
    free(r->begin);
    free(r->role);
    free(r->order);
    free(r->row_inputs);
    free(r->row_targets);
    free(r->inputs.data);
    free(r->targets.data);
    struct reading kept = *r;
    *r = (struct reading){.data = kept.data,
                          .source = kept.source,
                          .as_classes = kept.as_classes,
                          .locale = kept.locale,
                          .input_names = kept.input_names,
                          .n_inputs = kept.n_inputs,
                          .classes = kept.classes,
                          .error = kept.error};
}

static enum cyx_status open_part(struct reading *r, const struct cyx_data_options *options,
                                 const char *given, struct cyx_sha256 *hash,
                                 struct cyx_data_part *part)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    enum cyx_status status = data_path(options, given, &path, r->error);
    r->path = path.data;
    r->training = part == &r->data->train;
    if (status == CYX_OK)
        status = data_fingerprint_file(hash, path.data, r->error);
    if (status == CYX_OK)
        status = read_file(r);
    if (status == CYX_OK && r->training && r->as_classes) {
        r->data->n_classes = (int64_t)r->classes->n;
        status = sort_classes(r);
    }
    if (status == CYX_OK)
        status = keep_part(r, part);
    forget_file(r);
    return status;
}

static enum cyx_status open_all(struct reading *r, const struct cyx_data_options *options)
{
    struct cyx_sha256 *hash = cyx_sha256_create();
    if (!hash)
        return data_no_memory(r->source->train, r->error);
    enum cyx_status status = open_part(r, options, r->source->train, hash, &r->data->train);
    if (status == CYX_OK && r->source->test)
        status = open_part(r, options, r->source->test, hash, &r->data->test);
    if (status == CYX_OK)
        status = cyx_sha256_final(hash, r->data->fingerprint);
    cyx_sha256_destroy(hash);
    return status;
}

enum cyx_status data_open_csv(struct cyx_data *self, const struct cyx_source_spec *source,
                              const struct cyx_data_options *options, struct cyx_error *error)
{
    struct classes classes = {0};
    struct reading r = {.data = self, .source = source, .classes = &classes, .error = error};
    r.as_classes = source->task == CYX_TASK_CLASSES ||
                   (source->task == CYX_TASK_AUTO && source->n_target == 1);
    if (r.as_classes && source->n_target > 1)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset/target",
                             "classes are one column, got %zu", source->n_target);
    r.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!r.locale)
        return data_no_memory(source->train, error);
    self->target = r.as_classes ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS;
    enum cyx_status status = open_all(&r, options);
    free(r.input_names);
    freelocale(r.locale);
    classes_finish(&classes);
    return status;
}
