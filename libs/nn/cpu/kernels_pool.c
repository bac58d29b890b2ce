/*
 * MaxPool2d and its gradient on blocked and plain layouts. The index kept for the gradient is the place within
 * the window, row-major. Ties go to the first, NaN wins, padding never does: as PyTorch.
 * https://pytorch.org/docs/1.13/generated/torch.nn.MaxPool2d.html
 */
#include <math.h>
#include <string.h>

#include "nn/cpu/kernels_pool.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 65536 }; /* elements that are worth a thread */

static void clip(const struct pool *p, int axis, int64_t o, struct span *span)
{
    const struct cyx_window *w = p->window;
    int64_t size = axis == 0 ? p->in.height : p->in.width, step = w->dilation[axis];
    int64_t at = o * w->stride[axis] - w->pad_begin[axis];
    int64_t first = at < 0 ? (-at + step - 1) / step : 0;
    int64_t last =
        at + (w->kernel[axis] - 1) * step < size ? w->kernel[axis] : (size - at + step - 1) / step;
    span->at[axis] = at;
    span->first[axis] = first;
    span->last[axis] = last < first ? first : last;
}

static const struct bounds two_by_two = {{0, 0}, {2, 2}, {1, 1}, 2};

static bool is_two_by_two(const struct pool *p, const struct span *s)
{
    const struct cyx_window *w = p->window;
    return w->kernel[0] == 2 && w->kernel[1] == 2 && w->dilation[0] == 1 && w->dilation[1] == 1 &&
           s->last[0] - s->first[0] == 2 && s->last[1] - s->first[1] == 2;
}

static struct bounds bounds_of(const struct pool *p, const struct span *s)
{
    const struct cyx_window *w = p->window;
    return (struct bounds){{s->first[0], s->first[1]},
                           {s->last[0], s->last[1]},
                           {w->dilation[0], w->dilation[1]},
                           w->kernel[1]};
}

/* The inner loops, for each instruction set and width; the best for this machine and layout is taken when a step runs. */
#define POOL_LANES 8
#define POOL_NAME(name) name##_default
#include "nn/cpu/kernels_pool_lanes.h"
#undef POOL_NAME
#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define POOL_NAME(name) name##_v3
#include "nn/cpu/kernels_pool_lanes.h"
#undef POOL_NAME
#pragma GCC pop_options
#undef POOL_LANES
#define POOL_LANES 16
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define POOL_NAME(name) name##_v4
#include "nn/cpu/kernels_pool_lanes.h"
#undef POOL_NAME
#pragma GCC pop_options
#endif
#undef POOL_LANES

static void pick_loops(struct pool *p)
{
    p->at_once = 8;
    p->max = max_lanes_default;
    p->scatter = scatter_lanes_default;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    if (v4 && p->in.lanes % 16 == 0) {
        p->at_once = 16;
        p->max = max_lanes_v4;
        p->scatter = scatter_lanes_v4;
    } else if (v3) {
        p->max = max_lanes_v3;
        p->scatter = scatter_lanes_v3;
    }
#endif
}

static int64_t lanes_left(const struct pool *p, int64_t lane)
{
    int64_t left = p->in.lanes - lane;
    return left < p->at_once ? left : p->at_once;
}

/* One window of a row-major plane. */
static void max_1(const struct pool *p, const struct span *s, const float *plane, float *y,
                  uint16_t *index)
{
    const struct cyx_window *w = p->window;
    float best = -INFINITY;
    int64_t place = s->first[0] * w->kernel[1] + s->first[1];
    for (int64_t kh = s->first[0]; kh < s->last[0]; kh++) {
        int64_t row = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1];
        for (int64_t kw = s->first[1]; kw < s->last[1]; kw++) {
            float v = plane[row + kw * w->dilation[1]];
            if (!(v > best) && v == v)
                continue;
            best = v;
            place = kh * w->kernel[1] + kw;
        }
    }
    *y = best;
    if (index)
        *index = p->relu_mask && best <= 0.0f ? CPU_POOL_NONE : (uint16_t)place;
}

/* Output columns [*ret_first, *ret_last) whose windows lie wholly within the row. */
static void whole_windows(const struct pool *p, int64_t *ret_first, int64_t *ret_last)
{
    const struct cyx_window *w = p->window;
    int64_t stride = w->stride[1], pad = w->pad_begin[1];
    int64_t room = p->in.width - 1 - (w->kernel[1] - 1) * w->dilation[1] + pad;
    int64_t first = (pad + stride - 1) / stride, last = room < 0 ? 0 : room / stride + 1;
    *ret_last = last < p->out.width ? last : p->out.width;
    *ret_first = first < *ret_last ? first : *ret_last;
}

/* Does n output pixels: whole vectors of lanes, then one by one. */
typedef void (*pixels)(const struct pool *p, const struct span *s, int64_t n, int64_t plane,
                       int64_t pixel);

/*
 * A row of output pixels, (outer, oh) = (row / OH, row % OH), as runs of like-clipped windows: a pixel each at the
 * borders, one run between. `plane` and `pixel` are where x's plane and y's pixel begin.
 */
