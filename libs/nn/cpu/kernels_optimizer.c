/*
 * SGD, Adam, AdamW and RMSprop, fused: one pass over weight, gradient and states, clipping included; all parameters
 * in one parallel region. Padding has zero weight, gradient and states, and keeps them.
 * https://pytorch.org/docs/1.13/generated/torch.optim.SGD.html
 * https://pytorch.org/docs/1.13/generated/torch.optim.Adam.html (Kingma and Ba, ICLR 2015)
 * https://pytorch.org/docs/1.13/generated/torch.optim.AdamW.html (Loshchilov and Hutter, ICLR 2019)
 * https://pytorch.org/docs/1.13/generated/torch.optim.RMSprop.html
 */
#include <math.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

enum { LINE = 16, GRAIN = 32768 }; /* elements of a cache line; that are worth a thread */

/* This step's scalars of a parameter group, computed in double as PyTorch does. */
struct scalars {
    float lr, l2, decay; /* l2: added to the gradient; decay: AdamW's 1 - lr * weight_decay */
    float momentum, carry, fresh; /* SGD: buffer = carry * buffer + fresh * gradient */
    float beta1, beta2, one_minus_beta1, one_minus_beta2; /* RMSprop: beta2 is alpha */
    float step_size, root_scale, eps;                     /* lr / (1 - β1^t), 1 / √(1 - β2^t) */
    bool nesterov;
    float factor, bound; /* of clipping: the gradient times factor, then within ±bound */
};

/* A stretch of one parameter; states are NULL where the optimizer has none. */
struct part {
    float *restrict w, *restrict a, *restrict b, *restrict c;
    const float *restrict g;
    int64_t n;
};

typedef void update_part(const struct part *part, const struct scalars *scalars);

struct update {
    struct cyx_program *program;
    const struct cpu_step *steps;
    int n_steps;
    struct scalars scalars[CYX_PARAM_GROUPS_LIMIT];
    update_part *run;
};

CPU_INLINE float clip(float g, const struct scalars *s)
{
    g *= s->factor;
    g = g > s->bound ? s->bound : g; /* NaN stays NaN */
    return g < -s->bound ? -s->bound : g;
}

CPU_CLONES static void sgd(const struct part *part, const struct scalars *scalars)
{
    const struct scalars s = *scalars;
    const struct part p = *part;
    if (!p.a) {
        for (int64_t i = 0; i < p.n; i++)
            p.w[i] -= s.lr * (clip(p.g[i], &s) + s.l2 * p.w[i]);
        return;
    }
    for (int64_t i = 0; i < p.n; i++) {
        float d = clip(p.g[i], &s) + s.l2 * p.w[i];
        float buffer = s.carry * p.a[i] + s.fresh * d;
        p.a[i] = buffer;
        p.w[i] -= s.lr * (s.nesterov ? d + s.momentum * buffer : buffer);
    }
}

CPU_INLINE void adam_body(const struct part *part, const struct scalars *scalars, bool l2)
{
    const struct scalars s = *scalars;
    const struct part p = *part;
    for (int64_t i = 0; i < p.n; i++) {
        float g = clip(p.g[i], &s);
        if (l2)
            g += s.l2 * p.w[i];
        float first = s.beta1 * p.a[i] + s.one_minus_beta1 * g;
        float second = s.beta2 * p.b[i] + s.one_minus_beta2 * (g * g);
        p.a[i] = first;
        p.b[i] = second;
        p.w[i] = s.decay * p.w[i] - s.step_size * (first / (sqrtf(second) * s.root_scale + s.eps));
    }
}

CPU_CLONES static void adam(const struct part *part, const struct scalars *scalars)
{
    if (scalars->l2 != 0.0f)
        adam_body(part, scalars, true);
    else
        adam_body(part, scalars, false);
}

/* States: a is square_avg, b momentum_buffer, c grad_avg. */
CPU_INLINE void rmsprop_body(const struct part *part, const struct scalars *scalars, bool buffered,
                             bool centered)
{
    const struct scalars s = *scalars;
    const struct part p = *part;
    for (int64_t i = 0; i < p.n; i++) {
        float g = clip(p.g[i], &s) + s.l2 * p.w[i];
        float square = s.beta2 * p.a[i] + s.one_minus_beta2 * (g * g), spread = square;
        p.a[i] = square;
        if (centered) {
            float mean = p.c[i] + s.one_minus_beta2 * (g - p.c[i]);
            p.c[i] = mean;
            spread = square - mean * mean;
            spread = spread < 0.0f ? 0.0f : spread; /* by rounding alone */
        }
        float step = g / (sqrtf(spread) + s.eps);
        if (buffered) {
            step += s.momentum * p.b[i];
            p.b[i] = step;
        }
        p.w[i] -= s.lr * step;
    }
}

