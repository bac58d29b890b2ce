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

enum { LANES = CPU_POOL_LANES };

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

/* The inner loops, for each instruction set; the best that this machine has is taken when a step runs. */
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
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define POOL_NAME(name) name##_v4
#include "nn/cpu/kernels_pool_lanes.h"
#undef POOL_NAME
#pragma GCC pop_options
#endif

static void pick_loops(struct pool *p)
{
    p->max = max_lanes_default;
    p->scatter = scatter_lanes_default;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("x86-64-v4")) {
        p->max = max_lanes_v4;
        p->scatter = scatter_lanes_v4;
    } else if (__builtin_cpu_supports("x86-64-v3")) {
        p->max = max_lanes_v3;
        p->scatter = scatter_lanes_v3;
    }
#endif
}

static void max_1(const struct pool *p, const struct span *s, const float *plane, int64_t offset,
                  float *y, uint16_t *index)
{
    const struct cyx_window *w = p->window;
    float best = -INFINITY;
    int64_t place = s->first[0] * w->kernel[1] + s->first[1];
    for (int64_t kh = s->first[0]; kh < s->last[0]; kh++) {
        int64_t row = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1];
        for (int64_t kw = s->first[1]; kw < s->last[1]; kw++) {
            float v = plane[(row + kw * w->dilation[1]) * p->in.lanes + offset];
            if (!(v > best) && v == v)
                continue;
            best = v;
            place = kh * w->kernel[1] + kw;
        }
    }
    y[offset] = best;
    if (index)
        index[offset] = p->relu_mask && best <= 0.0f ? CPU_POOL_NONE : (uint16_t)place;
}

/* Rows of output pixels: row r is (outer, oh) = (r / OH, r % OH). */
static void forward_range(void *context, int64_t begin, int64_t end)
{
    const struct pool *p = context;
    int64_t lanes = p->in.lanes;
    for (int64_t r = begin; r < end; r++) {
        struct span span;
        const float *plane = p->x + r / p->out.height * p->in.height * p->in.width * lanes;
        clip(p, 0, r % p->out.height, &span);
        for (int64_t ow = 0; ow < p->out.width; ow++) {
            int64_t pixel = (r * p->out.width + ow) * lanes, lane = 0;
            uint16_t *index = p->index ? p->index + pixel : NULL;
            clip(p, 1, ow, &span);
            for (; lane + LANES <= lanes; lane += LANES)
                p->max(p, &span, plane + lane, p->y + pixel + lane, index ? index + lane : NULL);
            for (; lane < lanes; lane++)
                max_1(p, &span, plane, lane, p->y + pixel, index);
        }
    }
}

void cpu_kernel_max_pool(struct cyx_program *program, const struct cpu_step *step)
{
    int32_t index = step->node.out[1];
    struct pool p = {.window = &step->node.window,
                     .in = step->planes,
                     .out = step->out_planes,
                     .x = cpu_data(program, &step->bindings[0]),
                     .y = cpu_data(program, &step->bindings[1]),
                     .index = index == CYX_NO_VALUE ? NULL : cpu_value(program, index)->data,
                     .relu_mask = step->relu_mask};
    pick_loops(&p);
    cpu_parallel(program->device, p.out.outer * p.out.height, 4, forward_range, &p);
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

static void scatter_1(const struct pool *p, const struct span *s, float *plane, int64_t offset,
                      const float *dy, const uint16_t *kept)
{
    const struct cyx_window *w = p->window;
    int64_t kh = kept[offset] / w->kernel[1], kw = kept[offset] % w->kernel[1];
    if (kept[offset] == CPU_POOL_NONE)
        return;
    int64_t pixel = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1] + kw * w->dilation[1];
    plane[pixel * p->in.lanes + offset] += dy[offset];
}

static void backward_range(void *context, int64_t begin, int64_t end)
{
    const struct pool *p = context;
    int64_t lanes = p->in.lanes, plane_size = p->in.height * p->in.width * lanes;
    for (int64_t outer = begin; outer < end; outer++) {
        float *plane = p->dx + outer * plane_size;
        if (!p->tiled || lanes % LANES != 0)
            memset(plane, 0, (size_t)plane_size * sizeof(float));
        for (int64_t o = 0; o < p->out.height * p->out.width; o++) {
            struct span span;
            int64_t pixel = (outer * p->out.height * p->out.width + o) * lanes, lane = 0;
            clip(p, 0, o / p->out.width, &span);
            clip(p, 1, o % p->out.width, &span);
            for (; lane + LANES <= lanes; lane += LANES)
                p->scatter(p, &span, plane + lane, p->dy + pixel + lane, p->kept + pixel + lane);
            for (; lane < lanes; lane++)
                scatter_1(p, &span, plane, lane, p->dy + pixel, p->kept + pixel);
        }
    }
}

void cpu_kernel_max_pool_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct pool p = {.window = &step->node.window,
                     .in = step->planes,
                     .out = step->out_planes,
                     .dy = cpu_data(program, &step->bindings[0]),
                     .dx = cpu_data(program, &step->bindings[1]),
                     .kept = cpu_value(program, step->node.in[1])->data};
    p.tiled = tiles(&p);
    pick_loops(&p);
    cpu_parallel(program->device, p.out.outer, 1, backward_range, &p);
}
