#include "nn/data/image.h"

#include <stdlib.h>
#include <string.h>

#include "nn/data/image_private.h"

#include "base/banned.h"

bool cyx_image_reserve(struct cyx_image *self, int64_t height, int64_t width, int channels)
{
    size_t bytes = (size_t)height * (size_t)width * (size_t)channels;
    if (bytes > self->capacity) {
        free(self->data);
        self->data = malloc(bytes);
        self->capacity = self->data ? bytes : 0;
    }
    self->height = height;
    self->width = width;
    self->channels = channels;
    return self->data != NULL;
}

void cyx_image_finish(struct cyx_image *self)
{
    free(self->data);
    *self = (struct cyx_image){0};
}

void cyx_image_to_grey(struct cyx_image *self)
{
    int64_t pixels = self->height * self->width;
    const uint8_t *from = self->data;
    for (int64_t i = 0; i < pixels; i++, from += 3)
        self->data[i] =
            (uint8_t)((from[0] * 19595u + from[1] * 38470u + from[2] * 7471u + 0x8000u) >> 16);
    self->channels = 1;
}

enum cyx_status image_judge_size(int64_t height, int64_t width, struct cyx_error *error)
{
    if (height >= 1 && width >= 1 && height <= CYX_IMAGE_PIXELS_LIMIT / width)
        return CYX_OK;
    return cyx_error_set(error, CYX_ERR_TOO_LARGE, NULL,
                         "an image of %lldx%lld pixels, over the limit of %lld", (long long)width,
                         (long long)height, (long long)CYX_IMAGE_PIXELS_LIMIT);
}

static bool is_png(const uint8_t *bytes, size_t length)
{
    return length >= 8 && memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0;
}

static bool is_jpeg(const uint8_t *bytes, size_t length)
{
    return length >= 3 && memcmp(bytes, "\xFF\xD8\xFF", 3) == 0;
}

static enum cyx_status read_any(const struct image_source *source, const uint8_t *head,
                                size_t n_head, int channels, struct cyx_image *image,
                                int64_t ret_size[2], struct cyx_error *error)
{
    if (is_png(head, n_head))
        return image_read_png(source, channels, image, ret_size, error);
    if (is_jpeg(head, n_head))
        return image_read_jpeg(source, image, ret_size, error);
    return cyx_error_set(error, CYX_ERR_CORRUPT, NULL, "%s",
                         n_head == 0 ? "the file is empty" : "not a PNG or JPEG file");
}

enum cyx_status cyx_image_probe(const char *path, int64_t *ret_height, int64_t *ret_width,
                                struct cyx_error *ret_error)
{
    FILE *file = fopen(path, "rbe");
    uint8_t head[8];
    int64_t size[2] = {0, 0};
    if (!file)
        return cyx_error_errno(ret_error, "cannot open it");
    size_t n_head = fread(head, 1, sizeof(head), file);
    rewind(file);
    struct image_source source = {.file = file};
    enum cyx_status status = read_any(&source, head, n_head, 3, NULL, size, ret_error);
    fclose(file);
    if (status != CYX_OK)
        return status;
    *ret_height = size[0];
    *ret_width = size[1];
    return CYX_OK;
}

enum cyx_status cyx_image_decode(const void *bytes, size_t length, int channels,
                                 struct cyx_image *image, struct cyx_error *ret_error)
{
    struct image_source source = {.bytes = bytes, .length = length};
    int64_t size[2];
    enum cyx_status status = read_any(&source, bytes, length, channels, image, size, ret_error);
    if (status == CYX_OK && channels == 1 && image->channels == 3)
        cyx_image_to_grey(image);
    return status;
}
