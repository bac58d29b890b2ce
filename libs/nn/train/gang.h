/*
 * Several runs that train one model together, a gang: each on its own shard of every epoch's order, and now and then all
 * of them meet and go on from the mean of what they have.
 *
 * Member `rank` of `nodes` trains on every nodes-th row of the epoch's order, from the rank-th on, as PyTorch's
 * DistributedSampler(drop_last=True) deals them; up to nodes - 1 rows of an epoch are left out. Between two meetings it is a
 * run like any other: local SGD (Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019). They meet after
 * every `every_steps` steps and after an epoch's last one. What a checkpoint holds (parameters, BatchNorm's running
 * statistics, the optimizer's state) is replaced by its mean, so that all members stand at the same bits, and a gang that
 * goes on from the first one's checkpoint gives the bits of one that never stopped. With every_steps 1 and SGD, with momentum or
 * without, a step is one of a single run with nodes times the batch.
 *
 * The first member (rank 0) evaluates, writes checkpoints, after meetings alone, and the model; the others write
 * nothing. Dropout draws differently in each. ReduceLROnPlateau is told the first one's evaluation by a meeting of its own.
 *
 *     struct cyx_gang gang = {.rank = 1, .nodes = 3, .every_steps = 16, .meet = meet, .context = wire};
 */
#ifndef CYX_NN_TRAIN_GANG_H
#define CYX_NN_TRAIN_GANG_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct cyx_gang {
    int rank, nodes;
    int64_t every_steps;
    /*
     * Waits for all, and puts the mean of their values, as cyx_gang_add() and cyx_gang_mean() take it in the order of the
     * ranks, in their place. Called the same number of times with the same counts by each. Any failure ends the run.
     */
    enum cyx_status (*meet)(void *context, float *values, size_t count,
                            struct cyx_error *ret_error);
    void *context;
};

/* The mean of several members' values: the same bits wherever it is taken, since only sums and one division round. */
void cyx_gang_add(double *sums, const float *values, size_t count);
void cyx_gang_mean(const double *sums, int nodes, float *ret_values, size_t count);

#endif
