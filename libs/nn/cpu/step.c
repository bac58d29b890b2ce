#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/md.h"
#include "nn/cpu/patience.h"

#include "base/banned.h"

/* The replay: prepared calls in order, nothing else. */
static dnnl_status_t run(struct cyx_program *self)
{
    for (size_t i = 0; i < self->n_calls; i++) {
        const struct cpu_call *call = &self->calls[i];
        if (!call->primitive) {
            call->kernel(self, call->step);
            continue;
        }
        dnnl_status_t status =
            dnnl_primitive_execute(call->primitive, self->device->stream, call->n_args, call->args);
        if (status != dnnl_success)
            return status;
    }
    return dnnl_stream_wait(self->device->stream);
}

static dnnl_status_t feed_values(struct cyx_program *self, const struct cyx_feed *feed)
{
    const struct cyx_graph *graph = self->graph;
    /* Nothing writes to what is fed; oneDNN's and the kernels' arguments have no const. */
    if (graph->input != CYX_NO_VALUE)
        self->values[graph->input].data = (void *)feed->input;
    if (graph->target != CYX_NO_VALUE)
        self->values[graph->target].data = (void *)feed->target;
    for (size_t i = 0; i < self->n_fed; i++) {
        dnnl_status_t status =
            dnnl_memory_set_data_handle(self->fed[i].memory, self->values[self->fed[i].value].data);
        if (status != dnnl_success)
            return status;
    }
    return dnnl_success;
}

enum cyx_status cpu_submit(struct cyx_program *self, const struct cyx_feed *feed,
                           uint64_t *ret_ticket, struct cyx_error *ret_error)
{
    if (self->submitted - self->waited >= CYX_STEPS_IN_FLIGHT)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "%d steps are open: wait for the oldest first", CYX_STEPS_IN_FLIGHT);
    if ((self->graph->input != CYX_NO_VALUE && !feed->input) ||
        (self->graph->target != CYX_NO_VALUE && !feed->target))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "expected a batch of images and their labels to feed");
    struct cpu_scope scope;
    cpu_enter(self->device, &scope);
    self->feed = feed;
    dnnl_status_t status = feed_values(self, feed);
    if (status == dnnl_success)
        status = run(self);
    self->feed = NULL;
    cpu_leave(&scope);
    cpu_patience_observe(self->device->patience);
    if (status != dnnl_success)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "oneDNN failed in a step (%d)",
                             (int)status);
    self->results[self->submitted % CYX_STEPS_IN_FLIGHT] =
        (struct cyx_step_result){.loss = self->result[CYX_RESULT_LOSS],
                                 .correct = self->result[CYX_RESULT_CORRECT],
                                 .count = self->result[CYX_RESULT_COUNT],
                                 .grad_norm = self->result[CYX_RESULT_GRAD_NORM]};
    *ret_ticket = ++self->submitted;
    return CYX_OK;
}

enum cyx_status cpu_wait(struct cyx_program *self, uint64_t ticket,
                         struct cyx_step_result *ret_result, struct cyx_error *ret_error)
{
    if (ticket != self->waited + 1 || ticket > self->submitted)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "expected ticket %llu, got %llu: tickets are waited for in order",
                             (unsigned long long)self->waited + 1, (unsigned long long)ticket);
    *ret_result = self->results[self->waited % CYX_STEPS_IN_FLIGHT];
    self->waited++;
    return CYX_OK;
}

static int32_t find_value(const struct cyx_graph *graph, const char *name)
{
    for (size_t v = 0; v < graph->n_values; v++)
        if (strcmp(graph->values[v].name, name) == 0)
            return (int32_t)v;
    return CYX_NO_VALUE;
}

/* The value where its bytes are the program's to the end of the step; else NULL and why. */
static const struct cpu_value *kept_value(struct cyx_program *self, const char *name,
                                          int32_t *ret_index, struct cyx_error *error)
{
    const struct cyx_graph *graph = self->graph;
    int32_t index = find_value(graph, name);
    const struct cpu_value *value = index == CYX_NO_VALUE ? NULL : cpu_value(self, index);
    if (!value || !value->has_md || !value->data) {
        cyx_error_set(error, CYX_ERR_NOT_FOUND, NULL, "the program holds no value \"%s\"", name);
        return NULL;
    }
    if (!self->keep && cpu_root(graph, index) != cpu_root(graph, graph->output)) {
        cyx_error_set(error, CYX_ERR_NOT_FOUND, NULL,
                      "\"%s\" shares its bytes: set CYXWIZ_KEEP_VALUES=1", name);
        return NULL;
    }
    *ret_index = index;
    return value;
}

enum cyx_status cpu_transient_read(struct cyx_program *self, const char *name, float *ret_data,
                                   size_t count, struct cyx_error *ret_error)
{
    int32_t index = CYX_NO_VALUE;
    const struct cpu_value *value = kept_value(self, name, &index, ret_error);
    if (!value)
        return CYX_ERR_NOT_FOUND;
    int64_t elements = cyx_shape_count(&self->graph->values[index].shape);
    if ((size_t)elements != count)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "\"%s\" has %lld elements, got %zu",
                             name, (long long)elements, count);
    dnnl_memory_desc_t plain;
    cpu_md_plain_like(&value->md, &plain);
    return cpu_copy(self->device, &value->md, value->data, &plain, ret_data, ret_error);
}

const float *cpu_transient_host(struct cyx_program *self, const char *name)
{
    int32_t index = CYX_NO_VALUE;
    const struct cpu_value *value = kept_value(self, name, &index, NULL);
    bool numbers = value && self->graph->values[index].dtype == CYX_F32;
    return numbers && cpu_md_is_plain(&value->md) ? value->data : NULL;
}
