#include "contract/data_shape.h"

#include <stdio.h>

#include "base/banned.h"

bool cyx_transform_is_of_images(enum cyx_transform_type type)
{
    return type < CYX_TRANSFORM_TO_TENSOR;
}

/* torchvision: the longer edge is int(size * long / short). */
void cyx_resize_shape(const struct cyx_transform_spec *resize, int64_t height, int64_t width,
                      int64_t ret_size[2])
{
    ret_size[0] = resize->size[0];
    ret_size[1] = resize->size[1];
    if (resize->size[1] != 0)
        return;
    if (height <= width)
        ret_size[1] = resize->size[0] * width / height;
    else {
        ret_size[1] = resize->size[0];
        ret_size[0] = resize->size[0] * height / width;
    }
}

static enum cyx_status fail(size_t index, struct cyx_error *error, const char *what,
                            const struct cyx_image_shape *shape,
                            const struct cyx_transform_spec *transform)
{
    char pointer[48];
    snprintf(pointer, sizeof(pointer), "/data/transforms/%zu", index);
    return cyx_error_set(error, CYX_ERR_INVALID, pointer, "%s of size [%lld, %lld] %s (%lldx%lld)",
                         cyx_transform_name(transform->type), (long long)transform->size[0],
                         (long long)transform->size[1], what, (long long)shape->height,
                         (long long)shape->width);
}

static enum cyx_status resize(size_t index, const struct cyx_transform_spec *transform,
                              struct cyx_image_shape *shape, struct cyx_error *error)
{
    int64_t size[2];
    cyx_resize_shape(transform, shape->height, shape->width, size);
    if (size[0] > CYX_IMAGE_SIDE_LIMIT || size[1] > CYX_IMAGE_SIDE_LIMIT)
        return fail(index, error, "makes a side over 16384 of what it gets: crop first", shape,
                    transform);
    shape->height = size[0] > 0 ? size[0] : 1;
    shape->width = size[1] > 0 ? size[1] : 1;
    return CYX_OK;
}

enum cyx_status cyx_transforms_shape(const struct cyx_transform_spec *transforms, size_t n,
                                     struct cyx_image_shape *shape, struct cyx_error *ret_error)
{
    for (size_t i = 0; i < n; i++) {
        const struct cyx_transform_spec *t = &transforms[i];
        enum cyx_status status = CYX_OK;
        bool crop = t->type == CYX_TRANSFORM_CENTER_CROP || t->type == CYX_TRANSFORM_RANDOM_CROP;
        int64_t border = 2 * t->padding;
        if (t->type == CYX_TRANSFORM_RESIZE)
            status = resize(i, t, shape, ret_error);
        else if (t->type == CYX_TRANSFORM_RANDOM_CROP && !t->pad_if_needed &&
                 (shape->height + border < t->size[0] || shape->width + border < t->size[1]))
            status = fail(i, ret_error,
                          "does not fit into what it gets: use pad_if_needed, a padding, or Resize "
                          "before it",
                          shape, t);
        if (status != CYX_OK)
            return status;
        if (crop) {
            shape->height = t->size[0];
            shape->width = t->size[1];
        }
    }
    return CYX_OK;
}
