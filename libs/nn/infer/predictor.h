/*
 * A trained model at work: opens a model file, builds the spec's evaluation graph (no Dropout, BatchNorm by its
 * running statistics), loads the weights strictly and gives outputs for batches of any size.
 *
 * The file is one of ours (its metadata hold spec, classes and the sample's shape: format/model_file.h), or a PyTorch
 * state_dict saved as safetensors together with a spec that names its layers alike. Strictly: every tensor of the
 * model must be there with its shape, and no other, but for BatchNorm's num_batches_tracked, which only PyTorch
 * reads. F32 as it is; F64, F16 and BF16 are converted.
 *
 * Letters: N rows, C classes or outputs. Inputs are (N,C,H,W), (N,C,L) or (N,F), after the spec's transforms.
 *
 * Ownership: options are borrowed until destroy; cyx_predictor_destroy() takes NULL. One thread at a time.
 *
 *     struct cyx_predictor_options options = {.model_path = "runs/demo/model.safetensors"};
 *     status = cyx_predictor_create(&options, &predictor, &err);
 *     status = cyx_predictor_run(predictor, images, 10, outputs, &err);
 *     cyx_predictor_probabilities(predictor, outputs, 10, outputs);
 */
#ifndef CYX_NN_INFER_PREDICTOR_H
#define CYX_NN_INFER_PREDICTOR_H

#include "contract/job_spec.h"
#include "nn/backend.h"

struct cyx_predictor;

struct cyx_predictor_options {
    const char *model_path;
    const struct cyx_job_spec
        *spec;           /* instead of the file's own; must be given where it has none */
    const char *backend; /* NULL: the spec's */
    struct cyx_device_options device;
    int64_t batch; /* most rows in one step; 0: the spec's batch size */
};

/* What the outputs are, by the loss that they were trained for. */
enum cyx_output_kind {
    CYX_OUTPUT_CLASSES, /* exclusive classes: probabilities by softmax (CrossEntropyLoss, or Softmax at the end) */
    CYX_OUTPUT_LABELS,  /* each output by itself: probabilities by sigmoid (BCEWithLogitsLoss) */
    CYX_OUTPUT_SCORES,  /* a number for each class, the largest wins; no probabilities */
    CYX_OUTPUT_NUMBERS, /* numbers, or the input again (autoencoders) */
};

/*
 * CYX_ERR_NOT_FOUND for no such file; CYX_ERR_CORRUPT for one that is no safetensors file; CYX_ERR_INVALID where it
 * holds no spec and none was given, and where weights and spec differ: the sentence names the tensors.
 */
enum cyx_status cyx_predictor_create(const struct cyx_predictor_options *options,
                                     struct cyx_predictor **ret_predictor,
                                     struct cyx_error *ret_error);
void cyx_predictor_destroy(struct cyx_predictor *self);

/* All of these live as long as the predictor. */
const struct cyx_job_spec *cyx_predictor_spec(const struct cyx_predictor *self);
const struct cyx_device_info *cyx_predictor_device(const struct cyx_predictor *self);
enum cyx_output_kind cyx_predictor_kind(const struct cyx_predictor *self);
int64_t cyx_predictor_batch(const struct cyx_predictor *self); /* most rows in one step */
/* Whether a step's result says how many rows were correct: its target is one class a row. */
bool cyx_predictor_counts_correct(const struct cyx_predictor *self);

/* Of one row, without N. */
const struct cyx_shape *cyx_predictor_input_shape(const struct cyx_predictor *self);
const struct cyx_shape *cyx_predictor_output_shape(const struct cyx_predictor *self);

/* The name of class `index` (below the outputs' count), its index in decimal where none is known; NULL for NUMBERS. */
const char *cyx_predictor_class(const struct cyx_predictor *self, size_t index);

/* Whether those are names, not indices. */
bool cyx_predictor_has_class_names(const struct cyx_predictor *self);

/* `ret_output`: count times the output shape's elements. */
enum cyx_status cyx_predictor_run(struct cyx_predictor *self, const float *input, int64_t count,
                                  float *ret_output, struct cyx_error *ret_error);

/* Outputs of `count` rows as probabilities, where the kind has them; else a copy. In place is fine. */
void cyx_predictor_probabilities(const struct cyx_predictor *self, const float *output,
                                 int64_t count, float *ret_probabilities);

/* One step with its target, as the loss wants it: for evaluation. `ret_output` as above. */
enum cyx_status cyx_predictor_step(struct cyx_predictor *self, const float *input,
                                   const void *target, int64_t count, float *ret_output,
                                   struct cyx_step_result *ret_result, struct cyx_error *ret_error);

#endif
