/*
 * Private to libs/model: how a graph is put together. Adding never fails on its own: when memory runs out the
 * graph's memory is marked, later additions do nothing of use but stay within bounds, and whoever builds asks
 * graph_ok() once at the end of a stage.
 */
#ifndef CYX_MODEL_PRIVATE_H
#define CYX_MODEL_PRIVATE_H

#include "base/arena.h"
#include "contract/dataset.h"
#include "model/graph.h"

struct cyx_graph_memory {
    struct cyx_arena arena;
    size_t values_capacity, nodes_capacity;
    int32_t *buckets; /* hash table of names: index of a value, CYX_NO_VALUE where free */
    size_t n_buckets; /* power of two */
    bool failed;
    bool differentiated, optimized;
};

/* An empty graph, NULL when memory ran out. */
struct cyx_graph *graph_new(void);

enum cyx_status graph_ok(const struct cyx_graph *self, struct cyx_error *error);

/* Appends a value; `name` is the graph's already (graph_name). Returns its index. */
int32_t graph_add_value(struct cyx_graph *self, const char *name, enum cyx_value_kind kind,
                        enum cyx_dtype dtype, const struct cyx_shape *shape);

/* A name in the graph's memory. */
const char *graph_name(struct cyx_graph *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends a copy of `node` and makes it the producer of its outputs. */
void graph_add_node(struct cyx_graph *self, const struct cyx_node *node);

/* A node without inputs and outputs; the attributes of `like`, when there is one, are taken over. */
struct cyx_node graph_node(enum cyx_op op, int32_t layer, const struct cyx_node *like);

/* Enters the names again and sets producers: after values and nodes have moved. */
void graph_reindex(struct cyx_graph *self);

/* Folds each ReLU that alone reads a node with an act() (graph.h) into it. */
void graph_fuse(struct cyx_graph *self);

/* What a layer makes of its input's shape. */
struct layer_shape {
    struct cyx_shape out;
    struct cyx_window window; /* convolutions and pooling */
    int dim;                  /* Softmax, LogSoftmax, Concat */
    int norm_dims;            /* LayerNorm */
};
/* `in` are the shapes of its `n_in` inputs. */
enum cyx_status graph_infer(const struct cyx_layer_spec *layer, size_t index,
                            const struct cyx_shape *in, size_t n_in, struct layer_shape *ret_shape,
                            struct cyx_error *error);

enum { GRAPH_SHAPE_TEXT = 96 };
/* "(N, 64, 7, 7)" */
const char *graph_shape_text(const struct cyx_shape *shape, char text[GRAPH_SHAPE_TEXT]);

/* The loss behind graph->output, with the target that it reads; refuses an output of another shape. */
enum cyx_status graph_add_loss(struct cyx_graph *graph, const struct cyx_job_spec *spec,
                               struct cyx_error *error);

/* Fails at "/model/layers/<index>". */
enum cyx_status graph_fail(struct cyx_error *error, size_t index, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* a + b, INT64_MAX where that does not fit. */
static inline int64_t graph_plus(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* A sample's share of a batch's FLOPs, and of the first `n_nodes` nodes. */
int64_t graph_per_sample(const struct cyx_graph *graph, int64_t flops);
int64_t graph_sample_flops(const struct cyx_graph *graph, size_t n_nodes);

/* Device memory of a step, by the logical sizes and the buffer plan. */
struct cyx_step_memory;
enum cyx_status graph_weigh(const struct cyx_graph *graph, struct cyx_step_memory *ret_memory,
                            struct cyx_error *error);

/* Bytes of a value in row-major float32 or int32. */
int64_t graph_value_bytes(const struct cyx_value *value);

#endif
