/* Normalisation, losses and optimizers, whose formulas differ from PyTorch's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "onnx_import.h"

/* A copy of what is known, each times `scale`. */
static float *scaled(const struct onnx_value *value, double scale)
{
    size_t count = (size_t)onnx_count(value);
    float *data = malloc(count * sizeof *data);
    assert(data);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(scale * (double)value->known->floats[i]);
    return data;
}

/*
 * Training: ONNX's momentum is what stays, PyTorch's is what is new; and ONNX keeps the biased variance, PyTorch the
 * unbiased one. So the running variance goes in times n/(n-1), and comes out times (n-1)/n.
 */
static bool batch_norm_training(struct onnx_import *self, const struct cyx_onnx_node *node,
                                struct cyx_shape shape, const struct onnx_value *x)
{
    double n = (double)onnx_count(x) / (double)x->dim[1];
    struct cyx_shape channels = {1, {x->dim[1]}};
    int32_t in[5] = {onnx_operand(self, x, shape)}, out[3];
    for (size_t i = 1; i < 5; i++)
        in[i] = onnx_filled(self, i < 3 ? CYX_VALUE_PARAM : CYX_VALUE_BUFFER, channels,
                            scaled(onnx_in(self, node, i), i == 4 ? n / (n - 1) : 1));
    out[0] = onnx_result_like(self, node, 0, shape, x);
    out[1] = op_graph_result(&self->g, channels);
    out[2] = op_graph_result(&self->g, channels);
    onnx_bind(self, node, 1, in[3], 1, 1, channels.dim);
    onnx_bind(self, node, 2, in[4], (n - 1) / n, 1, channels.dim);
    struct cyx_node *made = op_graph_node(&self->g, CYX_OP_BATCH_NORM, 5, in, 3, out);
    made->eps = cyx_onnx_float(node, "epsilon", 1e-5);
    made->momentum = 1 - cyx_onnx_float(node, "momentum", 0.9);
    return true;
}

bool onnx_batch_normalization(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_floats(self, node, 0);
    if (!x)
        return false;
    for (size_t i = 1; i < 5; i++)
        if (!onnx_floats(self, node, i) || !onnx_in(self, node, i)->known)
            return onnx_refuse(self, "statistics that are computed");
    struct cyx_shape shape =
        x->rank >= 2 && x->rank <= CYX_RANK_LIMIT ? onnx_shape(x) : onnx_around(x, 1);
    if (cyx_onnx_int(node, "training_mode", 0))
        return batch_norm_training(self, node, shape, x);
    struct cyx_shape channels = {1, {x->dim[1]}};
    int32_t in[5] = {onnx_operand(self, x, shape)};
    for (size_t i = 1; i < 5; i++)
        in[i] = onnx_filled(self, i < 3 ? CYX_VALUE_PARAM : CYX_VALUE_BUFFER, channels,
                            scaled(onnx_in(self, node, i), 1));
    int32_t y = onnx_result_like(self, node, 0, shape, x);
    op_graph_node(&self->g, CYX_OP_BATCH_NORM_INFERENCE, 5, in, 1, &y)->eps =
        cyx_onnx_float(node, "epsilon", 1e-5);
    return true;
}

bool onnx_layer_normalization(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_floats(self, node, 0), *w = onnx_floats(self, node, 1);
    const struct onnx_value *b = onnx_in(self, node, 2);
    if (!x || !w)
        return false;
    int axis = onnx_axis(x, cyx_onnx_int(node, "axis", -1));
    int64_t rows = 1, inner = 1, dim[CYX_ONNX_RANK_LIMIT];
    for (int i = 0; i < x->rank; i++) {
        *(i < axis ? &rows : &inner) *= x->dim[i];
        dim[i] = i < axis ? x->dim[i] : 1;
    }
    if (onnx_count(w) != inner)
        return onnx_refuse(self, "broadcasting");
    /* the whole of x as one row has no batch before it: it is given one */
    bool own = axis >= 1 && x->rank <= CYX_RANK_LIMIT;
    struct cyx_shape shape = own ? onnx_shape(x) : (struct cyx_shape){2, {rows, inner}};
    struct cyx_shape affine = {own ? shape.rank - axis : 1, {inner}}, statistics = {1, {rows}};
    for (int i = 0; own && i < affine.rank; i++)
        affine.dim[i] = shape.dim[axis + i];
    int32_t in[3] = {onnx_operand(self, x, shape), onnx_operand(self, w, affine), CYX_NO_VALUE};
    if (b)
        in[2] = onnx_operand(self, b, affine);
    int rank = x->rank;
    int32_t out[3] = {onnx_result_like(self, node, 0, shape, x)};
    for (size_t i = 1; i < 3; i++)
        out[i] = onnx_result(self, node, i, statistics, rank, dim);
    struct cyx_node *made = op_graph_node(&self->g, CYX_OP_LAYER_NORM, 3, in, 3, out);
    made->eps = cyx_onnx_float(node, "epsilon", 1e-5);
    made->norm_dims = affine.rank;
    return true;
}

/* What stands for off and on is an input; where it is 0 and 1 this would be ONE_HOT, but no case has those. */
bool onnx_one_hot(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    (void)node;
    return onnx_refuse(self, "values other than 0 and 1");
}

