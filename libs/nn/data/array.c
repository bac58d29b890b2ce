/* Arrays of any dtype as rows of bytes or floats, and as targets. */
#include <stdio.h>
#include <string.h>

#include "nn/data/idx.h"
#include "nn/data/private.h"
#include "nn/tensor/half.h"

#include "base/banned.h"

enum { CLASSES_LIMIT = 1048576 };

size_t array_dtype_bytes(enum array_dtype dtype)
{
    static const size_t bytes[] = {
        [ARRAY_BOOL] = 1, [ARRAY_U8] = 1,  [ARRAY_I8] = 1,  [ARRAY_U16] = 2, [ARRAY_I16] = 2,
        [ARRAY_U32] = 4,  [ARRAY_I32] = 4, [ARRAY_U64] = 8, [ARRAY_I64] = 8, [ARRAY_F16] = 2,
        [ARRAY_BF16] = 2, [ARRAY_F32] = 4, [ARRAY_F64] = 8,
    };
    return bytes[dtype];
}

bool array_bytes(const struct array *self, uint64_t *ret_bytes)
{
    uint64_t bytes = array_dtype_bytes(self->dtype);
    for (int i = 0; i < self->rank; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)self->shape[i], &bytes))
            return false;
    *ret_bytes = bytes;
    return bytes <= ARRAY_BYTES_LIMIT;
}

/* ---- elements ---- */

#define CONVERT(tag, type, expression)                                                             \
    case tag: {                                                                                    \
        const type *from = self->data;                                                             \
        for (size_t i = 0; i < count; i++)                                                         \
            ret_floats[i] = (float)(expression);                                                   \
        break;                                                                                     \
    }

void array_to_floats(const struct array *self, size_t count, float *ret_floats)
{
    switch (self->dtype) {
        CONVERT(ARRAY_BOOL, uint8_t, from[i] != 0)
        CONVERT(ARRAY_U8, uint8_t, from[i])
        CONVERT(ARRAY_I8, int8_t, from[i])
        CONVERT(ARRAY_U16, uint16_t, from[i])
        CONVERT(ARRAY_I16, int16_t, from[i])
        CONVERT(ARRAY_U32, uint32_t, from[i])
        CONVERT(ARRAY_I32, int32_t, from[i])
        CONVERT(ARRAY_U64, uint64_t, from[i])
        CONVERT(ARRAY_I64, int64_t, from[i])
        CONVERT(ARRAY_F16, uint16_t, cyx_half_to_float(from[i]))
        CONVERT(ARRAY_BF16, uint16_t, cyx_bfloat_to_float(from[i]))
        CONVERT(ARRAY_F32, float, from[i])
        CONVERT(ARRAY_F64, double, from[i])
    }
}

#undef CONVERT

static bool is_integer(enum array_dtype dtype)
{
    return dtype < ARRAY_F16;
}

/* Of an integer array; what does not fit 64 bits signed is below 0. */
static int64_t integer_at(const struct array *self, size_t i)
{
    switch (self->dtype) {
    case ARRAY_BOOL:
    case ARRAY_U8:
        return ((const uint8_t *)self->data)[i];
    case ARRAY_I8:
        return ((const int8_t *)self->data)[i];
    case ARRAY_U16:
        return ((const uint16_t *)self->data)[i];
    case ARRAY_I16:
        return ((const int16_t *)self->data)[i];
    case ARRAY_U32:
        return ((const uint32_t *)self->data)[i];
    case ARRAY_I32:
        return ((const int32_t *)self->data)[i];
    case ARRAY_U64:
    case ARRAY_I64:
        return ((const int64_t *)self->data)[i];
    default:
        return -1;
    }
}

/* ---- inputs ---- */

static enum cyx_status wrong(const char *name, const char *what, const struct array *array,
                             struct cyx_error *error)
{
    char shape[96];
    int used = snprintf(shape, sizeof(shape), "(");
    for (int i = 0; i < array->rank; i++)
        used += snprintf(shape + used, sizeof(shape) - (size_t)used, "%s%lld", i ? "," : "",
                         (long long)array->shape[i]);
    return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset", "%s: %s, got %s)", name, what,
                         shape);
}

