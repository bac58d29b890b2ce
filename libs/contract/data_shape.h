/*
 * What transforms make of an image's shape, without an image: the parser, the data's readers and the model
 * editor judge by it. Plain values; any thread.
 *
 *     struct cyx_image_shape shape = {.channels = 3, .height = 375, .width = 500};
 *     status = cyx_transforms_shape(data->transforms, data->n_transforms, &shape, &err);
 */
#ifndef CYX_CONTRACT_DATA_SHAPE_H
#define CYX_CONTRACT_DATA_SHAPE_H

#include "contract/job_spec.h"

struct cyx_image_shape {
    int64_t channels, height, width;
};

/*
 * The shape behind all transforms; training and evaluation give the same. CYX_ERR_INVALID at
 * /data/transforms/<i> when a crop does not fit into what it gets.
 */
enum cyx_status cyx_transforms_shape(const struct cyx_transform_spec *transforms, size_t n,
                                     struct cyx_image_shape *shape, struct cyx_error *ret_error);

/* Whether any of them needs an image, so that rows of numbers are refused. */
bool cyx_transform_is_of_images(enum cyx_transform_type type);

/* Resize: the height and width that it makes of these. */
void cyx_resize_shape(const struct cyx_transform_spec *resize, int64_t height, int64_t width,
                      int64_t ret_size[2]);

#endif
