/* Pooling, elementwise operations, the loss and the optimizers. */
#include "nn/vulkan/lower.h"

#include <math.h>

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

/* `Push` of shaders/include/pool.glsl */
struct pool_push {
    uint32_t count;
    int32_t h, w, oh, ow;
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
};

/* `Push` of shaders/include/elementwise.glsl */
struct elementwise_push {
    uint32_t count; /* groups of four */
    uint32_t p0, p1;
    float f0, f1, f2, f3, f4;
};

/* `Push` of shaders/include/loss.glsl */
struct loss_push {
    uint32_t rows, classes;
    float smoothing;
};

static enum cyx_status add_flat(struct cyx_vk_lowering *self, enum cyx_shader shader, int64_t count,
                                const void *push, size_t push_bytes,
                                struct cyx_vk_command **ret_command, struct cyx_error *ret_error)
{
    uint32_t threads = cyx_vk_elementwise_threads(self->device);
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {threads},
        .n_constants = 1,
        .push = push,
        .push_bytes = push_bytes,
        .groups = (count + threads - 1) / threads,
        .depth = 1,
    };
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

enum cyx_status cyx_vk_lower_pool(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  struct cyx_error *ret_error)
{
    bool forward = node->op == CYX_OP_MAX_POOL2D;
    int32_t big = forward ? node->in[0] : node->out[0],
            small = forward ? node->out[0] : node->in[0];
    const struct cyx_shape *x = &self->graph->values[big].shape;
    const struct cyx_shape *y = &self->graph->values[small].shape;
    const struct cyx_window *w = &node->window;
    int64_t count = cyx_shape_count(forward ? y : x);
    struct pool_push push = {
        .count = (uint32_t)count,
        .h = (int32_t)x->dim[2],
        .w = (int32_t)x->dim[3],
        .oh = (int32_t)y->dim[2],
        .ow = (int32_t)y->dim[3],
        .kernel_h = (int32_t)w->kernel[0],
        .kernel_w = (int32_t)w->kernel[1],
        .stride_h = (int32_t)w->stride[0],
        .stride_w = (int32_t)w->stride[1],
        .dilation_h = (int32_t)w->dilation[0],
        .dilation_w = (int32_t)w->dilation[1],
        .pad_h = (int32_t)w->pad_begin[0],
        .pad_w = (int32_t)w->pad_begin[1],
    };
    struct cyx_vk_command *command;
    enum cyx_status status =
        add_flat(self, forward ? CYX_SHADER_MAX_POOL2D : CYX_SHADER_MAX_POOL2D_GRAD, count, &push,
                 sizeof push, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, 0, cyx_vk_range_of(self, node->in[0]));
    if (forward) {
        cyx_vk_write(command, 1, cyx_vk_range_of(self, node->out[0]));
        cyx_vk_write(command, 2, cyx_vk_range_of(self, node->out[1]));
    } else {
        cyx_vk_read(command, 1, cyx_vk_range_of(self, node->in[1]));
        cyx_vk_write(command, 2, cyx_vk_range_of(self, node->out[0]));
    }
    return CYX_OK;
}

static int64_t groups_of_four(const struct cyx_vk_lowering *self, int32_t value)
{
    return (cyx_shape_count(&self->graph->values[value].shape) + 3) / 4;
}

enum cyx_status cyx_vk_lower_elementwise(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                         struct cyx_error *ret_error)
{
    bool dropout = node->op == CYX_OP_DROPOUT || node->op == CYX_OP_DROPOUT_GRAD;
    int64_t count = groups_of_four(self, node->out[0]);
    struct elementwise_push push = {.count = (uint32_t)count};
    struct cyx_vk_command *command;
    if (dropout) {
        push.p0 = node->rng_stream;
        push.p1 = (uint32_t)ceil(node->p * 16777216.0); /* 2^24: a uniform is 24 bits */
        push.f0 = (float)(1.0 / (1.0 - node->p));
    }
    enum cyx_shader shader = dropout                   ? CYX_SHADER_DROPOUT
                             : node->op == CYX_OP_ADD  ? CYX_SHADER_ADD
                             : node->op == CYX_OP_RELU ? CYX_SHADER_RELU
                                                       : CYX_SHADER_RELU_GRAD;
    enum cyx_status status = add_flat(self, shader, count, &push, sizeof push, &command, ret_error);
    if (status != CYX_OK)
        return status;
    uint32_t binding = 0;
    for (int i = 0; i < node->n_in && node->in[i] != CYX_NO_VALUE; i++)
        cyx_vk_read(command, binding++, cyx_vk_range_of(self, node->in[i]));
    cyx_vk_write(command, binding++, cyx_vk_range_of(self, node->out[0]));
    if (dropout)
        cyx_vk_read(command, binding, self->scalars);
    return CYX_OK;
}

