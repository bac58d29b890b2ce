/* The forward pass: one node a layer (a few for Add and Concat of many inputs), and its parameters. */
#include <stdlib.h>

#include "model/private.h"

#include "base/banned.h"

struct builder {
    const struct cyx_job_spec *spec;
    const struct cyx_graph_options *options;
    struct cyx_graph *graph;
    int32_t *layer_value; /* per layer: the value that is its output */
    bool *used;           /* per layer: whether a later layer reads it */
    int64_t parameters, activation_bytes;
    struct cyx_error *error;
};

static enum cyx_status count_parameters(struct builder *b, size_t index,
                                        const struct cyx_shape *shape)
{
    int64_t count = 1;
    bool fits = true;
    for (int i = 0; i < shape->rank; i++)
        fits = fits && !__builtin_mul_overflow(count, shape->dim[i], &count);
    if (!fits || count > CYX_VALUE_ELEMENTS_LIMIT)
        return graph_fail(b->error, index, "the weight has more than %lld elements",
                          (long long)CYX_VALUE_ELEMENTS_LIMIT);
    b->parameters += count;
    if (b->parameters > CYX_PARAMETERS_LIMIT)
        return graph_fail(b->error, index, "up to here the model has more than %lld parameters",
                          (long long)CYX_PARAMETERS_LIMIT);
    return CYX_OK;
}

/* Adds "<layer>.weight" and, when there is one, "<layer>.bias" as in[1] and in[2] of `node`. */
static enum cyx_status add_parameters(struct builder *b, size_t index,
                                      const struct cyx_shape *weight, const struct cyx_shape *bias,
                                      struct cyx_node *node)
{
    const char *layer = b->spec->layers[index].name;
    enum cyx_status status = count_parameters(b, index, weight);
    if (status != CYX_OK)
        return status;
    node->in[1] = graph_add_value(b->graph, graph_name(b->graph, "%s.weight", layer),
                                  CYX_VALUE_PARAM, CYX_F32, weight);
    node->n_in = 3;
    if (!bias)
        return CYX_OK;
    node->in[2] = graph_add_value(b->graph, graph_name(b->graph, "%s.bias", layer), CYX_VALUE_PARAM,
                                  CYX_F32, bias);
    return count_parameters(b, index, bias);
}

/* Weight and bias of the layers that are products: `shape` is what the layer makes of `x`. */
static enum cyx_status add_affine(struct builder *b, size_t index, const struct cyx_shape *x,
                                  const struct layer_shape *shape, struct cyx_node *node)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    const struct cyx_window *window = &shape->window;
    int64_t in = x->dim[1], out = shape->out.dim[1];
    struct cyx_shape weight = {4, {out, 0, window->kernel[0], window->kernel[1]}};
    struct cyx_shape channels = {1, {out}};
    bool bias = false;
    if (layer->type == CYX_LAYER_LINEAR) {
        int last = x->rank - 1;
        weight = (struct cyx_shape){2, {shape->out.dim[last], x->dim[last]}};
        channels.dim[0] = weight.dim[0];
        bias = layer->linear.bias;
    } else if (layer->type == CYX_LAYER_CONV2D) {
        weight.dim[1] = in / window->groups;
        bias = layer->conv2d.bias;
    } else { /* ConvTranspose2d keeps its weight as (In, Out/groups, KH, KW) */
        weight.dim[0] = in;
        weight.dim[1] = out / window->groups;
        bias = layer->conv_transpose2d.bias;
    }
    return add_parameters(b, index, &weight, bias ? &channels : NULL, node);
}

/* A statistic of each channel, or of each row. */
static int32_t add_statistic(struct builder *b, size_t index, const char *what, int64_t count)
{
    struct cyx_shape shape = {1, {count}};
    return graph_add_value(b->graph,
                           graph_name(b->graph, "%s:%s", b->spec->layers[index].name, what),
                           CYX_VALUE_TRANSIENT, CYX_F32, &shape);
}

static int32_t add_buffer(struct builder *b, size_t index, const char *what, int64_t count)
{
    struct cyx_shape shape = {1, {count}};
    return graph_add_value(b->graph,
                           graph_name(b->graph, "%s.%s", b->spec->layers[index].name, what),
                           CYX_VALUE_BUFFER, CYX_F32, &shape);
}

