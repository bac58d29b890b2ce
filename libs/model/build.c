/* The forward pass: one node a layer, its parameters, and the loss. */
#include <stdlib.h>

#include "model/private.h"

#include "base/banned.h"

struct builder {
    const struct cyx_job_spec *spec;
    const struct cyx_graph_options *options;
    const struct cyx_dataset *set;
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

/* Adds "<layer>.weight" and, when wanted, "<layer>.bias" as in[1] and in[2] of `node`. */
static enum cyx_status add_parameters(struct builder *b, size_t index,
                                      const struct cyx_shape *weight, bool bias,
                                      struct cyx_node *node)
{
    const char *layer = b->spec->layers[index].name;
    enum cyx_status status = count_parameters(b, index, weight);
    if (status != CYX_OK)
        return status;
    node->in[1] = graph_add_value(b->graph, graph_name(b->graph, "%s.weight", layer),
                                  CYX_VALUE_PARAM, CYX_F32, weight);
    if (!bias)
        return CYX_OK;
    struct cyx_shape shape = {1, {weight->dim[0]}};
    node->in[2] = graph_add_value(b->graph, graph_name(b->graph, "%s.bias", layer), CYX_VALUE_PARAM,
                                  CYX_F32, &shape);
    return count_parameters(b, index, &shape);
}

static enum cyx_status add_linear(struct builder *b, size_t index, int32_t x,
                                  const struct layer_shape *shape, struct cyx_node *node)
{
    struct cyx_shape weight = {2, {shape->out.dim[1], b->graph->values[x].shape.dim[1]}};
    node->n_in = 3;
    return add_parameters(b, index, &weight, b->spec->layers[index].linear.bias, node);
}

static enum cyx_status add_conv2d(struct builder *b, size_t index, int32_t x,
                                  const struct layer_shape *shape, struct cyx_node *node)
{
    const struct cyx_window *window = &shape->window;
    struct cyx_shape weight = {4,
                               {shape->out.dim[1],
                                b->graph->values[x].shape.dim[1] / window->groups,
                                window->kernel[0], window->kernel[1]}};
    node->n_in = 3;
    return add_parameters(b, index, &weight, b->spec->layers[index].conv2d.bias, node);
}

static const enum cyx_op layer_ops[CYX_LAYER_TYPE_COUNT] = {
    [CYX_LAYER_LINEAR] = CYX_OP_LINEAR,
    [CYX_LAYER_CONV2D] = CYX_OP_CONV2D,
    [CYX_LAYER_MAX_POOL2D] = CYX_OP_MAX_POOL2D,
    [CYX_LAYER_FLATTEN] = CYX_OP_RESHAPE,
    [CYX_LAYER_RELU] = CYX_OP_RELU,
    [CYX_LAYER_DROPOUT] = CYX_OP_DROPOUT,
};

/* The node of a layer that reads value `x`, with its parameters and outputs. */
static enum cyx_status add_layer_node(struct builder *b, size_t index, int32_t x,
                                      const struct layer_shape *shape)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    struct cyx_graph *graph = b->graph;
    struct cyx_node node = graph_node(layer_ops[layer->type], (int32_t)index, NULL);
    enum cyx_status status = CYX_OK;
    node.in[0] = x;
    node.n_in = 1;
    node.n_out = 1;
    node.window = shape->window;
    if (layer->type == CYX_LAYER_LINEAR)
        status = add_linear(b, index, x, shape, &node);
    else if (layer->type == CYX_LAYER_CONV2D)
        status = add_conv2d(b, index, x, shape, &node);
    if (status != CYX_OK)
        return status;

    node.out[0] = graph_add_value(graph, graph_name(graph, "%s:out", layer->name),
                                  CYX_VALUE_TRANSIENT, CYX_F32, &shape->out);
    if (layer->type == CYX_LAYER_MAX_POOL2D) {
        node.out[1] = graph_add_value(graph, graph_name(graph, "%s:index", layer->name),
                                      CYX_VALUE_TRANSIENT, CYX_I32, &shape->out);
        node.n_out = 2;
    }
    if (layer->type == CYX_LAYER_FLATTEN)
        graph->values[node.out[0]].alias_of = x;
    if (layer->type == CYX_LAYER_DROPOUT) {
        node.p = layer->dropout.p;
        node.rng_stream = (uint32_t)index;
    }
    graph_add_node(graph, &node);
    b->layer_value[index] = node.out[0];
    return CYX_OK;
}

static enum cyx_status add_layer(struct builder *b, size_t index)
{
    const struct cyx_layer_spec *layer = &b->spec->layers[index];
    int32_t from = layer->input_index[0];
    int32_t x = from < 0 ? b->graph->input : b->layer_value[from];
    if (from >= 0)
        b->used[from] = true;

    struct layer_shape shape;
    enum cyx_status status =
        graph_infer(layer, index, &b->graph->values[x].shape, &shape, b->error);
    if (status != CYX_OK)
        return status;
    b->activation_bytes += cyx_shape_count(&shape.out) * 4;
    if (b->activation_bytes > CYX_ACTIVATION_BYTES_LIMIT)
        return graph_fail(
            b->error, index,
            "up to here the activations take more than %lld bytes at batch %lld; make "
            "the batch smaller",
            (long long)CYX_ACTIVATION_BYTES_LIMIT, (long long)b->options->batch);
    bool identity =
        layer->type == CYX_LAYER_DROPOUT && (!b->options->training || layer->dropout.p == 0);
    if (identity) {
        b->layer_value[index] = x;
        return CYX_OK;
    }
    return add_layer_node(b, index, x, &shape);
}

static void add_ends(struct builder *b)
{
    const struct cyx_dataset *set = b->set;
    struct cyx_graph *graph = b->graph;
    struct cyx_shape images = {4, {b->options->batch, set->channels, set->height, set->width}};
    struct cyx_shape labels = {1, {b->options->batch}};
    struct cyx_shape results = {1, {CYX_RESULT_ELEMENTS}};
    graph->input = graph_add_value(graph, "input", CYX_VALUE_INPUT, CYX_F32, &images);
    graph->target = graph_add_value(graph, "target", CYX_VALUE_TARGET, CYX_I32, &labels);
    graph->result = graph_add_value(graph, "result", CYX_VALUE_RESULT, CYX_F32, &results);
    graph->batch = b->options->batch;
    graph->training = b->options->training;
}

static enum cyx_status check_used(const struct builder *b)
{
    for (size_t i = 0; i + 1 < b->spec->n_layers; i++)
        if (!b->used[i])
            return graph_fail(b->error, i, "no layer reads the output of layer \"%s\"",
                              b->spec->layers[i].name);
    return CYX_OK;
}

static void add_loss(struct builder *b)
{
    struct cyx_graph *graph = b->graph;
    struct cyx_node node = graph_node(CYX_OP_CROSS_ENTROPY, -1, NULL);
    node.in[0] = graph->output;
    node.in[1] = graph->target;
    node.n_in = 2;
    node.out[0] = graph->result;
    node.n_out = 1;
    node.label_smoothing = b->spec->loss.label_smoothing;
    graph_add_node(graph, &node);
}

static enum cyx_status build(struct builder *b)
{
    const struct cyx_job_spec *spec = b->spec;
    add_ends(b);
    enum cyx_status status = CYX_OK;
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
    status = graph_check_output(spec, b->set, &graph->values[graph->output].shape, b->error);
    if (status != CYX_OK)
        return status;
    add_loss(b);
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
        .set = cyx_dataset_find(spec->data.dataset),
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
