/*
 * Softmax and LogSoftmax over one dimension of a row-major value, and their gradients.
 * https://pytorch.org/docs/1.13/generated/torch.nn.Softmax.html
 *
 * A value is (outer, n, inner), n the dimension. With inner 1 a row lies in one piece; else up to COLUMNS
 * neighbouring ones are done beside each other.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { COLUMNS = 64, GRAIN = 8192 }; /* GRAIN: exponentials that are worth a thread */

struct softmax {
    const float *x, *dy; /* x: y in the gradients */
    float *y;
    int64_t n, inner, tiles; /* tiles of columns in an outer row */
    bool log;
};

/* ---- rows in one piece ---- */

CPU_INLINE float largest(const float *x, int64_t n)
{
    float lanes[CPU_SUM_LANES], best = x[0];
    int64_t i = 0;
    for (int l = 0; l < CPU_SUM_LANES; l++)
        lanes[l] = x[0];
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++)
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (int l = 0; l < CPU_SUM_LANES; l++)
        best = lanes[l] > best ? lanes[l] : best;
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

/* Σ e^(x - top); e^(x - top) to y, where it is wanted. */
CPU_INLINE float exponentials(const float *x, float *y, int64_t n, float top)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++) {
            float e = cpu_exp(x[i + l] - top);
            lanes[l] += e;
            if (y)
                y[i + l] = e;
        }
    for (; i < n; i++) {
        float e = cpu_exp(x[i] - top);
        rest += e;
        if (y)
            y[i] = e;
    }
    return cpu_add_lanes(lanes) + rest;
}

CPU_CLONES static void softmax_row(const float *x, float *y, int64_t n)
{
    float scale = 1.0f / exponentials(x, y, n, largest(x, n));
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

CPU_CLONES static void log_softmax_row(const float *x, float *y, int64_t n)
{
    float top = largest(x, n), log_sum = logf(exponentials(x, NULL, n, top));
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - top) - log_sum;
}

/* Σ dy y, or Σ dy where y is NULL. */
CPU_INLINE float sum_of(const float *dy, const float *y, int64_t n)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++)
            lanes[l] += y ? dy[i + l] * y[i + l] : dy[i + l];
    for (; i < n; i++)
        rest += y ? dy[i] * y[i] : dy[i];
    return cpu_add_lanes(lanes) + rest;
}

CPU_CLONES static void softmax_grad_row(const float *dy, const float *y, float *dx, int64_t n)
{
    float sum = sum_of(dy, y, n);
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - sum);
}

CPU_CLONES static void log_softmax_grad_row(const float *dy, const float *y, float *dx, int64_t n)
{
    float sum = sum_of(dy, NULL, n);
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] - cpu_exp(y[i]) * sum;
}

/* ---- columns beside each other: `m` of them, `stride` between their elements ---- */

CPU_CLONES static void softmax_columns(const float *x, float *y, int64_t n, int64_t m,
                                       int64_t stride, bool log)
{
    float top[COLUMNS], sum[COLUMNS] = {0};
    for (int64_t c = 0; c < m; c++)
        top[c] = x[c];
    for (int64_t i = 1; i < n; i++)
        for (int64_t c = 0; c < m; c++)
            top[c] = x[i * stride + c] > top[c] ? x[i * stride + c] : top[c];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < m; c++)
            sum[c] += cpu_exp(x[i * stride + c] - top[c]);
    for (int64_t c = 0; c < m; c++)
        sum[c] = log ? logf(sum[c]) : 1.0f / sum[c];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < m; c++) {
            float off = x[i * stride + c] - top[c];
            y[i * stride + c] = log ? off - sum[c] : cpu_exp(off) * sum[c];
        }
}

CPU_CLONES static void softmax_grad_columns(const float *dy, const float *y, float *dx, int64_t n,
                                            int64_t m, int64_t stride, bool log)
{
    float sum[COLUMNS] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < m; c++)
            sum[c] += log ? dy[i * stride + c] : dy[i * stride + c] * y[i * stride + c];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < m; c++) {
            float g = dy[i * stride + c], v = y[i * stride + c];
            dx[i * stride + c] = log ? g - cpu_exp(v) * sum[c] : v * (g - sum[c]);
        }
}

/* ---- the walk: range counts tiles, or rows ---- */

static void softmax_range(void *context, int64_t begin, int64_t end)
{
    const struct softmax *s = context;
    for (int64_t tile = begin; tile < end; tile++) {
        int64_t column = tile % s->tiles * COLUMNS, left = s->inner - column;
        int64_t at = tile / s->tiles * s->n * s->inner + column;
        if (s->inner > 1)
            softmax_columns(s->x + at, s->y + at, s->n, left < COLUMNS ? left : COLUMNS, s->inner,
                            s->log);
        else if (s->log)
            log_softmax_row(s->x + at, s->y + at, s->n);
        else
            softmax_row(s->x + at, s->y + at, s->n);
    }
}

static void softmax_grad_range(void *context, int64_t begin, int64_t end)
{
    const struct softmax *s = context;
    for (int64_t tile = begin; tile < end; tile++) {
        int64_t column = tile % s->tiles * COLUMNS, left = s->inner - column;
        int64_t at = tile / s->tiles * s->n * s->inner + column;
        if (s->inner > 1)
            softmax_grad_columns(s->dy + at, s->x + at, s->y + at, s->n,
                                 left < COLUMNS ? left : COLUMNS, s->inner, s->log);
        else if (s->log)
            log_softmax_grad_row(s->dy + at, s->x + at, s->y + at, s->n);
        else
            softmax_grad_row(s->dy + at, s->x + at, s->y + at, s->n);
    }
}

static void run(struct cyx_program *program, const struct cpu_step *step, struct softmax *s,
                cpu_range range)
{
    const struct cyx_shape *shape = cpu_shape(program, step->node.out[0]);
    int64_t outer = 1;
    s->n = shape->dim[step->node.dim];
    s->inner = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (i != step->node.dim)
            *(i < step->node.dim ? &outer : &s->inner) *= shape->dim[i];
    }
    s->tiles = (s->inner + COLUMNS - 1) / COLUMNS;
    int64_t columns = s->inner < COLUMNS ? s->inner : COLUMNS;
    cpu_parallel(program->device, outer * s->tiles, GRAIN / (s->n * columns) + 1, range, s);
}

void cpu_kernel_softmax(struct cyx_program *program, const struct cpu_step *step)
{
    struct softmax s = {.x = cpu_arg(program, step, 0),
                        .y = cpu_arg(program, step, CPU_OUT),
                        .log = step->node.op == CYX_OP_LOG_SOFTMAX};
    run(program, step, &s, softmax_range);
}

void cpu_kernel_softmax_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct softmax s = {.dy = cpu_arg(program, step, 0),
                        .x = cpu_arg(program, step, 1),
                        .y = cpu_arg(program, step, CPU_OUT),
                        .log = step->node.op == CYX_OP_LOG_SOFTMAX_GRAD};
    run(program, step, &s, softmax_grad_range);
}
