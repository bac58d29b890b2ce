/*
 * Whole training steps on every device against the double-precision reference: gradients value by value, losses
 * and parameters over steps in a shared arena, the same bits each run, evaluation beside training.
 */
#include "model/test_specs.h"

#include <math.h>
#include <stdio.h>

#include "reference.h"
#include "runners.h"

enum { BATCH = 5, STEPS = 5, PIXELS = 28 * 28 };

static struct runners runners;

static const char every_layer[] =
    "{\"type\":\"Conv2d\",\"out_channels\":4,\"kernel_size\":[3,4],\"padding\":\"same\"},"
    "{\"type\":\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"padding\":1},"
    "{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":[3,2],\"stride\":[2,1],"
    "\"padding\":[1,2],\"dilation\":[1,2],\"groups\":2,\"bias\":false},"
    "{\"type\":\"ReLU\"},{\"type\":\"Dropout\",\"p\":0.3},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":[1,2]},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":11},{\"type\":\"ReLU\"},{\"type\":\"Dropout\"},"
    "{\"type\":\"Linear\",\"out_features\":10,\"bias\":false}";

static const char mlp[] = "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":33},"
                          "{\"type\":\"ReLU\"},{\"type\":\"Linear\",\"out_features\":10}";

static const char cnn[] =
    "{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3,\"padding\":\"same\"},"
    "{\"type\":\"ReLU\"},{\"type\":\"MaxPool2d\",\"kernel_size\":2},"
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"ReLU\"},{\"type\":\"MaxPool2d\",\"kernel_size\":2},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":10}";

