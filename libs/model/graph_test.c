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
         "Linear expects (N, features) or (N, L, features), got (N, 1, 28, 28): put a Flatten "
         "before it, which gives "
         "784 "
         "inputs"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3},{\"type\":\"ReLU\"},"
         "{\"type\":\"Linear\",\"out_features\":10}",
         "/model/layers/2", "got (N, 8, 26, 26): put a Flatten before it, which gives 5408 inputs"},
        {"{\"type\":\"Flatten\",\"start_dim\":2},{\"type\":\"Linear\",\"out_features\":10}",
         "/model/layers/1", "a logit for each class, got (N, 1, 10): end the model with Flatten"},
        {"{\"type\":\"Conv2d\",\"in_channels\":3,\"out_channels\":8,\"kernel_size\":3}",
         "/model/layers/0", "Conv2d expects 3 channels, got 1"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3}",
         "/model/layers/1", "Conv2d expects (N, channels, height, width), got (N, 784)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"MaxPool2d\",\"kernel_size\":2}", "/model/layers/1",
         "MaxPool2d expects (N, channels, height, width), got (N, 784)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":3,\"groups\":3}",
         "/model/layers/0/groups", "1 channels must be divisible by groups (3)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":[3,31],\"padding\":1}",
         "/model/layers/0/kernel_size",
         "the kernel (3 x 31) is larger than the padded input (30 x 30)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3,\"dilation\":14}",
         "/model/layers/0/kernel_size",
         "the kernel (29 x 29) is larger than the padded input (28 x 28)"},
        {"{\"type\":\"MaxPool2d\",\"kernel_size\":32}", "/model/layers/0/kernel_size",
         "the kernel (32 x 32) is larger than the padded input (28 x 28)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Flatten\",\"start_dim\":2}",
         "/model/layers/1/start_dim", "start_dim 2 is out of range for (N, 784)"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":12}", "/model/layers/1",
         "CrossEntropyLoss on mnist expects (N, 10), a logit for each class, got (N, 12)"},
        {"{\"type\":\"Conv2d\",\"out_channels\":10,\"kernel_size\":3}", "/model/layers/0",
         "got (N, 10, 26, 26): end the model with Flatten and Linear"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"name\":\"lost\",\"out_features\":5},"
         "{\"type\":\"Linear\",\"out_features\":10,\"inputs\":[\"0\"]}",
         "/model/layers/1", "no layer reads the output of layer \"lost\""},
        {"{\"type\":\"BatchNorm1d\"}", "/model/layers/0",
         "BatchNorm1d expects (N, C) or (N, C, L), got (N, 1, 28, 28): take BatchNorm2d"},
        {"{\"type\":\"BatchNorm2d\",\"num_features\":3}", "/model/layers/0",
         "BatchNorm2d expects 3 channels, got 1"},
        {"{\"type\":\"AdaptiveAvgPool2d\",\"output_size\":5}", "/model/layers/0/output_size",
         "output_size (5 x 5) must divide the input's height and width (28 x 28): [4, 4] does"},
        {"{\"type\":\"ConvTranspose2d\",\"out_channels\":1,\"kernel_size\":1,\"padding\":14}",
         "/model/layers/0/padding", "the padding takes all of the output (0 x 0)"},
        {"{\"type\":\"Reshape\",\"shape\":[3,-1]}", "/model/layers/0/shape",
         "784 elements a sample, which do not fill the shape (3 times what is left)"},
        {"{\"type\":\"Reshape\",\"shape\":[28,27]}", "/model/layers/0/shape", "the shape (756)"},
        {"{\"type\":\"LayerNorm\",\"normalized_shape\":[28,27]}",
         "/model/layers/0/normalized_shape",
         "normalized_shape is not what (N, 1, 28, 28) ends with"},
        {"{\"type\":\"Flatten\"},{\"type\":\"Softmax\",\"dim\":2}", "/model/layers/1/dim",
         "dim 2 is out of range for (N, 784)"},
        {"{\"type\":\"Conv2d\",\"name\":\"c\",\"out_channels\":4,\"kernel_size\":3},"
         "{\"type\":\"Add\",\"inputs\":[\"input\",\"c\"]}",
         "/model/layers/1",
         "Add expects inputs of one shape, got (N, 1, 28, 28) from \"input\" and (N, 4, 26, 26) "
         "from \"c\""},
        {"{\"type\":\"Conv2d\",\"name\":\"c\",\"out_channels\":4,\"kernel_size\":3},"
         "{\"type\":\"Concat\",\"inputs\":[\"input\",\"c\"]}",
         "/model/layers/1", "Concat expects inputs of shapes that differ in nothing but dim"},
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
                        "cross_entropy(fc:out target -) -> result\n"
                        "cross_entropy_grad(fc:out target result -) -> fc:out.grad\n"
                        "linear_grad_weight(flat:out fc:out.grad) -> fc.weight.grad fc.bias.grad\n"
                        "linear_grad_input(fc:out.grad fc.weight) -> flat:out.grad\n"
                        "reshape(flat:out.grad) -> drop:out.grad\n"
                        "dropout_grad(drop:out.grad) -> pool:out.grad\n"
                        "max_pool2d_grad(pool:out.grad pool:index) -> 1:out.grad\n"
                        "relu_grad(1:out.grad 1:out) -> 1:out.grad.relu\n"
                        "conv2d_grad_weight(input 1:out.grad.relu) -> conv.weight.grad -\n"
                        "sgd(conv.weight conv.weight.grad conv.weight.momentum_buffer -) ->\n"
                        "sgd(fc.weight fc.weight.grad fc.weight.momentum_buffer -) ->\n"
                        "sgd(fc.bias fc.bias.grad fc.bias.momentum_buffer -) ->\n");
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
                                   "cross_entropy(fc:out target -) -> result\n");
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
                                       "cross_entropy(last:out target -) -> result\n");
    assert_string_equal(graph->values[graph->output].name, "last:out");
    cyx_graph_destroy(graph);
    graph = graph_of(spec, (struct cyx_graph_options){.batch = 4}, false);
    describe(graph, 3, &evaluation);
    assert_string_equal(evaluation.data, "linear+relu(2:out a.weight a.bias) -> 5:out\n"
                                         "relu(5:out) -> 6:out\n"
                                         "linear+relu(6:out b.weight b.bias) -> last:out\n"
                                         "cross_entropy(last:out target -) -> result\n");
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__is_built_in_its_order_only(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(small_cnn);
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 4}, false);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, NULL),
                     CYX_ERR_CONFLICT);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_ERR_CONFLICT);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, NULL), CYX_OK);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, NULL),
                     CYX_ERR_CONFLICT);
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

