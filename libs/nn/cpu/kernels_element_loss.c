/*
 * Losses that compare number with number, the mean over all elements: MSE, L1, SmoothL1 (beta), binary cross entropy
 * on logits (pos_weight an output). https://pytorch.org/docs/1.13/nn.html#loss-functions
 *
 * With d = x - t: MSE d²; L1 |d|; SmoothL1 d²/(2 beta) below beta, |d| - beta/2 beyond. BCE, p the weight:
 * (1-t) x + (1 + (p-1) t) log(1 + e^-x), by |x| so that nothing overflows.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 16384 }; /* elements that are worth a thread */

/* Elements [from, from + n) of a row of `columns`: the loss of each to `out`, or its slope times `scale`. */
struct element_loss {
    const float *x, *t, *pos_weight;
    float *dx;
    const int32_t *labels;
    double *sums; /* a stretch of CPU_SUM_STRETCH elements each */
    int64_t count, columns;
    enum cyx_loss_type type;
    float beta, scale;
};

CPU_INLINE float loss_of(enum cyx_loss_type type, float x, float t, float p, float beta)
{
    float d = x - t, a = fabsf(d);
    switch (type) {
    case CYX_LOSS_MSE:
        return d * d;
    case CYX_LOSS_L1:
        return a;
    case CYX_LOSS_SMOOTH_L1:
        return a < beta ? 0.5f * d * d / beta : a - 0.5f * beta;
    default: {
        /* log(1 + e^-x) = max(-x, 0) + log(1 + e^-|x|); what x adds in all is summed first, so that
         * nothing large cancels and the loss of a sure model keeps its digits */
        float linear = x < 0.0f ? -p * t * x : (1.0f - t) * x;
        return linear + (1.0f + (p - 1.0f) * t) * log1pf(cpu_exp(-fabsf(x)));
    }
    }
}

CPU_INLINE float slope_of(enum cyx_loss_type type, float x, float t, float p, float beta)
{
    float d = x - t, sign = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
    switch (type) {
    case CYX_LOSS_MSE:
        return 2.0f * d;
    case CYX_LOSS_L1:
        return sign;
    case CYX_LOSS_SMOOTH_L1:
        return fabsf(d) < beta ? d / beta : sign;
    default: /* (1-t) - (1 + (p-1) t) σ(-x) */
        return (1.0f - t) - (1.0f + (p - 1.0f) * t) * cpu_sigmoid(-x);
    }
}

static float weight_at(const struct element_loss *l, int64_t i)
{
    return l->pos_weight ? l->pos_weight[i % l->columns] : 1.0f;
}

CPU_INLINE double stretch_body(const struct element_loss *l, int64_t from, int64_t n,
                               enum cyx_loss_type type)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    const float *x = l->x + from, *t = l->t + from;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int k = 0; k < CPU_SUM_LANES; k++)
            lanes[k] += loss_of(
                type, x[i + k], t[i + k],
                type == CYX_LOSS_BCE_WITH_LOGITS ? weight_at(l, from + i + k) : 1.0f, l->beta);
    for (; i < n; i++)
        rest += loss_of(type, x[i], t[i], weight_at(l, from + i), l->beta);
    return (double)(cpu_add_lanes(lanes) + rest);
}

CPU_CLONES static double stretch_loss(const struct element_loss *l, int64_t from, int64_t n)
{
    switch (l->type) {
    case CYX_LOSS_MSE:
        return stretch_body(l, from, n, CYX_LOSS_MSE);
    case CYX_LOSS_L1:
        return stretch_body(l, from, n, CYX_LOSS_L1);
    case CYX_LOSS_SMOOTH_L1:
        return stretch_body(l, from, n, CYX_LOSS_SMOOTH_L1);
    default:
        return stretch_body(l, from, n, CYX_LOSS_BCE_WITH_LOGITS);
    }
}

