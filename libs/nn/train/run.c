#include "nn/train/run.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "nn/infer/weights.h"
#include "nn/train/init.h"

#include "base/banned.h"

/* ---- programs ---- */

enum cyx_status run_program(struct run *self, bool training, int64_t rows,
                            struct cyx_program **ret_program, struct cyx_error *error)
{
    for (size_t i = 0; i < self->n_programs; i++) {
        if (self->programs[i].batch != rows || self->programs[i].training != training)
            continue;
        *ret_program = self->programs[i].program;
        return CYX_OK;
    }
    if (self->n_programs == RUN_PROGRAMS)
        return cyx_error_set(error, CYX_ERR_INTERNAL, NULL, "more batch sizes than expected");
    struct run_program *made = &self->programs[self->n_programs];
    const struct cyx_graph_options options = {.batch = rows, .training = training};
    enum cyx_status status = cyx_graph_create_step(self->spec, &options, &made->graph, error);
    if (status == CYX_OK && !self->session)
        status = self->backend->session_create(self->device, made->graph, &self->session, error);
    if (status == CYX_OK)
        status = self->backend->program_create(self->session, made->graph, &made->program, error);
    if (status != CYX_OK) {
        cyx_graph_destroy(made->graph);
        made->graph = NULL;
        return status;
    }
    made->batch = rows;
    made->training = training;
    self->n_programs++;
    *ret_program = made->program;
    return CYX_OK;
}

const struct cyx_graph *run_graph(const struct run *self)
{
    return self->programs[0].graph;
}

/* ---- device ---- */

static enum cyx_status open_device(struct run *self, struct cyx_error *error)
{
    const struct cyx_train_options *options = self->options;
    const char *name = options->backend ? options->backend : self->spec->resources.backend;
    struct cyx_device_options device = options->device;
    if (device.threads == 0)
        device.threads = (int)self->spec->resources.threads;
    enum cyx_status status =
        cyx_backend_open(name ? name : "auto", &device, &self->backend, &self->device, error);
    if (status == CYX_OK)
        self->backend->device_info(self->device, &self->info);
    return status;
}

void run_look_at_device(struct run *self)
{
    const int64_t every_ns = 1000000000;
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (now_ns - self->looked_ns < every_ns)
        return;
    self->looked_ns = now_ns;
    self->backend->device_info(self->device, &self->info);
    if (self->info.memory_budget_bytes)
        return;
    self->info.memory_budget_bytes = self->info.memory_bytes;
    for (size_t i = 0; i < self->n_programs; i++) {
        int64_t bytes = self->backend->memory_bytes(self->programs[i].program);
        if (bytes > self->info.memory_used_bytes)
            self->info.memory_used_bytes = bytes;
    }
}

/* The last batch of an epoch may be smaller: what it does not fit is told now and not at its end. */
static enum cyx_status check_last_batch(const struct run *self, struct cyx_error *error)
{
    int64_t rows = cyx_loader_samples(self->train) % self->spec->data.batch_size;
    struct cyx_graph *graph = NULL;
    if (rows == 0 || self->spec->data.drop_last)
        return CYX_OK;
    const struct cyx_graph_options options = {.batch = rows, .training = true};
    enum cyx_status status = cyx_graph_create_step(self->spec, &options, &graph, error);
    cyx_graph_destroy(graph);
    return status;
}

/* The weights that the spec begins with, over those that were drawn. */
static enum cyx_status load_initial(struct run *self, struct cyx_error *error)
{
    const struct cyx_initial_spec *initial = &self->spec->initial;
    const char *from = self->options->initial_from, *base = self->options->base_dir;
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    struct cyx_safetensors *file = NULL;
    if (!initial->file && !initial->upload)
        return CYX_OK;
    if (!from && !initial->file)
        return cyx_error_set(error, CYX_ERR_INVALID, "/initial",
                             "on this machine give the \"file\" beside \"upload\"");
    if (!from && *initial->file != '/' && base && *base)
        cyx_buf_printf(&path, "%s/", base);
    cyx_buf_puts(&path, from ? from : initial->file);
    if (path.failed)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a path");
    const struct cyx_graph *graph = run_graph(self);
    enum cyx_status status = cyx_safetensors_open(path.data, &file, error);
    if (status == CYX_OK && !initial->partial)
        status = infer_check_weights(file, graph, error);
    if (status == CYX_OK)
        status = initial->partial
                     ? infer_load_matching(file, graph, self->backend, self->session, error)
                     : infer_load_weights(file, graph, self->backend, self->session, error);
    cyx_safetensors_close(file);
    if (status == CYX_ERR_INVALID || status == CYX_ERR_CORRUPT) {
        const struct cyx_error why = *error;
        return cyx_error_set(error, CYX_ERR_INVALID, "/initial", "%s: %s",
                             initial->upload && from ? initial->upload : path.data, why.message);
    }
    return status;
}

