/* Losses, forward and backward. */
#include <math.h>
#include <stdio.h>

#include "op_checks.h"

struct cross_entropy_case {
    const char *what;
    int64_t rows, classes;
    double smoothing, scale;
    bool weighted;
    int32_t ignore_index;
};

enum { ROWS_LIMIT = 256, CLASSES_LIMIT = 1000 };

static void run_cross_entropy(const struct cross_entropy_case *c)
{
    struct cyx_shape shape = shape2(c->rows, c->classes);
    float weights[CLASSES_LIMIT];
    int32_t target[ROWS_LIMIT];
    struct op_graph g;
    op_graph_init(&g);
    op_graph_target(&g, c->rows);
    for (int64_t n = 0; n < c->rows; n++) /* every fifth row is ignored */
        target[n] = n % 5 == 4 ? c->ignore_index : (int32_t)((n * 7 + 1) % c->classes);
    for (int64_t i = 0; i < c->classes; i++)
        weights[i] = 0.25f * (float)(i % 7 + 1);
    int32_t x = op_graph_param(&g, shape), dx = op_graph_result(&g, shape);
    int32_t w = c->weighted ? op_graph_constant(&g, shape1(c->classes), weights) : CYX_NO_VALUE;
    int32_t result = g.graph.result, t = g.graph.target;
    struct cyx_node *nodes[] = {
        op_graph_node(&g, CYX_OP_CROSS_ENTROPY, 3, (int32_t[]){x, t, w}, 1, &result),
        op_graph_node(&g, CYX_OP_CROSS_ENTROPY_GRAD, 4, (int32_t[]){x, t, result, w}, 1, &dx)};
    for (int i = 0; i < 2; i++) {
        nodes[i]->label_smoothing = c->smoothing;
        nodes[i]->ignore_index = c->ignore_index;
    }
    g.graph.output = x;
    /* exp of a difference of size s is off by s * 2^-24 besides its own rounding */
    double tolerance = sum_tolerance(c->classes) + 2 * c->scale * 0x1p-24;
    const struct check checks[] = {{result, tolerance}, {dx, tolerance}};
    run_checks(&g, c->what, target, 1, c->scale, checks, 2);
}

