#include "model/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/private.h"

#include "base/banned.h"

int64_t cyx_shape_count(const struct cyx_shape *self)
{
    int64_t count = 1;
    for (int i = 0; i < self->rank; i++)
        count *= self->dim[i];
    return count;
}

bool cyx_shape_equal(const struct cyx_shape *a, const struct cyx_shape *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dim[i] == b->dim[i];
    return same;
}

int64_t graph_value_bytes(const struct cyx_value *value)
{
    return cyx_shape_count(&value->shape) * 4; /* CYX_F32 and CYX_I32 alike */
}

const char *cyx_op_name(enum cyx_op op)
{
    static const char *const names[CYX_OP_COUNT] = {
        [CYX_OP_LINEAR] = "linear",
        [CYX_OP_LINEAR_GRAD_INPUT] = "linear_grad_input",
        [CYX_OP_LINEAR_GRAD_WEIGHT] = "linear_grad_weight",
        [CYX_OP_CONV2D] = "conv2d",
        [CYX_OP_CONV2D_GRAD_INPUT] = "conv2d_grad_input",
        [CYX_OP_CONV2D_GRAD_WEIGHT] = "conv2d_grad_weight",
        [CYX_OP_CONV_TRANSPOSE2D] = "conv_transpose2d",
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT] = "conv_transpose2d_grad_input",
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT] = "conv_transpose2d_grad_weight",
        [CYX_OP_MAX_POOL2D] = "max_pool2d",
        [CYX_OP_MAX_POOL2D_GRAD] = "max_pool2d_grad",
        [CYX_OP_AVG_POOL2D] = "avg_pool2d",
        [CYX_OP_AVG_POOL2D_GRAD] = "avg_pool2d_grad",
        [CYX_OP_RELU] = "relu",
        [CYX_OP_RELU_GRAD] = "relu_grad",
        [CYX_OP_ACTIVATION] = "activation",
        [CYX_OP_ACTIVATION_GRAD] = "activation_grad",
        [CYX_OP_SOFTMAX] = "softmax",
        [CYX_OP_SOFTMAX_GRAD] = "softmax_grad",
        [CYX_OP_LOG_SOFTMAX] = "log_softmax",
        [CYX_OP_LOG_SOFTMAX_GRAD] = "log_softmax_grad",
        [CYX_OP_DROPOUT] = "dropout",
        [CYX_OP_DROPOUT_GRAD] = "dropout_grad",
        [CYX_OP_BATCH_NORM] = "batch_norm",
        [CYX_OP_BATCH_NORM_INFERENCE] = "batch_norm_inference",
        [CYX_OP_BATCH_NORM_GRAD] = "batch_norm_grad",
        [CYX_OP_LAYER_NORM] = "layer_norm",
        [CYX_OP_LAYER_NORM_GRAD] = "layer_norm_grad",
        [CYX_OP_RESHAPE] = "reshape",
        [CYX_OP_ADD] = "add",
        [CYX_OP_CONCAT] = "concat",
        [CYX_OP_SLICE] = "slice",
        [CYX_OP_ONE_HOT] = "one_hot",
        [CYX_OP_CROSS_ENTROPY] = "cross_entropy",
        [CYX_OP_CROSS_ENTROPY_GRAD] = "cross_entropy_grad",
        [CYX_OP_ELEMENT_LOSS] = "element_loss",
        [CYX_OP_ELEMENT_LOSS_GRAD] = "element_loss_grad",
        [CYX_OP_SQUARE_SUM] = "square_sum",
        [CYX_OP_CLIP_NORM] = "clip_norm",
        [CYX_OP_SGD] = "sgd",
        [CYX_OP_ADAM] = "adam",
        [CYX_OP_ADAMW] = "adamw",
        [CYX_OP_RMSPROP] = "rmsprop",
    };
    return (unsigned)op < CYX_OP_COUNT ? names[op] : "unknown";
}

bool cyx_value_persists(enum cyx_value_kind kind)
{
    return cyx_value_in_state_dict(kind) || kind == CYX_VALUE_STATE || kind == CYX_VALUE_CONSTANT;
}

bool cyx_value_in_state_dict(enum cyx_value_kind kind)
{
    return kind == CYX_VALUE_PARAM || kind == CYX_VALUE_BUFFER;
}

bool cyx_activation_keeps_output(enum cyx_activation activation)
{
    return activation == CYX_ACTIVATION_SIGMOID || activation == CYX_ACTIVATION_TANH;
}

/* ---- names: open addressing, at most half full ---- */

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

/* The bucket that holds `name`, or the free one where it would go. */
static size_t find_bucket(const struct cyx_graph *self, const char *name)
{
    const struct cyx_graph_memory *memory = self->memory;
    size_t at = hash_name(name) & (memory->n_buckets - 1);
    while (memory->buckets[at] != CYX_NO_VALUE &&
           strcmp(self->values[memory->buckets[at]].name, name) != 0)
        at = (at + 1) & (memory->n_buckets - 1);
    return at;
}

static bool grow_buckets(struct cyx_graph *self)
{
    struct cyx_graph_memory *memory = self->memory;
    if (memory->n_buckets >= 2 * (self->n_values + 1))
        return true;
    size_t n = memory->n_buckets ? memory->n_buckets * 2 : 64;
    int32_t *buckets = malloc(n * sizeof(*buckets));
    if (!buckets)
        return false;
    free(memory->buckets);
    memory->buckets = buckets;
    memory->n_buckets = n;
    for (size_t i = 0; i < n; i++)
        buckets[i] = CYX_NO_VALUE;
    for (size_t i = 0; i < self->n_values; i++)
        buckets[find_bucket(self, self->values[i].name)] = (int32_t)i;
    return true;
}

