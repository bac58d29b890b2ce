/* What moves elements or only renames them: everything that keeps the row-major order is RESHAPE here. */
#include <string.h>

#include "onnx_import.h"

/* ---- other shapes of the same elements ---- */

static bool add_reshape(struct onnx_import *self, const struct cyx_onnx_node *node, int rank,
                        const int64_t *dim)
{
    const struct onnx_value *x = onnx_floats(self, node, 0);
    struct onnx_value shaped = {.rank = rank};
    if (!x)
        return false;
    for (int i = 0; i < rank; i++)
        shaped.dim[i] = dim[i];
    if (onnx_count(&shaped) != onnx_count(x))
        return onnx_refuse(self, "a shape of other elements");
    int32_t in = onnx_operand(self, x, onnx_shape(x));
    int32_t y = onnx_result(self, node, 0, onnx_shape(&shaped), rank, dim);
    op_graph_node(&self->g, CYX_OP_RESHAPE, 1, &in, 1, &y);
    self->g.values[y].alias_of = in;
    return true;
}

bool onnx_reshape(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0);
    size_t rank = 0;
    const int64_t *wanted = onnx_integers(self, node, 1, &rank);
    int64_t dim[CYX_ONNX_RANK_LIMIT] = {0}, known = 1;
    if (!x || !wanted || rank > CYX_ONNX_RANK_LIMIT)
        return onnx_refuse(self, "a shape that is computed");
    bool zero_is_zero = cyx_onnx_int(node, "allowzero", 0) != 0;
    for (size_t i = 0; i < rank; i++) {
        dim[i] = wanted[i] == 0 && !zero_is_zero ? x->dim[i] : wanted[i];
        known *= dim[i] == -1 ? 1 : dim[i];
    }
    for (size_t i = 0; i < rank && known > 0; i++)
        if (dim[i] == -1)
            dim[i] = onnx_count(x) / known;
    return add_reshape(self, node, (int)rank, dim);
}

bool onnx_flatten(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0);
    int64_t axis = cyx_onnx_int(node, "axis", 1), dim[2] = {1, 1};
    axis += axis < 0 ? x->rank : 0;
    for (int i = 0; i < x->rank; i++)
        dim[i >= axis] *= x->dim[i];
    return add_reshape(self, node, 2, dim);
}

bool onnx_identity(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0);
    return add_reshape(self, node, x->rank, x->dim);
}

/* The axes of Squeeze and Unsqueeze: an input since opset 13, an attribute before. Bit i: axis i of `rank`. */
static unsigned axes_of(const struct onnx_import *self, const struct cyx_onnx_node *node, int rank)
{
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, "axes");
    size_t count = attribute ? attribute->n_ints : 0;
    const int64_t *axes = attribute ? attribute->ints : onnx_integers(self, node, 1, &count);
    unsigned bits = 0;
    for (size_t i = 0; axes && i < count; i++)
        bits |= 1u << (axes[i] < 0 ? axes[i] + rank : axes[i]);
    return bits;
}

bool onnx_squeeze(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0);
    unsigned axes = axes_of(self, node, x->rank);
    int64_t dim[CYX_ONNX_RANK_LIMIT];
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (!(axes >> i & 1) && (axes || x->dim[i] != 1))
            dim[rank++] = x->dim[i];
    return add_reshape(self, node, rank, dim);
}

bool onnx_unsqueeze(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0);
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, "axes");
    size_t added = attribute ? attribute->n_ints : 0;
    if (!attribute && !onnx_integers(self, node, 1, &added))
        return onnx_refuse(self, "axes that are computed");
    int rank = x->rank + (int)added, next = 0;
    if (rank > CYX_ONNX_RANK_LIMIT)
        return onnx_refuse(self, "%d dimensions", rank);
    unsigned axes = axes_of(self, node, rank);
    int64_t dim[CYX_ONNX_RANK_LIMIT];
    for (int i = 0; i < rank; i++)
        dim[i] = axes >> i & 1 ? 1 : x->dim[next++];
    return add_reshape(self, node, rank, dim);
}

/* Inference leaves Dropout out; ONNX's random numbers are not ours. */
bool onnx_dropout(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_in(self, node, 0), *ratio = onnx_in(self, node, 1);
    size_t count = 0;
    const int64_t *training = onnx_integers(self, node, 2, &count);
    double p =
        ratio && ratio->known && ratio->known->floats ? (double)ratio->known->floats[0] : 0.5;
    if (node->n_outputs > 1)
        return onnx_refuse(self, "the mask is never stored");
    if (!training || !training[0])
        return add_reshape(self, node, x->rank, x->dim);
    if (p > 0)
        return onnx_refuse(self, "random numbers that are not ours");
    x = onnx_floats(self, node, 0);
    if (!x)
        return false;
    int32_t in = onnx_operand(self, x, onnx_shape(x));
    int32_t y = onnx_result_like(self, node, 0, onnx_shape(x), x);
    op_graph_node(&self->g, CYX_OP_DROPOUT, 1, &in, 1, &y)->p = 0;
    return true;
}

