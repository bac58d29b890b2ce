#include "engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "nn/train/checkpoint.h"
#include "nn/train/init.h"

#include "base/banned.h"

enum { PROGRAMS_LIMIT = 8, SHOWN_LIMIT = 4 };

struct program {
    struct cyx_graph *graph;
    struct cyx_program *program;
    bool training;
    bool shown;    /* somebody looks at its output: it stays */
    uint64_t used; /* by the engine's clock */
};

struct open_step {
    struct cyx_program *program;
    uint64_t ticket;
};

struct py_engine {
    struct py_spec *spec;
    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_session *session;
    /* The first one's graph tells the session's values, so it stays. */
    struct program programs[PROGRAMS_LIMIT];
    size_t n_programs;
    struct py_value *values;
    size_t n_values;
    struct open_step open[CYX_STEPS_IN_FLIGHT];
    int n_open;
    struct cyx_step_result results[CYX_STEPS_IN_FLIGHT]; /* finished, not taken */
    int n_results;
    uint64_t steps, clock;
    void *blank; /* zeros: the target of predict */
    size_t blank_bytes;
    pthread_mutex_t mutex; /* guards all of the above but what open() alone sets */
};

static const struct cyx_job_spec *spec_of(const struct py_engine *self)
{
    return py_spec_of(self->spec);
}

static const struct cyx_graph *graph_of(const struct py_engine *self)
{
    return self->programs[0].graph;
}

/* ---- programs ---- */

static enum cyx_status finish_open(struct py_engine *self, struct cyx_error *error);

/* Room for one more program: the one that was used longest ago goes; the first and what is shown never. */
static enum cyx_status make_room(struct py_engine *self, struct cyx_error *error)
{
    if (self->n_programs < PROGRAMS_LIMIT)
        return CYX_OK;
    enum cyx_status status = finish_open(self, error);
    if (status != CYX_OK)
        return status;
    size_t oldest = 0; /* there is another: fewer are shown than there is room for */
    for (size_t i = 1; i < self->n_programs; i++)
        if (!self->programs[i].shown &&
            (oldest == 0 || self->programs[i].used < self->programs[oldest].used))
            oldest = i;
    self->backend->program_destroy(self->programs[oldest].program);
    cyx_graph_destroy(self->programs[oldest].graph);
    self->programs[oldest] = self->programs[--self->n_programs];
    return CYX_OK;
}

static enum cyx_status compile(struct py_engine *self, bool training, int64_t rows,
                               struct cyx_error *error)
{
    const struct cyx_graph_options options = {.batch = rows, .training = training};
    struct program made = {.training = training};
    enum cyx_status status = make_room(self, error);
    if (status == CYX_OK)
        status = cyx_graph_create_step(spec_of(self), &options, &made.graph, error);
    if (status == CYX_OK && !self->session)
        status = self->backend->session_create(self->device, made.graph, &self->session, error);
    if (status == CYX_OK)
        status = self->backend->program_create(self->session, made.graph, &made.program, error);
    if (status != CYX_OK) {
        cyx_graph_destroy(made.graph);
        return status;
    }
    self->programs[self->n_programs++] = made;
    return CYX_OK;
}

static struct program *known_program(struct py_engine *self, bool training, int64_t rows)
{
    for (size_t i = 0; i < self->n_programs; i++)
        if (self->programs[i].graph->batch == rows && self->programs[i].training == training)
            return &self->programs[i];
    return NULL;
}

/* The program for so many rows, compiled when it is not there; NULL and why. Valid until the next call. */
static struct program *find_program(struct py_engine *self, bool training, int64_t rows,
                                    enum cyx_status *ret_status, struct cyx_error *error)
{
    *ret_status = CYX_OK;
    if (rows < 1 || rows > CYX_JOB_BATCH_LIMIT)
        *ret_status =
            cyx_error_set(error, CYX_ERR_INVALID, NULL, "expected 1 to %d rows a batch, got %lld",
                          CYX_JOB_BATCH_LIMIT, (long long)rows);
    struct program *found = known_program(self, training, rows);
    if (!found && *ret_status == CYX_OK) {
        *ret_status = compile(self, training, rows, error);
        found = *ret_status == CYX_OK ? &self->programs[self->n_programs - 1] : NULL;
    }
    if (found)
        found->used = ++self->clock;
    return found;
}

