/* Losses: a stage of rows, a total, and their gradients. */
#include "nn/vulkan/lower.h"

#include "nn/vulkan/tiles.h"

#include "base/banned.h"

/* `Push` of shaders/include/loss.glsl */
struct loss_push {
    uint32_t rows, classes;
    float smoothing;
    int32_t ignore_index;
    uint32_t weighted;
};

/* `Push` of shaders/ops/element_loss.comp */
struct element_loss_push {
    uint32_t chunks, width, splits, chunk, last;
    float beta;
    uint32_t has_pos_weight, has_labels;
};

/* `Push` of shaders/ops/element_loss_grad.comp */
struct element_loss_grad_push {
    uint32_t count, last;
    float beta, scale;
    uint32_t has_pos_weight;
};

/* `Push` of shaders/ops/loss_total.comp */
struct total_push {
    uint32_t rows;
    float elements; /* 0: the loss is divided by the rows' weights */
};

enum { ROW_FLOATS = 4 }; /* loss, correct, counts, weight */

static int32_t input_or_none(const struct cyx_node *node, int input)
{
    return input < node->n_in ? node->in[input] : CYX_NO_VALUE;
}

/* Chunks of a row. Labels are compared with the largest of a whole row. */
static int64_t element_splits(const struct cyx_device *device, const struct cyx_graph *graph,
                              const struct cyx_node *node)
{
    const struct cyx_shape *x = cyx_vk_shape_of(graph, node->in[0]);
    if (input_or_none(node, 3) != CYX_NO_VALUE)
        return 1;
    return cyx_vk_row_splits(device, x->dim[0], cyx_shape_count(x) / x->dim[0]);
}

int64_t cyx_vk_loss_scratch_bytes(const struct cyx_device *device, const struct cyx_graph *graph,
                                  const struct cyx_node *node)
{
    int64_t rows = cyx_vk_shape_of(graph, node->in[0])->dim[0];
    if (node->op == CYX_OP_ELEMENT_LOSS)
        rows *= element_splits(device, graph, node);
    return rows * ROW_FLOATS * (int64_t)sizeof(float);
}

/* One workgroup adds the rows in the scratch, and writes the result. */
static enum cyx_status lower_total(struct cyx_vk_lowering *self, int64_t rows, int64_t elements,
                                   int32_t result, struct cyx_error *ret_error)
{
    const struct total_push push = {(uint32_t)rows, (float)elements};
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_LOSS_TOTAL,
        .constants = {cyx_vk_row_threads(self->device, rows)},
        .n_constants = 1,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = 1,
        .depth = 1,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch(self, &dispatch, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, self->scratch);
    cyx_vk_write(command, cyx_vk_range_of(self, result));
    return CYX_OK;
}

/* One workgroup a row. */
static enum cyx_status dispatch_rows(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                     enum cyx_shader shader, int32_t weight,
                                     struct cyx_vk_command **ret_command,
                                     struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    const struct loss_push push = {
        .rows = (uint32_t)x->dim[0],
        .classes = (uint32_t)x->dim[1],
        .smoothing = (float)node->label_smoothing,
        .ignore_index = node->ignore_index,
        .weighted = weight != CYX_NO_VALUE,
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = shader,
        .constants = {cyx_vk_row_threads(self->device, x->dim[1])},
        .n_constants = 1,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = x->dim[0],
        .depth = 1,
    };
    return cyx_vk_dispatch(self, &dispatch, ret_command, ret_error);
}

/* in: x target w?   out: result */
enum cyx_status cyx_vk_lower_cross_entropy(struct cyx_vk_lowering *self,
                                           const struct cyx_node *node, struct cyx_error *ret_error)
{
    int32_t weight = input_or_none(node, 2);
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_rows(self, node, CYX_SHADER_CROSS_ENTROPY, weight, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_or(self, weight, node->in[0]));
    cyx_vk_write(command, self->scratch);
    return lower_total(self, cyx_vk_shape_of(self->graph, node->in[0])->dim[0], 0, node->out[0],
                       ret_error);
}

/* in: x target result w?   out: dx */
enum cyx_status cyx_vk_lower_cross_entropy_grad(struct cyx_vk_lowering *self,
                                                const struct cyx_node *node,
                                                struct cyx_error *ret_error)
{
    int32_t weight = input_or_none(node, 3);
    struct cyx_vk_command *command;
    enum cyx_status status =
        dispatch_rows(self, node, CYX_SHADER_CROSS_ENTROPY_GRAD, weight, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[2]));
    cyx_vk_read(command, cyx_vk_range_or(self, weight, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}

/* in: x t pos_weight? labels?   out: result */
enum cyx_status cyx_vk_lower_element_loss(struct cyx_vk_lowering *self, const struct cyx_node *node,
                                          struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    int32_t pos_weight = input_or_none(node, 2), labels = input_or_none(node, 3);
    int64_t length = cyx_shape_count(x) / x->dim[0];
    int64_t splits = element_splits(self->device, self->graph, node);
    const struct element_loss_push push = {
        .chunks = (uint32_t)(x->dim[0] * splits),
        .width = (uint32_t)length,
        .splits = (uint32_t)splits,
        .chunk = (uint32_t)((length + splits - 1) / splits),
        .last = (uint32_t)x->dim[x->rank - 1],
        .beta = (float)node->beta,
        .has_pos_weight = pos_weight != CYX_NO_VALUE,
        .has_labels = labels != CYX_NO_VALUE,
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_ELEMENT_LOSS,
        .constants = {cyx_vk_row_threads(self->device, push.chunk), (uint32_t)node->loss},
        .n_constants = 2,
        .push = &push,
        .push_bytes = sizeof push,
        .groups = push.chunks,
        .depth = 1,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch(self, &dispatch, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_or(self, pos_weight, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_or(self, labels, node->in[0]));
    cyx_vk_write(command, self->scratch);
    return lower_total(self, push.chunks, cyx_shape_count(x), node->out[0], ret_error);
}

/* in: x t pos_weight?   out: dx */
enum cyx_status cyx_vk_lower_element_loss_grad(struct cyx_vk_lowering *self,
                                               const struct cyx_node *node,
                                               struct cyx_error *ret_error)
{
    const struct cyx_shape *x = cyx_vk_shape_of(self->graph, node->in[0]);
    int32_t pos_weight = input_or_none(node, 2);
    int64_t count = cyx_shape_count(x);
    const struct element_loss_grad_push push = {
        .count = (uint32_t)count,
        .last = (uint32_t)x->dim[x->rank - 1],
        .beta = (float)node->beta,
        .scale = (float)(1.0 / (double)count),
        .has_pos_weight = pos_weight != CYX_NO_VALUE,
    };
    struct cyx_vk_dispatch dispatch = {
        .shader = CYX_SHADER_ELEMENT_LOSS_GRAD,
        .constants = {0, (uint32_t)node->loss},
        .n_constants = 2,
        .push = &push,
        .push_bytes = sizeof push,
    };
    struct cyx_vk_command *command;
    enum cyx_status status = cyx_vk_dispatch_flat(self, &dispatch, count, &command, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[0]));
    cyx_vk_read(command, cyx_vk_range_of(self, node->in[1]));
    cyx_vk_read(command, cyx_vk_range_or(self, pos_weight, node->in[0]));
    cyx_vk_write(command, cyx_vk_range_of(self, node->out[0]));
    return CYX_OK;
}