/* Channel counts that a blocked layout pads, or that make it change from layer to layer. */
static const char *const blocked[] = {
    /* LeNet: 1, 6, 16 channels, then a Flatten of blocks */
    "{\"type\":\"Conv2d\",\"out_channels\":6,\"kernel_size\":5,\"padding\":2},{\"type\":\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":2},"
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":5},{\"type\":\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":2},{\"type\":\"Flatten\"},"
    "{\"type\":\"Linear\",\"out_features\":20},{\"type\":\"ReLU\"},"
    "{\"type\":\"Linear\",\"out_features\":10}",
    /* 20 and 36 channels: two and three blocks with padding; Dropout and pooling on blocks */
    "{\"type\":\"Conv2d\",\"out_channels\":20,\"kernel_size\":3,\"stride\":2},{\"type\":\"ReLU\"},"
    "{\"type\":\"Dropout\",\"p\":0.25},"
    "{\"type\":\"Conv2d\",\"out_channels\":36,\"kernel_size\":3,\"padding\":\"same\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"padding\":1},{\"type\":\"Dropout\"},"
    "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
    /* groups of whole blocks, depthwise, and a pool that overlaps behind a ReLU */
    "{\"type\":\"Conv2d\",\"out_channels\":32,\"kernel_size\":4,\"stride\":3},{\"type\":\"ReLU\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":32,\"kernel_size\":3,\"padding\":1,\"groups\":2},"
    "{\"type\":\"ReLU\"},{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2},"
    "{\"type\":\"Conv2d\",\"out_channels\":32,\"kernel_size\":3,\"padding\":1,\"groups\":32},"
    "{\"type\":\"ReLU\"},{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
    /* pools and a Dropout right on the input; pools that leave a border; a pool that is the last layer */
    "{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"padding\":1},{\"type\":\"Dropout\",\"p\":0.1},"
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":3,\"padding\":1},{\"type\":\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":[3,4]},"
    "{\"type\":\"Conv2d\",\"out_channels\":10,\"kernel_size\":[1,2]},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":[3,1]},{\"type\":\"Flatten\"}",
    /* residuals: one through a projection, one that pads blocks; BatchNorm with and without a ReLU behind it */
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":3,\"stride\":2,\"padding\":1,"
    "\"bias\":false},"
    "{\"type\":\"BatchNorm2d\"},{\"type\":\"ReLU\",\"name\":\"a\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":20,\"bias\":false,\"kernel_size\":3,\"stride\":2,"
    "\"padding\":1},"
    "{\"type\":\"BatchNorm2d\"},{\"type\":\"ReLU\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":20,\"bias\":false,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"BatchNorm2d\",\"name\":\"main\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":20,\"bias\":false,\"kernel_size\":1,\"stride\":2,"
    "\"inputs\":[\"a\"]},"
    "{\"type\":\"BatchNorm2d\",\"name\":\"short\"},"
    "{\"type\":\"Add\",\"inputs\":[\"main\",\"short\"]},{\"type\":\"ReLU\",\"name\":\"b\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":20,\"bias\":false,\"kernel_size\":3,\"padding\":1},"
    "{\"type\":\"BatchNorm2d\",\"affine\":false,\"name\":\"c\"},"
    "{\"type\":\"Add\",\"inputs\":[\"c\",\"b\"]},{\"type\":\"ReLU\"},"
    "{\"type\":\"GlobalAvgPool2d\"},{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":"
    "10}",
    /* joined channels: whole blocks, then not; averages that overlap and leave a border */
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":3,\"stride\":2,\"name\":\"a\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":9,\"kernel_size\":3,\"padding\":1,\"name\":\"b\"},"
    "{\"type\":\"Concat\",\"inputs\":[\"a\",\"b\"],\"name\":\"ab\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":8,\"kernel_size\":3,\"padding\":1,\"name\":\"c\"},"
    "{\"type\":\"Concat\",\"inputs\":[\"b\",\"c\"]},{\"type\":\"SiLU\"},"
    "{\"type\":\"AvgPool2d\",\"kernel_size\":3,\"stride\":2,\"padding\":1,\"ceil_mode\":true},"
    "{\"type\":\"Conv2d\",\"out_channels\":12,\"kernel_size\":1,\"name\":\"d\"},"
    "{\"type\":\"Concat\",\"inputs\":[\"d\",\"d\"],\"dim\":3},{\"type\":\"Sigmoid\"},"
    "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
    /* transposed convolutions, padded blocks between activations and norms; a pool of what is padded */
    "{\"type\":\"Conv2d\",\"out_channels\":12,\"kernel_size\":4,\"stride\":4},{\"type\":\"GELU\"},"
    "{\"type\":\"ConvTranspose2d\",\"bias\":false,\"out_channels\":10,\"kernel_size\":3,\"stride\":"
    "2,"
    "\"padding\":1,\"output_padding\":1},{\"type\":\"BatchNorm2d\"},{\"type\":\"Sigmoid\"},"
    "{\"type\":\"ConvTranspose2d\",\"out_channels\":20,\"kernel_size\":2,\"stride\":2},{\"type\":"
    "\"ReLU\"},"
    "{\"type\":\"MaxPool2d\",\"kernel_size\":3,\"stride\":2,\"dilation\":2,\"ceil_mode\":true},"
    "{\"type\":\"ConvTranspose2d\",\"out_channels\":3,\"kernel_size\":3,\"groups\":1},{\"type\":"
    "\"Tanh\"},"
    "{\"type\":\"AdaptiveAvgPool2d\",\"output_size\":[5,3]},{\"type\":\"LayerNorm\"},"
    "{\"type\":\"Flatten\"},{\"type\":\"Linear\",\"out_features\":10}",
    /* blocks seen as another shape, in rows and in planes */
    "{\"type\":\"Conv2d\",\"out_channels\":16,\"kernel_size\":4,\"stride\":4},"
    "{\"type\":\"Reshape\",\"shape\":[4,14,14],\"name\":\"r\"},"
    "{\"type\":\"Conv2d\",\"out_channels\":4,\"kernel_size\":3,\"padding\":1,\"name\":\"s\"},"
    "{\"type\":\"Add\",\"inputs\":[\"s\",\"r\"]},"
    "{\"type\":\"Reshape\",\"shape\":[28,-1]},{\"type\":\"Linear\",\"out_features\":12,\"bias\":"
    "false},"
    "{\"type\":\"LeakyReLU\"},{\"type\":\"BatchNorm1d\"},{\"type\":\"Softmax\",\"dim\":1},"
    "{\"type\":\"Flatten\"},{\"type\":\"BatchNorm1d\"},{\"type\":\"Linear\",\"out_features\":10}",
};

