#include "op_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t op_graph_value(struct op_graph *self, enum cyx_value_kind kind, enum cyx_dtype dtype,
                       struct cyx_shape shape)
{
    size_t i = self->graph.n_values;
    if (i >= OP_GRAPH_VALUES)
        abort();
    snprintf(self->names[i], sizeof self->names[i], "v%zu", i);
    self->values[i] = (struct cyx_value){
        .name = self->names[i],
        .kind = kind,
        .dtype = dtype,
        .shape = shape,
        .producer = CYX_NO_VALUE,
        .grad = CYX_NO_VALUE,
        .alias_of = CYX_NO_VALUE,
    };
    self->graph.n_values++;
    return (int32_t)i;
}

void op_graph_init(struct op_graph *self)
{
    memset(self, 0, sizeof *self);
    self->graph.values = self->values;
    self->graph.nodes = self->nodes;
    self->graph.batch = 1;
    self->graph.training = true;
    self->graph.input =
        op_graph_value(self, CYX_VALUE_INPUT, CYX_F32, (struct cyx_shape){2, {1, 1}});
    self->graph.target =
        op_graph_value(self, CYX_VALUE_TARGET, CYX_I32, (struct cyx_shape){1, {1}});
    self->graph.result = op_graph_value(self, CYX_VALUE_RESULT, CYX_F32,
                                        (struct cyx_shape){1, {CYX_RESULT_ELEMENTS}});
    self->graph.output = CYX_NO_VALUE;
}

int32_t op_graph_param(struct op_graph *self, struct cyx_shape shape)
{
    return op_graph_value(self, CYX_VALUE_PARAM, CYX_F32, shape);
}

int32_t op_graph_result(struct op_graph *self, struct cyx_shape shape)
{
    return op_graph_value(self, CYX_VALUE_TRANSIENT, CYX_F32, shape);
}

void op_graph_target(struct op_graph *self, int64_t rows)
{
    self->values[self->graph.target].shape.dim[0] = rows;
    self->graph.batch = rows;
}

void op_graph_target_numbers(struct op_graph *self, struct cyx_shape shape)
{
    self->values[self->graph.target].shape = shape;
    self->values[self->graph.target].dtype = CYX_F32;
    self->graph.batch = shape.dim[0];
}

int32_t op_graph_range(struct op_graph *self, int32_t value, double low, double high)
{
    self->ranges[value].given = true;
    self->ranges[value].low = low;
    self->ranges[value].high = high;
    return value;
}

int32_t op_graph_constant(struct op_graph *self, struct cyx_shape shape, const float *data)
{
    int32_t value = op_graph_value(self, CYX_VALUE_CONSTANT, CYX_F32, shape);
    self->values[value].constant = data;
    return value;
}

struct cyx_node *op_graph_node(struct op_graph *self, enum cyx_op op, int n_in, const int32_t *in,
                               int n_out, const int32_t *out)
{
    size_t i = self->graph.n_nodes;
    if (i >= OP_GRAPH_NODES)
        abort();
    struct cyx_node *node = &self->nodes[i];
    *node = (struct cyx_node){.op = op, .n_in = n_in, .n_out = n_out, .layer = -1};
    for (int k = 0; k < CYX_NODE_INPUTS; k++)
        node->in[k] = k < n_in ? in[k] : CYX_NO_VALUE;
    for (int k = 0; k < CYX_NODE_OUTPUTS; k++)
        node->out[k] = k < n_out ? out[k] : CYX_NO_VALUE;
    for (int k = 0; k < n_out; k++) {
        if (out[k] != CYX_NO_VALUE)
            self->values[out[k]].producer = (int32_t)i;
    }
    if (self->graph.output == CYX_NO_VALUE)
        self->graph.output = n_out ? out[0] : in[0];
    node->window = (struct cyx_window){{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1};
    node->ignore_index = -100;
    node->optimizer = &self->optimizer;
    self->graph.n_nodes++;
    self->graph.n_forward_nodes = self->graph.n_nodes;
    return node;
}
