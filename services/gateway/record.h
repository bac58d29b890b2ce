/*
 * The short form of an ended job's metrics: all that sum up an epoch, and of the steps as many as a curve needs.
 *
 * Steps are chosen by largest-triangle-three-buckets (S. Steinarsson, "Downsampling time series for visual
 * representation", 2013) over step and loss, so that peaks stay. While they are collected memory is bounded: past
 * twice RECORD_HELD every other one is dropped, and from then on as many are passed over.
 *
 * Ownership: init and finish by the caller; texts are copied. One thread.
 *
 *     struct record_points points = {0};
 *     record_points_add(&points, &(struct record_point){.step = 1, .loss = 0.5, .sequence = 7, .json = text});
 *     record_points_write(&points, &text);
 *     record_points_finish(&points);
 */
#ifndef CYX_GATEWAY_RECORD_H
#define CYX_GATEWAY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

enum { RECORD_HELD = 10000, RECORD_STEPS = 1000, RECORD_EPOCHS = 10000 };

struct record_point {
    bool epoch;        /* sums up an epoch; a step else */
    double step, loss; /* a loss that is no number counts as 0 */
    uint64_t sequence;
    char *json; /* an object */
};

struct record_series {
    struct record_point *points;
    size_t count, capacity;
};

struct record_points {
    struct record_series steps, epochs;
    size_t seen;            /* all that were added */
    size_t stride, skipped; /* one of so many steps is held */
};

/* In the order of their sequences. CYX_ERR_NO_MEMORY. */
enum cyx_status record_points_add(struct record_points *self, const struct record_point *point);

/* Appends a JSON array in the order of the sequences; gives how many points are in it. */
size_t record_points_write(const struct record_points *self, struct cyx_buf *ret_text);

void record_points_finish(struct record_points *self);

#endif
