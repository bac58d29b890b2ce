/* Pooling, forward and backward: odd planes, overlapping windows, strides past them, dilation, ceil_mode. */
#include "op_checks.h"

/* PyTorch's output size: with ceil_mode, windows that begin within the input or the padding before it. */
static int64_t pooled_size(const struct cyx_window *w, int axis, int64_t size, bool ceil_mode)
{
    int64_t reach = w->dilation[axis] * (w->kernel[axis] - 1) + 1;
    int64_t room = size + w->pad_begin[axis] + w->pad_end[axis] - reach;
    int64_t out = room / w->stride[axis] + 1;
    if (ceil_mode && room % w->stride[axis] && out * w->stride[axis] < size + w->pad_begin[axis])
        out++;
    return out;
}

static struct cyx_shape pooled(struct cyx_shape in, const struct cyx_window *w, bool ceil_mode)
{
    in.dim[2] = pooled_size(w, 0, in.dim[2], ceil_mode);
    in.dim[3] = pooled_size(w, 1, in.dim[3], ceil_mode);
    return in;
}

/* Behind a ReLU many windows hold nothing but zeros: the first must win, and its gradient go there alone. */
static void run_max_pool(const char *what, struct cyx_shape in, struct cyx_window window,
                         bool ceil_mode)
{
    struct cyx_shape out = pooled(in, &window, ceil_mode);
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

static const struct cyx_window two = {{2, 2}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, 1, false};
static const struct cyx_window three = {{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}, 1, false};
static const struct cyx_window wide = {{2, 3}, {1, 1}, {1, 1}, {0, 1}, {0, 1}, 1, false};
static const struct cyx_window apart = {{2, 2}, {3, 4}, {1, 1}, {0, 0}, {0, 0}, 1, false};

static void test_max_pool2d__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    run_max_pool("MaxPool2d 2", shape4(3, 5, 8, 8), two, false);
    run_max_pool("MaxPool2d 2, odd plane", shape4(2, 3, 7, 9), two, false);
    run_max_pool("MaxPool2d 3, stride 2, padded", shape4(2, 3, 9, 6), three, false);
    run_max_pool("MaxPool2d 2x3, overlapping", shape4(1, 4, 5, 7), wide, false);
    run_max_pool("MaxPool2d 2, stride past the kernel", shape4(2, 2, 11, 12), apart, false);
}

static void test_max_pool2d__dilated_or_with_ceil_mode_matches_reference(void **state)
{
    (void)state;
    const struct cyx_window dilated = {{3, 2}, {1, 2}, {2, 3}, {1, 1}, {1, 1}, 1, false};
    const struct cyx_window both = {{3, 3}, {2, 3}, {2, 1}, {1, 1}, {1, 1}, 1, false};
    run_max_pool("MaxPool2d 2, ceil_mode", shape4(2, 3, 7, 9), two, true);
    run_max_pool("MaxPool2d 3, padded, ceil_mode", shape4(2, 3, 8, 10), three, true);
    run_max_pool("MaxPool2d, stride past the kernel, ceil_mode", shape4(1, 2, 12, 14), apart, true);
    run_max_pool("MaxPool2d 3x2, dilated", shape4(2, 3, 9, 11), dilated, false);
    run_max_pool("MaxPool2d 3, dilated, ceil_mode", shape4(2, 2, 12, 11), both, true);
}

static void run_avg_pool(const char *what, struct cyx_shape in, struct cyx_window window,
                         bool ceil_mode)
{
    struct cyx_shape out = pooled(in, &window, ceil_mode);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_param(&g, in), dy = op_graph_param(&g, out);
    int32_t y = op_graph_result(&g, out), dx = op_graph_result(&g, in);
    op_graph_node(&g, CYX_OP_AVG_POOL2D, 1, &x, 1, &y)->window = window;
    op_graph_node(&g, CYX_OP_AVG_POOL2D_GRAD, 1, &dy, 1, &dx)->window = window;
    double tolerance = sum_tolerance(window.kernel[0] * window.kernel[1]);
    const struct check checks[] = {{y, tolerance}, {dx, tolerance}};
    run_checks(&g, what, NULL, 1, 1.0, checks, 2);
}

static void test_avg_pool2d__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    struct cyx_window counted = three, window = {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, 1, false};
    counted.count_include_pad = true;
    run_avg_pool("AvgPool2d 2", shape4(3, 5, 8, 8), two, false);
    run_avg_pool("AvgPool2d 2, odd plane, ceil_mode", shape4(2, 3, 7, 9), two, true);
    run_avg_pool("AvgPool2d 3, padded", shape4(2, 3, 9, 6), three, false);
    run_avg_pool("AvgPool2d 3, padded, padding counts", shape4(2, 3, 9, 6), counted, false);
    run_avg_pool("AvgPool2d 3, padded, ceil_mode", shape4(2, 3, 8, 10), three, true);
    run_avg_pool("AvgPool2d 3, padding counts, ceil_mode", shape4(2, 3, 8, 10), counted, true);
    run_avg_pool("AvgPool2d 2x3, overlapping", shape4(1, 4, 5, 7), wide, false);
    run_avg_pool("AvgPool2d, stride past the kernel", shape4(2, 2, 11, 12), apart, false);
    run_avg_pool("AvgPool2d 1", shape4(2, 3, 4, 4), window, false);
}

/* Global pooling and large windows: a sum of a whole plane. */
static void test_avg_pool2d__of_large_windows_matches_reference(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{8, 8}, {7, 9}, {1, 33}, {40, 30}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t h = sizes[i][0], w = sizes[i][1];
        const struct cyx_window all = {{h, w}, {h, w}, {1, 1}, {0, 0}, {0, 0}, 1, false};
        run_avg_pool("GlobalAvgPool2d", shape4(2, 3, h, w), all, false);
    }
    const struct cyx_window padded = {{7, 8}, {3, 5}, {1, 1}, {3, 4}, {3, 4}, 1, true};
    run_avg_pool("AvgPool2d 7x8, padding counts, ceil_mode", shape4(2, 2, 14, 13), padded, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_pool2d__matches_reference_forward_and_backward),
        cmocka_unit_test(test_max_pool2d__dilated_or_with_ceil_mode_matches_reference),
        cmocka_unit_test(test_avg_pool2d__matches_reference_forward_and_backward),
        cmocka_unit_test(test_avg_pool2d__of_large_windows_matches_reference),
    };
    return run_operation_tests(tests);
}