/* One model on one device, with the reference beside it. */
struct fixture {
    const struct runner *runner;
    struct cyx_graph *graph;
    struct cyx_session *session;
    struct cyx_program *program;
    struct reference reference;
    float input[BATCH * PIXELS];
    int32_t target[BATCH];
};

static void set_up(struct fixture *f, const struct runner *runner, const struct cyx_job_spec *spec,
                   bool no_fusion)
{
    struct cyx_graph_options options = {.batch = BATCH, .training = true, .no_fusion = no_fusion};
    struct cyx_error error = {0};
    f->runner = runner;
    f->graph = graph_of(spec, options, true);
    must_do(runner->name,
            runner->backend->session_create(runner->device, f->graph, &f->session, &error), &error);
    must_do(runner->name,
            runner->backend->program_create(f->session, f->graph, &f->program, &error), &error);
    reference_init(&f->reference, f->graph, true);
    fill_params(runner, f->session, f->graph, &f->reference, 0.2);
}

static void tear_down(struct fixture *f)
{
    reference_finish(&f->reference);
    f->runner->backend->program_destroy(f->program);
    f->runner->backend->session_destroy(f->session);
    cyx_graph_destroy(f->graph);
}

/* The batch of a step, its last row ignored. */
static struct cyx_feed feed_of(struct fixture *f, int step)
{
    for (int i = 0; i < BATCH * PIXELS; i++)
        f->input[i] = test_uniform(1000 + (uint64_t)step, i);
    for (int n = 0; n < BATCH; n++)
        f->target[n] = n == BATCH - 1 ? -100 : (3 * n + step) % 10;
    return (struct cyx_feed){f->input, f->target, 42, (uint64_t)step, {0.05}};
}

static void run_reference(struct fixture *f, const struct cyx_feed *feed)
{
    struct reference *reference = &f->reference;
    for (int i = 0; i < BATCH * PIXELS; i++)
        reference->data[f->graph->input][i] = (double)feed->input[i];
    for (int n = 0; n < BATCH; n++)
        reference->data[f->graph->target][n] = ((const int32_t *)feed->target)[n];
    reference->seed = feed->seed;
    reference->step = (double)feed->step;
    memcpy(reference->lr, feed->lr, sizeof reference->lr);
    reference_run(reference, f->graph->n_nodes);
}

static void compare_loss(const struct fixture *f, struct cyx_step_result got, double tolerance)
{
    const double *wanted = f->reference.data[f->graph->result];
    if (!(fabs((double)got.loss - wanted[CYX_RESULT_LOSS]) <= tolerance * wanted[CYX_RESULT_LOSS]))
        fail_msg("%s: loss %.9g, wanted %.9g", f->runner->name, (double)got.loss,
                 wanted[CYX_RESULT_LOSS]);
    assert_true((double)got.count == wanted[CYX_RESULT_COUNT]);
    assert_true((double)got.correct == wanted[CYX_RESULT_CORRECT]);
}

/*
 * Every value of one step. Roundings pass through at most ten nodes, each no worse than a sum of 800 terms;
 * where they nearly cancel, the largest element still sets the scale.
 */
static void check_values(const char *layers, const char *loss, bool no_fusion)
{
    struct cyx_job_spec *spec = spec_of(layers, "\"type\":\"SGD\",\"momentum\":0.9", loss);
    for (size_t r = 0; r < runners.count; r++) {
        struct fixture f;
        set_up(&f, &runners.items[r], spec, no_fusion);
        struct cyx_feed feed = feed_of(&f, 1);
        struct cyx_step_result result = run_step(f.runner, f.program, &feed);
        run_reference(&f, &feed);
        compare_loss(&f, result, 1e-6);
        for (size_t v = 0; v < f.graph->n_values; v++) {
            const struct cyx_value *value = &f.graph->values[v];
            if (value->dtype == CYX_F32 && value->kind != CYX_VALUE_INPUT &&
                value->kind != CYX_VALUE_RESULT)
                compare_value(f.runner, f.session, f.program, f.graph, (int32_t)v,
                              f.reference.data[v], 4 * sum_tolerance(800), layers);
        }
        tear_down(&f);
    }
    cyx_job_spec_destroy(spec);
}

