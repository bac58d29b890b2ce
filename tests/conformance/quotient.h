/*
 * One operation of the reference, forward and backward, and its gradients against central differences in double
 * precision. With f(θ) = Σ y dy (or the loss), each element of a gradient must be (f(θ+h) - f(θ-h)) / 2h.
 *
 *     struct quotient q;
 *     int32_t dx;
 *     quotient_begin(&q, "ReLU");
 *     int32_t x = quotient_operand(&q, shape, &dx);
 *     quotient_results(&q, shape);
 *     op_graph_node(&q.g, CYX_OP_RELU, 1, &x, 1, &q.y);
 *     int32_t dy = quotient_end_forward(&q, false);
 *     op_graph_node(&q.g, CYX_OP_RELU_GRAD, 2, (int32_t[]){dy, q.y}, 1, &dx);
 *     quotient_check(&q);
 */
#ifndef CYX_TESTS_CONFORMANCE_QUOTIENT_H
#define CYX_TESTS_CONFORMANCE_QUOTIENT_H

#include "op_graph.h"

enum { QUOTIENT_PAIRS = 6 };

struct quotient {
    const char *what;
    struct op_graph g;
    int32_t y, dy; /* CYX_NO_VALUE: the loss is differentiated */
    size_t n_forward;
    struct {
        int32_t param, grad;
    } pairs[QUOTIENT_PAIRS];
    int n_pairs;
    const int32_t *target;
};

/* Must not move afterwards. */
void quotient_begin(struct quotient *self, const char *what);

/* A parameter whose gradient is checked; `ret_grad` is where the gradient goes. */
int32_t quotient_operand(struct quotient *self, struct cyx_shape shape, int32_t *ret_grad);

/* The same where `there`, else nothing. */
int32_t quotient_operand_if(struct quotient *self, bool there, struct cyx_shape shape,
                            int32_t *ret_grad);

/* y and dy of that shape, both. */
void quotient_results(struct quotient *self, struct cyx_shape shape);

/* Ends the forward pass; gives what the operation's gradient reads: dy, or dy behind the fused ReLU. */
int32_t quotient_end_forward(struct quotient *self, bool relu);

/* Runs it on random parameters and fails the test where a gradient is off. */
void quotient_check(struct quotient *self);

#endif
