/*
 * LayerNorm over the trailing dimensions of row-major values: every row has its own mean and deviation.
 * Ba, Kiros and Hinton 2016; https://pytorch.org/docs/1.13/generated/torch.nn.LayerNorm.html
 *
 * Letters: R rows, D elements of a row. y = (x - m) r w + b; with g = dy w and x̂ = (x - m) r:
 * dx = r (g - mean(g) - x̂ mean(g x̂)), dw = Σ_rows dy x̂, db = Σ_rows dy.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

/* GRAIN: elements that are worth a thread. Chunks of rows have a part of dw and db each, in so many elements. */
enum { GRAIN = 32768, CHUNKS = 64, CHUNKS_LEAST = 8, PARTS = 1024 * 1024 };

struct layer_norm {
    const float *x, *dy, *w, *b;
    float *out, *mean, *rstd;
    float *dw, *db; /* a part for each chunk of rows: (chunks, D) */
    int64_t rows, d, chunks;
    double eps;
};

/* ---- forward ---- */

CPU_INLINE float sum_stretch(const float *x, int64_t n)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++)
            lanes[l] += x[i + l];
    for (; i < n; i++)
        rest += x[i];
    return cpu_add_lanes(lanes) + rest;
}

CPU_INLINE float square_stretch(const float *x, int64_t n, float mean)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++)
            lanes[l] += (x[i + l] - mean) * (x[i + l] - mean);
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    return cpu_add_lanes(lanes) + rest;
}

CPU_CLONES static void row_moments(const float *x, int64_t d, double eps, float *ret_mean,
                                   float *ret_rstd)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < d; i += CPU_SUM_STRETCH)
        sum += (double)sum_stretch(x + i, d - i < CPU_SUM_STRETCH ? d - i : CPU_SUM_STRETCH);
    float mean = (float)(sum / (double)d);
    for (int64_t i = 0; i < d; i += CPU_SUM_STRETCH)
        squares +=
            (double)square_stretch(x + i, d - i < CPU_SUM_STRETCH ? d - i : CPU_SUM_STRETCH, mean);
    *ret_mean = mean;
    *ret_rstd = (float)(1 / sqrt(squares / (double)d + eps));
}

CPU_CLONES static void normalise(const float *x, const float *w, const float *b, float *y,
                                 int64_t d, float mean, float rstd)
{
    if (!w && !b)
        for (int64_t i = 0; i < d; i++)
            y[i] = (x[i] - mean) * rstd;
    else if (!b)
        for (int64_t i = 0; i < d; i++)
            y[i] = (x[i] - mean) * rstd * w[i];
    else if (w)
        for (int64_t i = 0; i < d; i++)
            y[i] = (x[i] - mean) * rstd * w[i] + b[i];
    else
        for (int64_t i = 0; i < d; i++)
            y[i] = (x[i] - mean) * rstd + b[i];
}

static void forward_range(void *context, int64_t begin, int64_t end)
{
    const struct layer_norm *n = context;
    for (int64_t row = begin; row < end; row++) {
        const float *x = n->x + row * n->d;
        float mean, rstd;
        row_moments(x, n->d, n->eps, &mean, &rstd);
        normalise(x, n->w, n->b, n->out + row * n->d, n->d, mean, rstd);
        n->mean[row] = mean;
        n->rstd[row] = rstd;
    }
}

/* D: the elements of the trailing dimensions of `value`. */
static int64_t trailing(const struct cyx_graph *graph, int32_t value, int dims)
{
    const struct cyx_shape *shape = &graph->values[value].shape;
    int64_t d = 1;
    for (int i = shape->rank - dims; i < shape->rank; i++)
        d *= shape->dim[i];
    return d;
}

void cpu_kernel_layer_norm(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    struct layer_norm n = {
        .x = cpu_arg(program, step, 0),
        .w = cpu_arg(program, step, 1),
        .b = cpu_arg(program, step, 2),
        .out = cpu_arg(program, step, CPU_OUT),
        .mean = cpu_arg(program, step, CPU_OUT + 1),
        .rstd = cpu_arg(program, step, CPU_OUT + 2),
        .d = trailing(program->graph, node->in[0], node->norm_dims),
        .eps = node->eps,
    };
    n.rows = cyx_shape_count(cpu_shape(program, node->in[0])) / n.d;
    cpu_parallel(program->device, n.rows, GRAIN / n.d + 1, forward_range, &n);
}

/* ---- backward ---- */

/* Σ g and Σ g (x - m) of a stretch, g = dy w. */
CPU_INLINE void grad_sums(const float *dy, const float *x, const float *w, int64_t n, float mean,
                          double *sum, double *product)
{
    float g[CPU_SUM_LANES] = {0}, p[CPU_SUM_LANES] = {0};
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++) {
            float v = w ? dy[i + l] * w[i + l] : dy[i + l];
            g[l] += v;
            p[l] += v * (x[i + l] - mean);
        }
    for (; i < n; i++) {
        float v = w ? dy[i] * w[i] : dy[i];
        g[0] += v;
        p[0] += v * (x[i] - mean);
    }
    *sum += (double)cpu_add_lanes(g);
    *product += (double)cpu_add_lanes(p);
}

