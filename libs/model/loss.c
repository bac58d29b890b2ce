/* The loss behind the model's output, and the target that it reads. */
#include <string.h>

#include "model/private.h"

#include "base/banned.h"

static enum cyx_status refuse_output(const struct cyx_job_spec *spec, const struct cyx_shape *got,
                                     const struct cyx_shape *wanted, const char *what,
                                     struct cyx_error *error)
{
    char text[GRAPH_SHAPE_TEXT], wanted_text[GRAPH_SHAPE_TEXT];
    const char *hint = wanted->rank != 2 ? "the model must end with the shape that it began with"
                       : got->rank == 2  ? "the last Linear's out_features must be as many"
                                         : "end the model with Flatten and Linear";
    return graph_fail(error, spec->n_layers - 1, "%s on %s expects %s, %s, got %s: %s",
                      cyx_loss_type_name(spec->loss.type), cyx_data_spec_name(&spec->data),
                      graph_shape_text(wanted, wanted_text), what, graph_shape_text(got, text),
                      hint);
}

/* A value of `weight`, one an output; the loss's spec holds as many or none. */
static enum cyx_status add_weight(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                                  int64_t count, const char *key, int32_t *ret_value,
                                  struct cyx_error *error)
{
    const struct cyx_loss_spec *loss = &spec->loss;
    struct cyx_shape shape = {1, {count}};
    if (!loss->weight)
        return CYX_OK;
    if ((int64_t)loss->n_weight != count)
        return cyx_error_set(error, CYX_ERR_INVALID, key,
                             "expected %lld numbers, one for each output, got %zu",
                             (long long)count, loss->n_weight);
    float *kept = cyx_arena_alloc(&graph->memory->arena, loss->n_weight * sizeof(*kept));
    if (!kept) {
        graph->memory->failed = true;
        return graph_ok(graph, error);
    }
    memcpy(kept, loss->weight, loss->n_weight * sizeof(*kept));
    *ret_value = graph_add_value(graph, "loss.weight", CYX_VALUE_CONSTANT, CYX_F32, &shape);
    if (!graph->memory->failed)
        graph->values[*ret_value].constant = kept;
    return CYX_OK;
}

/* As many as the data have; where nobody said, as many as the model tells apart. */
static int64_t classes_of(const struct cyx_sample_shape *sample, const struct cyx_shape *output)
{
    return sample->n_classes || output->rank != 2 ? sample->n_classes : output->dim[1];
}

static int64_t targets_of(const struct cyx_sample_shape *sample, const struct cyx_shape *output)
{
    bool unknown = sample->n_targets == CYX_TARGETS_UNKNOWN;
    return unknown && output->rank == 2 ? output->dim[1] : unknown ? 0 : sample->n_targets;
}

static enum cyx_status wants_classes(const struct cyx_job_spec *spec, const char *pointer,
                                     struct cyx_error *error)
{
    if (spec->data.sample.target == CYX_TARGET_CLASSES)
        return CYX_OK;
    return cyx_error_set(
        error, CYX_ERR_INVALID, pointer,
        "%s has numbers as targets, no classes: take MSELoss, L1Loss, SmoothL1Loss "
        "or BCEWithLogitsLoss",
        cyx_data_spec_name(&spec->data));
}

static void add_target(struct cyx_graph *graph, enum cyx_dtype dtype, int64_t columns)
{
    struct cyx_shape shape = {columns ? 2 : 1, {graph->batch, columns}};
    graph->target = graph_add_value(graph, "target", CYX_VALUE_TARGET, dtype, &shape);
}

