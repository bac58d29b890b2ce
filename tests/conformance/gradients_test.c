/*
 * Every gradient of the CPU backend against finite differences of its own forward pass.
 *
 * With f(θ) = Σ y(θ) dy (or the loss), each checked element of a gradient must be (f(θ+h) - f(θ-h)) / 2h. Most
 * operations are linear in each operand alone, so h may be large and the quotient exact but for rounding; where
 * the two one-sided quotients differ, a kink (ReLU, MaxPool2d) lies between and the element is passed over.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op_graph.h"
#include "runners.h"

enum { ELEMENTS = 4096, SAMPLES = 48, PAIRS = 3 };

static struct runners runners;

/* What is differentiated: parameters with the values that hold their gradients. */
struct check {
    const char *what;
    struct op_graph g;
    int32_t y, dy; /* CYX_NO_VALUE: the loss */
    struct {
        int32_t param, grad;
    } pairs[PAIRS];
    int n_pairs;
    const int32_t *target;
    double h, tolerance; /* of the largest element */
    const struct runner *cpu;
    struct cyx_session *session;
    struct cyx_program *program;
};

static size_t count_of(const struct check *c, int32_t value)
{
    size_t count = (size_t)cyx_shape_count(&c->g.values[value].shape);
    assert_true(count <= ELEMENTS);
    return count;
}

static const char *name_of(const struct check *c, int32_t value)
{
    return c->g.values[value].name;
}

static void write_param(const struct check *c, int32_t param, const float *data)
{
    struct cyx_error error = {0};
    must_do(c->what,
            c->cpu->backend->value_write(c->session, name_of(c, param), data, count_of(c, param),
                                         &error),
            &error);
}

static void read_param(const struct check *c, int32_t param, float *ret_data)
{
    struct cyx_error error = {0};
    must_do(c->what,
            c->cpu->backend->value_read(c->session, name_of(c, param), ret_data, count_of(c, param),
                                        &error),
            &error);
}

static void read_result(const struct check *c, int32_t value, float *ret_data)
{
    struct cyx_error error = {0};
    must_do(c->what,
            c->cpu->backend->transient_read(c->program, name_of(c, value), ret_data,
                                            count_of(c, value), &error),
            &error);
}

static double objective(const struct check *c)
{
    static const float input[1] = {0};
    static const int32_t no_target[1] = {0};
    static float y[ELEMENTS], dy[ELEMENTS];
    struct cyx_feed feed = {
        .input = input, .target = c->target ? c->target : no_target, .seed = 77, .step = 3};
    struct cyx_step_result result = run_step(c->cpu, c->program, &feed);
    if (c->y == CYX_NO_VALUE)
        return (double)result.loss;
    double sum = 0;
    read_result(c, c->y, y);
    read_param(c, c->dy, dy);
    for (size_t i = 0; i < count_of(c, c->y); i++)
        sum += (double)y[i] * (double)dy[i];
    return sum;
}

/* The quotient for element `at`; false when a kink lies within. */
static bool quotient(const struct check *c, int32_t param, float *data, size_t at, double scale,
                     double *ret_slope)
{
    float kept = data[at];
    double here = objective(c);
    data[at] = kept + (float)c->h;
    write_param(c, param, data);
    double above = objective(c);
    data[at] = kept - (float)c->h;
    write_param(c, param, data);
    double below = objective(c);
    data[at] = kept;
    write_param(c, param, data);
    *ret_slope = (above - below) / (2 * c->h);
    double bend = (above - here) / c->h - (here - below) / c->h;
    return fabs(bend) <= 4 * c->tolerance * scale;
}

static void check_pair(const struct check *c, int32_t param, int32_t grad)
{
    static float data[ELEMENTS], slopes[ELEMENTS];
    size_t count = count_of(c, param), stride = count > SAMPLES ? count / SAMPLES : 1;
    size_t tried = 0, judged = 0;
    double scale = 0;
    read_param(c, param, data);
    objective(c);
    read_result(c, grad, slopes);
    for (size_t i = 0; i < count; i++)
        scale = fmax(scale, fabs((double)slopes[i]));
    assert_true(scale > 0);
    for (size_t i = 0; i < count; i += stride) {
        double slope = 0;
        tried++;
        if (!quotient(c, param, data, i, scale, &slope))
            continue;
        judged++;
        if (!(fabs(slope - (double)slopes[i]) <= c->tolerance * scale))
            fail_msg("%s: %s[%zu] is %.9g, the quotient %.9g (largest %.3g)", c->what,
                     name_of(c, grad), i, (double)slopes[i], slope, scale);
    }
    if (judged * 10 < tried * 7)
        fail_msg("%s: only %zu of %zu elements away from kinks", c->what, judged, tried);
}

