/* Gradients of graphs against finite differences, by the reference interpreter in double precision. */
#include <math.h>

#include "model/private.h"
#include "model/test_specs.h"
#include "reference.h"

static void fill(struct reference *ref, uint64_t seed)
{
    const struct cyx_graph *graph = ref->graph;
    const struct cyx_node *loss = &graph->nodes[graph->n_forward_nodes - 1];
    int32_t ignored = loss->op == CYX_OP_CROSS_ENTROPY ? loss->ignore_index : 3;
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        int64_t count = cyx_shape_count(&value->shape);
        if (value->kind == CYX_VALUE_INPUT || value->kind == CYX_VALUE_PARAM)
            for (int64_t i = 0; i < count; i++)
                ref->data[v][i] = next_uniform(&seed) * (value->shape.rank > 1 ? 0.5 : 0.1);
        if (value->kind == CYX_VALUE_TARGET)
            for (int64_t i = 0; i < count; i++)
                ref->data[v][i] = i == 1 ? ignored : (double)(next_random(&seed) % 10);
    }
}

static double loss_of(struct reference *ref)
{
    reference_run(ref, ref->graph->n_forward_nodes);
    return reference_data(ref, "result")[CYX_RESULT_LOSS];
}

enum { SAMPLES = 16 };

/*
 * Whether `gradient` is (loss(w + h) - loss(w - h)) / 2h. A kink (ReLU, a pooling's maximum) within h spoils the
 * quotient, so a smaller h is tried then.
 */
static bool is_quotient(struct reference *ref, double *w, double gradient, double *ret_quotient)
{
    double kept = *w;
    double h = 1e-5;
    for (int tries = 0; tries < 3; tries++, h /= 10) {
        *w = kept + h;
        double above = loss_of(ref);
        *w = kept - h;
        double below = loss_of(ref);
        *w = kept;
        *ret_quotient = (above - below) / (2 * h);
        /* The central difference errs by h^2 and by 1e-16 / h: this is room for both. */
        if (fabs(*ret_quotient - gradient) <= 1e-8 + 1e-15 / h + 1e-5 * fabs(*ret_quotient))
            return true;
    }
    return false;
}

/* The graph's gradient, for some elements of a parameter. */
static void check_param(struct reference *ref, size_t param, const double *gradient, uint64_t *seed)
{
    const struct cyx_value *value = &ref->graph->values[param];
    for (int s = 0; s < SAMPLES; s++) {
        size_t i = next_random(seed) % (uint64_t)cyx_shape_count(&value->shape);
        double quotient = 0;
        if (!is_quotient(ref, &ref->data[param][i], gradient[i], &quotient))
            fail_msg("%s[%zu]: gradient %.12g, difference %.12g", value->name, i, gradient[i],
                     quotient);
    }
}

static void check_gradients_of(const struct cyx_job_spec *spec, bool no_fusion)
{
    struct cyx_graph *graph = NULL;
    struct cyx_graph_options options = {.batch = 3, .training = true, .no_fusion = no_fusion};
    assert_int_equal(cyx_graph_create(spec, &options, &graph, NULL), CYX_OK);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    struct reference ref;
    reference_init(&ref, graph, false);
    fill(&ref, 4711);
    uint64_t seed = 99;
    for (size_t v = 0; v < graph->n_values; v++) {
        if (graph->values[v].kind != CYX_VALUE_PARAM)
            continue;
        /* The gradient is read at the end of a whole step only: it dies where nothing reads it, so copy it
         * right behind its producer. */
        int32_t grad = graph->values[v].grad;
        assert_int_not_equal(grad, CYX_NO_VALUE);
        reference_run(&ref, (size_t)graph->values[grad].producer + 1);
        size_t bytes = (size_t)cyx_shape_count(&graph->values[v].shape) * sizeof(double);
        double *copy = malloc(bytes);
        memcpy(copy, ref.data[grad], bytes);
        check_param(&ref, v, copy, &seed);
        free(copy);
    }
    reference_finish(&ref);
    cyx_graph_destroy(graph);
}

static void check_gradients(const char *layers, const char *loss, bool no_fusion)
{
    struct cyx_job_spec *spec = spec_of(layers, "\"type\":\"SGD\"", loss);
    check_gradients_of(spec, no_fusion);
    cyx_job_spec_destroy(spec);
}

static const char every_layer[] =
    "{\"type\":\"Conv2d\",\"out_channels\":4,\"kernel_size\":[3,4],\"padding\":\"same\"},{\"type\":"
    "\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"padding\":1},"
    "{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":[3,2],\"stride\":[2,1],\"padding\":[1,"
    "2],"
    "\"dilation\":[1,2],\"groups\":2,\"bias\":false},{\"type\":\"ReLU\"},{\"type\":\"Dropout\","
    "\"p\":0.3},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":[1,2]},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":11},{\"type\":\"ReLU\"},{\"type\":\"Dropout\"},"
    "{\"type\":\"Linear\",\"out_features\":10,\"bias\":false}";

