/*
 * Every operation on every device against the double-precision reference: odd sizes, the last tile's edges, one
 * row, groups, dilation, strides past the kernel, even kernels under "same" padding.
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
#include "reference.h"
#include "runners.h"

static struct runners runners;

struct check {
    int32_t value;
    double tolerance;
};

/* The loss is checked as the step's result, which is how the world reads it. */
static void check_result(const struct runner *runner, struct cyx_step_result got,
                         const double *wanted, double tolerance, const char *what)
{
    double off = fabs((double)got.loss - wanted[CYX_RESULT_LOSS]);
    if (!(off <= tolerance * fabs(wanted[CYX_RESULT_LOSS])))
        fail_msg("%s: %s: loss %.9g, wanted %.9g", runner->name, what, (double)got.loss,
                 wanted[CYX_RESULT_LOSS]);
    assert_true((double)got.correct == wanted[CYX_RESULT_CORRECT]);
    assert_true((double)got.count == wanted[CYX_RESULT_COUNT]);
}

/* Runs `g` on every device with random operands, `steps` times, and compares the values named. */
static void run_checks(struct op_graph *g, const char *what, const int32_t *target, int steps,
                       double scale, const struct check *checks, size_t n_checks)
{
    static const float input[1] = {0};
    static const int32_t no_target[1] = {0};
    struct cyx_error error = {0};
    for (size_t r = 0; r < runners.count; r++) {
        const struct runner *runner = &runners.items[r];
        struct cyx_session *session = NULL;
        struct cyx_program *program = NULL;
        struct cyx_step_result result = {0};
        struct reference reference;
        must_do(runner->name,
                runner->backend->session_create(runner->device, &g->graph, &session, &error),
                &error);
        must_do(runner->name, runner->backend->program_create(session, &g->graph, &program, &error),
                &error);
        reference_init(&reference, &g->graph, true);
        fill_params(runner, session, &g->graph, &reference, scale);
        for (int64_t i = 0; target && i < g->values[g->graph.target].shape.dim[0]; i++)
            reference.data[g->graph.target][i] = target[i];
        for (int step = 1; step <= steps; step++) {
            struct cyx_feed feed = {
                input, target ? target : no_target, 0x123456789abcdefu, (uint64_t)step, {0.01}};
            result = run_step(runner, program, &feed);
            reference.seed = feed.seed;
            reference.step = step;
            memcpy(reference.lr, feed.lr, sizeof reference.lr);
            reference_run(&reference, g->graph.n_nodes);
        }
        for (size_t i = 0; i < n_checks; i++) {
            const double *wanted = reference.data[checks[i].value];
            if (checks[i].value == g->graph.result)
                check_result(runner, result, wanted, checks[i].tolerance, what);
            else
                compare_value(runner, session, program, &g->graph, checks[i].value, wanted,
                              checks[i].tolerance, what);
        }
        runner->backend->program_destroy(program);
        runner->backend->session_destroy(session);
        reference_finish(&reference);
    }
}

static struct cyx_shape shape2(int64_t a, int64_t b)
{
    return (struct cyx_shape){2, {a, b}};
}

static struct cyx_shape shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (struct cyx_shape){4, {a, b, c, d}};
}

static struct cyx_shape shape1(int64_t a)
{
    return (struct cyx_shape){1, {a}};
}

