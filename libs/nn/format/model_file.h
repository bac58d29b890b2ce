/*
 * What a model file (safetensors) says of itself beside its weights, so that it can be used without the folder that
 * it was trained in. Its metadata, all of them texts:
 *
 *   format            "pt": the tensors are a PyTorch state_dict
 *   cyxwiz.version    of the engine that wrote it
 *   cyxwiz.spec       the job's spec, canonical JSON
 *   cyxwiz.dataset    SHA-256 of the data set's files
 *   cyxwiz.sample     what one sample is, as the model gets it: {"shape":[1,28,28],"n_classes":10}; "n_targets" where
 *                     the targets are numbers
 *   cyxwiz.classes    names in the order of the outputs: "[\"T-shirt/top\",…]"; absent where there are none
 *   cyxwiz.normalize  {"mean":[…],"std":[…]} of the spec's Normalize; absent without one
 *
 * Ownership: the reader's `about` borrows the open file and owns the rest until cyx_model_about_finish(). Any thread.
 *
 *     status = cyx_model_about_read(file, &about, &err);
 */
#ifndef CYX_NN_FORMAT_MODEL_FILE_H
#define CYX_NN_FORMAT_MODEL_FILE_H

#include "base/arena.h"
#include "contract/job_spec.h"
#include "nn/format/safetensors.h"

enum { CYX_MODEL_PAIRS_LIMIT = 8, CYX_MODEL_CLASSES_LIMIT = 1000 * 1000 };

struct cyx_model_about {
    const char *version, *spec; /* NULL: a file of another program's */
    const char **classes;
    size_t n_classes;
    struct cyx_sample_shape sample; /* rank 0: not said */
    struct cyx_arena arena;
};

/* The pairs of a model of this spec; texts are the arena's. `classes` may be NULL: the catalogue's, if any. */
enum cyx_status cyx_model_about_pairs(const struct cyx_job_spec *spec, const char *const *classes,
                                      size_t n_classes, struct cyx_arena *arena,
                                      struct cyx_safetensors_pair ret_pairs[CYX_MODEL_PAIRS_LIMIT],
                                      size_t *ret_count, struct cyx_error *ret_error);

/* CYX_ERR_CORRUPT where a member is there and is not what it should be. */
enum cyx_status cyx_model_about_read(const struct cyx_safetensors *file,
                                     struct cyx_model_about *ret_about,
                                     struct cyx_error *ret_error);
/* The spec that the file holds, its sample's shape filled in; CYX_ERR_INVALID where it holds none. The caller's. */
enum cyx_status cyx_model_about_spec(const struct cyx_model_about *self, const char *path,
                                     struct cyx_job_spec **ret_spec, struct cyx_error *ret_error);
void cyx_model_about_finish(struct cyx_model_about *self);

#endif