/* ---- the list of values ---- */

static void add_value(struct py_engine *self, int32_t index, enum py_value_kind kind)
{
    if (index == CYX_NO_VALUE)
        return;
    const struct cyx_value *value = &graph_of(self)->values[index];
    struct py_value *entry = &self->values[self->n_values++];
    *entry = (struct py_value){.name = value->name,
                               .kind = kind,
                               .rank = value->shape.rank,
                               .whole = value->dtype == CYX_I32};
    for (int i = 0; i < value->shape.rank; i++)
        entry->shape[i] = value->shape.dim[i];
}

static enum cyx_status list_values(struct py_engine *self, struct cyx_error *error)
{
    const struct cyx_graph *graph = graph_of(self);
    self->values = calloc(graph->n_values + 3, sizeof(*self->values));
    if (!self->values)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for the list of values");
    for (size_t v = 0; v < graph->n_values; v++) {
        enum cyx_value_kind kind = graph->values[v].kind;
        if (kind == CYX_VALUE_PARAM)
            add_value(self, (int32_t)v, PY_PARAM);
        else if (kind == CYX_VALUE_BUFFER)
            add_value(self, (int32_t)v, PY_BUFFER);
        else if (kind == CYX_VALUE_STATE)
            add_value(self, (int32_t)v, PY_STATE);
    }
    add_value(self, graph->input, PY_INPUT);
    add_value(self, graph->target, PY_TARGET);
    add_value(self, graph->output, PY_OUTPUT);
    return CYX_OK;
}

/* Classes whose number nobody said are as many as the model tells apart. */
static void count_classes(struct py_engine *self)
{
    struct cyx_sample_shape *sample = &py_spec_of(self->spec)->data.sample;
    const struct cyx_graph *graph = graph_of(self);
    const struct cyx_shape *output = &graph->values[graph->output].shape;
    if (sample->target == CYX_TARGET_CLASSES && sample->n_classes == 0)
        sample->n_classes = output->dim[output->rank - 1];
}

size_t py_engine_n_values(const struct py_engine *self)
{
    return self->n_values;
}

void py_engine_value(const struct py_engine *self, size_t index, struct py_value *ret_value)
{
    if (index < self->n_values)
        *ret_value = self->values[index];
}

bool py_engine_counts_correct(const struct py_engine *self)
{
    return graph_of(self)->counts_correct;
}

int64_t py_engine_n_classes(const struct py_engine *self)
{
    const struct cyx_graph *graph = graph_of(self);
    bool classes = graph->target != CYX_NO_VALUE && graph->values[graph->target].dtype == CYX_I32;
    return classes ? spec_of(self)->data.sample.n_classes : 0;
}

/* ---- life ---- */

static enum cyx_status open_device(struct py_engine *self, const struct py_engine_options *options,
                                   struct cyx_error *error)
{
    const struct cyx_resources_spec *wanted = &spec_of(self)->resources;
    const char *name = options->backend ? options->backend : wanted->backend;
    const struct cyx_device_options device = {
        .index = options->device,
        .threads = options->threads ? options->threads : (int)wanted->threads,
        .cache_dir = options->cache_dir,
        .validation = options->validation,
    };
    return cyx_backend_open(name ? name : "auto", &device, &self->backend, &self->device, error);
}

enum cyx_status py_engine_open(struct py_spec *spec, const struct py_engine_options *options,
                               struct py_engine **ret_engine, struct cyx_error *ret_error)
{
    struct py_engine *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a model");
    self->spec = py_spec_ref(spec);
    pthread_mutex_init(&self->mutex, NULL);
    enum cyx_status status = open_device(self, options, ret_error);
    if (status == CYX_OK)
        find_program(self, options->training, options->rows, &status, ret_error);
    if (status == CYX_OK) {
        count_classes(self);
        status = list_values(self, ret_error);
    }
    if (status == CYX_OK)
        status = cyx_init_parameters(self->backend, self->session, graph_of(self),
                                     spec_of(self)->seed, ret_error);
    if (status != CYX_OK) {
        py_engine_close(self);
        return status;
    }
    *ret_engine = self;
    return CYX_OK;
}

