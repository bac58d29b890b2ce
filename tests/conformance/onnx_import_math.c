/* Element by element, softmax, and matrix products: what is a weight is transposed and scaled on the host. */
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "onnx_import.h"

/* A node of one input and an output like it. */
static struct cyx_node *unary(struct onnx_import *self, const struct cyx_onnx_node *node,
                              enum cyx_op op)
{
    const struct onnx_value *x = onnx_floats(self, node, 0);
    if (!x)
        return NULL;
    int32_t in = onnx_operand(self, x, onnx_shape(x));
    int32_t y = onnx_result_like(self, node, 0, onnx_shape(x), x);
    return op_graph_node(&self->g, op, 1, &in, 1, &y);
}

static bool activation(struct onnx_import *self, const struct cyx_onnx_node *node,
                       enum cyx_activation function, double slope)
{
    struct cyx_node *made = unary(self, node, CYX_OP_ACTIVATION);
    if (!made)
        return false;
    made->activation = function;
    made->slope = slope;
    return true;
}

bool onnx_relu(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return unary(self, node, CYX_OP_RELU) != NULL;
}

bool onnx_leaky_relu(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return activation(self, node, CYX_ACTIVATION_LEAKY_RELU, cyx_onnx_float(node, "alpha", 0.01));
}

/* One slope that is known is LeakyReLU's. */
bool onnx_prelu(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *slope = onnx_floats(self, node, 1);
    if (!slope)
        return false;
    if (!slope->known || onnx_count(slope) != 1)
        return onnx_refuse(self, "more than one slope");
    return activation(self, node, CYX_ACTIVATION_LEAKY_RELU, (double)slope->known->floats[0]);
}

bool onnx_sigmoid(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return activation(self, node, CYX_ACTIVATION_SIGMOID, 0);
}

bool onnx_tanh(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return activation(self, node, CYX_ACTIVATION_TANH, 0);
}

/* Σ of the inputs, as a chain of ADD. */
static bool sum(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *first = onnx_floats(self, node, 0);
    if (!first)
        return false;
    struct cyx_shape shape = onnx_shape(first);
    int64_t count = onnx_count(first);
    int32_t total = onnx_operand(self, first, shape);
    for (size_t i = 1; i < node->n_inputs; i++) {
        const struct onnx_value *next = onnx_floats(self, node, i);
        if (!next)
            return false;
        if (next->rank != first->rank || onnx_count(next) != count)
            return onnx_refuse(self, "broadcasting");
        int32_t in[] = {total, onnx_operand(self, next, shape)};
        total = op_graph_result(&self->g, shape);
        op_graph_node(&self->g, CYX_OP_ADD, 2, in, 1, &total);
    }
    struct onnx_value like = *first;
    onnx_bind(self, node, 0, total, 1, like.rank, like.dim);
    return true;
}

bool onnx_add(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return sum(self, node);
}

bool onnx_sum(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return node->n_inputs == 1 ? onnx_identity(self, node) : sum(self, node);
}

/* Before opset 13 everything from `axis` (1 unless said) on is one dimension; since then it is the axis alone (-1). */
static bool softmax(struct onnx_import *self, const struct cyx_onnx_node *node, enum cyx_op op)
{
    bool coerced = self->from->model->opset < 13;
    const struct onnx_value *x = onnx_floats(self, node, 0);
    if (!x)
        return false;
    int axis = onnx_axis(x, cyx_onnx_int(node, "axis", coerced ? 1 : -1)), dim = 1;
    struct cyx_shape shape = onnx_around(x, axis);
    if (coerced) {
        shape = (struct cyx_shape){2, {shape.dim[0], shape.dim[1] * shape.dim[2]}};
    } else if (axis >= 1 && x->rank <= CYX_RANK_LIMIT) {
        shape = onnx_shape(x);
        dim = axis;
    }
    int32_t in = onnx_operand(self, x, shape), y = onnx_result_like(self, node, 0, shape, x);
    op_graph_node(&self->g, op, 1, &in, 1, &y)->dim = dim;
    return true;
}

bool onnx_softmax(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return softmax(self, node, CYX_OP_SOFTMAX);
}

bool onnx_log_softmax(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    return softmax(self, node, CYX_OP_LOG_SOFTMAX);
}

/* ---- matrix products ---- */

