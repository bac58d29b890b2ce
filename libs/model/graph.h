/*
 * A job spec as a graph of operations over values with static shapes: forward pass, loss, gradients and
 * optimizer, in the order in which they run. No kernels and no device here: backends (nn/backend.h) compile
 * a graph once and replay it each step; the gateway and the scheduler read shapes, parameters and FLOPs.
 *
 * Letters used in shapes: N batch, C channels, H and W height and width, F features, K kernel. Layout is
 * PyTorch's, row-major: activations (N,C,H,W) or (N,F), Linear weight (Out,In), Conv2d weight (Out,In/groups,KH,KW).
 *
 * Build order: cyx_graph_create() gives the forward pass and the loss (that is the evaluation graph);
 * cyx_graph_differentiate() appends gradients by reverse-mode accumulation; cyx_graph_add_optimizer()
 * appends one update a parameter. A graph is immutable after that, and any thread may read it.
 *
 * Ownership: one arena inside; cyx_graph_destroy() frees all. Values and nodes are referred to by index.
 *
 *     struct cyx_graph *graph = NULL;
 *     status = cyx_graph_create(spec, &(struct cyx_graph_options){.batch = 128, .training = true}, &graph, &err);
 *     status = cyx_graph_differentiate(graph, &err);
 *     status = cyx_graph_add_optimizer(graph, &spec->optimizer, &err);
 */
#ifndef CYX_MODEL_GRAPH_H
#define CYX_MODEL_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "contract/job_spec.h"

enum { CYX_RANK_LIMIT = 4, CYX_NODE_INPUTS = 6, CYX_NODE_OUTPUTS = 3, CYX_NO_VALUE = -1 };

/* What cyx_graph_create() refuses beyond, with a sentence: indices of elements fit 32 bits signed. */
#define CYX_VALUE_ELEMENTS_LIMIT INT64_C(2147483647)
#define CYX_PARAMETERS_LIMIT (INT64_C(1) << 33)       /* elements of all parameters together */
#define CYX_ACTIVATION_BYTES_LIMIT (INT64_C(1) << 40) /* of the forward pass */

struct cyx_shape {
    int rank; /* 0 is a scalar */
    int64_t dim[CYX_RANK_LIMIT];
};

int64_t cyx_shape_count(const struct cyx_shape *self); /* number of elements */

enum cyx_dtype { CYX_F32, CYX_I32 };

enum cyx_value_kind {
    CYX_VALUE_INPUT,     /* fed each step: the batch's images, (N,C,H,W) float */
    CYX_VALUE_TARGET,    /* fed each step: class indices, (N) int32; -100 is ignored */
    CYX_VALUE_PARAM,     /* trained; persists between steps; `name` is the state_dict key */
    CYX_VALUE_STATE,     /* persists, not trained: optimizer moments, later running statistics */
    CYX_VALUE_TRANSIENT, /* lives within a step, in the arena */
    CYX_VALUE_RESULT,    /* read back after a step, see CYX_RESULT_* */
};

/* Elements of the one RESULT value, float32. */
enum {
    CYX_RESULT_LOSS,    /* mean over the rows that count */
    CYX_RESULT_CORRECT, /* rows whose largest logit is the target's */
    CYX_RESULT_COUNT,   /* rows with a target other than ignore_index */
    CYX_RESULT_ELEMENTS = 4
};

struct cyx_value {
    /* "conv1.weight", "conv1.weight.exp_avg", "conv1:out", "conv1:out.grad"; "input", "target", "result".
     * Where a ReLU is fused into the layer before it, the value carries the ReLU's name. */
    const char *name;
    enum cyx_value_kind kind;
    enum cyx_dtype dtype;
    struct cyx_shape shape;
    int32_t producer; /* node that writes it, CYX_NO_VALUE for what is fed or persists */
    int32_t grad;     /* value that holds dLoss/dThis, CYX_NO_VALUE when none */
    int32_t alias_of; /* RESHAPE's output may share its input's bytes; CYX_NO_VALUE otherwise */
};

/*
 * Operations. `in` and `out` below are the node's value indices in order; "?" may be CYX_NO_VALUE.
 * Accumulation is float32 at least. Each *_GRAD stands behind its operation and gives dLoss/din from
 * dLoss/dout. Sources: PyTorch 1.13's documentation of the module of the same name.
 */
enum cyx_op {
    /* y = act(x Wᵀ + b).  in: x(N,In) W(Out,In) b?(Out)   out: y(N,Out) */
    CYX_OP_LINEAR,
    CYX_OP_LINEAR_GRAD_INPUT,  /* dx = dy W.            in: dy W          out: dx */
    CYX_OP_LINEAR_GRAD_WEIGHT, /* dW = dyᵀ x, db = Σ dy. in: x dy         out: dW db? */

    /* Cross-correlation. in: x(N,C,H,W) W(O,C/g,KH,KW) b?(O)   out: y(N,O,OH,OW); act as above */
    CYX_OP_CONV2D,
    CYX_OP_CONV2D_GRAD_INPUT,  /* in: dy W   out: dx */
    CYX_OP_CONV2D_GRAD_WEIGHT, /* in: x dy   out: dW db? */

