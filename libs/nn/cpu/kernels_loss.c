/*
 * CrossEntropyLoss on logits with class indices, mean over the rows that count, label smoothing and
 * ignore_index -100: https://pytorch.org/docs/1.13/generated/torch.nn.CrossEntropyLoss.html
 *
 * Letters: N rows, C classes. Row loss: -Σ_c q_c log p_c with p = softmax(x), q = (1-s) [c = target] + s/C.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 4096 }; /* exponentials that are worth a thread */

struct loss {
    const float *x;
    float *dx;
    const int32_t *target;
    int64_t n_classes;
    double smoothing;
    struct cpu_row_loss *rows;
    float scale; /* 1 / rows that count */
};

static bool counts(const struct loss *l, int64_t row)
{
    return l->target[row] >= 0 && l->target[row] < l->n_classes;
}

static int64_t largest(const float *x, int64_t n)
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
    int64_t best = largest(x, l->n_classes);
    double sum = 0, logits = 0;
    for (int64_t c = 0; c < l->n_classes; c++) {
        sum += expf(x[c] - x[best]);
        logits += x[c];
    }
    double log_sum = log(sum) + x[best], s = l->smoothing;
    out->loss = (1 - s) * (log_sum - x[l->target[row]]);
    if (s > 0)
        out->loss += s * (log_sum - logits / (double)l->n_classes);
    out->counts = 1;
    out->correct = best == l->target[row];
}

static void loss_range(void *context, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++)
        row_loss(context, row);
}

static struct loss open_loss(struct cyx_program *program, const struct cpu_step *step,
                             int64_t *ret_rows)
{
    const struct cyx_shape *shape = &program->graph->values[step->node.in[0]].shape;
    *ret_rows = shape->dim[0];
    return (struct loss){
        .x = cpu_data(program, &step->bindings[0]),
        .target = cpu_value(program, step->node.in[1])->data,
        .n_classes = shape->dim[1],
        .smoothing = step->node.label_smoothing,
    };
}

void cpu_kernel_cross_entropy(struct cyx_program *program, const struct cpu_step *step)
{
    int64_t n;
    struct loss l = open_loss(program, step, &n);
    l.rows = cpu_scratchpad(program, step);
    cpu_parallel(program->device, n, GRAIN / l.n_classes + 1, loss_range, &l);
    double sum = 0;
    int64_t correct = 0, count = 0;
    for (int64_t row = 0; row < n; row++) {
        sum += l.rows[row].loss;
        correct += l.rows[row].correct;
        count += l.rows[row].counts;
    }
    float *result = cpu_value(program, step->node.out[0])->data;
    result[CYX_RESULT_LOSS] = (float)(sum / (double)count);
    result[CYX_RESULT_CORRECT] = (float)correct;
    result[CYX_RESULT_COUNT] = (float)count;
}

/* dx_c = (p_c - q_c) / count. */
static void row_grad(const struct loss *l, int64_t row)
{
    const float *x = l->x + row * l->n_classes;
    float *dx = l->dx + row * l->n_classes;
    if (!counts(l, row)) {
        for (int64_t c = 0; c < l->n_classes; c++)
            dx[c] = 0.0f;
        return;
    }
    float top = x[largest(x, l->n_classes)];
    double sum = 0;
    for (int64_t c = 0; c < l->n_classes; c++) {
        dx[c] = expf(x[c] - top);
        sum += dx[c];
    }
    float scale = (float)(1 / sum), smooth = (float)(l->smoothing / (double)l->n_classes);
    for (int64_t c = 0; c < l->n_classes; c++)
        dx[c] = (dx[c] * scale - smooth) * l->scale;
    dx[l->target[row]] -= (float)(1 - l->smoothing) * l->scale;
}

static void grad_range(void *context, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++)
        row_grad(context, row);
}

void cpu_kernel_cross_entropy_grad(struct cyx_program *program, const struct cpu_step *step)
{
    int64_t n;
    struct loss l = open_loss(program, step, &n);
    l.dx = cpu_data(program, &step->bindings[1]);
    const float *result = cpu_value(program, step->node.in[2])->data;
    l.scale = 1.0f / result[CYX_RESULT_COUNT];
    cpu_parallel(program->device, n, GRAIN / l.n_classes + 1, grad_range, &l);
}
