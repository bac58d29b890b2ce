/* What `describe` tells: rows against numbers known by hand, totals against the cost, memory against the plan. */
#include "model/plan.h"
#include "model/summary.h"
#include "model/test_specs.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct cyx_model_summary *summary_of(const struct cyx_job_spec *spec, int64_t batch)
{
    struct cyx_model_summary *summary = NULL;
    struct cyx_error err = {0};
    if (cyx_model_summarize(spec, batch, &summary, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return summary;
}

static void assert_shape(const struct cyx_shape *shape, const struct cyx_shape *expected)
{
    assert_int_equal(shape->rank, expected->rank);
    for (int i = 0; i < shape->rank; i++)
        assert_int_equal(shape->dim[i], expected->dim[i]);
}

/* The numbers that torchinfo prints for the same network (a multiply-add is two here, biases count). */
static void test_summary__the_rows_are_the_layers(void **state)
{
    (void)state;
    static const struct {
        struct cyx_shape output;
        int64_t parameters, flops;
    } expected[] = {
        {{4, {8, 32, 28, 28}}, 320, 32 * 784 * (2 * 9 + 1)},
        {{4, {8, 32, 28, 28}}, 0, 32 * 784},
        {{4, {8, 32, 14, 14}}, 0, 32 * 784},
        {{4, {8, 64, 14, 14}}, 18496, 64 * 196 * (2 * 288 + 1)},
        {{4, {8, 64, 14, 14}}, 0, 64 * 196},
        {{4, {8, 64, 7, 7}}, 0, 64 * 196},
        {{2, {8, 3136}}, 0, 0},
        {{2, {8, 128}}, 401536, 128 * (2 * 3136 + 1)},
        {{2, {8, 128}}, 0, 128},
        {{2, {8, 10}}, 1290, 10 * (2 * 128 + 1)},
    };
    struct cyx_job_spec *spec = spec_of_example("mnist-cnn");
    struct cyx_model_summary *summary = summary_of(spec, 8);
    assert_int_equal(summary->n_layers, COUNT(expected));
    int64_t parameters = 0, activations = 0;
    for (size_t i = 0; i < COUNT(expected); i++) {
        const struct cyx_layer_summary *row = &summary->layers[i];
        assert_shape(&row->output, &expected[i].output);
        assert_int_equal(row->parameters, expected[i].parameters);
        assert_int_equal(row->forward_flops, expected[i].flops);
        assert_int_equal(row->buffers, 0);
        parameters += row->parameters;
        activations += cyx_shape_count(&row->output);
    }
    assert_int_equal(summary->parameters, parameters);
    assert_int_equal(summary->parameters, 421642);
    assert_int_equal(summary->activations, activations);
    assert_int_equal(summary->loss_flops, 50); /* ten logits, five operations each */
    cyx_model_summary_destroy(summary);
    cyx_job_spec_destroy(spec);
}

static void test_summary__the_totals_are_the_cost(void **state)
{
    (void)state;
    static const char *const names[] = {"mnist-cnn", "fashion-cnn", "mnist-mlp", "fashion-resnet",
                                        "fashion-autoencoder"};
    for (size_t n = 0; n < COUNT(names); n++) {
        struct cyx_job_spec *spec = spec_of_example(names[n]);
        struct cyx_model_summary *summary = summary_of(spec, spec->data.batch_size);
        struct cyx_model_cost cost;
        assert_int_equal(cyx_model_cost(spec, &cost, NULL), CYX_OK);
        assert_int_equal(summary->parameters, cost.parameters);
        assert_int_equal(summary->forward_flops, cost.forward_flops_per_sample);
        assert_int_equal(summary->training_flops, cost.training_flops_per_sample);
        assert_int_equal(summary->training.total, cost.training_bytes);
        int64_t forward = summary->loss_flops;
        for (size_t i = 0; i < summary->n_layers; i++)
            forward += summary->layers[i].forward_flops;
        assert_int_equal(forward, summary->forward_flops);
        cyx_model_summary_destroy(summary);
        cyx_job_spec_destroy(spec);
    }
}

/* Each layer of a residual network has a row; only BatchNorm2d has buffers, two a channel. */
static void test_summary__branches_and_buffers_are_told(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("fashion-resnet");
    struct cyx_model_summary *summary = summary_of(spec, 2);
    int64_t buffers = 0, norms = 0, adds = 0;
    for (size_t i = 0; i < summary->n_layers; i++) {
        const struct cyx_layer_summary *row = &summary->layers[i];
        bool norm = spec->layers[i].type == CYX_LAYER_BATCH_NORM2D;
        assert_true(row->output.rank >= 2 && row->output.dim[0] == 2);
        assert_int_equal(row->buffers, norm ? 2 * row->output.dim[1] : 0);
        if (norm)
            assert_int_equal(row->parameters, 2 * row->output.dim[1]);
        buffers += row->buffers;
        norms += norm;
        if (spec->layers[i].type == CYX_LAYER_ADD) {
            adds++;
            assert_int_equal(row->forward_flops, cyx_shape_count(&row->output) / 2);
        }
    }
    assert_true(norms > 0 && adds > 0);
    assert_int_equal(summary->buffers, buffers);
    assert_int_equal(summary->training.buffers, 4 * buffers);
    assert_int_equal(summary->inference.buffers, 4 * buffers);
    cyx_model_summary_destroy(summary);
    cyx_job_spec_destroy(spec);
}

static void test_summary__memory_is_the_plans(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("mnist-cnn"); /* AdamW: two moments */
    struct cyx_model_summary *summary = summary_of(spec, 32);
    const struct cyx_step_memory *training = &summary->training, *inference = &summary->inference;
    assert_int_equal(training->parameters, 4 * 421642);
    assert_int_equal(training->optimizer, 8 * 421642);
    assert_int_equal(inference->parameters, training->parameters);
    assert_int_equal(inference->optimizer, 0);
    assert_int_equal(training->batch, 32 * 784 * 4 + 32 * 4 + CYX_RESULT_ELEMENTS * 4);
    assert_true(training->arena < training->arena_unshared);
    assert_true(inference->arena < inference->arena_unshared);
    assert_true(inference->arena < training->arena);
    assert_int_equal(inference->total, inference->parameters + inference->buffers +
                                           inference->batch + inference->arena);

    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 32}, false);
    struct cyx_plan *plan = NULL;
    assert_int_equal(cyx_plan_create(graph, NULL, NULL, 256, NULL, &plan, NULL), CYX_OK);
    assert_int_equal(inference->arena, plan->arena_bytes);
    assert_int_equal(inference->arena_unshared, plan->unshared_bytes);
    cyx_plan_destroy(plan);
    cyx_graph_destroy(graph);
    cyx_model_summary_destroy(summary);
    cyx_job_spec_destroy(spec);
}