static void test_gradients__agree_with_finite_differences(void **state)
{
    (void)state;
    check_gradients(every_layer, "", false);
    check_gradients(every_layer, ",\"label_smoothing\":0.2", true);
    check_gradients("{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}", "", false);
    check_gradients(
        "{\"type\":\"MaxPool2d\",\"kernel_size\":4},{\"type\":\"Dropout\",\"p\":0.1},"
        "{\"type\":\"Flatten\",\"start_dim\":2},{\"type\":\"Flatten\"},{\"type\":\"ReLU\"},"
        "{\"type\":\"Linear\",\"out_features\":10},{\"type\":\"ReLU\"}",
        "", false);
}

/* Layers in single quotes, which are easier to read here. */
static struct cyx_job_spec *spec_of_quoted(const char *layers, const char *loss)
{
    char text[2][2048];
    const char *const from[] = {layers, loss};
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(from[i]);
        assert_true(length < sizeof text[i]);
        for (size_t k = 0; k <= length; k++)
            text[i][k] = from[i][k] == '\'' ? '"' : from[i][k];
    }
    return spec_of_parts(text[0], "\"type\":\"SGD\"", text[1]);
}

/* Each network ends in ten outputs. */
static const char *const networks[] = {
    /* residuals, one of them through a projection; fused and unfused ReLUs behind Add and BatchNorm */
    "{'type':'AvgPool2d','kernel_size':4},"
    "{'type':'Conv2d','name':'stem','out_channels':4,'kernel_size':3,'padding':1,'bias':false},"
    "{'type':'BatchNorm2d','eps':1e-3},{'type':'ReLU','name':'a'},"
    "{'type':'Conv2d','out_channels':4,'kernel_size':3,'padding':'same'},{'type':'BatchNorm2d','"
    "name':'b'},"
    "{'type':'Add','inputs':['b','a']},{'type':'ReLU','name':'c'},"
    "{'type':'Conv2d','name':'d','out_channels':6,'kernel_size':3,'stride':2,'padding':1},"
    "{'type':'Conv2d','name':'e','inputs':['c'],'out_channels':6,'kernel_size':1,'stride':2},"
    "{'type':'BatchNorm2d','name':'f','affine':false},{'type':'Add','inputs':['d','f']},{'type':'"
    "ReLU'},"
    "{'type':'GlobalAvgPool2d'},{'type':'Flatten'},{'type':'Linear','out_features':10}",
    /* three branches joined, one of them read twice; every pooling */
    "{'type':'MaxPool2d','name':'x','kernel_size':3,'stride':3,'dilation':2,'ceil_mode':true},"
    "{'type':'Conv2d','name':'a','out_channels':3,'kernel_size':3,'padding':1},"
    "{'type':'ConvTranspose2d','name':'b','inputs':['x'],'out_channels':2,'kernel_size':3,'padding'"
    ":1},"
    "{'type':'ReLU','name':'c'},{'type':'AvgPool2d','name':'d','inputs':['a'],'kernel_size':3,'"
    "stride':1,"
    "'padding':1,'count_include_pad':false},"
    "{'type':'Concat','inputs':['a','c','d']},{'type':'LeakyReLU','negative_slope':0.2},"
    "{'type':'AvgPool2d','kernel_size':2,'ceil_mode':true,'padding':1},"
    "{'type':'Flatten'},{'type':'Linear','out_features':10}",
    /* the smooth activations, norms over rows, softmax within */
    "{'type':'AdaptiveAvgPool2d','output_size':[4,7]},{'type':'Reshape','shape':[4,-1]},"
    "{'type':'Linear','name':'p','out_features':6},{'type':'GELU'},{'type':'LayerNorm','normalized_"
    "shape':6},"
    "{'type':'Linear','out_features':6},{'type':'Softmax','name':'q'},"
    "{'type':'Linear','inputs':['p'],'out_features':6},{'type':'SiLU','name':'r'},"
    "{'type':'Add','inputs':['q','r','p']},{'type':'BatchNorm1d'},"
    "{'type':'LayerNorm','bias':false},{'type':'Tanh'},{'type':'Flatten'},"
    "{'type':'Linear','out_features':12},{'type':'GELU','approximate':'tanh'},"
    "{'type':'LayerNorm','elementwise_affine':false},{'type':'Linear','out_features':12},{'type':'"
    "Sigmoid'},"
    "{'type':'Linear','out_features':10},{'type':'LogSoftmax'}",
};

