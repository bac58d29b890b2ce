/*
 * What judges the backends is judged itself: every gradient of the reference against central differences of its own
 * forward pass. Here the operations on two operands, pooling, and those that go element by element;
 * reference_norm_gradient_test.c has the others. No device is opened.
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

#include "quotient.h"

static struct cyx_shape shape1(int64_t a)
{
    return (struct cyx_shape){1, {a}};
}

static struct cyx_shape shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (struct cyx_shape){4, {a, b, c, d}};
}

/* ---- Linear, Conv2d, ConvTranspose2d ---- */

static void run_affine(const char *what, const enum cyx_op ops[3], struct cyx_shape x_shape,
                       struct cyx_shape w_shape, struct cyx_shape y_shape, int64_t outs,
                       const struct cyx_window *window, bool bias, bool relu)
{
    struct quotient c;
    int32_t dx, dw, db;
    struct cyx_node *nodes[3];
    quotient_begin(&c, what);
    int32_t x = quotient_operand(&c, x_shape, &dx), w = quotient_operand(&c, w_shape, &dw);
    int32_t b = quotient_operand_if(&c, bias, shape1(outs), &db);
    quotient_results(&c, y_shape);
    nodes[0] = op_graph_node(&c.g, ops[0], 3, (int32_t[]){x, w, b}, 1, &c.y);
    nodes[0]->fused_relu = relu;
    int32_t dy = quotient_end_forward(&c, relu);
    nodes[1] = op_graph_node(&c.g, ops[1], 2, (int32_t[]){dy, w}, 1, &dx);
    nodes[2] = op_graph_node(&c.g, ops[2], 2, (int32_t[]){x, dy}, 2, (int32_t[]){dw, db});
    for (int i = 0; window && i < 3; i++)
        nodes[i]->window = *window;
    quotient_check(&c);
}

static void test_linear__gradients_are_quotients(void **state)
{
    (void)state;
    static const enum cyx_op ops[] = {CYX_OP_LINEAR, CYX_OP_LINEAR_GRAD_INPUT,
                                      CYX_OP_LINEAR_GRAD_WEIGHT};
    run_affine("Linear", ops, (struct cyx_shape){2, {3, 5}}, (struct cyx_shape){2, {4, 5}},
               (struct cyx_shape){2, {3, 4}}, 4, NULL, true, true);
    run_affine("Linear, one row", ops, (struct cyx_shape){2, {1, 7}}, (struct cyx_shape){2, {2, 7}},
               (struct cyx_shape){2, {1, 2}}, 2, NULL, false, false);
    run_affine("Linear, rank 3", ops, (struct cyx_shape){3, {2, 3, 5}},
               (struct cyx_shape){2, {7, 5}}, (struct cyx_shape){3, {2, 3, 7}}, 7, NULL, true,
               false);
}

struct conv_case {
    const char *what;
    int64_t n, c, h, w, o;
    struct cyx_window window; /* kernel, stride, dilation, pad_begin, pad_end, groups */
    bool bias, relu;
    int64_t output_padding[2]; /* transposed */
};

static int64_t conv_size(const struct cyx_window *w, int axis, int64_t size)
{
    int64_t reach = w->dilation[axis] * (w->kernel[axis] - 1) + 1;
    return (size + w->pad_begin[axis] + w->pad_end[axis] - reach) / w->stride[axis] + 1;
}

static int64_t transposed_size(const struct conv_case *c, int axis, int64_t size)
{
    const struct cyx_window *w = &c->window;
    return (size - 1) * w->stride[axis] - w->pad_begin[axis] - w->pad_end[axis] +
           w->dilation[axis] * (w->kernel[axis] - 1) + c->output_padding[axis] + 1;
}

static void test_conv2d__gradients_are_quotients(void **state)
{
    (void)state;
    static const enum cyx_op ops[] = {CYX_OP_CONV2D, CYX_OP_CONV2D_GRAD_INPUT,
                                      CYX_OP_CONV2D_GRAD_WEIGHT};
    static const struct conv_case cases[] = {
        {"Conv2d 1x1", 1, 1, 1, 1, 1, {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1}, true, false},
        {"Conv2d 3x2", 2, 3, 5, 7, 2, {{3, 2}, {1, 2}, {1, 1}, {1, 0}, {1, 0}, 1}, true, true},
        {"Conv2d same", 1, 2, 4, 5, 3, {{4, 2}, {1, 1}, {1, 1}, {1, 0}, {2, 1}, 1}, false, true},
        {"Conv2d dilated", 1, 2, 7, 8, 2, {{2, 3}, {2, 1}, {2, 3}, {1, 2}, {1, 2}, 1}, true, false},
        {"Conv2d grouped", 2, 4, 5, 4, 6, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 2}, true, false},
        {"Conv2d depthwise",
         1,
         3,
         5,
         5,
         3,
         {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 3},
         true,
         true},
        {"Conv2d, stride past the kernel",
         2,
         1,
         8,
         9,
         2,
         {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1},
         true,
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct conv_case *c = &cases[i];
        const struct cyx_window *w = &c->window;
        run_affine(c->what, ops, shape4(c->n, c->c, c->h, c->w),
                   shape4(c->o, c->c / w->groups, w->kernel[0], w->kernel[1]),
                   shape4(c->n, c->o, conv_size(w, 0, c->h), conv_size(w, 1, c->w)), c->o, w,
                   c->bias, c->relu);
    }
}

