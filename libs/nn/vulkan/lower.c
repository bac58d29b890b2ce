#include "nn/vulkan/lower.h"

#include <stdlib.h>
#include <string.h>

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

static cyx_vk_lower_function *const LOWER[CYX_OP_COUNT] = {
    [CYX_OP_LINEAR] = cyx_vk_lower_linear,
    [CYX_OP_LINEAR_GRAD_INPUT] = cyx_vk_lower_linear,
    [CYX_OP_LINEAR_GRAD_WEIGHT] = cyx_vk_lower_linear,
    [CYX_OP_CONV2D] = cyx_vk_lower_conv2d,
    [CYX_OP_CONV2D_GRAD_INPUT] = cyx_vk_lower_conv2d,
    [CYX_OP_CONV2D_GRAD_WEIGHT] = cyx_vk_lower_conv2d,
    [CYX_OP_CONV_TRANSPOSE2D] = cyx_vk_lower_conv_transpose2d,
    [CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT] = cyx_vk_lower_conv_transpose2d,
    [CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT] = cyx_vk_lower_conv_transpose2d,
    [CYX_OP_MAX_POOL2D] = cyx_vk_lower_max_pool2d,
    [CYX_OP_MAX_POOL2D_GRAD] = cyx_vk_lower_max_pool2d,
    [CYX_OP_AVG_POOL2D] = cyx_vk_lower_avg_pool2d,
    [CYX_OP_AVG_POOL2D_GRAD] = cyx_vk_lower_avg_pool2d,
    [CYX_OP_RELU] = cyx_vk_lower_relu,
    [CYX_OP_RELU_GRAD] = cyx_vk_lower_relu,
    [CYX_OP_ACTIVATION] = cyx_vk_lower_activation,
    [CYX_OP_ACTIVATION_GRAD] = cyx_vk_lower_activation,
    [CYX_OP_SOFTMAX] = cyx_vk_lower_softmax,
    [CYX_OP_SOFTMAX_GRAD] = cyx_vk_lower_softmax_grad,
    [CYX_OP_LOG_SOFTMAX] = cyx_vk_lower_softmax,
    [CYX_OP_LOG_SOFTMAX_GRAD] = cyx_vk_lower_softmax_grad,
    [CYX_OP_DROPOUT] = cyx_vk_lower_dropout,
    [CYX_OP_DROPOUT_GRAD] = cyx_vk_lower_dropout,
    [CYX_OP_BATCH_NORM] = cyx_vk_lower_batch_norm,
    [CYX_OP_BATCH_NORM_INFERENCE] = cyx_vk_lower_batch_norm_inference,
    [CYX_OP_BATCH_NORM_GRAD] = cyx_vk_lower_batch_norm_grad,
    [CYX_OP_LAYER_NORM] = cyx_vk_lower_layer_norm,
    [CYX_OP_LAYER_NORM_GRAD] = cyx_vk_lower_layer_norm_grad,
    [CYX_OP_RESHAPE] = cyx_vk_lower_reshape,
    [CYX_OP_ADD] = cyx_vk_lower_add,
    [CYX_OP_CONCAT] = cyx_vk_lower_concat,
    [CYX_OP_SLICE] = cyx_vk_lower_slice,
    [CYX_OP_ONE_HOT] = cyx_vk_lower_one_hot,
    [CYX_OP_CROSS_ENTROPY] = cyx_vk_lower_cross_entropy,
    [CYX_OP_CROSS_ENTROPY_GRAD] = cyx_vk_lower_cross_entropy_grad,
    [CYX_OP_ELEMENT_LOSS] = cyx_vk_lower_element_loss,
    [CYX_OP_ELEMENT_LOSS_GRAD] = cyx_vk_lower_element_loss_grad,
    [CYX_OP_SQUARE_SUM] = cyx_vk_lower_square_sum,
    [CYX_OP_CLIP_NORM] = cyx_vk_lower_clip_norm,
    [CYX_OP_SGD] = cyx_vk_lower_optimizer,
    [CYX_OP_ADAM] = cyx_vk_lower_optimizer,
    [CYX_OP_ADAMW] = cyx_vk_lower_optimizer,
    [CYX_OP_RMSPROP] = cyx_vk_lower_optimizer,
};

