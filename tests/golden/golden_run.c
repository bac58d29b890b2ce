#include "golden_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_case.h"

static float *read_images(struct golden_run *self)
{
    const struct cyx_safetensors_tensor *tensor = cyx_safetensors_find(self->file, "images");
    size_t count = golden_count(tensor);
    uint8_t *bytes = golden_bytes(self->file, tensor);
    float *images = calloc(count, sizeof *images);
    assert_non_null(images);
    for (size_t i = 0; i < count; i++)
        images[i] = (float)bytes[i] / 255.0f;
    free(bytes);
    self->batches = tensor->shape[0];
    self->batch = tensor->shape[1];
    return images;
}

static void build_graph(struct golden_run *self)
{
    struct cyx_error error = {0};
    struct cyx_graph_options options = {.batch = self->batch, .training = true};
    must_do(self->name, cyx_graph_create_step(self->spec, &options, &self->graph, &error), &error);
}

void golden_run_open(struct golden_run *self, const struct cyx_safetensors *file, const char *name)
{
    const struct cyx_safetensors_tensor *rates = golden_need(file, name, "rates");
    *self = (struct golden_run){.file = file, .name = name, .spec = golden_spec(file, name)};
    self->steps = rates->shape[0];
    self->n_groups = rates->shape[1];
    assert_int_equal(self->n_groups, self->spec->optimizer.n_groups + 1);
    self->images = read_images(self);
    self->targets = golden_bytes(file, cyx_safetensors_find(file, "labels"));
    self->losses = golden_bytes(file, golden_need(file, name, "losses"));
    self->norms = golden_bytes(file, golden_need(file, name, "norms"));
    self->rates = golden_bytes(file, rates);
    build_graph(self);
}

void golden_run_open_case(struct golden_run *self, const struct cyx_safetensors *file,
                          const char *name)
{
    struct cyx_error error = {0};
    const struct cyx_safetensors_tensor *losses = golden_need(file, name, "losses");
    *self = (struct golden_run){.file = file, .name = name, .spec = golden_case_spec(file, name)};
    const struct cyx_optimizer_spec *optimizer = &self->spec->optimizer;
    self->graph = golden_case_graph(file, name, self->spec);
    must_do(name, cyx_graph_add_optimizer(self->graph, optimizer, &self->spec->clip, &error),
            &error);
    self->steps = losses->shape[0];
    self->batch = golden_case_batch(file, name);
    self->batches = self->n_groups = 1;
    self->losses = golden_bytes(file, losses);
    self->targets = golden_bytes(file, golden_need(file, name, "target"));
    self->images = calloc(1, sizeof *self->images);
    self->norms = calloc((size_t)self->steps, sizeof *self->norms);
    self->rates = calloc((size_t)self->steps, sizeof *self->rates);
    assert_true(self->images && self->norms && self->rates);
    for (int64_t step = 0; step < self->steps; step++)
        self->rates[step] = optimizer->lr;
}

void golden_run_close(struct golden_run *self)
{
    cyx_graph_destroy(self->graph);
    cyx_job_spec_destroy(self->spec);
    free(self->images);
    free(self->targets);
    free(self->losses);
    free(self->norms);
    free(self->rates);
}

struct cyx_feed golden_run_feed(const struct golden_run *self, int64_t step)
{
    int64_t pixels = cyx_shape_count(&self->graph->values[self->graph->input].shape);
    struct cyx_feed feed = {.input = self->images + step % self->batches * pixels,
                            .target =
                                (const int32_t *)self->targets + step % self->batches * self->batch,
                            .step = (uint64_t)step + 1};
    for (int64_t g = 0; g < self->n_groups; g++)
        feed.lr[g] = self->rates[step * self->n_groups + g];
    return feed;
}

const struct cyx_safetensors_tensor *
golden_run_tensor(const struct golden_run *self, const char *which, const struct cyx_value *value)
{
    char part[GOLDEN_NAME];
    if (strcmp(which, "first") == 0)
        return golden_case_first(self->file, self->name, value);
    snprintf(part, sizeof part, "%s.%s", which, value->name);
    return cyx_value_in_state_dict(value->kind) ? golden_need(self->file, self->name, part) : NULL;
}

static void write_first(const struct golden_run *self, const struct runner *runner,
                        struct cyx_session *session)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < self->graph->n_values; v++) {
        const struct cyx_value *value = &self->graph->values[v];
        const struct cyx_safetensors_tensor *tensor = golden_run_tensor(self, "first", value);
        if (!tensor)
            continue;
        float *data = golden_bytes(self->file, tensor);
        must_do(
            runner->name,
            runner->backend->value_write(session, value->name, data, golden_count(tensor), &error),
            &error);
        free(data);
    }
}

void golden_run_start(const struct golden_run *self, const struct runner *runner,
                      struct cyx_session **ret_session, struct cyx_program **ret_program)
{
    const struct cyx_backend *backend = runner->backend;
    struct cyx_error error = {0};
    must_do(runner->name, backend->session_create(runner->device, self->graph, ret_session, &error),
            &error);
    must_do(runner->name, backend->program_create(*ret_session, self->graph, ret_program, &error),
            &error);
    write_first(self, runner, *ret_session);
}
