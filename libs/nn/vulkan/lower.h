/*
 * A graph's nodes as commands: which shader, with what constants, on which bytes, in how many workgroups.
 *
 * cyx_vk_scratch_bytes() tells before planning how much room a node needs while it runs; cyx_vk_lower() then
 * appends the node's commands. Both choose the same tiles, since the choice depends on shapes alone.
 *
 * What is done to many parameters alike (the optimizer's update, the gradients' norm) becomes one dispatch with a
 * table of them, made where the first of a run of updates stands, or the last of a chain of sums.
 */
#ifndef CYX_NN_VULKAN_LOWER_H
#define CYX_NN_VULKAN_LOWER_H

#include "nn/vulkan/commands.h"

/* Words that dispatches read: written while lowering, uploaded once, in the space CYX_VK_TABLES. */
struct cyx_vk_tables {
    uint32_t *words;
    size_t count, capacity;
};

struct cyx_vk_lowering {
    struct cyx_device *device;
    const struct cyx_graph *graph;
    const struct cyx_vk_range *ranges; /* of each value */
    struct cyx_vk_range scratch;       /* of the node at hand; 0 bytes for none */
    struct cyx_vk_range scalars;       /* of the step, struct cyx_vk_scalars */
    struct cyx_vk_commands *commands;
    struct cyx_vk_tables *tables;
};

/* What changes from step to step; `Scalars` of shaders/include/common.glsl. */
struct cyx_vk_scalars {
    uint32_t seed_low, seed_high, step, pad0;
    float bias_correction1, bias_correction2_sqrt;
    uint32_t pad1[2];
    float lr[CYX_PARAM_GROUPS_LIMIT];
};

int64_t cyx_vk_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                             const struct cyx_node *node);

/* CYX_ERR_UNSUPPORTED names the node and what the device lacks for it. */
enum cyx_status cyx_vk_lower(struct cyx_vk_lowering *self, const struct cyx_node *node,
                             struct cyx_error *ret_error);

/* For lower_*.c: the node as commands, one function a family. */
typedef enum cyx_status cyx_vk_lower_function(struct cyx_vk_lowering *self,
                                              const struct cyx_node *node,
                                              struct cyx_error *ret_error);
cyx_vk_lower_function cyx_vk_lower_linear, cyx_vk_lower_conv2d, cyx_vk_lower_conv_transpose2d;
cyx_vk_lower_function cyx_vk_lower_max_pool2d, cyx_vk_lower_avg_pool2d;
cyx_vk_lower_function cyx_vk_lower_relu, cyx_vk_lower_activation, cyx_vk_lower_dropout;
cyx_vk_lower_function cyx_vk_lower_add, cyx_vk_lower_reshape, cyx_vk_lower_concat;
cyx_vk_lower_function cyx_vk_lower_slice, cyx_vk_lower_one_hot;
cyx_vk_lower_function cyx_vk_lower_softmax, cyx_vk_lower_softmax_grad;
cyx_vk_lower_function cyx_vk_lower_batch_norm, cyx_vk_lower_batch_norm_inference;
cyx_vk_lower_function cyx_vk_lower_batch_norm_grad;
cyx_vk_lower_function cyx_vk_lower_layer_norm, cyx_vk_lower_layer_norm_grad;
cyx_vk_lower_function cyx_vk_lower_cross_entropy, cyx_vk_lower_cross_entropy_grad;
cyx_vk_lower_function cyx_vk_lower_element_loss, cyx_vk_lower_element_loss_grad;
cyx_vk_lower_function cyx_vk_lower_square_sum, cyx_vk_lower_clip_norm, cyx_vk_lower_optimizer;

/* Room that a node of the family needs while it runs, 0 where none. */
int64_t cyx_vk_gemm_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node);
int64_t cyx_vk_norm_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node);
int64_t cyx_vk_loss_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node);
int64_t cyx_vk_square_sum_scratch_bytes(const struct cyx_device *device,
                                        const struct cyx_graph *graph, const struct cyx_node *node);

/* out(C) = Σ x(N,C,…) over all but the channels, with the room it needs. */
int64_t cyx_vk_channel_sum_bytes(const struct cyx_device *device, const struct cyx_shape *x);
enum cyx_status cyx_vk_lower_channel_sum(struct cyx_vk_lowering *self, int32_t x, int32_t out,
                                         int64_t *scratch_bytes, struct cyx_error *ret_error);

/* A dispatch of `shader` with its constants and push constants; bind its buffers next. */
struct cyx_vk_dispatch {
    enum cyx_shader shader;
    uint32_t constants[CYX_VK_CONSTANTS]; /* 0: invocations of a workgroup */
    size_t n_constants;
    const void *push;
    size_t push_bytes;
    int64_t groups, depth; /* workgroups, folded into x and y; z */
};
enum cyx_status cyx_vk_dispatch(struct cyx_vk_lowering *self,
                                const struct cyx_vk_dispatch *dispatch,
                                struct cyx_vk_command **ret_command, struct cyx_error *ret_error);

/* One invocation an item: fills constant 0, groups and depth. */
enum cyx_status cyx_vk_dispatch_flat(struct cyx_vk_lowering *self, struct cyx_vk_dispatch *dispatch,
                                     int64_t count, struct cyx_vk_command **ret_command,
                                     struct cyx_error *ret_error);

/* Binds a range for reading, or for writing (and reading), to the next binding. */
void cyx_vk_read(struct cyx_vk_command *command, struct cyx_vk_range range);
void cyx_vk_write(struct cyx_vk_command *command, struct cyx_vk_range range);

/* The value's bytes; those of `otherwise` where there is no value: bound because the shader names them, unread. */
struct cyx_vk_range cyx_vk_range_of(const struct cyx_vk_lowering *self, int32_t value);
struct cyx_vk_range cyx_vk_range_or(const struct cyx_vk_lowering *self, int32_t value,
                                    int32_t otherwise);

/* The next `count` floats of the node's scratch, behind the *scratch_bytes in use, which grow by them. */
struct cyx_vk_range cyx_vk_scratch_part(const struct cyx_vk_lowering *self, int64_t *scratch_bytes,
                                        int64_t count);

/* Room for `count` words in the tables; NULL when memory ran out. Good until the next call. */
uint32_t *cyx_vk_tables_add(struct cyx_vk_lowering *self, size_t count,
                            struct cyx_vk_range *ret_range);

const struct cyx_shape *cyx_vk_shape_of(const struct cyx_graph *graph, int32_t value);

#endif
