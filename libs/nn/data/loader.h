/*
 * Batches of one part of a data set: a thread of its own shuffles, transforms and assembles the
 * next batches in a ring of CYX_LOADER_SLOTS buffers while the device computes.
 *
 * An epoch's order depends on (seed, epoch) alone: Fisher-Yates over the rows with Philox SHUFFLE.
 * The last batch may be smaller, unless drop_last.
 *
 * Ownership: data, transform and rows are borrowed until cyx_loader_destroy(), which takes NULL. A
 * batch is the loader's and stays valid until the next call of next, start or destroy. Thread rule:
 * one caller thread.
 *
 *     status = cyx_loader_create(&options, &loader, &err);
 *     cyx_loader_start(loader, epoch, 0);
 *     while (cyx_loader_next(loader, &batch)) …
 */
#ifndef CYX_NN_DATA_LOADER_H
#define CYX_NN_DATA_LOADER_H

#include <stdbool.h>

#include "base/status.h"
#include "nn/data/dataset_files.h"
#include "nn/data/transform.h"

enum { CYX_LOADER_SLOTS = 3 };

struct cyx_loader;

struct cyx_loader_options {
    const struct cyx_data_part *part;
    const struct cyx_transform *transform;
    const uint32_t *rows; /* which rows of the part, in order; NULL: all */
    size_t n_rows;        /* with rows */
    int64_t batch;
    bool shuffle, drop_last;
    uint64_t seed;
};

struct cyx_batch {
    const float *input;    /* (count,C,H,W), 64-byte aligned */
    const int32_t *target; /* (count) */
    int64_t count;
    int64_t index; /* of the batch within the epoch, from 0 */
};

enum cyx_status cyx_loader_create(const struct cyx_loader_options *options,
                                  struct cyx_loader **ret_loader, struct cyx_error *ret_error);
void cyx_loader_destroy(struct cyx_loader *self);

/* Batches of an epoch, and rows in all of them. */
int64_t cyx_loader_batches(const struct cyx_loader *self);
int64_t cyx_loader_samples(const struct cyx_loader *self);

/* Begins (or begins again) with batch `first_batch` of `epoch`; batches are made from now on. */
void cyx_loader_start(struct cyx_loader *self, uint32_t epoch, int64_t first_batch);

/* Waits for the next batch; false behind the epoch's last. */
bool cyx_loader_next(struct cyx_loader *self, struct cyx_batch *ret_batch);

/*
 * Splits `count` rows by seed: the first round(count * part) of a permutation validate, the rest
 * train. `ret_rows` (count elements) holds the training rows and behind them the
 * `*ret_n_validation` others.
 */
void cyx_loader_split(uint64_t seed, uint32_t count, double part, uint32_t *ret_rows,
                      uint32_t *ret_n_validation);

#endif
