/* Softmax and the normalisations, forward and backward. */
#include <math.h>
#include <stdio.h>

#include "op_checks.h"

static void run_softmax(struct cyx_shape shape, int dim, bool is_log, double scale)
{
    struct op_graph g;
    char what[80];
    snprintf(what, sizeof what, "%s over dimension %d of rank %d, length %d",
             is_log ? "LogSoftmax" : "Softmax", dim, shape.rank, (int)shape.dim[dim]);
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, shape), dy = op_graph_param(&g, shape);
    int32_t y = op_graph_result(&g, shape), dx = op_graph_result(&g, shape);
    op_graph_node(&g, is_log ? CYX_OP_LOG_SOFTMAX : CYX_OP_SOFTMAX, 1, &x, 1, &y)->dim = dim;
    op_graph_node(&g, is_log ? CYX_OP_LOG_SOFTMAX_GRAD : CYX_OP_SOFTMAX_GRAD, 2, (int32_t[]){dy, y},
                  1, &dx)
        ->dim = dim;
    /* exp of a difference of size s is off by s * 2^-24 besides its own rounding */
    double tolerance = sum_tolerance(shape.dim[dim]) + 2 * scale * 0x1p-24;
    const struct check checks[] = {{y, tolerance}, {dx, tolerance}};
    run_checks(&g, what, NULL, 1, scale, checks, 2);
}

/* Short and long rows; rows that lie side by side, and ones between which others lie. */
static void test_softmax__matches_reference_over_any_dimension(void **state)
{
    (void)state;
    for (int is_log = 0; is_log < 2; is_log++) {
        run_softmax(shape2(1, 1), 1, is_log, 1);
        run_softmax(shape2(37, 10), 1, is_log, 4);
        run_softmax(shape2(5, 1000), 1, is_log, 4);
        run_softmax(shape2(3, 33), 1, is_log, 80);
        run_softmax(shape3(3, 5, 70), 2, is_log, 2);
        run_softmax(shape3(3, 70, 5), 1, is_log, 2);
        run_softmax(shape4(2, 100, 5, 7), 1, is_log, 2);
        run_softmax(shape4(2, 3, 6, 5), 1, is_log, 2);
        run_softmax(shape4(2, 3, 6, 5), 2, is_log, 2);
        run_softmax(shape4(2, 3, 6, 5), 3, is_log, 2);
    }
}

struct batch_norm_case {
    const char *what;
    struct cyx_shape shape;
    bool affine, relu;
    double low, high; /* x */
};

/* m and r are what the gradient reads. Rounding of x against its spread is what they are off by. */
static void run_batch_norm(const struct batch_norm_case *c, bool inference)
{
    struct cyx_shape channel = shape1(c->shape.dim[1]);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_range(&g, op_graph_param(&g, c->shape), c->low, c->high);
    int32_t w = c->affine ? op_graph_param(&g, channel) : CYX_NO_VALUE;
    int32_t b = c->affine ? op_graph_param(&g, channel) : CYX_NO_VALUE;
    int32_t mean = op_graph_value(&g, CYX_VALUE_BUFFER, CYX_F32, channel);
    int32_t var = op_graph_value(&g, CYX_VALUE_BUFFER, CYX_F32, channel);
    op_graph_range(&g, var, 0.5, 2);
    int32_t y = op_graph_result(&g, c->shape), m = op_graph_result(&g, channel),
            r = op_graph_result(&g, channel);
    struct cyx_node *node =
        op_graph_node(&g, inference ? CYX_OP_BATCH_NORM_INFERENCE : CYX_OP_BATCH_NORM, 5,
                      (int32_t[]){x, w, b, mean, var}, inference ? 1 : 3, (int32_t[]){y, m, r});
    node->fused_relu = c->relu;
    node->eps = 1e-5;
    node->momentum = 0.1;
    int64_t n = cyx_shape_count(&c->shape) / c->shape.dim[1];
    double largest = fmax(fabs(c->low), fabs(c->high)), spread = (c->high - c->low) / 2;
    double tolerance = sum_tolerance(n) + 8 * largest / spread * 0x1p-24;
    const struct check checks[] = {
        {y, tolerance}, {mean, tolerance}, {var, tolerance}, {m, tolerance}, {r, tolerance}};
    run_checks(&g, c->what, NULL, 2, 1.0, checks, inference ? 3 : 5);
}

