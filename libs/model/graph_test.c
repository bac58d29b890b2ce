/* Graphs from specs: shapes, names, order, fusion, limits, and what does not fit. */
#include "model/test_specs.h"

static void test_shapes__what_does_not_fit_is_refused_at_its_layer(void **state)
{
    (void)state;
    static const struct {
        const char *layers, *pointer, *message;
    } cases[] = {
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"in_features\":1568,\"out_features\":10}",
         "/model/layers/1", "Linear expects 1568 inputs, got 784"},
        {"{\"type\":\"Linear\",\"out_features\":10}", "/model/layers/0",
         "Linear expects (N, features), got (N, 1, 28, 28): put a Flatten before it, which gives "
         "784 "
         "inputs"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3},{\"type\":\"ReLU\"},"
         "{\"type\":\"Linear\",\"out_features\":10}",
         "/model/layers/2", "got (N, 8, 26, 26): put a Flatten before it, which gives 5408 inputs"},
        {"{\"type\":\"Flatten\",\"start_dim\":2},{\"type\":\"Linear\",\"out_features\":10}",
         "/model/layers/1", "got (N, 1, 784): put a Flatten"},
        {"{\"type\":\"Conv2d\",\"in_channels\":3,\"out_channels\":8,\"kernel_size\":3}",
         "/model/layers/0", "Conv2d expects 3 channels, got 1"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3}",
         "/model/layers/1", "Conv2d expects (N, channels, height, width), got (N, 784)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"MaxPool2d\",\"kernel_size\":2}", "/model/layers/1",
         "MaxPool2d expects (N, channels, height, width), got (N, 784)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":3,\"groups\":3}",
         "/model/layers/0", "1 channels must be divisible by groups (3)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":[3,31],\"padding\":1}",
         "/model/layers/0", "the kernel (3 x 31) is larger than the padded input (30 x 30)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3,\"dilation\":14}",
         "/model/layers/0", "the kernel (29 x 29) is larger than the padded input (28 x 28)"},
        {"{\"type\":\"MaxPool2d\",\"kernel_size\":32}", "/model/layers/0",
         "the kernel (32 x 32) is larger than the padded input (28 x 28)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Flatten\",\"start_dim\":2}", "/model/layers/1",
         "start_dim 2 is out of range for (N, 784)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":12}", "/model/layers/1",
         "CrossEntropyLoss on mnist expects (N, 10), a logit for each class, got (N, 12)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":10,\"kernel_size\":3}", "/model/layers/0",
         "got (N, 10, 26, 26): end the model with Flatten and Linear"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"name\":\"lost\",\"out_features\":5},"
         "{\"type\":\"Linear\",\"out_features\":10,\"inputs\":[\"0\"]}",
         "/model/layers/1", "no layer reads the output of layer \"lost\""},
        {"{\"type\":\"Conv2d\",\"out_channels\":65536,\"kernel_size\":28,\"padding\":1000}",
         "/model/layers/0", "(N, 65536, 2001, 2001) at batch 4 has more than 2147483647 elements"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":16777216}",
         "/model/layers/1", "the weight has more than 2147483647 elements"},
        {"{\"type\":\"Conv2d\",\"out_channels\":1,\"kernel_size\":1,\"padding\":1024},"
         "{\"type\":\"Conv2d\",\"out_channels\":1,\"kernel_size\":1,\"padding\":1024},"
         "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":1000}",
         "/model/layers/3", "the weight has more than 2147483647 elements"},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cyx_job_spec *spec = spec_of_layers(cases[i].layers);
        struct cyx_graph_options options = {.batch = 4, .training = true};
        struct cyx_graph *graph = NULL;
        struct cyx_error err = {0};
        enum cyx_status status = cyx_graph_create(spec, &options, &graph, &err);
        if (status != CYX_ERR_INVALID || graph || strcmp(err.pointer, cases[i].pointer) != 0 ||
            !strstr(err.message, cases[i].message)) {
            print_error("%s: got %s: \"%s\" \"%s\"\n", cases[i].layers, cyx_status_name(status),
                        err.pointer, err.message);
            wrong++;
        }
        cyx_graph_destroy(graph);
        cyx_job_spec_destroy(spec);
    }
    assert_int_equal(wrong, 0);
}

