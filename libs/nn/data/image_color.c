#include "nn/data/image_ops.h"

#include "base/banned.h"

/* From `plain` towards `value` and, beyond 1, past it; cut to a byte, towards 0. */
static uint8_t blend(int plain, int value, float factor)
{
    float mixed = (float)plain + factor * (float)(value - plain);
    return mixed <= 0 ? 0 : mixed >= 255 ? 255 : (uint8_t)mixed;
}

static uint8_t grey_of(const uint8_t *pixel)
{
    return (uint8_t)((pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16);
}

static void blend_all(struct cyx_image *self, int plain, double factor)
{
    uint8_t table[256];
    int64_t elements = self->height * self->width * self->channels;
    for (int value = 0; value < 256; value++)
        table[value] = blend(plain, value, (float)factor);
    for (int64_t i = 0; i < elements; i++)
        self->data[i] = table[self->data[i]];
}

void cyx_image_brightness(struct cyx_image *self, double factor)
{
    if (factor != 1)
        blend_all(self, 0, factor);
}

void cyx_image_contrast(struct cyx_image *self, double factor)
{
    int64_t pixels = self->height * self->width, sum = 0;
    if (factor == 1)
        return;
    for (int64_t i = 0; i < pixels; i++)
        sum += self->channels == 3 ? grey_of(self->data + 3 * i) : self->data[i];
    blend_all(self, (int)((double)sum / (double)pixels + 0.5), factor);
}

void cyx_image_saturation(struct cyx_image *self, double factor)
{
    int64_t pixels = self->height * self->width;
    if (self->channels != 3 || factor == 1)
        return;
    for (uint8_t *pixel = self->data; pixels-- > 0; pixel += 3) {
        int grey = grey_of(pixel);
        for (int c = 0; c < 3; c++)
            pixel[c] = blend(grey, pixel[c], (float)factor);
    }
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* Hue, saturation and value as bytes (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978). */
static void to_hsv(const uint8_t *rgb, uint8_t hsv[3])
{
    int r = rgb[0], g = rgb[1], b = rgb[2];
    int most = max_int(r, max_int(g, b)), least = min_int(r, min_int(g, b));
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least)
        return;
    float range = (float)(most - least), s = range / (float)most;
    float rc = (float)(most - r) / range, gc = (float)(most - g) / range;
    float bc = (float)(most - b) / range, h;
    if (r == most)
        h = bc - gc;
    else if (g == most)
        h = (float)(2.0 + rc - bc);
    else
        h = (float)(4.0 + gc - rc);
    double turn = h / 6.0 + 1.0; /* from 5/6 to 11/6: its part behind the point */
    h = (float)(turn >= 1.0 ? turn - 1.0 : turn);
    hsv[0] = (uint8_t)min_int((int)(h * 255.0), 255);
    hsv[1] = (uint8_t)min_int((int)(s * 255.0), 255);
}

static uint8_t rounded(double value)
{
    return (uint8_t)min_int((int)(value + 0.5), 255); /* never below 0 */
}

static void to_rgb(const uint8_t hsv[3], uint8_t *rgb)
{
    uint8_t v = hsv[2];
    if (hsv[1] == 0) {
        rgb[0] = rgb[1] = rgb[2] = v;
        return;
    }
    double h = hsv[0] * 6.0 / 255.0;
    int sector = (int)h; /* never below 0 */
    float f = (float)(h - (float)sector), fs = (float)(hsv[1] / 255.0);
    uint8_t p = rounded(v * (1.0 - fs)), q = rounded(v * (1.0 - fs * f));
    uint8_t t = rounded(v * (1.0 - fs * (1.0 - f)));
    const uint8_t colours[6][3] = {{v, t, p}, {q, v, p}, {p, v, t},
                                   {p, q, v}, {t, p, v}, {v, p, q}};
    for (int c = 0; c < 3; c++)
        rgb[c] = colours[sector % 6][c];
}

void cyx_image_hue(struct cyx_image *self, double turn)
{
    int64_t pixels = self->height * self->width;
    if (self->channels != 3)
        return;
    uint8_t by = (uint8_t)(int)(turn * 255); /* a full turn is 255 here, and wraps at 256 */
    for (uint8_t *pixel = self->data; pixels-- > 0; pixel += 3) {
        uint8_t hsv[3];
        to_hsv(pixel, hsv);
        hsv[0] = (uint8_t)(hsv[0] + by);
        to_rgb(hsv, pixel);
    }
}