static void run_check(struct check *c)
{
    struct cyx_error error = {0};
    for (size_t r = 0; r < runners.count; r++)
        if (strcmp(runners.items[r].name, "cpu") == 0)
            c->cpu = &runners.items[r];
    assert_non_null(c->cpu);
    const struct cyx_backend *backend = c->cpu->backend;
    must_do(c->what, backend->session_create(c->cpu->device, &c->g.graph, &c->session, &error),
            &error);
    must_do(c->what, backend->program_create(c->session, &c->g.graph, &c->program, &error), &error);
    for (int32_t v = 0; v < (int32_t)c->g.graph.n_values; v++) {
        static float data[ELEMENTS];
        if (c->g.values[v].kind != CYX_VALUE_PARAM)
            continue;
        for (size_t i = 0; i < count_of(c, v); i++)
            data[i] = test_uniform(100 + (uint64_t)v, (int64_t)i);
        write_param(c, v, data);
    }
    for (int i = 0; i < c->n_pairs; i++)
        check_pair(c, c->pairs[i].param, c->pairs[i].grad);
    backend->program_destroy(c->program);
    backend->session_destroy(c->session);
}

static void add_pair(struct check *c, int32_t param, int32_t grad)
{
    c->pairs[c->n_pairs].param = param;
    c->pairs[c->n_pairs++].grad = grad;
}

/* ---- affine operations ---- */

struct affine {
    const char *what;
    struct cyx_shape x, w, y;
    struct cyx_window window;
    bool relu;
};

static void check_affine(const struct affine *a, enum cyx_op op, enum cyx_op input_op,
                         enum cyx_op weight_op)
{
    struct check c = {.what = a->what, .h = 0.5, .tolerance = 1e-4};
    if (a->relu) { /* a bias moves every pixel: small steps, or one of them crosses zero */
        c.h = 0x1p-11;
        c.tolerance = 1e-3;
    }
    op_graph_init(&c.g);
    int32_t x = op_graph_param(&c.g, a->x), w = op_graph_param(&c.g, a->w);
    int32_t b = op_graph_param(&c.g, (struct cyx_shape){1, {a->w.dim[0]}});
    c.dy = op_graph_param(&c.g, a->y);
    c.y = op_graph_result(&c.g, a->y);
    int32_t dx = op_graph_result(&c.g, a->x), dw = op_graph_result(&c.g, a->w);
    int32_t db = op_graph_result(&c.g, (struct cyx_shape){1, {a->w.dim[0]}});
    int32_t dy = c.dy;
    struct cyx_node *forward = op_graph_node(&c.g, op, 3, (int32_t[]){x, w, b}, 1, &c.y);
    forward->window = a->window;
    forward->fused_relu = a->relu;
    if (a->relu) {
        dy = op_graph_result(&c.g, a->y);
        op_graph_node(&c.g, CYX_OP_RELU_GRAD, 2, (int32_t[]){c.dy, c.y}, 1, &dy);
    }
    op_graph_node(&c.g, input_op, 2, (int32_t[]){dy, w}, 1, &dx)->window = a->window;
    op_graph_node(&c.g, weight_op, 2, (int32_t[]){x, dy}, 2, (int32_t[]){dw, db})->window =
        a->window;
    add_pair(&c, x, dx);
    add_pair(&c, w, dw);
    add_pair(&c, b, db);
    run_check(&c);
}

