#include <math.h>
#include <string.h>

#include "nn/data/image_ops.h"

#include "base/banned.h"

/* Input x = m[0] x + m[1] y + m[2], input y = m[3] x + m[4] y + m[5], of pixel centres. */
static void matrix_of(const struct cyx_image *image, double degrees, double m[6])
{
    double angle = -degrees * (M_PI / 180.0);
    double x = (double)image->width / 2, y = (double)image->height / 2;
    m[0] = rint(cos(angle) * 1e15) / 1e15;
    m[1] = rint(sin(angle) * 1e15) / 1e15;
    m[3] = rint(-sin(angle) * 1e15) / 1e15;
    m[4] = m[0];
    m[2] = m[0] * -x + m[1] * -y + x;
    m[5] = m[3] * -x + m[4] * -y + y;
}

static void put(const struct cyx_image *from, int64_t x, int64_t y, uint8_t *to)
{
    const uint8_t *pixel = from->data + (y * from->width + x) * from->channels;
    for (int c = 0; c < from->channels; c++)
        to[c] = pixel[c];
}

/* Coordinates in 16.16 fixed point, as Pillow for images of sides below 32768. */
static void nearest(const struct cyx_image *from, const double m[6], struct cyx_image *to)
{
    int64_t fixed[6];
    const double at[6] = {m[0], m[1], m[2] + m[0] * 0.5 + m[1] * 0.5,
                          m[3], m[4], m[5] + m[3] * 0.5 + m[4] * 0.5};
    uint8_t *out = to->data;
    for (int i = 0; i < 6; i++)
        fixed[i] = (int64_t)floor(at[i] * 65536.0 + 0.5);
    for (int64_t y = 0; y < from->height; y++) {
        int64_t u = fixed[2] + fixed[1] * y, v = fixed[5] + fixed[4] * y;
        for (int64_t x = 0; x < from->width; x++, out += from->channels) {
            int64_t column = u >> 16, row = v >> 16;
            if (column >= 0 && column < from->width && row >= 0 && row < from->height)
                put(from, column, row, out);
            u += fixed[0];
            v += fixed[3];
        }
    }
}

static int64_t within(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static void blend(const struct cyx_image *from, double u, double v, uint8_t *to)
{
    double x = floor(u - 0.5), y = floor(v - 0.5), dx = u - 0.5 - x, dy = v - 0.5 - y;
    int64_t x0 = within((int64_t)x, from->width), x1 = within((int64_t)x + 1, from->width);
    int64_t y0 = within((int64_t)y, from->height), y1 = within((int64_t)y + 1, from->height);
    const uint8_t *a = from->data + y0 * from->width * from->channels;
    const uint8_t *b = from->data + y1 * from->width * from->channels;
    for (int c = 0; c < from->channels; c++) {
        int64_t l = x0 * from->channels + c, r = x1 * from->channels + c;
        double top = a[l] + (a[r] - a[l]) * dx, bottom = b[l] + (b[r] - b[l]) * dx;
        to[c] = (uint8_t)(top + (bottom - top) * dy);
    }
}

static void bilinear(const struct cyx_image *from, const double m[6], struct cyx_image *to)
{
    uint8_t *out = to->data;
    for (int64_t y = 0; y < from->height; y++) {
        for (int64_t x = 0; x < from->width; x++, out += from->channels) {
            double cx = (double)x + 0.5, cy = (double)y + 0.5;
            double u = m[0] * cx + m[1] * cy + m[2], v = m[3] * cx + m[4] * cy + m[5];
            if (u >= 0 && u < (double)from->width && v >= 0 && v < (double)from->height)
                blend(from, u, v, out);
        }
    }
}

bool cyx_image_rotate(const struct cyx_image *from, double degrees,
                      enum cyx_interpolation interpolation, uint8_t fill, struct cyx_image *to)
{
    double m[6];
    if (!cyx_image_reserve(to, from->height, from->width, from->channels))
        return false;
    matrix_of(from, degrees, m);
    memset(to->data, fill, (size_t)(to->height * to->width) * (size_t)to->channels);
    if (interpolation == CYX_NEAREST)
        nearest(from, m, to);
    else
        bilinear(from, m, to);
    return true;
}