/* The row of (N,…): channels first in `dim`, whatever the layout. */
static bool row_shape(const struct array *inputs, bool channels_last, struct cyx_row_shape *row)
{
    const int64_t *s = inputs->shape;
    *row = (struct cyx_row_shape){.rank = inputs->rank - 1};
    if (inputs->rank < 2 || (channels_last && inputs->rank != 4))
        return false;
    for (int i = 0; i < row->rank; i++)
        row->dim[i] = s[i + 1];
    if (inputs->rank == 3 && inputs->dtype == ARRAY_U8)
        *row = (struct cyx_row_shape){.rank = 3, .dim = {1, s[1], s[2]}};
    if (channels_last)
        *row = (struct cyx_row_shape){3, {s[3], s[1], s[2]}, true};
    for (int i = 0; i < row->rank; i++)
        if (row->dim[i] < 1)
            return false;
    return true;
}

static enum cyx_status take_inputs(struct cyx_data *self, const struct array *inputs,
                                   const char *name, bool channels_last, struct cyx_data_part *part,
                                   struct cyx_error *error)
{
    struct cyx_row_shape row;
    bool first = part == &self->train;
    if (!row_shape(inputs, channels_last, &row))
        return wrong(name,
                     channels_last ? "expected (N,H,W,C) for layout channels_last"
                                   : "expected (N,F), (N,C,L), (N,C,H,W) or images (N,H,W)",
                     inputs, error);
    if (inputs->shape[0] < 1 || inputs->shape[0] > CYX_ROWS_LIMIT)
        return wrong(name, "expected 1 to 4294967294 rows", inputs, error);
    if (!first &&
        (row.rank != self->row.rank || memcmp(row.dim, self->row.dim, sizeof(row.dim)) != 0))
        return wrong(name, "expected rows as the training part's", inputs, error);
    if (first)
        self->row = row;
    part->count = inputs->shape[0];
    bool bytes = inputs->dtype == ARRAY_U8 && row.rank == 3 && row.dim[0] <= CYX_CHANNELS_LIMIT;
    if (!first && bytes != (self->train.kind == CYX_ROWS_BYTES))
        return wrong(name, "expected the training part's dtype", inputs, error);
    part->kind = bytes ? CYX_ROWS_BYTES : CYX_ROWS_FLOATS;
    if (bytes) {
        part->bytes = inputs->data;
        return CYX_OK;
    }
    if (inputs->dtype == ARRAY_F32) {
        part->floats = inputs->data;
        return CYX_OK;
    }
    size_t count = (size_t)part->count;
    for (int i = 0; i < row.rank; i++)
        count *= (size_t)row.dim[i]; /* within ARRAY_BYTES_LIMIT */
    float *floats = data_alloc(self, count, sizeof(float));
    if (!floats)
        return data_no_memory(name, error);
    array_to_floats(inputs, count, floats);
    part->floats = floats;
    return CYX_OK;
}

/* ---- targets ---- */

static enum cyx_status take_labels(struct cyx_data *self, const struct array *targets,
                                   const char *name, int64_t n_classes, struct cyx_data_part *part,
                                   struct cyx_error *error)
{
    size_t count = (size_t)part->count;
    int32_t *labels = data_alloc(self, count, sizeof(*labels));
    int64_t most = n_classes ? n_classes : part == &self->test ? self->n_classes : CLASSES_LIMIT;
    int64_t largest = 0;
    if (!labels)
        return data_no_memory(name, error);
    for (size_t i = 0; i < count; i++) {
        int64_t label = integer_at(targets, i);
        if (label < 0 || label >= most)
            return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                                 "%s: row %zu has class %lld, expected 0 to %lld", name, i,
                                 (long long)label, (long long)most - 1);
        labels[i] = (int32_t)label;
        largest = label > largest ? label : largest;
    }
    if (part == &self->train)
        self->n_classes = n_classes ? n_classes : largest + 1;
    part->labels = labels;
    return CYX_OK;
}

