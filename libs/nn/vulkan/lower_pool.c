/* MaxPool2d, AvgPool2d and their gradients. */
#include "nn/vulkan/lower.h"

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

/* `Push` of shaders/include/pool.glsl */
struct pool_push {
    uint32_t count;
    int32_t h, w, oh, ow;
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
    int32_t pad_end_h, pad_end_w;
    uint32_t count_include_pad;
};

/* A mean of more elements than this is the work of a whole workgroup. */
enum { LARGE_WINDOW = 32 };

/* `x` is the larger plane, `y` the smaller, whichever way the operation goes. */
static struct pool_push pool_push(const struct cyx_node *node, const struct cyx_shape *x,
                                  const struct cyx_shape *y)
{
    const struct cyx_window *w = &node->window;
    return (struct pool_push){
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
        .pad_end_h = (int32_t)w->pad_end[0],
        .pad_end_w = (int32_t)w->pad_end[1],
        .count_include_pad = w->count_include_pad,
    };
}

/* One invocation an element of the first output. */
static enum cyx_status dispatch_pool(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     enum cyx_shader shader, bool forward,
                                     struct cyx_vk_command **ret_command,
                                     struct cyx_error *ret_error)
{
    const struct cyx_shape *in = cyx_vk_shape_of(self->graph, node->in[0]);
    const struct cyx_shape *out = cyx_vk_shape_of(self->graph, node->out[0]);
    struct pool_push push = forward ? pool_push(node, in, out) : pool_push(node, out, in);
    struct cyx_vk_dispatch dispatch = {.shader = shader, .push = &push, .push_bytes = sizeof push};
    int64_t count = cyx_shape_count(out);
    push.count = (uint32_t)count;
    return cyx_vk_dispatch_flat(self, &dispatch, count, ret_command, ret_error);
}

enum cyx_status cyx_vk_lower_max_pool2d(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    bool forward = node->op == CYX_OP_MAX_POOL2D;
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_pool(self, node, forward ? CYX_SHADER_MAX_POOL2D : CYX_SHADER_MAX_POOL2D_GRAD,
                      forward, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    if (forward) {
        cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
        cyx_vk_write(command, cyx_vk_range_of(self, node->out[1]));
    } else {
        cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
        cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    }
    return CYX_OK;
}

/* One workgroup a mean: neighbouring invocations read neighbouring elements of the window. */
static enum cyx_status dispatch_large(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                      struct cyx_vk_command **ret_command,
                                      struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    const struct cyx_shape *y = cyx_vk_shape_of(self->graph, node->out[0]);
    struct pool_push push = pool_push(node, x, y);
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_AVG_POOL2D_LARGE,
        .constants = {cyx_vk_row_threads(self->device,
                                         node->window.kernel[0] * node->window.kernel[1])},
        .n_constants = 1,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = cyx_shape_count(y),
        .depth = 1,
    };
    push.count = (uint32_t)cyx_shape_count(y);
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

enum cyx_status cyx_vk_lower_avg_pool2d(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                        struct cyx_error *ret_error)
{
    bool forward = node->op == CYX_OP_AVG_POOL2D;
    bool large = node->window.kernel[0] * node->window.kernel[1] > LARGE_WINDOW;
    struct cyx_vk_command *command;
    enum cyx_status status = forward && large ? dispatch_large(self, node, &command, ret_error)
                                              : dispatch_pool(self, node,
                                                              forward ? CYX_SHADER_AVG_POOL2D
                                                                      : CYX_SHADER_AVG_POOL2D_GRAD,
                                                              forward, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
