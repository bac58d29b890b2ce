#include <math.h>

#include "nn/tensor/philox.h"

#include "reference_private.h"

static double mask(const struct step *s, int64_t i)
{
    struct cyx_philox philox = {s->self->seed, (uint32_t)s->self->step, s->node->rng_stream,
                                CYX_PHILOX_DROPOUT};
    return cyx_philox_uniform(&philox, (uint32_t)i) < s->node->p ? 0 : 1 / (1 - s->node->p);
}

void reference_elementwise(const struct step *s)
{
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++) {
        double a = s->in[0][i];
        switch (s->node->op) {
        case CYX_OP_RELU:
            s->out[0][i] = a > 0 ? a : 0;
            break;
        case CYX_OP_RELU_GRAD:
            s->out[0][i] = s->in[1][i] > 0 ? a : 0;
            break;
        case CYX_OP_ADD:
            s->out[0][i] = activate(s, a + s->in[1][i]);
            break;
        case CYX_OP_DROPOUT:
        case CYX_OP_DROPOUT_GRAD:
            s->out[0][i] = a * mask(s, i);
            break;
        default: /* CYX_OP_RESHAPE */
            s->out[0][i] = a;
            break;
        }
    }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* GELU's tanh form (Hendrycks and Gimpel 2016): u(x) = √(2/π) (x + 0.044715 x³). */
static const double GELU_CUBIC = 0.044715;

static double gelu_inner(double x)
{
    return M_2_SQRTPI * M_SQRT1_2 * (x + GELU_CUBIC * x * x * x);
}

static double activation(const struct step *s, double x)
{
    switch (s->node->activation) {
    case CYX_ACTIVATION_LEAKY_RELU:
        return x > 0 ? x : s->node->slope * x;
    case CYX_ACTIVATION_GELU:
        return x * 0.5 * (1 + erf(x * M_SQRT1_2));
    case CYX_ACTIVATION_GELU_TANH:
        return x * 0.5 * (1 + tanh(gelu_inner(x)));
    case CYX_ACTIVATION_SILU:
        return x * sigmoid(x);
    case CYX_ACTIVATION_SIGMOID:
        return sigmoid(x);
    case CYX_ACTIVATION_TANH:
        return tanh(x);
    default:
        return NAN;
    }
}

/* dy/dx from what ACTIVATION_GRAD keeps: y for SIGMOID and TANH, x for the others. */
static double slope(const struct step *s, double x)
{
    switch (s->node->activation) {
    case CYX_ACTIVATION_LEAKY_RELU:
        return x > 0 ? 1 : s->node->slope;
    case CYX_ACTIVATION_GELU:
        return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-x * x / 2) * 0.5 * M_2_SQRTPI * M_SQRT1_2;
    case CYX_ACTIVATION_GELU_TANH: {
        double t = tanh(gelu_inner(x));
        double inner = M_2_SQRTPI * M_SQRT1_2 * (1 + 3 * GELU_CUBIC * x * x);
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner;
    }
    case CYX_ACTIVATION_SILU:
        return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    case CYX_ACTIVATION_SIGMOID:
        return x * (1 - x);
    case CYX_ACTIVATION_TANH:
        return 1 - x * x;
    default:
        return NAN;
    }
}

void reference_activation(const struct step *s)
{
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++)
        s->out[0][i] = activation(s, s->in[0][i]);
}

void reference_activation_grad(const struct step *s)
{
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++)
        s->out[0][i] = s->in[0][i] * slope(s, s->in[1][i]);
}

/* The part [first, first + part.n) of `whole` along the axis, copied one way or the other. */
static void copy_part(struct axis whole, struct axis part, int64_t first, double *x, double *y,
                      bool into_whole)
{
    for (int64_t a = 0; a < part.outer; a++)
        for (int64_t i = 0; i < part.n; i++)
            for (int64_t b = 0; b < part.inner; b++) {
                double *w = &x[(a * whole.n + first + i) * whole.inner + b];
                double *p = &y[(a * part.n + i) * part.inner + b];
                *(into_whole ? w : p) = *(into_whole ? p : w);
            }
}

void reference_concat(const struct step *s)
{
    struct axis whole = axis_of(s, s->node->out[0], s->node->dim);
    int64_t first = 0;
    for (int i = 0; i < s->node->n_in; i++) {
        struct axis part = axis_of(s, s->node->in[i], s->node->dim);
        copy_part(whole, part, first, s->out[0], s->in[i], true);
        first += part.n;
    }
}

void reference_slice(const struct step *s)
{
    copy_part(axis_of(s, s->node->in[0], s->node->dim), axis_of(s, s->node->out[0], s->node->dim),
              s->node->offset, s->in[0], s->out[0], false);
}

void reference_one_hot(const struct step *s)
{
    const int64_t *d = dims(s, s->node->out[0]);
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t c = 0; c < d[1]; c++)
            s->out[0][n * d[1] + c] = (double)c == s->in[0][n];
}