static const char *const losses[] = {
    "{'type':'CrossEntropyLoss','label_smoothing':0.1,'ignore_index':4}",
    "{'type':'CrossEntropyLoss','weight':[1,2,0.5,1,1,3,1,0.1,1,1]}",
    "{'type':'CrossEntropyLoss','weight':[1,2,1,1,1,3,1,0,1,1],'label_smoothing':0.2}",
    "{'type':'MSELoss','target':'one_hot'}",
    "{'type':'L1Loss','target':'one_hot'}",
    "{'type':'SmoothL1Loss','beta':0.3,'target':'one_hot'}",
    "{'type':'BCEWithLogitsLoss','pos_weight':[1,2,3,1,0.5,1,1,1,1,1],'target':'one_hot'}",
};

static void test_gradients__of_every_layer_and_loss_agree(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof networks / sizeof networks[0]; n++) {
        for (size_t l = 0; l < sizeof losses / sizeof losses[0]; l++) {
            struct cyx_job_spec *spec = spec_of_quoted(networks[n], losses[l]);
            check_gradients_of(spec, (n + l) % 2 != 0);
            cyx_job_spec_destroy(spec);
        }
    }
}

/* The input is the target: an autoencoder. */
static void test_gradients__of_an_autoencoder_agree(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_quoted(
        "{'type':'Conv2d','out_channels':3,'kernel_size':3,'stride':2,'padding':1},{'type':'ReLU'},"
        "{'type':'Conv2d','out_channels':4,'kernel_size':3,'stride':2,'padding':1},{'type':'ReLU'},"
        "{'type':'ConvTranspose2d','out_channels':3,'kernel_size':3,'stride':2,'padding':1,"
        "'output_padding':1},{'type':'ReLU'},"
        "{'type':'ConvTranspose2d','out_channels':1,'kernel_size':2,'stride':2,'bias':false}",
        "{'type':'MSELoss','target':'input'}");
    check_gradients_of(spec, false);
    check_gradients_of(spec, true);
    cyx_job_spec_destroy(spec);
}

/*
 * A graph in which a value is read several times is put together by hand:
 * h = x Wᵀ is read by k branches, each with a loss of its own; dW must be the sum of the k gradients.
 */
static int32_t add_one(struct cyx_graph *graph, enum cyx_op op, const char *name, int32_t x)
{
    struct cyx_node node = graph_node(op, 0, NULL);
    struct cyx_shape shape = graph->values[x].shape;
    node.in[0] = x;
    node.n_in = 1;
    node.out[0] = graph_add_value(graph, name, CYX_VALUE_TRANSIENT, CYX_F32, &shape);
    node.n_out = 1;
    node.p = 0.4;
    if (op == CYX_OP_RESHAPE)
        graph->values[node.out[0]].alias_of = x;
    graph_add_node(graph, &node);
    return node.out[0];
}

static void add_loss(struct cyx_graph *graph, int32_t x)
{
    struct cyx_node node = graph_node(CYX_OP_CROSS_ENTROPY, -1, NULL);
    node.in[0] = x;
    node.in[1] = graph->target;
    node.ignore_index = -100;
    node.n_in = 2;
    node.out[0] = graph->result;
    node.n_out = 1;
    graph_add_node(graph, &node);
}

static struct cyx_graph *branching_graph(int branches)
{
    static const struct {
        enum cyx_op op;
        const char *name;
    } kinds[] = {{CYX_OP_RELU, "a:out"}, {CYX_OP_DROPOUT, "b:out"}, {CYX_OP_RESHAPE, "c:out"}};
    struct cyx_graph *graph = graph_new();
    struct cyx_shape x = {2, {3, 7}}, w = {2, {10, 7}}, target = {1, {3}},
                     result = {1, {CYX_RESULT_ELEMENTS}};
    graph->input = graph_add_value(graph, "input", CYX_VALUE_INPUT, CYX_F32, &x);
    graph->target = graph_add_value(graph, "target", CYX_VALUE_TARGET, CYX_I32, &target);
    graph->result = graph_add_value(graph, "result", CYX_VALUE_RESULT, CYX_F32, &result);
    struct cyx_shape h = {2, {3, 10}};
    struct cyx_node linear = graph_node(CYX_OP_LINEAR, 0, NULL);
    linear.in[0] = graph->input;
    linear.in[1] = graph_add_value(graph, "h.weight", CYX_VALUE_PARAM, CYX_F32, &w);
    linear.n_in = 3;
    linear.out[0] = graph_add_value(graph, "h:out", CYX_VALUE_TRANSIENT, CYX_F32, &h);
    linear.n_out = 1;
    graph_add_node(graph, &linear);
    for (int i = 0; i < branches; i++)
        add_loss(graph, add_one(graph, kinds[i].op, kinds[i].name, linear.out[0]));
    graph->output = graph->nodes[graph->n_nodes - 1].in[0];
    graph->batch = 3;
    graph->n_forward_nodes = graph->n_nodes;
    return graph;
}

