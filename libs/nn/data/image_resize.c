#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/data/image_ops.h"

#include "base/banned.h"

/* Weights are integers of this many bits behind the point: 8 bits of a byte, 2 of room. */
enum { WEIGHT_BITS = 32 - 8 - 2 };

/* Which inputs make output i, and by which weights: weights[i * most ...] for inputs from first[i] on. */
struct weights {
    int64_t *first, *count;
    int32_t *weight;
    int64_t most;
};

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Keys, 1981, with a = -1/2. */
static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static void weights_finish(struct weights *self)
{
    free(self->first);
    free(self->count);
    free(self->weight);
}

/* Output i covers the inputs about (i + 1/2) in / out, `support` filter widths to each side. */
static void fill_weights(struct weights *self, int64_t in, int64_t out, double (*filter)(double),
                         double support, double *sums)
{
    double scale = (double)in / (double)out, wide = scale < 1 ? 1 : scale;
    for (int64_t i = 0; i < out; i++) {
        double center = ((double)i + 0.5) * scale, sum = 0;
        int64_t first = (int64_t)(center - support * wide + 0.5);
        int64_t end = (int64_t)(center + support * wide + 0.5);
        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        for (int64_t k = first; k < end; k++) {
            sums[k - first] = filter(((double)k - center + 0.5) * (1.0 / wide));
            sum += sums[k - first];
        }
        for (int64_t k = 0; k < end - first; k++) {
            double weight = sum != 0 ? sums[k] / sum : sums[k];
            double fixed = weight * (double)(1 << WEIGHT_BITS);
            self->weight[i * self->most + k] = (int32_t)(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
        }
        self->first[i] = first;
        self->count[i] = end - first;
    }
}

static bool weights_init(struct weights *self, int64_t in, int64_t out, bool cubic)
{
    double scale = (double)in / (double)out, support = cubic ? 2 : 1;
    self->most = (int64_t)ceil(support * (scale < 1 ? 1 : scale)) * 2 + 1;
    self->first = malloc((size_t)out * sizeof(*self->first));
    self->count = malloc((size_t)out * sizeof(*self->count));
    self->weight = malloc((size_t)(out * self->most) * sizeof(*self->weight));
    double *sums = calloc((size_t)self->most, sizeof(*sums));
    bool good = self->first && self->count && self->weight && sums;
    if (good)
        fill_weights(self, in, out, cubic ? bicubic : bilinear, support, sums);
    free(sums);
    return good;
}

static uint8_t clip(int32_t sum)
{
    int32_t value = sum >> WEIGHT_BITS;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

/* One row, pixel by pixel; `channels` is a constant where this is called. */
static inline __attribute__((always_inline)) void
along_row_of(const struct weights *w, const uint8_t *from, int64_t width, int channels, uint8_t *to)
{
    for (int64_t x = 0; x < width; x++) {
        const uint8_t *pixel = from + w->first[x] * channels;
        const int32_t *weight = w->weight + x * w->most;
        int64_t count = w->count[x];
        int32_t sum[4] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                          1 << (WEIGHT_BITS - 1)};
        for (int64_t k = 0; k < count; k++, pixel += channels)
            for (int c = 0; c < channels; c++)
                sum[c] += pixel[c] * weight[k];
        for (int c = 0; c < channels; c++)
            *to++ = clip(sum[c]);
    }
}

static void along_row(const struct weights *w, const uint8_t *from, int64_t width, int channels,
                      uint8_t *to)
{
    if (channels == 3)
        along_row_of(w, from, width, 3, to);
    else if (channels == 1)
        along_row_of(w, from, width, 1, to);
    else
        along_row_of(w, from, width, channels, to);
}

/* Wider vectors where the CPU has them; sanitizers and resolvers of such clones do not go together. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&      \
    !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define WIDE
#endif

/* One output row from several input rows; `sums` has a row's elements. */
static WIDE void across_rows(const struct weights *w, const struct cyx_image *from, int64_t y,
                             int32_t *sums, uint8_t *to)
{
    int64_t row = from->width * from->channels;
    const int32_t *weight = w->weight + y * w->most;
    for (int64_t i = 0; i < row; i++)
        sums[i] = 1 << (WEIGHT_BITS - 1);
    for (int64_t k = 0; k < w->count[y]; k++) {
        const uint8_t *line = from->data + (w->first[y] + k) * row;
        int32_t by = weight[k];
        for (int64_t i = 0; i < row; i++)
            sums[i] += line[i] * by;
    }
    for (int64_t i = 0; i < row; i++)
        to[i] = clip(sums[i]);
}

static bool resize_columns(const struct cyx_image *from, int64_t height, bool cubic,
                           struct cyx_image *to)
{
    struct weights weights = {0};
    int64_t row = from->width * from->channels;
    int32_t *sums = malloc((size_t)row * sizeof(*sums));
    bool good = sums && weights_init(&weights, from->height, height, cubic) &&
                cyx_image_reserve(to, height, from->width, from->channels);
    for (int64_t y = 0; good && y < height; y++)
        across_rows(&weights, from, y, sums, to->data + y * row);
    weights_finish(&weights);
    free(sums);
    return good;
}

static bool resize_rows(const struct cyx_image *from, int64_t width, bool cubic,
                        struct cyx_image *to)
{
    struct weights weights = {0};
    bool good = weights_init(&weights, from->width, width, cubic) &&
                cyx_image_reserve(to, from->height, width, from->channels);
    for (int64_t y = 0; good && y < from->height; y++)
        along_row(&weights, from->data + y * from->width * from->channels, width, from->channels,
                  to->data + y * width * from->channels);
    weights_finish(&weights);
    return good;
}

static bool nearest(const struct cyx_image *from, int64_t height, int64_t width,
                    struct cyx_image *to)
{
    int channels = from->channels;
    if (!cyx_image_reserve(to, height, width, channels))
        return false;
    double down = (double)from->height / (double)height,
           right = (double)from->width / (double)width;
    uint8_t *at = to->data;
    for (int64_t y = 0; y < height; y++) {
        int64_t line = (int64_t)(((double)y + 0.5) * down);
        const uint8_t *row = from->data + line * from->width * channels;
        for (int64_t x = 0; x < width; x++, at += channels)
            memcpy(at, row + (int64_t)(((double)x + 0.5) * right) * channels, (size_t)channels);
    }
    return true;
}

bool cyx_image_resize(const struct cyx_image *from, int64_t height, int64_t width,
                      enum cyx_interpolation interpolation, struct cyx_image *between,
                      struct cyx_image *to)
{
    bool cubic = interpolation == CYX_BICUBIC;
    if (interpolation == CYX_NEAREST)
        return nearest(from, height, width, to);
    if (width == from->width)
        return resize_columns(from, height, cubic, to);
    if (height == from->height)
        return resize_rows(from, width, cubic, to);
    return resize_rows(from, width, cubic, between) && resize_columns(between, height, cubic, to);
}
