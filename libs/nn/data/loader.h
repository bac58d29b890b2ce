/*
 * Batches of one part of a data set: threads of its own shuffle, transform and assemble the next batches in a ring
 * of CYX_LOADER_SLOTS buffers while the device computes.
 *
 * An epoch's order depends on (seed, epoch) alone: Fisher-Yates over the rows with Philox SHUFFLE; what transforms
 * draw depends on (seed, epoch, row). So the batches are the same bits for any number of threads, and in a run that
 * was resumed. The last batch may be smaller, unless drop_last.
 *
 * A row that cannot be read is a fault of the data (nn/data/data.h) and its place is taken by the next row of the
 * list that can, so that shapes stay static; where none of CYX_LOADER_TRIES rows can, cyx_loader_next() gives
 * no more batches and cyx_loader_failure() says why.
 *
 * Ownership: data, pipeline and rows are borrowed until cyx_loader_destroy(), which takes NULL. A batch is the
 * loader's and stays valid until the next call of next, start or destroy. Thread rule: one caller thread.
 *
 *     status = cyx_loader_create(&options, &loader, &err);
 *     cyx_loader_start(loader, epoch, 0);
 *     while (cyx_loader_next(loader, &batch)) …
 *     status = cyx_loader_failure(loader, &err);
 */
#ifndef CYX_NN_DATA_LOADER_H
#define CYX_NN_DATA_LOADER_H

#include <stdbool.h>

#include "nn/data/data.h"
#include "nn/data/pipeline.h"

enum { CYX_LOADER_SLOTS = 3, CYX_LOADER_TRIES = 1000 };

struct cyx_loader;

struct cyx_loader_options {
    const struct cyx_data *data;
    const struct cyx_data_part *part; /* of data */
    const struct cyx_pipeline *pipeline;
    const uint32_t *rows; /* which rows of the part, in order; NULL: all */
    size_t n_rows;        /* with rows */
    int64_t batch;
    bool shuffle, drop_last;
    int64_t shard,
        shards; /* of the epoch's order every shards-th row from the shard-th on; shards 0: all */
    uint64_t seed;
    int64_t workers; /* threads; 0: as many cores as there are for costly rows, one for others */
};

struct cyx_batch {
    const float *input; /* (count, …) as cyx_pipeline_sample says, 64-byte aligned */
    const void *target; /* int32 (count), or float (count, n_targets); NULL without targets */
    int64_t count;
    int64_t index; /* of the batch within the epoch, from 0 */
};

enum cyx_status cyx_loader_create(const struct cyx_loader_options *options,
                                  struct cyx_loader **ret_loader, struct cyx_error *ret_error);
void cyx_loader_destroy(struct cyx_loader *self);

/* Batches of an epoch, and rows in all of them. */
int64_t cyx_loader_batches(const struct cyx_loader *self);
int64_t cyx_loader_samples(const struct cyx_loader *self);

/* How many threads make batches. */
int cyx_loader_workers(const struct cyx_loader *self);

/* Begins (or begins again) with batch `first_batch` of `epoch`; batches are made from now on. */
void cyx_loader_start(struct cyx_loader *self, uint32_t epoch, int64_t first_batch);

/* Waits for the next batch; false behind the epoch's last, or after a failure. */
bool cyx_loader_next(struct cyx_loader *self, struct cyx_batch *ret_batch);

/* CYX_OK, or why there were no more batches. */
enum cyx_status cyx_loader_failure(struct cyx_loader *self, struct cyx_error *ret_error);

/*
 * Splits `count` rows by seed: the first round(count * part) of a permutation validate, the rest
 * train. `ret_rows` (count elements) holds the training rows and behind them the
 * `*ret_n_validation` others.
 */
void cyx_loader_split(uint64_t seed, uint32_t count, double part, uint32_t *ret_rows,
                      uint32_t *ret_n_validation);

#endif
