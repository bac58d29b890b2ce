/* Private to the image readers: one door for each format, behind image.c. */
#ifndef CYX_NN_DATA_IMAGE_PRIVATE_H
#define CYX_NN_DATA_IMAGE_PRIVATE_H

#include <stdio.h>

#include "nn/data/image.h"

/* Bytes in memory, or a file that stands at its beginning. */
struct image_source {
    FILE *file; /* NULL: the bytes */
    const uint8_t *bytes;
    size_t length;
};

/* `image` NULL: only the sizes. Grey files become `channels` channels, colour files three. */
enum cyx_status image_read_png(const struct image_source *source, int channels,
                               struct cyx_image *image, int64_t ret_size[2],
                               struct cyx_error *error);
enum cyx_status image_read_jpeg(const struct image_source *source, struct cyx_image *image,
                                int64_t ret_size[2], struct cyx_error *error);

/* CYX_ERR_TOO_LARGE for more pixels than the limit. */
enum cyx_status image_judge_size(int64_t height, int64_t width, struct cyx_error *error);

#endif
