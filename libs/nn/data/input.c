#include "nn/data/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nn/data/idx.h"
#include "nn/data/image.h"
#include "nn/data/image_ops.h"
#include "nn/data/private.h"

#include "base/banned.h"

enum { ROWS_LIMIT = 1000 * 1000, HEAD_BYTES = 8, NAME_LIMIT = 64 };

struct opener {
    const struct cyx_input_options *options;
    const char *path;
    struct cyx_input *input;
    struct cyx_error *error;
};

static enum cyx_status fail(const struct opener *o, enum cyx_status status, const char *why)
{
    return cyx_error_set(o->error, status, NULL, "%s: %s", o->path, why);
}

/* ---- which rows ---- */

/* Where ":0-9" begins in a word, NULL where there is none. */
static const char *find_rows(const char *word)
{
    const char *colon = strrchr(word, ':');
    bool rows =
        colon && colon != word && colon[1] && colon[1 + strspn(colon + 1, "0123456789,-")] == '\0';
    return rows && access(word, F_OK) != 0 ? colon : NULL;
}

static bool take_number(const char **at, int64_t *ret_number)
{
    char *end = NULL;
    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    *ret_number = strtoll(*at, &end, 10);
    *at = end;
    return errno == 0;
}

/* "3" or "0-9" of `count` rows, added. */
static enum cyx_status take_range(const struct opener *o, const char **at, int64_t count,
                                  struct cyx_error *error)
{
    struct cyx_input *input = o->input;
    int64_t from = 0, to = 0;
    bool good = take_number(at, &from);
    to = from;
    if (good && **at == '-') {
        (*at)++;
        good = take_number(at, &to);
    }
    if (!good || to < from || (**at != ',' && **at != '\0'))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "%s: rows are told as 7, 0-9 or 3,10-19, behind a colon", o->path);
    if (to >= count)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL, "%s has rows 0 to %lld, no row %lld",
                             o->path, (long long)count - 1, (long long)to);
    if ((int64_t)input->n_rows + to - from + 1 > ROWS_LIMIT)
        return fail(o, CYX_ERR_TOO_LARGE, "more than a million rows at once");
    size_t n = input->n_rows + (size_t)(to - from) + 1;
    uint32_t *rows = realloc(input->rows, n * sizeof(*rows));
    if (!rows)
        return data_no_memory(o->path, error);
    input->rows = rows;
    for (int64_t row = from; row <= to; row++)
        input->rows[input->n_rows++] = (uint32_t)row;
    return CYX_OK;
}

static enum cyx_status take_rows(const struct opener *o, const char *rows, int64_t count)
{
    enum cyx_status status = CYX_OK;
    char all[32];
    if (!rows) {
        snprintf(all, sizeof(all), "0-%lld", (long long)count - 1);
        rows = all;
    }
    do {
        status = take_range(o, &rows, count, o->error);
    } while (status == CYX_OK && *rows++ == ',');
    return status;
}

/* ---- arrays ---- */

/* Whether an array's shape is that of one image of `channels`: (C,H,W), (H,W,C), or (H,W) of a grey one. */
static bool is_one_image(const struct array *array, int64_t channels)
{
    const int64_t *s = array->shape;
    if (array->rank == 2)
        return channels == 1;
    return array->rank == 3 && channels > 1 && (s[0] == channels || s[2] == channels);
}

static bool same_shape(const struct array *array, const struct cyx_sample_shape *sample)
{
    bool same = array->rank == sample->rank;
    for (int i = 0; same && i < array->rank; i++)
        same = array->shape[i] == sample->dim[i];
    return same;
}