static enum cyx_status cross_entropy(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                                     struct cyx_error *error)
{
    const struct cyx_shape *got = &graph->values[graph->output].shape;
    int64_t classes = classes_of(&spec->data.sample, got);
    struct cyx_shape wanted = {2, {graph->batch, classes}};
    enum cyx_status status = wants_classes(spec, "/loss/type", error);
    if (status == CYX_OK && !cyx_shape_equal(got, &wanted))
        status = refuse_output(spec, got, &wanted, "a logit for each class", error);
    if (status != CYX_OK)
        return status;
    struct cyx_node node = graph_node(CYX_OP_CROSS_ENTROPY, -1, NULL);
    add_target(graph, CYX_I32, 0);
    node.in[0] = graph->output;
    node.in[1] = graph->target;
    node.n_in = 3;
    node.out[0] = graph->result;
    node.n_out = 1;
    node.label_smoothing = spec->loss.label_smoothing;
    node.ignore_index = (int32_t)spec->loss.ignore_index;
    status = add_weight(graph, spec, classes, "/loss/weight", &node.in[2], error);
    if (status == CYX_OK)
        graph_add_node(graph, &node);
    graph->counts_correct = true;
    return status;
}

static int32_t add_one_hot(struct cyx_graph *graph, const struct cyx_shape *shape)
{
    struct cyx_node node = graph_node(CYX_OP_ONE_HOT, -1, NULL);
    node.in[0] = graph->target;
    node.n_in = 1;
    node.out[0] = graph_add_value(graph, "target:one_hot", CYX_VALUE_TRANSIENT, CYX_F32, shape);
    node.n_out = 1;
    graph_add_node(graph, &node);
    return node.out[0];
}

/* What the output is compared with; the batch's classes besides, where it is made from them. */
static enum cyx_status element_target(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                                      int32_t *ret_target, struct cyx_error *error)
{
    const struct cyx_shape got = graph->values[graph->output].shape;
    const struct cyx_sample_shape *sample = &spec->data.sample;
    struct cyx_shape wanted = {2, {graph->batch, classes_of(sample, &got)}};
    const char *what = "a number for each class";
    if (spec->loss.target == CYX_LOSS_TARGET_INPUT) {
        wanted = graph->values[graph->input].shape;
        what = "the shape of the input";
    } else if (spec->loss.target == CYX_LOSS_TARGET_DATA) {
        if (sample->target != CYX_TARGET_NUMBERS)
            return cyx_error_set(error, CYX_ERR_INVALID, "/loss/target",
                                 "%s has classes as targets: take \"one_hot\", \"input\" (an "
                                 "autoencoder), or CrossEntropyLoss",
                                 cyx_data_spec_name(&spec->data));
        wanted.dim[1] = targets_of(sample, &got);
        what = "a number for each target";
    } else {
        enum cyx_status status = wants_classes(spec, "/loss/target", error);
        if (status != CYX_OK)
            return status;
    }
    if (!cyx_shape_equal(&got, &wanted))
        return refuse_output(spec, &got, &wanted, what, error);
    if (spec->loss.target == CYX_LOSS_TARGET_INPUT) {
        *ret_target = graph->input;
        return CYX_OK;
    }
    bool numbers = spec->loss.target == CYX_LOSS_TARGET_DATA;
    add_target(graph, numbers ? CYX_F32 : CYX_I32, numbers ? wanted.dim[1] : 0);
    *ret_target = numbers ? graph->target : add_one_hot(graph, &wanted);
    return CYX_OK;
}

static enum cyx_status element_loss(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                                    struct cyx_error *error)
{
    struct cyx_node node = graph_node(CYX_OP_ELEMENT_LOSS, -1, NULL);
    const struct cyx_shape out = graph->values[graph->output].shape;
    node.in[0] = graph->output;
    node.n_in = 4;
    node.out[0] = graph->result;
    node.n_out = 1;
    node.loss = spec->loss.type;
    node.beta = spec->loss.beta;
    enum cyx_status status = element_target(graph, spec, &node.in[1], error);
    if (status == CYX_OK)
        status =
            add_weight(graph, spec, out.dim[out.rank - 1], "/loss/pos_weight", &node.in[2], error);
    if (status != CYX_OK)
        return status;
    if (spec->loss.target == CYX_LOSS_TARGET_ONE_HOT)
        node.in[3] = graph->target;
    graph->counts_correct = node.in[3] != CYX_NO_VALUE;
    graph_add_node(graph, &node);
    return CYX_OK;
}

enum cyx_status graph_add_loss(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                               struct cyx_error *error)
{
    return (spec->loss.type == CYX_LOSS_CROSS_ENTROPY ? cross_entropy : element_loss)(graph, spec,
                                                                                      error);
}