/* The sum of the losses: the nodes write one result after another. */
static double sum_of_losses(struct reference *ref, int branches)
{
    double sum = 0;
    for (int i = 0; i < branches; i++) {
        reference_run(ref, 3 + 2 * (size_t)i);
        sum += reference_data(ref, "result")[CYX_RESULT_LOSS];
    }
    return sum;
}

static void check_branches(int branches)
{
    struct cyx_graph *graph = branching_graph(branches);
    assert_int_equal(cyx_graph_differentiate(graph, NULL), CYX_OK);
    int adds = 0;
    for (size_t n = 0; n < graph->n_nodes; n++)
        adds += graph->nodes[n].op == CYX_OP_ADD;
    assert_int_equal(adds, branches - 1);
    assert_int_equal(graph->values[cyx_graph_find(graph, "h:out")].grad,
                     cyx_graph_find(graph, "h:out.grad"));
    assert_int_equal(graph->values[graph->input].grad, CYX_NO_VALUE);

    struct reference ref;
    reference_init(&ref, graph, false);
    fill(&ref, 3);
    reference_run(&ref, graph->n_nodes);
    double gradient[70], *w = reference_data(&ref, "h.weight");
    memcpy(gradient, reference_data(&ref, "h.weight.grad"), sizeof(gradient));
    for (int i = 0; i < 70; i++) {
        const double h = 1e-5;
        double kept = w[i];
        w[i] = kept + h;
        double above = sum_of_losses(&ref, branches);
        w[i] = kept - h;
        double below = sum_of_losses(&ref, branches);
        w[i] = kept;
        assert_true(fabs((above - below) / (2 * h) - gradient[i]) < 1e-8);
    }
    reference_finish(&ref);
    cyx_graph_destroy(graph);
}

static void test_gradients__of_a_value_read_several_times_are_summed(void **state)
{
    (void)state;
    for (int branches = 1; branches <= 3; branches++)
        check_branches(branches);
}

/* Three whole steps: every parameter the same, whether buffers are shared, apart, fused or not. */
static void run_steps(const struct cyx_job_spec *spec, bool apart, bool no_fusion,
                      struct cyx_buf *ret_params)
{
    struct cyx_graph *graph = graph_of(
        spec, (struct cyx_graph_options){.batch = 3, .training = true, .no_fusion = no_fusion},
        true);
    struct reference ref;
    reference_init(&ref, graph, apart);
    fill(&ref, 12345);
    for (ref.step = 1; ref.step <= 3; ref.step++)
        reference_run(&ref, graph->n_nodes);
    for (size_t v = 0; v < graph->n_values; v++)
        if (graph->values[v].kind == CYX_VALUE_PARAM)
            cyx_buf_append(ret_params, ref.data[v],
                           (size_t)cyx_shape_count(&graph->values[v].shape) * sizeof(double));
    reference_finish(&ref);
    cyx_graph_destroy(graph);
}

static void test_steps__give_the_same_bits_shared_or_apart_fused_or_not(void **state)
{
    (void)state;
    static const char *const optimizers[] = {
        "\"type\":\"AdamW\",\"lr\":0.01", "\"type\":\"SGD\"",
        "\"type\":\"SGD\",\"momentum\":0.9,\"nesterov\":true,\"weight_decay\":0.01"};
    for (size_t i = 0; i < 3; i++) {
        struct cyx_job_spec *spec = spec_of(every_layer, optimizers[i], "");
        CYX_CLEANUP_BUF struct cyx_buf shared = {0}, apart = {0}, unfused = {0};
        run_steps(spec, false, false, &shared);
        run_steps(spec, true, false, &apart);
        run_steps(spec, false, true, &unfused);
        const double *params = (const double *)shared.data;
        for (size_t p = 0; p < shared.length / sizeof(double); p++)
            assert_true(isfinite(params[p]));
        assert_int_equal(shared.length, apart.length);
        assert_memory_equal(shared.data, apart.data, shared.length);
        assert_int_equal(shared.length, unfused.length);
        assert_memory_equal(shared.data, unfused.data, shared.length);
        cyx_job_spec_destroy(spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients__agree_with_finite_differences),
        cmocka_unit_test(test_gradients__of_every_layer_and_loss_agree),
        cmocka_unit_test(test_gradients__of_an_autoencoder_agree),
        cmocka_unit_test(test_gradients__of_a_value_read_several_times_are_summed),
        cmocka_unit_test(test_steps__give_the_same_bits_shared_or_apart_fused_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
