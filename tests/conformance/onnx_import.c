#include "onnx_import.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

static const struct {
    const char *op_type;
    onnx_operator *convert;
} operators[] = {
    {"Add", onnx_add},
    {"AveragePool", onnx_average_pool},
    {"BatchNormalization", onnx_batch_normalization},
    {"Concat", onnx_concat},
    {"Conv", onnx_conv},
    {"ConvTranspose", onnx_conv_transpose},
    {"Dropout", onnx_dropout},
    {"Flatten", onnx_flatten},
    {"Gemm", onnx_gemm},
    {"GlobalAveragePool", onnx_global_average_pool},
    {"GlobalMaxPool", onnx_global_max_pool},
    {"Identity", onnx_identity},
    {"LayerNormalization", onnx_layer_normalization},
    {"LeakyRelu", onnx_leaky_relu},
    {"LogSoftmax", onnx_log_softmax},
    {"MatMul", onnx_matmul},
    {"MaxPool", onnx_max_pool},
    {"OneHot", onnx_one_hot},
    {"PRelu", onnx_prelu},
    {"Relu", onnx_relu},
    {"Reshape", onnx_reshape},
    {"Sigmoid", onnx_sigmoid},
    {"Slice", onnx_slice},
    {"Softmax", onnx_softmax},
    {"SoftmaxCrossEntropyLoss", onnx_softmax_cross_entropy},
    {"Split", onnx_split},
    {"Squeeze", onnx_squeeze},
    {"Sum", onnx_sum},
    {"Tanh", onnx_tanh},
    {"Unsqueeze", onnx_unsqueeze},
    {"ai.onnx.preview.training.Adam", onnx_adam},
    {"ai.onnx.preview.training.Momentum", onnx_momentum},
};

static onnx_operator *operator_of(const struct cyx_onnx_node *node)
{
    char name[128];
    bool plain = node->domain[0] == '\0' || strcmp(node->domain, "ai.onnx") == 0;
    snprintf(name, sizeof name, "%s%s%s", plain ? "" : node->domain, plain ? "" : ".",
             node->op_type);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (strcmp(operators[i].op_type, name) == 0)
            return operators[i].convert;
    return NULL;
}

