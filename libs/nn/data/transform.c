#include "nn/data/transform.h"

#include "base/banned.h"

/* ToTensor: x / 255. Normalize: (x - mean) / std. Both in float32, as torchvision. */
static float apply(const struct cyx_transform_spec *spec, float x, int64_t channel)
{
    if (spec->type == CYX_TRANSFORM_TO_TENSOR)
        return x / 255.0f;
    size_t c = spec->n_channels == 1 ? 0 : (size_t)channel;
    return (x - (float)spec->mean[c]) / (float)spec->std[c];
}

void cyx_transform_init(struct cyx_transform *self, const struct cyx_transform_spec *transforms,
                        size_t n_transforms, int64_t channels, int64_t plane)
{
    self->channels = channels;
    self->plane = plane;
    for (int64_t c = 0; c < channels; c++) {
        for (int byte = 0; byte < 256; byte++) {
            float x = (float)byte;
            for (size_t i = 0; i < n_transforms; i++)
                x = apply(&transforms[i], x, c);
            self->table[c][byte] = x;
        }
    }
}

void cyx_transform_image(const struct cyx_transform *self, const uint8_t *image, float *ret_image)
{
    for (int64_t c = 0; c < self->channels; c++) {
        const float *table = self->table[c];
        const uint8_t *from = image + c * self->plane;
        float *to = ret_image + c * self->plane;
        for (int64_t i = 0; i < self->plane; i++)
            to[i] = table[from[i]];
    }
}
