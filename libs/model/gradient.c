/*
 * Gradients by reverse-mode accumulation (R. E. Wengert 1964; as in PyTorch's autograd): the forward nodes are
 * walked backwards; each turns the gradient of its output into gradients of its inputs. A value that is read k
 * times gets k contributions, summed by k - 1 ADD nodes in the order in which they arise. Nothing is computed
 * for what no parameter stands before: the model's input, above all.
 */
#include <stdlib.h>

#include "model/private.h"

#include "base/banned.h"

struct gradients {
    struct cyx_graph *graph;
    bool *wanted;      /* per value: a parameter, or computed from one */
    int32_t *expected; /* per value: how many contributions will come */
    int32_t *arrived;
};

/* What a value of this name and shape gets as gradient. */
static int32_t new_value(struct gradients *g, const char *name, int32_t like)
{
    struct cyx_shape shape = g->graph->values[like].shape;
    return graph_add_value(g->graph, name, CYX_VALUE_TRANSIENT, CYX_F32, &shape);
}

/* The value into which the next contribution to the gradient of `value` is written. */
static int32_t contribution(struct gradients *g, int32_t value)
{
    const char *name = g->graph->values[value].name;
    int nth = ++g->arrived[value];
    if (g->expected[value] == 1)
        return new_value(g, graph_name(g->graph, "%s.grad", name), value);
    return new_value(g, graph_name(g->graph, "%s.grad.part%d", name, nth), value);
}

/* Counts in what contribution() has made room for, once its node stands. */
static void accumulate(struct gradients *g, int32_t value, int32_t part)
{
    struct cyx_graph *graph = g->graph;
    if (graph->values[value].grad == CYX_NO_VALUE) {
        graph->values[value].grad = part;
        return;
    }
    const char *name = graph->values[value].name;
    bool last = g->arrived[value] == g->expected[value];
    struct cyx_node add = graph_node(CYX_OP_ADD, graph->nodes[graph->n_nodes - 1].layer, NULL);
    add.in[0] = graph->values[value].grad;
    add.in[1] = part;
    add.n_in = 2;
    add.out[0] = new_value(g,
                           last ? graph_name(graph, "%s.grad", name)
                                : graph_name(graph, "%s.grad.sum%d", name, g->arrived[value]),
                           value);
    add.n_out = 1;
    graph_add_node(graph, &add);
    graph->values[value].grad = add.out[0];
}

static bool wants(const struct gradients *g, int32_t value)
{
    return value != CYX_NO_VALUE && g->wanted[value];
}

/* One contribution to `value` by a node of two inputs; `like` lends its attributes. */
static void contribute(struct gradients *g, enum cyx_op op, const struct cyx_node *like,
                       int32_t value, int32_t a, int32_t b)
{
    struct cyx_node node = graph_node(op, like->layer, like);
    node.in[0] = a;
    node.in[1] = b;
    node.n_in = b == CYX_NO_VALUE ? 1 : 2;
    node.out[0] = contribution(g, value);
    node.n_out = 1;
    if (op == CYX_OP_RESHAPE && !g->graph->memory->failed)
        g->graph->values[node.out[0]].alias_of = a;
    graph_add_node(g->graph, &node);
    accumulate(g, value, node.out[0]);
}

/* dW and db of one node: a parameter has one reader, so these are whole at once. */
static void weight_gradient(struct gradients *g, enum cyx_op op, const struct cyx_node *forward,
                            int32_t dy)
{
    struct cyx_node node = graph_node(op, forward->layer, forward);
    node.in[0] = forward->in[0];
    node.in[1] = dy;
    node.n_in = 2;
    node.out[0] = contribution(g, forward->in[1]);
    if (forward->in[2] != CYX_NO_VALUE)
        node.out[1] = contribution(g, forward->in[2]);
    node.n_out = 2;
    graph_add_node(g->graph, &node);
    accumulate(g, forward->in[1], node.out[0]);
    if (forward->in[2] != CYX_NO_VALUE)
        accumulate(g, forward->in[2], node.out[1]);
}

