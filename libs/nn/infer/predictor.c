#include "nn/infer/predictor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract/dataset.h"
#include "nn/format/model_file.h"
#include "nn/infer/weights.h"

#include "base/banned.h"

/* A whole batch, and what is left over. */
enum { WHOLE, REST, PROGRAMS };

struct program {
    struct cyx_graph *graph;
    struct cyx_program *program;
};

struct cyx_predictor {
    const struct cyx_job_spec *spec;
    struct cyx_job_spec *own_spec; /* the file's, else NULL */
    struct cyx_job_spec resolved;  /* one of the two, with the sample's shape: `spec` is this */
    struct cyx_model_about about;
    struct cyx_safetensors *file;
    const char **classes; /* a name an output; NULL where outputs are no classes */
    struct cyx_arena arena;
    enum cyx_output_kind kind;
    bool finished; /* the model ends with the Softmax or Sigmoid that makes probabilities */

    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_device_info info;
    struct cyx_session *session;
    struct program programs[PROGRAMS];
    int64_t batch;
    struct cyx_shape input, output; /* of one row */
    void *no_target;                /* zeros for a whole batch: the loss is not asked for */
};

/* ---- the file and its spec ---- */

static enum cyx_status read_spec(struct cyx_predictor *self,
                                 const struct cyx_predictor_options *options,
                                 struct cyx_error *error)
{
    self->spec = options->spec;
    if (self->spec)
        return CYX_OK;
    enum cyx_status status =
        cyx_model_about_spec(&self->about, options->model_path, &self->own_spec, error);
    self->spec = self->own_spec;
    return status;
}

static enum cyx_status open_file(struct cyx_predictor *self,
                                 const struct cyx_predictor_options *options,
                                 struct cyx_error *error)
{
    enum cyx_status status = cyx_safetensors_open(options->model_path, &self->file, error);
    if (status == CYX_OK)
        status = cyx_model_about_read(self->file, &self->about, error);
    if (status == CYX_OK)
        status = read_spec(self, options, error);
    if (status != CYX_OK)
        return status;
    self->resolved = *self->spec;
    if (self->resolved.data.sample.rank == 0) /* of data on the machine that trained */
        self->resolved.data.sample = self->about.sample;
    self->spec = &self->resolved;
    return CYX_OK;
}

/* ---- programs ---- */

static struct cyx_shape of_one_row(const struct cyx_shape *shape)
{
    struct cyx_shape row = {.rank = shape->rank - 1};
    for (int i = 0; i < row.rank; i++)
        row.dim[i] = shape->dim[i + 1];
    return row;
}

static void finish_program(struct cyx_predictor *self, struct program *program)
{
    if (program->program)
        self->backend->program_destroy(program->program);
    cyx_graph_destroy(program->graph);
    *program = (struct program){0};
}

static enum cyx_status make_program(struct cyx_predictor *self, struct program *program,
                                    int64_t rows, struct cyx_error *error)
{
    const struct cyx_graph_options options = {.batch = rows};
    enum cyx_status status = cyx_graph_create(self->spec, &options, &program->graph, error);
    if (status == CYX_OK && !self->session)
        status = self->backend->session_create(self->device, program->graph, &self->session, error);
    if (status == CYX_OK)
        status =
            self->backend->program_create(self->session, program->graph, &program->program, error);
    if (status != CYX_OK)
        finish_program(self, program);
    return status;
}

/* Compiled when first needed; the last size that was no whole batch is kept beside the whole batch. */
static enum cyx_status program_for(struct cyx_predictor *self, int64_t rows,
                                   struct program **ret_program, struct cyx_error *error)
{
    struct program *program = &self->programs[rows == self->batch ? WHOLE : REST];
    enum cyx_status status = CYX_OK;
    if (program->graph && program->graph->batch != rows)
        finish_program(self, program);
    if (!program->graph)
        status = make_program(self, program, rows, error);
    *ret_program = program;
    return status;
}

/* ---- what the outputs are ---- */

static void judge_outputs(struct cyx_predictor *self)
{
    const struct cyx_loss_spec *loss = &self->spec->loss;
    enum cyx_layer_type last = self->spec->layers[self->spec->n_layers - 1].type;
    bool classes = self->programs[WHOLE].graph->counts_correct;
    self->kind = classes ? CYX_OUTPUT_SCORES : CYX_OUTPUT_NUMBERS;
    if (loss->type == CYX_LOSS_CROSS_ENTROPY || (classes && last == CYX_LAYER_SOFTMAX))
        self->kind = CYX_OUTPUT_CLASSES;
    else if (loss->type == CYX_LOSS_BCE_WITH_LOGITS && loss->target != CYX_LOSS_TARGET_INPUT)
        self->kind = CYX_OUTPUT_LABELS;
    self->finished = (self->kind == CYX_OUTPUT_CLASSES && last == CYX_LAYER_SOFTMAX) ||
                     (self->kind == CYX_OUTPUT_LABELS && last == CYX_LAYER_SIGMOID);
}