/* The right-hand matrix as a Linear's weight (Out,In), times `scale`; it must be known. */
static int32_t weight(struct onnx_import *self, const struct onnx_value *b, bool transposed,
                      double scale)
{
    int64_t outs = b->dim[transposed ? 0 : 1], ins = b->dim[transposed ? 1 : 0];
    float *data = malloc((size_t)(outs * ins) * sizeof *data);
    assert(data);
    for (int64_t o = 0; o < outs; o++)
        for (int64_t i = 0; i < ins; i++)
            data[o * ins + i] =
                (float)(scale * (double)b->known->floats[transposed ? o * ins + i : i * outs + o]);
    return onnx_filled(self, CYX_VALUE_PARAM, (struct cyx_shape){2, {outs, ins}}, data);
}

/* `c` spread over `rows` rows of `columns`, times `scale`. */
static float *spread(const struct onnx_value *c, int64_t rows, int64_t columns, double scale)
{
    float *data = malloc((size_t)(rows * columns) * sizeof *data);
    assert(data);
    int64_t width = c->rank > 0 ? c->dim[c->rank - 1] : 1, height = onnx_count(c) / width;
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] =
            (float)(scale *
                    (double)c->known->floats[i / columns % height * width + i % columns % width]);
    return data;
}

/* What Gemm adds: a vector is Linear's bias, a matrix is added behind it; it may be computed where beta is 1. */
struct addend {
    const struct onnx_value *c; /* NULL: nothing */
    double beta;
    bool by_row;
};

static bool read_addend(struct onnx_import *self, const struct cyx_onnx_node *node,
                        struct cyx_shape out, struct addend *ret_addend)
{
    struct addend addend = {onnx_in(self, node, 2), cyx_onnx_float(node, "beta", 1), false};
    const struct onnx_value *c = addend.c;
    addend.by_row = c && c->rank == 2 && c->dim[0] > 1;
    bool whole = addend.by_row && onnx_count(c) == cyx_shape_count(&out);
    if (c && !c->known && (!whole || addend.beta != 1))
        return onnx_refuse(self, "a bias that is computed");
    *ret_addend = addend;
    return true;
}

static int32_t matrix_of(struct onnx_import *self, const struct addend *addend,
                         struct cyx_shape out)
{
    if (!addend->c->known)
        return onnx_operand(self, addend->c, out);
    return onnx_filled(self, CYX_VALUE_PARAM, out,
                       spread(addend->c, out.dim[0], out.dim[1], addend->beta));
}

bool onnx_gemm(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *a = onnx_floats(self, node, 0), *b = onnx_floats(self, node, 1);
    bool transposed = cyx_onnx_int(node, "transB", 0) != 0;
    struct addend addend = {0};
    if (!a || !b)
        return false;
    if (cyx_onnx_int(node, "transA", 0))
        return onnx_refuse(self, "transposed activations");
    if (!b->known)
        return onnx_refuse(self, "a weight that is computed");
    struct cyx_shape out = {2, {a->dim[0], b->dim[transposed ? 0 : 1]}};
    if (!read_addend(self, node, out, &addend))
        return false;
    int32_t in[3] = {onnx_operand(self, a, onnx_shape(a)),
                     weight(self, b, transposed, cyx_onnx_float(node, "alpha", 1)), CYX_NO_VALUE};
    if (addend.c && !addend.by_row)
        in[2] = onnx_filled(self, CYX_VALUE_PARAM, (struct cyx_shape){1, {out.dim[1]}},
                            spread(addend.c, 1, out.dim[1], addend.beta));
    int32_t y = op_graph_result(&self->g, out);
    op_graph_node(&self->g, CYX_OP_LINEAR, 3, in, 1, &y);
    if (addend.by_row) {
        int32_t terms[] = {y, matrix_of(self, &addend, out)};
        y = op_graph_result(&self->g, out);
        op_graph_node(&self->g, CYX_OP_ADD, 2, terms, 1, &y);
    }
    onnx_bind(self, node, 0, y, 1, 2, out.dim);
    return true;
}

bool onnx_matmul(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *a = onnx_floats(self, node, 0), *b = onnx_floats(self, node, 1);
    if (!a || !b)
        return false;
    if (b->rank != 2 || !b->known || a->rank < 2 || a->rank > CYX_RANK_LIMIT)
        return onnx_refuse(self, "a batch of right-hand matrices");
    struct cyx_shape out = onnx_shape(a);
    out.dim[out.rank - 1] = b->dim[1];
    int32_t in[3] = {onnx_operand(self, a, onnx_shape(a)), weight(self, b, false, 1), CYX_NO_VALUE};
    int32_t y = onnx_result(self, node, 0, out, out.rank, out.dim);
    op_graph_node(&self->g, CYX_OP_LINEAR, 3, in, 1, &y);
    return true;
}