static void test_step__every_value_matches_reference(void **state)
{
    (void)state;
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    check_values(every_layer, "", false);
    check_values(every_layer, ",\"label_smoothing\":0.1", true);
    check_values(cnn, "", false);
    check_values(mlp, "", false);
}

/*
 * SGD: the parameters after some steps are as close as the gradients. AdamW divides by the gradient's own
 * size, which blows up the rounding of gradients near zero, so there the losses alone are compared.
 */
static void check_training(const char *layers, const char *optimizer, bool compare_params)
{
    struct cyx_job_spec *spec = spec_of(layers, optimizer, "");
    for (size_t r = 0; r < runners.count; r++) {
        struct fixture f;
        set_up(&f, &runners.items[r], spec, false);
        for (int step = 1; step <= STEPS; step++) {
            struct cyx_feed feed = feed_of(&f, step);
            feed.lr[0] = compare_params ? 0.05 : 0.002;
            struct cyx_step_result result = run_step(f.runner, f.program, &feed);
            run_reference(&f, &feed);
            compare_loss(&f, result, 1e-5);
        }
        for (size_t v = 0; v < f.graph->n_values && compare_params; v++)
            if (f.graph->values[v].kind == CYX_VALUE_PARAM)
                compare_value(f.runner, f.session, f.program, f.graph, (int32_t)v,
                              f.reference.data[v], 1e-5, optimizer);
        tear_down(&f);
    }
    cyx_job_spec_destroy(spec);
}

static void test_training__matches_reference_in_a_shared_arena(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    const char *sgd = "\"type\":\"SGD\",\"momentum\":0.9,\"nesterov\":true,\"weight_decay\":0.01";
    check_training(every_layer, sgd, true);
    check_training(cnn, "\"type\":\"SGD\"", true);
    check_training(every_layer, "\"type\":\"AdamW\"", false);
    check_training(mlp, "\"type\":\"AdamW\",\"weight_decay\":0.1", false);
}

static void test_training__matches_reference_on_blocked_channels(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        setenv("CYXWIZ_KEEP_VALUES", "1", 1);
        check_values(blocked[i], "", false);
        unsetenv("CYXWIZ_KEEP_VALUES");
        check_training(blocked[i], "\"type\":\"SGD\",\"momentum\":0.9", true);
        check_training(blocked[i], "\"type\":\"AdamW\"", false);
    }
}

/* Parameters after STEPS steps with as many under way as may be. */
static void train(struct fixture *f, struct cyx_buf *ret_params)
{
    struct cyx_error error = {0};
    struct cyx_step_result result;
    uint64_t tickets[STEPS + 1];
    for (int step = 1; step <= STEPS; step++) {
        struct cyx_feed feed = feed_of(f, step);
        must_do(f->runner->name,
                f->runner->backend->submit(f->program, &feed, &tickets[step], &error), &error);
        memset(f->input, 0xff, sizeof f->input); /* the feed is the caller's again */
        if (step >= CYX_STEPS_IN_FLIGHT)
            must_do(f->runner->name,
                    f->runner->backend->wait(f->program, tickets[step - CYX_STEPS_IN_FLIGHT + 1],
                                             &result, &error),
                    &error);
    }
    for (int step = STEPS - CYX_STEPS_IN_FLIGHT + 2; step <= STEPS; step++)
        must_do(f->runner->name,
                f->runner->backend->wait(f->program, tickets[step], &result, &error), &error);
    for (size_t v = 0; v < f->graph->n_values; v++) {
        size_t count = (size_t)cyx_shape_count(&f->graph->values[v].shape);
        if (f->graph->values[v].kind != CYX_VALUE_PARAM)
            continue;
        float *data = calloc(count, sizeof *data);
        must_do(f->runner->name,
                f->runner->backend->value_read(f->session, f->graph->values[v].name, data, count,
                                               &error),
                &error);
        cyx_buf_append(ret_params, data, count * sizeof *data);
        free(data);
    }
}

