/*
 * AvgPool2d and its gradient on blocked and plain layouts.
 * https://pytorch.org/docs/1.13/generated/torch.nn.AvgPool2d.html
 *
 * The window begins at o S - P and is cut at the input's end and the padding's (ceil_mode); the divisor counts what
 * is left within the input, with count_include_pad within the padding too.
 */
#include <string.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { LANES = 16, GRAIN = 65536 }; /* lanes done at a time; elements that are worth a thread */

struct avg_pool {
    const struct cyx_window *window;
    struct cpu_planes in, out;
    const float *from; /* x, or dy */
    float *to;         /* y, or dx */
};

/* A window's places within the input along one axis, and how many count. */
struct span {
    int64_t first, last, divisor;
};

static struct span span_of(const struct avg_pool *p, int axis, int64_t o)
{
    const struct cyx_window *w = p->window;
    int64_t size = axis == 0 ? p->in.height : p->in.width;
    int64_t begin = o * w->stride[axis] - w->pad_begin[axis], end = begin + w->kernel[axis];
    int64_t padded_end = size + w->pad_end[axis];
    struct span span = {.first = begin > 0 ? begin : 0, .last = end < size ? end : size};
    if (span.last < span.first)
        span.last = span.first;
    span.divisor = w->count_include_pad ? (end < padded_end ? end : padded_end) - begin
                                        : span.last - span.first;
    return span;
}

static float divisor_of(struct span h, struct span w)
{
    return (float)(h.divisor * w.divisor);
}

/* Sums of `lanes` channels over a window; pixels are `lanes_all` apart. */
CPU_INLINE void window_mean(const float *plane, const struct avg_pool *p, struct span h,
                            struct span w, int64_t lanes, float *y)
{
    float sums[LANES] = {0};
    for (int64_t ih = h.first; ih < h.last; ih++)
        for (int64_t iw = w.first; iw < w.last; iw++) {
            const float *x = plane + (ih * p->in.width + iw) * p->in.lanes;
            for (int64_t l = 0; l < lanes; l++)
                sums[l] += x[l];
        }
    float divisor = divisor_of(h, w);
    for (int64_t l = 0; l < lanes; l++)
        y[l] = sums[l] / divisor;
}

CPU_CLONES static void pixel_mean(const float *plane, const struct avg_pool *p, struct span h,
                                  struct span w, float *y)
{
    int64_t lane = 0, lanes = p->in.lanes;
    for (; lane + 16 <= lanes; lane += 16)
        window_mean(plane + lane, p, h, w, 16, y + lane);
    for (; lane + 8 <= lanes; lane += 8)
        window_mean(plane + lane, p, h, w, 8, y + lane);
    if (lane < lanes)
        window_mean(plane + lane, p, h, w, lanes - lane, y + lane);
}

/* Rows of output pixels: (outer, oh) = (row / OH, row % OH). */
static void forward_range(void *context, int64_t begin, int64_t end)
{
    const struct avg_pool *p = context;
    for (int64_t row = begin; row < end; row++) {
        const float *plane =
            p->from + row / p->out.height * p->in.height * p->in.width * p->in.lanes;
        float *y = p->to + row * p->out.width * p->out.lanes;
        struct span h = span_of(p, 0, row % p->out.height);
        for (int64_t ow = 0; ow < p->out.width; ow++)
            pixel_mean(plane, p, h, span_of(p, 1, ow), y + ow * p->out.lanes);
    }
}

static int64_t plane_of(const struct cpu_planes *p)
{
    return p->height * p->width * p->lanes;
}

void cpu_kernel_avg_pool(struct cyx_program *program, const struct cpu_step *step)
{
    struct avg_pool p = {.window = &step->node.window,
                         .in = step->planes,
                         .out = step->out_planes,
                         .from = cpu_arg(program, step, 0),
                         .to = cpu_arg(program, step, CPU_OUT)};
    int64_t rows = p.out.outer * p.out.height;
    cpu_parallel(program->device, rows, GRAIN * p.out.height / plane_of(&p.in) + 1, forward_range,
                 &p);
}

/* ---- gradient ---- */

/* Adds dy / divisor to every element of the window, or writes it where windows tile the plane. */
CPU_INLINE void spread_lanes(float *plane, const struct avg_pool *p, struct span h, struct span w,
                             int64_t lanes, const float *dy)
{
    float divisor = divisor_of(h, w), part[LANES];
    for (int64_t l = 0; l < lanes; l++)
        part[l] = dy[l] / divisor;
    for (int64_t ih = h.first; ih < h.last; ih++)
        for (int64_t iw = w.first; iw < w.last; iw++) {
            float *x = plane + (ih * p->in.width + iw) * p->in.lanes;
            for (int64_t l = 0; l < lanes; l++)
                x[l] += part[l];
        }
}

CPU_CLONES static void spread(float *plane, const struct avg_pool *p, struct span h, struct span w,
                              const float *dy)
{
    int64_t lane = 0, lanes = p->in.lanes;
    for (; lane + 16 <= lanes; lane += 16)
        spread_lanes(plane + lane, p, h, w, 16, dy + lane);
    for (; lane + 8 <= lanes; lane += 8)
        spread_lanes(plane + lane, p, h, w, 8, dy + lane);
    if (lane < lanes)
        spread_lanes(plane + lane, p, h, w, lanes - lane, dy + lane);
}

/* Whole planes, since windows of neighbouring rows may overlap; a plane stays in the cache between the sweeps. */
static void backward_range(void *context, int64_t begin, int64_t end)
{
    const struct avg_pool *p = context;
    int64_t plane_size = plane_of(&p->in);
    for (int64_t outer = begin; outer < end; outer++) {
        float *plane = p->to + outer * plane_size;
        const float *dy = p->from + outer * plane_of(&p->out);
        memset(plane, 0, (size_t)plane_size * sizeof(float));
        for (int64_t oh = 0; oh < p->out.height; oh++) {
            struct span h = span_of(p, 0, oh);
            for (int64_t ow = 0; ow < p->out.width; ow++, dy += p->out.lanes)
                spread(plane, p, h, span_of(p, 1, ow), dy);
        }
    }
}

void cpu_kernel_avg_pool_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct avg_pool p = {.window = &step->node.window,
                         .in = step->planes,
                         .out = step->out_planes,
                         .from = cpu_arg(program, step, 0),
                         .to = cpu_arg(program, step, CPU_OUT)};
    cpu_parallel(program->device, p.out.outer, GRAIN / plane_of(&p.in) + 1, backward_range, &p);
}