static void test_shapes__many_large_layers_meet_the_limits_in_all(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf layers = {0};
    cyx_buf_puts(&layers, "{\"type\":\"Conv2d\",\"out_channels\":1024,\"kernel_size\":1}");
    for (int i = 0; i < 300; i++)
        cyx_buf_puts(&layers, ",{\"type\":\"ReLU\"}");
    struct cyx_job_spec *spec = spec_of_layers(layers.data);
    struct cyx_graph_options options = {.batch = 2000};
    struct cyx_graph *graph = NULL;
    struct cyx_error err = {0};
    assert_int_equal(cyx_graph_create(spec, &options, &graph, &err), CYX_ERR_INVALID);
    assert_non_null(strstr(err.message, "activations take more than"));
    cyx_job_spec_destroy(spec);

    cyx_buf_clear(&layers);
    cyx_buf_puts(&layers, "{\"type\":\"Flatten\"}");
    for (int i = 0; i < 10; i++)
        cyx_buf_puts(&layers, ",{\"type\":\"Linear\",\"out_features\":46000}");
    spec = spec_of_layers(layers.data);
    options.batch = 1;
    assert_int_equal(cyx_graph_create(spec, &options, &graph, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/model/layers/6");
    assert_non_null(strstr(err.message, "more than 8589934592 parameters"));
    options.batch = 0;
    assert_int_equal(cyx_graph_create(spec, &options, &graph, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/batch_size");
    cyx_job_spec_destroy(spec);
}

static void assert_shape(const struct cyx_graph *graph, const char *name, int rank,
                         const int64_t *dim)
{
    int32_t v = cyx_graph_find(graph, name);
    if (v == CYX_NO_VALUE)
        fail_msg("there is no value %s", name);
    assert_int_equal(graph->values[v].shape.rank, rank);
    for (int i = 0; i < rank; i++)
        assert_int_equal(graph->values[v].shape.dim[i], dim[i]);
}
#define SHAPE(graph, name, ...)                                                                    \
    assert_shape(graph, name, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                  \
                 (int64_t[]){__VA_ARGS__})

static void test_shapes__follow_pytorch(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(
        "{\"type\":\"Conv2d\",\"name\":\"a\",\"out_channels\":6,\"kernel_size\":[5,4],\"padding\":"
        "\"same\"},"
        "{\"type\":\"Conv2d\",\"name\":\"b\",\"out_channels\":9,\"kernel_size\":[5,3],\"stride\":["
        "2,3],"
        "\"padding\":[2,1],\"dilation\":[2,1],\"groups\":3,\"bias\":false},"
        "{\"type\":\"MaxPool2d\",\"name\":\"c\",\"kernel_size\":3,\"stride\":2,\"padding\":1},"
        "{\"type\":\"Flatten\",\"name\":\"d\",\"start_dim\":2},{\"type\":\"Flatten\",\"name\":"
        "\"e\"},"
        "{\"type\":\"Linear\",\"name\":\"f\",\"out_features\":10}");
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 5}, false);
    SHAPE(graph, "input", 5, 1, 28, 28);
    SHAPE(graph, "target", 5);
    SHAPE(graph, "a.weight", 6, 1, 5, 4);
    SHAPE(graph, "a:out", 5, 6, 28, 28);
    SHAPE(graph, "b.weight", 9, 2, 5, 3);
    SHAPE(graph, "b:out", 5, 9, 12,
          10); /* (28 + 4 - 2 * 4 - 1) / 2 + 1; (28 + 2 - 2 - 1) / 3 + 1 */
    SHAPE(graph, "c:out", 5, 9, 6, 5);
    SHAPE(graph, "c:index", 5, 9, 6, 5);
    SHAPE(graph, "d:out", 5, 9, 30);
    SHAPE(graph, "e:out", 5, 270);
    SHAPE(graph, "f.weight", 10, 270);
    SHAPE(graph, "f.bias", 10);
    SHAPE(graph, "f:out", 5, 10);
    assert_int_equal(cyx_graph_find(graph, "b.bias"), CYX_NO_VALUE);
    assert_int_equal(cyx_graph_find(graph, "nothing"), CYX_NO_VALUE);
    /* "same" of an even kernel: one more on the right. */
    const struct cyx_window *window = &graph->nodes[0].window;
    assert_true(window->pad_begin[0] == 2 && window->pad_end[0] == 2);
    assert_true(window->pad_begin[1] == 1 && window->pad_end[1] == 2);
    assert_int_equal(graph->nodes[1].in[2], CYX_NO_VALUE);
    assert_int_equal(graph->nodes[1].n_in, 3);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

/* "op(in in) -> out out" a line. */
static void describe(const struct cyx_graph *graph, size_t first, struct cyx_buf *text)
{
    for (size_t n = first; n < graph->n_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        cyx_buf_printf(text, "%s%s", cyx_op_name(node->op), node->fused_relu ? "+relu" : "");
        for (int i = 0; i < node->n_in; i++)
            cyx_buf_printf(text, "%c%s", i ? ' ' : '(',
                           node->in[i] < 0 ? "-" : graph->values[node->in[i]].name);
        cyx_buf_puts(text, ") ->");
        for (int i = 0; i < node->n_out; i++)
            cyx_buf_printf(text, " %s", node->out[i] < 0 ? "-" : graph->values[node->out[i]].name);
        cyx_buf_puts(text, "\n");
    }
}

static const char small_cnn[] =
    "{\"type\":\"Conv2d\",\"name\":\"conv\",\"out_channels\":4,\"kernel_size\":3,\"bias\":false},"
    "{\"type\":\"ReLU\"},{\"type\":\"MaxPool2d\",\"name\":\"pool\",\"kernel_size\":2},"
    "{\"type\":\"Dropout\",\"name\":\"drop\",\"p\":0.25},{\"type\":\"Flatten\",\"name\":\"flat\"},"
    "{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}";

static void test_graph__is_the_step_in_its_order(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        spec_of(small_cnn, "\"type\":\"SGD\",\"momentum\":0.9", ",\"label_smoothing\":0.1");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, true);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    assert_string_equal(text.data,
                        "conv2d+relu(input conv.weight -) -> 1:out\n"
                        "max_pool2d(1:out) -> pool:out pool:index\n"
                        "dropout(pool:out) -> drop:out\n"
                        "reshape(drop:out) -> flat:out\n"
                        "linear(flat:out fc.weight fc.bias) -> fc:out\n"
                        "cross_entropy(fc:out target) -> result\n"
                        "cross_entropy_grad(fc:out target result) -> fc:out.grad\n"
                        "linear_grad_weight(flat:out fc:out.grad) -> fc.weight.grad fc.bias.grad\n"
                        "linear_grad_input(fc:out.grad fc.weight) -> flat:out.grad\n"
                        "reshape(flat:out.grad) -> drop:out.grad\n"
                        "dropout_grad(drop:out.grad) -> pool:out.grad\n"
                        "max_pool2d_grad(pool:out.grad pool:index) -> 1:out.grad\n"
                        "relu_grad(1:out.grad 1:out) -> 1:out.grad.relu\n"
                        "conv2d_grad_weight(input 1:out.grad.relu) -> conv.weight.grad -\n"
                        "sgd(conv.weight conv.weight.grad conv.weight.momentum_buffer) ->\n"
                        "sgd(fc.weight fc.weight.grad fc.weight.momentum_buffer) ->\n"
                        "sgd(fc.bias fc.bias.grad fc.bias.momentum_buffer) ->\n");
    assert_int_equal(graph->n_forward_nodes, 6);
    assert_int_equal(graph->output, cyx_graph_find(graph, "fc:out"));
    assert_true(graph->nodes[5].label_smoothing == 0.1 && graph->nodes[6].label_smoothing == 0.1);
    assert_true(graph->nodes[2].p == 0.25 && graph->nodes[10].p == 0.25);
    assert_int_equal(graph->nodes[2].rng_stream, 3);
    assert_int_equal(graph->nodes[10].rng_stream, 3);
    assert_int_equal(graph->nodes[11].window.kernel[1], 2);
    assert_int_equal(graph->nodes[0].layer, 0);
    assert_int_equal(graph->nodes[5].layer, -1);
    for (size_t v = 0; v < graph->n_values; v++) {
        assert_int_equal(cyx_graph_find(graph, graph->values[v].name), v);
        int32_t producer = graph->values[v].producer;
        bool made = graph->values[v].kind == CYX_VALUE_TRANSIENT ||
                    graph->values[v].kind == CYX_VALUE_RESULT;
        assert_int_equal(producer != CYX_NO_VALUE, made);
    }
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__of_evaluation_has_no_dropout(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(small_cnn);
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 4}, false);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    assert_string_equal(text.data, "conv2d+relu(input conv.weight -) -> 1:out\n"
                                   "max_pool2d(1:out) -> pool:out pool:index\n"
                                   "reshape(pool:out) -> flat:out\n"
                                   "linear(flat:out fc.weight fc.bias) -> fc:out\n"
                                   "cross_entropy(fc:out target) -> result\n");
    int32_t flat = cyx_graph_find(graph, "flat:out");
    assert_int_equal(graph->values[flat].alias_of, cyx_graph_find(graph, "pool:out"));
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_fusion__can_be_left_out(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(small_cnn);
    struct cyx_graph *graph = graph_of(
        spec, (struct cyx_graph_options){.batch = 4, .training = true, .no_fusion = true}, true);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    assert_non_null(strstr(text.data, "conv2d(input conv.weight -) -> conv:out\n"
                                      "relu(conv:out) -> 1:out\n"));
    assert_non_null(strstr(text.data, "relu_grad(1:out.grad 1:out) -> conv:out.grad\n"
                                      "conv2d_grad_weight(input conv:out.grad)"));
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_fusion__takes_one_relu_behind_a_linear_and_leaves_the_others(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(
        "{\"type\":\"ReLU\"},{\"type\":\"Flatten\"},{\"type\":\"ReLU\"},"
        "{\"type\":\"Linear\",\"name\":\"a\",\"out_features\":20},{\"type\":\"Dropout\"},"
        "{\"type\":\"ReLU\"},{\"type\":\"ReLU\"},{\"type\":\"Linear\",\"name\":\"b\",\"out_"
        "features\":10},"
        "{\"type\":\"ReLU\",\"name\":\"last\"}");
    CYX_CLEANUP_BUF struct cyx_buf training = {0}, evaluation = {0};
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, false);
    describe(graph, 0, &training);
    assert_string_equal(training.data, "relu(input) -> 0:out\n"
                                       "reshape(0:out) -> 1:out\n"
                                       "relu(1:out) -> 2:out\n"
                                       "linear(2:out a.weight a.bias) -> a:out\n"
                                       "dropout(a:out) -> 4:out\n"
                                       "relu(4:out) -> 5:out\n"
                                       "relu(5:out) -> 6:out\n"
                                       "linear+relu(6:out b.weight b.bias) -> last:out\n"
                                       "cross_entropy(last:out target) -> result\n");
    assert_string_equal(graph->values[graph->output].name, "last:out");
    cyx_graph_destroy(graph);
    graph = graph_of(spec, (struct cyx_graph_options){.batch = 4}, false);
    describe(graph, 3, &evaluation);
    assert_string_equal(evaluation.data, "linear+relu(2:out a.weight a.bias) -> 5:out\n"
                                         "relu(5:out) -> 6:out\n"
                                         "linear+relu(6:out b.weight b.bias) -> last:out\n"
                                         "cross_entropy(last:out target) -> result\n");
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__is_built_in_its_order_only(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(small_cnn);
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 4}, false);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, NULL), CYX_ERR_CONFLICT);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_ERR_CONFLICT);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, NULL), CYX_OK);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, NULL), CYX_ERR_CONFLICT);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__of_a_model_without_parameters_has_no_gradients(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers("{\"type\":\"MaxPool2d\",\"kernel_size\":[28,2]},{"
                                               "\"type\":\"MaxPool2d\",\"kernel_size\":[1,5],"
                                               "\"stride\":1},{\"type\":\"Flatten\"}");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, true);
    assert_int_equal(graph->n_nodes, graph->n_forward_nodes);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_cost__counts_parameters_and_flops(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("mnist-mlp");
    struct cyx_model_cost cost;
    assert_int_equal(cyx_model_cost(spec, &cost, NULL), CYX_OK);
    int64_t weights = 784 * 256 + 256 * 128 + 128 * 10, biases = 256 + 128 + 10;
    int64_t forward = 2 * weights + biases + (256 + 128) + 5 * 10;
    assert_int_equal(cost.parameters, weights + biases);
    assert_int_equal(cost.forward_flops_per_sample, forward);
    /* dW of every layer, dx of all but the first: about three times the forward pass, and the update. */
    int64_t backward = 2 * weights + 2 * (weights - 784 * 256) + biases + (256 + 128) + 6 * 10;
    int64_t update = 5 * (weights + biases) / 128;
    assert_int_equal(cost.training_flops_per_sample, forward + backward + update);
    /* Parameters, momentum and gradients at least; far less than without sharing. */
    assert_true(cost.training_bytes > 3 * 4 * cost.parameters);
    assert_true(cost.training_bytes < 3 * 4 * cost.parameters + 4 * 128 * (784 + 4 * 400));
    cyx_job_spec_destroy(spec);
}

