/*
 * SGD and AdamW, fused: one pass over weight, gradient and moments; all parameters in one parallel region.
 * https://pytorch.org/docs/1.13/generated/torch.optim.SGD.html
 * https://pytorch.org/docs/1.13/generated/torch.optim.AdamW.html (Loshchilov and Hutter, ICLR 2019)
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { LINE = 16, GRAIN = 32768 }; /* elements of a cache line; that are worth a thread */

/* This step's scalars, computed in double as PyTorch does. */
struct scalars {
    float lr, decay;              /* SGD: weight_decay; AdamW: 1 - lr * weight_decay */
    float momentum, carry, fresh; /* SGD: buffer = carry * buffer + fresh * gradient */
    float beta1, beta2, one_minus_beta1, one_minus_beta2;
    float step_size, root_scale, eps; /* lr / (1 - β1^t), 1 / √(1 - β2^t) */
    bool nesterov;
};

struct update {
    struct cyx_program *program;
    const struct cpu_step *steps;
    int n_steps;
    struct scalars scalars;
    void (*run)(const struct update *self, const struct cpu_step *step, int64_t from, int64_t n);
};

CPU_CLONES static void sgd_plain(float *restrict w, const float *restrict g, int64_t n, float lr,
                                 float decay)
{
    for (int64_t i = 0; i < n; i++)
        w[i] -= lr * (g[i] + decay * w[i]);
}

CPU_CLONES static void sgd_momentum(float *restrict w, const float *restrict g, float *restrict m,
                                    int64_t n, const struct scalars *s)
{
    float lr = s->lr, decay = s->decay, carry = s->carry, fresh = s->fresh;
    float ahead = s->momentum;
    for (int64_t i = 0; i < n; i++) {
        float d = g[i] + decay * w[i];
        float buffer = carry * m[i] + fresh * d;
        m[i] = buffer;
        w[i] -= lr * (s->nesterov ? d + ahead * buffer : buffer);
    }
}

CPU_CLONES static void adamw(float *restrict w, const float *restrict g, float *restrict m,
                             float *restrict v, int64_t n, const struct scalars *s)
{
    float beta1 = s->beta1, beta2 = s->beta2, new1 = s->one_minus_beta1, new2 = s->one_minus_beta2;
    float decay = s->decay, step_size = s->step_size, root_scale = s->root_scale, eps = s->eps;
    for (int64_t i = 0; i < n; i++) {
        float first = beta1 * m[i] + new1 * g[i];
        float second = beta2 * v[i] + new2 * (g[i] * g[i]);
        m[i] = first;
        v[i] = second;
        w[i] = decay * w[i] - step_size * (first / (sqrtf(second) * root_scale + eps));
    }
}

static float *data_at(const struct update *self, const struct cpu_step *step, int binding,
                      int64_t from)
{
    return (float *)cpu_data(self->program, &step->bindings[binding]) + from;
}

static void run_sgd(const struct update *self, const struct cpu_step *step, int64_t from, int64_t n)
{
    float *w = data_at(self, step, 0, from);
    const float *g = data_at(self, step, 1, from);
    if (step->node.in[2] == CYX_NO_VALUE)
        sgd_plain(w, g, n, self->scalars.lr, self->scalars.decay);
    else
        sgd_momentum(w, g, data_at(self, step, 2, from), n, &self->scalars);
}

static void run_adamw(const struct update *self, const struct cpu_step *step, int64_t from,
                      int64_t n)
{
    adamw(data_at(self, step, 0, from), data_at(self, step, 1, from), data_at(self, step, 2, from),
          data_at(self, step, 3, from), n, &self->scalars);
}

static int64_t lines_of(const struct cpu_step *step)
{
    return (step->count + LINE - 1) / LINE;
}

/* [begin, end) counts cache lines over all the steps' parameters in a row. */
static void update_range(void *context, int64_t begin, int64_t end)
{
    const struct update *self = context;
    for (int i = 0; i < self->n_steps && end > 0; i++) {
        const struct cpu_step *step = &self->steps[i];
        int64_t lines = lines_of(step);
        int64_t from = begin > 0 ? begin : 0, to = end < lines ? end : lines;
        int64_t last = to * LINE < step->count ? to * LINE : step->count;
        if (from < to)
            self->run(self, step, from * LINE, last - from * LINE);
        begin -= lines;
        end -= lines;
    }
}

static void run_all(struct update *self)
{
    int64_t lines = 0;
    for (int i = 0; i < self->n_steps; i++)
        lines += lines_of(&self->steps[i]);
    cpu_parallel(self->program->device, lines, GRAIN / LINE, update_range, self);
}

void cpu_kernel_sgd(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_optimizer_spec *o = step->node.optimizer;
    struct update update = {.program = program, .steps = step, .n_steps = step->joined};
    bool first = program->feed->step <= 1;
    update.run = run_sgd;
    update.scalars = (struct scalars){
        .lr = (float)program->feed->lr[0],
        .decay = (float)o->weight_decay,
        .momentum = (float)o->momentum,
        /* The first buffer is the gradient itself. */
        .carry = first ? 0.0f : (float)o->momentum,
        .fresh = first ? 1.0f : (float)(1 - o->dampening),
        .nesterov = o->nesterov,
    };
    run_all(&update);
}

void cpu_kernel_adamw(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_optimizer_spec *o = step->node.optimizer;
    struct update update = {.program = program, .steps = step, .n_steps = step->joined};
    double t = (double)program->feed->step, lr = program->feed->lr[0];
    update.run = run_adamw;
    update.scalars = (struct scalars){
        .decay = (float)(1 - lr * o->weight_decay),
        .beta1 = (float)o->betas[0],
        .beta2 = (float)o->betas[1],
        .one_minus_beta1 = (float)(1 - o->betas[0]),
        .one_minus_beta2 = (float)(1 - o->betas[1]),
        .step_size = (float)(lr / (1 - pow(o->betas[0], t))),
        .root_scale = (float)(1 / sqrt(1 - pow(o->betas[1], t))),
        .eps = (float)o->eps,
    };
    run_all(&update);
}