static void for_row(const struct pool *p, int64_t row, pixels run)
{
    struct span span;
    int64_t whole_first, whole_last;
    int64_t plane = row / p->out.height * p->in.height * p->in.width * p->in.lanes;
    clip(p, 0, row % p->out.height, &span);
    whole_windows(p, &whole_first, &whole_last);
    for (int64_t ow = 0; ow < p->out.width;) {
        int64_t n = ow == whole_first && whole_last > ow ? whole_last - ow : 1;
        clip(p, 1, ow, &span);
        run(p, &span, n, plane, (row * p->out.width + ow) * p->in.lanes);
        ow += n;
    }
}

static void max_run(const struct pool *p, const struct span *s, int64_t n, int64_t plane,
                    int64_t pixel)
{
    int64_t lanes = p->in.lanes;
    const float *x = p->x + plane;
    uint16_t *index = p->index ? p->index + pixel : NULL;
    for (int64_t lane = 0; lane < lanes && lanes > 1; lane += p->at_once)
        p->max(p, s, n, x + lane, p->y + pixel + lane, index ? index + lane : NULL,
               lanes_left(p, lane));
    struct span one = *s;
    for (int64_t i = 0; i < n && lanes == 1; i++, one.at[1] += p->window->stride[1])
        max_1(p, &one, x, p->y + pixel + i, index ? index + i : NULL);
}

static void forward_range(void *context, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++)
        for_row(context, row, max_run);
}

void cpu_kernel_max_pool(struct cyx_program *program, const struct cpu_step *step)
{
    int32_t index = step->node.out[1];
    struct pool p = {.window = &step->node.window,
                     .in = step->planes,
                     .out = step->out_planes,
                     .x = cpu_arg(program, step, 0),
                     .y = cpu_arg(program, step, CPU_OUT),
                     .index = index == CYX_NO_VALUE ? NULL : cpu_value(program, index)->data,
                     .relu_mask = step->relu_mask};
    pick_loops(&p);
    cpu_parallel(program->device, p.out.outer * p.out.height, GRAIN / (p.in.lanes * p.in.width) + 1,
                 forward_range, &p);
}

/* ---- gradient ---- */

/* Windows that tile the plane write each element of dx once; others add onto zeros. */
static bool tiles(const struct pool *p)
{
    const struct cyx_window *w = p->window;
    const int64_t in[2] = {p->in.height, p->in.width}, out[2] = {p->out.height, p->out.width};
    for (int i = 0; i < 2; i++)
        if (w->kernel[i] != w->stride[i] || w->dilation[i] != 1 || w->pad_begin[i] != 0 ||
            out[i] * w->kernel[i] != in[i])
            return false;
    return true;
}

static void scatter_1(const struct pool *p, const struct span *s, float *plane, float dy,
                      uint16_t kept)
{
    const struct cyx_window *w = p->window;
    int64_t kh = kept / w->kernel[1], kw = kept % w->kernel[1];
    /* A window without a pixel, between the places of a dilated one, has nowhere to put it. */
    if (kept == CPU_POOL_NONE || kh >= s->last[0] || kw >= s->last[1])
        return;
    int64_t pixel = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1] + kw * w->dilation[1];
    plane[pixel] += dy;
}

static void scatter_run(const struct pool *p, const struct span *s, int64_t n, int64_t plane,
                        int64_t pixel)
{
    int64_t lanes = p->in.lanes;
    float *dx = p->dx + plane;
    const float *dy = p->dy + pixel;
    const uint16_t *kept = p->kept + pixel;
    for (int64_t lane = 0; lane < lanes && lanes > 1; lane += p->at_once)
        p->scatter(p, s, n, dx + lane, dy + lane, kept + lane, lanes_left(p, lane));
    struct span one = *s;
    for (int64_t i = 0; i < n && lanes == 1; i++, one.at[1] += p->window->stride[1])
        scatter_1(p, &one, dx, dy[i], kept[i]);
}

/* Whole planes, since windows of neighbouring rows may overlap. */
static void backward_range(void *context, int64_t begin, int64_t end)
{
    const struct pool *p = context;
    int64_t plane_size = p->in.height * p->in.width * p->in.lanes;
    for (int64_t outer = begin; outer < end; outer++) {
        if (!p->tiled || p->in.lanes == 1)
            memset(p->dx + outer * plane_size, 0, (size_t)plane_size * sizeof(float));
        for (int64_t oh = 0; oh < p->out.height; oh++)
            for_row(p, outer * p->out.height + oh, scatter_run);
    }
}

void cpu_kernel_max_pool_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct pool p = {.window = &step->node.window,
                     .in = step->planes,
                     .out = step->out_planes,
                     .dy = cpu_arg(program, step, 0),
                     .dx = cpu_arg(program, step, CPU_OUT),
                     .kept = cpu_value(program, step->node.in[1])->data};
    p.tiled = tiles(&p);
    pick_loops(&p);
    cpu_parallel(program->device, p.out.outer, GRAIN / (p.in.lanes * p.in.width * p.in.height) + 1,
                 backward_range, &p);
}
