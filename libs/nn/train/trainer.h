/*
 * Trains a job spec on this machine: the one loop that the CLI, the worker and Python share.
 *
 * Knows no network. Data come from `data_dir` (verified by hash), from files on this machine or from the caller's
 * arrays; events go to a callback on the calling thread, checkpoints to a folder. The same spec, backend and device give the same bits; a run resumed from
 * a checkpoint gives the same bits as one that never stopped.
 *
 * Ownership: options are borrowed for the call. Thread rule: one run a thread; `cancel` may be set by any.
 *
 *     struct cyx_train_options options = {.spec = spec, .data_dir = dir, .output_dir = out, .backend = "auto"};
 *     status = cyx_train(&options, &result, &err);
 */
#ifndef CYX_NN_TRAIN_TRAINER_H
#define CYX_NN_TRAIN_TRAINER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "contract/job_spec.h"
#include "nn/backend.h"
#include "nn/data/data.h"
#include "nn/train/gang.h"

enum cyx_train_event_kind {
    CYX_TRAIN_STARTED,    /* device, resumed step and totals are known */
    CYX_TRAIN_STEP,       /* after every step */
    CYX_TRAIN_EPOCH,      /* after an epoch's evaluation on the test (or validation) part */
    CYX_TRAIN_CHECKPOINT, /* `path` was written and is durable */
    CYX_TRAIN_NOTICE,     /* `message`, for a person: files or rows that could not be read */
};

struct cyx_train_event {
    enum cyx_train_event_kind kind;
    int64_t epoch, epochs;           /* 1-based epoch in progress or just done */
    int64_t step, total_steps;       /* optimizer steps done, of all epochs */
    int64_t samples;                 /* training samples seen, of all epochs */
    double loss;                     /* STEP: this step's; EPOCH: mean over the epoch */
    double accuracy;                 /* STEP: of the batch; EPOCH: over the training epoch */
    double eval_loss, eval_accuracy; /* EPOCH; accuracies are NaN where there are no classes */
    double grad_norm;                /* STEP: before clipping, where the spec clips by norm */
    double lr;                       /* of the optimizer's own group */
    double images_per_second;        /* training only, since the start (or resume) */
    double elapsed_seconds;
    const char *path;                     /* CHECKPOINT */
    const char *message;                  /* NOTICE */
    const struct cyx_device_info *device; /* its use of memory is at most a second old */
};

struct cyx_train_options {
    const struct cyx_job_spec *spec;
    const char *data_dir; /* where the catalogue's sets lie */
    const char *base_dir; /* where the spec's relative paths begin; NULL: the working directory */
    const struct cyx_data *data; /* used instead of the spec's data set, borrowed; NULL: that one */
    const char
        *output_dir; /* model.safetensors and checkpoint.safetensors are written here; created */
    const char *backend;      /* overrides spec->resources.backend unless NULL */
    const char *initial_from; /* where spec->initial's weights lie; NULL: in its own file */
    const char *
        resume_from; /* a checkpoint file; NULL: start anew. CYX_ERR_INVALID if it is of another spec */
    struct cyx_device_options device;
    int64_t max_steps; /* 0: as the spec says; else stop after so many: for tests */
    void (*on_event)(void *context, const struct cyx_train_event *event);
    void *context;
    const struct cyx_gang
        *gang; /* it trains with others (nn/train/gang.h), borrowed; NULL: alone */
    const atomic_bool *
        cancel; /* may be NULL; true: checkpoint, in a gang behind the next meeting, then CYX_ERR_CANCELLED */
};

struct cyx_train_result {
    double test_accuracy, test_loss; /* over the whole test part; no classes: accuracy is NaN */
    double train_loss;               /* mean of the last epoch */
    int64_t faults;                  /* files or rows of the data that could not be read */
    int64_t epochs, steps, samples;
    double images_per_second; /* training, evaluation not counted */
    double seconds;           /* wall clock of the whole call */
    struct cyx_device_info device;
    char model_path[4096]; /* "": a member of a gang that is not its first */
    char model_sha256[65];
    int64_t model_bytes;
};

enum cyx_status cyx_train(const struct cyx_train_options *options,
                          struct cyx_train_result *ret_result, struct cyx_error *ret_error);

#endif