void py_engine_close(struct py_engine *self)
{
    if (!self)
        return;
    py_engine_drop_results(self);
    for (size_t i = 0; i < self->n_programs; i++) {
        self->backend->program_destroy(self->programs[i].program);
        cyx_graph_destroy(self->programs[i].graph);
    }
    if (self->session)
        self->backend->session_destroy(self->session);
    if (self->device)
        self->backend->device_close(self->device);
    py_spec_release(self->spec);
    pthread_mutex_destroy(&self->mutex);
    free(self->values);
    free(self->blank);
    free(self);
}

void py_engine_info(const struct py_engine *self, struct cyx_device_info *ret_info)
{
    self->backend->device_info(self->device, ret_info);
}

/* A program's bytes count its session's, which all share. */
int64_t py_engine_memory_bytes(struct py_engine *self)
{
    int64_t largest = 0;
    pthread_mutex_lock(&self->mutex);
    for (size_t i = 0; i < self->n_programs; i++) {
        int64_t bytes = self->backend->memory_bytes(self->programs[i].program);
        largest = bytes > largest ? bytes : largest;
    }
    pthread_mutex_unlock(&self->mutex);
    return largest;
}

/* ---- open steps ---- */

static enum cyx_status finish_oldest(struct py_engine *self, struct cyx_error *error)
{
    struct open_step open = self->open[0];
    memmove(self->open, self->open + 1, (size_t)--self->n_open * sizeof(*self->open));
    struct cyx_step_result *result = &self->results[self->n_results];
    enum cyx_status status = self->backend->wait(open.program, open.ticket, result, error);
    self->n_results += status == CYX_OK;
    return status;
}

/* Tickets are a program's own, and in order: before another program or a copy, all are done. */
static enum cyx_status finish_open(struct py_engine *self, struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    while (self->n_open > 0) {
        enum cyx_status one = finish_oldest(self, status == CYX_OK ? error : NULL);
        status = status == CYX_OK ? one : status;
    }
    return status;
}

enum cyx_status py_engine_take(struct py_engine *self, struct cyx_step_result *ret_result,
                               struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->mutex);
    if (self->n_results == 0 && self->n_open == 0)
        status = cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "no step is open");
    else if (self->n_results == 0)
        status = finish_oldest(self, ret_error);
    if (status == CYX_OK) {
        *ret_result = self->results[0];
        memmove(self->results, self->results + 1,
                (size_t)--self->n_results * sizeof(*self->results));
    }
    pthread_mutex_unlock(&self->mutex);
    return status;
}

int py_engine_open_steps(struct py_engine *self)
{
    pthread_mutex_lock(&self->mutex);
    int count = self->n_open + self->n_results;
    pthread_mutex_unlock(&self->mutex);
    return count;
}

void py_engine_drop_results(struct py_engine *self)
{
    pthread_mutex_lock(&self->mutex);
    finish_open(self, NULL);
    self->n_results = 0;
    pthread_mutex_unlock(&self->mutex);
}

/* ---- batches ---- */

static size_t elements(const struct cyx_graph *graph, int32_t value)
{
    return (size_t)cyx_shape_count(&graph->values[value].shape);
}

static enum cyx_status check_classes(const struct py_engine *self, const int32_t *target,
                                     size_t count, struct cyx_error *error)
{
    int64_t classes = py_engine_n_classes(self), ignored = spec_of(self)->loss.ignore_index;
    for (size_t i = 0; i < count; i++)
        if ((target[i] < 0 || target[i] >= classes) && target[i] != ignored)
            return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                                 "target %zu is class %d: expected 0 to %lld", i, target[i],
                                 (long long)classes - 1);
    return CYX_OK;
}

static enum cyx_status check_batch(const struct py_engine *self, const struct cyx_graph *graph,
                                   const struct py_batch *batch, struct cyx_error *error)
{
    size_t input = elements(graph, graph->input);
    if (!batch->input || batch->input_count != input)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "the batch's input has %zu elements, the model takes %zu",
                             batch->input_count, input);
    if (graph->target == CYX_NO_VALUE)
        return CYX_OK;
    size_t target = elements(graph, graph->target);
    if (!batch->target || batch->target_count != target)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "the batch's target has %zu elements, the loss takes %zu",
                             batch->target_count, target);
    if (graph->values[graph->target].dtype == CYX_I32)
        return check_classes(self, batch->target, target, error);
    return CYX_OK;
}