static enum cyx_status add_batch_norm(struct builder *b, size_t index, const struct cyx_shape *x,
                                      struct cyx_node *node)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    struct cyx_shape channels = {1, {x->dim[1]}};
    if (b->options->training && cyx_shape_count(x) == x->dim[1])
        return graph_fail(b->error, index,
                          "%s: a training batch of one value a channel has no variance; make the "
                          "batch larger, or drop the last one (\"drop_last\": true)",
                          cyx_layer_type_name(layer->type));
    if (!b->options->training)
        node->op = CYX_OP_BATCH_NORM_INFERENCE;
    node->eps = layer->batch_norm.eps;
    node->momentum = layer->batch_norm.momentum;
    enum cyx_status status = CYX_OK;
    if (layer->batch_norm.affine)
        status = add_parameters(b, index, &channels, &channels, node);
    node->in[3] = add_buffer(b, index, "running_mean", x->dim[1]);
    node->in[4] = add_buffer(b, index, "running_var", x->dim[1]);
    node->n_in = 5;
    return status;
}

static enum cyx_status add_layer_norm(struct builder *b, size_t index, const struct cyx_shape *x,
                                      const struct layer_shape *shape, struct cyx_node *node)
{
    const struct cyx_layer_norm_spec *norm = &b->spec->layers[index].layer_norm;
    struct cyx_shape weight = {shape->norm_dims, {0}};
    for (int i = 0; i < shape->norm_dims; i++)
        weight.dim[i] = x->dim[x->rank - shape->norm_dims + i];
    node->eps = norm->eps;
    node->norm_dims = shape->norm_dims;
    enum cyx_status status = CYX_OK;
    if (norm->elementwise_affine)
        status = add_parameters(b, index, &weight, norm->bias ? &weight : NULL, node);
    node->n_in = 3;
    return status;
}

static const enum cyx_op layer_ops[CYX_LAYER_TYPE_COUNT] = {
    [CYX_LAYER_LINEAR] = CYX_OP_LINEAR,
    [CYX_LAYER_CONV2D] = CYX_OP_CONV2D,
    [CYX_LAYER_CONV_TRANSPOSE2D] = CYX_OP_CONV_TRANSPOSE2D,
    [CYX_LAYER_MAX_POOL2D] = CYX_OP_MAX_POOL2D,
    [CYX_LAYER_AVG_POOL2D] = CYX_OP_AVG_POOL2D,
    [CYX_LAYER_ADAPTIVE_AVG_POOL2D] = CYX_OP_AVG_POOL2D,
    [CYX_LAYER_GLOBAL_AVG_POOL2D] = CYX_OP_AVG_POOL2D,
    [CYX_LAYER_FLATTEN] = CYX_OP_RESHAPE,
    [CYX_LAYER_RESHAPE] = CYX_OP_RESHAPE,
    [CYX_LAYER_RELU] = CYX_OP_RELU,
    [CYX_LAYER_LEAKY_RELU] = CYX_OP_ACTIVATION,
    [CYX_LAYER_GELU] = CYX_OP_ACTIVATION,
    [CYX_LAYER_SILU] = CYX_OP_ACTIVATION,
    [CYX_LAYER_SIGMOID] = CYX_OP_ACTIVATION,
    [CYX_LAYER_TANH] = CYX_OP_ACTIVATION,
    [CYX_LAYER_SOFTMAX] = CYX_OP_SOFTMAX,
    [CYX_LAYER_LOG_SOFTMAX] = CYX_OP_LOG_SOFTMAX,
    [CYX_LAYER_DROPOUT] = CYX_OP_DROPOUT,
    [CYX_LAYER_BATCH_NORM1D] = CYX_OP_BATCH_NORM,
    [CYX_LAYER_BATCH_NORM2D] = CYX_OP_BATCH_NORM,
    [CYX_LAYER_LAYER_NORM] = CYX_OP_LAYER_NORM,
    [CYX_LAYER_ADD] = CYX_OP_ADD,
    [CYX_LAYER_CONCAT] = CYX_OP_CONCAT,
};

/* What the layer's own options and parameters add to its node. */
static enum cyx_status add_options(struct builder *b, size_t index, const struct cyx_shape *x,
                                   const struct layer_shape *shape, struct cyx_node *node)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    node->window = shape->window;
    node->dim = shape->dim;
    switch (node->op) {
    case CYX_OP_LINEAR:
    case CYX_OP_CONV2D:
    case CYX_OP_CONV_TRANSPOSE2D:
        node->n_in = 3;
        return add_affine(b, index, x, shape, node);
    case CYX_OP_BATCH_NORM:
        return add_batch_norm(b, index, x, node);
    case CYX_OP_LAYER_NORM:
        return add_layer_norm(b, index, x, shape, node);
    case CYX_OP_ACTIVATION:
        node->activation = layer->activation.function;
        node->slope = layer->activation.negative_slope;
        return CYX_OK;
    case CYX_OP_DROPOUT:
        node->p = layer->dropout.p;
        node->rng_stream = (uint32_t)index;
        return CYX_OK;
    default:
        return CYX_OK;
    }
}

