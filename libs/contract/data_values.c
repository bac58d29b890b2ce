/* Readers of the data part's members that are no plain number or choice: named by data_tables.c. */
#include <string.h>

#include "contract/dataset.h"
#include "contract/job_tables.h"

#include "base/banned.h"

enum { PATH_LIMIT_BYTES = 4095, UPLOAD_LIMIT_BYTES = 400, SHA256_DIGITS = 64 };

/* ---- the data set ---- */

enum cyx_status spec_read_dataset(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    (void)field;
    struct cyx_data_spec *data = target;
    if (json_is_object(value))
        return spec_read_union(reader, value, &spec_sources, &data->source);
    const struct cyx_dataset *set = cyx_dataset_find(json_string_value(value));
    if (set) {
        data->dataset = set->name;
        return CYX_OK;
    }
    char known[CYX_DATASET_NAMES_BYTES], got[SPEC_QUOTE_BYTES];
    return spec_fail(reader, "there is no data set %s; known: %s; or an object for data in files",
                     spec_describe(value, got), cyx_dataset_names(known));
}

static enum cyx_status read_short(struct spec_reader *reader, const struct spec_field *field,
                                  const json_t *value, void *target, int limit_bytes)
{
    const char **place = (const char **)((char *)target + field->offset);
    reader->drop = !value;
    if (!value)
        return CYX_OK;
    enum cyx_status status = spec_read_string(reader, value, place);
    if (status == CYX_OK && (**place == '\0' || strlen(*place) > (size_t)limit_bytes))
        return spec_fail(reader, "expected 1 to %d bytes, got %zu", limit_bytes, strlen(*place));
    return status;
}

enum cyx_status spec_read_path(struct spec_reader *reader, const struct spec_field *field,
                               json_t *value, void *target)
{
    return read_short(reader, field, value, target, PATH_LIMIT_BYTES);
}

enum cyx_status spec_read_upload(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    return read_short(reader, field, value, target, UPLOAD_LIMIT_BYTES);
}

enum cyx_status spec_read_sha256(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    char got[SPEC_QUOTE_BYTES];
    const char *text = json_string_value(value);
    if (value && (!text || strlen(text) != SHA256_DIGITS ||
                  strspn(text, "0123456789abcdef") != SHA256_DIGITS))
        return spec_fail(reader, "expected 64 lower-case hexadecimal digits, got %s",
                         spec_describe(value, got));
    return read_short(reader, field, value, target, SHA256_DIGITS);
}

enum cyx_status spec_read_delimiter(struct spec_reader *reader, const struct spec_field *field,
                                    json_t *value, void *target)
{
    char *place = (char *)target + field->offset, got[SPEC_QUOTE_BYTES];
    *place = ',';
    reader->drop = true;
    if (!value)
        return CYX_OK;
    const char *text = json_string_value(value);
    bool good = text && text[0] != '\0' && text[1] == '\0' && (*text == '\t' || *text >= ' ') &&
                *text != '"';
    if (!good)
        return spec_fail(reader, "expected one character such as \";\" or \"\\t\", got %s",
                         spec_describe(value, got));
    *place = *text;
    reader->drop = *text == ',';
    return CYX_OK;
}

static enum cyx_status read_column(struct spec_reader *reader, const struct spec_field *field,
                                   const json_t *value, struct cyx_column_spec *column)
{
    if (json_is_number(value))
        return spec_read_integer(reader, field, value, &column->index);
    enum cyx_status status = spec_read_string(reader, value, &column->name);
    if (status == CYX_OK && !*column->name)
        return spec_fail(reader, "expected a column's name or index, got \"\"");
    return status;
}

enum cyx_status spec_read_columns(struct spec_reader *reader, const struct spec_field *field,
                                  json_t *value, void *target)
{
    enum { COLUMNS_LIMIT = 4096 };
    struct columns { /* as they lie in struct cyx_source_spec */
        const struct cyx_column_spec *list;
        size_t n;
    } *place = (void *)((char *)target + field->offset);
    reader->drop = !value;
    if (!value)
        return CYX_OK;
    bool many = json_is_array(value);
    size_t n = many ? json_array_size(value) : 1;
    if (n < 1 || n > COLUMNS_LIMIT)
        return spec_fail(reader, "expected 1 to %d columns, got %zu", COLUMNS_LIMIT, n);
    struct cyx_column_spec *columns = cyx_arena_calloc(reader->arena, n, sizeof(*columns));
    if (!columns)
        return spec_no_memory(reader);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = many ? json_array_get(value, i) : value;
        if (many)
            spec_enter_index(reader, i);
        enum cyx_status status = read_column(reader, field, item, &columns[i]);
        if (many)
            spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    place->list = columns;
    place->n = n;
    if (many && n == 1)
        reader->replacement = json_incref(json_array_get(value, 0));
    return CYX_OK;
}

/* ---- transforms ---- */

enum cyx_status spec_read_resize(struct spec_reader *reader, const struct spec_field *field,
                                 json_t *value, void *target)
{
    int64_t *size = (int64_t *)((char *)target + field->offset);
    if (!json_is_number(value))
        return spec_read_pair(reader, field, value, size);
    size[1] = 0;
    return spec_read_integer(reader, field, value, &size[0]);
}