/* The output that shares its input's bytes needs nothing; another is copied. */
enum cyx_status cyx_vk_lower_reshape(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     struct cyx_error *ret_error)
{
    struct cyx_vk_range from = cyx_vk_range_of(self, node->in[0]);
    struct cyx_vk_range to = cyx_vk_range_of(self, node->out[0]);
    if (from.space == to.space && from.offset == to.offset)
        return CYX_OK;
    struct cyx_vk_command *command = cyx_vk_commands_add(self->commands);
    if (!command)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    cyx_vk_read(command, 0, from);
    cyx_vk_write(command, 1, to);
    return CYX_OK;
}

static enum cyx_status add_rows(struct cyx_vk_lowering *self, enum cyx_shader shader,
                                const struct loss_push *push, int64_t groups, uint32_t threads,
                                struct cyx_vk_command **ret_command, struct cyx_error *ret_error)
{
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {threads},
        .n_constants = 1,
        .push = push,
        .push_bytes = sizeof *push,
        .groups = groups,
        .depth = 1,
    };
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

enum cyx_status cyx_vk_lower_loss(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  struct cyx_error *ret_error)
{
    bool forward = node->op == CYX_OP_CROSS_ENTROPY;
    const struct cyx_shape *x = &self->graph->values[node->in[0]].shape;
    struct loss_push push = {(uint32_t)x->dim[0], (uint32_t)x->dim[1],
                             (float)node->label_smoothing};
    uint32_t threads = cyx_vk_row_threads(self->device);
    struct cyx_vk_command *command;
    enum cyx_status status =
        add_rows(self, forward ? CYX_SHADER_CROSS_ENTROPY : CYX_SHADER_CROSS_ENTROPY_GRAD, &push,
                 x->dim[0], threads, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, 0, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, 1, cyx_vk_range_of(self, node->in[1]));
    if (!forward) {
        cyx_vk_read(command, 2, cyx_vk_range_of(self, node->in[2]));
        cyx_vk_write(command, 3, cyx_vk_range_of(self, node->out[0]));
        return CYX_OK;
    }
    cyx_vk_write(command, 2, self->scratch);
    status = add_rows(self, CYX_SHADER_CROSS_ENTROPY_TOTAL, &push, 1, threads, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, 0, self->scratch);
    cyx_vk_write(command, 1, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_optimizer(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       struct cyx_error *ret_error)
{
    const struct cyx_optimizer_spec *spec = node->optimizer;
    bool sgd = node->op == CYX_OP_SGD;
    bool momentum = sgd && node->n_in > 2 && node->in[2] != CYX_NO_VALUE;
    int64_t count = groups_of_four(self, node->in[0]);
    struct elementwise_push push = {.count = (uint32_t)count, .f0 = (float)spec->weight_decay};
    struct cyx_vk_command *command;
    if (sgd) {
        push.p0 = (momentum ? 1u : 0u) | (spec->nesterov ? 2u : 0u);
        push.f1 = (float)spec->momentum;
        push.f2 = (float)(1.0 - spec->dampening);
    } else {
        push.f1 = (float)(1.0 - spec->betas[0]);
        push.f2 = (float)spec->betas[1];
        push.f3 = (float)(1.0 - spec->betas[1]);
        push.f4 = (float)spec->eps;
    }
    enum cyx_status status = add_flat(self, sgd ? CYX_SHADER_SGD : CYX_SHADER_ADAMW, count, &push,
                                      sizeof push, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_write(command, 0, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, 1, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, 2, self->scalars);
    if (sgd) { /* without momentum the binding is named by the shader, not touched */
        cyx_vk_write(command, 3, cyx_vk_range_of(self, momentum ? node->in[2] : node->in[0]));
    } else {
        cyx_vk_write(command, 3, cyx_vk_range_of(self, node->in[2]));
        cyx_vk_write(command, 4, cyx_vk_range_of(self, node->in[3]));
    }
    return CYX_OK;
}
