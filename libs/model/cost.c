/*
 * What a model costs. FLOPs count a multiply-add as two and leave out address arithmetic; an element-wise
 * operation counts as one an element, an optimizer by the arithmetic of its formula.
 */
#include "model/plan.h"
#include "model/private.h"
#include "model/summary.h"

#include "base/banned.h"

static int64_t times(int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t count(const struct cyx_graph *graph, int32_t value)
{
    return value == CYX_NO_VALUE ? 0 : cyx_shape_count(&graph->values[value].shape);
}

/* 2 * (elements of y) * (elements of one output's weight): for y itself, for dx and for dW alike. */
static int64_t affine(const struct cyx_graph *graph, int32_t y, int32_t weight)
{
    return times(2,
                 times(count(graph, y), count(graph, weight) / graph->values[weight].shape.dim[0]));
}

/* Operations an element of the first input, of what is no product of matrices. */
static int64_t per_element(const struct cyx_node *node)
{
    bool decays = node->optimizer && node->optimizer->weight_decay != 0;
    switch (node->op) {
    case CYX_OP_DROPOUT:
    case CYX_OP_DROPOUT_GRAD:
    case CYX_OP_SQUARE_SUM:
    case CYX_OP_BATCH_NORM_INFERENCE: /* one multiply-add, folded */
        return 2;
    case CYX_OP_ELEMENT_LOSS:
    case CYX_OP_ELEMENT_LOSS_GRAD:
    case CYX_OP_SOFTMAX_GRAD:
    case CYX_OP_LOG_SOFTMAX_GRAD:
        return 4;
    case CYX_OP_SOFTMAX:
    case CYX_OP_LOG_SOFTMAX:
    case CYX_OP_CROSS_ENTROPY: /* maximum, difference, exponential, sum, logarithm */
        return 5;
    case CYX_OP_CROSS_ENTROPY_GRAD: /* the softmax again, minus the target, over the count */
    case CYX_OP_ACTIVATION:
        return 6;
    case CYX_OP_BATCH_NORM: /* sum 1, squares of differences 3, normalise 4 */
    case CYX_OP_LAYER_NORM:
    case CYX_OP_ACTIVATION_GRAD:
        return 8;
    case CYX_OP_BATCH_NORM_GRAD: /* two sums 5, the formula 6 */
    case CYX_OP_LAYER_NORM_GRAD:
        return 11;
    case CYX_OP_SGD: /* decay, momentum, step: two each */
        return 2 + (decays ? 2 : 0) + (node->in[2] != CYX_NO_VALUE ? 3 : 0);
    case CYX_OP_ADAM:
    case CYX_OP_ADAMW: /* decay 1, first moment 3, second 4, denominator 3, step 2 */
        return 13;
    case CYX_OP_RMSPROP: /* mean square 4, denominator 2, step 3; more with momentum, centered */
        return 9 + (decays ? 2 : 0) + (node->in[3] != CYX_NO_VALUE ? 2 : 0) +
               (node->in[4] != CYX_NO_VALUE ? 5 : 0);
    case CYX_OP_RESHAPE:
    case CYX_OP_CONCAT:
    case CYX_OP_SLICE:
    case CYX_OP_ONE_HOT:
    case CYX_OP_CLIP_NORM:
        return 0;
    default:
        return 1;
    }
}

int64_t cyx_node_flops(const struct cyx_graph *self, const struct cyx_node *node)
{
    int64_t in = count(self, node->in[0]), out = count(self, node->out[0]);
    int64_t window = node->window.kernel[0] * node->window.kernel[1];
    int64_t relu = node->fused_relu ? out : 0;
    switch (node->op) {
    case CYX_OP_LINEAR:
    case CYX_OP_CONV2D:
        return graph_plus(affine(self, node->out[0], node->in[1]),
                          graph_plus(node->in[2] != CYX_NO_VALUE ? out : 0, relu));
    case CYX_OP_CONV_TRANSPOSE2D: /* W is (C,O/g,KH,KW): each x meets its C's part of W once */
        return graph_plus(affine(self, node->in[0], node->in[1]),
                          graph_plus(node->in[2] != CYX_NO_VALUE ? out : 0, relu));
    case CYX_OP_LINEAR_GRAD_INPUT:
    case CYX_OP_CONV2D_GRAD_INPUT:
        return affine(self, node->in[0], node->in[1]);
    case CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT:
        return affine(self, node->out[0], node->in[1]);
    case CYX_OP_LINEAR_GRAD_WEIGHT:
    case CYX_OP_CONV2D_GRAD_WEIGHT:
        return graph_plus(affine(self, node->in[1], node->out[0]),
                          node->out[1] != CYX_NO_VALUE ? count(self, node->in[1]) : 0);
    case CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT:
        return graph_plus(affine(self, node->in[0], node->out[0]),
                          node->out[1] != CYX_NO_VALUE ? count(self, node->in[1]) : 0);
    case CYX_OP_MAX_POOL2D:
    case CYX_OP_AVG_POOL2D:
        return times(out, window);
    case CYX_OP_AVG_POOL2D_GRAD:
        return times(in, window);
    case CYX_OP_ADD:
        return graph_plus(out, relu);
    default:
        return graph_plus(times(in, per_element(node)), relu);
    }
}

int64_t graph_per_sample(const struct cyx_graph *graph, int64_t flops)
{
    return flops == INT64_MAX ? flops : flops / graph->batch;
}

int64_t graph_sample_flops(const struct cyx_graph *graph, size_t n_nodes)
{
    int64_t sum = 0;
    for (size_t n = 0; n < n_nodes; n++)
        sum = graph_plus(sum, cyx_node_flops(graph, &graph->nodes[n]));
    return graph_per_sample(graph, sum);
}

/* ---- memory ---- */

enum { COST_ALIGN_BYTES = 256 };

static int64_t *place_of(struct cyx_step_memory *memory, enum cyx_value_kind kind)
{
    switch (kind) {
    case CYX_VALUE_PARAM:
        return &memory->parameters;
    case CYX_VALUE_BUFFER:
        return &memory->buffers;
    case CYX_VALUE_STATE:
        return &memory->optimizer;
    case CYX_VALUE_TRANSIENT:
        return NULL; /* the plan's */
    default:
        return &memory->batch;
    }
}

enum cyx_status graph_weigh(const struct cyx_graph *graph, struct cyx_step_memory *ret_memory,
                            struct cyx_error *error)
{
    struct cyx_step_memory memory = {0};
    struct cyx_plan *plan = NULL;
    enum cyx_status status =
        cyx_plan_create(graph, NULL, NULL, COST_ALIGN_BYTES, NULL, &plan, error);
    if (status != CYX_OK)
        return status;
    memory.arena = plan->arena_bytes;
    memory.arena_unshared = plan->unshared_bytes;
    cyx_plan_destroy(plan);
    for (size_t v = 0; v < graph->n_values; v++) {
        int64_t *place = place_of(&memory, graph->values[v].kind);
        if (place)
            *place = graph_plus(*place, graph_value_bytes(&graph->values[v]));
    }
    memory.total =
        graph_plus(graph_plus(graph_plus(memory.parameters, memory.buffers), memory.optimizer),
                   graph_plus(memory.batch, memory.arena));
    *ret_memory = memory;
    return CYX_OK;
}

enum cyx_status cyx_model_cost(const struct cyx_job_spec *spec, struct cyx_model_cost *ret_cost,
                               struct cyx_error *ret_error)
{
    struct cyx_graph *graph = NULL;
    struct cyx_graph_options options = {.batch = spec->data.batch_size, .training = true};
    struct cyx_model_cost cost = {0};
    struct cyx_step_memory memory;
    enum cyx_status status = cyx_graph_create_step(spec, &options, &graph, ret_error);
    if (status == CYX_OK)
        status = graph_weigh(graph, &memory, ret_error);
    if (status == CYX_OK) {
        cost.training_bytes = memory.total;
        for (size_t v = 0; v < graph->n_values; v++)
            if (graph->values[v].kind == CYX_VALUE_PARAM)
                cost.parameters += cyx_shape_count(&graph->values[v].shape);
        cost.forward_flops_per_sample = graph_sample_flops(graph, graph->n_forward_nodes);
        cost.training_flops_per_sample = graph_sample_flops(graph, graph->n_nodes);
        *ret_cost = cost;
    }
    cyx_graph_destroy(graph);
    return status;
}
