/* What is done to each element by itself, and what only moves elements. */
#include "nn/vulkan/lower.h"

#include <math.h>

#include "base/banned.h"

/* `Push` of shaders/include/elementwise.glsl */
struct elementwise_push {
    uint32_t count; /* groups of four */
    uint32_t p0, p1;
    float f0;
};

/* `Push` of shaders/ops/concat.comp */
struct concat_push {
    uint32_t count, row, ends[CYX_NODE_INPUTS];
};

/* `Push` of shaders/ops/slice.comp */
struct slice_push {
    uint32_t count, row, from_row, offset;
};

/* One invocation four elements of the output, which come behind the inputs. */
static enum cyx_status elementwise(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                   struct cyx_vk_dispatch *dispatch, struct elementwise_push *push,
                                   struct cyx_vk_command **ret_command, struct cyx_error *ret_error)
{
    int64_t count = (cyx_shape_count(cyx_vk_shape_of(self->graph, node->out[0])) + 3) / 4;
    push->count = (uint32_t)count;
    dispatch->push = push;
    dispatch->push_bytes = sizeof *push;
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, dispatch, count, &command, ret_error);
    if (status != CYX_OK)
        return status;
    for (int i = 0; i < node->n_in && node->in[i] != CYX_NO_VALUE; i++)
        cyx_vk_read(command, cyx_vk_range_of(self, node->in[i]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    *ret_command = command;
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_relu(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    return elementwise(self, node,
                       &(struct cyx_vk_dispatch){.shader = node->op == CYX_OP_RELU
                                                               ? CYX_SHADER_RELU
                                                               : CYX_SHADER_RELU_GRAD},
                       &(struct elementwise_push){0}, &command, ret_error);
}

enum cyx_status cyx_vk_lower_activation(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    struct cyx_vk_dispatch dispatch = {
        .shader =
            node->op == CYX_OP_ACTIVATION ? CYX_SHADER_ACTIVATION : CYX_SHADER_ACTIVATION_GRAD,
        .constants = {0, (uint32_t)node->activation},
        .n_constants = 2,
    };
    return elementwise(self, node, &dispatch, &(struct elementwise_push){.f0 = (float)node->slope},
                       &command, ret_error);
}

enum cyx_status cyx_vk_lower_dropout(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    struct elementwise_push push = {
        .p0 = node->rng_stream,
        .p1 = (uint32_t)ceil(node->p * 16777216.0), /* 2^24: a uniform is 24 bits */
        .f0 = (float)(1.0 / (1.0 - node->p)),
    };
    enum cyx_status status =
        elementwise(self, node, &(struct cyx_vk_dispatch){.shader = CYX_SHADER_DROPOUT}, &push,
                    &command, ret_error);
    if (status == CYX_OK)
        cyx_vk_read(command, self->scalars);
    return status;
}

enum cyx_status cyx_vk_lower_add(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                 struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    return elementwise(self, node, &(struct cyx_vk_dispatch){.shader = CYX_SHADER_ADD},
                       &(struct elementwise_push){.p0 = node->fused_relu}, &command, ret_error);
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
    cyx_vk_read(command, from);
    cyx_vk_write(command, to);
    return CYX_OK;
}

/* Elements of the dimensions from `dim` on. */
static uint32_t row_elements(const struct cyx_shape *shape, int dim)
{
    int64_t count = 1;
    for (int i = dim; i < shape->rank; i++)
        count *= shape->dim[i];
    return (uint32_t)count;
}

enum cyx_status cyx_vk_lower_concat(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    struct cyx_error *ret_error)
{
    const struct cyx_shape *y = cyx_vk_shape_of(self->graph, node->out[0]);
    int64_t count = cyx_shape_count(y);
    struct concat_push push = {.count = (uint32_t)count, .row = row_elements(y, node->dim)};
    uint32_t end = 0;
    for (int i = 0; i < CYX_NODE_INPUTS; i++) {
        if (i < node->n_in && node->in[i] != CYX_NO_VALUE)
            end += row_elements(cyx_vk_shape_of(self->graph, node->in[i]), node->dim);
        push.ends[i] = end;
    }
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_CONCAT, .push = &push, .push_bytes = sizeof push};
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, count, &command, ret_error);
    if (status != CYX_OK)
        return status;
    for (int i = 0; i < CYX_NODE_INPUTS; i++)
        cyx_vk_read(command, cyx_vk_range_or(self, i < node->n_in ? node->in[i] : CYX_NO_VALUE,
                                             node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_slice(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                   struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    const struct cyx_shape *y = cyx_vk_shape_of(self->graph, node->out[0]);
    int64_t count = cyx_shape_count(y);
    struct slice_push push = {
        .count = (uint32_t)count,
        .row = row_elements(y, node->dim),
        .from_row = row_elements(x, node->dim),
        .offset = (uint32_t)node->offset * row_elements(x, node->dim + 1),
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_SLICE, .push = &push, .push_bytes = sizeof push};
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, count, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_one_hot(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     struct cyx_error *ret_error)
{
    const struct cyx_shape *y = cyx_vk_shape_of(self->graph, node->out[0]);
    int64_t count = cyx_shape_count(y);
    const uint32_t push[2] = {(uint32_t)count, (uint32_t)y->dim[1]};
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_ONE_HOT, .push = push, .push_bytes = sizeof push};
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, count, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