/* The file's names, else the catalogue's; NULL where neither has `count` of them. */
static const char *const *known_classes(const struct cyx_predictor *self, size_t count)
{
    const struct cyx_dataset *set = cyx_dataset_find(self->spec->data.dataset);
    if (self->about.n_classes == count)
        return self->about.classes;
    return set && set->n_classes == count ? set->classes : NULL;
}

/* Names where there are classes, or their indices as text. */
static enum cyx_status name_classes(struct cyx_predictor *self, struct cyx_error *error)
{
    size_t count = (size_t)cyx_shape_count(&self->output);
    const char *const *known = known_classes(self, count);
    if (self->kind == CYX_OUTPUT_NUMBERS)
        return CYX_OK;
    self->classes = cyx_arena_calloc(&self->arena, count, sizeof(*self->classes));
    for (size_t i = 0; i < count && self->classes; i++) {
        self->classes[i] = known ? known[i] : cyx_arena_printf(&self->arena, "%zu", i);
        if (!self->classes[i])
            self->classes = NULL;
    }
    if (!self->classes)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for class names");
    return CYX_OK;
}

static enum cyx_status describe_outputs(struct cyx_predictor *self, struct cyx_error *error)
{
    const struct cyx_graph *graph = self->programs[WHOLE].graph;
    self->input = of_one_row(&graph->values[graph->input].shape);
    self->output = of_one_row(&graph->values[graph->output].shape);
    judge_outputs(self);
    if (graph->target != CYX_NO_VALUE) {
        self->no_target =
            calloc((size_t)cyx_shape_count(&graph->values[graph->target].shape), sizeof(float));
        if (!self->no_target)
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a batch");
    }
    return name_classes(self, error);
}

/* ---- create and destroy ---- */

static enum cyx_status open_device(struct cyx_predictor *self,
                                   const struct cyx_predictor_options *options,
                                   struct cyx_error *error)
{
    const struct cyx_resources_spec *resources = &self->spec->resources;
    const char *name = options->backend ? options->backend : resources->backend;
    struct cyx_device_options device = options->device;
    if (device.threads == 0)
        device.threads = (int)resources->threads;
    enum cyx_status status =
        cyx_backend_open(name ? name : "auto", &device, &self->backend, &self->device, error);
    if (status == CYX_OK)
        self->backend->device_info(self->device, &self->info);
    return status;
}

/* The file is judged by the graph alone before a device is asked for anything. */
static enum cyx_status check_file(const struct cyx_predictor *self, const char *path,
                                  struct cyx_error *error)
{
    struct cyx_graph *graph = NULL;
    const struct cyx_graph_options options = {.batch = 1};
    enum cyx_status status = cyx_graph_create(self->spec, &options, &graph, error);
    if (status == CYX_OK)
        status = infer_check_weights(self->file, graph, error);
    if (status == CYX_ERR_INVALID && error && !*error->pointer) {
        struct cyx_error why = *error;
        cyx_error_set(error, status, NULL, "%s: %s", path, why.message);
    }
    cyx_graph_destroy(graph);
    return status;
}

static enum cyx_status open_all(struct cyx_predictor *self,
                                const struct cyx_predictor_options *options,
                                struct cyx_error *error)
{
    struct program *whole = NULL;
    enum cyx_status status = open_file(self, options, error);
    if (status == CYX_OK)
        status = check_file(self, options->model_path, error);
    if (status == CYX_OK)
        status = open_device(self, options, error);
    if (status != CYX_OK)
        return status;
    self->batch = options->batch > 0 ? options->batch : self->spec->data.batch_size;
    status = program_for(self, self->batch, &whole, error);
    if (status == CYX_OK)
        status = infer_load_weights(self->file, whole->graph, self->backend, self->session, error);
    if (status == CYX_OK)
        status = describe_outputs(self, error);
    return status;
}

enum cyx_status cyx_predictor_create(const struct cyx_predictor_options *options,
                                     struct cyx_predictor **ret_predictor,
                                     struct cyx_error *ret_error)
{
    struct cyx_predictor *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a model");
    enum cyx_status status = open_all(self, options, ret_error);
    if (status == CYX_OK)
        *ret_predictor = self;
    else
        cyx_predictor_destroy(self);
    return status;
}