/* A fresh session's first values, or those of the checkpoint. */
static enum cyx_status first_values(struct run *self, struct cyx_error *error)
{
    const struct cyx_job_spec *spec = self->spec;
    cyx_lr_init(&self->lr, spec, cyx_loader_batches(self->train));
    self->progress.lr = self->lr.state;
    if (!self->options->resume_from) {
        enum cyx_status drawn =
            cyx_init_parameters(self->backend, self->session, run_graph(self), spec->seed, error);
        return drawn == CYX_OK ? load_initial(self, error) : drawn;
    }
    struct cyx_checkpoint_target target = {
        .backend = self->backend, .session = self->session, .graph = run_graph(self), .spec = spec};
    enum cyx_status status =
        cyx_checkpoint_load(self->options->resume_from, &target, &self->progress, error);
    if (status == CYX_OK && (self->progress.epoch > spec->epochs ||
                             self->progress.batch > cyx_loader_batches(self->train)))
        status = cyx_error_set(error, CYX_ERR_CORRUPT, NULL, "%s stands beyond the end of training",
                               self->options->resume_from);
    self->lr.state = self->progress.lr;
    return status;
}

enum cyx_status run_open(struct run *self, const struct cyx_train_options *options,
                         struct cyx_error *error)
{
    self->options = options;
    self->spec = options->spec;
    if (self->spec->resources.nodes > 1 && !options->gang)
        return cyx_error_set(error, CYX_ERR_UNSUPPORTED, "/resources/nodes",
                             "%lld nodes train together on the platform alone (cyxwiz job submit); "
                             "leave resources.nodes out to train here",
                             (long long)self->spec->resources.nodes);
    enum cyx_status status = run_open_data(self, error);
    if (status == CYX_OK)
        status = open_device(self, error);
    if (status != CYX_OK)
        return status;
    int64_t rows = cyx_loader_samples(self->train), batch = self->spec->data.batch_size;
    struct cyx_program *program = NULL;
    self->total_steps = cyx_loader_batches(self->train) * self->spec->epochs;
    status = run_program(self, true, rows < batch ? rows : batch, &program, error);
    if (status == CYX_OK)
        status = check_last_batch(self, error);
    if (status == CYX_OK)
        status = first_values(self, error);
    return status;
}

void run_finish(struct run *self)
{
    for (size_t i = 0; i < self->n_programs; i++) {
        self->backend->program_destroy(self->programs[i].program);
        cyx_graph_destroy(self->programs[i].graph);
    }
    if (self->session)
        self->backend->session_destroy(self->session);
    if (self->device)
        self->backend->device_close(self->device);
    run_close_data(self);
}

/* ---- evaluation ---- */

struct sums {
    double loss;
    double correct, count;
};

static enum cyx_status take_result(struct run *self, const struct run_open_step *open,
                                   struct sums *sums, struct cyx_error *error)
{
    struct cyx_step_result result = {0};
    enum cyx_status status = self->backend->wait(open->program, open->ticket, &result, error);
    sums->loss += (double)result.loss * (double)result.count;
    sums->correct += (double)result.correct;
    sums->count += (double)result.count;
    return status;
}

static enum cyx_status submit_batch(struct run *self, const struct cyx_batch *batch,
                                    struct run_open_step *ret_open, struct cyx_error *error)
{
    struct cyx_feed feed = {.input = batch->input, .target = batch->target};
    enum cyx_status status = run_program(self, false, batch->count, &ret_open->program, error);
    if (status == CYX_OK)
        status = self->backend->submit(ret_open->program, &feed, &ret_open->ticket, error);
    return status;
}

double run_accuracy(const struct run *self, double correct, double count)
{
    if (!run_graph(self)->counts_correct)
        return NAN;
    return count > 0 ? correct / count : 0;
}

enum cyx_status run_evaluate(struct run *self, struct cyx_loader *loader, double *ret_loss,
                             double *ret_accuracy, struct cyx_error *error)
{
    struct sums sums = {0};
    struct run_open_step before = {0}, now = {0};
    struct cyx_batch batch;
    enum cyx_status status = CYX_OK;
    cyx_loader_start(loader, 0, 0);
    while (status == CYX_OK && cyx_loader_next(loader, &batch)) {
        status = submit_batch(self, &batch, &now, error);
        if (status == CYX_OK && before.program)
            status = take_result(self, &before, &sums, error);
        before = now;
    }
    if (status == CYX_OK && before.program)
        status = take_result(self, &before, &sums, error);
    if (status == CYX_OK)
        status = cyx_loader_failure(loader, error);
    if (status != CYX_OK)
        return status;
    *ret_loss = sums.count > 0 ? sums.loss / sums.count : 0;
    *ret_accuracy = run_accuracy(self, sums.correct, sums.count);
    return CYX_OK;
}
