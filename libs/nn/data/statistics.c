#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/data/inspect.h"
#include "nn/data/private.h"

#include "base/banned.h"

struct measuring {
    const struct cyx_data *data;
    const struct cyx_data_part *part;
    struct cyx_statistics *statistics;
    double count[CYX_STATISTICS_LIMIT], sum[CYX_STATISTICS_LIMIT], squares[CYX_STATISTICS_LIMIT];
    struct cyx_image image;
    struct cyx_buf file;
};

static void take_number(struct measuring *m, int64_t channel, double x, double times)
{
    struct cyx_statistics *s = m->statistics;
    if (times == 0)
        return;
    s->least[channel] = m->count[channel] == 0 || x < s->least[channel] ? x : s->least[channel];
    s->most[channel] = m->count[channel] == 0 || x > s->most[channel] ? x : s->most[channel];
    m->count[channel] += times;
    m->sum[channel] += times * x;
    m->squares[channel] += times * x * x;
}

/* Bytes of one channel, `step` apart. */
static void take_bytes(struct measuring *m, int64_t channel, const uint8_t *bytes, int64_t count,
                       int64_t step)
{
    int64_t seen[256] = {0};
    for (int64_t i = 0; i < count; i++)
        seen[bytes[i * step]]++;
    for (int value = 0; value < 256; value++)
        take_number(m, channel, value / 255.0, (double)seen[value]);
}

static bool take_file(struct measuring *m, int64_t row)
{
    const struct cyx_image_file *file = &m->part->files[row];
    int channels = (int)m->data->row.dim[0];
    struct cyx_error why = {0};
    cyx_buf_clear(&m->file);
    enum cyx_status status =
        cyx_buf_read_file(&m->file, file->path, CYX_IMAGE_FILE_LIMIT_BYTES, &why);
    if (status == CYX_OK)
        status = cyx_image_decode(m->file.data, m->file.length, channels, &m->image, &why);
    if (status != CYX_OK) {
        if (!atomic_exchange(&m->part->broken[row], 1))
            data_fault(m->data, file->path, why.message);
        return false;
    }
    for (int c = 0; c < channels; c++)
        take_bytes(m, c, m->image.data + c, m->image.height * m->image.width, channels);
    return true;
}

/* A row of an array: `planes` channels of `plane` elements, whichever way they lie. */
static void take_array_row(struct measuring *m, int64_t row)
{
    const struct cyx_row_shape *shape = &m->data->row;
    int64_t planes = shape->rank > 1 ? shape->dim[0] : 1, plane = 1;
    for (int i = shape->rank > 1 ? 1 : 0; i < shape->rank; i++)
        plane *= shape->dim[i];
    bool features = shape->rank == 1 && m->statistics->n_channels == plane;
    int64_t begin = row * planes * plane;
    for (int64_t c = 0; c < planes; c++) {
        int64_t first = begin + (shape->channels_last ? c : c * plane);
        int64_t step = shape->channels_last ? planes : 1;
        int64_t channel = m->statistics->n_channels == 1 ? 0 : c;
        if (m->part->kind == CYX_ROWS_BYTES)
            take_bytes(m, channel, m->part->bytes + first, plane, step);
        for (int64_t i = 0; m->part->kind == CYX_ROWS_FLOATS && i < plane; i++)
            take_number(m, features ? i : channel, m->part->floats[first + i * step], 1);
    }
}

static void count_classes(const struct measuring *m)
{
    for (int64_t i = 0; m->statistics->class_counts && i < m->part->count; i++)
        m->statistics->class_counts[m->part->labels[i]]++;
}

static void measure_sizes(const struct measuring *m)
{
    struct cyx_statistics *s = m->statistics;
    for (int64_t i = 0; m->part->kind == CYX_ROWS_FILES && i < m->part->count; i++) {
        int64_t height = m->part->files[i].height, width = m->part->files[i].width;
        s->height[0] = i == 0 || height < s->height[0] ? height : s->height[0];
        s->height[1] = height > s->height[1] ? height : s->height[1];
        s->width[0] = i == 0 || width < s->width[0] ? width : s->width[0];
        s->width[1] = width > s->width[1] ? width : s->width[1];
    }
}

static void conclude(struct measuring *m)
{
    struct cyx_statistics *s = m->statistics;
    for (int64_t c = 0; c < s->n_channels; c++) {
        double mean = m->count[c] > 0 ? m->sum[c] / m->count[c] : 0;
        double variance = m->count[c] > 0 ? m->squares[c] / m->count[c] - mean * mean : 0;
        s->mean[c] = mean;
        s->std[c] = variance < 0 ? 0 : sqrt(variance); /* NaN stays */
    }
}

static enum cyx_status take_rows(struct measuring *m, int64_t limit, struct cyx_error *error)
{
    int64_t count = m->part->count, n = limit > 0 && limit < count ? limit : count;
    struct cyx_statistics *s = m->statistics;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (int64_t)((__int128)i * count / n);
        if (m->part->kind != CYX_ROWS_FILES)
            take_array_row(m, row);
        else if (!take_file(m, row))
            continue;
        s->n_rows++;
    }
    if (s->n_rows == 0)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset", "no row of %s can be read",
                             m->data->name);
    return CYX_OK;
}

enum cyx_status cyx_data_measure(const struct cyx_data *data, const struct cyx_data_part *part,
                                 int64_t limit, struct cyx_statistics *ret_statistics,
                                 struct cyx_error *ret_error)
{
    const struct cyx_row_shape *row = &data->row;
    struct cyx_statistics statistics = {.n_channels = row->dim[0]};
    struct measuring m = {.data = data, .part = part, .statistics = &statistics};
    if (statistics.n_channels > CYX_STATISTICS_LIMIT)
        statistics.n_channels = 1;
    if (part->labels) {
        statistics.class_counts = calloc((size_t)data->n_classes, sizeof(int64_t));
        if (!statistics.class_counts)
            return data_no_memory("the classes", ret_error);
    }
    count_classes(&m);
    measure_sizes(&m);
    enum cyx_status status = take_rows(&m, limit, ret_error);
    conclude(&m);
    cyx_image_finish(&m.image);
    cyx_buf_finish(&m.file);
    if (status == CYX_OK)
        *ret_statistics = statistics;
    else
        cyx_statistics_finish(&statistics);
    return status;
}

void cyx_statistics_finish(struct cyx_statistics *self)
{
    free(self->class_counts);
    *self = (struct cyx_statistics){0};
}
