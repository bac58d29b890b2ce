/*
 * Rewrites: neighbouring nodes that one pass over memory does better. Values between them are then never written, so
 * nothing of this is done where every value is kept (CYXWIZ_KEEP_VALUES).
 *
 * A step that is taken over stays in its place, dropped and without values, so that indices hold.
 */
#include "nn/cpu/cpu.h"

#include "base/banned.h"

static int readers_of(const struct cyx_program *self, int32_t value)
{
    int readers = value == self->graph->output;
    for (size_t n = 0; n < self->n_steps; n++)
        for (int i = 0; i < self->steps[n].node.n_in; i++)
            readers += self->steps[n].node.in[i] == value;
    return readers;
}

static struct cpu_step *reader_of(struct cyx_program *self, int32_t value, enum cyx_op op)
{
    for (size_t n = 0; n < self->n_steps; n++)
        for (int i = 0; i < self->steps[n].node.n_in; i++)
            if (self->steps[n].node.op == op && self->steps[n].node.in[i] == value)
                return &self->steps[n];
    return NULL;
}

static struct cpu_step *writer_of(struct cyx_program *self, int32_t value, enum cyx_op op)
{
    for (size_t n = 0; n < self->n_steps; n++)
        for (int i = 0; i < self->steps[n].node.n_out; i++)
            if (self->steps[n].node.op == op && self->steps[n].node.out[i] == value)
                return &self->steps[n];
    return NULL;
}

static void drop(struct cpu_step *step)
{
    step->dropped = true;
    step->node.n_in = step->node.n_out = 0;
}

/*
 * MaxPool2d behind a ReLU, backwards: the window's largest element is positive exactly where the pooled value
 * is, so the forward pool marks the windows to leave out, and neither the full-sized gradient of the pool nor
 * the activations are read again.
 */
static void fuse_pool_and_relu(struct cyx_program *self, struct cpu_step *pool_grad)
{
    int32_t dx = pool_grad->node.out[0];
    struct cpu_step *relu_grad = reader_of(self, dx, CYX_OP_RELU_GRAD);
    struct cpu_step *pool = writer_of(self, pool_grad->node.in[1], CYX_OP_MAX_POOL2D);
    if (!relu_grad || !pool || readers_of(self, dx) != 1 ||
        relu_grad->node.in[1] != pool->node.in[0])
        return;
    pool->relu_mask = true;
    pool_grad->node.out[0] = relu_grad->node.out[0];
    drop(relu_grad);
}

/*
 * BatchNorm with a ReLU behind it, backwards: where the ReLU let y pass is known from x, which BatchNorm's gradient
 * reads anyway, by the arithmetic of the forward pass.
 */
static void fuse_norm_and_relu_grad(struct cyx_program *self, struct cpu_step *norm_grad)
{
    struct cyx_node *node = &norm_grad->node;
    struct cpu_step *relu_grad = writer_of(self, node->in[0], CYX_OP_RELU_GRAD);
    const struct cpu_step *norm = writer_of(self, node->in[3], CYX_OP_BATCH_NORM);
    if (!relu_grad || !norm || readers_of(self, node->in[0]) != 1 ||
        relu_grad->node.in[1] != norm->node.out[0] || !norm->node.fused_relu)
        return;
    node->in[0] = relu_grad->node.in[0];
    node->in[5] = norm->node.in[2];
    node->n_in = 6;
    norm_grad->relu_mask = true;
    drop(relu_grad);
}

/* A residual: the sum, and its ReLU, in the pass that normalises one of the two. It runs where the sum did. */
static void fuse_norm_and_add(struct cyx_program *self, struct cpu_step *add)
{
    for (int i = 0; i < 2; i++) {
        int32_t normalised = add->node.in[i], other = add->node.in[1 - i];
        struct cpu_step *norm = writer_of(self, normalised, CYX_OP_BATCH_NORM);
        norm = norm ? norm : writer_of(self, normalised, CYX_OP_BATCH_NORM_INFERENCE);
        if (!norm || norm->node.fused_relu || norm->node.n_in != 5 || other == normalised ||
            readers_of(self, normalised) != 1)
            continue;
        struct cyx_node node = norm->node;
        node.in[5] = other;
        node.n_in = 6;
        node.out[0] = add->node.out[0];
        node.fused_relu = add->node.fused_relu;
        drop(norm);
        add->node = node;
        return;
    }
}

/* The gradient of a value that is read twice, and of the ReLU that made it: dx = (a + b) where y > 0. */
static void fuse_add_and_relu_grad(struct cyx_program *self, struct cpu_step *relu_grad)
{
    struct cyx_node *node = &relu_grad->node;
    struct cpu_step *add = writer_of(self, node->in[0], CYX_OP_ADD);
    if (!add || add->node.fused_relu || node->n_in != 2 || readers_of(self, node->in[0]) != 1)
        return;
    node->in[0] = add->node.in[0];
    node->in[2] = add->node.in[1];
    node->n_in = 3;
    drop(add);
}

void cpu_fuse(struct cyx_program *self)
{
    for (size_t n = 0; n < self->n_steps; n++) {
        struct cpu_step *step = &self->steps[n];
        if (step->node.op == CYX_OP_MAX_POOL2D_GRAD)
            fuse_pool_and_relu(self, step);
        else if (step->node.op == CYX_OP_BATCH_NORM_GRAD)
            fuse_norm_and_relu_grad(self, step);
    }
    for (size_t n = 0; n < self->n_steps; n++) {
        struct cpu_step *step = &self->steps[n];
        if (step->dropped)
            continue;
        if (step->node.op == CYX_OP_ADD)
            fuse_norm_and_add(self, step);
        else if (step->node.op == CYX_OP_RELU_GRAD)
            fuse_add_and_relu_grad(self, step);
    }
}