/* The gradient before the fused activation: dy where y > 0. */
static int32_t through_relu(struct gradients *g, const struct cyx_node *forward, int32_t dy)
{
    const char *name = g->graph->values[forward->out[0]].name;
    struct cyx_node node = graph_node(CYX_OP_RELU_GRAD, forward->layer, NULL);
    node.in[0] = dy;
    node.in[1] = forward->out[0];
    node.n_in = 2;
    node.out[0] = new_value(g, graph_name(g->graph, "%s.grad.relu", name), forward->out[0]);
    node.n_out = 1;
    graph_add_node(g->graph, &node);
    return node.out[0];
}

/* Weight first: then x is no longer needed when dx, of the same size, begins to live. */
static void affine(struct gradients *g, const struct cyx_node *forward, enum cyx_op weight_op,
                   enum cyx_op input_op, int32_t dy)
{
    weight_gradient(g, weight_op, forward, dy);
    if (wants(g, forward->in[0]))
        contribute(g, input_op, forward, forward->in[0], dy, forward->in[1]);
}

/* BatchNorm and LayerNorm: all three gradients come from the same two sums. */
static void norm(struct gradients *g, const struct cyx_node *forward, enum cyx_op op, int32_t dy)
{
    struct cyx_node node = graph_node(op, forward->layer, forward);
    node.in[0] = dy;
    node.in[1] = forward->in[0];
    node.in[2] = forward->in[1];
    node.in[3] = forward->out[1];
    node.in[4] = forward->out[2];
    node.n_in = 5;
    node.n_out = 3;
    for (int i = 0; i < 3; i++)
        if (wants(g, forward->in[i]))
            node.out[i] = contribution(g, forward->in[i]);
    graph_add_node(g->graph, &node);
    for (int i = 0; i < 3; i++)
        if (node.out[i] != CYX_NO_VALUE)
            accumulate(g, forward->in[i], node.out[i]);
}

/* dy itself is each input's gradient: no bytes are moved. */
static void add(struct gradients *g, const struct cyx_node *forward, int32_t dy)
{
    for (int i = 0; i < 2; i++) {
        if (!wants(g, forward->in[i]))
            continue;
        g->arrived[forward->in[i]]++;
        accumulate(g, forward->in[i], dy);
    }
}

/* Each input gets its part of dy back. */
static void concat(struct gradients *g, const struct cyx_node *forward, int32_t dy)
{
    int64_t offset = 0;
    for (int i = 0; i < forward->n_in; i++) {
        struct cyx_node like = *forward;
        like.offset = offset;
        offset += g->graph->values[forward->in[i]].shape.dim[forward->dim];
        if (wants(g, forward->in[i]))
            contribute(g, CYX_OP_SLICE, &like, forward->in[i], dy, CYX_NO_VALUE);
    }
}

static void loss(struct gradients *g, const struct cyx_node *forward)
{
    struct cyx_graph *graph = g->graph;
    bool classes = forward->op == CYX_OP_CROSS_ENTROPY;
    int32_t x = forward->in[0];
    if (!wants(g, x))
        return;
    struct cyx_node node =
        graph_node(classes ? CYX_OP_CROSS_ENTROPY_GRAD : CYX_OP_ELEMENT_LOSS_GRAD, -1, forward);
    node.in[0] = x;
    node.in[1] = forward->in[1];
    node.in[2] = classes ? graph->result : forward->in[2];
    node.in[3] = classes ? forward->in[2] : CYX_NO_VALUE;
    node.n_in = classes ? 4 : 3;
    node.out[0] = contribution(g, x);
    node.n_out = 1;
    graph_add_node(graph, &node);
    accumulate(g, x, node.out[0]);
}

