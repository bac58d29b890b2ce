#include "record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static enum cyx_status append(struct record_series *series, const struct record_point *point)
{
    if (series->count == series->capacity) {
        size_t capacity = series->capacity ? series->capacity * 2 : 256;
        struct record_point *grown = reallocarray(series->points, capacity, sizeof(*grown));
        if (!grown)
            return CYX_ERR_NO_MEMORY;
        series->points = grown;
        series->capacity = capacity;
    }
    struct record_point kept = *point;
    kept.json = strdup(point->json);
    if (!kept.json)
        return CYX_ERR_NO_MEMORY;
    if (!isfinite(kept.loss))
        kept.loss = 0;
    series->points[series->count++] = kept;
    return CYX_OK;
}

/* Every other one goes; the first stays. */
static void halve(struct record_series *series)
{
    size_t kept = 0;
    for (size_t i = 0; i < series->count; i++) {
        if (i % 2 == 0)
            series->points[kept++] = series->points[i];
        else
            free(series->points[i].json);
    }
    series->count = kept;
}

enum cyx_status record_points_add(struct record_points *self, const struct record_point *point)
{
    self->seen++;
    if (point->epoch)
        return self->epochs.count < RECORD_EPOCHS ? append(&self->epochs, point) : CYX_OK;
    if (self->stride > 1 && self->skipped + 1 < self->stride) {
        self->skipped++;
        return CYX_OK;
    }
    self->skipped = 0;
    enum cyx_status status = append(&self->steps, point);
    if (status == CYX_OK && self->steps.count >= 2 * (size_t)RECORD_HELD) {
        halve(&self->steps);
        self->stride = self->stride ? self->stride * 2 : 2;
    }
    return status;
}

/* ---- largest triangle, three buckets ------------------------------------------------------------ */

/* The points [first, last) of bucket b of the RECORD_STEPS - 2 between the first and the last point. */
static void bucket(size_t count, size_t b, size_t *ret_first, size_t *ret_last)
{
    size_t buckets = RECORD_STEPS - 2, inner = count - 2;
    *ret_first = 1 + b * inner / buckets;
    *ret_last = 1 + (b + 1) * inner / buckets;
}

/* The point of [first, last) whose triangle with `before` and the mean of the next bucket is largest. */
static size_t largest(const struct record_series *series, size_t before, size_t b)
{
    size_t first = 0, last = 0, next = series->count - 1, end = series->count;
    bucket(series->count, b, &first, &last);
    if (b + 1 < RECORD_STEPS - 2)
        bucket(series->count, b + 1, &next, &end);
    double x = 0, y = 0, best = -1;
    for (size_t i = next; i < end; i++) {
        x += series->points[i].step / (double)(end - next);
        y += series->points[i].loss / (double)(end - next);
    }
    const struct record_point *a = &series->points[before];
    size_t chosen = first;
    for (size_t i = first; i < last; i++) {
        const struct record_point *p = &series->points[i];
        double area =
            fabs((a->step - x) * (p->loss - a->loss) - (a->step - p->step) * (y - a->loss));
        if (area > best) {
            best = area;
            chosen = i;
        }
    }
    return chosen;
}

/* The chosen points' places, in order; gives how many. `ret_places` has room for RECORD_STEPS. */
static size_t choose(const struct record_series *series, size_t *ret_places)
{
    size_t count = series->count < RECORD_STEPS ? series->count : RECORD_STEPS;
    for (size_t i = 0; i < count; i++)
        ret_places[i] = i;
    if (series->count <= RECORD_STEPS)
        return count;
    for (size_t b = 0; b < RECORD_STEPS - 2; b++)
        ret_places[b + 1] = largest(series, ret_places[b], b);
    ret_places[RECORD_STEPS - 1] = series->count - 1;
    return count;
}

size_t record_points_write(const struct record_points *self, struct cyx_buf *ret_text)
{
    size_t places[RECORD_STEPS], steps = choose(&self->steps, places), s = 0, e = 0;
    cyx_buf_puts(ret_text, "[");
    while (s < steps || e < self->epochs.count) {
        const struct record_point *point = NULL;
        if (e == self->epochs.count ||
            (s < steps && self->steps.points[places[s]].sequence < self->epochs.points[e].sequence))
            point = &self->steps.points[places[s++]];
        else
            point = &self->epochs.points[e++];
        if (s + e > 1)
            cyx_buf_puts(ret_text, ",");
        cyx_buf_puts(ret_text, point->json);
    }
    cyx_buf_puts(ret_text, "]");
    return s + e;
}

static void drop(struct record_series *series)
{
    for (size_t i = 0; i < series->count; i++)
        free(series->points[i].json);
    free(series->points);
    *series = (struct record_series){0};
}

void record_points_finish(struct record_points *self)
{
    drop(&self->steps);
    drop(&self->epochs);
}
