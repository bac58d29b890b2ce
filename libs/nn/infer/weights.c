#include "nn/infer/weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#include "base/banned.h"

enum { NAMED_LIMIT = 3 }; /* of each kind of difference */

/* One kind of difference: "missing fc.weight, fc.bias and 4 more". */
struct differences {
    struct cyx_buf text;
    size_t count;
};

static void add(struct differences *list, const char *title, const char *what)
{
    if (list->count++ < NAMED_LIMIT)
        cyx_buf_printf(&list->text, "%s%s", list->count == 1 ? title : ", ", what);
}

static void append_shape(struct cyx_buf *text, const int64_t *dim, int rank)
{
    cyx_buf_puts(text, "(");
    for (int i = 0; i < rank; i++)
        cyx_buf_printf(text, "%s%" PRId64, i > 0 ? ", " : "", dim[i]);
    cyx_buf_puts(text, ")");
}

static bool same_shape(const struct cyx_safetensors_tensor *tensor, const struct cyx_shape *shape)
{
    bool same = tensor->rank == shape->rank;
    for (int i = 0; same && i < shape->rank; i++)
        same = tensor->shape[i] == shape->dim[i];
    return same;
}

static void add_shape_difference(struct differences *list,
                                 const struct cyx_safetensors_tensor *tensor,
                                 const struct cyx_shape *shape)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_printf(&text, "%.100s is ", tensor->name);
    append_shape(&text, tensor->shape, tensor->rank);
    cyx_buf_puts(&text, " where the spec wants ");
    append_shape(&text, shape->dim, shape->rank);
    add(list, "", text.failed ? tensor->name : text.data);
}

/* Whether a tensor that is none of the graph's may be there: "<layer>.num_batches_tracked" of a BatchNorm. */
static bool is_ignored(const struct cyx_graph *graph, const char *name)
{
    static const char end[] = ".num_batches_tracked";
    size_t length = strlen(name), tail = sizeof(end) - 1;
    CYX_CLEANUP_BUF struct cyx_buf twin = {0};
    if (length <= tail || strcmp(name + length - tail, end) != 0)
        return false;
    cyx_buf_printf(&twin, "%.*s.running_mean", (int)(length - tail), name);
    return !twin.failed && cyx_graph_find(graph, twin.data) != CYX_NO_VALUE;
}

static bool is_models(const struct cyx_graph *graph, const char *name)
{
    int32_t value = cyx_graph_find(graph, name);
    return value != CYX_NO_VALUE && cyx_value_in_state_dict(graph->values[value].kind);
}

static enum cyx_status tell(struct differences *const *lists, size_t n_lists,
                            struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < n_lists; i++) {
        if (lists[i]->count == 0)
            continue;
        cyx_buf_printf(&text, "%s%s", text.length > 0 ? "; " : "", lists[i]->text.data);
        if (lists[i]->count > NAMED_LIMIT)
            cyx_buf_printf(&text, " and %zu more", lists[i]->count - NAMED_LIMIT);
        text.failed = text.failed || lists[i]->text.failed;
    }
    if (text.failed)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to load a model");
    if (text.length == 0)
        return CYX_OK;
    return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                         "the file's tensors are not those of the spec: %s", text.data);
}

enum cyx_status infer_check_weights(const struct cyx_safetensors *file,
                                    const struct cyx_graph *graph, struct cyx_error *error)
{
    struct differences missing = {0}, unexpected = {0}, other = {0};
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (!cyx_value_in_state_dict(value->kind))
            continue;
        const struct cyx_safetensors_tensor *tensor = cyx_safetensors_find(file, value->name);
        if (!tensor)
            add(&missing, "missing ", value->name);
        else if (!same_shape(tensor, &value->shape))
            add_shape_difference(&other, tensor, &value->shape);
    }
    for (size_t t = 0; t < file->n_tensors; t++)
        if (!is_models(graph, file->tensors[t].name) && !is_ignored(graph, file->tensors[t].name))
            add(&unexpected, "unexpected ", file->tensors[t].name);
    enum cyx_status status =
        tell((struct differences *const[]){&missing, &unexpected, &other}, 3, error);
    cyx_buf_finish(&missing.text);
    cyx_buf_finish(&unexpected.text);
    cyx_buf_finish(&other.text);
    return status;
}

static enum cyx_status load_value(const struct cyx_safetensors *file, const struct cyx_value *value,
                                  const struct cyx_backend *backend, struct cyx_session *session,
                                  struct cyx_error *error)
{
    size_t count = (size_t)cyx_shape_count(&value->shape);
    float *data = malloc(count * sizeof(*data));
    if (!data)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to load %s", value->name);
    enum cyx_status status = cyx_safetensors_read_as_f32(
        file, cyx_safetensors_find(file, value->name), data, count, error);
    if (status == CYX_OK)
        status = backend->value_write(session, value->name, data, count, error);
    free(data);
    return status;
}

enum cyx_status infer_load_weights(const struct cyx_safetensors *file,
                                   const struct cyx_graph *graph, const struct cyx_backend *backend,
                                   struct cyx_session *session, struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    for (size_t v = 0; v < graph->n_values && status == CYX_OK; v++)
        if (cyx_value_in_state_dict(graph->values[v].kind))
            status = load_value(file, &graph->values[v], backend, session, error);
    return status;
}

enum cyx_status infer_load_matching(const struct cyx_safetensors *file,
                                    const struct cyx_graph *graph,
                                    const struct cyx_backend *backend, struct cyx_session *session,
                                    struct cyx_error *error)
{
    enum cyx_status status = CYX_OK;
    size_t taken = 0;
    for (size_t v = 0; v < graph->n_values && status == CYX_OK; v++) {
        const struct cyx_value *value = &graph->values[v];
        const struct cyx_safetensors_tensor *tensor =
            cyx_value_in_state_dict(value->kind) ? cyx_safetensors_find(file, value->name) : NULL;
        if (!tensor || !same_shape(tensor, &value->shape))
            continue;
        status = load_value(file, value, backend, session, error);
        taken++;
    }
    if (status == CYX_OK && taken == 0)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "no tensor of the file has the name and shape of one of the spec's");
    return status;
}