/* Reads (N,…) out of an array's shape, as input.h says. */
static void arrange(const struct array *array, const struct cyx_sample_shape *sample,
                    struct cyx_data_arrays *rows, bool *ret_is_one)
{
    bool image = sample->rank == 3;
    bool one = same_shape(array, sample) || (image && is_one_image(array, sample->dim[0]));
    const int64_t *shape = array->shape + (one ? 0 : 1);
    int rank = array->rank - (one ? 0 : 1);
    *ret_is_one = one;
    rows->count = one ? 1 : array->shape[0];
    rows->rank = rank;
    for (int i = 0; i < rank && i < 3; i++)
        rows->shape[i] = shape[i];
    if (image && rank == 2) {
        rows->rank = 3;
        rows->shape[0] = 1;
        rows->shape[1] = shape[0];
        rows->shape[2] = shape[1];
    } else if (image && rank == 3 && shape[0] != sample->dim[0] && shape[2] == sample->dim[0]) {
        rows->channels_last = true;
        rows->shape[0] = shape[2];
        rows->shape[1] = shape[0];
        rows->shape[2] = shape[1];
    }
}

static enum cyx_status open_rows(const struct opener *o, const struct array *array)
{
    struct cyx_input *input = o->input;
    struct cyx_data_arrays rows = {0};
    if (array->rank < 1 || array->shape[0] < 1 || array->shape[0] > CYX_ROWS_LIMIT)
        return fail(o, CYX_ERR_INVALID, "the array has no rows");
    arrange(array, &o->options->sample, &rows, &input->is_one);
    if (array->dtype == ARRAY_U8 && rows.rank == 3) {
        rows.bytes = array->data;
    } else if (array->dtype == ARRAY_F32) {
        rows.floats = array->data;
    } else {
        uint64_t bytes = 0;
        array_bytes(array, &bytes); /* within its limit, as it was opened */
        size_t count = (size_t)bytes / array_dtype_bytes(array->dtype);
        float *floats = data_alloc(input->owner, count, sizeof(*floats));
        if (!floats)
            return data_no_memory(o->path, o->error);
        array_to_floats(array, count, floats);
        rows.floats = floats;
    }
    return cyx_data_from_arrays(&rows, NULL, &input->data, o->error);
}

static enum cyx_status open_owner(const struct opener *o)
{
    o->input->owner = data_new(o->path, o->error);
    return o->input->owner ? CYX_OK : CYX_ERR_NO_MEMORY;
}

static enum cyx_status open_npy(const struct opener *o)
{
    struct array array = {0};
    enum cyx_status status = open_owner(o);
    if (status == CYX_OK)
        status = npy_open(o->input->owner, o->path, &array, o->error);
    return status == CYX_OK ? open_rows(o, &array) : status;
}

static enum cyx_status open_idx(const struct opener *o)
{
    const uint8_t *bytes = NULL;
    size_t length = 0;
    struct cyx_idx idx;
    enum cyx_status status = open_owner(o);
    if (status == CYX_OK)
        status = data_map(o->input->owner, o->path, &bytes, &length, o->error);
    if (status == CYX_OK)
        status = cyx_idx_parse(o->path, bytes, length, &idx, o->error);
    if (status != CYX_OK)
        return status;
    struct array array = {.dtype = ARRAY_U8, .rank = idx.rank, .data = idx.data};
    memcpy(array.shape, idx.shape, sizeof(idx.shape));
    return open_rows(o, &array);
}

/* ---- images ---- */

static enum cyx_status decode(const struct opener *o, struct cyx_image *image)
{
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_error why = {0};
    int64_t channels = o->options->sample.dim[0];
    if (o->options->sample.rank != 3 || (channels != 1 && channels != 3))
        return fail(o, CYX_ERR_INVALID,
                    "the model takes no images of one channel or three: give it a .npy array");
    enum cyx_status status =
        cyx_buf_read_file(&bytes, o->path, CYX_IMAGE_FILE_LIMIT_BYTES, o->error);
    if (status != CYX_OK)
        return status;
    status = cyx_image_decode(bytes.data, bytes.length, (int)channels, image, &why);
    return status == CYX_OK ? CYX_OK : fail(o, status, why.message);
}

