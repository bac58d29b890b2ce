/*
 * Test support: one of ONNX's operator cases as a graph made by hand. ONNX's attributes, defaults and shapes are
 * converted here; nothing shares the path of PyTorch's layers, whose defaults differ.
 *
 * What a case feeds is known when it is converted, as initializers are known to an importer: weights are
 * transposed and scaled on the host. A case that has no counterpart leaves the reason behind.
 */
#ifndef CYX_TESTS_CONFORMANCE_ONNX_IMPORT_H
#define CYX_TESTS_CONFORMANCE_ONNX_IMPORT_H

#include <stdbool.h>

#include "nn/format/onnx.h"
#include "op_graph.h"

enum {
    ONNX_VALUES = 48,
    ONNX_TENSORS = 16, /* that a case feeds, or expects */
    ONNX_CHECKS = 8,
    ONNX_CHECKED = -2, /* an output that a check of its own looks at */
};

/* A case's folder, read. */
struct onnx_case {
    struct cyx_onnx_model *model;
    struct cyx_onnx_tensor *inputs[ONNX_TENSORS], *outputs[ONNX_TENSORS];
    size_t n_inputs, n_outputs;
};

/* A value of ONNX's graph. `value` of our graph holds the same elements in the same order, shaped as it likes. */
struct onnx_value {
    const char *name;
    int rank;
    int64_t dim[CYX_ONNX_RANK_LIMIT];
    int32_t value;                       /* CYX_NO_VALUE: not in our graph yet */
    const struct cyx_onnx_tensor *known; /* fed, or an initializer */
    double scale;                        /* what is read is multiplied by this */
};

/* What is written before the step, and what must be read behind it. */
struct onnx_fill {
    int32_t value;
    float *data;
    size_t count;
};

struct onnx_check {
    const char *what;
    int32_t value; /* the graph's result: the loss */
    float *wanted;
    size_t count;
    double scale;
};

struct onnx_import {
    const struct onnx_case *from;
    struct op_graph g;
    struct onnx_value values[ONNX_VALUES];
    size_t n_values;
    struct onnx_fill fills[ONNX_VALUES];
    size_t n_fills;
    struct onnx_check checks[ONNX_CHECKS];
    size_t n_checks;
    int32_t *target; /* NULL: none */
    double lr;       /* optimizers */
    uint64_t step;
    char reason[160]; /* why it is not applicable */
    bool wrong;       /* it is, but was converted to another shape: a failure */
};

/* False: not applicable, with the reason. onnx_import_finish() it in either case. */
bool onnx_import_init(struct onnx_import *self, const struct onnx_case *from);
void onnx_import_finish(struct onnx_import *self);

/* ---- for the operators ---- */

/* Turns one node; false with the reason when it has no counterpart. */
typedef bool onnx_operator(struct onnx_import *self, const struct cyx_onnx_node *node);

bool onnx_refuse(struct onnx_import *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The node's i-th input, NULL when it is left out. */
const struct onnx_value *onnx_in(const struct onnx_import *self, const struct cyx_onnx_node *node,
                                 size_t i);

/* The same, a float tensor with elements; NULL with the reason otherwise. */
const struct onnx_value *onnx_floats(struct onnx_import *self, const struct cyx_onnx_node *node,
                                     size_t i);

/* The integers of an input that is known; NULL when there are none. */
const int64_t *onnx_integers(const struct onnx_import *self, const struct cyx_onnx_node *node,
                             size_t i, size_t *ret_count);

int64_t onnx_count(const struct onnx_value *value);

/* `axis` as ONNX gives it, from 0; -1 when it is out of range. */
int onnx_axis(const struct onnx_value *value, int64_t axis);

/* The value's dimensions around `axis`: (before, it, behind). */
struct cyx_shape onnx_around(const struct onnx_value *value, int axis);

/* Its own shape where that is 1 to 4 dimensions, else (1, elements). */
struct cyx_shape onnx_shape(const struct onnx_value *value);

/* The value in our graph in that shape: a parameter that is filled, what a node made, or a view of that. */
int32_t onnx_operand(struct onnx_import *self, const struct onnx_value *value,
                     struct cyx_shape shape);

/* A persistent value of our graph, filled; takes `data` over. */
int32_t onnx_filled(struct onnx_import *self, enum cyx_value_kind kind, struct cyx_shape shape,
                    float *data);

/* A value of our graph for the node's i-th output, whose shape in ONNX is that of `like`, or given. */
int32_t onnx_result(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i,
                    struct cyx_shape shape, int rank, const int64_t *dim);
int32_t onnx_result_like(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i,
                         struct cyx_shape shape, const struct onnx_value *like);

/* The node's i-th output is that value of our graph, times `scale`; nothing when nobody asks for it. */
void onnx_bind(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i, int32_t value,
               double scale, int rank, const int64_t *dim);

/* What the case expects of an output; NULL when it is none of the model's. */
const struct cyx_onnx_tensor *onnx_expected(const struct onnx_import *self, const char *name);

/* `value` must become `wanted`, which is taken over. */
void onnx_check(struct onnx_import *self, const char *what, int32_t value, float *wanted,
                size_t count, double scale);

/* onnx_import_window.c */
onnx_operator onnx_conv, onnx_conv_transpose, onnx_max_pool, onnx_average_pool;
onnx_operator onnx_global_average_pool, onnx_global_max_pool;

/* onnx_import_shape.c */
onnx_operator onnx_reshape, onnx_flatten, onnx_squeeze, onnx_unsqueeze, onnx_identity, onnx_dropout;
onnx_operator onnx_concat, onnx_slice, onnx_split;

/* onnx_import_math.c */
onnx_operator onnx_relu, onnx_leaky_relu, onnx_prelu, onnx_sigmoid, onnx_tanh, onnx_add, onnx_sum;
onnx_operator onnx_softmax, onnx_log_softmax, onnx_gemm, onnx_matmul;

/* onnx_import_train.c */
onnx_operator onnx_batch_normalization, onnx_layer_normalization, onnx_one_hot;
onnx_operator onnx_softmax_cross_entropy, onnx_adam, onnx_momentum;

#endif
