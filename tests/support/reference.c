#include <math.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "reference_private.h"

void reference_init(struct reference *self, const struct cyx_graph *graph, bool apart)
{
    *self = (struct reference){.graph = graph, .step = 1};
    for (int g = 0; g < CYX_PARAM_GROUPS_LIMIT; g++)
        self->lr[g] = 0.1;
    int64_t *sizes = calloc(graph->n_values, sizeof(*sizes));
    self->data = calloc(graph->n_values, sizeof(*self->data));
    self->owned = calloc(graph->n_values, sizeof(*self->owned));
    for (size_t v = 0; v < graph->n_values; v++)
        sizes[v] = cyx_shape_count(&graph->values[v].shape) * (int64_t)sizeof(double);
    enum cyx_status status = (apart ? cyx_plan_create_apart : cyx_plan_create)(
        graph, sizes, NULL, 64, NULL, &self->plan, NULL);
    assert(status == CYX_OK);
    self->arena = malloc((size_t)self->plan->arena_bytes + 8);
    for (size_t v = 0; v < graph->n_values; v++) {
        size_t root = v;
        while (graph->values[root].alias_of != CYX_NO_VALUE)
            root = (size_t)graph->values[root].alias_of;
        if (self->plan->offset_bytes[v] >= 0)
            self->data[v] = self->arena + self->plan->offset_bytes[v] / 8;
        else if (graph->values[root].kind != CYX_VALUE_TRANSIENT && root == v)
            self->data[v] = self->owned[v] = calloc(1, (size_t)sizes[v]);
        else
            self->data[v] = self->data[root]; /* roots stand before their aliases */
        for (int64_t i = 0; graph->values[v].constant && i < sizes[v] / 8; i++)
            self->data[v][i] = (double)graph->values[v].constant[i];
    }
    free(sizes);
}

void reference_finish(struct reference *self)
{
    for (size_t v = 0; v < self->graph->n_values; v++)
        free(self->owned[v]);
    free(self->data);
    free(self->owned);
    free(self->arena);
    cyx_plan_destroy(self->plan);
}

double *reference_data(const struct reference *self, const char *name)
{
    int32_t v = cyx_graph_find(self->graph, name);
    assert(v != CYX_NO_VALUE);
    return self->data[v];
}

void reference_run(struct reference *self, size_t n_nodes)
{
    static reference_op *const run[CYX_OP_COUNT] = {
        [CYX_OP_LINEAR] = reference_linear,
        [CYX_OP_LINEAR_GRAD_INPUT] = reference_linear_grad_input,
        [CYX_OP_LINEAR_GRAD_WEIGHT] = reference_linear_grad_weight,
        [CYX_OP_CONV2D] = reference_conv2d,
        [CYX_OP_CONV2D_GRAD_INPUT] = reference_conv2d_grad_input,
        [CYX_OP_CONV2D_GRAD_WEIGHT] = reference_conv2d_grad_weight,
        [CYX_OP_CONV_TRANSPOSE2D] = reference_conv_transpose2d,
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT] = reference_conv_transpose2d_grad_input,
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT] = reference_conv_transpose2d_grad_weight,
        [CYX_OP_MAX_POOL2D] = reference_max_pool2d,
        [CYX_OP_MAX_POOL2D_GRAD] = reference_max_pool2d_grad,
        [CYX_OP_AVG_POOL2D] = reference_avg_pool2d,
        [CYX_OP_AVG_POOL2D_GRAD] = reference_avg_pool2d_grad,
        [CYX_OP_RELU] = reference_elementwise,
        [CYX_OP_RELU_GRAD] = reference_elementwise,
        [CYX_OP_ACTIVATION] = reference_activation,
        [CYX_OP_ACTIVATION_GRAD] = reference_activation_grad,
        [CYX_OP_SOFTMAX] = reference_softmax,
        [CYX_OP_SOFTMAX_GRAD] = reference_softmax_grad,
        [CYX_OP_LOG_SOFTMAX] = reference_softmax,
        [CYX_OP_LOG_SOFTMAX_GRAD] = reference_softmax_grad,
        [CYX_OP_DROPOUT] = reference_elementwise,
        [CYX_OP_DROPOUT_GRAD] = reference_elementwise,
        [CYX_OP_BATCH_NORM] = reference_batch_norm,
        [CYX_OP_BATCH_NORM_INFERENCE] = reference_batch_norm_inference,
        [CYX_OP_BATCH_NORM_GRAD] = reference_batch_norm_grad,
        [CYX_OP_LAYER_NORM] = reference_layer_norm,
        [CYX_OP_LAYER_NORM_GRAD] = reference_layer_norm_grad,
        [CYX_OP_RESHAPE] = reference_elementwise,
        [CYX_OP_ADD] = reference_elementwise,
        [CYX_OP_CONCAT] = reference_concat,
        [CYX_OP_SLICE] = reference_slice,
        [CYX_OP_ONE_HOT] = reference_one_hot,
        [CYX_OP_CROSS_ENTROPY] = reference_cross_entropy,
        [CYX_OP_CROSS_ENTROPY_GRAD] = reference_cross_entropy_grad,
        [CYX_OP_ELEMENT_LOSS] = reference_element_loss,
        [CYX_OP_ELEMENT_LOSS_GRAD] = reference_element_loss_grad,
        [CYX_OP_SQUARE_SUM] = reference_square_sum,
        [CYX_OP_CLIP_NORM] = reference_clip_norm,
        [CYX_OP_SGD] = reference_sgd,
        [CYX_OP_ADAM] = reference_adam,
        [CYX_OP_ADAMW] = reference_adam,
        [CYX_OP_RMSPROP] = reference_rmsprop,
    };
    for (int64_t i = 0; i < self->plan->arena_bytes / 8; i++)
        self->arena[i] = NAN;
    for (size_t n = 0; n < n_nodes; n++) {
        const struct cyx_node *node = &self->graph->nodes[n];
        struct step s = {.self = self, .node = node};
        for (int i = 0; i < node->n_in; i++)
            s.in[i] = node->in[i] == CYX_NO_VALUE ? NULL : self->data[node->in[i]];
        for (int i = 0; i < node->n_out; i++)
            s.out[i] = node->out[i] == CYX_NO_VALUE ? NULL : self->data[node->out[i]];
        run[node->op](&s);
    }
}
