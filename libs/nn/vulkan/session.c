#include "nn/vulkan/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static bool persists(const struct cyx_value *value)
{
    return cyx_value_persists(value->kind);
}

/* Names and offsets of the graph's persistent values; false when memory ran out. */
static bool lay_out(struct cyx_session *self, const struct cyx_graph *graph, int64_t *ret_bytes)
{
    int64_t bytes = 0;
    self->values = calloc(graph->n_values ? graph->n_values : 1, sizeof *self->values);
    if (!self->values)
        return false;
    for (size_t i = 0; i < graph->n_values; i++) {
        const struct cyx_value *value = &graph->values[i];
        if (!persists(value))
            continue;
        struct cyx_vk_persistent *persistent = &self->values[self->n_values];
        persistent->name = strdup(value->name);
        if (!persistent->name)
            return false;
        self->n_values++;
        persistent->count = cyx_shape_count(&value->shape);
        persistent->offset_bytes = bytes;
        bytes += cyx_vk_align(persistent->count * (int64_t)sizeof(float));
    }
    *ret_bytes = bytes;
    return true;
}

static enum cyx_status write_constants(struct cyx_session *self, const struct cyx_graph *graph,
                                       struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < graph->n_values && status == CYX_OK; i++) {
        const struct cyx_value *value = &graph->values[i];
        if (value->kind == CYX_VALUE_CONSTANT && value->constant)
            status = cyx_vk_value_write(self, value->name, value->constant,
                                        (size_t)cyx_shape_count(&value->shape), ret_error);
    }
    return status;
}

enum cyx_status cyx_vk_session_create(struct cyx_device *device, const struct cyx_graph *graph,
                                      struct cyx_session **ret_session, struct cyx_error *ret_error)
{
    int64_t bytes = 0;
    struct cyx_session *self = calloc(1, sizeof *self);
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    self->device = device;
    enum cyx_status status = CYX_OK;
    if (!lay_out(self, graph, &bytes))
        status = cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    if (status == CYX_OK)
        status =
            cyx_vk_buffer_create(device, bytes, false, "the model's parameters and optimizer state",
                                 &self->buffer, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_zero(device, &self->buffer, ret_error);
    if (status == CYX_OK)
        status = write_constants(self, graph, ret_error);
    status = cyx_vk_checked(device, status, ret_error);
    if (status != CYX_OK) {
        cyx_vk_session_destroy(self);
        return status;
    }
    *ret_session = self;
    return CYX_OK;
}

void cyx_vk_session_destroy(struct cyx_session *self)
{
    if (!self)
        return;
    cyx_vk_buffer_destroy(self->device, &self->buffer);
    for (size_t i = 0; i < self->n_values; i++)
        free(self->values[i].name);
    free(self->values);
    free(self);
}

const struct cyx_vk_persistent *cyx_vk_session_find(const struct cyx_session *self,
                                                    const char *name)
{
    for (size_t i = 0; i < self->n_values; i++) {
        if (strcmp(self->values[i].name, name) == 0)
            return &self->values[i];
    }
    return NULL;
}

static enum cyx_status check(const struct cyx_vk_persistent *value, const char *name, size_t count,
                             struct cyx_error *ret_error)
{
    if (!value)
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "the model has no value %s", name);
    if ((size_t)value->count != count)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "%s has %lld elements, got %zu",
                             name, (long long)value->count, count);
    return CYX_OK;
}

enum cyx_status cyx_vk_value_write(struct cyx_session *self, const char *name, const float *data,
                                   size_t count, struct cyx_error *ret_error)
{
    const struct cyx_vk_persistent *value = cyx_vk_session_find(self, name);
    enum cyx_status status = check(value, name, count, ret_error);
    if (status == CYX_OK && value)
        status = cyx_vk_upload(self->device, &self->buffer, value->offset_bytes, data,
                               (int64_t)(count * sizeof *data), ret_error);
    return cyx_vk_checked(self->device, status, ret_error);
}

enum cyx_status cyx_vk_value_read(struct cyx_session *self, const char *name, float *ret_data,
                                  size_t count, struct cyx_error *ret_error)
{
    const struct cyx_vk_persistent *value = cyx_vk_session_find(self, name);
    enum cyx_status status = check(value, name, count, ret_error);
    if (status == CYX_OK && value)
        status = cyx_vk_download(self->device, &self->buffer, value->offset_bytes, ret_data,
                                 (int64_t)(count * sizeof *ret_data), ret_error);
    return cyx_vk_checked(self->device, status, ret_error);
}
