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
 *     status = cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, &err);
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
bool cyx_shape_equal(const struct cyx_shape *a, const struct cyx_shape *b);

enum cyx_dtype { CYX_F32, CYX_I32 };

enum cyx_value_kind {
    CYX_VALUE_INPUT,  /* fed each step: the batch's images, (N,C,H,W) float */
    CYX_VALUE_TARGET, /* fed each step: class indices, (N) int32, or numbers, (N,K) float */
    CYX_VALUE_PARAM,  /* trained; persists between steps; `name` is the state_dict key */
    CYX_VALUE_BUFFER, /* persists, written by the training pass, in the state_dict: running statistics */
    CYX_VALUE_STATE,     /* persists, not trained, not in the state_dict: optimizer moments */
    CYX_VALUE_CONSTANT,  /* persists, never written: session_create fills it from `constant` */
    CYX_VALUE_TRANSIENT, /* lives within a step, in the arena */
    CYX_VALUE_RESULT,    /* read back after a step, see CYX_RESULT_* */
};

/* Elements of the one RESULT value, float32. */
enum {
    CYX_RESULT_LOSS,    /* mean over the rows that count, or over the elements */
    CYX_RESULT_CORRECT, /* rows whose largest output is the target's class; 0 without classes */
    CYX_RESULT_COUNT,   /* rows with a target other than ignore_index; all rows without classes */
    CYX_RESULT_WEIGHT, /* CROSS_ENTROPY: Σ class weights of the rows that count, the mean's divisor */
    CYX_RESULT_GRAD_NORM, /* CLIP_NORM: the norm before clipping; else 0 */
    CYX_RESULT_ELEMENTS = 8
};

/* PARAM, BUFFER, STATE and CONSTANT: the session holds it. */
bool cyx_value_persists(enum cyx_value_kind kind);

/* PARAM and BUFFER: part of the model that is saved. */
bool cyx_value_in_state_dict(enum cyx_value_kind kind);

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
    const float *constant; /* CONSTANT: its elements, the graph's */
};

/*
 * Operations. `in` and `out` below are the node's value indices in order; "?" may be CYX_NO_VALUE.
 * Accumulation is float32 at least. Each *_GRAD stands behind its operation and gives dLoss/din from
 * dLoss/dout. Sources: PyTorch 1.13's documentation of the module of the same name.
 *
 * act(): ReLU where the node says fused_relu (LINEAR, CONV2D, CONV_TRANSPOSE2D, BATCH_NORM,
 * BATCH_NORM_INFERENCE, ADD), else nothing. Its gradient is a RELU_GRAD node of its own, from y.
 */
enum cyx_op {
    /* y = act(x Wᵀ + b) over the last dimension; rows are all others.
     * in: x(N,…,In) W(Out,In) b?(Out)   out: y(N,…,Out) */
    CYX_OP_LINEAR,
    CYX_OP_LINEAR_GRAD_INPUT,  /* dx = dy W.            in: dy W          out: dx */
    CYX_OP_LINEAR_GRAD_WEIGHT, /* dW = dyᵀ x, db = Σ dy. in: x dy         out: dW db? */

    /* Cross-correlation. in: x(N,C,H,W) W(O,C/g,KH,KW) b?(O)   out: y(N,O,OH,OW); act as above */
    CYX_OP_CONV2D,
    CYX_OP_CONV2D_GRAD_INPUT,  /* in: dy W   out: dx */
    CYX_OP_CONV2D_GRAD_WEIGHT, /* in: x dy   out: dW db? */

    /*
     * The transpose of the Conv2d with the same window that maps (N,O,OH,OW) to (N,C,H,W): forward is that
     * CONV2D's GRAD_INPUT plus b, dx is that CONV2D of dy, dW its GRAD_WEIGHT with x and dy exchanged.
     * OH = (H - 1) S - pad_begin - pad_end + D (K - 1) + output_padding + 1; window.pad_end stays the spec's.
     * in: x(N,C,H,W) W(C,O/g,KH,KW) b?(O)   out: y(N,O,OH,OW); act as above
     */
    CYX_OP_CONV_TRANSPOSE2D,
    CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT,  /* in: dy W   out: dx */
    CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT, /* in: x dy   out: dW db? (db = Σ dy over N,OH,OW) */

