#include <math.h>

#include "reference_private.h"

/* in: g before?   out: sum */
void reference_square_sum(const struct step *s)
{
    double sum = s->in[1] ? s->in[1][0] : 0;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++)
        sum += s->in[0][i] * s->in[0][i];
    s->out[0][0] = sum;
}

/* in: sum result   out: factor */
void reference_clip_norm(const struct step *s)
{
    double norm = sqrt(s->in[0][0]);
    s->in[1][CYX_RESULT_GRAD_NORM] = norm;
    s->out[0][0] = fmin(1, s->node->max_norm / (norm + 1e-6));
}

/* Element i of the gradient, clipped; `factor` is the node's input of that place. */
static double clipped(const struct step *s, int64_t i, int factor)
{
    double g = s->in[1][i] * (s->in[factor] ? s->in[factor][0] : 1), limit = s->node->clip_value;
    return limit > 0 ? fmin(fmax(g, -limit), limit) : g;
}

static double rate(const struct step *s)
{
    return s->self->lr[s->node->group];
}

/* in: W dW momentum_buffer? factor? */
void reference_sgd(const struct step *s)
{
    const struct cyx_optimizer_spec *o = s->node->optimizer;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++) {
        double g = clipped(s, i, 3) + o->weight_decay * s->in[0][i];
        if (s->in[2]) {
            double *b = &s->in[2][i];
            *b = s->self->step == 1 ? g : o->momentum * *b + (1 - o->dampening) * g;
            g = o->nesterov ? g + o->momentum * *b : *b;
        }
        s->in[0][i] -= rate(s) * g;
    }
}

/* in: W dW exp_avg exp_avg_sq factor? */
void reference_adam(const struct step *s)
{
    const struct cyx_optimizer_spec *o = s->node->optimizer;
    bool decoupled = s->node->op == CYX_OP_ADAMW;
    double step = s->self->step;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++) {
        double *w = &s->in[0][i], *m = &s->in[2][i], *v = &s->in[3][i];
        double g = clipped(s, i, 4) + (decoupled ? 0 : o->weight_decay * *w);
        *w -= decoupled ? rate(s) * o->weight_decay * *w : 0;
        *m = o->betas[0] * *m + (1 - o->betas[0]) * g;
        *v = o->betas[1] * *v + (1 - o->betas[1]) * g * g;
        double root = sqrt(*v) / sqrt(1 - pow(o->betas[1], step)) + o->eps;
        *w -= rate(s) / (1 - pow(o->betas[0], step)) * *m / root;
    }
}

/* in: W dW square_avg momentum_buffer? grad_avg? factor? */
void reference_rmsprop(const struct step *s)
{
    const struct cyx_optimizer_spec *o = s->node->optimizer;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++) {
        double g = clipped(s, i, 5) + o->weight_decay * s->in[0][i], *v = &s->in[2][i], mean = 0;
        *v = o->alpha * *v + (1 - o->alpha) * g * g;
        if (s->in[4])
            mean = s->in[4][i] = o->alpha * s->in[4][i] + (1 - o->alpha) * g;
        double change = g / (sqrt(*v - mean * mean) + o->eps);
        if (s->in[3])
            change = s->in[3][i] = o->momentum * s->in[3][i] + change;
        s->in[0][i] -= rate(s) * change;
    }
}
