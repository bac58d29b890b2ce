#include "nn/vulkan/lower.h"

#include <string.h>

#include "base/banned.h"

typedef enum cyx_status lower_function(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       struct cyx_error *ret_error);

static lower_function *const LOWER[CYX_OP_COUNT] = {
    [CYX_OP_LINEAR] = cyx_vk_lower_linear,
    [CYX_OP_LINEAR_GRAD_INPUT] = cyx_vk_lower_linear,
    [CYX_OP_LINEAR_GRAD_WEIGHT] = cyx_vk_lower_linear,
    [CYX_OP_CONV2D] = cyx_vk_lower_conv2d,
    [CYX_OP_CONV2D_GRAD_INPUT] = cyx_vk_lower_conv2d,
    [CYX_OP_CONV2D_GRAD_WEIGHT] = cyx_vk_lower_conv2d,
    [CYX_OP_MAX_POOL2D] = cyx_vk_lower_pool,
    [CYX_OP_MAX_POOL2D_GRAD] = cyx_vk_lower_pool,
    [CYX_OP_RELU] = cyx_vk_lower_elementwise,
    [CYX_OP_RELU_GRAD] = cyx_vk_lower_elementwise,
    [CYX_OP_DROPOUT] = cyx_vk_lower_elementwise,
    [CYX_OP_DROPOUT_GRAD] = cyx_vk_lower_elementwise,
    [CYX_OP_RESHAPE] = cyx_vk_lower_reshape,
    [CYX_OP_ADD] = cyx_vk_lower_elementwise,
    [CYX_OP_CROSS_ENTROPY] = cyx_vk_lower_loss,
    [CYX_OP_CROSS_ENTROPY_GRAD] = cyx_vk_lower_loss,
    [CYX_OP_SGD] = cyx_vk_lower_optimizer,
    [CYX_OP_ADAMW] = cyx_vk_lower_optimizer,
};

int64_t cyx_vk_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                             const struct cyx_node *node)
{
    switch (node->op) {
    case CYX_OP_LINEAR_GRAD_WEIGHT:
    case CYX_OP_CONV2D_GRAD_WEIGHT:
        return cyx_vk_gemm_scratch_bytes(device, graph, node);
    case CYX_OP_CROSS_ENTROPY: /* four floats a row */
        return graph->values[node->in[0]].shape.dim[0] * 4 * (int64_t)sizeof(float);
    default:
        return 0;
    }
}

struct cyx_vk_range cyx_vk_range_of(const struct cyx_vk_lowering *self, int32_t value)
{
    return self->ranges[value];
}

/* Every value that the node touches must fit one binding of a storage buffer. */
static enum cyx_status check_sizes(const struct cyx_vk_lowering *self, const struct cyx_node *node,
                                   struct cyx_error *ret_error)
{
    const double mib = 1024.0 * 1024.0;
    int64_t limit = (int64_t)self->device->properties.limits.maxStorageBufferRange;
    for (int i = 0; i < node->n_in + node->n_out; i++) {
        int32_t value = i < node->n_in ? node->in[i] : node->out[i - node->n_in];
        if (value == CYX_NO_VALUE || self->ranges[value].bytes <= limit)
            continue;
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "%s takes %.1f MiB, and %s binds at most %.1f MiB at once: use a "
                             "smaller batch, or the cpu backend",
                             self->graph->values[value].name,
                             (double)self->ranges[value].bytes / mib,
                             self->device->properties.deviceName, (double)limit / mib);
    }
    if (self->scratch.bytes > limit)
        return cyx_error_set(
            ret_error, CYX_ERR_UNSUPPORTED, NULL,
            "%s needs %.1f MiB of scratch, and %s binds at most %.1f MiB at once: use "
            "the cpu backend",
            cyx_op_name(node->op), (double)self->scratch.bytes / mib,
            self->device->properties.deviceName, (double)limit / mib);
    return CYX_OK;
}

enum cyx_status cyx_vk_lower(struct cyx_vk_lowering *self, const struct cyx_node *node,
                             struct cyx_error *ret_error)
{
    if ((unsigned)node->op >= CYX_OP_COUNT || !LOWER[node->op])
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "the vulkan backend does not know operation %d", (int)node->op);
    enum cyx_status status = check_sizes(self, node, ret_error);
    if (status == CYX_OK)
        status = LOWER[node->op](self, node, ret_error);
    return status;
}

enum cyx_status cyx_vk_dispatch(struct cyx_vk_lowering *self,
                                const struct cyx_vk_dispatch *dispatch,
                                struct cyx_vk_command **ret_command, struct cyx_error *ret_error)
{
    const uint32_t *most = self->device->properties.limits.maxComputeWorkGroupCount;
    int64_t x = dispatch->groups < most[0] ? dispatch->groups : most[0];
    int64_t y = (dispatch->groups + x - 1) / x;
    if (y > most[1] || dispatch->depth > most[2])
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "%s would need more workgroups than %s has: use a smaller batch",
                             cyx_shaders[dispatch->shader].name,
                             self->device->properties.deviceName);
    VkPipeline pipeline;
    enum cyx_status status =
        cyx_vk_pipeline_get(self->device, dispatch->shader, dispatch->constants,
                            dispatch->n_constants, &pipeline, ret_error);
    if (status != CYX_OK)
        return status;
    struct cyx_vk_command *command = cyx_vk_commands_add(self->commands);
    if (!command)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    command->pipeline = pipeline;
    command->groups[0] = (uint32_t)x;
    command->groups[1] = (uint32_t)y;
    command->groups[2] = (uint32_t)dispatch->depth;
    memcpy(command->push, dispatch->push, dispatch->push_bytes);
    command->push_bytes = (uint32_t)dispatch->push_bytes;
    *ret_command = command;
    return CYX_OK;
}

static void access_range(struct cyx_vk_command *command, uint32_t binding,
                         struct cyx_vk_range range, bool write)
{
    command->accesses[command->n_accesses++] =
        (struct cyx_vk_access){.range = range, .binding = binding, .write = write};
}

void cyx_vk_read(struct cyx_vk_command *command, uint32_t binding, struct cyx_vk_range range)
{
    access_range(command, binding, range, false);
}

void cyx_vk_write(struct cyx_vk_command *command, uint32_t binding, struct cyx_vk_range range)
{
    access_range(command, binding, range, true);
}
