/*
 * A graph made by hand, for one operation at a time. Its operands are parameters (written and read by name), its
 * results transients; a dummy input, target and result stand where every graph has them.
 *
 *     struct op_graph g;
 *     op_graph_init(&g);
 *     int32_t x = op_graph_param(&g, (struct cyx_shape){2, {3, 4}});
 *     int32_t y = op_graph_result(&g, (struct cyx_shape){2, {3, 4}});
 *     op_graph_node(&g, CYX_OP_RELU, 1, (int32_t[]){x}, 1, (int32_t[]){y});
 */
#ifndef CYX_TESTS_CONFORMANCE_OP_GRAPH_H
#define CYX_TESTS_CONFORMANCE_OP_GRAPH_H

#include "model/graph.h"

enum { OP_GRAPH_VALUES = 48, OP_GRAPH_NODES = 16, OP_GRAPH_NAME = 8 };

struct op_graph {
    struct cyx_graph graph;
    struct cyx_value values[OP_GRAPH_VALUES];
    struct cyx_node nodes[OP_GRAPH_NODES];
    char names[OP_GRAPH_VALUES][OP_GRAPH_NAME];
    struct cyx_optimizer_spec optimizer;
    struct {
        bool given;
        double low, high;
    } ranges[OP_GRAPH_VALUES]; /* what op_checks.h fills a value with */
};

/* Must not move afterwards. */
void op_graph_init(struct op_graph *self);

int32_t op_graph_value(struct op_graph *self, enum cyx_value_kind kind, enum cyx_dtype dtype,
                       struct cyx_shape shape);
int32_t op_graph_param(struct op_graph *self, struct cyx_shape shape);
int32_t op_graph_result(struct op_graph *self, struct cyx_shape shape);
/* Class indices in place of the dummy target. */
void op_graph_target(struct op_graph *self, int64_t rows);
/* Numbers in place of the dummy target. */
void op_graph_target_numbers(struct op_graph *self, struct cyx_shape shape);
/* A parameter or buffer that is filled with numbers of [low, high). */
int32_t op_graph_range(struct op_graph *self, int32_t value, double low, double high);
/* A value that persists and is never written; `data` must live as long as the graph. */
int32_t op_graph_constant(struct op_graph *self, struct cyx_shape shape, const float *data);

/* The first output of the first node becomes the graph's output. */
struct cyx_node *op_graph_node(struct op_graph *self, enum cyx_op op, int n_in, const int32_t *in,
                               int n_out, const int32_t *out);

#endif