void cyx_predictor_destroy(struct cyx_predictor *self)
{
    if (!self)
        return;
    for (int i = 0; i < PROGRAMS; i++)
        finish_program(self, &self->programs[i]);
    if (self->session)
        self->backend->session_destroy(self->session);
    if (self->device)
        self->backend->device_close(self->device);
    free(self->no_target);
    cyx_model_about_finish(&self->about);
    cyx_safetensors_close(self->file);
    cyx_job_spec_destroy(self->own_spec);
    cyx_arena_finish(&self->arena);
    free(self);
}

/* ---- what it is ---- */

const struct cyx_job_spec *cyx_predictor_spec(const struct cyx_predictor *self)
{
    return self->spec;
}

const struct cyx_device_info *cyx_predictor_device(const struct cyx_predictor *self)
{
    return &self->info;
}

enum cyx_output_kind cyx_predictor_kind(const struct cyx_predictor *self)
{
    return self->kind;
}

int64_t cyx_predictor_batch(const struct cyx_predictor *self)
{
    return self->batch;
}

bool cyx_predictor_counts_correct(const struct cyx_predictor *self)
{
    return self->programs[WHOLE].graph->counts_correct;
}

const struct cyx_shape *cyx_predictor_input_shape(const struct cyx_predictor *self)
{
    return &self->input;
}

const struct cyx_shape *cyx_predictor_output_shape(const struct cyx_predictor *self)
{
    return &self->output;
}

const char *cyx_predictor_class(const struct cyx_predictor *self, size_t index)
{
    return self->classes ? self->classes[index] : NULL;
}

bool cyx_predictor_has_class_names(const struct cyx_predictor *self)
{
    return self->classes && known_classes(self, (size_t)cyx_shape_count(&self->output));
}

/* ---- steps ---- */

enum cyx_status cyx_predictor_step(struct cyx_predictor *self, const float *input,
                                   const void *target, int64_t count, float *ret_output,
                                   struct cyx_step_result *ret_result, struct cyx_error *ret_error)
{
    struct program *program = NULL;
    struct cyx_step_result result = {0};
    const struct cyx_feed feed = {.input = input, .target = target};
    uint64_t ticket = 0;
    if (count < 1 || count > self->batch)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "a step takes 1 to %lld rows",
                             (long long)self->batch);
    enum cyx_status status = program_for(self, count, &program, ret_error);
    if (status == CYX_OK)
        status = self->backend->submit(program->program, &feed, &ticket, ret_error);
    if (status == CYX_OK)
        status = self->backend->wait(program->program, ticket, &result, ret_error);
    if (status == CYX_OK) {
        const struct cyx_value *output = &program->graph->values[program->graph->output];
        status = self->backend->transient_read(program->program, output->name, ret_output,
                                               (size_t)cyx_shape_count(&output->shape), ret_error);
    }
    if (status == CYX_OK && ret_result)
        *ret_result = result;
    return status;
}

enum cyx_status cyx_predictor_run(struct cyx_predictor *self, const float *input, int64_t count,
                                  float *ret_output, struct cyx_error *ret_error)
{
    int64_t in = cyx_shape_count(&self->input), out = cyx_shape_count(&self->output);
    enum cyx_status status = CYX_OK;
    for (int64_t row = 0; row < count && status == CYX_OK; row += self->batch) {
        int64_t rows = count - row < self->batch ? count - row : self->batch;
        status = cyx_predictor_step(self, input + row * in, self->no_target, rows,
                                    ret_output + row * out, NULL, ret_error);
    }
    return status;
}

static void softmax_row(const float *x, float *y, size_t count)
{
    float largest = x[0];
    double sum = 0;
    for (size_t i = 1; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (size_t i = 0; i < count; i++) {
        y[i] = expf(x[i] - largest);
        sum += y[i];
    }
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(y[i] / sum);
}

void cyx_predictor_probabilities(const struct cyx_predictor *self, const float *output,
                                 int64_t count, float *ret_probabilities)
{
    size_t columns = (size_t)cyx_shape_count(&self->output), all = (size_t)count * columns;
    if (self->kind == CYX_OUTPUT_CLASSES && !self->finished) {
        for (size_t row = 0; row < (size_t)count; row++)
            softmax_row(output + row * columns, ret_probabilities + row * columns, columns);
    } else if (self->kind == CYX_OUTPUT_LABELS && !self->finished) {
        for (size_t i = 0; i < all; i++)
            ret_probabilities[i] = (float)(1 / (1 + exp(-(double)output[i])));
    } else if (output != ret_probabilities) {
        memcpy(ret_probabilities, output, all * sizeof(*output));
    }
}
