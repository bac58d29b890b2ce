/* The gradients of the reference, as reference_gradient_test.c: softmax, normalisation and losses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quotient.h"

static struct cyx_shape shape2(int64_t a, int64_t b)
{
    return (struct cyx_shape){2, {a, b}};
}

static const struct cyx_shape shapes[] = {
    {2, {7, 5}}, {3, {2, 3, 5}}, {4, {3, 2, 1, 5}}, {4, {1, 3, 4, 2}}};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void run_softmax(enum cyx_op op, enum cyx_op grad_op, struct cyx_shape shape, int dim)
{
    struct quotient q;
    int32_t dx;
    char what[64];
    snprintf(what, sizeof what, "%s, rank %d, dim %d", cyx_op_name(op), shape.rank, dim);
    quotient_begin(&q, what);
    int32_t x = quotient_operand(&q, shape, &dx);
    quotient_results(&q, shape);
    op_graph_node(&q.g, op, 1, &x, 1, &q.y)->dim = dim;
    int32_t dy = quotient_end_forward(&q, false);
    op_graph_node(&q.g, grad_op, 2, (int32_t[]){dy, q.y}, 1, &dx)->dim = dim;
    quotient_check(&q);
}

static void test_softmax__gradients_are_quotients(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        for (int dim = 1; dim < shapes[i].rank; dim++) {
            if (shapes[i].dim[dim] == 1) /* a constant has no gradient */
                continue;
            run_softmax(CYX_OP_SOFTMAX, CYX_OP_SOFTMAX_GRAD, shapes[i], dim);
            run_softmax(CYX_OP_LOG_SOFTMAX, CYX_OP_LOG_SOFTMAX_GRAD, shapes[i], dim);
        }
    }
}

static void run_batch_norm(struct cyx_shape shape, bool affine, bool relu)
{
    struct quotient q;
    int32_t dx, dw, db;
    struct cyx_shape channels = {1, {shape.dim[1]}};
    char what[80];
    snprintf(what, sizeof what, "BatchNorm, rank %d, batch %d, affine %d, ReLU %d", shape.rank,
             (int)shape.dim[0], affine, relu);
    quotient_begin(&q, what);
    int32_t x = quotient_operand(&q, shape, &dx);
    int32_t w = quotient_operand_if(&q, affine, channels, &dw);
    int32_t b = quotient_operand_if(&q, affine, channels, &db);
    int32_t mean = op_graph_value(&q.g, CYX_VALUE_BUFFER, CYX_F32, channels);
    int32_t var = op_graph_value(&q.g, CYX_VALUE_BUFFER, CYX_F32, channels);
    int32_t m = op_graph_result(&q.g, channels), r = op_graph_result(&q.g, channels);
    quotient_results(&q, shape);
    struct cyx_node *forward = op_graph_node(
        &q.g, CYX_OP_BATCH_NORM, 5, (int32_t[]){x, w, b, mean, var}, 3, (int32_t[]){q.y, m, r});
    forward->fused_relu = relu;
    forward->momentum = 0.1;
    int32_t dy = quotient_end_forward(&q, relu);
    struct cyx_node *backward = op_graph_node(
        &q.g, CYX_OP_BATCH_NORM_GRAD, 5, (int32_t[]){dy, x, w, m, r}, 3, (int32_t[]){dx, dw, db});
    forward->eps = backward->eps = 1e-3;
    quotient_check(&q);
}

static void test_batch_norm__gradients_are_quotients(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        run_batch_norm(shapes[i], true, false);
        run_batch_norm(shapes[i], true, true);
        run_batch_norm(shapes[i], false, true);
    }
}

static void run_layer_norm(struct cyx_shape shape, int norm_dims, bool affine, bool bias)
{
    struct quotient q;
    int32_t dx, dw, db;
    struct cyx_shape inner = {.rank = norm_dims}, rows = {1, {cyx_shape_count(&shape)}};
    for (int d = 0; d < norm_dims; d++) {
        inner.dim[d] = shape.dim[shape.rank - norm_dims + d];
        rows.dim[0] /= inner.dim[d];
    }
    quotient_begin(&q, "LayerNorm");
    int32_t x = quotient_operand(&q, shape, &dx);
    int32_t w = quotient_operand_if(&q, affine, inner, &dw);
    int32_t b = quotient_operand_if(&q, bias, inner, &db);
    int32_t m = op_graph_result(&q.g, rows), r = op_graph_result(&q.g, rows);
    quotient_results(&q, shape);
    struct cyx_node *forward =
        op_graph_node(&q.g, CYX_OP_LAYER_NORM, 3, (int32_t[]){x, w, b}, 3, (int32_t[]){q.y, m, r});
    int32_t dy = quotient_end_forward(&q, false);
    struct cyx_node *backward = op_graph_node(
        &q.g, CYX_OP_LAYER_NORM_GRAD, 5, (int32_t[]){dy, x, w, m, r}, 3, (int32_t[]){dx, dw, db});
    forward->eps = backward->eps = 1e-3;
    forward->norm_dims = backward->norm_dims = norm_dims;
    quotient_check(&q);
}