/* The gradient of what one node has made; `dy` is there, the fused activation is behind it. */
static void through(struct gradients *g, const struct cyx_node *forward, int32_t dy)
{
    int32_t x = forward->in[0], y = forward->out[0];
    switch (forward->op) {
    case CYX_OP_LINEAR:
        affine(g, forward, CYX_OP_LINEAR_GRAD_WEIGHT, CYX_OP_LINEAR_GRAD_INPUT, dy);
        break;
    case CYX_OP_CONV2D:
        affine(g, forward, CYX_OP_CONV2D_GRAD_WEIGHT, CYX_OP_CONV2D_GRAD_INPUT, dy);
        break;
    case CYX_OP_CONV_TRANSPOSE2D:
        affine(g, forward, CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT, CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT,
               dy);
        break;
    case CYX_OP_BATCH_NORM:
        norm(g, forward, CYX_OP_BATCH_NORM_GRAD, dy);
        break;
    case CYX_OP_LAYER_NORM:
        norm(g, forward, CYX_OP_LAYER_NORM_GRAD, dy);
        break;
    case CYX_OP_ADD:
        add(g, forward, dy);
        break;
    case CYX_OP_CONCAT:
        concat(g, forward, dy);
        break;
    case CYX_OP_MAX_POOL2D:
        contribute(g, CYX_OP_MAX_POOL2D_GRAD, forward, x, dy, forward->out[1]);
        break;
    case CYX_OP_AVG_POOL2D:
        contribute(g, CYX_OP_AVG_POOL2D_GRAD, forward, x, dy, CYX_NO_VALUE);
        break;
    case CYX_OP_RELU:
        contribute(g, CYX_OP_RELU_GRAD, forward, x, dy, y);
        break;
    case CYX_OP_ACTIVATION:
        contribute(g, CYX_OP_ACTIVATION_GRAD, forward, x, dy,
                   cyx_activation_keeps_output(forward->activation) ? y : x);
        break;
    case CYX_OP_SOFTMAX:
        contribute(g, CYX_OP_SOFTMAX_GRAD, forward, x, dy, y);
        break;
    case CYX_OP_LOG_SOFTMAX:
        contribute(g, CYX_OP_LOG_SOFTMAX_GRAD, forward, x, dy, y);
        break;
    case CYX_OP_DROPOUT:
        contribute(g, CYX_OP_DROPOUT_GRAD, forward, x, dy, CYX_NO_VALUE);
        break;
    case CYX_OP_RESHAPE:
        contribute(g, CYX_OP_RESHAPE, forward, x, dy, CYX_NO_VALUE);
        break;
    default: /* no other operation that a parameter reaches is in a forward pass */
        g->graph->memory->failed = true;
        break;
    }
}

static void backward(struct gradients *g, const struct cyx_node *forward)
{
    if (forward->op == CYX_OP_CROSS_ENTROPY || forward->op == CYX_OP_ELEMENT_LOSS) {
        loss(g, forward);
        return;
    }
    int32_t dy = g->graph->values[forward->out[0]].grad;
    if (dy == CYX_NO_VALUE)
        return;
    through(g, forward, forward->fused_relu ? through_relu(g, forward, dy) : dy);
}

/* Marks what needs a gradient, and counts for each value how many nodes will contribute to it. */
static void look_ahead(struct gradients *g)
{
    const struct cyx_graph *graph = g->graph;
    for (size_t v = 0; v < graph->n_values; v++)
        g->wanted[v] = graph->values[v].kind == CYX_VALUE_PARAM;
    for (size_t n = 0; n < graph->n_forward_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        bool any = false;
        for (int i = 0; i < node->n_in; i++) {
            if (!wants(g, node->in[i]))
                continue;
            any = true;
            g->expected[node->in[i]]++;
        }
        if (any)
            g->wanted[node->out[0]] = true;
    }
}

enum cyx_status cyx_graph_differentiate(struct cyx_graph *self, struct cyx_error *ret_error)
{
    if (self->memory->differentiated)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "the graph has its gradients already");
    struct gradients g = {
        .graph = self,
        .wanted = calloc(self->n_values, sizeof(*g.wanted)),
        .expected = calloc(self->n_values, sizeof(*g.expected)),
        .arrived = calloc(self->n_values, sizeof(*g.arrived)),
    };
    if (g.wanted && g.expected && g.arrived) {
        look_ahead(&g);
        for (size_t n = self->n_forward_nodes; n-- > 0 && !self->memory->failed;) {
            struct cyx_node forward = self->nodes[n]; /* a copy: the array may move */
            backward(&g, &forward);
        }
        self->memory->differentiated = true;
    } else {
        self->memory->failed = true;
    }
    free(g.wanted);
    free(g.expected);
    free(g.arrived);
    return graph_ok(self, ret_error);
}