    /* Largest of the window, the first in row-major order when equal; padding never wins. Windows may reach
     * beyond the padding (ceil_mode): what lies there does not exist.
     * in: x   out: y, index(as y, int32: ih * W + iw within the plane; only its backward reads it) */
    CYX_OP_MAX_POOL2D,
    CYX_OP_MAX_POOL2D_GRAD, /* in: dy index   out: dx */

    /* Mean of the window. The divisor counts the elements within the input, with count_include_pad those
     * within input and padding; what lies beyond the padding (ceil_mode) never counts.
     * Adaptive and global average pooling are this with window = stride = H/OH. in: x   out: y */
    CYX_OP_AVG_POOL2D,
    CYX_OP_AVG_POOL2D_GRAD, /* in: dy   out: dx */

    CYX_OP_RELU,      /* in: x      out: y */
    CYX_OP_RELU_GRAD, /* dx = dy where y > 0. in: dy y   out: dx */

    /* y = f(x), f = node.activation. in: x   out: y */
    CYX_OP_ACTIVATION,
    /* in: dy s   out: dx; s is y for SIGMOID and TANH, x for the others (cyx_activation_keeps_output) */
    CYX_OP_ACTIVATION_GRAD,

    /* Over dimension node.dim; the largest is taken off first. in: x   out: y */
    CYX_OP_SOFTMAX,
    CYX_OP_SOFTMAX_GRAD, /* dx = y (dy - Σ dy y). in: dy y   out: dx */
    CYX_OP_LOG_SOFTMAX,
    CYX_OP_LOG_SOFTMAX_GRAD, /* dx = dy - exp(y) Σ dy. in: dy y   out: dx */

    /* y = x * mask / (1 - p); mask from nn/tensor/philox.h keyed by (seed, step, rng_stream, element):
     * never stored, made again by the gradient. Left out of evaluation graphs. */
    CYX_OP_DROPOUT,      /* in: x    out: y */
    CYX_OP_DROPOUT_GRAD, /* in: dy   out: dx */

    /*
     * y = act((x - m) r w + b), r = 1/√(v + eps): m and biased v of each channel (dimension 1) over all other
     * dimensions. Writes running = (1 - momentum) running + momentum (m, and v times n/(n-1)). x is (N,C),
     * (N,C,L) or (N,C,H,W). Ioffe and Szegedy, ICML 2015.
     * in: x w?(C) b?(C) running_mean(C) running_var(C)   out: y m(C) r(C)
     */
    CYX_OP_BATCH_NORM,
    /* The same with the running statistics, which it only reads. in: as above   out: y */
    CYX_OP_BATCH_NORM_INFERENCE,
    /* dx = w r (dy - mean(dy) - x̂ mean(dy x̂)), dw = Σ dy x̂, db = Σ dy, x̂ = (x - m) r.
     * in: dy x w? m r   out: dx? dw? db? */
    CYX_OP_BATCH_NORM_GRAD,

    /* The same over the last node.norm_dims dimensions of each row, with w and b of their shape.
     * Ba, Kiros and Hinton 2016. in: x w? b?   out: y m(rows) r(rows) */
    CYX_OP_LAYER_NORM,
    CYX_OP_LAYER_NORM_GRAD, /* in: dy x w? m r   out: dx? dw? db? */

    CYX_OP_RESHAPE, /* same elements in the same row-major order (Flatten and its gradient). in: x out: y */
    CYX_OP_ADD, /* y = act(a + b): residuals; sums of gradients of what is read twice. in: a b   out: y */
    CYX_OP_CONCAT, /* along node.dim. in: two to six values   out: y */
    CYX_OP_SLICE, /* y = x[offset .. offset + size of y) along node.dim: CONCAT's gradient. in: x   out: y */

    CYX_OP_ONE_HOT, /* 1 where the class is, 0 elsewhere. in: target(N) int32   out: y(N,C) */

    /* Σ -w_t q log softmax(x) / Σ w_t over the rows that count (t other than ignore_index), q smoothed as
     * PyTorch's label_smoothing (smoothed parts are weighted too); w is 1 when not given.
     * in: x(N,C) target(N) w?(C)   out: result */
    CYX_OP_CROSS_ENTROPY,
    CYX_OP_CROSS_ENTROPY_GRAD, /* in: x target result w?   out: dx, 0 for ignored rows */

    /* Mean over all elements of node.loss(x - t): MSE, L1, SMOOTH_L1 (beta), BCE_WITH_LOGITS (pos_weight
     * over the last dimension). `labels` are there when t is their ONE_HOT: CORRECT is counted by them.
     * in: x t(as x) pos_weight? labels?(N) int32   out: result */
    CYX_OP_ELEMENT_LOSS,
    CYX_OP_ELEMENT_LOSS_GRAD, /* in: x t pos_weight?   out: dx */