/* Sizes around the tiles' edges (8, 32, 64, 128) and of one. */
static void test_linear__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct {
        int64_t n, ins, outs;
        bool bias, relu;
    } cases[] = {
        {1, 1, 1, true, false},      {1, 784, 10, true, true},    {7, 5, 3, false, false},
        {33, 65, 31, true, true},    {128, 127, 129, true, true}, {63, 257, 64, false, true},
        {600, 19, 130, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t n = cases[i].n, ins = cases[i].ins, outs = cases[i].outs;
        struct op_graph g;
        char what[80];
        snprintf(what, sizeof what, "Linear (%d,%d)->%d", (int)n, (int)ins, (int)outs);
        op_graph_init(&g);
        int32_t x = op_graph_param(&g, shape2(n, ins)), w = op_graph_param(&g, shape2(outs, ins));
        int32_t b = cases[i].bias ? op_graph_param(&g, shape1(outs)) : CYX_NO_VALUE;
        int32_t dy = op_graph_param(&g, shape2(n, outs));
        int32_t y = op_graph_result(&g, shape2(n, outs)), dx = op_graph_result(&g, shape2(n, ins));
        int32_t dw = op_graph_result(&g, shape2(outs, ins));
        int32_t db = cases[i].bias ? op_graph_result(&g, shape1(outs)) : CYX_NO_VALUE;
        op_graph_node(&g, CYX_OP_LINEAR, 3, (int32_t[]){x, w, b}, 1, &y)->fused_relu =
            cases[i].relu;
        op_graph_node(&g, CYX_OP_LINEAR_GRAD_INPUT, 2, (int32_t[]){dy, w}, 1, &dx);
        op_graph_node(&g, CYX_OP_LINEAR_GRAD_WEIGHT, 2, (int32_t[]){x, dy}, 2, (int32_t[]){dw, db});
        const struct check checks[] = {{y, sum_tolerance(ins)},
                                       {dx, sum_tolerance(outs)},
                                       {dw, sum_tolerance(n)},
                                       {db, sum_tolerance(n)}};
        run_checks(&g, what, NULL, 1, 1.0, checks, cases[i].bias ? 4 : 3);
    }
}

struct conv_case {
    const char *what;
    int64_t n, c, h, w, o;
    struct cyx_window window; /* kernel, stride, dilation, pad_begin, pad_end, groups */
    bool bias, relu;
};

static int64_t out_size(const struct cyx_window *w, int axis, int64_t size)
{
    int64_t reach = w->dilation[axis] * (w->kernel[axis] - 1) + 1;
    return (size + w->pad_begin[axis] + w->pad_end[axis] - reach) / w->stride[axis] + 1;
}

static void run_conv(const struct conv_case *c)
{
    const struct cyx_window *k = &c->window;
    int64_t oh = out_size(k, 0, c->h), ow = out_size(k, 1, c->w), cg = c->c / k->groups;
    int64_t taps = k->kernel[0] * k->kernel[1];
    struct cyx_shape weight = shape4(c->o, cg, k->kernel[0], k->kernel[1]);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, shape4(c->n, c->c, c->h, c->w)), w = op_graph_param(&g, weight);
    int32_t b = c->bias ? op_graph_param(&g, shape1(c->o)) : CYX_NO_VALUE;
    int32_t dy = op_graph_param(&g, shape4(c->n, c->o, oh, ow));
    int32_t y = op_graph_result(&g, shape4(c->n, c->o, oh, ow));
    int32_t dx = op_graph_result(&g, shape4(c->n, c->c, c->h, c->w)),
            dw = op_graph_result(&g, weight);
    int32_t db = c->bias ? op_graph_result(&g, shape1(c->o)) : CYX_NO_VALUE;
    struct cyx_node *nodes[] = {
        op_graph_node(&g, CYX_OP_CONV2D, 3, (int32_t[]){x, w, b}, 1, &y),
        op_graph_node(&g, CYX_OP_CONV2D_GRAD_INPUT, 2, (int32_t[]){dy, w}, 1, &dx),
        op_graph_node(&g, CYX_OP_CONV2D_GRAD_WEIGHT, 2, (int32_t[]){x, dy}, 2, (int32_t[]){dw, db}),
    };
    nodes[0]->fused_relu = c->relu;
    for (int i = 0; i < 3; i++)
        nodes[i]->window = c->window;
    const struct check checks[] = {{y, sum_tolerance(cg * taps)},
                                   {dx, sum_tolerance(c->o / k->groups * taps)},
                                   {dw, sum_tolerance(c->n * oh * ow)},
                                   {db, sum_tolerance(c->n * oh * ow)}};
    run_checks(&g, c->what, NULL, 1, 1.0, checks, c->bias ? 4 : 3);
}

