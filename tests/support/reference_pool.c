#include <math.h>

#include "reference_private.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static void max_window(const struct step *s, const int64_t *xd, const double *x, int64_t oh,
                       int64_t ow, double *ret_y, double *ret_index)
{
    const struct cyx_window *g = &s->node->window;
    *ret_y = -INFINITY;
    *ret_index = -1;
    for (int64_t kh = 0; kh < g->kernel[0]; kh++)
        for (int64_t kw = 0; kw < g->kernel[1]; kw++) {
            int64_t h = oh * g->stride[0] - g->pad_begin[0] + kh * g->dilation[0];
            int64_t w = ow * g->stride[1] - g->pad_begin[1] + kw * g->dilation[1];
            if (h < 0 || w < 0 || h >= xd[2] || w >= xd[3])
                continue;
            if (*ret_index >= 0 && x[h * xd[3] + w] <= *ret_y)
                continue;
            *ret_y = x[h * xd[3] + w];
            *ret_index = (double)(h * xd[3] + w);
        }
}

void reference_max_pool2d(const struct step *s)
{
    const int64_t *xd = dims(s, s->node->in[0]), *yd = dims(s, s->node->out[0]);
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++) {
        int64_t plane = i / (yd[2] * yd[3]), at = i % (yd[2] * yd[3]);
        max_window(s, xd, s->in[0] + plane * xd[2] * xd[3], at / yd[3], at % yd[3], &s->out[0][i],
                   &s->out[1][i]);
    }
}

void reference_max_pool2d_grad(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->in[0]), *xd = dims(s, s->node->out[0]);
    fill_output(s, 0, 0);
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++)
        s->out[0][i / (yd[2] * yd[3]) * xd[2] * xd[3] + (int64_t)s->in[1][i]] += s->in[0][i];
}

/* One axis of a window of average pooling. */
struct span {
    int64_t begin, end; /* within the input */
    int64_t padded;     /* elements within input and padding */
};

static struct span span_of(const struct step *s, int axis, int64_t at, int64_t size)
{
    const struct cyx_window *g = &s->node->window;
    int64_t begin = at * g->stride[axis] - g->pad_begin[axis], end = begin + g->kernel[axis];
    return (struct span){clamp(begin, 0, size), clamp(end, 0, size),
                         clamp(end, 0, size + g->pad_end[axis]) - begin};
}

/* Walks the windows: y is their mean, or (`x_grad`) each element of x gets its part of y. */
static void avg_pool(const struct step *s, const int64_t *xd, const int64_t *yd, double *x,
                     double *y, int64_t n_y, bool x_grad)
{
    for (int64_t i = 0; i < n_y; i++) {
        struct span h = span_of(s, 0, i / yd[3] % yd[2], xd[2]);
        struct span w = span_of(s, 1, i % yd[3], xd[3]);
        double *plane = x + i / (yd[2] * yd[3]) * xd[2] * xd[3], sum = 0;
        double divisor = s->node->window.count_include_pad
                             ? (double)(h.padded * w.padded)
                             : (double)((h.end - h.begin) * (w.end - w.begin));
        for (int64_t a = h.begin; a < h.end; a++)
            for (int64_t b = w.begin; b < w.end; b++) {
                sum += plane[a * xd[3] + b];
                plane[a * xd[3] + b] += x_grad ? y[i] / divisor : 0;
            }
        if (!x_grad)
            y[i] = sum / divisor;
    }
}

void reference_avg_pool2d(const struct step *s)
{
    avg_pool(s, dims(s, s->node->in[0]), dims(s, s->node->out[0]), s->in[0], s->out[0],
             count(s, s->node->out[0]), false);
}

void reference_avg_pool2d_grad(const struct step *s)
{
    fill_output(s, 0, 0);
    avg_pool(s, dims(s, s->node->out[0]), dims(s, s->node->in[0]), s->out[0], s->in[0],
             count(s, s->node->in[0]), true);
}
