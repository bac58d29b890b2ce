/* What is done to each element by itself, and what only moves elements. */
#include "op_checks.h"

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

/* Sums of two and a ReLU over them: the fused one is an ADD and a RELU. */
static void test_add__with_a_relu_matches_reference(void **state)
{
    (void)state;
    struct cyx_shape shape = shape4(2, 3, 7, 5);
    struct op_graph g;
    op_graph_init(&g);
    int32_t a = op_graph_param(&g, shape), b = op_graph_param(&g, shape);
    int32_t y = op_graph_result(&g, shape);
    op_graph_node(&g, CYX_OP_ADD, 2, (int32_t[]){a, b}, 1, &y)->fused_relu = true;
    run_checks(&g, "ADD with ReLU", NULL, 1, 1.0, &(struct check){y, 0x1p-24}, 1);
}

static void run_activation(const char *what, enum cyx_activation function, double scale)
{
    static const int64_t sizes[] = {21, 1001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct cyx_shape shape = shape2(1, sizes[i]);
        struct op_graph g;
        op_graph_init(&g);
        int32_t x = op_graph_param(&g, shape), dy = op_graph_param(&g, shape);
        int32_t y = op_graph_result(&g, shape), dx = op_graph_result(&g, shape);
        struct cyx_node *forward = op_graph_node(&g, CYX_OP_ACTIVATION, 1, &x, 1, &y);
        int32_t in[] = {dy, cyx_activation_keeps_output(function) ? y : x};
        struct cyx_node *gradient = op_graph_node(&g, CYX_OP_ACTIVATION_GRAD, 2, in, 1, &dx);
        forward->activation = gradient->activation = function;
        forward->slope = gradient->slope = 0.2;
        /* a dozen roundings, and exp's error, which grows with its argument */
        const struct check checks[] = {{y, 16 * 0x1p-24}, {dx, 16 * 0x1p-24}};
        run_checks(&g, what, NULL, 1, scale, checks, 2);
    }
}

/* Near 0, where they bend, and far out, where exp would overflow. */
static void test_activation__matches_reference_forward_and_backward(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum cyx_activation function;
    } functions[] = {{"LeakyReLU", CYX_ACTIVATION_LEAKY_RELU},   {"GELU", CYX_ACTIVATION_GELU},
                     {"GELU by tanh", CYX_ACTIVATION_GELU_TANH}, {"SiLU", CYX_ACTIVATION_SILU},
                     {"Sigmoid", CYX_ACTIVATION_SIGMOID},        {"Tanh", CYX_ACTIVATION_TANH}};
    static const double scales[] = {0.01, 1, 6, 200};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++)
            run_activation(functions[i].name, functions[i].function, scales[k]);
    }
}

/* GELU's tail: 1 + erf(x) would leave nothing of it. */
static void test_activation__gelu_keeps_its_tail(void **state)
{
    (void)state;
    struct cyx_shape shape = shape2(1, 500);
    struct op_graph g;
    op_graph_init(&g);
    int32_t x = op_graph_range(&g, op_graph_param(&g, shape), -3.2, -2.8);
    int32_t y = op_graph_result(&g, shape);
    op_graph_node(&g, CYX_OP_ACTIVATION, 1, &x, 1, &y)->activation = CYX_ACTIVATION_GELU;
    /* y is 0.004 at most, where PyTorch's own float32 tolerance allows 1e-5 */
    run_checks(&g, "GELU's tail", NULL, 1, 1.0, &(struct check){y, 1e-4}, 1);
}

struct join_case {
    const char *what;
    struct cyx_shape shape; /* without dimension `dim` */
    int dim, n;
    int64_t sizes[CYX_NODE_INPUTS];
};

/* Forward, and each part cut out of the whole again. */
static void run_join(const struct join_case *c)
{
    int32_t in[CYX_NODE_INPUTS], out[CYX_NODE_INPUTS];
    struct check checks[CYX_NODE_INPUTS + 1];
    struct cyx_shape whole = c->shape;
    struct op_graph g;
    op_graph_init(&g);
    whole.dim[c->dim] = 0;
    for (int i = 0; i < c->n; i++) {
        struct cyx_shape part = c->shape;
        part.dim[c->dim] = c->sizes[i];
        whole.dim[c->dim] += c->sizes[i];
        in[i] = op_graph_param(&g, part);
    }
    int32_t y = op_graph_result(&g, whole);
    op_graph_node(&g, CYX_OP_CONCAT, c->n, in, 1, &y)->dim = c->dim;
    checks[c->n] = (struct check){y, 0};
    int64_t offset = 0;
    for (int i = 0; i < c->n; i++) {
        out[i] = op_graph_result(&g, g.values[in[i]].shape);
        struct cyx_node *slice = op_graph_node(&g, CYX_OP_SLICE, 1, &y, 1, &out[i]);
        slice->dim = c->dim;
        slice->offset = offset;
        offset += c->sizes[i];
        checks[i] = (struct check){out[i], 0};
    }
    run_checks(&g, c->what, NULL, 1, 1.0, checks, (size_t)c->n + 1);
}

static void test_concat__and_slice_match_reference(void **state)
{
    (void)state;
    static const struct join_case cases[] = {
        {"two of channels", {4, {3, 0, 5, 7}}, 1, 2, {4, 9}},
        {"six of features", {2, {5, 0}}, 1, 6, {1, 2, 3, 4, 5, 6}},
        {"rows", {4, {2, 3, 0, 5}}, 2, 3, {1, 7, 2}},
        {"columns", {4, {2, 3, 4, 0}}, 3, 4, {8, 1, 16, 3}},
        {"of length", {3, {1, 6, 0}}, 2, 5, {2, 2, 2, 2, 300}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_join(&cases[i]);
}

static void test_one_hot__matches_reference(void **state)
{
    (void)state;
    static const int64_t classes[] = {2, 10, 1001};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        int32_t target[37];
        struct op_graph g;
        op_graph_init(&g);
        op_graph_target(&g, 37);
        for (int n = 0; n < 37; n++)
            target[n] = (int32_t)((n * 29 + 1) % classes[i]);
        int32_t y = op_graph_result(&g, shape2(37, classes[i]));
        op_graph_node(&g, CYX_OP_ONE_HOT, 1, &g.graph.target, 1, &y);
        run_checks(&g, "ONE_HOT", target, 1, 1.0, &(struct check){y, 0}, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise__matches_reference),
        cmocka_unit_test(test_reshape__copies_where_bytes_are_not_shared),
        cmocka_unit_test(test_dropout__mask_is_philox_bit_for_bit),
        cmocka_unit_test(test_add__with_a_relu_matches_reference),
        cmocka_unit_test(test_activation__matches_reference_forward_and_backward),
        cmocka_unit_test(test_activation__gelu_keeps_its_tail),
        cmocka_unit_test(test_concat__and_slice_match_reference),
        cmocka_unit_test(test_one_hot__matches_reference),
    };
    return run_operation_tests(tests);
}
