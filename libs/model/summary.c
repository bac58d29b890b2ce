/* The rows come from a forward graph whose ReLUs are not folded away; memory from the graphs that really run. */
#include "model/summary.h"

#include <stdlib.h>

#include "model/private.h"

#include "base/banned.h"

/* ---- rows ---- */

static void add_persistent(const struct cyx_graph *graph, const struct cyx_node *node,
                           struct cyx_layer_summary *row)
{
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] == CYX_NO_VALUE)
            continue;
        const struct cyx_value *value = &graph->values[node->in[i]];
        if (value->kind == CYX_VALUE_PARAM)
            row->parameters += cyx_shape_count(&value->shape);
        else if (value->kind == CYX_VALUE_BUFFER)
            row->buffers += cyx_shape_count(&value->shape);
    }
}

/* A layer that leaves no node (Dropout with p = 0) hands on its input. */
static const struct cyx_shape *input_shape(const struct cyx_graph *graph,
                                           const struct cyx_model_summary *self,
                                           const struct cyx_layer_spec *layer)
{
    int32_t from = layer->input_index[0];
    return from < 0 ? &graph->values[graph->input].shape : &self->layers[from].output;
}

static void fill_rows(struct cyx_model_summary *self, const struct cyx_job_spec *spec,
                      const struct cyx_graph *graph)
{
    for (size_t n = 0; n < graph->n_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        int64_t flops = cyx_node_flops(graph, node);
        if (node->layer < 0) {
            self->loss_flops = graph_plus(self->loss_flops, flops);
            continue;
        }
        struct cyx_layer_summary *row = &self->layers[node->layer];
        row->output = graph->values[node->out[0]].shape;
        row->forward_flops = graph_plus(row->forward_flops, flops);
        add_persistent(graph, node, row);
    }
    self->loss_flops = graph_per_sample(graph, self->loss_flops);
    for (size_t i = 0; i < spec->n_layers; i++) {
        struct cyx_layer_summary *row = &self->layers[i];
        if (row->output.rank == 0)
            row->output = *input_shape(graph, self, &spec->layers[i]);
        row->forward_flops = graph_per_sample(graph, row->forward_flops);
        self->parameters += row->parameters;
        self->buffers += row->buffers;
        self->activations += cyx_shape_count(&row->output);
    }
}

/* ---- memory ---- */

static enum cyx_status weigh_inference(struct cyx_model_summary *self,
                                       const struct cyx_job_spec *spec, struct cyx_error *error)
{
    struct cyx_graph *graph = NULL;
    const struct cyx_graph_options options = {.batch = self->batch};
    enum cyx_status status = cyx_graph_create(spec, &options, &graph, error);
    if (status == CYX_OK)
        status = graph_weigh(graph, &self->inference, error);
    cyx_graph_destroy(graph);
    return status;
}

static enum cyx_status weigh_training(struct cyx_model_summary *self,
                                      const struct cyx_job_spec *spec, struct cyx_error *error)
{
    struct cyx_graph *graph = NULL;
    const struct cyx_graph_options options = {.batch = self->batch, .training = true};
    enum cyx_status status = cyx_graph_create_step(spec, &options, &graph, error);
    if (status == CYX_OK)
        status = graph_weigh(graph, &self->training, error);
    if (status == CYX_OK) {
        self->forward_flops = graph_sample_flops(graph, graph->n_forward_nodes);
        self->training_flops = graph_sample_flops(graph, graph->n_nodes);
    }
    cyx_graph_destroy(graph);
    return status;
}

static enum cyx_status summarize(struct cyx_model_summary *self, const struct cyx_job_spec *spec,
                                 struct cyx_error *error)
{
    struct cyx_graph *graph = NULL;
    const struct cyx_graph_options options = {
        .batch = self->batch, .training = true, .no_fusion = true};
    enum cyx_status status = cyx_graph_create(spec, &options, &graph, error);
    if (status == CYX_OK)
        fill_rows(self, spec, graph);
    cyx_graph_destroy(graph);
    if (status == CYX_OK)
        status = weigh_training(self, spec, error);
    if (status == CYX_OK)
        status = weigh_inference(self, spec, error);
    return status;
}

enum cyx_status cyx_model_summarize(const struct cyx_job_spec *spec, int64_t batch,
                                    struct cyx_model_summary **ret_summary,
                                    struct cyx_error *ret_error)
{
    struct cyx_model_summary *self =
        calloc(1, sizeof(*self) + spec->n_layers * sizeof(*self->layers));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "memory ran out while describing the model");
    self->layers = (struct cyx_layer_summary *)(self + 1);
    self->n_layers = spec->n_layers;
    self->batch = batch;
    enum cyx_status status = summarize(self, spec, ret_error);
    if (status == CYX_OK)
        *ret_summary = self;
    else
        cyx_model_summary_destroy(self);
    return status;
}

void cyx_model_summary_destroy(struct cyx_model_summary *self)
{
    free(self);
}