static enum cyx_status submit(struct py_engine *self, const struct py_batch *batch,
                              const double *lr, size_t n_lr, struct cyx_error *error)
{
    if (!graph_of(self)->training)
        return cyx_error_set(error, CYX_ERR_CONFLICT, NULL,
                             "this session was opened for inference: open one with training=True");
    if (n_lr == 0 || n_lr > CYX_PARAM_GROUPS_LIMIT)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "expected 1 to %d learning rates, got %zu", CYX_PARAM_GROUPS_LIMIT,
                             n_lr);
    if (self->n_open + self->n_results == CYX_STEPS_IN_FLIGHT)
        return cyx_error_set(error, CYX_ERR_CONFLICT, NULL,
                             "%d steps are open: take the oldest result first",
                             CYX_STEPS_IN_FLIGHT);
    enum cyx_status status = CYX_OK;
    struct program *program = find_program(self, true, batch->rows, &status, error);
    if (!program)
        return status;
    status = check_batch(self, program->graph, batch, error);
    if (status == CYX_OK && self->n_open > 0 && self->open[0].program != program->program)
        status = finish_open(self, error);
    if (status != CYX_OK)
        return status;
    struct cyx_feed feed = {.input = batch->input,
                            .target = batch->target,
                            .seed = spec_of(self)->seed,
                            .step = self->steps + 1};
    for (size_t g = 0; g < CYX_PARAM_GROUPS_LIMIT; g++)
        feed.lr[g] = lr[g < n_lr ? g : 0];
    struct open_step *open = &self->open[self->n_open];
    open->program = program->program;
    status = self->backend->submit(program->program, &feed, &open->ticket, error);
    self->n_open += status == CYX_OK;
    self->steps += status == CYX_OK;
    return status;
}

