/*
 * What transforms do to an image's bytes, (H,W,C) with one to four channels. The results are Pillow's, to the
 * bit where a comment does not say otherwise, so that torchvision's transforms of PIL images give the same.
 *
 * `to` grows as needed and must not be `from`. bool: false when memory ran out. One image a thread.
 */
#ifndef CYX_NN_DATA_IMAGE_OPS_H
#define CYX_NN_DATA_IMAGE_OPS_H

#include "contract/job_spec.h"
#include "nn/data/image.h"

/* Another size. BILINEAR and BICUBIC weigh all pixels that an output pixel covers (antialias), first along
 * rows, then along columns, in fixed point; `between` holds the rows. */
bool cyx_image_resize(const struct cyx_image *from, int64_t height, int64_t width,
                      enum cyx_interpolation interpolation, struct cyx_image *between,
                      struct cyx_image *to);

/* Counter-clockwise about the middle, the size kept; `fill` where nothing comes to lie. NEAREST or BILINEAR. */
bool cyx_image_rotate(const struct cyx_image *from, double degrees,
                      enum cyx_interpolation interpolation, uint8_t fill, struct cyx_image *to);

/* In place. 1 changes nothing; a turn of 0 costs what bytes for hue and saturation cannot hold. Saturation and
 * hue leave grey images alone. */
void cyx_image_brightness(struct cyx_image *self, double factor);
void cyx_image_contrast(struct cyx_image *self, double factor);
void cyx_image_saturation(struct cyx_image *self, double factor);
void cyx_image_hue(struct cyx_image *self, double turn);

#endif