    /* Clipping by norm (torch.nn.utils.clip_grad_norm_), on the device. A chain adds up the squares of all
     * gradients, then the factor is made once: min(1, max_norm / (√sum + 1e-6)). */
    CYX_OP_SQUARE_SUM, /* sum = Σ g² + before. in: g before?(1)   out: sum(1) */
    CYX_OP_CLIP_NORM,  /* and writes result's GRAD_NORM. in: sum(1) result   out: factor(1) */

    /* Optimizers: in place on their persistent inputs, out: none. The gradient is first multiplied by `factor`
     * where it is given, then clamped to ±node.clip_value where that is above 0. lr is feed.lr[node.group].
     * SGD's first momentum buffer is the gradient (step 1), as torch.optim.SGD. */
    CYX_OP_SGD,   /* in: W dW momentum_buffer? factor? */
    CYX_OP_ADAM,  /* weight_decay is added to the gradient. in: W dW exp_avg exp_avg_sq factor? */
    CYX_OP_ADAMW, /* decays first; denom √v/√(1-β2^t) + eps. in: as ADAM */
    CYX_OP_RMSPROP, /* in: W dW square_avg momentum_buffer? grad_avg? factor? (grad_avg where centered) */
    CYX_OP_COUNT
};

struct
    cyx_window { /* convolutions and pooling; (height, width); "same" is resolved to numbers here */
    int64_t kernel[2], stride[2], dilation[2];
    int64_t pad_begin[2], pad_end[2]; /* top and left; bottom and right */
    int64_t groups;
    bool count_include_pad; /* AVG_POOL2D */
};

struct cyx_node {
    enum cyx_op op;
    int32_t in[CYX_NODE_INPUTS], out[CYX_NODE_OUTPUTS];
    int n_in, n_out; /* places in use; an optional one counts, and holds CYX_NO_VALUE */
    int32_t layer;   /* index in the spec's layers, -1 for loss and optimizer */
    bool fused_relu; /* see act() above */
    struct cyx_window window;
    enum cyx_activation activation;             /* ACTIVATION and its gradient */
    double slope;                               /* LEAKY_RELU's negative_slope */
    int dim;                                    /* SOFTMAX, LOG_SOFTMAX, CONCAT, SLICE: from 1 */
    int64_t offset;                             /* SLICE: elements along dim */
    int norm_dims;                              /* LAYER_NORM: trailing dimensions */
    double eps, momentum;                       /* BATCH_NORM, LAYER_NORM */
    double p;                                   /* DROPOUT */
    uint32_t rng_stream;                        /* DROPOUT: one a layer */
    enum cyx_loss_type loss;                    /* ELEMENT_LOSS */
    double beta;                                /* ELEMENT_LOSS: SMOOTH_L1 */
    double label_smoothing;                     /* CROSS_ENTROPY */
    int32_t ignore_index;                       /* CROSS_ENTROPY; -100 by default */
    double max_norm;                            /* CLIP_NORM */
    double clip_value;                          /* optimizers; 0: none */
    int group;                                  /* optimizers: which parameter group */
    const struct cyx_optimizer_spec *optimizer; /* optimizers: of that group */
};

/* Whether the gradient of this activation reads y instead of x. */
bool cyx_activation_keeps_output(enum cyx_activation activation);

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
    size_t n_forward_nodes;        /* nodes[0..n) are forward and loss */
    int32_t input, output, result; /* output: the logits, (N, classes), or what the loss compares */
    int32_t target;                /* CYX_NO_VALUE where the loss reads the input itself */
    int64_t batch;
    bool training;
    bool counts_correct;             /* RESULT_CORRECT means something: there are classes */
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
/* `clip` may be NULL: no clipping. A parameter group whose pattern names nothing is refused. */
enum cyx_status cyx_graph_add_optimizer(struct cyx_graph *self,
                                        const struct cyx_optimizer_spec *optimizer,
                                        const struct cyx_clip_spec *clip,
                                        struct cyx_error *ret_error);
/* All of a step in one call: the forward pass, and for training its gradients and the spec's optimizer. */
enum cyx_status cyx_graph_create_step(const struct cyx_job_spec *spec,
                                      const struct cyx_graph_options *options,
                                      struct cyx_graph **ret_graph, struct cyx_error *ret_error);
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