/* ---- along an axis ---- */

/*
 * Our joins and slices begin with dimension 1, since the batch stays whole; an axis of ONNX may be the first. Where
 * it is, or where there are too many dimensions, the value is seen as (before, axis, behind).
 */
static struct cyx_shape along(const struct onnx_value *value, int axis, int *ret_dim)
{
    bool own = axis >= 1 && value->rank <= CYX_RANK_LIMIT;
    *ret_dim = own ? axis : 1;
    return own ? onnx_shape(value) : onnx_around(value, axis);
}

bool onnx_concat(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *first = onnx_floats(self, node, 0);
    int32_t in[CYX_NODE_INPUTS];
    if (!first)
        return false;
    if (node->n_inputs < 2 || node->n_inputs > CYX_NODE_INPUTS)
        return onnx_refuse(self, "%zu inputs", node->n_inputs);
    int axis = onnx_axis(first, cyx_onnx_int(node, "axis", 1)), dim = 0;
    struct cyx_shape shape = along(first, axis, &dim);
    struct onnx_value joined = *first;
    joined.dim[axis] = 0;
    for (size_t i = 0; i < node->n_inputs; i++) {
        const struct onnx_value *part = onnx_floats(self, node, i);
        if (!part)
            return false;
        joined.dim[axis] += part->dim[axis];
        in[i] = onnx_operand(self, part, along(part, axis, &dim));
    }
    shape.dim[dim] = joined.dim[axis];
    int32_t y = onnx_result(self, node, 0, shape, joined.rank, joined.dim);
    op_graph_node(&self->g, CYX_OP_CONCAT, (int)node->n_inputs, in, 1, &y)->dim = dim;
    return true;
}

/* Elements [begin, end) of `axis`: a slice of our graph, whose ONNX shape is in `x` afterwards. */
static bool cut(struct onnx_import *self, struct onnx_value *x, int axis, int64_t begin,
                int64_t end)
{
    int dim = 0;
    struct cyx_shape shape = along(x, axis, &dim);
    int32_t in = onnx_operand(self, x, shape);
    if (end <= begin)
        return onnx_refuse(self, "a tensor without elements");
    x->known = NULL;
    x->dim[axis] = shape.dim[dim] = end - begin;
    x->value = op_graph_result(&self->g, shape);
    struct cyx_node *slice = op_graph_node(&self->g, CYX_OP_SLICE, 1, &in, 1, &x->value);
    slice->dim = dim;
    slice->offset = begin;
    return true;
}

static int64_t clamp(int64_t at, int64_t size)
{
    at += at < 0 ? size : 0;
    return at < 0 ? 0 : at > size ? size : at;
}

/* The i-th list of Slice: an input since opset 10, an attribute before; NULL when left out. */
static const int64_t *slice_list(const struct onnx_import *self, const struct cyx_onnx_node *node,
                                 size_t i, size_t *ret_count)
{
    static const char *const names[] = {"", "starts", "ends", "axes", "steps"};
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, names[i]);
    if (!attribute)
        return onnx_integers(self, node, i, ret_count);
    *ret_count = attribute->n_ints;
    return attribute->ints;
}

bool onnx_slice(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_floats(self, node, 0);
    size_t count = 0, n_axes = 0, n_steps = 0;
    const int64_t *starts = slice_list(self, node, 1, &count);
    const int64_t *ends = slice_list(self, node, 2, &count);
    const int64_t *axes = slice_list(self, node, 3, &n_axes);
    const int64_t *steps = slice_list(self, node, 4, &n_steps);
    if (!x || !starts || !ends)
        return x ? onnx_refuse(self, "bounds that are computed") : false;
    struct onnx_value part = *x;
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(&part, axes ? axes[i] : (int64_t)i);
        if (steps && steps[i] != 1)
            return onnx_refuse(self, "a step other than 1");
        int64_t begin = clamp(starts[i], part.dim[axis]), end = clamp(ends[i], part.dim[axis]);
        if (!cut(self, &part, axis, begin, end))
            return false;
    }
    onnx_bind(self, node, 0, part.value, 1, part.rank, part.dim);
    return true;
}

bool onnx_split(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, "split");
    const struct onnx_value *x = onnx_floats(self, node, 0);
    size_t count = attribute ? attribute->n_ints : 0;
    const int64_t *sizes = attribute ? attribute->ints : onnx_integers(self, node, 1, &count);
    if (!x)
        return false;
    struct onnx_value whole = *x; /* a copy: the list grows */
    int axis = onnx_axis(&whole, cyx_onnx_int(node, "axis", 0));
    int64_t begin = 0;
    for (size_t i = 0; i < node->n_outputs; i++) {
        struct onnx_value part = whole;
        int64_t size = sizes ? sizes[i] : whole.dim[axis] / (int64_t)node->n_outputs;
        if (!cut(self, &part, axis, begin, begin + size))
            return false;
        onnx_bind(self, node, i, part.value, 1, part.rank, part.dim);
        begin += size;
    }
    return true;
}