static void test_conv2d__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct conv_case cases[] = {
        {"1x1, one pixel", 1, 1, 1, 1, 1, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1}, true, false},
        {"3x3 padded, odd plane",
         3,
         5,
         13,
         11,
         9,
         {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
         true,
         true},
        {"5x3, not square",
         2,
         3,
         9,
         17,
         4,
         {{5, 3}, {1, 2}, {1, 1}, {2, 0}, {2, 0}, 1},
         true,
         false},
        {"same, even kernel",
         2,
         4,
         8,
         7,
         6,
         {{4, 2}, {1, 1}, {1, 1}, {1, 0}, {2, 1}, 1},
         true,
         true},
        {"stride past the kernel",
         2,
         3,
         11,
         12,
         5,
         {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1},
         false,
         false},
        {"stride 2, last pixels unread",
         2,
         3,
         10,
         10,
         5,
         {{3, 3}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1},
         true,
         false},
        {"dilated", 2, 2, 12, 14, 3, {{3, 3}, {1, 1}, {2, 3}, {2, 3}, {2, 3}, 1}, true, false},
        {"strided and dilated",
         1,
         2,
         15,
         15,
         3,
         {{3, 2}, {2, 3}, {2, 2}, {1, 2}, {1, 2}, 1},
         false,
         true},
        {"two groups", 2, 6, 7, 9, 10, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 2}, true, true},
        {"depthwise, strided",
         3,
         7,
         9,
         9,
         14,
         {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 7},
         true,
         false},
        {"padding wider than needed",
         1,
         2,
         3,
         3,
         2,
         {{3, 3}, {1, 1}, {1, 1}, {2, 2}, {2, 2}, 1},
         true,
         false},
        {"long reduction",
         16,
         8,
         14,
         14,
         16,
         {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
         true,
         true},
        {"wide", 2, 40, 6, 6, 70, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1}, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_conv(&cases[i]);
}

/* Behind a ReLU many windows hold nothing but zeros: the first must win, and its gradient go there alone. */
static void run_pool(const char *what, struct cyx_shape in, struct cyx_window window)
{
    struct cyx_shape out = in;
    out.dim[2] = out_size(&window, 0, in.dim[2]);
    out.dim[3] = out_size(&window, 1, in.dim[3]);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, in), dy = op_graph_param(&g, out), y = op_graph_result(&g, out);
    int32_t index = op_graph_value(&g, CYX_VALUE_TRANSIENT, CYX_I32, out),
            dx = op_graph_result(&g, in);
    int32_t positive = op_graph_result(&g, in);
    op_graph_node(&g, CYX_OP_RELU, 1, &x, 1, &positive);
    op_graph_node(&g, CYX_OP_MAX_POOL2D, 1, &positive, 2, (int32_t[]){y, index})->window = window;
    op_graph_node(&g, CYX_OP_MAX_POOL2D_GRAD, 2, (int32_t[]){dy, index}, 1, &dx)->window = window;
    /* the gradient adds at most a window's worth of terms */
    const struct check checks[] = {{y, 0},
                                   {dx, sum_tolerance(window.kernel[0] * window.kernel[1])}};
    run_checks(&g, what, NULL, 1, 1.0, checks, 2);
}

static void test_max_pool2d__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    const struct cyx_window two = {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1};
    const struct cyx_window three = {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1};
    const struct cyx_window wide = {{2, 3}, {1, 1}, {1, 1}, {0, 1}, {0, 1}, 1};
    const struct cyx_window apart = {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1};
    run_pool("MaxPool2d 2", shape4(3, 5, 8, 8), two);
    run_pool("MaxPool2d 2, odd plane", shape4(2, 3, 7, 9), two);
    run_pool("MaxPool2d 3, stride 2, padded", shape4(2, 3, 9, 6), three);
    run_pool("MaxPool2d 2x3, overlapping", shape4(1, 4, 5, 7), wide);
    run_pool("MaxPool2d 2, stride past the kernel", shape4(2, 2, 11, 12), apart);
}