/* The outputs besides y that only the gradient reads. */
static void add_side_outputs(struct builder *b, size_t index, const struct cyx_shape *x,
                             const struct layer_shape *shape, struct cyx_node *node)
{
    if (node->op == CYX_OP_MAX_POOL2D) {
        node->out[1] =
            graph_add_value(b->graph, graph_name(b->graph, "%s:index", b->spec->layers[index].name),
                            CYX_VALUE_TRANSIENT, CYX_I32, &shape->out);
        node->n_out = 2;
    }
    if (node->op != CYX_OP_BATCH_NORM && node->op != CYX_OP_LAYER_NORM)
        return;
    int64_t count = x->dim[1];
    if (node->op == CYX_OP_LAYER_NORM) {
        count = 1;
        for (int i = 0; i < x->rank - shape->norm_dims; i++)
            count *= x->dim[i];
    }
    node->out[1] = add_statistic(b, index, "mean", count);
    node->out[2] = add_statistic(b, index, "rstd", count);
    node->n_out = 3;
}

/* The node of a layer that reads value `x` alone, with its parameters and outputs. */
static enum cyx_status add_layer_node(struct builder *b, size_t index, int32_t x,
                                      const struct layer_shape *shape)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    struct cyx_graph *graph = b->graph;
    struct cyx_shape in = graph->values[x].shape; /* a copy: the array may move */
    struct cyx_node node = graph_node(layer_ops[layer->type], (int32_t)index, NULL);
    node.in[0] = x;
    node.n_in = 1;
    node.n_out = 1;
    enum cyx_status status = add_options(b, index, &in, shape, &node);
    if (status != CYX_OK)
        return status;
    node.out[0] = graph_add_value(graph, graph_name(graph, "%s:out", layer->name),
                                  CYX_VALUE_TRANSIENT, CYX_F32, &shape->out);
    add_side_outputs(b, index, &in, shape, &node);
    if (node.op == CYX_OP_RESHAPE && !graph->memory->failed)
        graph->values[node.out[0]].alias_of = x;
    graph_add_node(graph, &node);
    b->layer_value[index] = node.out[0];
    return CYX_OK;
}

/* Add and Concat: a node takes at most `width` inputs, the next goes on from its output. */
static void add_join(struct builder *b, size_t index, const int32_t *in,
                     const struct layer_shape *shape)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    struct cyx_graph *graph = b->graph;
    bool concat = layer->type == CYX_LAYER_CONCAT;
    size_t width = concat ? CYX_NODE_INPUTS : 2, used = 0;
    int32_t before = CYX_NO_VALUE;
    for (int part = 1; used < layer->n_inputs; part++) {
        struct cyx_node node = graph_node(layer_ops[layer->type], (int32_t)index, NULL);
        struct cyx_shape out = shape->out;
        node.dim = shape->dim;
        if (before != CYX_NO_VALUE)
            node.in[node.n_in++] = before;
        while ((size_t)node.n_in < width && used < layer->n_inputs)
            node.in[node.n_in++] = in[used++];
        if (concat)
            out.dim[shape->dim] = 0;
        for (int i = 0; concat && i < node.n_in; i++)
            out.dim[shape->dim] += graph->values[node.in[i]].shape.dim[shape->dim];
        const char *name = used == layer->n_inputs
                               ? graph_name(graph, "%s:out", layer->name)
                               : graph_name(graph, "%s:part%d", layer->name, part);
        node.out[0] = graph_add_value(graph, name, CYX_VALUE_TRANSIENT, CYX_F32, &out);
        node.n_out = 1;
        graph_add_node(graph, &node);
        before = node.out[0];
    }
    b->layer_value[index] = before;
}

static enum cyx_status count_activations(struct builder *b, size_t index,
                                         const struct cyx_shape *out)
{
    b->activation_bytes += cyx_shape_count(out) * 4;
    if (b->activation_bytes <= CYX_ACTIVATION_BYTES_LIMIT)
        return CYX_OK;
    return graph_fail(b->error, index,
                      "up to here the activations take more than %lld bytes at batch %lld; make "
                      "the batch smaller",
                      (long long)CYX_ACTIVATION_BYTES_LIMIT, (long long)b->options->batch);
}