/* Without ignore_index every label counts; ours then stands outside of all labels. */
bool onnx_softmax_cross_entropy(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct onnx_value *x = onnx_floats(self, node, 0), *w = onnx_in(self, node, 2);
    size_t rows = 0;
    const int64_t *labels = onnx_integers(self, node, 1, &rows);
    const char *reduction = cyx_onnx_string(node, "reduction", "mean");
    if (!x || !labels)
        return x ? onnx_refuse(self, "labels that are computed") : false;
    if (strcmp(reduction, "mean") != 0)
        return onnx_refuse(self, "reduction \"%s\"", reduction);
    if (x->rank != 2)
        return onnx_refuse(self, "scores of more than two dimensions");
    self->target = calloc(rows, sizeof *self->target);
    assert(self->target);
    for (size_t i = 0; i < rows; i++)
        self->target[i] = (int32_t)labels[i];
    op_graph_target(&self->g, (int64_t)rows);
    struct cyx_shape shape = onnx_shape(x);
    int32_t result = self->g.graph.result;
    int32_t in[3] = {onnx_operand(self, x, shape), self->g.graph.target, CYX_NO_VALUE};
    if (w)
        in[2] = onnx_operand(self, w, onnx_shape(w));
    op_graph_node(&self->g, CYX_OP_CROSS_ENTROPY, 3, in, 1, &result)->ignore_index =
        (int32_t)cyx_onnx_int(node, "ignore_index", -100);
    self->g.graph.output = in[0];
    onnx_bind(self, node, 0, result, 1, 0, NULL);
    if (node->n_outputs > 1) {
        int32_t log_prob = onnx_result_like(self, node, 1, shape, x);
        op_graph_node(&self->g, CYX_OP_LOG_SOFTMAX, 1, in, 1, &log_prob)->dim = 1;
    }
    return true;
}

/* ---- optimizers: (R, T, X…, G…, states…) -> (X…, states…) ---- */

/* How many parameters the node has, `n_states` each; 0 with the reason when they are not known. */
static size_t optimizer_begin(struct onnx_import *self, const struct cyx_onnx_node *node,
                              size_t n_states)
{
    size_t count = 0;
    for (size_t i = 0; i < node->n_inputs; i++) {
        const struct onnx_value *value = onnx_in(self, node, i);
        if (!value || !value->known || (i != 1 && !value->known->floats))
            onnx_refuse(self, "elements other than float32");
    }
    const int64_t *step = onnx_integers(self, node, 1, &count);
    if (self->reason[0] || !step)
        return 0;
    self->lr = (double)onnx_in(self, node, 0)->known->floats[0];
    /* T = 0 is no bias correction: so many steps that nothing is left of it */
    self->step = step[0] > 0 ? (uint64_t)step[0] : 1000000000;
    return (node->n_inputs - 2) / (2 + n_states);
}

/* The p-th parameter's update; its parameter and states are the node's outputs. */
static void optimizer_update(struct onnx_import *self, const struct cyx_onnx_node *node,
                             enum cyx_op op, size_t p, size_t n_params, size_t n_states)
{
    int32_t in[4] = {CYX_NO_VALUE, CYX_NO_VALUE, CYX_NO_VALUE, CYX_NO_VALUE};
    for (size_t i = 0; i < 2 + n_states; i++) {
        struct onnx_value value = *onnx_in(self, node, 2 + i * n_params + p);
        in[i] = onnx_filled(self, i < 2 ? CYX_VALUE_PARAM : CYX_VALUE_STATE, onnx_shape(&value),
                            scaled(&value, 1));
        if (i != 1)
            onnx_bind(self, node, (i ? i - 1 : 0) * n_params + p, in[i], 1, value.rank, value.dim);
    }
    op_graph_node(&self->g, op, 2 + (int)n_states, in, 0, NULL);
}

/* ONNX adds epsilon to √v, PyTorch to √v / √(1 - β2^t); the rest is the same. */
bool onnx_adam(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct cyx_optimizer_spec *adam = &self->g.optimizer;
    size_t n = optimizer_begin(self, node, 2);
    if (n == 0)
        return false;
    if (cyx_onnx_float(node, "norm_coefficient_post", 0) != 0)
        return onnx_refuse(self, "decay behind the update");
    adam->type = CYX_OPTIMIZER_ADAM;
    adam->betas[0] = cyx_onnx_float(node, "alpha", 0.9);
    adam->betas[1] = cyx_onnx_float(node, "beta", 0.999);
    adam->eps =
        cyx_onnx_float(node, "epsilon", 1e-6) / sqrt(1 - pow(adam->betas[1], (double)self->step));
    adam->weight_decay = cyx_onnx_float(node, "norm_coefficient", 0);
    for (size_t p = 0; p < n; p++)
        optimizer_update(self, node, CYX_OP_ADAM, p, n, 2);
    return true;
}

/* ONNX's beta is 1 - dampening, and 1 while T is 0. */
bool onnx_momentum(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    struct cyx_optimizer_spec *sgd = &self->g.optimizer;
    size_t n = optimizer_begin(self, node, 1), count = 0;
    if (n == 0)
        return false;
    bool first = onnx_integers(self, node, 1, &count)[0] == 0;
    sgd->type = CYX_OPTIMIZER_SGD;
    sgd->momentum = cyx_onnx_float(node, "alpha", 0);
    sgd->dampening = first ? 0 : 1 - cyx_onnx_float(node, "beta", 1);
    sgd->nesterov = strcmp(cyx_onnx_string(node, "mode", "standard"), "nesterov") == 0;
    sgd->weight_decay = cyx_onnx_float(node, "norm_coefficient", 0);
    for (size_t p = 0; p < n; p++)
        optimizer_update(self, node, CYX_OP_SGD, p, n, 1);
    return true;
}