static const struct batch_norm_case batch_norms[] = {
    {"BatchNorm1d (N,C)", {2, {17, 5}}, true, false, -1, 1},
    {"BatchNorm1d (N,C), many channels", {2, {300, 131}}, true, true, -1, 1},
    {"BatchNorm1d (N,C,L)", {3, {4, 3, 11}}, false, false, -2, 3},
    {"BatchNorm2d, plane of 2", {4, {9, 40, 1, 2}}, true, false, -1, 1},
    {"BatchNorm2d, plane in fours", {4, {3, 5, 4, 6}}, true, true, -1, 1},
    {"BatchNorm2d, odd plane", {4, {2, 7, 5, 3}}, true, false, 0, 1},
    {"BatchNorm2d, long channels", {4, {24, 3, 31, 29}}, true, true, -1, 1},
    {"BatchNorm2d, few against a large mean", {4, {8, 2, 13, 7}}, false, false, 999, 1001},
    {"BatchNorm2d, two values", {4, {2, 3, 1, 1}}, true, false, -1, 1},
};

/* Twice, so that the running statistics run. */
static void test_batch_norm__matches_reference_and_writes_running_statistics(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof batch_norms / sizeof batch_norms[0]; i++)
        run_batch_norm(&batch_norms[i], false);
}

static void test_batch_norm_inference__matches_reference_and_writes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++)
        run_batch_norm(&batch_norms[i], true);
}

/* Which of dx, dw and db are wanted: a first layer needs no dx, one without weights neither of the others. */
struct wanted {
    bool dx, dw, db;
};

static void run_batch_norm_grad(const struct batch_norm_case *c, struct wanted wanted)
{
    struct cyx_shape channel = shape1(c->shape.dim[1]);
    struct op_graph g;
    op_graph_init(&g);
    int32_t dy = op_graph_param(&g, c->shape), x = op_graph_param(&g, c->shape);
    int32_t w = c->affine ? op_graph_param(&g, channel) : CYX_NO_VALUE;
    int32_t m = op_graph_param(&g, channel);
    int32_t r = op_graph_range(&g, op_graph_param(&g, channel), 0.5, 2);
    int32_t dx = wanted.dx ? op_graph_result(&g, c->shape) : CYX_NO_VALUE;
    int32_t dw = wanted.dw ? op_graph_result(&g, channel) : CYX_NO_VALUE;
    int32_t db = wanted.db ? op_graph_result(&g, channel) : CYX_NO_VALUE;
    op_graph_node(&g, CYX_OP_BATCH_NORM_GRAD, 5, (int32_t[]){dy, x, w, m, r}, 3,
                  (int32_t[]){dx, dw, db});
    g.graph.output = dy;
    double tolerance = sum_tolerance(cyx_shape_count(&c->shape) / c->shape.dim[1]);
    struct check checks[3];
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        int32_t value = ((const int32_t[]){dx, dw, db})[i];
        if (value != CYX_NO_VALUE)
            checks[n++] = (struct check){value, tolerance};
    }
    run_checks(&g, c->what, NULL, 1, 1.0, checks, n);
}

static void test_batch_norm_grad__matches_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof batch_norms / sizeof batch_norms[0]; i++) {
        bool affine = batch_norms[i].affine;
        run_batch_norm_grad(&batch_norms[i], (struct wanted){true, affine, affine});
    }
    run_batch_norm_grad(&batch_norms[0], (struct wanted){false, true, true});
    run_batch_norm_grad(&batch_norms[4], (struct wanted){true, true, false});
}