static void test_summary__a_layer_without_a_node_hands_on_its_shape(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers(
        "{\"type\":\"Flatten\"},{\"type\":\"Dropout\",\"p\":0},"
        "{\"type\":\"Dropout\",\"p\":0.5},{\"type\":\"Linear\",\"out_features\":10}");
    struct cyx_model_summary *summary = summary_of(spec, 3);
    const struct cyx_shape flat = {2, {3, 784}};
    for (size_t i = 0; i < 3; i++)
        assert_shape(&summary->layers[i].output, &flat);
    assert_int_equal(summary->layers[1].forward_flops, 0);
    assert_int_equal(summary->layers[2].forward_flops, 2 * 784);
    cyx_model_summary_destroy(summary);
    cyx_job_spec_destroy(spec);
}

static void test_summary__what_does_not_fit_is_refused_at_its_layer(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_layers("{\"type\":\"Linear\",\"out_features\":10}");
    struct cyx_model_summary *summary = NULL;
    struct cyx_error err = {0};
    assert_int_equal(cyx_model_summarize(spec, 4, &summary, &err), CYX_ERR_INVALID);
    assert_null(summary);
    assert_string_equal(err.pointer, "/model/layers/0");
    cyx_job_spec_destroy(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summary__the_rows_are_the_layers),
        cmocka_unit_test(test_summary__the_totals_are_the_cost),
        cmocka_unit_test(test_summary__branches_and_buffers_are_told),
        cmocka_unit_test(test_summary__memory_is_the_plans),
        cmocka_unit_test(test_summary__a_layer_without_a_node_hands_on_its_shape),
        cmocka_unit_test(test_summary__what_does_not_fit_is_refused_at_its_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
