/*
 * A graph's nodes as commands: which shader, with what constants, on which bytes, in how many workgroups.
 *
 * cyx_vk_scratch_bytes() tells before planning how much room a node needs while it runs; cyx_vk_lower() then
 * appends the node's commands. Both choose the same tiles, since the choice depends on shapes alone.
 */
#ifndef CYX_NN_VULKAN_LOWER_H
#define CYX_NN_VULKAN_LOWER_H

#include "nn/vulkan/commands.h"

struct cyx_vk_lowering {
    struct cyx_device *device;
    const struct cyx_graph *graph;
    const struct cyx_vk_range *ranges; /* of each value */
    struct cyx_vk_range scratch;       /* of the node at hand; 0 bytes for none */
    struct cyx_vk_range scalars;       /* of the step, struct cyx_vk_scalars */
    struct cyx_vk_commands *commands;
};

/* What changes from step to step; `Scalars` of shaders/include/common.glsl. */
struct cyx_vk_scalars {
    uint32_t seed_low, seed_high, step;
    float lr;
    float bias_correction1, bias_correction2_sqrt;
    uint32_t pad[2];
};

int64_t cyx_vk_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                             const struct cyx_node *node);

/* CYX_ERR_UNSUPPORTED names the node and what the device lacks for it. */
enum cyx_status cyx_vk_lower(struct cyx_vk_lowering *self, const struct cyx_node *node,
                             struct cyx_error *ret_error);

/* For lower_*.c: the node as commands, one function a family. */
enum cyx_status cyx_vk_lower_linear(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_conv2d(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                    struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_pool(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_elementwise(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                         struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_reshape(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_loss(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                  struct cyx_error *ret_error);
enum cyx_status cyx_vk_lower_optimizer(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                       struct cyx_error *ret_error);

/* Bytes of partial sums of a weight gradient, 0 when k is not split. */
int64_t cyx_vk_gemm_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node);

/* A dispatch of `shader` with its constants and push constants; bind its buffers next. */
struct cyx_vk_dispatch {
    enum cyx_shader shader;
    uint32_t constants[CYX_VK_CONSTANTS];
    size_t n_constants;
    const void *push;
    size_t push_bytes;
    int64_t groups, depth; /* workgroups, folded into x and y; z */
};
enum cyx_status cyx_vk_dispatch(struct cyx_vk_lowering *self,
                                const struct cyx_vk_dispatch *dispatch,
                                struct cyx_vk_command **ret_command, struct cyx_error *ret_error);

void cyx_vk_read(struct cyx_vk_command *command, uint32_t binding, struct cyx_vk_range range);
void cyx_vk_write(struct cyx_vk_command *command, uint32_t binding, struct cyx_vk_range range);

/* The value's bytes; `value` may be CYX_NO_VALUE only where `otherwise` stands in for it. */
struct cyx_vk_range cyx_vk_range_of(const struct cyx_vk_lowering *self, int32_t value);

#endif