CPU_CLONES static void row_grad(const float *dy, const float *x, const float *w, float *dx,
                                int64_t d, float mean, float rstd)
{
    double sum = 0, product = 0;
    for (int64_t i = 0; i < d; i += CPU_SUM_STRETCH)
        grad_sums(dy + i, x + i, w ? w + i : NULL,
                  d - i < CPU_SUM_STRETCH ? d - i : CPU_SUM_STRETCH, mean, &sum, &product);
    float mean_g = (float)(sum / (double)d);
    float slope = (float)((double)rstd * (double)rstd * product / (double)d);
    if (w)
        for (int64_t i = 0; i < d; i++)
            dx[i] = rstd * (dy[i] * w[i] - mean_g - (x[i] - mean) * slope);
    else
        for (int64_t i = 0; i < d; i++)
            dx[i] = rstd * (dy[i] - mean_g - (x[i] - mean) * slope);
}

CPU_CLONES static void add_products(const float *dy, const float *x, float *dw, int64_t d,
                                    float mean, float rstd)
{
    for (int64_t i = 0; i < d; i++)
        dw[i] += dy[i] * ((x[i] - mean) * rstd);
}

CPU_CLONES static void add_row(const float *dy, float *db, int64_t d)
{
    for (int64_t i = 0; i < d; i++)
        db[i] += dy[i];
}

static void clear(float *x, int64_t n)
{
    for (int64_t i = 0; x && i < n; i++)
        x[i] = 0.0f;
}

/* Chunks of rows: dx of each, and the chunk's part of dw and db. dx may lie over dy, so it comes last. */
static void backward_range(void *context, int64_t begin, int64_t end)
{
    const struct layer_norm *n = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        float *dw = n->dw ? n->dw + chunk * n->d : NULL, *db = n->db ? n->db + chunk * n->d : NULL;
        clear(dw, n->d);
        clear(db, n->d);
        int64_t last = n->rows * (chunk + 1) / n->chunks;
        for (int64_t row = n->rows * chunk / n->chunks; row < last; row++) {
            const float *dy = n->dy + row * n->d, *x = n->x + row * n->d;
            if (dw)
                add_products(dy, x, dw, n->d, n->mean[row], n->rstd[row]);
            if (db)
                add_row(dy, db, n->d);
            if (n->out)
                row_grad(dy, x, n->w, n->out + row * n->d, n->d, n->mean[row], n->rstd[row]);
        }
    }
}

static int64_t chunks_of(int64_t rows, int64_t d)
{
    int64_t chunks = PARTS / d < CHUNKS ? PARTS / d : CHUNKS;
    chunks = chunks > CHUNKS_LEAST ? chunks : CHUNKS_LEAST;
    return rows < chunks ? rows : chunks;
}

int64_t cpu_layer_norm_scratch(const struct cyx_graph *graph, const struct cyx_node *node)
{
    int64_t d = trailing(graph, node->in[1], node->norm_dims);
    int64_t rows = cyx_shape_count(&graph->values[node->in[1]].shape) / d;
    return 2 * chunks_of(rows, d) * d * (int64_t)sizeof(float);
}

/* The chunks' parts, in their order. */
static void add_chunks(const float *parts, int64_t chunks, int64_t d, float *ret_sum)
{
    clear(ret_sum, d);
    for (int64_t chunk = 0; ret_sum && chunk < chunks; chunk++)
        add_row(parts + chunk * d, ret_sum, d);
}

void cpu_kernel_layer_norm_grad(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    float *dw = cpu_arg(program, step, CPU_OUT + 1), *db = cpu_arg(program, step, CPU_OUT + 2);
    float *parts = cpu_scratchpad(program, step);
    struct layer_norm n = {
        .dy = cpu_arg(program, step, 0),
        .x = cpu_arg(program, step, 1),
        .w = cpu_arg(program, step, 2),
        .mean = cpu_arg(program, step, 3),
        .rstd = cpu_arg(program, step, 4),
        .out = cpu_arg(program, step, CPU_OUT),
        .d = trailing(program->graph, node->in[1], node->norm_dims),
    };
    n.rows = cyx_shape_count(cpu_shape(program, node->in[1])) / n.d;
    n.chunks = chunks_of(n.rows, n.d);
    n.dw = dw ? parts : NULL;
    n.db = db ? parts + n.chunks * n.d : NULL;
    cpu_parallel(program->device, n.chunks, GRAIN * n.chunks / (n.rows * n.d) + 1, backward_range,
                 &n);
    add_chunks(n.dw, n.chunks, n.d, dw);
    add_chunks(n.db, n.chunks, n.d, db);
}
