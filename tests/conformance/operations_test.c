/* Linear and the convolutions: odd sizes, the last tile's edges, one row, groups, dilation, strides past the kernel. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "op_checks.h"

struct linear_case {
    struct cyx_shape rows; /* the dimensions before the last */
    int64_t ins, outs;
    bool bias, relu;
};

static struct cyx_shape with_last(struct cyx_shape rows, int64_t last)
{
    rows.dim[rows.rank++] = last;
    return rows;
}

static void run_linear(const struct linear_case *c)
{
    int64_t n = cyx_shape_count(&c->rows);
    struct cyx_shape in = with_last(c->rows, c->ins), out = with_last(c->rows, c->outs);
    struct op_graph g;
    char what[80];
    snprintf(what, sizeof what, "Linear rank %d (%d,%d)->%d", in.rank, (int)n, (int)c->ins,
             (int)c->outs);
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, in), w = op_graph_param(&g, shape2(c->outs, c->ins));
    int32_t b = c->bias ? op_graph_param(&g, shape1(c->outs)) : CYX_NO_VALUE;
    int32_t dy = op_graph_param(&g, out);
    int32_t y = op_graph_result(&g, out), dx = op_graph_result(&g, in);
    int32_t dw = op_graph_result(&g, shape2(c->outs, c->ins));
    int32_t db = c->bias ? op_graph_result(&g, shape1(c->outs)) : CYX_NO_VALUE;
    op_graph_node(&g, CYX_OP_LINEAR, 3, (int32_t[]){x, w, b}, 1, &y)->fused_relu = c->relu;
    op_graph_node(&g, CYX_OP_LINEAR_GRAD_INPUT, 2, (int32_t[]){dy, w}, 1, &dx);
    op_graph_node(&g, CYX_OP_LINEAR_GRAD_WEIGHT, 2, (int32_t[]){x, dy}, 2, (int32_t[]){dw, db});
    const struct check checks[] = {{y, sum_tolerance(c->ins)},
                                   {dx, sum_tolerance(c->outs)},
                                   {dw, sum_tolerance(n)},
                                   {db, sum_tolerance(n)}};
    run_checks(&g, what, NULL, 1, 1.0, checks, c->bias ? 4 : 3);
}

/* Sizes around the tiles' edges (8, 32, 64, 128) and of one. */
static void test_linear__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct linear_case cases[] = {
        {{1, {1}}, 1, 1, true, false},      {{1, {1}}, 784, 10, true, true},
        {{1, {7}}, 5, 3, false, false},     {{1, {33}}, 65, 31, true, true},
        {{1, {128}}, 127, 129, true, true}, {{1, {63}}, 257, 64, false, true},
        {{1, {600}}, 19, 130, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_linear(&cases[i]);
}

/* All dimensions but the last are rows. */
static void test_linear__of_more_dimensions_matches_reference(void **state)
{
    (void)state;
    static const struct linear_case cases[] = {
        {{2, {3, 5}}, 7, 4, true, true},
        {{2, {1, 9}}, 33, 65, false, false},
        {{3, {2, 3, 4}}, 6, 10, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_linear(&cases[i]);
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

struct transpose_case {
    const char *what;
    int64_t n, c, h, w, o;
    struct cyx_window window;
    int64_t output_padding[2];
    bool bias, relu;
};

static int64_t transposed_size(const struct transpose_case *c, int axis, int64_t size)
{
    const struct cyx_window *w = &c->window;
    return (size - 1) * w->stride[axis] - w->pad_begin[axis] - w->pad_end[axis] +
           w->dilation[axis] * (w->kernel[axis] - 1) + c->output_padding[axis] + 1;
}

static void run_transpose(const struct transpose_case *c)
{
    const struct cyx_window *k = &c->window;
    int64_t og = c->o / k->groups, taps = k->kernel[0] * k->kernel[1];
    struct cyx_shape in = shape4(c->n, c->c, c->h, c->w);
    struct cyx_shape out =
        shape4(c->n, c->o, transposed_size(c, 0, c->h), transposed_size(c, 1, c->w));
    struct cyx_shape weight = shape4(c->c, og, k->kernel[0], k->kernel[1]);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, in), w = op_graph_param(&g, weight);
    int32_t b = c->bias ? op_graph_param(&g, shape1(c->o)) : CYX_NO_VALUE;
    int32_t dy = op_graph_param(&g, out), y = op_graph_result(&g, out);
    int32_t dx = op_graph_result(&g, in), dw = op_graph_result(&g, weight);
    int32_t db = c->bias ? op_graph_result(&g, shape1(c->o)) : CYX_NO_VALUE;
    struct cyx_node *nodes[] = {
        op_graph_node(&g, CYX_OP_CONV_TRANSPOSE2D, 3, (int32_t[]){x, w, b}, 1, &y),
        op_graph_node(&g, CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT, 2, (int32_t[]){dy, w}, 1, &dx),
        op_graph_node(&g, CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT, 2, (int32_t[]){x, dy}, 2,
                      (int32_t[]){dw, db}),
    };
    nodes[0]->fused_relu = c->relu;
    for (int i = 0; i < 3; i++)
        nodes[i]->window = c->window;
    const struct check checks[] = {
        {y, sum_tolerance(c->c / k->groups * taps)},
        {dx, sum_tolerance(og * taps)},
        {dw, sum_tolerance(c->n * c->h * c->w)},
        {db, sum_tolerance(c->n * out.dim[2] * out.dim[3])},
    };
    run_checks(&g, c->what, NULL, 1, 1.0, checks, c->bias ? 4 : 3);
}

static void test_conv_transpose2d__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct transpose_case cases[] = {
        /* what, n c h w o, {kernel, stride, dilation, padding twice, groups}, output padding */
        {"transposed 1x1",
         1,
         2,
         1,
         1,
         3,
         {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1},
         {0, 0},
         true,
         false},
        {"transposed 3x3",
         2,
         5,
         7,
         6,
         4,
         {{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 1},
         {0, 0},
         true,
         true},
        {"transposed, stride 2",
         3,
         4,
         7,
         5,
         9,
         {{4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1},
         {0, 0},
         true,
         true},
        {"transposed, output padding",
         2,
         3,
         6,
         5,
         4,
         {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1},
         {1, 1},
         true,
         false},
        {"transposed, stride past the kernel",
         2,
         3,
         4,
         5,
         2,
         {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1},
         {1, 2},
         true,
         false},
        {"transposed, dilated",
         1,
         2,
         5,
         6,
         3,
         {{3, 2}, {2, 1}, {2, 3}, {1, 2}, {1, 2}, 1},
         {1, 1},
         false,
         false},
        {"transposed, groups",
         2,
         6,
         5,
         4,
         10,
         {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 2},
         {1, 0},
         true,
         true},
        {"transposed, depthwise",
         2,
         8,
         5,
         7,
         8,
         {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 8},
         {0, 0},
         true,
         false},
        {"transposed, long sums",
         16,
         24,
         7,
         7,
         12,
         {{4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1},
         {0, 0},
         true,
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_transpose(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear__matches_reference_forward_and_backward),
        cmocka_unit_test(test_linear__of_more_dimensions_matches_reference),
        cmocka_unit_test(test_conv2d__matches_reference_forward_and_backward),
        cmocka_unit_test(test_conv_transpose2d__matches_reference_forward_and_backward),
    };
    return run_operation_tests(tests);
}
