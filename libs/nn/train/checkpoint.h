/*
 * Checkpoints and models as safetensors files, written whole or not at all.
 *
 * A checkpoint holds every persistent value (parameters, optimizer state) and, as metadata, where training
 * stands; a run that goes on from it gives the same bits as one that never stopped. A model holds the parameters
 * alone under their state_dict names, with "format": "pt", so that PyTorch's loaders take it, and says what it is
 * (nn/format/model_file.h).
 *
 *     status = cyx_checkpoint_save(path, &run, &progress, &err);
 */
#ifndef CYX_NN_TRAIN_CHECKPOINT_H
#define CYX_NN_TRAIN_CHECKPOINT_H

#include "blob/sha256.h"
#include "contract/job_spec.h"
#include "nn/backend.h"
#include "nn/optim/lr.h"

/* What a file is written from or read into; borrowed. */
struct cyx_checkpoint_target {
    const struct cyx_backend *backend;
    struct cyx_session *session;
    const struct cyx_graph *graph; /* whose PARAM and STATE values are kept */
    const struct cyx_job_spec *spec;
    const char *const *classes; /* for a model's file; NULL: the catalogue's, if any */
    size_t n_classes;
};

/* Where training stands. */
struct cyx_progress {
    int64_t epoch; /* epochs done */
    int64_t batch; /* batches done within the epoch in progress */
    int64_t step;  /* optimizer steps done, of all epochs */
    int64_t samples;
    double loss_sum; /* of the epoch in progress: Σ loss * count */
    int64_t correct, count;
    double last_train_loss, last_train_accuracy; /* of the last whole epoch */
    struct cyx_lr_state lr;
};

/* CYX_ERR_INVALID at "/optimizer/lr" when a parameter or buffer is NaN or infinite: an older file stays. */
enum cyx_status cyx_checkpoint_save(const char *path, const struct cyx_checkpoint_target *target,
                                    const struct cyx_progress *progress,
                                    struct cyx_error *ret_error);

/*
 * CYX_ERR_INVALID when it is a checkpoint of another spec or data set, CYX_ERR_CORRUPT when it is none.
 * On failure the session's values are undefined.
 */
enum cyx_status cyx_checkpoint_load(const char *path, const struct cyx_checkpoint_target *target,
                                    struct cyx_progress *ret_progress, struct cyx_error *ret_error);

/* `steps` is what BatchNorm's num_batches_tracked says. */
enum cyx_status cyx_model_save(const char *path, const struct cyx_checkpoint_target *target,
                               int64_t steps, char ret_sha256[CYX_SHA256_HEX], int64_t *ret_bytes,
                               struct cyx_error *ret_error);

#endif