struct layer_norm_case {
    const char *what;
    struct cyx_shape shape;
    int norm_dims;
    bool weight, bias;
    double low, high;
};

static const struct layer_norm_case layer_norms[] = {
    {"LayerNorm (N,F)", {2, {17, 30}}, 1, true, true, -1, 1},
    {"LayerNorm (N,F), long rows", {2, {5, 1500}}, 1, true, true, -1, 1},
    {"LayerNorm (N,F), many rows", {2, {700, 9}}, 1, true, true, -1, 1},
    {"LayerNorm (N,C,L), last", {3, {4, 3, 65}}, 1, true, false, -1, 1},
    {"LayerNorm (N,C,L), both", {3, {4, 3, 11}}, 2, false, false, -1, 3},
    {"LayerNorm (N,C,H,W), all", {4, {3, 5, 4, 7}}, 3, true, true, -1, 1},
    {"LayerNorm (N,C,H,W), plane", {4, {2, 3, 6, 5}}, 2, true, true, -1, 1},
    {"LayerNorm against a large mean", {2, {6, 200}}, 1, true, true, 999, 1001},
};

static void run_layer_norm(const struct layer_norm_case *c)
{
    struct cyx_shape row = {0};
    for (int d = c->shape.rank - c->norm_dims; d < c->shape.rank; d++)
        row.dim[row.rank++] = c->shape.dim[d];
    int64_t length = cyx_shape_count(&row), rows = cyx_shape_count(&c->shape) / length;
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_range(&g, op_graph_param(&g, c->shape), c->low, c->high);
    int32_t w = c->weight ? op_graph_param(&g, row) : CYX_NO_VALUE;
    int32_t b = c->bias ? op_graph_param(&g, row) : CYX_NO_VALUE;
    int32_t dy = op_graph_param(&g, c->shape);
    int32_t y = op_graph_result(&g, c->shape), m = op_graph_result(&g, shape1(rows)),
            r = op_graph_result(&g, shape1(rows));
    int32_t dx = op_graph_result(&g, c->shape);
    int32_t dw = c->weight ? op_graph_result(&g, row) : CYX_NO_VALUE;
    int32_t db = c->bias ? op_graph_result(&g, row) : CYX_NO_VALUE;
    struct cyx_node *nodes[] = {
        op_graph_node(&g, CYX_OP_LAYER_NORM, 3, (int32_t[]){x, w, b}, 3, (int32_t[]){y, m, r}),
        op_graph_node(&g, CYX_OP_LAYER_NORM_GRAD, 5, (int32_t[]){dy, x, w, m, r}, 3,
                      (int32_t[]){dx, dw, db})};
    for (int i = 0; i < 2; i++) {
        nodes[i]->norm_dims = c->norm_dims;
        nodes[i]->eps = 1e-5;
    }
    /* as in run_batch_norm */
    double spread = (c->high - c->low) / 2, largest = fmax(fabs(c->low), fabs(c->high));
    double tolerance = sum_tolerance(length) + 8 * largest / spread * 0x1p-24;
    struct check checks[6] = {{y, tolerance}, {m, tolerance}, {r, tolerance}, {dx, tolerance}};
    size_t n = 4;
    if (c->weight)
        checks[n++] = (struct check){dw, tolerance + sum_tolerance(rows)};
    if (c->bias)
        checks[n++] = (struct check){db, sum_tolerance(rows)};
    run_checks(&g, c->what, NULL, 1, 1.0, checks, n);
}

static void test_layer_norm__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layer_norms / sizeof layer_norms[0]; i++)
        run_layer_norm(&layer_norms[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax__matches_reference_over_any_dimension),
        cmocka_unit_test(test_batch_norm__matches_reference_and_writes_running_statistics),
        cmocka_unit_test(test_batch_norm_inference__matches_reference_and_writes_nothing),
        cmocka_unit_test(test_batch_norm_grad__matches_reference),
        cmocka_unit_test(test_layer_norm__matches_reference_forward_and_backward),
    };
    return run_operation_tests(tests);
}