int32_t cyx_graph_find(const struct cyx_graph *self, const char *name)
{
    if (!self->memory) { /* made by hand, as tests of single operations do: no index of names */
        for (size_t i = 0; i < self->n_values; i++)
            if (strcmp(self->values[i].name, name) == 0)
                return (int32_t)i;
        return CYX_NO_VALUE;
    }
    return self->memory->buckets[find_bucket(self, name)];
}

/* ---- building ---- */

enum { FIRST_CAPACITY = 32 };

struct cyx_graph *graph_new(void)
{
    struct cyx_graph *self = calloc(1, sizeof(*self));
    struct cyx_graph_memory *memory = calloc(1, sizeof(*memory));
    if (!self || !memory) {
        free(self);
        free(memory);
        return NULL;
    }
    self->memory = memory;
    self->values = calloc(FIRST_CAPACITY, sizeof(*self->values));
    self->nodes = calloc(FIRST_CAPACITY, sizeof(*self->nodes));
    memory->values_capacity = memory->nodes_capacity = FIRST_CAPACITY;
    if (!self->values || !self->nodes || !grow_buckets(self)) {
        cyx_graph_destroy(self);
        return NULL;
    }
    self->input = self->target = self->output = self->result = CYX_NO_VALUE;
    return self;
}

void cyx_graph_destroy(struct cyx_graph *self)
{
    if (!self)
        return;
    cyx_arena_finish(&self->memory->arena);
    free(self->memory->buckets);
    free(self->memory);
    free(self->values);
    free(self->nodes);
    free(self);
}

enum cyx_status graph_ok(const struct cyx_graph *self, struct cyx_error *error)
{
    if (!self->memory->failed)
        return CYX_OK;
    return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "memory ran out while building the graph");
}

/* `array` with room for one more than `n`; marks the graph and gives NULL when there is none. */
static void *with_room(struct cyx_graph *self, void *array, size_t *capacity, size_t n, size_t size)
{
    if (n < *capacity)
        return array;
    void *grown = realloc(array, *capacity * 2 * size);
    if (grown)
        *capacity *= 2;
    else
        self->memory->failed = true;
    return grown;
}

int32_t graph_add_value(struct cyx_graph *self, const char *name, enum cyx_value_kind kind,
                        enum cyx_dtype dtype, const struct cyx_shape *shape)
{
    struct cyx_graph_memory *memory = self->memory;
    if (memory->failed)
        return 0;
    struct cyx_value *values = with_room(self, self->values, &memory->values_capacity,
                                         self->n_values, sizeof(*self->values));
    if (values)
        self->values = values;
    if (!values || !name || !grow_buckets(self)) {
        memory->failed = true;
        return 0;
    }
    int32_t index = (int32_t)self->n_values;
    memory->buckets[find_bucket(self, name)] = index;
    self->values[self->n_values++] = (struct cyx_value){
        .name = name,
        .kind = kind,
        .dtype = dtype,
        .shape = *shape,
        .producer = CYX_NO_VALUE,
        .grad = CYX_NO_VALUE,
        .alias_of = CYX_NO_VALUE,
    };
    return index;
}

const char *graph_name(struct cyx_graph *self, const char *format, ...)
{
    char text[256]; /* a layer's name has at most 64 characters */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return cyx_arena_strdup(&self->memory->arena, text);
}

struct cyx_node graph_node(enum cyx_op op, int32_t layer, const struct cyx_node *like)
{
    struct cyx_node node = like ? *like : (struct cyx_node){0};
    node.op = op;
    node.layer = layer;
    node.n_in = node.n_out = 0;
    node.fused_relu = false;
    for (int i = 0; i < CYX_NODE_INPUTS; i++)
        node.in[i] = CYX_NO_VALUE;
    for (int i = 0; i < CYX_NODE_OUTPUTS; i++)
        node.out[i] = CYX_NO_VALUE;
    return node;
}

static void set_producer(struct cyx_graph *self, size_t node)
{
    for (int i = 0; i < self->nodes[node].n_out; i++)
        if (self->nodes[node].out[i] != CYX_NO_VALUE)
            self->values[self->nodes[node].out[i]].producer = (int32_t)node;
}

void graph_add_node(struct cyx_graph *self, const struct cyx_node *node)
{
    struct cyx_node *nodes = self->memory->failed
                                 ? NULL
                                 : with_room(self, self->nodes, &self->memory->nodes_capacity,
                                             self->n_nodes, sizeof(*self->nodes));
    if (!nodes)
        return;
    self->nodes = nodes;
    self->nodes[self->n_nodes++] = *node;
    set_producer(self, self->n_nodes - 1);
}

void graph_reindex(struct cyx_graph *self)
{
    struct cyx_graph_memory *memory = self->memory;
    for (size_t i = 0; i < memory->n_buckets; i++)
        memory->buckets[i] = CYX_NO_VALUE;
    for (size_t i = 0; i < self->n_values; i++) {
        memory->buckets[find_bucket(self, self->values[i].name)] = (int32_t)i;
        self->values[i].producer = CYX_NO_VALUE;
    }
    for (size_t i = 0; i < self->n_nodes; i++)
        set_producer(self, i);
}