enum cyx_status py_engine_submit(struct py_engine *self, const struct py_batch *batch,
                                 const double *lr, size_t n_lr, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = submit(self, batch, lr, n_lr, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

/* A pass without gradients, begun and waited for. */
static enum cyx_status infer(struct py_engine *self, const struct program *program,
                             const void *input, const void *target,
                             struct cyx_step_result *ret_result, struct cyx_error *error)
{
    struct cyx_feed feed = {.input = input, .target = target};
    uint64_t ticket = 0;
    enum cyx_status status = finish_open(self, error);
    if (status == CYX_OK)
        status = self->backend->submit(program->program, &feed, &ticket, error);
    if (status == CYX_OK)
        status = self->backend->wait(program->program, ticket, ret_result, error);
    return status;
}

enum cyx_status py_engine_evaluate(struct py_engine *self, const struct py_batch *batch,
                                   struct cyx_step_result *ret_result, struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->mutex);
    struct program *program = find_program(self, false, batch->rows, &status, ret_error);
    if (program)
        status = check_batch(self, program->graph, batch, ret_error);
    if (program && status == CYX_OK)
        status = infer(self, program, batch->input, batch->target, ret_result, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

/* Zeros, as many as this graph's target: the loss is computed and not looked at. */
static enum cyx_status blank_target(struct py_engine *self, const struct cyx_graph *graph,
                                    struct cyx_error *error)
{
    size_t bytes = graph->target == CYX_NO_VALUE ? 0 : elements(graph, graph->target) * 4;
    if (bytes <= self->blank_bytes)
        return CYX_OK;
    void *larger = calloc(1, bytes);
    if (!larger)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a batch");
    free(self->blank);
    self->blank = larger;
    self->blank_bytes = bytes;
    return CYX_OK;
}

static enum cyx_status predict(struct py_engine *self, const float *input, size_t input_count,
                               int64_t rows, float *ret_output, size_t count,
                               struct cyx_error *error)
{
    struct cyx_step_result result;
    enum cyx_status status = CYX_OK;
    struct program *program = find_program(self, false, rows, &status, error);
    if (!program)
        return status;
    const struct cyx_graph *graph = program->graph;
    if (input_count != elements(graph, graph->input))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "the batch's input has %zu elements, the model takes %zu", input_count,
                             elements(graph, graph->input));
    status = blank_target(self, graph, error);
    if (status == CYX_OK)
        status = infer(self, program, input, self->blank, &result, error);
    if (status == CYX_OK && ret_output)
        status = self->backend->transient_read(program->program, graph->values[graph->output].name,
                                               ret_output, count, error);
    return status;
}

enum cyx_status py_engine_predict(struct py_engine *self, const float *input, size_t input_count,
                                  int64_t rows, float *ret_output, size_t count,
                                  struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = predict(self, input, input_count, rows, ret_output, count, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

enum cyx_status py_engine_read_output(struct py_engine *self, int64_t rows, float *ret_output,
                                      size_t count, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    const struct program *program = known_program(self, false, rows);
    enum cyx_status status = CYX_ERR_NOT_FOUND;
    if (program)
        status = self->backend->transient_read(program->program,
                                               program->graph->values[program->graph->output].name,
                                               ret_output, count, ret_error);
    else
        cyx_error_set(ret_error, status, NULL, "there was no pass of %lld rows", (long long)rows);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

static const float *output_host(struct py_engine *self, int64_t rows)
{
    struct program *program = known_program(self, false, rows);
    int shown = 0;
    for (size_t i = 0; i < self->n_programs; i++)
        shown += self->programs[i].shown;
    if (!program || !self->backend->transient_host || (!program->shown && shown == SHOWN_LIMIT))
        return NULL;
    const struct cyx_graph *graph = program->graph;
    const float *bytes =
        self->backend->transient_host(program->program, graph->values[graph->output].name);
    program->shown = program->shown || bytes;
    return bytes;
}

const float *py_engine_output_host(struct py_engine *self, int64_t rows)
{
    pthread_mutex_lock(&self->mutex);
    const float *bytes = output_host(self, rows);
    pthread_mutex_unlock(&self->mutex);
    return bytes;
}

/* ---- values ---- */

enum cyx_status py_engine_read(struct py_engine *self, const char *name, float *ret_data,
                               size_t count, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = finish_open(self, ret_error);
    if (status == CYX_OK)
        status = self->backend->value_read(self->session, name, ret_data, count, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

enum cyx_status py_engine_write(struct py_engine *self, const char *name, const float *data,
                                size_t count, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = finish_open(self, ret_error);
    if (status == CYX_OK)
        status = self->backend->value_write(self->session, name, data, count, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

float *py_engine_host(struct py_engine *self, const char *name)
{
    pthread_mutex_lock(&self->mutex);
    float *bytes =
        self->backend->value_host ? self->backend->value_host(self->session, name) : NULL;
    pthread_mutex_unlock(&self->mutex);
    return bytes;
}

uint64_t py_engine_steps(const struct py_engine *self)
{
    return self->steps;
}

void py_engine_set_steps(struct py_engine *self, uint64_t steps)
{
    pthread_mutex_lock(&self->mutex);
    self->steps = steps;
    pthread_mutex_unlock(&self->mutex);
}

/* Zeroes what training has added: optimizer state. */
static enum cyx_status clear_state(struct py_engine *self, struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < self->n_values && status == CYX_OK; i++) {
        if (self->values[i].kind != PY_STATE)
            continue;
        size_t count = 1;
        for (int d = 0; d < self->values[i].rank; d++)
            count *= (size_t)self->values[i].shape[d];
        float *zeros = calloc(count, sizeof(*zeros));
        if (!zeros)
            return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to reset a model");
        status =
            self->backend->value_write(self->session, self->values[i].name, zeros, count, error);
        free(zeros);
    }
    return status;
}

enum cyx_status py_engine_reset(struct py_engine *self, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = finish_open(self, ret_error);
    self->n_results = 0;
    if (status == CYX_OK)
        status = clear_state(self, ret_error);
    if (status == CYX_OK)
        status = cyx_init_parameters(self->backend, self->session, graph_of(self),
                                     spec_of(self)->seed, ret_error);
    if (status == CYX_OK)
        self->steps = 0;
    pthread_mutex_unlock(&self->mutex);
    return status;
}

enum cyx_status py_engine_save(struct py_engine *self, const char *path, int64_t *ret_bytes,
                               struct cyx_error *ret_error)
{
    char sha256[CYX_SHA256_HEX];
    pthread_mutex_lock(&self->mutex);
    struct cyx_checkpoint_target target = {.backend = self->backend,
                                           .session = self->session,
                                           .graph = graph_of(self),
                                           .spec = spec_of(self)};
    enum cyx_status status = finish_open(self, ret_error);
    if (status == CYX_OK)
        status = cyx_model_save(path, &target, (int64_t)self->steps, sha256, ret_bytes, ret_error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}
