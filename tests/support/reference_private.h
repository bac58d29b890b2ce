/* Test support: what the files of reference.h share. */
#ifndef CYX_TESTS_SUPPORT_REFERENCE_PRIVATE_H
#define CYX_TESTS_SUPPORT_REFERENCE_PRIVATE_H

#include "reference.h"

/* One node, with what its operation looks at; NULL where the node has no such value. */
struct step {
    const struct reference *self;
    const struct cyx_node *node;
    double *in[CYX_NODE_INPUTS], *out[CYX_NODE_OUTPUTS];
};

static inline const struct cyx_shape *shape_of(const struct step *s, int32_t value)
{
    return &s->self->graph->values[value].shape;
}

static inline const int64_t *dims(const struct step *s, int32_t value)
{
    return shape_of(s, value)->dim;
}

static inline int64_t count(const struct step *s, int32_t value)
{
    return cyx_shape_count(shape_of(s, value));
}

/* Every element of output `i`, where there is such an output. */
static inline void fill_output(const struct step *s, int i, double x)
{
    for (int64_t k = 0; s->out[i] && k < count(s, s->node->out[i]); k++)
        s->out[i][k] = x;
}

/* act() of model/graph.h. */
static inline double activate(const struct step *s, double x)
{
    return s->node->fused_relu && x < 0 ? 0 : x;
}

/* A shape around dimension `dim`: element (a, i, b) lies at (a * n + i) * inner + b. */
struct axis {
    int64_t outer, n, inner;
};

static inline struct axis axis_of(const struct step *s, int32_t value, int dim)
{
    const struct cyx_shape *shape = shape_of(s, value);
    struct axis axis = {1, shape->dim[dim], 1};
    for (int d = 0; d < shape->rank; d++) {
        if (d < dim)
            axis.outer *= shape->dim[d];
        else if (d > dim)
            axis.inner *= shape->dim[d];
    }
    return axis;
}

typedef void reference_op(const struct step *s);

/* reference_affine.c */
reference_op reference_linear, reference_linear_grad_input, reference_linear_grad_weight;
reference_op reference_conv2d, reference_conv2d_grad_input, reference_conv2d_grad_weight;
reference_op reference_conv_transpose2d, reference_conv_transpose2d_grad_input;
reference_op reference_conv_transpose2d_grad_weight;

/* reference_pool.c */
reference_op reference_max_pool2d, reference_max_pool2d_grad;
reference_op reference_avg_pool2d, reference_avg_pool2d_grad;

/* reference_elementwise.c */
reference_op reference_elementwise; /* RELU, ADD, DROPOUT, RESHAPE and their gradients */
reference_op reference_activation, reference_activation_grad;
reference_op reference_concat, reference_slice, reference_one_hot;

/* reference_norm.c */
reference_op reference_softmax, reference_softmax_grad; /* and LOG_SOFTMAX */
reference_op reference_batch_norm, reference_batch_norm_inference, reference_batch_norm_grad;
reference_op reference_layer_norm, reference_layer_norm_grad;

/* reference_loss.c */
reference_op reference_cross_entropy, reference_cross_entropy_grad;
reference_op reference_element_loss, reference_element_loss_grad;

/* reference_optimizer.c */
reference_op reference_square_sum, reference_clip_norm;
reference_op reference_sgd, reference_adam, reference_rmsprop; /* adam: ADAM and ADAMW */

#endif