/* A half width about the row's fallback, cut at its least, or [from, to]; canonical is the pair. */
enum cyx_status spec_read_range(struct spec_reader *reader, const struct spec_field *field,
                                json_t *value, void *target)
{
    double *range = (double *)((char *)target + field->offset), middle = field->fallback;
    range[0] = range[1] = middle;
    reader->drop = true;
    if (!value)
        return CYX_OK;
    char got[SPEC_QUOTE_BYTES];
    if (json_is_number(value)) {
        struct spec_field half = *field;
        half.min = 0;
        half.max = field->max - middle;
        double width = 0;
        enum cyx_status status = spec_read_number(reader, &half, value, &width);
        if (status != CYX_OK)
            return status;
        range[0] = middle - width < field->min ? field->min : middle - width;
        range[1] = middle + width;
    } else if (json_array_size(value) == 2) {
        for (size_t i = 0; i < 2; i++) {
            spec_enter_index(reader, i);
            enum cyx_status status =
                spec_read_number(reader, field, json_array_get(value, i), &range[i]);
            spec_leave(reader);
            if (status != CYX_OK)
                return status;
        }
    } else {
        return spec_fail(reader, "expected a number or a pair [from, to], got %s",
                         spec_describe(value, got));
    }
    if (range[0] > range[1])
        return spec_fail(reader, "expected [from, to] in rising order");
    reader->drop = range[0] == middle && range[1] == middle;
    reader->replacement = json_pack("[ff]", range[0], range[1]);
    return CYX_OK;
}

/* One number for every channel, or a list of them. The first list says how many there are. */
enum cyx_status spec_read_channels(struct spec_reader *reader, const struct spec_field *field,
                                   json_t *value, void *target)
{
    struct cyx_transform_spec *transform = target;
    double *numbers = (double *)((char *)target + field->offset);
    if (json_is_number(value)) {
        enum cyx_status status = spec_read_number(reader, field, value, &numbers[0]);
        for (int i = 1; i < CYX_CHANNELS_LIMIT; i++)
            numbers[i] = numbers[0];
        return status;
    }
    char got[SPEC_QUOTE_BYTES];
    size_t n = json_array_size(value);
    if (n < 1 || n > CYX_CHANNELS_LIMIT)
        return spec_fail(reader, "expected a number, or a list of one for each channel, got %s",
                         spec_describe(value, got));
    if (transform->n_channels != 0 && transform->n_channels != n)
        return spec_fail(reader, "expected %zu numbers as in \"mean\", got %zu",
                         transform->n_channels, n);
    for (size_t i = 0; i < n; i++) {
        spec_enter_index(reader, i);
        enum cyx_status status =
            spec_read_number(reader, field, json_array_get(value, i), &numbers[i]);
        spec_leave(reader);
        if (status != CYX_OK)
            return status;
    }
    transform->n_channels = n;
    return CYX_OK;
}

/* Where it is known how many channels there are; else the data's reader judges. */
static enum cyx_status fit_channels(struct spec_reader *reader, const struct cyx_data_spec *data,
                                    struct cyx_transform_spec *transform)
{
    const struct cyx_dataset *set = cyx_dataset_find(data->dataset);
    int64_t channels = set ? set->channels : data->source.channels;
    if (channels == 0)
        return CYX_OK;
    if (transform->n_channels != 0 && transform->n_channels != (size_t)channels)
        return spec_fail(reader, "%s has %lld channel%s, got numbers for %zu",
                         set ? set->name : "the data", (long long)channels,
                         channels == 1 ? "" : "s", transform->n_channels);
    transform->n_channels = (size_t)channels;
    return CYX_OK;
}

/* Images' transforms, then ToTensor once, then Normalize. */
static enum cyx_status check_order(struct spec_reader *reader,
                                   const struct cyx_transform_spec *transform, bool *tensor)
{
    const char *name = cyx_transform_name(transform->type);
    if (transform->type == CYX_TRANSFORM_TO_TENSOR) {
        if (*tensor)
            return spec_fail(reader, "ToTensor stands here twice");
        *tensor = true;
    } else if (transform->type == CYX_TRANSFORM_NORMALIZE) {
        if (!*tensor)
            return spec_fail(reader, "Normalize works on numbers: put ToTensor before it");
    } else if (*tensor) {
        return spec_fail(reader, "%s works on images: put it before ToTensor", name);
    }
    return CYX_OK;
}

static enum cyx_status read_transform(struct spec_reader *reader, const struct spec_field *field,
                                      const struct cyx_data_spec *data, json_t *json, bool *tensor,
                                      struct cyx_transform_spec *transform)
{
    enum cyx_status status = spec_read_union(reader, json, field->set, transform);
    if (status == CYX_OK)
        status = check_order(reader, transform, tensor);
    if (status == CYX_OK && transform->type == CYX_TRANSFORM_NORMALIZE)
        status = fit_channels(reader, data, transform);
    return status;
}

static const struct cyx_transform_spec only_to_tensor = {.type = CYX_TRANSFORM_TO_TENSOR};

enum cyx_status spec_read_transforms(struct spec_reader *reader, const struct spec_field *field,
                                     json_t *value, void *target)
{
    struct cyx_data_spec *data = target;
    size_t n = 0;
    data->transforms = &only_to_tensor;
    data->n_transforms = 1;
    reader->drop = true;
    enum cyx_status status = spec_list_length(reader, field, value, &n);
    if (status != CYX_OK || !value)
        return status;
    struct cyx_transform_spec *transforms = cyx_arena_calloc(reader->arena, n, sizeof(*transforms));
    if (!transforms)
        return spec_no_memory(reader);
    bool tensor = false;
    for (size_t i = 0; i < n && status == CYX_OK; i++) {
        spec_enter_index(reader, i);
        status =
            read_transform(reader, field, data, json_array_get(value, i), &tensor, &transforms[i]);
        spec_leave(reader);
    }
    if (status == CYX_OK && !tensor)
        status = spec_fail(reader, "expected ToTensor behind the transforms of images");
    data->transforms = transforms;
    data->n_transforms = n;
    reader->drop = n == 1;
    return status;
}
