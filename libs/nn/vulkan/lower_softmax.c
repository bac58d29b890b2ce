/* Softmax, LogSoftmax and their gradients, over any dimension but the batch's. */
#include "nn/vulkan/lower.h"

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

/* `Push` of shaders/include/softmax.glsl: x as (outer, width, inner), outer * inner rows. */
struct softmax_push {
    uint32_t rows, width, inner;
};

/* Shorter rows are an invocation's; so are those that lie apart, where many others lie between. */
enum { SHORT_ROW = 32, FAR_APART = 16 };

static enum cyx_status dispatch_softmax(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        enum cyx_shader shader, bool log,
                                        struct cyx_vk_command **ret_command,
                                        struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    int64_t length = x->dim[node->dim], rows = cyx_shape_count(x) / length, inner = 1;
    for (int i = node->dim + 1; i < x->rank; i++)
        inner *= x->dim[i];
    const struct softmax_push push = {(uint32_t)rows, (uint32_t)length, (uint32_t)inner};
    bool together = length > SHORT_ROW && inner < FAR_APART;
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {cyx_vk_row_threads(self->device, length), together, log},
        .n_constants = 3,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = rows,
        .depth = 1,
    };
    return together ? cyx_vk_dispatch(self, &dispatch, ret_command, ret_error)
                    : cyx_vk_dispatch_flat(self, &dispatch, rows, ret_command, ret_error);
}

enum cyx_status cyx_vk_lower_softmax(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    enum cyx_status status = dispatch_softmax(self, node, CYX_SHADER_SOFTMAX,
                                              node->op == CYX_OP_LOG_SOFTMAX, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

enum cyx_status cyx_vk_lower_softmax_grad(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                          struct cyx_error *ret_error)
{
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_softmax(self, node, CYX_SHADER_SOFTMAX_GRAD, node->op == CYX_OP_LOG_SOFTMAX_GRAD,
                         &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
