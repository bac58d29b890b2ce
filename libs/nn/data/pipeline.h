/*
 * The spec's transforms as one pass from a row of a data set to the floats that the model gets.
 *
 * Crops and flips are views: no byte is moved until the end. Resize, rotation, colour and padding work on bytes,
 * as torchvision does on PIL images (image_ops.h). At the end each byte has one float a channel: ToTensor and
 * Normalize are a table of 256 floats, computed once by torchvision's own steps in float32. Rows of floats
 * take crops and flips, and Normalize directly.
 *
 * Whatever is drawn comes from Philox keyed by (seed, epoch, row, transform): the same row of the same epoch is the
 * same bits on any thread, in any order, and in a run that was resumed. The evaluation's pipeline leaves out
 * what is random; a RandomCrop that changes the size is a CenterCrop there.
 *
 * Ownership: the data set is borrowed; destroy takes NULL. A pipeline is immutable: any thread. A scratch belongs
 * to one thread.
 *
 *     status = cyx_pipeline_create(data, &spec->data, training, spec->seed, &pipeline, &err);
 *     status = cyx_pipeline_row(pipeline, &data->train, row, epoch, scratch, input, &err);
 */
#ifndef CYX_NN_DATA_PIPELINE_H
#define CYX_NN_DATA_PIPELINE_H

#include "nn/data/data.h"

struct cyx_pipeline;
struct cyx_scratch;

/* CYX_ERR_INVALID at /data/transforms/<i> for what does not fit the data. */
enum cyx_status cyx_pipeline_create(const struct cyx_data *data, const struct cyx_data_spec *spec,
                                    bool training, uint64_t seed,
                                    struct cyx_pipeline **ret_pipeline,
                                    struct cyx_error *ret_error);
void cyx_pipeline_destroy(struct cyx_pipeline *self);

/* What it makes of a row. */
const struct cyx_sample_shape *cyx_pipeline_sample(const struct cyx_pipeline *self);

/* Floats of a sample. */
int64_t cyx_pipeline_elements(const struct cyx_pipeline *self);

/* Whether rows cost enough that several threads make batches faster. */
bool cyx_pipeline_is_heavy(const struct cyx_pipeline *self);

/* NULL when memory ran out. */
struct cyx_scratch *cyx_scratch_create(void);
void cyx_scratch_destroy(struct cyx_scratch *self);

/* One row's floats, (C,H,W). CYX_ERR_CORRUPT when it cannot be read: the row is noted as a fault of the data. */
enum cyx_status cyx_pipeline_row(const struct cyx_pipeline *self, const struct cyx_data_part *part,
                                 uint32_t row, uint32_t epoch, struct cyx_scratch *scratch,
                                 float *ret_input, struct cyx_error *ret_error);

#endif