static void test_cross_entropy__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct cross_entropy_case cases[] = {
        {"CrossEntropy, one row", 1, 2, 0, 1, false, -100},
        {"CrossEntropy", 5, 10, 0, 4, false, -100},
        {"CrossEntropy, smoothed", 129, 10, 0.1, 4, false, -100},
        {"CrossEntropy, many classes", 33, 1000, 0, 1, false, -100},
        {"CrossEntropy, large logits", 70, 101, 0.3, 80, false, -100},
        {"CrossEntropy, weighted", 41, 10, 0, 4, true, -100},
        {"CrossEntropy, weighted and smoothed", 41, 130, 0.2, 4, true, -100},
        {"CrossEntropy, class 3 ignored", 30, 10, 0.1, 4, true, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_cross_entropy(&cases[i]);
}

struct element_loss_case {
    const char *what;
    struct cyx_shape shape;
    double scale, beta;
    enum cyx_loss_type loss;
    bool pos_weight;
};

/* Targets are the batch's numbers. */
static void run_element_loss(const struct element_loss_case *c)
{
    static float target[200000], pos_weight[CLASSES_LIMIT];
    int64_t count = cyx_shape_count(&c->shape), last = c->shape.dim[c->shape.rank - 1];
    struct op_graph g;
    op_graph_init(&g);
    op_graph_target_numbers(&g, c->shape);
    for (int64_t i = 0; i < count; i++) /* probabilities for BCE, some of them 0 and 1 */
        target[i] = c->loss == CYX_LOSS_BCE_WITH_LOGITS ? (float)(i % 5) / 4
                                                        : (float)c->scale * test_uniform(99, i);
    for (int64_t i = 0; i < last && c->pos_weight; i++)
        pos_weight[i] = 0.5f + (float)(i % 4);
    int32_t x = op_graph_param(&g, c->shape), dx = op_graph_result(&g, c->shape);
    int32_t p = c->pos_weight ? op_graph_constant(&g, shape1(last), pos_weight) : CYX_NO_VALUE;
    int32_t t = g.graph.target, result = g.graph.result;
    struct cyx_node *nodes[] = {
        op_graph_node(&g, CYX_OP_ELEMENT_LOSS, 4, (int32_t[]){x, t, p, CYX_NO_VALUE}, 1, &result),
        op_graph_node(&g, CYX_OP_ELEMENT_LOSS_GRAD, 3, (int32_t[]){x, t, p}, 1, &dx)};
    for (int i = 0; i < 2; i++) {
        nodes[i]->loss = c->loss;
        nodes[i]->beta = c->beta;
    }
    g.graph.output = x;
    const struct check checks[] = {{result, sum_tolerance(count)}, {dx, 8 * 0x1p-24}};
    run_checks(&g, c->what, target, 1, c->scale, checks, 2);
}

static void test_element_loss__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct element_loss_case cases[] = {
        {"MSE, one number", {2, {1, 1}}, 1, 1, CYX_LOSS_MSE, false},
        {"MSE, rows", {2, {129, 10}}, 3, 1, CYX_LOSS_MSE, false},
        {"MSE, images", {4, {7, 3, 31, 29}}, 1, 1, CYX_LOSS_MSE, false},
        {"MSE, few long rows", {2, {2, 70001}}, 1, 1, CYX_LOSS_MSE, false},
        {"L1", {4, {3, 2, 9, 11}}, 1, 1, CYX_LOSS_L1, false},
        {"SmoothL1", {2, {37, 23}}, 2, 1, CYX_LOSS_SMOOTH_L1, false},
        {"SmoothL1, beta 0.25", {2, {37, 23}}, 1, 0.25, CYX_LOSS_SMOOTH_L1, false},
        {"BCE", {2, {33, 12}}, 4, 1, CYX_LOSS_BCE_WITH_LOGITS, false},
        {"BCE, pos_weight", {2, {33, 12}}, 4, 1, CYX_LOSS_BCE_WITH_LOGITS, true},
        {"BCE, pos_weight of columns", {4, {2, 3, 4, 5}}, 4, 1, CYX_LOSS_BCE_WITH_LOGITS, true},
        {"BCE, large logits", {2, {17, 130}}, 200, 1, CYX_LOSS_BCE_WITH_LOGITS, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_element_loss(&cases[i]);
}

/* Where the logits are right by far, the loss is small, and keeps its digits. */
static void test_element_loss__of_a_sure_model_keeps_its_digits(void **state)
{
    (void)state;
    struct cyx_shape shape = shape2(16, 8);
    static const float target[16 * 8] = {0};
    struct op_graph g;
    op_graph_init(&g);
    op_graph_target_numbers(&g, shape);
    int32_t x = op_graph_range(&g, op_graph_param(&g, shape), -14, -12);
    int32_t result = g.graph.result;
    op_graph_node(&g, CYX_OP_ELEMENT_LOSS, 2, (int32_t[]){x, g.graph.target}, 1, &result)->loss =
        CYX_LOSS_BCE_WITH_LOGITS;
    g.graph.output = x;
    /* exp's argument rounds by 14 * 2^-24 */
    const struct check check = {result, 2 * 14 * 0x1p-24 + sum_tolerance(128)};
    run_checks(&g, "BCE of a sure model", target, 1, 1.0, &check, 1);
}

/* Classes as vectors of 0 and 1: rows whose largest output is the class are counted. */
static void test_element_loss__counts_what_is_correct_by_labels(void **state)
{
    (void)state;
    static const int64_t classes[] = {2, 10, 300};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        struct cyx_shape shape = shape2(60, classes[i]);
        int32_t target[60];
        struct op_graph g;
        op_graph_init(&g);
        op_graph_target(&g, 60);
        for (int n = 0; n < 60; n++)
            target[n] = (int32_t)(n % classes[i]);
        int32_t x = op_graph_param(&g, shape), t = op_graph_result(&g, shape);
        int32_t labels = g.graph.target, result = g.graph.result;
        op_graph_node(&g, CYX_OP_ONE_HOT, 1, &labels, 1, &t);
        op_graph_node(&g, CYX_OP_ELEMENT_LOSS, 4, (int32_t[]){x, t, CYX_NO_VALUE, labels}, 1,
                      &result)
            ->loss = CYX_LOSS_MSE;
        g.graph.output = x;
        const struct check check = {result, sum_tolerance(60 * classes[i])};
        run_checks(&g, "MSE of classes", target, 1, 1.0, &check, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy__matches_reference_forward_and_backward),
        cmocka_unit_test(test_element_loss__matches_reference_forward_and_backward),
        cmocka_unit_test(test_element_loss__of_a_sure_model_keeps_its_digits),
        cmocka_unit_test(test_element_loss__counts_what_is_correct_by_labels),
    };
    return run_operation_tests(tests);
}