static enum cyx_status add_layer(struct builder *b, size_t index)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    int32_t in[CYX_LAYER_INPUTS_LIMIT] = {b->graph->input};
    struct cyx_shape shapes[CYX_LAYER_INPUTS_LIMIT] = {{0}};
    for (size_t i = 0; i < layer->n_inputs; i++) {
        int32_t from = layer->input_index[i];
        in[i] = from < 0 ? b->graph->input : b->layer_value[from];
        shapes[i] = b->graph->values[in[i]].shape;
        if (from >= 0)
            b->used[from] = true;
    }
    struct layer_shape shape;
    enum cyx_status status = graph_infer(layer, index, shapes, layer->n_inputs, &shape, b->error);
    if (status == CYX_OK)
        status = count_activations(b, index, &shape.out);
    if (status != CYX_OK)
        return status;
    if (layer->n_inputs > 1) {
        add_join(b, index, in, &shape);
        return CYX_OK;
    }
    bool identity =
        layer->type == CYX_LAYER_DROPOUT && (!b->options->training || layer->dropout.p == 0);
    if (identity) {
        b->layer_value[index] = in[0];
        return CYX_OK;
    }
    return add_layer_node(b, index, in[0], &shape);
}

/* The input and the result; the loss adds the target that it reads. */
static enum cyx_status add_ends(struct builder *b)
{
    const struct cyx_sample_shape *sample = &b->spec->data.sample;
    struct cyx_graph *graph = b->graph;
    struct cyx_shape input = {sample->rank + 1, {b->options->batch}};
    struct cyx_shape results = {1, {CYX_RESULT_ELEMENTS}};
    if (sample->rank < 1 || sample->rank >= CYX_RANK_LIMIT)
        return cyx_error_set(b->error, CYX_ERR_INVALID, "/data/dataset",
                             "the shape of this data set's samples is not known here");
    for (int i = 0; i < sample->rank; i++)
        input.dim[i + 1] = sample->dim[i];
    graph->input = graph_add_value(graph, "input", CYX_VALUE_INPUT, CYX_F32, &input);
    graph->result = graph_add_value(graph, "result", CYX_VALUE_RESULT, CYX_F32, &results);
    graph->batch = b->options->batch;
    graph->training = b->options->training;
    return CYX_OK;
}

static enum cyx_status check_used(const struct builder *b)
{
    for (size_t i = 0; i + 1 < b->spec->n_layers; i++)
        if (!b->used[i])
            return graph_fail(b->error, i, "no layer reads the output of layer \"%s\"",
                              b->spec->layers[i].name);
    return CYX_OK;
}

static enum cyx_status build(struct builder *b)
{
    const struct cyx_job_spec *spec = b->spec;
    enum cyx_status status = add_ends(b);
    for (size_t i = 0; i < spec->n_layers && status == CYX_OK; i++) {
        status = add_layer(b, i);
        if (status == CYX_OK)
            status = graph_ok(b->graph, b->error);
    }
    if (status == CYX_OK)
        status = check_used(b);
    if (status != CYX_OK)
        return status;
    struct cyx_graph *graph = b->graph;
    graph->output = b->layer_value[spec->n_layers - 1];
    status = graph_add_loss(graph, spec, b->error);
    if (status == CYX_OK)
        status = graph_ok(graph, b->error);
    if (status == CYX_OK && !b->options->no_fusion)
        graph_fuse(graph);
    graph->n_forward_nodes = graph->n_nodes;
    return status == CYX_OK ? graph_ok(graph, b->error) : status;
}

enum cyx_status cyx_graph_create(const struct cyx_job_spec *spec,
                                 const struct cyx_graph_options *options,
                                 struct cyx_graph **ret_graph, struct cyx_error *ret_error)
{
    if (options->batch < 1 || options->batch > CYX_JOB_BATCH_LIMIT)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/data/batch_size",
                             "expected a batch of 1 to %d, got %lld", CYX_JOB_BATCH_LIMIT,
                             (long long)options->batch);
    struct builder b = {
        .spec = spec,
        .options = options,
        .graph = graph_new(),
        .layer_value = calloc(spec->n_layers, sizeof(*b.layer_value)),
        .used = calloc(spec->n_layers, sizeof(*b.used)),
        .error = ret_error,
    };
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (b.graph && b.layer_value && b.used)
        status = build(&b);
    else
        cyx_error_set(ret_error, status, NULL, "memory ran out while building the graph");
    free(b.layer_value);
    free(b.used);
    if (status != CYX_OK) {
        cyx_graph_destroy(b.graph);
        return status;
    }
    *ret_graph = b.graph;
    return CYX_OK;
}
