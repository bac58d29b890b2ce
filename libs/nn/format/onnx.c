#include "nn/format/onnx.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "onnx.pb-c.h"

#include "base/banned.h"

struct cyx_onnx_memory {
    struct cyx_arena arena;
};

/* What is being read: everything is copied out of protobuf's own structures. */
struct reader {
    struct cyx_arena *arena;
    struct cyx_error *error;
};

static enum cyx_status no_memory(const struct reader *r)
{
    return cyx_error_set(r->error, CYX_ERR_NO_MEMORY, NULL, "ONNX: memory ran out");
}

static const char *text_or(const char *text, const char *fallback)
{
    return text ? text : fallback;
}

/* A copy of `count` elements; an empty list gives a pointer too. NULL when memory ran out. */
static void *copy(const struct reader *r, const void *data, size_t count, size_t size)
{
    void *kept = cyx_arena_calloc(r->arena, count, size);
    if (kept && count > 0)
        memcpy(kept, data, count * size);
    return kept;
}

/* ---- tensors ---- */

/* Bytes of an element in raw_data; 0 for the types whose elements are not read. */
static size_t raw_bytes(int32_t dtype)
{
    switch (dtype) {
    case CYX_ONNX_UINT8:
    case CYX_ONNX_INT8:
    case CYX_ONNX_BOOL:
        return 1;
    case CYX_ONNX_FLOAT:
    case CYX_ONNX_INT32:
        return 4;
    case CYX_ONNX_INT64:
        return 8;
    default:
        return 0;
    }
}

static int64_t widen(int32_t dtype, const uint8_t *raw, size_t i)
{
    int32_t word;
    int64_t whole;
    switch (dtype) {
    case CYX_ONNX_INT8:
        return (int8_t)raw[i];
    case CYX_ONNX_INT32:
        memcpy(&word, raw + i * sizeof(word), sizeof(word));
        return word;
    case CYX_ONNX_INT64:
        memcpy(&whole, raw + i * sizeof(whole), sizeof(whole));
        return whole;
    default:
        return raw[i];
    }
}

static enum cyx_status read_shape(const struct reader *r, const Cyx__Onnx__Tensor *from,
                                  struct cyx_onnx_tensor *to)
{
    if (from->n_dims > CYX_ONNX_RANK_LIMIT)
        return cyx_error_set(r->error, CYX_ERR_UNSUPPORTED, NULL,
                             "ONNX: \"%.100s\" has %zu dimensions, the limit is %d", to->name,
                             from->n_dims, CYX_ONNX_RANK_LIMIT);
    to->rank = (int)from->n_dims;
    to->count = 1;
    for (int i = 0; i < to->rank; i++) {
        to->dim[i] = from->dims[i];
        if (to->dim[i] < 0 || __builtin_mul_overflow(to->count, (size_t)to->dim[i], &to->count) ||
            to->count > CYX_ONNX_FILE_LIMIT_BYTES)
            return cyx_error_set(r->error, CYX_ERR_CORRUPT, NULL,
                                 "ONNX: \"%.100s\" has a shape that no file holds", to->name);
    }
    return CYX_OK;
}

/* How many elements the file holds, in raw_data or in the list of its type. */
static size_t stored_count(const Cyx__Onnx__Tensor *from, size_t element_bytes)
{
    if (from->has_raw_data)
        return from->raw_data.len % element_bytes ? SIZE_MAX : from->raw_data.len / element_bytes;
    if (from->data_type == CYX_ONNX_FLOAT)
        return from->n_float_data;
    return from->data_type == CYX_ONNX_INT64 ? from->n_int64_data : from->n_int32_data;
}

static enum cyx_status read_elements(const struct reader *r, const Cyx__Onnx__Tensor *from,
                                     struct cyx_onnx_tensor *to)
{
    size_t bytes = raw_bytes(to->dtype);
    if (bytes == 0)
        return CYX_OK;
    if (stored_count(from, bytes) != to->count)
        return cyx_error_set(r->error, CYX_ERR_CORRUPT, NULL,
                             "ONNX: \"%.100s\" holds other than its shape's %zu elements", to->name,
                             to->count);
    if (to->dtype == CYX_ONNX_FLOAT) {
        to->floats = copy(r, from->has_raw_data ? (void *)from->raw_data.data : from->float_data,
                          to->count, sizeof(float));
        return to->floats ? CYX_OK : no_memory(r);
    }
    int64_t *integers = cyx_arena_calloc(r->arena, to->count, sizeof(*integers));
    if (!integers)
        return no_memory(r);
    for (size_t i = 0; i < to->count; i++) {
        if (from->has_raw_data)
            integers[i] = widen(to->dtype, from->raw_data.data, i);
        else
            integers[i] = to->dtype == CYX_ONNX_INT64 ? from->int64_data[i] : from->int32_data[i];
    }
    to->integers = integers;
    return CYX_OK;
}