static void test_gradient__of_linear(void **state)
{
    (void)state;
    static const struct affine cases[] = {
        {"Linear 5x7 to 3", {2, {5, 7}}, {2, {3, 7}}, {2, {5, 3}}, {.groups = 1}, false},
        {"Linear 1x1 to 1", {2, {1, 1}}, {2, {1, 1}}, {2, {1, 1}}, {.groups = 1}, false},
        {"Linear 9x33 to 17, ReLU", {2, {9, 33}}, {2, {17, 33}}, {2, {9, 17}}, {.groups = 1}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_affine(&cases[i], CYX_OP_LINEAR, CYX_OP_LINEAR_GRAD_INPUT, CYX_OP_LINEAR_GRAD_WEIGHT);
}

static void test_gradient__of_conv2d(void **state)
{
    (void)state;
    static const struct affine cases[] = {
        {"Conv2d 3x3",
         {4, {2, 3, 7, 5}},
         {4, {4, 3, 3, 3}},
         {4, {2, 4, 5, 3}},
         {{3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1},
         false},
        {"Conv2d 1 to 6, 5x5, ReLU",
         {4, {2, 1, 9, 8}},
         {4, {6, 1, 5, 5}},
         {4, {2, 6, 9, 8}},
         {{5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 1},
         true},
        {"Conv2d stride 2x3",
         {4, {1, 5, 9, 11}},
         {4, {3, 5, 3, 2}},
         {4, {1, 3, 5, 4}},
         {{3, 2}, {2, 3}, {1, 1}, {1, 1}, {1, 1}, 1},
         false},
        {"Conv2d dilated, uneven padding",
         {4, {1, 2, 9, 8}},
         {4, {3, 2, 2, 3}},
         {4, {1, 3, 9, 7}},
         {{2, 3}, {1, 1}, {2, 2}, {1, 1}, {1, 2}, 1},
         false},
        {"Conv2d 3 groups",
         {4, {2, 6, 5, 5}},
         {4, {9, 2, 3, 3}},
         {4, {2, 9, 5, 5}},
         {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 3},
         false},
        {"Conv2d depthwise",
         {4, {2, 16, 5, 4}},
         {4, {16, 1, 3, 3}},
         {4, {2, 16, 5, 4}},
         {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 16},
         false},
        {"Conv2d 16 to 32",
         {4, {1, 16, 6, 6}},
         {4, {24, 16, 3, 3}},
         {4, {1, 24, 4, 4}},
         {{3, 3}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1},
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_affine(&cases[i], CYX_OP_CONV2D, CYX_OP_CONV2D_GRAD_INPUT, CYX_OP_CONV2D_GRAD_WEIGHT);
}

/* ---- operations of one operand ---- */

/* Forward y = op(x) and dx = grad_op(dy, third): the gradient reads y, the index or nothing besides dy. */
static void check_unary(const char *what, enum cyx_op op, enum cyx_op grad_op, struct cyx_shape in,
                        struct cyx_shape out, const struct cyx_node *like)
{
    struct check c = {.what = what, .h = 0x1p-8, .tolerance = 1e-3};
    op_graph_init(&c.g);
    int32_t x = op_graph_param(&c.g, in);
    c.dy = op_graph_param(&c.g, out);
    c.y = op_graph_result(&c.g, out);
    int32_t dx = op_graph_result(&c.g, in), outs[2] = {c.y, CYX_NO_VALUE};
    int32_t ins[2] = {c.dy, op == CYX_OP_RELU ? c.y : CYX_NO_VALUE};
    if (op == CYX_OP_MAX_POOL2D)
        ins[1] = outs[1] = op_graph_value(&c.g, CYX_VALUE_TRANSIENT, CYX_I32, out);
    struct cyx_node *nodes[2];
    nodes[0] = op_graph_node(&c.g, op, 1, &x, op == CYX_OP_MAX_POOL2D ? 2 : 1, outs);
    nodes[1] = op_graph_node(&c.g, grad_op, ins[1] == CYX_NO_VALUE ? 1 : 2, ins, 1, &dx);
    for (int i = 0; i < 2; i++) {
        nodes[i]->window = like->window;
        nodes[i]->p = like->p;
        nodes[i]->rng_stream = like->rng_stream;
    }
    add_pair(&c, x, dx);
    run_check(&c);
}

static void test_gradient__of_max_pool2d(void **state)
{
    (void)state;
    static const struct cyx_node two = {.window = {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1}};
    static const struct cyx_node three = {.window = {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1}};
    static const struct cyx_node wide = {.window = {{1, 4}, {3, 2}, {1, 1}, {0, 2}, {0, 2}, 1}};
    check_unary("MaxPool2d 2x2", CYX_OP_MAX_POOL2D, CYX_OP_MAX_POOL2D_GRAD,
                (struct cyx_shape){4, {2, 3, 6, 8}}, (struct cyx_shape){4, {2, 3, 3, 4}}, &two);
    check_unary("MaxPool2d 2x2 with a border", CYX_OP_MAX_POOL2D, CYX_OP_MAX_POOL2D_GRAD,
                (struct cyx_shape){4, {1, 5, 7, 5}}, (struct cyx_shape){4, {1, 5, 3, 2}}, &two);
    check_unary("MaxPool2d 3x3 that overlaps", CYX_OP_MAX_POOL2D, CYX_OP_MAX_POOL2D_GRAD,
                (struct cyx_shape){4, {1, 4, 9, 7}}, (struct cyx_shape){4, {1, 4, 5, 4}}, &three);
    check_unary("MaxPool2d 1x4", CYX_OP_MAX_POOL2D, CYX_OP_MAX_POOL2D_GRAD,
                (struct cyx_shape){4, {1, 2, 7, 9}}, (struct cyx_shape){4, {1, 2, 3, 5}}, &wide);
}

static void test_gradient__of_elementwise(void **state)
{
    (void)state;
    static const struct cyx_node none = {0};
    static const struct cyx_node drop = {.p = 0.4, .rng_stream = 5};
    struct cyx_shape shape = {4, {2, 3, 5, 7}}, flat = {2, {6, 35}};
    check_unary("ReLU", CYX_OP_RELU, CYX_OP_RELU_GRAD, shape, shape, &none);
    check_unary("Dropout", CYX_OP_DROPOUT, CYX_OP_DROPOUT_GRAD, shape, shape, &drop);
    check_unary("Reshape", CYX_OP_RESHAPE, CYX_OP_RESHAPE, shape, flat, &none);
}

/* x read twice: y = x + x, so dx = dy + dy. */
static void test_gradient__of_add(void **state)
{
    (void)state;
    struct check c = {.what = "Add", .h = 0.5, .tolerance = 1e-5};
    struct cyx_shape shape = {2, {7, 9}};
    op_graph_init(&c.g);
    int32_t x = op_graph_param(&c.g, shape);
    c.dy = op_graph_param(&c.g, shape);
    c.y = op_graph_result(&c.g, shape);
    int32_t dx = op_graph_result(&c.g, shape);
    op_graph_node(&c.g, CYX_OP_ADD, 2, (int32_t[]){x, x}, 1, &c.y);
    op_graph_node(&c.g, CYX_OP_ADD, 2, (int32_t[]){c.dy, c.dy}, 1, &dx);
    add_pair(&c, x, dx);
    run_check(&c);
}

/* Curved: h balances rounding of a float loss (1e-7 / h) against the third derivative (h² / 6). */
static void test_gradient__of_cross_entropy(void **state)
{
    (void)state;
    static const int32_t target[] = {3, 0, -100, 6};
    static const double smoothings[] = {0, 0.2};
    for (size_t i = 0; i < sizeof smoothings / sizeof *smoothings; i++) {
        struct check c = {.what = "CrossEntropy", .h = 0x1p-6, .tolerance = 2e-3, .target = target};
        op_graph_init(&c.g);
        op_graph_target(&c.g, 4);
        int32_t x = op_graph_param(&c.g, (struct cyx_shape){2, {4, 7}});
        int32_t dx = op_graph_result(&c.g, (struct cyx_shape){2, {4, 7}});
        int32_t labels = c.g.graph.target, result = c.g.graph.result;
        c.y = c.dy = CYX_NO_VALUE;
        op_graph_node(&c.g, CYX_OP_CROSS_ENTROPY, 2, (int32_t[]){x, labels}, 1, &result)
            ->label_smoothing = smoothings[i];
        op_graph_node(&c.g, CYX_OP_CROSS_ENTROPY_GRAD, 3, (int32_t[]){x, labels, result}, 1, &dx)
            ->label_smoothing = smoothings[i];
        c.g.graph.output = x;
        add_pair(&c, x, dx);
        run_check(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient__of_linear),
        cmocka_unit_test(test_gradient__of_conv2d),
        cmocka_unit_test(test_gradient__of_max_pool2d),
        cmocka_unit_test(test_gradient__of_elementwise),
        cmocka_unit_test(test_gradient__of_add),
        cmocka_unit_test(test_gradient__of_cross_entropy),
    };
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    runners_open(&runners);
    if (getenv("CYXWIZ_RUNNERS") &&
        (runners.count == 0 || strcmp(runners.items[0].name, "cpu") != 0))
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
