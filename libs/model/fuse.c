/*
 * Fusion: a ReLU that alone reads a Linear, a convolution, a BatchNorm or an Add becomes that node's fused_relu, so that the activation
 * is applied while the result is still in a register, and the value before it never exists.
 */
#include <stdlib.h>

#include "model/private.h"

#include "base/banned.h"

static void count_readers(const struct cyx_graph *graph, int32_t *readers)
{
    for (size_t n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_in; i++)
            if (graph->nodes[n].in[i] != CYX_NO_VALUE)
                readers[graph->nodes[n].in[i]]++;
}

/* The node that `relu` can be folded into, NULL when there is none. */
static struct cyx_node *fusible(struct cyx_graph *graph, const struct cyx_node *relu,
                                const int32_t *readers)
{
    int32_t x = relu->in[0];
    if (relu->op != CYX_OP_RELU || readers[x] != 1 || x == graph->output ||
        graph->values[x].producer == CYX_NO_VALUE)
        return NULL;
    struct cyx_node *before = &graph->nodes[graph->values[x].producer];
    bool can = before->op == CYX_OP_LINEAR || before->op == CYX_OP_CONV2D ||
               before->op == CYX_OP_CONV_TRANSPOSE2D || before->op == CYX_OP_BATCH_NORM ||
               before->op == CYX_OP_BATCH_NORM_INFERENCE || before->op == CYX_OP_ADD;
    return can && !before->fused_relu ? before : NULL;
}

static int32_t moved(const int32_t *to, int32_t value)
{
    return value == CYX_NO_VALUE ? CYX_NO_VALUE : to[value];
}

/* Closes the gaps: `to` maps a value to its new index, CYX_NO_VALUE for one that is gone. */
static void renumber(struct cyx_graph *graph, const int32_t *to)
{
    for (size_t n = 0; n < graph->n_nodes; n++) {
        struct cyx_node *node = &graph->nodes[n];
        for (int i = 0; i < node->n_in; i++)
            node->in[i] = moved(to, node->in[i]);
        for (int i = 0; i < node->n_out; i++)
            node->out[i] = moved(to, node->out[i]);
    }
    size_t n_values = 0;
    for (size_t v = 0; v < graph->n_values; v++) {
        if (to[v] == CYX_NO_VALUE)
            continue;
        struct cyx_value value = graph->values[v];
        value.alias_of = moved(to, value.alias_of);
        graph->values[n_values++] = value;
    }
    graph->n_values = n_values;
    graph->input = moved(to, graph->input);
    graph->target = moved(to, graph->target);
    graph->output = moved(to, graph->output);
    graph->result = moved(to, graph->result);
}

void graph_fuse(struct cyx_graph *graph)
{
    int32_t *readers = calloc(graph->n_values, sizeof(*readers));
    int32_t *to = calloc(graph->n_values, sizeof(*to));
    if (!readers || !to) {
        graph->memory->failed = true;
        free(readers);
        free(to);
        return;
    }
    count_readers(graph, readers);
    /* Only forward nodes are here, so a value's producer stands before its readers: one sweep, in place. */
    size_t n_nodes = 0;
    for (size_t n = 0; n < graph->n_nodes; n++) {
        struct cyx_node node = graph->nodes[n];
        struct cyx_node *before = fusible(graph, &node, readers);
        if (before) {
            to[before->out[0]] = CYX_NO_VALUE;
            before->out[0] = node.out[0];
            before->fused_relu = true;
            graph->values[node.out[0]].producer = (int32_t)(before - graph->nodes);
            continue;
        }
        for (int i = 0; i < node.n_out; i++)
            if (node.out[i] != CYX_NO_VALUE)
                graph->values[node.out[i]].producer = (int32_t)n_nodes;
        graph->nodes[n_nodes++] = node;
    }
    graph->n_nodes = n_nodes;
    int32_t next = 0;
    for (size_t v = 0; v < graph->n_values; v++)
        if (to[v] != CYX_NO_VALUE)
            to[v] = next++;
    renumber(graph, to);
    graph_reindex(graph);
    free(readers);
    free(to);
}