static void test_cost__saturates_instead_of_overflowing(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(
        "{\"type\":\"Conv2d\",\"out_channels\":2047,\"kernel_size\":1},"
        "{\"type\":\"Conv2d\",\"out_channels\":1,\"kernel_size\":1024,\"padding\":1024},"
        "{\"type\":\"MaxPool2d\",\"kernel_size\":1024},"
        "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}");
    spec->data.batch_size = 1300;
    struct cyx_model_cost cost;
    assert_int_equal(cyx_model_cost(spec, &cost, NULL), CYX_OK);
    /* 2 * 1053^2 outputs * 2047 * 1024^2 weights, and little besides; three times that is over 2^63. */
    int64_t flops = INT64_C(2) * 1053 * 1053 * 2047 * 1024 * 1024;
    assert_true(cost.forward_flops_per_sample > flops);
    assert_true(cost.forward_flops_per_sample < flops + flops / 100);
    assert_true(cost.training_flops_per_sample == INT64_MAX);
    cyx_job_spec_destroy(spec);
}

static void test_graph__of_the_largest_spec_is_built_in_time(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf layers = {0};
    cyx_buf_puts(&layers, "{\"type\":\"Flatten\"}");
    for (int i = 1; i < CYX_JOB_LAYERS_LIMIT; i++)
        cyx_buf_puts(&layers, ",{\"type\":\"Linear\",\"out_features\":10}");
    struct cyx_job_spec *spec = spec_of_layers(layers.data);
    struct cyx_model_cost cost;
    assert_int_equal(cyx_model_cost(spec, &cost, NULL), CYX_OK);
    assert_int_equal(cost.parameters, 7850 + 110 * (CYX_JOB_LAYERS_LIMIT - 2));
    cyx_job_spec_destroy(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes__what_does_not_fit_is_refused_at_its_layer),
        cmocka_unit_test(test_shapes__many_large_layers_meet_the_limits_in_all),
        cmocka_unit_test(test_shapes__follow_pytorch),
        cmocka_unit_test(test_graph__is_the_step_in_its_order),
        cmocka_unit_test(test_graph__of_evaluation_has_no_dropout),
        cmocka_unit_test(test_fusion__can_be_left_out),
        cmocka_unit_test(test_fusion__takes_one_relu_behind_a_linear_and_leaves_the_others),
        cmocka_unit_test(test_graph__is_built_in_its_order_only),
        cmocka_unit_test(test_graph__of_a_model_without_parameters_has_no_gradients),
        cmocka_unit_test(test_cost__counts_parameters_and_flops),
        cmocka_unit_test(test_cost__saturates_instead_of_overflowing),
        cmocka_unit_test(test_graph__of_the_largest_spec_is_built_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