static void test_elementwise__matches_reference(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 4, 127, 1001, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct cyx_shape shape = shape2(1, sizes[i]);
        struct op_graph g;
        op_graph_init(&g);
        int32_t a = op_graph_param(&g, shape), b = op_graph_param(&g, shape);
        int32_t relu = op_graph_result(&g, shape), relu_grad = op_graph_result(&g, shape);
        int32_t sum = op_graph_result(&g, shape),
                reshaped = op_graph_result(&g, shape2(sizes[i], 1));
        op_graph_node(&g, CYX_OP_RELU, 1, &a, 1, &relu);
        op_graph_node(&g, CYX_OP_RELU_GRAD, 2, (int32_t[]){b, relu}, 1, &relu_grad);
        op_graph_node(&g, CYX_OP_ADD, 2, (int32_t[]){a, b}, 1, &sum);
        op_graph_node(&g, CYX_OP_RESHAPE, 1, &relu, 1, &reshaped);
        g.values[reshaped].alias_of = relu;
        /* copies are exact; a sum rounds once */
        const struct check checks[] = {{relu, 0}, {relu_grad, 0}, {sum, 0x1p-24}, {reshaped, 0}};
        run_checks(&g, "elementwise", NULL, 1, 1.0, checks, 4);
    }
}

/* The graph's builder always lets a RESHAPE share its input's bytes; Vulkan copies when it is not let. */
static void test_reshape__copies_where_bytes_are_not_shared(void **state)
{
    (void)state;
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, shape4(3, 5, 7, 1)), y = op_graph_result(&g, shape2(3, 35));
    op_graph_node(&g, CYX_OP_RESHAPE, 1, &x, 1, &y);
    const struct check checks[] = {{y, 0}};
    run_checks(&g, "RESHAPE", NULL, 1, 1.0, checks, 1);
}

/* The same mask as Philox in C, in both directions: a zero that is not one is off by more than rounding. */
static void test_dropout__mask_is_philox_bit_for_bit(void **state)
{
    (void)state;
    static const double rates[] = {0, 0.1, 0.5, 0.9};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct cyx_shape shape = shape4(3, 5, 17, 67);
        struct op_graph g;
        op_graph_init(&g);
        int32_t x = op_graph_param(&g, shape), dy = op_graph_param(&g, shape);
        int32_t y = op_graph_result(&g, shape), dx = op_graph_result(&g, shape);
        struct cyx_node *nodes[] = {op_graph_node(&g, CYX_OP_DROPOUT, 1, &x, 1, &y),
                                    op_graph_node(&g, CYX_OP_DROPOUT_GRAD, 1, &dy, 1, &dx)};
        for (int k = 0; k < 2; k++) {
            nodes[k]->p = rates[i];
            nodes[k]->rng_stream = 7;
        }
        /* the scale and the product round once each */
        const struct check checks[] = {{y, 0x1p-23}, {dx, 0x1p-23}};
        run_checks(&g, "Dropout", NULL, 3, 1.0, checks, 2);
    }
}