    /* Largest of the window, the first in row-major order when equal; padding never wins.
     * in: x   out: y, index(as y, int32: ih * W + iw within the plane; only its backward reads it) */
    CYX_OP_MAX_POOL2D,
    CYX_OP_MAX_POOL2D_GRAD, /* in: dy index   out: dx */

    CYX_OP_RELU,      /* in: x      out: y */
    CYX_OP_RELU_GRAD, /* dx = dy where y > 0. in: dy y   out: dx */

    /* y = x * mask / (1 - p); mask from nn/tensor/philox.h keyed by (seed, step, rng_stream, element):
     * never stored, made again by the gradient. Left out of evaluation graphs. */
    CYX_OP_DROPOUT,      /* in: x    out: y */
    CYX_OP_DROPOUT_GRAD, /* in: dy   out: dx */

    CYX_OP_RESHAPE, /* same elements in the same row-major order (Flatten and its gradient). in: x out: y */
    CYX_OP_ADD, /* y = a + b: sums gradients where a value is read twice. in: a b   out: y */

    /* Mean of -Σ q log softmax(x) over the rows that count, q smoothed as PyTorch's label_smoothing.
     * in: x(N,C) target(N)   out: result */
    CYX_OP_CROSS_ENTROPY,
    CYX_OP_CROSS_ENTROPY_GRAD, /* in: x target result   out: dx, 0 for ignored rows */

    /* In place on its persistent inputs. in: W dW momentum?   out: none.
     * First momentum buffer is the gradient (step 1), as torch.optim.SGD. */
    CYX_OP_SGD,
    CYX_OP_ADAMW, /* in: W dW exp_avg exp_avg_sq   out: none. Decays first; denom √v/√(1-β2^t) + eps */
    CYX_OP_COUNT
};

struct cyx_window { /* Conv2d and MaxPool2d; (height, width); "same" is resolved to numbers here */
    int64_t kernel[2], stride[2], dilation[2];
    int64_t pad_begin[2], pad_end[2]; /* top and left; bottom and right */
    int64_t groups;
};

struct cyx_node {
    enum cyx_op op;
    int32_t in[CYX_NODE_INPUTS], out[CYX_NODE_OUTPUTS];
    int n_in, n_out; /* places in use; an optional one counts, and holds CYX_NO_VALUE */
    int32_t layer;   /* index in the spec's layers, -1 for loss and optimizer */
    bool fused_relu; /* LINEAR, CONV2D: the activation is applied before y is written */
    struct cyx_window window;
    double p;            /* DROPOUT */
    uint32_t rng_stream; /* DROPOUT: one a layer */
    double label_smoothing;
    const struct cyx_optimizer_spec *optimizer; /* SGD, ADAMW */
};

struct cyx_graph_options {
    int64_t batch;
    bool training;  /* with Dropout active */
    bool no_fusion; /* keep ReLU as a node of its own: for tests */
};

struct cyx_graph {
    struct cyx_value *values;
    size_t n_values;
    struct cyx_node *nodes;
    size_t n_nodes;
    size_t n_forward_nodes;                /* nodes[0..n) are forward and loss */
    int32_t input, target, output, result; /* output: the logits, (N, classes) */
    int64_t batch;
    bool training;
    struct cyx_graph_memory *memory; /* private */
};

/*
 * Infers every shape and refuses what does not fit, naming the layer:
 * "/model/layers/4" "Linear expects 1568 inputs, got 1600".
 */
enum cyx_status cyx_graph_create(const struct cyx_job_spec *spec,
                                 const struct cyx_graph_options *options,
                                 struct cyx_graph **ret_graph, struct cyx_error *ret_error);
enum cyx_status cyx_graph_differentiate(struct cyx_graph *self, struct cyx_error *ret_error);
enum cyx_status cyx_graph_add_optimizer(struct cyx_graph *self,
                                        const struct cyx_optimizer_spec *optimizer,
                                        struct cyx_error *ret_error);
void cyx_graph_destroy(struct cyx_graph *self);

/* Index of the value of that name, CYX_NO_VALUE when there is none. */
int32_t cyx_graph_find(const struct cyx_graph *self, const char *name);

const char *cyx_op_name(enum cyx_op op);

/* Floating-point operations of one node, a multiply-add counted as two; INT64_MAX when it would overflow. */
int64_t cyx_node_flops(const struct cyx_graph *self, const struct cyx_node *node);

/* What a spec costs, for quotes, matching and `describe`. FLOPs count a multiply-add as two. */
struct cyx_model_cost {
    int64_t parameters;
    int64_t forward_flops_per_sample;
    int64_t training_flops_per_sample; /* forward, backward and optimizer */
    int64_t training_bytes; /* device memory of a training step at the spec's batch size */
};
enum cyx_status cyx_model_cost(const struct cyx_job_spec *spec, struct cyx_model_cost *ret_cost,
                               struct cyx_error *ret_error);

#endif
