#include <stdlib.h>
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/* Few and looked up when a program is made or a value copied: a plain search. */
struct cpu_store *cpu_session_find(const struct cyx_session *self, const char *name)
{
    for (size_t i = 0; i < self->n_stores; i++)
        if (strcmp(self->stores[i].name, name) == 0)
            return &self->stores[i];
    return NULL;
}

/* A store in the layout that the program chose for the value; plain where no node reads it. */
static enum cyx_status add_store(struct cyx_session *self, struct cyx_program *layouts,
                                 int32_t index, struct cyx_error *error)
{
    const struct cyx_value *value = &layouts->graph->values[index];
    struct cpu_value *chosen = cpu_value(layouts, index);
    struct cpu_store *store = &self->stores[self->n_stores++];
    store->name = cyx_arena_strdup(&self->arena, value->name);
    store->kind = value->kind;
    store->count = cyx_shape_count(&value->shape);
    if (chosen->has_md)
        store->md = chosen->md;
    else
        cpu_md_plain(value->shape.rank, value->shape.dim, &store->md);
    store->bytes = cpu_md_bytes(&store->md);
    size_t bytes = ((size_t)store->bytes / CPU_ALIGN_BYTES + 1) * CPU_ALIGN_BYTES;
    store->data = aligned_alloc(CPU_ALIGN_BYTES, bytes);
    if (!store->name || !store->data)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL,
                             "no memory for the parameters: %lld bytes more were wanted for %s",
                             (long long)store->bytes, value->name);
    memset(store->data, 0, bytes);
    if (value->constant) /* nothing but plain reads it */
        memcpy(store->data, value->constant, (size_t)store->count * sizeof(float));
    self->bytes += (int64_t)bytes;
    return CYX_OK;
}

static enum cyx_status add_stores(struct cyx_session *self, struct cyx_program *layouts,
                                  struct cyx_error *error)
{
    const struct cyx_graph *graph = layouts->graph;
    self->stores = calloc(graph->n_values ? graph->n_values : 1, sizeof(*self->stores));
    if (!self->stores)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a session");
    for (size_t v = 0; v < graph->n_values; v++) {
        enum cyx_value_kind kind = graph->values[v].kind;
        if (!cyx_value_persists(kind))
            continue;
        enum cyx_status status = add_store(self, layouts, (int32_t)v, error);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

enum cyx_status cpu_session_create(struct cyx_device *device, const struct cyx_graph *graph,
                                   struct cyx_session **ret_session, struct cyx_error *ret_error)
{
    struct cyx_session *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a session");
    self->device = device;
    struct cyx_program *layouts = NULL;
    struct cpu_scope scope;
    cpu_enter(device, &scope);
    enum cyx_status status = cpu_program_layouts(device, NULL, graph, &layouts, ret_error);
    if (status == CYX_OK)
        status = add_stores(self, layouts, ret_error);
    cpu_program_free(layouts);
    cpu_leave(&scope);
    if (status != CYX_OK) {
        cpu_session_destroy(self);
        return status;
    }
    *ret_session = self;
    return CYX_OK;
}

void cpu_session_destroy(struct cyx_session *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < self->n_stores; i++)
        free(self->stores[i].data);
    free(self->stores);
    cyx_arena_finish(&self->arena);
    free(self);
}

/* ---- copies in and out ---- */

static dnnl_status_t reorder(struct cyx_device *device, const dnnl_memory_desc_t *from_md,
                             dnnl_memory_t from, const dnnl_memory_desc_t *to_md, dnnl_memory_t to)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(&pd, from_md, device->engine, to_md,
                                                              device->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, pd);
    if (status == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        status = dnnl_primitive_execute(primitive, device->stream, 2, args);
    }
    if (status == dnnl_success)
        status = dnnl_stream_wait(device->stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return status;
}

enum cyx_status cpu_copy(struct cyx_device *device, const dnnl_memory_desc_t *from_md,
                         const void *from, const dnnl_memory_desc_t *to_md, void *to,
                         struct cyx_error *error)
{
    dnnl_memory_t source = NULL, target = NULL;
    struct cpu_scope scope;
    cpu_enter(device, &scope);
    /* oneDNN's memories have no const; a reorder only reads its source. */
    dnnl_status_t status = dnnl_memory_create(&source, from_md, device->engine, (void *)from);
    if (status == dnnl_success)
        status = dnnl_memory_create(&target, to_md, device->engine, to);
    if (status == dnnl_success)
        status = reorder(device, from_md, source, to_md, target);
    if (source)
        dnnl_memory_destroy(source);
    if (target)
        dnnl_memory_destroy(target);
    cpu_leave(&scope);
    if (status != dnnl_success)
        return cyx_error_set(error, CYX_ERR_INTERNAL, NULL, "oneDNN could not copy a value (%d)",
                             (int)status);
    return CYX_OK;
}

static enum cyx_status refuse_value(const struct cpu_store *store, const char *name, size_t count,
                                    struct cyx_error *error)
{
    if (!store)
        return cyx_error_set(error, CYX_ERR_NOT_FOUND, NULL, "the session has no value \"%s\"",
                             name);
    return cyx_error_set(error, CYX_ERR_INVALID, NULL, "\"%s\" has %lld elements, got %zu", name,
                         (long long)store->count, count);
}

enum cyx_status cpu_value_write(struct cyx_session *self, const char *name, const float *data,
                                size_t count, struct cyx_error *ret_error)
{
    struct cpu_store *store = cpu_session_find(self, name);
    if (!store || (size_t)store->count != count)
        return refuse_value(store, name, count, ret_error);
    if (cpu_md_is_plain(&store->md)) { /* bit for bit, denormals too */
        memcpy(store->data, data, count * sizeof(float));
        return CYX_OK;
    }
    dnnl_memory_desc_t plain;
    cpu_md_plain_like(&store->md, &plain);
    return cpu_copy(self->device, &plain, data, &store->md, store->data, ret_error);
}

enum cyx_status cpu_value_read(struct cyx_session *self, const char *name, float *ret_data,
                               size_t count, struct cyx_error *ret_error)
{
    struct cpu_store *store = cpu_session_find(self, name);
    if (!store || (size_t)store->count != count)
        return refuse_value(store, name, count, ret_error);
    if (cpu_md_is_plain(&store->md)) {
        memcpy(ret_data, store->data, count * sizeof(float));
        return CYX_OK;
    }
    dnnl_memory_desc_t plain;
    cpu_md_plain_like(&store->md, &plain);
    return cpu_copy(self->device, &store->md, store->data, &plain, ret_data, ret_error);
}

float *cpu_value_host(struct cyx_session *self, const char *name)
{
    const struct cpu_store *store = cpu_session_find(self, name);
    return store && cpu_md_is_plain(&store->md) ? store->data : NULL;
}