CPU_INLINE void slopes_body(const struct element_loss *l, int64_t from, int64_t n,
                            enum cyx_loss_type type)
{
    const float *x = l->x + from, *t = l->t + from;
    float *dx = l->dx + from;
    if (l->pos_weight)
        for (int64_t i = 0; i < n; i++)
            dx[i] = l->scale * slope_of(type, x[i], t[i], weight_at(l, from + i), l->beta);
    else
        for (int64_t i = 0; i < n; i++)
            dx[i] = l->scale * slope_of(type, x[i], t[i], 1.0f, l->beta);
}

CPU_CLONES static void stretch_slopes(const struct element_loss *l, int64_t from, int64_t n)
{
    switch (l->type) {
    case CYX_LOSS_MSE:
        slopes_body(l, from, n, CYX_LOSS_MSE);
        break;
    case CYX_LOSS_L1:
        slopes_body(l, from, n, CYX_LOSS_L1);
        break;
    case CYX_LOSS_SMOOTH_L1:
        slopes_body(l, from, n, CYX_LOSS_SMOOTH_L1);
        break;
    default:
        slopes_body(l, from, n, CYX_LOSS_BCE_WITH_LOGITS);
        break;
    }
}

static int64_t stretch_at(const struct element_loss *l, int64_t stretch)
{
    int64_t left = l->count - stretch * CPU_SUM_STRETCH;
    return left < CPU_SUM_STRETCH ? left : CPU_SUM_STRETCH;
}

static void loss_range(void *context, int64_t begin, int64_t end)
{
    const struct element_loss *l = context;
    for (int64_t s = begin; s < end; s++)
        l->sums[s] = stretch_loss(l, s * CPU_SUM_STRETCH, stretch_at(l, s));
}

static void slopes_range(void *context, int64_t begin, int64_t end)
{
    const struct element_loss *l = context;
    for (int64_t s = begin; s < end; s++)
        stretch_slopes(l, s * CPU_SUM_STRETCH, stretch_at(l, s));
}

static int64_t stretches_of(int64_t count)
{
    return (count + CPU_SUM_STRETCH - 1) / CPU_SUM_STRETCH;
}

int64_t cpu_element_loss_scratch(int64_t count)
{
    return stretches_of(count) * (int64_t)sizeof(double);
}

static struct element_loss open_loss(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_shape *shape = cpu_shape(program, step->node.in[0]);
    struct element_loss l = {
        .x = cpu_arg(program, step, 0),
        .t = cpu_arg(program, step, 1),
        .pos_weight = cpu_arg(program, step, 2),
        .count = cyx_shape_count(shape),
        .columns = shape->dim[shape->rank - 1],
        .type = step->node.loss,
        .beta = (float)step->node.beta,
    };
    l.scale = (float)(1.0 / (double)l.count);
    return l;
}

/* Rows whose largest output is the class that `labels` names. */
static int64_t correct_rows(const struct element_loss *l, int64_t rows)
{
    int64_t correct = 0;
    for (int64_t row = 0; l->labels && row < rows; row++)
        correct += cpu_largest(l->x + row * l->columns, l->columns) == l->labels[row];
    return correct;
}

void cpu_kernel_element_loss(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    struct element_loss l = open_loss(program, step);
    int64_t rows = cpu_shape(program, node->in[0])->dim[0], stretches = stretches_of(l.count);
    if (node->n_in > 3 && node->in[3] != CYX_NO_VALUE)
        l.labels = cpu_value(program, node->in[3])->data;
    l.sums = cpu_scratchpad(program, step);
    cpu_parallel(program->device, stretches, GRAIN / CPU_SUM_STRETCH, loss_range, &l);
    double sum = 0;
    for (int64_t s = 0; s < stretches; s++)
        sum += l.sums[s];
    float *result = cpu_value(program, node->out[0])->data;
    result[CYX_RESULT_LOSS] = (float)(sum / (double)l.count);
    result[CYX_RESULT_CORRECT] = (float)correct_rows(&l, rows);
    result[CYX_RESULT_COUNT] = (float)rows;
}

void cpu_kernel_element_loss_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct element_loss l = open_loss(program, step);
    l.dx = cpu_arg(program, step, CPU_OUT);
    cpu_parallel(program->device, stretches_of(l.count), GRAIN / CPU_SUM_STRETCH, slopes_range, &l);
}
