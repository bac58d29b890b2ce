/*
 * CrossEntropyLoss on logits with class indices: ignore_index, class weights, label smoothing; mean over the
 * weights of the rows that count. https://pytorch.org/docs/1.13/generated/torch.nn.CrossEntropyLoss.html
 *
 * Letters: N rows, C classes, t a row's class, w class weights (1 when not given), s the smoothing.
 * Row loss: w_t (1-s) (lse - x_t) + s/C Σ_c w_c (lse - x_c), lse = log Σ exp x; divided by Σ_rows w_t.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 4096 }; /* exponentials that are worth a thread */

struct loss {
    const float *x, *weight;
    float *dx;
    const int32_t *target;
    int32_t ignore_index;
    int64_t n_classes;
    double smoothing;
    double all_weights; /* Σ_c w_c */
    struct cpu_row_loss *rows;
    float scale; /* 1 / Σ w_t */
};

/* A class that is none counts no row, as if it were ignored. */
static bool counts(const struct loss *l, int64_t row)
{
    int32_t t = l->target[row];
    return t != l->ignore_index && t >= 0 && t < l->n_classes;
}

static float weight_of(const struct loss *l, int64_t class)
{
    return l->weight ? l->weight[class] : 1.0f;
}

int64_t cpu_largest(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best] || (x[i] != x[i] && x[best] == x[best]))
            best = i;
    return best;
}

static void row_loss(const struct loss *l, int64_t row)
{
    struct cpu_row_loss *out = &l->rows[row];
    *out = (struct cpu_row_loss){0};
    if (!counts(l, row))
        return;
    const float *x = l->x + row * l->n_classes;
    int64_t best = cpu_largest(x, l->n_classes), t = l->target[row];
    double sum = 0, logits = 0, s = l->smoothing;
    for (int64_t c = 0; c < l->n_classes; c++)
        sum += (double)cpu_exp(x[c] - x[best]);
    double log_sum = log(sum) + (double)x[best];
    out->weight = weight_of(l, t);
    out->loss = (1 - s) * (double)out->weight * (log_sum - (double)x[t]);
    for (int64_t c = 0; s > 0 && c < l->n_classes; c++)
        logits += (double)weight_of(l, c) * (log_sum - (double)x[c]);
    out->loss += s / (double)l->n_classes * logits;
    out->counts = 1;
    out->correct = best == t;
}

static void loss_range(void *context, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++)
        row_loss(context, row);
}

/* Arguments: x is 0; the class weights are `weight`. */
static struct loss open_loss(struct cyx_program *program, const struct cpu_step *step, int weight,
                             int64_t *ret_rows)
{
    const struct cyx_node *node = &step->node;
    const struct cyx_shape *shape = cpu_shape(program, node->in[0]);
    struct loss l = {
        .x = cpu_arg(program, step, 0),
        .weight = cpu_arg(program, step, weight),
        .target = cpu_value(program, node->in[1])->data,
        .ignore_index = node->ignore_index,
        .n_classes = shape->dim[1],
        .smoothing = node->label_smoothing,
    };
    for (int64_t c = 0; c < l.n_classes; c++)
        l.all_weights += (double)weight_of(&l, c);
    *ret_rows = shape->dim[0];
    return l;
}

void cpu_kernel_cross_entropy(struct cyx_program *program, const struct cpu_step *step)
{
    int64_t n;
    struct loss l = open_loss(program, step, 2, &n);
    l.rows = cpu_scratchpad(program, step);
    cpu_parallel(program->device, n, GRAIN / l.n_classes + 1, loss_range, &l);
    double sum = 0, weight = 0;
    int64_t correct = 0, count = 0;
    for (int64_t row = 0; row < n; row++) {
        sum += l.rows[row].loss;
        weight += (double)l.rows[row].weight;
        correct += l.rows[row].correct;
        count += l.rows[row].counts;
    }
    float *result = cpu_value(program, step->node.out[0])->data;
    result[CYX_RESULT_LOSS] = (float)(sum / weight);
    result[CYX_RESULT_CORRECT] = (float)correct;
    result[CYX_RESULT_COUNT] = (float)count;
    result[CYX_RESULT_WEIGHT] = (float)weight;
}

/* dx_c = (p_c ((1-s) w_t + s/C Σ w) - (1-s) w_t [c = t] - s/C w_c) / Σ w_t. */
CPU_CLONES static void row_grad(const struct loss *l, const float *x, float *dx, float top,
                                int64_t t)
{
    double sum = 0, s = l->smoothing, each = s / (double)l->n_classes;
    for (int64_t c = 0; c < l->n_classes; c++)
        dx[c] = cpu_exp(x[c] - top);
    for (int64_t c = 0; c < l->n_classes; c++)
        sum += (double)dx[c];
    float hit = (float)(1 - s) * weight_of(l, t) * l->scale;
    float scale =
        (float)(((1 - s) * (double)weight_of(l, t) + each * l->all_weights) / sum) * l->scale;
    float smooth = (float)each * l->scale;
    if (l->weight)
        for (int64_t c = 0; c < l->n_classes; c++)
            dx[c] = dx[c] * scale - smooth * l->weight[c];
    else
        for (int64_t c = 0; c < l->n_classes; c++)
            dx[c] = dx[c] * scale - smooth;
    dx[t] -= hit;
}

static void grad_range(void *context, int64_t begin, int64_t end)
{
    const struct loss *l = context;
    for (int64_t row = begin; row < end; row++) {
        const float *x = l->x + row * l->n_classes;
        float *dx = l->dx + row * l->n_classes;
        if (counts(l, row)) {
            row_grad(l, x, dx, x[cpu_largest(x, l->n_classes)], l->target[row]);
            continue;
        }
        for (int64_t c = 0; c < l->n_classes; c++)
            dx[c] = 0.0f;
    }
}

void cpu_kernel_cross_entropy_grad(struct cyx_program *program, const struct cpu_step *step)
{
    int64_t n;
    struct loss l = open_loss(program, step, 3, &n);
    const float *result = cpu_value(program, step->node.in[2])->data;
    l.dx = cpu_arg(program, step, CPU_OUT);
    l.scale = 1.0f / result[CYX_RESULT_WEIGHT];
    cpu_parallel(program->device, n, GRAIN / l.n_classes + 1, grad_range, &l);
}

void cpu_kernel_one_hot(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_shape *shape = cpu_shape(program, step->node.out[0]);
    const int32_t *target = cpu_value(program, step->node.in[0])->data;
    float *y = cpu_arg(program, step, CPU_OUT);
    for (int64_t row = 0; row < shape->dim[0]; row++)
        for (int64_t c = 0; c < shape->dim[1]; c++)
            y[row * shape->dim[1] + c] = c == target[row] ? 1.0f : 0.0f;
}