static void test_conv_transpose2d__gradients_are_quotients(void **state)
{
    (void)state;
    static const enum cyx_op ops[] = {CYX_OP_CONV_TRANSPOSE2D, CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT,
                                      CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT};
    static const struct conv_case cases[] = {
        {"ConvTranspose2d 1x1",
         1,
         1,
         1,
         1,
         1,
         {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1},
         true,
         false,
         {0, 0}},
        {"ConvTranspose2d, stride 2",
         2,
         3,
         3,
         4,
         2,
         {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1},
         true,
         true,
         {1, 1}},
        {"ConvTranspose2d, not square, stride past the kernel",
         1,
         2,
         3,
         2,
         3,
         {{2, 1}, {3, 2}, {1, 1}, {0, 0}, {0, 0}, 1},
         false,
         false,
         {2, 0}},
        {"ConvTranspose2d, grouped, dilated",
         2,
         4,
         3,
         3,
         6,
         {{2, 3}, {1, 2}, {2, 1}, {1, 0}, {1, 0}, 2},
         true,
         false,
         {1, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct conv_case *c = &cases[i];
        const struct cyx_window *w = &c->window;
        run_affine(c->what, ops, shape4(c->n, c->c, c->h, c->w),
                   shape4(c->c, c->o / w->groups, w->kernel[0], w->kernel[1]),
                   shape4(c->n, c->o, transposed_size(c, 0, c->h), transposed_size(c, 1, c->w)),
                   c->o, w, c->bias, c->relu);
    }
}

/* ---- pooling ---- */

static void run_pool(const char *what, bool is_max, struct cyx_shape in, int64_t oh, int64_t ow,
                     struct cyx_window window)
{
    struct quotient c;
    int32_t dx;
    struct cyx_node *nodes[2];
    struct cyx_shape out = shape4(in.dim[0], in.dim[1], oh, ow);
    quotient_begin(&c, what);
    int32_t x = quotient_operand(&c, in, &dx);
    quotient_results(&c, out);
    if (is_max) {
        int32_t index = op_graph_value(&c.g, CYX_VALUE_TRANSIENT, CYX_I32, out);
        nodes[0] = op_graph_node(&c.g, CYX_OP_MAX_POOL2D, 1, &x, 2, (int32_t[]){c.y, index});
        int32_t dy = quotient_end_forward(&c, false);
        nodes[1] = op_graph_node(&c.g, CYX_OP_MAX_POOL2D_GRAD, 2, (int32_t[]){dy, index}, 1, &dx);
    } else {
        nodes[0] = op_graph_node(&c.g, CYX_OP_AVG_POOL2D, 1, &x, 1, &c.y);
        int32_t dy = quotient_end_forward(&c, false);
        nodes[1] = op_graph_node(&c.g, CYX_OP_AVG_POOL2D_GRAD, 1, &dy, 1, &dx);
    }
    nodes[0]->window = nodes[1]->window = window;
    quotient_check(&c);
}

static void test_pooling__gradients_are_quotients(void **state)
{
    (void)state;
    const struct cyx_window two = {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1, true};
    const struct cyx_window three = {{3, 2}, {2, 1}, {1, 1}, {1, 1}, {1, 1}, 1, true};
    const struct cyx_window dilated = {{2, 3}, {1, 2}, {3, 2}, {1, 1}, {1, 1}, 1};
    const struct cyx_window apart = {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1, true};
    struct cyx_window not_padded = three;
    not_padded.count_include_pad = false;
    for (int is_max = 0; is_max < 2; is_max++) {
        run_pool("pool 2", is_max, shape4(2, 3, 4, 6), 2, 3, two);
        run_pool("pool 2, ceil_mode", is_max, shape4(1, 2, 5, 7), 3, 4, two);
        run_pool("pool 3x2, padded", is_max, shape4(2, 2, 7, 5), 4, 6, three);
        run_pool("pool 3x2, padded, ceil_mode", is_max, shape4(1, 1, 6, 5), 4, 6, three);
        run_pool("pool, padding left out", is_max, shape4(1, 2, 6, 5), 4, 6, not_padded);
        run_pool("pool, stride past the kernel", is_max, shape4(1, 2, 8, 9), 3, 2, apart);
        run_pool("pool, the whole plane", is_max, shape4(3, 2, 2, 2), 1, 1, two);
    }
    run_pool("pool, dilated", true, shape4(1, 2, 7, 8), 6, 3, dilated);
}

/* ---- element by element ---- */

static void test_activations__gradients_are_quotients(void **state)
{
    (void)state;
    for (int f = CYX_ACTIVATION_LEAKY_RELU; f <= CYX_ACTIVATION_TANH; f++) {
        struct quotient c;
        int32_t dx;
        bool keeps_output = f == CYX_ACTIVATION_SIGMOID || f == CYX_ACTIVATION_TANH;
        quotient_begin(&c, "activation");
        int32_t x = quotient_operand(&c, (struct cyx_shape){2, {3, 17}}, &dx);
        quotient_results(&c, (struct cyx_shape){2, {3, 17}});
        struct cyx_node *forward = op_graph_node(&c.g, CYX_OP_ACTIVATION, 1, &x, 1, &c.y);
        int32_t dy = quotient_end_forward(&c, false);
        struct cyx_node *backward = op_graph_node(&c.g, CYX_OP_ACTIVATION_GRAD, 2,
                                                  (int32_t[]){dy, keeps_output ? c.y : x}, 1, &dx);
        forward->activation = backward->activation = (enum cyx_activation)f;
        forward->slope = backward->slope = 0.2;
        quotient_check(&c);
    }
}

static void test_relu_and_dropout__gradients_are_quotients(void **state)
{
    (void)state;
    struct quotient c;
    int32_t dx;
    quotient_begin(&c, "ReLU");
    int32_t x = quotient_operand(&c, shape4(2, 3, 3, 5), &dx);
    quotient_results(&c, shape4(2, 3, 3, 5));
    op_graph_node(&c.g, CYX_OP_RELU, 1, &x, 1, &c.y);
    c.n_forward = 1;
    op_graph_node(&c.g, CYX_OP_RELU_GRAD, 2, (int32_t[]){c.dy, c.y}, 1, &dx);
    quotient_check(&c);

    quotient_begin(&c, "Dropout");
    x = quotient_operand(&c, shape4(2, 3, 3, 5), &dx);
    quotient_results(&c, shape4(2, 3, 3, 5));
    struct cyx_node *forward = op_graph_node(&c.g, CYX_OP_DROPOUT, 1, &x, 1, &c.y);
    struct cyx_node *backward = op_graph_node(&c.g, CYX_OP_DROPOUT_GRAD, 1,
                                              (int32_t[]){quotient_end_forward(&c, false)}, 1, &dx);
    forward->p = backward->p = 0.4;
    forward->rng_stream = backward->rng_stream = 3;
    quotient_check(&c);
}

/* y = relu(a + a'): the gradient of a sum is dy for both. */
static void test_add__gradient_is_the_quotient(void **state)
{
    (void)state;
    struct quotient c;
    int32_t da;
    quotient_begin(&c, "Add");
    int32_t a = quotient_operand(&c, shape4(1, 2, 3, 5), &da);
    int32_t b = op_graph_param(&c.g, shape4(1, 2, 3, 5));
    quotient_results(&c, shape4(1, 2, 3, 5));
    op_graph_node(&c.g, CYX_OP_ADD, 2, (int32_t[]){a, b}, 1, &c.y)->fused_relu = true;
    c.n_forward = 1;
    op_graph_node(&c.g, CYX_OP_RELU_GRAD, 2, (int32_t[]){c.dy, c.y}, 1, &da);
    quotient_check(&c);
}

static void run_concat(int dim, int n_parts, struct cyx_shape shape)
{
    struct quotient c;
    int32_t parts[CYX_NODE_INPUTS], grads[CYX_NODE_INPUTS];
    int64_t offset = 0;
    struct cyx_shape whole = shape;
    quotient_begin(&c, "Concat");
    whole.dim[dim] = 0;
    for (int i = 0; i < n_parts; i++) {
        struct cyx_shape part = shape;
        part.dim[dim] = i % 3 + 1;
        whole.dim[dim] += part.dim[dim];
        parts[i] = quotient_operand(&c, part, &grads[i]);
    }
    quotient_results(&c, whole);
    op_graph_node(&c.g, CYX_OP_CONCAT, n_parts, parts, 1, &c.y)->dim = dim;
    int32_t dy = quotient_end_forward(&c, false);
    for (int i = 0; i < n_parts; i++) {
        struct cyx_node *slice = op_graph_node(&c.g, CYX_OP_SLICE, 1, &dy, 1, &grads[i]);
        slice->dim = dim;
        slice->offset = offset;
        offset += c.g.values[grads[i]].shape.dim[dim];
    }
    quotient_check(&c);
}

static void test_concat__gradients_are_quotients(void **state)
{
    (void)state;
    run_concat(1, 2, shape4(2, 0, 3, 2));
    run_concat(1, 6, (struct cyx_shape){2, {3, 0}});
    run_concat(2, 3, shape4(2, 2, 0, 3));
    run_concat(3, 2, shape4(1, 3, 2, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__gradients_are_quotients),
        cmocka_unit_test(test_conv2d__gradients_are_quotients),
        cmocka_unit_test(test_conv_transpose2d__gradients_are_quotients),
        cmocka_unit_test(test_pooling__gradients_are_quotients),
        cmocka_unit_test(test_activations__gradients_are_quotients),
        cmocka_unit_test(test_relu_and_dropout__gradients_are_quotients),
        cmocka_unit_test(test_add__gradient_is_the_quotient),
        cmocka_unit_test(test_concat__gradients_are_quotients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