bool onnx_refuse(struct onnx_import *self, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->reason, sizeof self->reason, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- values ---- */

static struct onnx_value *find(const struct onnx_import *self, const char *name)
{
    for (size_t i = 0; i < self->n_values; i++)
        if (strcmp(self->values[i].name, name) == 0)
            return (struct onnx_value *)&self->values[i];
    return NULL;
}

static struct onnx_value *add_value(struct onnx_import *self, const char *name, int rank,
                                    const int64_t *dim)
{
    assert(self->n_values < ONNX_VALUES);
    struct onnx_value *value = &self->values[self->n_values++];
    *value = (struct onnx_value){.name = name, .rank = rank, .value = CYX_NO_VALUE, .scale = 1};
    for (int i = 0; i < rank; i++)
        value->dim[i] = dim[i];
    return value;
}

static void add_known(struct onnx_import *self, const char *name,
                      const struct cyx_onnx_tensor *tensor)
{
    add_value(self, name, tensor->rank, tensor->dim)->known = tensor;
}

const struct onnx_value *onnx_in(const struct onnx_import *self, const struct cyx_onnx_node *node,
                                 size_t i)
{
    return i < node->n_inputs && node->inputs[i][0] ? find(self, node->inputs[i]) : NULL;
}

int64_t onnx_count(const struct onnx_value *value)
{
    int64_t count = 1;
    for (int i = 0; i < value->rank; i++)
        count *= value->dim[i];
    return count;
}

const struct onnx_value *onnx_floats(struct onnx_import *self, const struct cyx_onnx_node *node,
                                     size_t i)
{
    const struct onnx_value *value = onnx_in(self, node, i);
    if (!value)
        onnx_refuse(self, "input %zu is left out", i);
    else if (value->known && !value->known->floats)
        onnx_refuse(self, "elements other than float32");
    else if (onnx_count(value) == 0)
        onnx_refuse(self, "a tensor without elements");
    else
        return value;
    return NULL;
}

const int64_t *onnx_integers(const struct onnx_import *self, const struct cyx_onnx_node *node,
                             size_t i, size_t *ret_count)
{
    const struct onnx_value *value = onnx_in(self, node, i);
    if (!value || !value->known || !value->known->integers)
        return NULL;
    *ret_count = value->known->count;
    return value->known->integers;
}

int onnx_axis(const struct onnx_value *value, int64_t axis)
{
    axis += axis < 0 ? value->rank : 0;
    return axis >= 0 && axis < value->rank ? (int)axis : -1;
}

struct cyx_shape onnx_around(const struct onnx_value *value, int axis)
{
    struct cyx_shape shape = {3, {1, value->dim[axis], 1}};
    for (int i = 0; i < value->rank; i++)
        if (i != axis)
            shape.dim[i < axis ? 0 : 2] *= value->dim[i];
    return shape;
}

struct cyx_shape onnx_shape(const struct onnx_value *value)
{
    struct cyx_shape shape = {2, {1, onnx_count(value)}};
    if (value->rank < 1 || value->rank > CYX_RANK_LIMIT)
        return shape;
    shape.rank = value->rank;
    for (int i = 0; i < value->rank; i++)
        shape.dim[i] = value->dim[i];
    return shape;
}

/* ---- into our graph ---- */

int32_t onnx_filled(struct onnx_import *self, enum cyx_value_kind kind, struct cyx_shape shape,
                    float *data)
{
    assert(data && self->n_fills < ONNX_VALUES);
    int32_t value = op_graph_value(&self->g, kind, CYX_F32, shape);
    self->fills[self->n_fills++] = (struct onnx_fill){value, data, (size_t)cyx_shape_count(&shape)};
    return value;
}

int32_t onnx_operand(struct onnx_import *self, const struct onnx_value *value,
                     struct cyx_shape shape)
{
    size_t count = (size_t)cyx_shape_count(&shape);
    assert((int64_t)count == onnx_count(value));
    if (value->known) {
        float *data = malloc(count * sizeof *data);
        assert(data);
        memcpy(data, value->known->floats, count * sizeof *data);
        return onnx_filled(self, CYX_VALUE_PARAM, shape, data);
    }
    assert(value->value >= 0);
    if (cyx_shape_equal(&self->g.values[value->value].shape, &shape))
        return value->value;
    int32_t in = value->value, view = op_graph_result(&self->g, shape);
    op_graph_node(&self->g, CYX_OP_RESHAPE, 1, &in, 1, &view);
    self->g.values[view].alias_of = in;
    return view;
}

void onnx_bind(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i, int32_t value,
               double scale, int rank, const int64_t *dim)
{
    if (i >= node->n_outputs || node->outputs[i][0] == '\0')
        return;
    struct onnx_value *made = add_value(self, node->outputs[i], rank, dim);
    made->value = value;
    made->scale = scale;
}

int32_t onnx_result(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i,
                    struct cyx_shape shape, int rank, const int64_t *dim)
{
    int32_t value = op_graph_result(&self->g, shape);
    onnx_bind(self, node, i, value, 1, rank, dim);
    return value;
}

int32_t onnx_result_like(struct onnx_import *self, const struct cyx_onnx_node *node, size_t i,
                         struct cyx_shape shape, const struct onnx_value *like)
{
    int64_t dim[CYX_ONNX_RANK_LIMIT];
    memcpy(dim, like->dim, sizeof dim); /* a copy: `like` stands in the list that grows */
    return onnx_result(self, node, i, shape, like->rank, dim);
}

/* ---- what is expected ---- */

const struct cyx_onnx_tensor *onnx_expected(const struct onnx_import *self, const char *name)
{
    for (size_t i = 0; i < self->from->n_outputs; i++)
        if (strcmp(self->from->model->outputs[i], name) == 0)
            return self->from->outputs[i];
    return NULL;
}

void onnx_check(struct onnx_import *self, const char *what, int32_t value, float *wanted,
                size_t count, double scale)
{
    assert(wanted && self->n_checks < ONNX_CHECKS);
    self->checks[self->n_checks++] = (struct onnx_check){what, value, wanted, count, scale};
}

static bool check_output(struct onnx_import *self, const char *name,
                         const struct cyx_onnx_tensor *wanted)
{
    const struct onnx_value *value = find(self, name);
    if (value && value->value == ONNX_CHECKED)
        return true;
    if (!value || value->value == CYX_NO_VALUE || !wanted->floats)
        return onnx_refuse(self, "output \"%s\" has no counterpart", name);
    if (value->rank != wanted->rank ||
        memcmp(value->dim, wanted->dim, (size_t)value->rank * sizeof value->dim[0]) != 0) {
        self->wrong = true;
        return onnx_refuse(self, "the shape of output \"%s\" is another", name);
    }
    float *copy = malloc(wanted->count * sizeof *copy + 1);
    assert(copy);
    memcpy(copy, wanted->floats, wanted->count * sizeof *copy);
    onnx_check(self, name, value->value, copy, wanted->count, value->scale);
    return true;
}

/* ---- the case ---- */

static bool constant(struct onnx_import *self, const struct cyx_onnx_node *node)
{
    const struct cyx_onnx_attribute *value = cyx_onnx_attribute(node, "value");
    if (!value || !value->tensor || node->n_outputs != 1)
        return onnx_refuse(self, "Constant without a tensor");
    add_known(self, node->outputs[0], value->tensor);
    return true;
}

/* Constant stands for a tensor where other nodes read it. */
static onnx_operator *converter(const struct cyx_onnx_model *model,
                                const struct cyx_onnx_node *node)
{
    bool is_constant = strcmp(node->op_type, "Constant") == 0 && model->n_nodes > 1;
    return is_constant ? constant : operator_of(node);
}

static bool judge_nodes(struct onnx_import *self)
{
    const struct cyx_onnx_model *model = self->from->model;
    for (size_t i = 0; i < model->n_nodes; i++)
        if (!converter(model, &model->nodes[i]))
            return onnx_refuse(self, "no counterpart of %s", model->nodes[i].op_type);
    if (model->n_initializers + self->from->n_inputs + model->n_nodes * 4 > ONNX_VALUES)
        return onnx_refuse(self, "a model of %zu nodes", model->n_nodes);
    return true;
}

static void feed(struct onnx_import *self)
{
    const struct cyx_onnx_model *model = self->from->model;
    size_t fed = 0;
    for (size_t i = 0; i < model->n_initializers; i++)
        add_known(self, model->initializers[i].name, &model->initializers[i]);
    for (size_t i = 0; i < model->n_inputs && fed < self->from->n_inputs; i++)
        if (!find(self, model->inputs[i]))
            add_known(self, model->inputs[i], self->from->inputs[fed++]);
}

bool onnx_import_init(struct onnx_import *self, const struct onnx_case *from)
{
    const struct cyx_onnx_model *model = from->model;
    memset(self, 0, sizeof *self);
    self->from = from;
    self->step = 1;
    op_graph_init(&self->g);
    if (!judge_nodes(self))
        return false;
    feed(self);
    for (size_t i = 0; i < model->n_nodes; i++)
        if (!converter(model, &model->nodes[i])(self, &model->nodes[i]))
            return false;
    for (size_t i = 0; i < from->n_outputs; i++)
        if (!check_output(self, model->outputs[i], from->outputs[i]))
            return false;
    return true;
}

void onnx_import_finish(struct onnx_import *self)
{
    for (size_t i = 0; i < self->n_fills; i++)
        free(self->fills[i].data);
    for (size_t i = 0; i < self->n_checks; i++)
        free(self->checks[i].wanted);
    free(self->target);
}
