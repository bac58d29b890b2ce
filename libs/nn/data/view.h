/*
 * Private to libs/nn/data: a rectangle of pixels somewhere in memory, as steps between its elements. Crops and
 * flips change the steps and nothing else; view_write_*() gathers the pixels in the end. One thread.
 */
#ifndef CYX_NN_DATA_VIEW_H
#define CYX_NN_DATA_VIEW_H

#include "nn/data/data.h"
#include "nn/data/image.h"

struct view {
    const uint8_t *bytes;
    const float *floats; /* NULL: bytes */
    int64_t height, width, channels;
    ptrdiff_t row, pixel, channel; /* elements from one to the next */
    struct cyx_image *image;       /* the scratch image that this is the whole of, or NULL */
};

/* A float for each byte of each channel. */
struct view_table {
    float value[CYX_CHANNELS_LIMIT][256];
};

/* ToTensor (x / 255), then the Normalizes, in float32 as torchvision. */
void view_table_init(struct view_table *self, const struct cyx_transform_spec *normalize,
                     size_t n_normalize);

void view_of_row(struct view *self, const struct cyx_row_shape *shape,
                 const struct cyx_data_part *part, uint32_t row);
void view_of_image(struct view *self, struct cyx_image *image);

void view_crop(struct view *self, int64_t top, int64_t left, int64_t height, int64_t width);
void view_flip_rows(struct view *self);
void view_flip_columns(struct view *self);

/* The view's bytes as (H,W,C); false when memory ran out. */
bool view_copy(const struct view *self, struct cyx_image *to);

/* A crop that reaches outside, where `fill` is; the view then lies in `to`. */
bool view_crop_padded(struct view *self, int64_t top, int64_t left, int64_t height, int64_t width,
                      uint8_t fill, struct cyx_image *to);

/* (C,H,W) floats. */
void view_write_bytes(const struct view *self, const struct view_table *table, float *to);
void view_write_floats(const struct view *self, const struct cyx_transform_spec *normalize,
                       size_t n_normalize, float *to);

#endif