static void test_cross_entropy__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct {
        int64_t rows, classes;
        double smoothing, scale;
    } cases[] = {
        {1, 2, 0, 1}, {5, 10, 0, 4}, {129, 10, 0.1, 4}, {33, 1000, 0, 1}, {70, 101, 0.3, 80}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t rows = cases[i].rows, classes = cases[i].classes;
        struct cyx_shape shape = shape2(rows, classes);
        int32_t target[256];
        struct op_graph g;
        op_graph_init(&g);
        op_graph_target(&g, rows);
        for (int64_t n = 0; n < rows; n++) /* every fifth row is ignored */
            target[n] = n % 5 == 4 ? -100 : (int32_t)((n * 7 + 1) % classes);
        int32_t x = op_graph_param(&g, shape), dx = op_graph_result(&g, shape);
        int32_t result = g.graph.result, in[] = {x, g.graph.target, result};
        op_graph_node(&g, CYX_OP_CROSS_ENTROPY, 2, in, 1, &result)->label_smoothing =
            cases[i].smoothing;
        op_graph_node(&g, CYX_OP_CROSS_ENTROPY_GRAD, 3, in, 1, &dx)->label_smoothing =
            cases[i].smoothing;
        g.graph.output = x;
        /* exp of a difference of size s is off by s * 2^-24 besides its own rounding */
        double tolerance = sum_tolerance(classes) + 2 * cases[i].scale * 0x1p-24;
        const struct check checks[] = {{result, tolerance}, {dx, tolerance}};
        run_checks(&g, "CrossEntropy", target, 1, cases[i].scale, checks, 2);
    }
}

static void run_optimizer(const char *what, enum cyx_op op,
                          const struct cyx_optimizer_spec *optimizer, int n_states)
{
    struct cyx_shape shape = shape2(7, 39);
    struct op_graph g;
    op_graph_init(&g);
    g.optimizer = *optimizer;
    int32_t w = op_graph_param(&g, shape), dw = op_graph_param(&g, shape);
    int32_t in[4] = {w, dw, CYX_NO_VALUE, CYX_NO_VALUE};
    for (int i = 0; i < n_states; i++)
        in[2 + i] = op_graph_value(&g, CYX_VALUE_STATE, CYX_F32, shape);
    op_graph_node(&g, op, op == CYX_OP_SGD ? 3 : 4, in, 0, NULL);
    /* four steps of a dozen roundings each */
    const struct check checks[] = {{w, 50 * 0x1p-24}, {in[2], 50 * 0x1p-24}, {in[3], 50 * 0x1p-24}};
    run_checks(&g, what, NULL, 4, 1.0, checks, (size_t)n_states + 1);
}

static void test_sgd__matches_reference_over_steps(void **state)
{
    (void)state;
    run_optimizer("SGD", CYX_OP_SGD, &(struct cyx_optimizer_spec){.type = CYX_OPTIMIZER_SGD}, 0);
    run_optimizer(
        "SGD, momentum", CYX_OP_SGD,
        &(struct cyx_optimizer_spec){.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01}, 1);
    run_optimizer(
        "SGD, Nesterov", CYX_OP_SGD,
        &(struct cyx_optimizer_spec){.momentum = 0.8, .nesterov = true, .weight_decay = 0.1}, 1);
}

static void test_adamw__matches_reference_over_steps(void **state)
{
    (void)state;
    run_optimizer(
        "AdamW", CYX_OP_ADAMW,
        &(struct cyx_optimizer_spec){
            .type = CYX_OPTIMIZER_ADAMW, .betas = {0.9, 0.999}, .eps = 1e-8, .weight_decay = 0.01},
        2);
    run_optimizer(
        "AdamW, other betas", CYX_OP_ADAMW,
        &(struct cyx_optimizer_spec){
            .type = CYX_OPTIMIZER_ADAMW, .betas = {0.5, 0.8}, .eps = 1e-3, .weight_decay = 0.3},
        2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__matches_reference_forward_and_backward),
        cmocka_unit_test(test_conv2d__matches_reference_forward_and_backward),
        cmocka_unit_test(test_max_pool2d__matches_reference_forward_and_backward),
        cmocka_unit_test(test_elementwise__matches_reference),
        cmocka_unit_test(test_reshape__copies_where_bytes_are_not_shared),
        cmocka_unit_test(test_dropout__mask_is_philox_bit_for_bit),
        cmocka_unit_test(test_cross_entropy__matches_reference_forward_and_backward),
        cmocka_unit_test(test_sgd__matches_reference_over_steps),
        cmocka_unit_test(test_adamw__matches_reference_over_steps),
    };
    runners_open(&runners);
    if (runners.count == 0)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