/* Each line: layers, and the last one's output as torch.nn 1.13 gives it for (2, 1, 28, 28). */
static void test_shapes__of_every_layer_are_pytorchs(void **state)
{
    (void)state;
    static const struct {
        const char *layer;
        struct cyx_shape shape;
    } cases[] = {
        {"{\"type\":\"ConvTranspose2d\",\"out_channels\":5,\"kernel_size\":3,\"stride\":2,"
         "\"padding\":1,\"output_padding\":1}",
         {4, {2, 5, 56, 56}}},
        {"{\"type\":\"ConvTranspose2d\",\"out_channels\":2,\"kernel_size\":[2,3],\"stride\":[1,3],"
         "\"dilation\":[3,1]}",
         {4, {2, 2, 31, 84}}},
        {"{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"ceil_mode\":true}",
         {4, {2, 1, 14, 14}}},
        {"{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"dilation\":4}",
         {4, {2, 1, 10, 10}}},
        {"{\"type\":\"AvgPool2d\",\"kernel_size\":5,\"stride\":4,\"padding\":2,\"ceil_mode\":true}",
         {4, {2, 1, 8, 8}}},
        /* the ninth window would begin behind input and padding */
        {"{\"type\":\"AvgPool2d\",\"kernel_size\":2,\"stride\":9,\"padding\":1,\"ceil_mode\":true}",
         {4, {2, 1, 4, 4}}},
        {"{\"type\":\"AdaptiveAvgPool2d\",\"output_size\":[7,14]}", {4, {2, 1, 7, 14}}},
        {"{\"type\":\"GlobalAvgPool2d\"}", {4, {2, 1, 1, 1}}},
        {"{\"type\":\"Reshape\",\"shape\":[7,-1]}", {3, {2, 7, 112}}},
        {"{\"type\":\"GELU\",\"approximate\":\"tanh\"}", {4, {2, 1, 28, 28}}},
        {"{\"type\":\"LogSoftmax\",\"dim\":-2}", {4, {2, 1, 28, 28}}},
        {"{\"type\":\"BatchNorm2d\"}", {4, {2, 1, 28, 28}}},
        {"{\"type\":\"LayerNorm\",\"normalized_shape\":[28]}", {4, {2, 1, 28, 28}}},
        {"{\"type\":\"Concat\",\"dim\":-1,\"inputs\":[\"input\",\"input\",\"input\"]}",
         {4, {2, 1, 28, 84}}},
        {"{\"type\":\"Add\",\"inputs\":[\"input\",\"input\"]}", {4, {2, 1, 28, 28}}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CYX_CLEANUP_BUF struct cyx_buf layers = {0};
        cyx_buf_printf(&layers,
                       "%s,{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
                       cases[i].layer);
        struct cyx_job_spec *spec = spec_of_layers(layers.data);
        struct cyx_graph *graph =
            graph_of(spec, (struct cyx_graph_options){.batch = 2, .training = true}, true);
        const struct cyx_value *value = &graph->values[cyx_graph_find(graph, "0:out")];
        bool same = value->shape.rank == cases[i].shape.rank;
        for (int d = 0; same && d < value->shape.rank; d++)
            same = value->shape.dim[d] == cases[i].shape.dim[d];
        if (!same)
            fail_msg("%s: got (%d: %d, %d, %d, %d)", cases[i].layer, value->shape.rank,
                     (int)value->shape.dim[0], (int)value->shape.dim[1], (int)value->shape.dim[2],
                     (int)value->shape.dim[3]);
        cyx_graph_destroy(graph);
        cyx_job_spec_destroy(spec);
    }
}

static void test_graph__of_a_residual_block_shares_the_gradient(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of(
        "{\"type\":\"Conv2d\",\"name\":\"a\",\"out_channels\":2,\"kernel_size\":1,\"bias\":false},"
        "{\"type\":\"BatchNorm2d\",\"name\":\"bn\"},"
        "{\"type\":\"Add\",\"name\":\"sum\",\"inputs\":[\"bn\",\"a\"]},{\"type\":\"ReLU\"},"
        "{\"type\":\"GlobalAvgPool2d\",\"name\":\"gap\"},{\"type\":\"Flatten\",\"name\":\"flat\"},"
        "{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10,\"bias\":false}",
        "\"type\":\"Adam\"", "");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, true);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    assert_string_equal(
        text.data,
        "conv2d(input a.weight -) -> a:out\n"
        "batch_norm(a:out bn.weight bn.bias bn.running_mean bn.running_var) -> bn:out bn:mean "
        "bn:rstd\n"
        "add+relu(bn:out a:out) -> 3:out\n"
        "avg_pool2d(3:out) -> gap:out\n"
        "reshape(gap:out) -> flat:out\n"
        "linear(flat:out fc.weight -) -> fc:out\n"
        "cross_entropy(fc:out target -) -> result\n"
        "cross_entropy_grad(fc:out target result -) -> fc:out.grad\n"
        "linear_grad_weight(flat:out fc:out.grad) -> fc.weight.grad -\n"
        "linear_grad_input(fc:out.grad fc.weight) -> flat:out.grad\n"
        "reshape(flat:out.grad) -> gap:out.grad\n"
        "avg_pool2d_grad(gap:out.grad) -> 3:out.grad\n"
        "relu_grad(3:out.grad 3:out) -> 3:out.grad.relu\n"
        "batch_norm_grad(3:out.grad.relu a:out bn.weight bn:mean bn:rstd) -> a:out.grad.part2 "
        "bn.weight.grad bn.bias.grad\n"
        "add(3:out.grad.relu a:out.grad.part2) -> a:out.grad\n"
        "conv2d_grad_weight(input a:out.grad) -> a.weight.grad -\n"
        "adam(a.weight a.weight.grad a.weight.exp_avg a.weight.exp_avg_sq -) ->\n"
        "adam(bn.weight bn.weight.grad bn.weight.exp_avg bn.weight.exp_avg_sq -) ->\n"
        "adam(bn.bias bn.bias.grad bn.bias.exp_avg bn.bias.exp_avg_sq -) ->\n"
        "adam(fc.weight fc.weight.grad fc.weight.exp_avg fc.weight.exp_avg_sq -) ->\n");
    assert_int_equal(graph->values[cyx_graph_find(graph, "bn.running_var")].kind, CYX_VALUE_BUFFER);
    assert_int_equal(graph->values[graph->nodes[2].in[0]].grad,
                     cyx_graph_find(graph, "3:out.grad.relu"));
    cyx_graph_destroy(graph);
    graph = graph_of(spec, (struct cyx_graph_options){.batch = 1}, false);
    assert_int_equal(graph->nodes[1].op, CYX_OP_BATCH_NORM_INFERENCE);
    assert_int_equal(graph->nodes[1].n_out, 1);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__joins_many_inputs_and_parts_their_gradient(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        spec_of_layers("{\"type\":\"Flatten\",\"name\":\"f\"},"
                       "{\"type\":\"Linear\",\"name\":\"a\",\"out_features\":3,\"bias\":false},"
                       "{\"type\":\"Tanh\",\"name\":\"t\"},"
                       "{\"type\":\"SiLU\",\"name\":\"s\",\"inputs\":[\"a\"]},"
                       "{\"type\":\"Concat\",\"name\":\"c\",\"inputs\":[\"t\",\"f\",\"s\",\"a\","
                       "\"t\",\"t\",\"s\"]},"
                       "{\"type\":\"Linear\",\"name\":\"b\",\"out_features\":10,\"bias\":false}");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, true);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    assert_non_null(strstr(text.data, "concat(t:out f:out s:out a:out t:out t:out) -> c:part1\n"
                                      "concat(c:part1 s:out) -> c:out\n"));
    assert_non_null(strstr(text.data, "activation_grad(t:out.grad t:out) -> "));
    assert_non_null(strstr(text.data, "activation_grad(s:out.grad a:out) -> "));
    int32_t joined = cyx_graph_find(graph, "c:out");
    assert_int_equal(graph->values[joined].shape.dim[1], 784 + 6 * 3);
    int slices = 0;
    for (size_t n = 0; n < graph->n_nodes; n++)
        slices += graph->nodes[n].op == CYX_OP_SLICE;
    assert_int_equal(slices, 2 + 5); /* the flattened input wants none */
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_graph__losses_read_their_targets(void **state)
{
    (void)state;
    static const struct {
        const char *loss, *layers, *node, *pointer;
    } cases[] = {
        {"{\"type\":\"MSELoss\",\"target\":\"input\"}", "{\"type\":\"Sigmoid\"}",
         "element_loss(0:out input - -) -> result\n", NULL},
        {"{\"type\":\"BCEWithLogitsLoss\",\"target\":\"one_hot\",\"pos_weight\":[1,2,1,1,1,1,1,1,1,"
         "1]}",
         "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
         "one_hot(target) -> target:one_hot\n"
         "element_loss(1:out target:one_hot loss.weight target) -> result\n",
         NULL},
        {"{\"type\":\"CrossEntropyLoss\",\"weight\":[1,2,1,1,1,1,1,1,1,1]}",
         "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
         "cross_entropy(1:out target loss.weight) -> result\n", NULL},
        {"{\"type\":\"L1Loss\"}", "{\"type\":\"Sigmoid\"}", "has classes as targets",
         "/loss/target"},
        {"{\"type\":\"SmoothL1Loss\",\"target\":\"input\"}", "{\"type\":\"Flatten\"}",
         "expects (N, 1, 28, 28), the shape of the input, got (N, 784)", "/model/layers/0"},
        {"{\"type\":\"CrossEntropyLoss\",\"weight\":[1,2]}",
         "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
         "expected 10 numbers, one for each output, got 2", "/loss/weight"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cyx_job_spec *spec =
            spec_of_parts(cases[i].layers, "\"type\":\"SGD\"", cases[i].loss);
        struct cyx_graph_options options = {.batch = 4, .training = true};
        struct cyx_graph *graph = NULL;
        struct cyx_error err = {0};
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        enum cyx_status status = cyx_graph_create(spec, &options, &graph, &err);
        if (graph)
            describe(graph, 0, &text);
        else
            cyx_buf_puts(&text, err.message);
        assert_int_equal(status, cases[i].pointer ? CYX_ERR_INVALID : CYX_OK);
        if (!text.data || !strstr(text.data, cases[i].node))
            fail_msg("%s: %s", cases[i].loss, text.data);
        if (cases[i].pointer)
            assert_string_equal(err.pointer, cases[i].pointer);
        cyx_graph_destroy(graph);
        cyx_job_spec_destroy(spec);
    }
}

/* Arrays in a program's memory: their owner need not count classes. */
static void test_graph__takes_as_many_classes_as_outputs_where_nobody_said(void **state)
{
    (void)state;
    static const char *const losses[] = {"{\"type\":\"CrossEntropyLoss\",\"weight\":[1,2,3]}",
                                         "{\"type\":\"MSELoss\",\"target\":\"one_hot\"}"};
    for (size_t i = 0; i < 2; i++) {
        struct cyx_job_spec *spec =
            spec_of_parts("{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":3}",
                          "\"type\":\"SGD\"", losses[i]);
        struct cyx_graph_options options = {.batch = 4, .training = true};
        struct cyx_graph *graph = NULL;
        assert_int_equal(cyx_graph_create(spec, &options, &graph, NULL), CYX_ERR_INVALID);
        spec->data.sample.n_classes = 0;
        assert_int_equal(cyx_graph_create(spec, &options, &graph, NULL), CYX_OK);
        assert_int_equal(graph->values[graph->target].dtype, CYX_I32);
        assert_int_equal(graph->values[graph->output].shape.dim[1], 3);
        cyx_graph_destroy(graph);
        cyx_job_spec_destroy(spec);
    }
}

static void test_optimizer__clips_and_takes_groups(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        spec_of("{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}",
                "\"type\":\"RMSprop\",\"centered\":true,\"weight_decay\":0.5,"
                "\"param_groups\":[{\"params\":[\"*.bias\"],\"lr\":0.25,\"weight_decay\":0}]",
                "");
    struct cyx_clip_spec clip = {.norm = 2};
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, false);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &clip, NULL), CYX_OK);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    describe(graph, 0, &text);
    const char *said = text.data ? text.data : "";
    assert_non_null(strstr(
        said, "square_sum(fc.weight.grad -) -> clip:sum1\n"
              "square_sum(fc.bias.grad clip:sum1) -> clip:sum2\n"
              "clip_norm(clip:sum2 result) -> clip:factor\n"
              "rmsprop(fc.weight fc.weight.grad fc.weight.square_avg - fc.weight.grad_avg "
              "clip:factor) ->\n"
              "rmsprop(fc.bias fc.bias.grad fc.bias.square_avg - fc.bias.grad_avg clip:factor) "
              "->\n"));
    const struct cyx_node *bias = &graph->nodes[graph->n_nodes - 1], *weight = bias - 1;
    assert_int_equal(weight->group, 0);
    assert_int_equal(bias->group, 1);
    assert_true(weight->optimizer->weight_decay == 0.5 && weight->optimizer->lr == 1e-2);
    assert_true(bias->optimizer->weight_decay == 0 && bias->optimizer->lr == 0.25);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_optimizer__refuses_a_group_that_names_nothing(void **state)
{
    (void)state;
    struct cyx_job_spec *spec =
        spec_of("{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"name\":\"fc\",\"out_features\":10}",
                "\"type\":\"SGD\",\"param_groups\":[{\"params\":[\"fc.*\",\"conv.*\"]}]", "");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 4, .training = true}, false);
    struct cyx_error err = {0};
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, &err),
                     CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/optimizer/param_groups/0/params/1");
    cyx_graph_destroy(graph);
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
        cmocka_unit_test(test_shapes__of_every_layer_are_pytorchs),
        cmocka_unit_test(test_graph__of_a_residual_block_shares_the_gradient),
        cmocka_unit_test(test_graph__joins_many_inputs_and_parts_their_gradient),
        cmocka_unit_test(test_graph__losses_read_their_targets),
        cmocka_unit_test(test_graph__takes_as_many_classes_as_outputs_where_nobody_said),
        cmocka_unit_test(test_optimizer__clips_and_takes_groups),
        cmocka_unit_test(test_optimizer__refuses_a_group_that_names_nothing),
        cmocka_unit_test(test_graph__is_built_in_its_order_only),
        cmocka_unit_test(test_graph__of_a_model_without_parameters_has_no_gradients),
        cmocka_unit_test(test_cost__counts_parameters_and_flops),
        cmocka_unit_test(test_cost__saturates_instead_of_overflowing),
        cmocka_unit_test(test_graph__of_the_largest_spec_is_built_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
