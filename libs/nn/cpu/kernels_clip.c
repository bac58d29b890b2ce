/*
 * Clipping by norm: Σ g² of all gradients, then the factor that the optimizer multiplies with.
 * https://pytorch.org/docs/1.13/generated/torch.nn.utils.clip_grad_norm_.html
 *
 * Squares are summed in stretches of CPU_SUM_STRETCH elements, whose sums are added in their order in double.
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 32768 }; /* elements that are worth a thread */

struct squares {
    struct cyx_program *program;
    const struct cpu_step *steps;
    int n_steps;
    double *sums; /* of all steps in a row */
};

static int64_t stretches_of(int64_t count)
{
    return (count + CPU_SUM_STRETCH - 1) / CPU_SUM_STRETCH;
}

int64_t cpu_square_sum_scratch(int64_t count)
{
    return stretches_of(count) * (int64_t)sizeof(double);
}

CPU_CLONES static double stretch_squares(const float *g, int64_t n)
{
    float lanes[CPU_SUM_LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + CPU_SUM_LANES <= n; i += CPU_SUM_LANES)
        for (int l = 0; l < CPU_SUM_LANES; l++)
            lanes[l] += g[i + l] * g[i + l];
    for (; i < n; i++)
        rest += g[i] * g[i];
    return (double)(cpu_add_lanes(lanes) + rest);
}

/* Stretches [from, to) of one step's gradient. */
static void step_range(const struct squares *s, const struct cpu_step *step, double *sums,
                       int64_t from, int64_t to)
{
    const float *g = cpu_arg(s->program, step, 0);
    for (int64_t i = from; i < to; i++) {
        int64_t at = i * CPU_SUM_STRETCH, left = step->count - at;
        sums[i] = stretch_squares(g + at, left < CPU_SUM_STRETCH ? left : CPU_SUM_STRETCH);
    }
}

/* [begin, end) counts stretches over all the steps' gradients in a row. */
static void squares_range(void *context, int64_t begin, int64_t end)
{
    const struct squares *s = context;
    double *sums = s->sums;
    for (int i = 0; i < s->n_steps && end > 0; i++) {
        int64_t n = stretches_of(s->steps[i].count);
        step_range(s, &s->steps[i], sums, begin > 0 ? begin : 0, end < n ? end : n);
        sums += n;
        begin -= n;
        end -= n;
    }
}

/* The sums on the way are written where values are kept apart: else their bytes may be another's by now. */
void cpu_kernel_square_sum(struct cyx_program *program, const struct cpu_step *step)
{
    struct squares s = {program, step, step->joined, cpu_scratchpad(program, step)};
    const float *before = cpu_arg(program, step, 1);
    const double *sums = s.sums;
    int64_t stretches = 0;
    for (int i = 0; i < s.n_steps; i++)
        stretches += stretches_of(step[i].count);
    cpu_parallel(program->device, stretches, GRAIN / CPU_SUM_STRETCH, squares_range, &s);
    double sum = before ? (double)*before : 0;
    for (int i = 0; i < s.n_steps; i++) {
        for (int64_t k = 0; k < stretches_of(step[i].count); k++)
            sum += *sums++;
        float *out = cpu_arg(program, &step[i], CPU_OUT);
        if (program->keep || i + 1 == s.n_steps)
            *out = (float)sum;
    }
}

void cpu_kernel_clip_norm(struct cyx_program *program, const struct cpu_step *step)
{
    const float *sum = cpu_arg(program, step, 0);
    float *factor = cpu_arg(program, step, CPU_OUT);
    float *result = cpu_value(program, step->node.in[1])->data;
    double norm = sqrt((double)*sum), clipped = step->node.max_norm / (norm + 1e-6);
    *factor = clipped > 1 ? 1.0f : (float)clipped; /* NaN stays NaN */
    result[CYX_RESULT_GRAD_NORM] = (float)norm;
}