static enum cyx_status take_numbers(struct cyx_data *self, const struct array *targets,
                                    const char *name, struct cyx_data_part *part,
                                    struct cyx_error *error)
{
    int64_t n = 1;
    for (int i = 1; i < targets->rank; i++)
        n *= targets->shape[i];
    if (part == &self->train)
        self->n_targets = n;
    if (n < 1 || n != self->n_targets)
        return wrong(name, "expected as many numbers a row as the training part", targets, error);
    if (targets->dtype == ARRAY_F32) {
        part->numbers = targets->data;
        return CYX_OK;
    }
    size_t count = (size_t)part->count * (size_t)n;
    float *numbers = data_alloc(self, count, sizeof(float));
    if (!numbers)
        return data_no_memory(name, error);
    array_to_floats(targets, count, numbers);
    part->numbers = numbers;
    return CYX_OK;
}

static enum cyx_status take_targets(struct cyx_data *self, const struct cyx_source_spec *source,
                                    const struct array *targets, const char *name,
                                    struct cyx_data_part *part, struct cyx_error *error)
{
    bool single = targets->rank == 1 || (targets->rank == 2 && targets->shape[1] == 1);
    bool classes = source->task == CYX_TASK_CLASSES || source->format == CYX_SOURCE_IDX ||
                   (source->task == CYX_TASK_AUTO && is_integer(targets->dtype) && single);
    enum cyx_target_kind kind = classes ? CYX_TARGET_CLASSES : CYX_TARGET_NUMBERS;
    if (targets->rank < 1 || targets->shape[0] != part->count)
        return wrong(name, "expected a target for each row of the inputs", targets, error);
    if (part == &self->train)
        self->target = kind;
    else if (kind != self->target)
        return wrong(name, "expected targets as the training part's", targets, error);
    if (!classes)
        return take_numbers(self, targets, name, part, error);
    if (!is_integer(targets->dtype) || !single)
        return wrong(name, "expected (N) integers for classes; \"task\": \"numbers\" takes others",
                     targets, error);
    return take_labels(self, targets, name, source->n_classes, part, error);
}

/* ---- files ---- */

struct origin {
    const struct cyx_source_spec *source;
    const struct cyx_data_options *options;
    struct cyx_sha256 *hash;
};

static enum cyx_status idx_array(struct cyx_data *self, const char *path, struct array *ret_array,
                                 struct cyx_error *error)
{
    const uint8_t *bytes;
    size_t length;
    struct cyx_idx idx;
    enum cyx_status status = data_map(self, path, &bytes, &length, error);
    if (status == CYX_OK)
        status = cyx_idx_parse(path, bytes, length, &idx, error);
    if (status != CYX_OK)
        return status;
    *ret_array = (struct array){.dtype = ARRAY_U8, .rank = idx.rank, .data = idx.data};
    memcpy(ret_array->shape, idx.shape, sizeof(idx.shape));
    return CYX_OK;
}

/* `name` is a file for IDX and NPY, an array of the file `archive` otherwise. */
static enum cyx_status open_array(struct cyx_data *self, const struct origin *origin,
                                  const char *archive, const char *name, struct array *ret_array,
                                  struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    enum cyx_source_format format = origin->source->format;
    bool inside = format == CYX_SOURCE_NPZ || format == CYX_SOURCE_SAFETENSORS;
    enum cyx_status status = data_path(origin->options, inside ? archive : name, &path, error);
    if (status != CYX_OK)
        return status;
    if (format == CYX_SOURCE_IDX)
        status = idx_array(self, path.data, ret_array, error);
    else if (format == CYX_SOURCE_NPY)
        status = npy_open(self, path.data, ret_array, error);
    else if (format == CYX_SOURCE_NPZ)
        status = npz_open(self, path.data, name, ret_array, error);
    else
        status = tensor_open(self, path.data, name, ret_array, error);
    if (status == CYX_OK)
        status = data_fingerprint_file(origin->hash, path.data, error);
    return status;
}

/* Targets that are not named may be missing. */
static enum cyx_status open_part(struct cyx_data *self, const struct origin *origin,
                                 const char *archive, const char *inputs, const char *targets,
                                 bool targets_are_named, struct cyx_data_part *part,
                                 struct cyx_error *error)
{
    struct array array = {0};
    enum cyx_status status = open_array(self, origin, archive, inputs, &array, error);
    if (status == CYX_OK)
        status = take_inputs(self, &array, inputs, origin->source->channels_last, part, error);
    if (status != CYX_OK || !targets)
        return status;
    status = open_array(self, origin, archive, targets, &array, error);
    if (status == CYX_ERR_NOT_FOUND && !targets_are_named)
        return CYX_OK;
    if (status == CYX_OK)
        status = take_targets(self, origin->source, &array, targets, part, error);
    return status;
}