CPU_CLONES static void rmsprop(const struct part *part, const struct scalars *scalars)
{
    if (part->b && part->c)
        rmsprop_body(part, scalars, true, true);
    else if (part->b)
        rmsprop_body(part, scalars, true, false);
    else if (part->c)
        rmsprop_body(part, scalars, false, true);
    else
        rmsprop_body(part, scalars, false, false);
}

/* ---- the walk ---- */

static float *data_at(const struct update *self, const struct cpu_step *step, int arg, int64_t from)
{
    float *data = cpu_arg(self->program, step, arg);
    return data ? data + from : NULL;
}

static void run_part(const struct update *self, const struct cpu_step *step, int64_t from,
                     int64_t n)
{
    struct part part = {
        .w = data_at(self, step, 0, from),
        .g = data_at(self, step, 1, from),
        .a = data_at(self, step, 2, from),
        .b = data_at(self, step, 3, from),
        .c = data_at(self, step, 4, from),
        .n = n,
    };
    struct scalars scalars = self->scalars[step->node.group];
    const float *factor = cpu_arg(self->program, step, CPU_FACTOR);
    scalars.factor = factor ? *factor : 1.0f;
    scalars.bound = step->node.clip_value > 0 ? (float)step->node.clip_value : INFINITY;
    self->run(&part, &scalars);
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
            run_part(self, step, from * LINE, last - from * LINE);
        begin -= lines;
        end -= lines;
    }
}

typedef struct scalars scalars_of(const struct cyx_optimizer_spec *o, double lr, double step,
                                  enum cyx_op op);

static void run_all(struct cyx_program *program, const struct cpu_step *step, update_part *run,
                    scalars_of *scalars)
{
    struct update update = {.program = program, .steps = step, .n_steps = step->joined, .run = run};
    const struct cyx_optimizer_spec *made[CYX_PARAM_GROUPS_LIMIT] = {0};
    int64_t lines = 0;
    for (int i = 0; i < update.n_steps; i++) {
        const struct cyx_node *node = &step[i].node;
        lines += lines_of(&step[i]);
        if (made[node->group] == node->optimizer)
            continue;
        made[node->group] = node->optimizer;
        update.scalars[node->group] = scalars(node->optimizer, program->feed->lr[node->group],
                                              (double)program->feed->step, node->op);
    }
    cpu_parallel(program->device, lines, GRAIN / LINE, update_range, &update);
}

/* ---- what each optimizer multiplies with ---- */

static struct scalars sgd_scalars(const struct cyx_optimizer_spec *o, double lr, double step,
                                  enum cyx_op op)
{
    (void)op;
    bool first = step <= 1; /* the first buffer is the gradient itself */
    return (struct scalars){
        .lr = (float)lr,
        .l2 = (float)o->weight_decay,
        .momentum = (float)o->momentum,
        .carry = first ? 0.0f : (float)o->momentum,
        .fresh = first ? 1.0f : (float)(1 - o->dampening),
        .nesterov = o->nesterov,
    };
}

static struct scalars adam_scalars(const struct cyx_optimizer_spec *o, double lr, double step,
                                   enum cyx_op op)
{
    bool decoupled = op == CYX_OP_ADAMW;
    return (struct scalars){
        .l2 = decoupled ? 0.0f : (float)o->weight_decay,
        .decay = decoupled ? (float)(1 - lr * o->weight_decay) : 1.0f,
        .beta1 = (float)o->betas[0],
        .beta2 = (float)o->betas[1],
        .one_minus_beta1 = (float)(1 - o->betas[0]),
        .one_minus_beta2 = (float)(1 - o->betas[1]),
        .step_size = (float)(lr / (1 - pow(o->betas[0], step))),
        .root_scale = (float)(1 / sqrt(1 - pow(o->betas[1], step))),
        .eps = (float)o->eps,
    };
}

static struct scalars rmsprop_scalars(const struct cyx_optimizer_spec *o, double lr, double step,
                                      enum cyx_op op)
{
    (void)step;
    (void)op;
    return (struct scalars){
        .lr = (float)lr,
        .l2 = (float)o->weight_decay,
        .momentum = (float)o->momentum,
        .beta2 = (float)o->alpha,
        .one_minus_beta2 = (float)(1 - o->alpha),
        .eps = (float)o->eps,
    };
}

void cpu_kernel_sgd(struct cyx_program *program, const struct cpu_step *step)
{
    run_all(program, step, sgd, sgd_scalars);
}

void cpu_kernel_adam(struct cyx_program *program, const struct cpu_step *step)
{
    run_all(program, step, adam, adam_scalars);
}

void cpu_kernel_rmsprop(struct cyx_program *program, const struct cpu_step *step)
{
    run_all(program, step, rmsprop, rmsprop_scalars);
}
