/* CONCAT and SLICE: stretches of elements, as choose_elementwise.c has measured them. */
#include <string.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { GRAIN = 65536 }; /* elements that are worth a thread */

struct copies {
    const float *from[CYX_NODE_INPUTS];
    float *to;
    const int64_t *stretches;
    int n;
};

static int64_t total(const struct copies *c)
{
    int64_t sum = 0;
    for (int i = 0; i < c->n; i++)
        sum += c->stretches[i];
    return sum;
}

static void concat_range(void *context, int64_t begin, int64_t end)
{
    const struct copies *c = context;
    int64_t whole = total(c);
    for (int64_t outer = begin; outer < end; outer++) {
        float *to = c->to + outer * whole;
        for (int i = 0; i < c->n; i++) {
            int64_t size = c->stretches[i];
            memcpy(to, c->from[i] + outer * size, (size_t)size * sizeof(float));
            to += size;
        }
    }
}

void cpu_kernel_concat(struct cyx_program *program, const struct cpu_step *step)
{
    struct copies c = {
        .to = cpu_arg(program, step, CPU_OUT), .stretches = step->stretches, .n = step->node.n_in};
    for (int i = 0; i < c.n; i++)
        c.from[i] = cpu_arg(program, step, i);
    int64_t whole = total(&c);
    if (whole > 0)
        cpu_parallel(program->device, step->count, GRAIN / whole + 1, concat_range, &c);
}

/* stretches: of x, of y, and where y begins in x's. */
static void slice_range(void *context, int64_t begin, int64_t end)
{
    const struct copies *c = context;
    for (int64_t outer = begin; outer < end; outer++)
        memcpy(c->to + outer * c->stretches[1],
               c->from[0] + outer * c->stretches[0] + c->stretches[2],
               (size_t)c->stretches[1] * sizeof(float));
}

void cpu_kernel_slice(struct cyx_program *program, const struct cpu_step *step)
{
    struct copies c = {.from = {cpu_arg(program, step, 0)},
                       .to = cpu_arg(program, step, CPU_OUT),
                       .stretches = step->stretches};
    cpu_parallel(program->device, step->count, GRAIN / step->stretches[1] + 1, slice_range, &c);
}
