/*
 * One image as bytes, and PNG and JPEG files (libpng, libjpeg-turbo) as such images.
 *
 * Every image becomes grey or RGB, as Pillow's convert("L") and convert("RGB"): palettes are looked up, 16 bits
 * become 8, transparency is dropped, colour profiles and EXIF's orientation are not looked at.
 *
 * Files are hostile until decoded: sizes are judged before memory is taken (CYX_IMAGE_PIXELS_LIMIT), a JPEG of
 * more scans than CYX_IMAGE_SCANS_LIMIT and a PNG chunk that would unpack beyond reason are refused, and a
 * broken one is CYX_ERR_CORRUPT with the library's sentence; nothing exits and nothing is printed.
 *
 * Ownership: an image is the caller's (zeroed is empty) and grows as needed; cyx_image_finish() frees.
 * Thread rule: one image a thread.
 *
 *     struct cyx_image image = {0};
 *     status = cyx_image_decode(bytes, length, 3, &image, &err);
 */
#ifndef CYX_NN_DATA_IMAGE_H
#define CYX_NN_DATA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define CYX_IMAGE_PIXELS_LIMIT (INT64_C(1) << 26)
enum {
    CYX_IMAGE_FILE_LIMIT_BYTES = 256 * 1024 * 1024,
    CYX_IMAGE_SCANS_LIMIT = 100, /* of a progressive JPEG; cameras and editors write about ten */
};

struct cyx_image {
    uint8_t *data; /* (height, width, channels) */
    size_t capacity;
    int64_t height, width;
    int channels;
};

/* Room for these sizes; false when memory ran out. The content is lost. */
bool cyx_image_reserve(struct cyx_image *self, int64_t height, int64_t width, int channels);
void cyx_image_finish(struct cyx_image *self);

/* Height and width from the file's first bytes, without decoding. */
enum cyx_status cyx_image_probe(const char *path, int64_t *ret_height, int64_t *ret_width,
                                struct cyx_error *ret_error);

/* `channels` is 1 or 3. On failure the image's content is lost. */
enum cyx_status cyx_image_decode(const void *bytes, size_t length, int channels,
                                 struct cyx_image *image, struct cyx_error *ret_error);

/* The image as a PNG file's bytes. */
enum cyx_status cyx_image_encode_png(const struct cyx_image *image, struct cyx_buf *ret_bytes,
                                     struct cyx_error *ret_error);

/* RGB to grey in place, by ITU-R 601-2 in 16 bits as Pillow. */
void cyx_image_to_grey(struct cyx_image *self);

#endif
