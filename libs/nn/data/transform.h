/*
 * The spec's transforms for byte images. Each byte has one float a channel, so the whole chain is a
 * table of 256 floats a channel, computed once by torchvision's own steps in float32: the same bits
 * as there.
 *
 * Plain value, immutable after init: any thread.
 */
#ifndef CYX_NN_DATA_TRANSFORM_H
#define CYX_NN_DATA_TRANSFORM_H

#include <stdint.h>

#include "contract/job_spec.h"

struct cyx_transform {
    int64_t channels, plane; /* plane: H * W */
    float table[CYX_CHANNELS_LIMIT][256];
};

/* `channels` is at most CYX_CHANNELS_LIMIT. */
void cyx_transform_init(struct cyx_transform *self, const struct cyx_transform_spec *transforms,
                        size_t n_transforms, int64_t channels, int64_t plane);

/* One image: channels * plane bytes (C,H,W) to as many floats. */
void cyx_transform_image(const struct cyx_transform *self, const uint8_t *image, float *ret_image);

#endif