int64_t cyx_vk_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                             const struct cyx_node *node)
{
    switch (node->op) {
    case CYX_OP_LINEAR_GRAD_WEIGHT:
    case CYX_OP_CONV2D_GRAD_WEIGHT:
    case CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT:
        return cyx_vk_gemm_scratch_bytes(device, graph, node);
    case CYX_OP_BATCH_NORM:
    case CYX_OP_BATCH_NORM_GRAD:
    case CYX_OP_LAYER_NORM_GRAD:
        return cyx_vk_norm_scratch_bytes(device, graph, node);
    case CYX_OP_CROSS_ENTROPY:
    case CYX_OP_ELEMENT_LOSS:
        return cyx_vk_loss_scratch_bytes(device, graph, node);
    case CYX_OP_SQUARE_SUM:
        return cyx_vk_square_sum_scratch_bytes(device, graph, node);
    default:
        return 0;
    }
}

const struct cyx_shape *cyx_vk_shape_of(const struct cyx_graph *graph, int32_t value)
{
    return &graph->values[value].shape;
}

struct cyx_vk_range cyx_vk_range_of(const struct cyx_vk_lowering *self, int32_t value)
{
    return self->ranges[value];
}

struct cyx_vk_range cyx_vk_range_or(const struct cyx_vk_lowering *self, int32_t value,
                                    int32_t otherwise)
{
    return self->ranges[value == CYX_NO_VALUE ? otherwise : value];
}

struct cyx_vk_range cyx_vk_scratch_part(const struct cyx_vk_lowering *self, int64_t *scratch_bytes,
                                        int64_t count)
{
    struct cyx_vk_range part = self->scratch;
    part.offset += *scratch_bytes;
    part.bytes = count * (int64_t)sizeof(float);
    *scratch_bytes += cyx_vk_align(part.bytes);
    return part;
}

uint32_t *cyx_vk_tables_add(struct cyx_vk_lowering *self, size_t count,
                            struct cyx_vk_range *ret_range)
{
    struct cyx_vk_tables *tables = self->tables;
    size_t step = CYX_VK_ALIGN / sizeof *tables->words;
    size_t end = (tables->count + count + step - 1) / step * step;
    if (end > tables->capacity) {
        size_t capacity = 2 * end;
        uint32_t *grown = realloc(tables->words, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + tables->capacity, 0, (capacity - tables->capacity) * sizeof *grown);
        tables->words = grown;
        tables->capacity = capacity;
    }
    uint32_t *words = tables->words + tables->count;
    *ret_range = (struct cyx_vk_range){
        .space = CYX_VK_TABLES,
        .offset = (int64_t)(tables->count * sizeof *words),
        .bytes = (int64_t)(count * sizeof *words),
    };
    tables->count = end;
    return words;
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
        return cyx_error_set(
            ret_error, CYX_ERR_UNSUPPORTED, NULL,
            "%s takes %.1f MiB, and %s binds at most %.1f MiB at once: use a "
            "smaller %s, or the cpu backend",
            self->graph->values[value].name, (double)self->ranges[value].bytes / mib,
            self->device->properties.deviceName, (double)limit / mib,
            cyx_value_persists(self->graph->values[value].kind) ? "layer" : "batch");
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

enum cyx_status cyx_vk_dispatch_flat(struct cyx_vk_lowering *self, struct cyx_vk_dispatch *dispatch,
                                     int64_t count, struct cyx_vk_command **ret_command,
                                     struct cyx_error *ret_error)
{
    uint32_t threads = cyx_vk_elementwise_threads(self->device);
    dispatch->constants[0] = threads;
    if (dispatch->n_constants == 0)
        dispatch->n_constants = 1;
    dispatch->groups = (count + threads - 1) / threads;
    dispatch->depth = 1;
    return cyx_vk_dispatch(self, dispatch, ret_command, ret_error);
}

static void access_range(struct cyx_vk_command *command, struct cyx_vk_range range, bool write)
{
    uint32_t binding = (uint32_t)command->n_accesses;
    command->accesses[command->n_accesses++] =
        (struct cyx_vk_access){.range = range, .binding = binding, .write = write};
}

void cyx_vk_read(struct cyx_vk_command *command, struct cyx_vk_range range)
{
    access_range(command, range, false);
}

void cyx_vk_write(struct cyx_vk_command *command, struct cyx_vk_range range)
{
    access_range(command, range, true);
}