static void test_training__gives_the_same_bits_each_run(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    struct cyx_job_spec *spec = spec_of(every_layer, "\"type\":\"AdamW\"", "");
    for (size_t r = 0; r < runners.count; r++) {
        CYX_CLEANUP_BUF struct cyx_buf first = {0}, second = {0};
        struct fixture f;
        set_up(&f, &runners.items[r], spec, false);
        train(&f, &first);
        tear_down(&f);
        set_up(&f, &runners.items[r], spec, false);
        train(&f, &second);
        tear_down(&f);
        assert_true(first.length > 0);
        assert_int_equal(first.length, second.length);
        assert_memory_equal(first.data, second.data, first.length);
    }
    cyx_job_spec_destroy(spec);
}

/* An evaluation program of another batch size beside the training program: it sees the trained weights. */
static void test_evaluation__sees_the_parameters_being_trained(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    struct cyx_job_spec *spec = spec_of(every_layer, "\"type\":\"SGD\"", "");
    for (size_t r = 0; r < runners.count; r++) {
        const struct runner *runner = &runners.items[r];
        struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 3}, false);
        struct cyx_error error = {0};
        struct cyx_program *evaluation = NULL;
        struct reference reference;
        struct fixture f;
        set_up(&f, runner, spec, false);
        must_do(runner->name,
                runner->backend->program_create(f.session, graph, &evaluation, &error), &error);
        for (int step = 1; step <= 2; step++) {
            struct cyx_feed feed = feed_of(&f, step);
            run_step(runner, f.program, &feed);
            run_reference(&f, &feed);
        }
        struct cyx_feed feed = feed_of(&f, 3);
        struct cyx_step_result got = run_step(runner, evaluation, &feed);
        reference_init(&reference, graph, false);
        for (size_t v = 0; v < graph->n_values; v++) {
            if (graph->values[v].kind == CYX_VALUE_PARAM)
                memcpy(reference.data[v], reference_data(&f.reference, graph->values[v].name),
                       (size_t)cyx_shape_count(&graph->values[v].shape) * sizeof(double));
        }
        for (int i = 0; i < 3 * PIXELS; i++)
            reference.data[graph->input][i] = (double)feed.input[i];
        for (int n = 0; n < 3; n++)
            reference.data[graph->target][n] = ((const int32_t *)feed.target)[n];
        reference_run(&reference, graph->n_nodes);
        double wanted = reference.data[graph->result][CYX_RESULT_LOSS];
        if (!(fabs((double)got.loss - wanted) <= 1e-5 * wanted))
            fail_msg("%s: loss %.9g, wanted %.9g", runner->name, (double)got.loss, wanted);
        /* the logits are kept without asking */
        compare_value(runner, f.session, evaluation, graph, graph->output,
                      reference.data[graph->output], 1e-5, "logits");
        reference_finish(&reference);
        runner->backend->program_destroy(evaluation);
        tear_down(&f);
        cyx_graph_destroy(graph);
    }
    cyx_job_spec_destroy(spec);
}

static void test_tickets__are_limited_and_in_order(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of(mlp, "\"type\":\"SGD\"", "");
    for (size_t r = 0; r < runners.count; r++) {
        struct fixture f;
        struct cyx_error error = {0};
        struct cyx_step_result result;
        uint64_t tickets[CYX_STEPS_IN_FLIGHT + 1];
        set_up(&f, &runners.items[r], spec, false);
        const struct cyx_backend *backend = f.runner->backend;
        struct cyx_feed feed = feed_of(&f, 1);
        for (int i = 0; i < CYX_STEPS_IN_FLIGHT; i++)
            must_do(f.runner->name, backend->submit(f.program, &feed, &tickets[i], &error), &error);
        assert_int_not_equal(
            backend->submit(f.program, &feed, &tickets[CYX_STEPS_IN_FLIGHT], &error), CYX_OK);
        assert_int_not_equal(backend->wait(f.program, tickets[1], &result, &error), CYX_OK);
        for (int i = 0; i < CYX_STEPS_IN_FLIGHT; i++)
            must_do(f.runner->name, backend->wait(f.program, tickets[i], &result, &error), &error);
        assert_int_not_equal(backend->wait(f.program, tickets[1], &result, &error), CYX_OK);
        assert_true(backend->memory_bytes(f.program) > 0);
        tear_down(&f);
    }
    cyx_job_spec_destroy(spec);
}