static enum cyx_status resize(const struct opener *o, struct cyx_image *image)
{
    const int64_t *dim = o->options->sample.dim;
    struct cyx_image between = {0}, to = {0};
    bool good = cyx_image_resize(image, dim[1], dim[2], CYX_BILINEAR, &between, &to);
    cyx_image_finish(&between);
    cyx_image_finish(image);
    *image = to;
    return good ? CYX_OK : data_no_memory(o->path, o->error);
}

static enum cyx_status open_image(const struct opener *o)
{
    struct cyx_input *input = o->input;
    struct cyx_image image = {0};
    enum cyx_status status = decode(o, &image);
    if (status == CYX_OK && o->options->resize)
        status = resize(o, &image);
    input->pixels = image.data;
    if (status != CYX_OK)
        return status;
    const struct cyx_data_arrays rows = {.count = 1,
                                         .rank = 3,
                                         .shape = {image.channels, image.height, image.width},
                                         .channels_last = true,
                                         .bytes = image.data};
    input->is_one = true;
    return cyx_data_from_arrays(&rows, NULL, &input->data, o->error);
}

/* ---- the word ---- */

/* "fashion-mnist", "fashion-mnist/train"; NULL for what is no set of the catalogue. */
static const struct cyx_dataset *find_set(const char *word, bool *ret_training)
{
    char name[NAME_LIMIT];
    const char *slash = strchr(word, '/');
    size_t length = slash ? (size_t)(slash - word) : strlen(word);
    *ret_training = slash && strcmp(slash, "/train") == 0;
    if (length >= sizeof(name) || (slash && !*ret_training && strcmp(slash, "/test") != 0))
        return NULL;
    memcpy(name, word, length);
    name[length] = '\0';
    return cyx_dataset_find(name);
}

static enum cyx_status open_file(const struct opener *o)
{
    unsigned char head[HEAD_BYTES] = {0};
    int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, head, sizeof(head)) : -1;
    if (n < 0) {
        enum cyx_status status = cyx_error_errno(o->error, "cannot read %s", o->path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    if (n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0)
        return open_npy(o);
    if (n >= 3 && (memcmp(head, "\x89PN", 3) == 0 || memcmp(head, "\xFF\xD8\xFF", 3) == 0))
        return open_image(o);
    if (n >= 4 && head[0] == 0 && head[1] == 0 && head[2] == 8)
        return open_idx(o);
    return fail(o, CYX_ERR_CORRUPT, "expected an image (PNG, JPEG), a .npy array or an IDX file");
}

enum cyx_status cyx_input_open(const char *word, const struct cyx_input_options *options,
                               struct cyx_input *ret_input, struct cyx_error *ret_error)
{
    struct cyx_input input = {0};
    const char *rows = find_rows(word);
    char *path = rows ? strndup(word, (size_t)(rows - word)) : strdup(word);
    struct opener opener = {options, path, &input, ret_error};
    bool training = false;
    if (!path)
        return data_no_memory(word, ret_error);
    const struct cyx_dataset *set = find_set(path, &training);
    enum cyx_status status =
        set ? cyx_data_open_dataset(set, options->data_dir, &input.data, ret_error)
            : open_file(&opener);
    if (status == CYX_OK && rows && input.is_one)
        status = fail(&opener, CYX_ERR_INVALID, "is one sample and has no rows to choose from");
    if (status == CYX_OK && input.data) {
        input.part = set && !training ? &input.data->test : &input.data->train;
        status = take_rows(&opener, rows ? rows + 1 : NULL, input.part->count);
    }
    free(path);
    if (status == CYX_OK)
        *ret_input = input;
    else
        cyx_input_finish(&input);
    return status;
}

void cyx_input_finish(struct cyx_input *self)
{
    cyx_data_close(self->data);
    cyx_data_close(self->owner);
    free(self->rows);
    free(self->pixels);
    *self = (struct cyx_input){0};
}