static enum cyx_status read_tensor(const struct reader *r, const Cyx__Onnx__Tensor *from,
                                   struct cyx_onnx_tensor *to)
{
    to->name = cyx_arena_strdup(r->arena, text_or(from->name, ""));
    if (!to->name)
        return no_memory(r);
    if (from->n_external_data > 0)
        return cyx_error_set(r->error, CYX_ERR_UNSUPPORTED, NULL,
                             "ONNX: \"%.100s\" lies in another file, which is not read: save the "
                             "model with its weights inside",
                             to->name);
    to->dtype = from->data_type;
    enum cyx_status status = read_shape(r, from, to);
    return status == CYX_OK ? read_elements(r, from, to) : status;
}

/* ---- nodes ---- */

static const char **read_names(const struct reader *r, char **from, size_t count)
{
    const char **names = cyx_arena_calloc(r->arena, count, sizeof(*names));
    for (size_t i = 0; names && i < count; i++) {
        names[i] = cyx_arena_strdup(r->arena, text_or(from[i], ""));
        if (!names[i])
            return NULL;
    }
    return names;
}

static enum cyx_status read_attribute(const struct reader *r, const Cyx__Onnx__Attribute *from,
                                      struct cyx_onnx_attribute *to)
{
    *to = (struct cyx_onnx_attribute){
        .name = cyx_arena_strdup(r->arena, text_or(from->name, "")),
        .f = from->f,
        .i = from->i,
        .floats = copy(r, from->floats, from->n_floats, sizeof(*from->floats)),
        .n_floats = from->n_floats,
        .ints = copy(r, from->ints, from->n_ints, sizeof(*from->ints)),
        .n_ints = from->n_ints,
    };
    bool copied = to->name && to->floats && to->ints;
    if (from->has_s) {
        to->s = cyx_arena_strndup(r->arena, from->s.len ? (char *)from->s.data : "", from->s.len);
        copied = copied && to->s;
    }
    if (!copied)
        return no_memory(r);
    if (!from->t)
        return CYX_OK;
    struct cyx_onnx_tensor *tensor = cyx_arena_alloc(r->arena, sizeof(*tensor));
    to->tensor = tensor;
    return tensor ? read_tensor(r, from->t, tensor) : no_memory(r);
}

static enum cyx_status read_node(const struct reader *r, const Cyx__Onnx__Node *from,
                                 struct cyx_onnx_node *to)
{
    struct cyx_onnx_attribute *attributes =
        cyx_arena_calloc(r->arena, from->n_attribute, sizeof(*attributes));
    *to = (struct cyx_onnx_node){
        .op_type = cyx_arena_strdup(r->arena, text_or(from->op_type, "")),
        .domain = cyx_arena_strdup(r->arena, text_or(from->domain, "")),
        .inputs = read_names(r, from->input, from->n_input),
        .n_inputs = from->n_input,
        .outputs = read_names(r, from->output, from->n_output),
        .n_outputs = from->n_output,
        .attributes = attributes,
        .n_attributes = from->n_attribute,
    };
    if (!to->op_type || !to->domain || !to->inputs || !to->outputs || !attributes)
        return no_memory(r);
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < from->n_attribute && status == CYX_OK; i++)
        status = read_attribute(r, from->attribute[i], &attributes[i]);
    return status;
}

/* ---- the model ---- */

static const char **value_names(const struct reader *r, Cyx__Onnx__Value **from, size_t count)
{
    const char **names = cyx_arena_calloc(r->arena, count, sizeof(*names));
    for (size_t i = 0; names && i < count; i++) {
        names[i] = cyx_arena_strdup(r->arena, text_or(from[i]->name, ""));
        if (!names[i])
            return NULL;
    }
    return names;
}

static enum cyx_status read_graph(const struct reader *r, const Cyx__Onnx__Graph *from,
                                  struct cyx_onnx_model *to)
{
    struct cyx_onnx_node *nodes = cyx_arena_calloc(r->arena, from->n_node, sizeof(*nodes));
    struct cyx_onnx_tensor *tensors =
        cyx_arena_calloc(r->arena, from->n_initializer, sizeof(*tensors));
    to->inputs = value_names(r, from->input, from->n_input);
    to->outputs = value_names(r, from->output, from->n_output);
    if (!nodes || !tensors || !to->inputs || !to->outputs)
        return no_memory(r);
    to->nodes = nodes;
    to->n_nodes = from->n_node;
    to->initializers = tensors;
    to->n_initializers = from->n_initializer;
    to->n_inputs = from->n_input;
    to->n_outputs = from->n_output;
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < from->n_node && status == CYX_OK; i++)
        status = read_node(r, from->node[i], &nodes[i]);
    for (size_t i = 0; i < from->n_initializer && status == CYX_OK; i++)
        status = read_tensor(r, from->initializer[i], &tensors[i]);
    return status;
}