static void test_values__of_another_name_or_size_are_refused(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of(mlp, "\"type\":\"SGD\"", "");
    for (size_t r = 0; r < runners.count; r++) {
        struct fixture f;
        struct cyx_error error = {0};
        float data[20] = {0};
        set_up(&f, &runners.items[r], spec, false);
        const struct cyx_backend *backend = f.runner->backend;
        assert_int_equal(backend->value_write(f.session, "nobody", data, 10, &error),
                         CYX_ERR_NOT_FOUND);
        assert_int_equal(backend->value_write(f.session, "3.bias", data, 11, &error),
                         CYX_ERR_INVALID);
        assert_int_equal(backend->value_read(f.session, "3.bias", data, 9, &error),
                         CYX_ERR_INVALID);
        must_do(f.runner->name, backend->value_read(f.session, "3.bias", data, 10, &error), &error);
        assert_int_equal(backend->transient_read(f.program, "nobody", data, 1, &error),
                         CYX_ERR_NOT_FOUND);
        tear_down(&f);
    }
    cyx_job_spec_destroy(spec);
}

/* The bytes that a backend shows are those that value_read() and transient_read() copy, and those it works on. */
static void test_values__on_the_host_are_the_sessions_own(void **state)
{
    (void)state;
    unsetenv("CYXWIZ_KEEP_VALUES");
    struct cyx_job_spec *spec = spec_of(mlp, "\"type\":\"SGD\"", "");
    for (size_t r = 0; r < runners.count; r++) {
        struct fixture f;
        struct cyx_error error = {0};
        float data[10] = {0};
        set_up(&f, &runners.items[r], spec, false);
        const struct cyx_backend *backend = f.runner->backend;
        float *bias = backend->value_host ? backend->value_host(f.session, "3.bias") : NULL;
        if (bias) {
            assert_null(backend->value_host(f.session, "nobody"));
            for (int i = 0; i < 10; i++)
                bias[i] = (float)i;
            must_do(f.runner->name, backend->value_read(f.session, "3.bias", data, 10, &error),
                    &error);
            assert_memory_equal(data, bias, sizeof data);
            struct cyx_feed feed = feed_of(&f, 1);
            run_step(f.runner, f.program, &feed);
            assert_memory_not_equal(data, bias, sizeof data); /* the step moved it in place */
        }
        const char *output = f.graph->values[f.graph->output].name;
        size_t count = (size_t)cyx_shape_count(&f.graph->values[f.graph->output].shape);
        const float *host =
            backend->transient_host ? backend->transient_host(f.program, output) : NULL;
        float *copy = calloc(count, sizeof *copy);
        if (host) {
            must_do(f.runner->name, backend->transient_read(f.program, output, copy, count, &error),
                    &error);
            assert_memory_equal(copy, host, count * sizeof *copy);
            assert_null(backend->transient_host(f.program, "nobody"));
        }
        free(copy);
        if (strcmp(backend->name, "cpu") == 0)
            assert_true(bias && host); /* a bias and logits are never blocked there */
        tear_down(&f);
    }
    cyx_job_spec_destroy(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step__every_value_matches_reference),
        cmocka_unit_test(test_training__matches_reference_in_a_shared_arena),
        cmocka_unit_test(test_training__matches_reference_on_blocked_channels),
        cmocka_unit_test(test_training__gives_the_same_bits_each_run),
        cmocka_unit_test(test_evaluation__sees_the_parameters_being_trained),
        cmocka_unit_test(test_tickets__are_limited_and_in_order),
        cmocka_unit_test(test_values__of_another_name_or_size_are_refused),
        cmocka_unit_test(test_values__on_the_host_are_the_sessions_own),
    };
    runners_open(&runners);
    if (runners.count == 0)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
