/*
 * Element-wise functions and their gradients. f(0) = 0 keeps the padding of blocked layouts, for all but the
 * sigmoid, which clears it again; a gradient has zero there because dy has.
 * https://pytorch.org/docs/1.13/nn.html#non-linear-activations-weighted-sum-nonlinearity
 */
#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

#define ROOT_2_OVER_PI 0.79788456f /* √(2/π) */

CPU_CLONES static void leaky_relu(const float *x, const float *unused, float *y, int64_t n,
                                  const struct cyx_node *node)
{
    (void)unused;
    float slope = (float)node->slope;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
}

CPU_CLONES static void leaky_relu_grad(const float *dy, const float *x, float *dx, int64_t n,
                                       const struct cyx_node *node)
{
    float slope = (float)node->slope;
    for (int64_t i = 0; i < n; i++)
        dx[i] = x[i] > 0.0f ? dy[i] : slope * dy[i];
}

CPU_CLONES static void gelu(const float *x, const float *unused, float *y, int64_t n,
                            const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * cpu_normal_cdf(x[i]);
}

CPU_CLONES static void gelu_grad(const float *dy, const float *x, float *dx, int64_t n,
                                 const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * (cpu_normal_cdf(x[i]) + x[i] * cpu_normal_density(x[i]));
}

/* (1 + tanh u) / 2 is the sigmoid of 2u, here of 2 √(2/π) (x + 0.044715 x³). */
CPU_CLONES static void gelu_tanh(const float *x, const float *unused, float *y, int64_t n,
                                 const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i], u = 2.0f * ROOT_2_OVER_PI * (v + 0.044715f * v * v * v);
        y[i] = v * cpu_sigmoid(u);
    }
}

CPU_CLONES static void gelu_tanh_grad(const float *dy, const float *x, float *dx, int64_t n,
                                      const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i], square = 0.044715f * v * v;
        float u = 2.0f * ROOT_2_OVER_PI * (v + square * v);
        float slope = 2.0f * ROOT_2_OVER_PI * (1.0f + 3.0f * square);
        float s = cpu_sigmoid(u), rest = cpu_sigmoid(-u); /* 1 - s would lose its digits */
        dx[i] = dy[i] * (s + v * s * rest * slope);
    }
}

CPU_CLONES static void silu(const float *x, const float *unused, float *y, int64_t n,
                            const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * cpu_sigmoid(x[i]);
}

CPU_CLONES static void silu_grad(const float *dy, const float *x, float *dx, int64_t n,
                                 const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++) {
        float s = cpu_sigmoid(x[i]);
        dx[i] = dy[i] * (s + x[i] * s * (1.0f - s));
    }
}

CPU_CLONES static void sigmoid(const float *x, const float *unused, float *y, int64_t n,
                               const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = cpu_sigmoid(x[i]);
}

CPU_CLONES static void sigmoid_grad(const float *dy, const float *y, float *dx, int64_t n,
                                    const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * (y[i] * (1.0f - y[i]));
}

CPU_CLONES static void tanh_loop(const float *x, const float *unused, float *y, int64_t n,
                                 const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = cpu_tanh(x[i]);
}

CPU_CLONES static void tanh_grad(const float *dy, const float *y, float *dx, int64_t n,
                                 const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] * (1.0f - y[i] * y[i]);
}

/* Zeros in the lanes beyond the last channel. */
static void clear_padding(const struct cpu_planes *p, float *y)
{
    int64_t blocks = p->lanes > 1 ? (p->channels + p->lanes - 1) / p->lanes : 0;
    int64_t pixels = p->height * p->width;
    if (blocks == 0 || p->channels % p->lanes == 0)
        return;
    for (int64_t outer = blocks - 1; outer < p->outer; outer += blocks)
        for (int64_t pixel = 0; pixel < pixels; pixel++)
            for (int64_t lane = p->channels % p->lanes; lane < p->lanes; lane++)
                y[(outer * pixels + pixel) * p->lanes + lane] = 0.0f;
}

static cpu_loop *loop_of(enum cyx_activation activation, bool gradient)
{
    switch (activation) {
    case CYX_ACTIVATION_LEAKY_RELU:
        return gradient ? leaky_relu_grad : leaky_relu;
    case CYX_ACTIVATION_GELU:
        return gradient ? gelu_grad : gelu;
    case CYX_ACTIVATION_GELU_TANH:
        return gradient ? gelu_tanh_grad : gelu_tanh;
    case CYX_ACTIVATION_SILU:
        return gradient ? silu_grad : silu;
    case CYX_ACTIVATION_SIGMOID:
        return gradient ? sigmoid_grad : sigmoid;
    default:
        return gradient ? tanh_grad : tanh_loop;
    }
}

void cpu_kernel_activation(struct cyx_program *program, const struct cpu_step *step)
{
    cpu_over_elements(program, step, loop_of(step->node.activation, false));
    if (step->node.activation == CYX_ACTIVATION_SIGMOID)
        clear_padding(&step->planes, cpu_arg(program, step, CPU_OUT));
}

void cpu_kernel_activation_grad(struct cyx_program *program, const struct cpu_step *step)
{
    cpu_over_elements(program, step, loop_of(step->node.activation, true));
}