static enum cyx_status open_parts(struct cyx_data *self, const struct origin *origin,
                                  struct cyx_error *error)
{
    const struct cyx_source_spec *s = origin->source;
    bool files = s->format == CYX_SOURCE_IDX || s->format == CYX_SOURCE_NPY;
    bool named = s->targets != NULL;
    const char *inputs = files ? s->train : s->inputs ? s->inputs : "x";
    const char *targets = files || named ? s->targets : "y";
    self->target = CYX_TARGET_NUMBERS; /* none, until there are targets */
    enum cyx_status status =
        open_part(self, origin, s->train, inputs, targets, named, &self->train, error);
    if (status != CYX_OK || (!s->test && !s->test_inputs))
        return status;
    bool has_targets = self->train.labels || self->train.numbers;
    const char *archive = s->test ? s->test : s->train;
    inputs = files ? s->test : s->test_inputs ? s->test_inputs : inputs;
    targets = s->test_targets ? s->test_targets : files ? NULL : targets;
    return open_part(self, origin, archive, inputs, has_targets ? targets : NULL, true, &self->test,
                     error);
}

enum cyx_status data_open_arrays(struct cyx_data *self, const struct cyx_source_spec *source,
                                 const struct cyx_data_options *options, struct cyx_error *error)
{
    struct origin origin = {source, options, cyx_sha256_create()};
    if (!origin.hash)
        return data_no_memory(self->name, error);
    enum cyx_status status = open_parts(self, &origin, error);
    if (status == CYX_OK)
        status = cyx_sha256_final(origin.hash, self->fingerprint);
    cyx_sha256_destroy(origin.hash);
    return status;
}

/* ---- the caller's arrays ---- */

static enum cyx_status borrow(struct cyx_data *self, const struct cyx_data_arrays *given,
                              struct cyx_data_part *part, struct cyx_error *error)
{
    const char *name = part == &self->train ? "the training part" : "the test part";
    struct array inputs = {.dtype = given->bytes ? ARRAY_U8 : ARRAY_F32,
                           .rank = given->rank + 1,
                           .shape = {given->count},
                           .data = given->bytes ? (const void *)given->bytes : given->floats};
    if (given->rank < 1 || given->rank > 3 || !inputs.data || (given->bytes && given->floats) ||
        (given->bytes && given->rank != 3))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "%s: expected floats of rank 1 to 3, or bytes (C,H,W)", name);
    const int64_t *s = given->shape;
    for (int i = 0; i < given->rank; i++)
        inputs.shape[i + 1] = given->channels_last ? s[(i + 1) % 3] : s[i];
    struct cyx_source_spec source = {.n_classes = given->n_classes,
                                     .task = given->labels ? CYX_TASK_CLASSES : CYX_TASK_NUMBERS};
    enum cyx_status status = take_inputs(self, &inputs, name, given->channels_last, part, error);
    if (status != CYX_OK || (!given->labels && !given->numbers))
        return status;
    struct array targets = {.dtype = given->labels ? ARRAY_I32 : ARRAY_F32,
                            .rank = given->labels ? 1 : 2,
                            .shape = {given->count, given->n_targets},
                            .data = given->labels ? (const void *)given->labels : given->numbers};
    return take_targets(self, &source, &targets, name, part, error);
}

enum cyx_status cyx_data_from_arrays(const struct cyx_data_arrays *train,
                                     const struct cyx_data_arrays *test, struct cyx_data **ret_data,
                                     struct cyx_error *ret_error)
{
    struct cyx_data *self = data_new("memory", ret_error);
    if (!self)
        return CYX_ERR_NO_MEMORY;
    self->format = CYX_SOURCE_MEMORY;
    self->target = CYX_TARGET_NUMBERS;
    enum cyx_status status = borrow(self, train, &self->train, ret_error);
    if (status == CYX_OK && test)
        status = borrow(self, test, &self->test, ret_error);
    if (status != CYX_OK) {
        cyx_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
}