static void test_layer_norm__gradients_are_quotients(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        for (int norm_dims = 1; norm_dims < shapes[i].rank; norm_dims++) {
            run_layer_norm(shapes[i], norm_dims, true, true);
            run_layer_norm(shapes[i], norm_dims, true, false);
            run_layer_norm(shapes[i], norm_dims, false, false);
        }
    }
}

/* ---- losses ---- */

static const int32_t classes[] = {2, 0, 4, -100, 4, 1, 3};

static void run_cross_entropy(int64_t rows, double smoothing, bool weighted, int32_t ignored)
{
    struct quotient q;
    int32_t dx, result;
    quotient_begin(&q, "CrossEntropyLoss");
    int32_t x = quotient_operand(&q, shape2(rows, 5), &dx);
    /* the weights must be positive: they are made so by a node of their own */
    int32_t raw = op_graph_param(&q.g, (struct cyx_shape){1, {5}});
    int32_t w = weighted ? op_graph_result(&q.g, (struct cyx_shape){1, {5}}) : CYX_NO_VALUE;
    if (weighted)
        op_graph_node(&q.g, CYX_OP_ACTIVATION, 1, &raw, 1, &w)->activation = CYX_ACTIVATION_SIGMOID;
    op_graph_target(&q.g, rows);
    q.target = classes;
    result = q.g.graph.result;
    struct cyx_node *forward = op_graph_node(&q.g, CYX_OP_CROSS_ENTROPY, 3,
                                             (int32_t[]){x, q.g.graph.target, w}, 1, &result);
    quotient_end_forward(&q, false);
    struct cyx_node *backward = op_graph_node(&q.g, CYX_OP_CROSS_ENTROPY_GRAD, 4,
                                              (int32_t[]){x, q.g.graph.target, result, w}, 1, &dx);
    forward->label_smoothing = backward->label_smoothing = smoothing;
    forward->ignore_index = backward->ignore_index = ignored;
    quotient_check(&q);
}

static void test_cross_entropy__gradients_are_quotients(void **state)
{
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++) {
        run_cross_entropy(1, 0, weighted, -100);
        run_cross_entropy(7, 0, weighted, -100);
        run_cross_entropy(7, 0.3, weighted, -100);
        run_cross_entropy(3, 0.1, weighted, 0);
    }
}

static void run_element_loss(enum cyx_loss_type loss, struct cyx_shape shape, double beta,
                             bool weighted)
{
    struct quotient q;
    int32_t dx, result;
    char what[64];
    snprintf(what, sizeof what, "loss %d, rank %d", loss, shape.rank);
    quotient_begin(&q, what);
    int32_t x = quotient_operand(&q, shape, &dx), t = op_graph_param(&q.g, shape);
    int32_t w = weighted ? op_graph_param(&q.g, (struct cyx_shape){1, {shape.dim[shape.rank - 1]}})
                         : CYX_NO_VALUE;
    result = q.g.graph.result;
    struct cyx_node *forward =
        op_graph_node(&q.g, CYX_OP_ELEMENT_LOSS, 4, (int32_t[]){x, t, w, CYX_NO_VALUE}, 1, &result);
    quotient_end_forward(&q, false);
    struct cyx_node *backward =
        op_graph_node(&q.g, CYX_OP_ELEMENT_LOSS_GRAD, 3, (int32_t[]){x, t, w}, 1, &dx);
    forward->loss = backward->loss = loss;
    forward->beta = backward->beta = beta;
    quotient_check(&q);
}

static void test_element_losses__gradients_are_quotients(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        run_element_loss(CYX_LOSS_MSE, shapes[i], 0, false);
        run_element_loss(CYX_LOSS_L1, shapes[i], 0, false);
        run_element_loss(CYX_LOSS_SMOOTH_L1, shapes[i], 0.4, false);
        run_element_loss(CYX_LOSS_SMOOTH_L1, shapes[i], 1, false);
        run_element_loss(CYX_LOSS_BCE_WITH_LOGITS, shapes[i], 0, false);
        run_element_loss(CYX_LOSS_BCE_WITH_LOGITS, shapes[i], 0, true);
    }
    run_element_loss(CYX_LOSS_MSE, shape2(1, 1), 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax__gradients_are_quotients),
        cmocka_unit_test(test_batch_norm__gradients_are_quotients),
        cmocka_unit_test(test_layer_norm__gradients_are_quotients),
        cmocka_unit_test(test_cross_entropy__gradients_are_quotients),
        cmocka_unit_test(test_element_losses__gradients_are_quotients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