static int64_t opset_of(const Cyx__Onnx__Model *model)
{
    int64_t version = 1;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const char *domain = text_or(model->opset_import[i]->domain, "");
        if (domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0)
            version = model->opset_import[i]->version;
    }
    return version;
}

static struct cyx_onnx_model *model_new(void)
{
    struct cyx_onnx_model *model = calloc(1, sizeof(*model));
    if (model)
        model->memory = calloc(1, sizeof(*model->memory));
    if (model && model->memory)
        return model;
    free(model);
    return NULL;
}

void cyx_onnx_model_destroy(struct cyx_onnx_model *self)
{
    if (!self)
        return;
    cyx_arena_finish(&self->memory->arena);
    free(self->memory);
    free(self);
}

enum cyx_status cyx_onnx_model_parse(const void *bytes, size_t length,
                                     struct cyx_onnx_model **ret_model, struct cyx_error *ret_error)
{
    Cyx__Onnx__Model *message = cyx__onnx__model__unpack(NULL, length, bytes);
    if (!message || !message->graph) {
        if (message)
            cyx__onnx__model__free_unpacked(message, NULL);
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "ONNX: the bytes are no model: expected a ModelProto with a graph");
    }
    struct cyx_onnx_model *model = model_new();
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (model) {
        struct reader reader = {&model->memory->arena, ret_error};
        model->opset = opset_of(message);
        status = read_graph(&reader, message->graph, model);
    } else {
        cyx_error_set(ret_error, status, NULL, "ONNX: memory ran out");
    }
    cyx__onnx__model__free_unpacked(message, NULL);
    if (status != CYX_OK) {
        cyx_onnx_model_destroy(model);
        return status;
    }
    *ret_model = model;
    return CYX_OK;
}

enum cyx_status cyx_onnx_model_open(const char *path, struct cyx_onnx_model **ret_model,
                                    struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_buf_read_file(&text, path, CYX_ONNX_FILE_LIMIT_BYTES, ret_error);
    if (status != CYX_OK)
        return status;
    return cyx_onnx_model_parse(text.data, text.length, ret_model, ret_error);
}

/* ---- a tensor alone ---- */

struct lone_tensor {
    struct cyx_onnx_tensor tensor; /* first: what the caller holds */
    struct cyx_arena arena;
};

void cyx_onnx_tensor_destroy(struct cyx_onnx_tensor *self)
{
    if (!self)
        return;
    struct lone_tensor *lone = (struct lone_tensor *)self;
    cyx_arena_finish(&lone->arena);
    free(lone);
}

enum cyx_status cyx_onnx_tensor_open(const char *path, struct cyx_onnx_tensor **ret_tensor,
                                     struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_buf_read_file(&text, path, CYX_ONNX_FILE_LIMIT_BYTES, ret_error);
    if (status != CYX_OK)
        return status;
    Cyx__Onnx__Tensor *message =
        cyx__onnx__tensor__unpack(NULL, text.length, (const uint8_t *)text.data);
    if (!message)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL, "ONNX: %.200s holds no tensor",
                             path);
    struct lone_tensor *lone = calloc(1, sizeof(*lone));
    struct reader reader = {lone ? &lone->arena : NULL, ret_error};
    status = lone ? read_tensor(&reader, message, &lone->tensor) : no_memory(&reader);
    cyx__onnx__tensor__free_unpacked(message, NULL);
    if (status != CYX_OK) {
        cyx_onnx_tensor_destroy(lone ? &lone->tensor : NULL);
        return status;
    }
    *ret_tensor = &lone->tensor;
    return CYX_OK;
}

/* ---- attributes ---- */

const struct cyx_onnx_attribute *cyx_onnx_attribute(const struct cyx_onnx_node *node,
                                                    const char *name)
{
    for (size_t i = 0; i < node->n_attributes; i++)
        if (strcmp(node->attributes[i].name, name) == 0)
            return &node->attributes[i];
    return NULL;
}

int64_t cyx_onnx_int(const struct cyx_onnx_node *node, const char *name, int64_t fallback)
{
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, name);
    return attribute ? attribute->i : fallback;
}

double cyx_onnx_float(const struct cyx_onnx_node *node, const char *name, double fallback)
{
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, name);
    return attribute ? (double)attribute->f : fallback;
}

const char *cyx_onnx_string(const struct cyx_onnx_node *node, const char *name,
                            const char *fallback)
{
    const struct cyx_onnx_attribute *attribute = cyx_onnx_attribute(node, name);
    return attribute && attribute->s ? attribute->s : fallback;
}
