/*
 * Fifty steps of every optimizer as PyTorch takes them, on every device and on the reference: with its options,
 * parameter groups, clipping by norm and by value, and a learning rate that changes each step.
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

#include "golden.h"
#include "reference.h"
#include "runners.h"

enum { STEPS = 50, BATCHES = 5, BATCH = 8, PIXELS = 28 * 28, CASES = 17 };

static struct runners runners;

struct training {
    const struct cyx_safetensors *file;
    const char *name;
    struct cyx_job_spec *spec;
    struct cyx_graph *graph;
    float images[BATCHES][BATCH * PIXELS];
    int32_t *labels; /* BATCHES * BATCH */
    float *losses, *norms;
    double *rates; /* (STEPS, groups) */
    size_t n_groups;
};

static void open_training(struct training *t, const struct cyx_safetensors *file, const char *name)
{
    struct cyx_error error = {0};
    struct cyx_graph_options options = {.batch = BATCH, .training = true};
    t->file = file;
    t->name = name;
    t->spec = golden_spec(file, name);
    must_do(name, cyx_graph_create(t->spec, &options, &t->graph, &error), &error);
    must_do(name, cyx_graph_differentiate(t->graph, &error), &error);
    must_do(name, cyx_graph_add_optimizer(t->graph, &t->spec->optimizer, &t->spec->clip, &error),
            &error);
    uint8_t *images = golden_bytes(file, cyx_safetensors_find(file, "images"));
    for (size_t i = 0; i < (size_t)BATCHES * BATCH * PIXELS; i++)
        t->images[i / (BATCH * PIXELS)][i % (BATCH * PIXELS)] = (float)images[i] / 255.0f;
    free(images);
    t->labels = golden_bytes(file, cyx_safetensors_find(file, "labels"));
    t->losses = golden_bytes(file, golden_need(file, name, "losses"));
    t->norms = golden_bytes(file, golden_need(file, name, "norms"));
    t->rates = golden_bytes(file, golden_need(file, name, "rates"));
    t->n_groups = (size_t)golden_need(file, name, "rates")->shape[1];
    assert_int_equal(t->n_groups, t->spec->optimizer.n_groups + 1);
}

static void close_training(struct training *t)
{
    cyx_graph_destroy(t->graph);
    cyx_job_spec_destroy(t->spec);
    free(t->labels);
    free(t->losses);
    free(t->norms);
    free(t->rates);
}

static struct cyx_feed feed_of(const struct training *t, int step)
{
    struct cyx_feed feed = {.input = t->images[step % BATCHES],
                            .target = t->labels + (size_t)(step % BATCHES) * BATCH,
                            .step = (uint64_t)step + 1};
    for (size_t g = 0; g < t->n_groups; g++)
        feed.lr[g] = t->rates[(size_t)step * t->n_groups + g];
    return feed;
}

/* Rounding differs by an operation's tolerance in each step, and each step starts from the last. */
static void compare(const struct training *t, const char *runner, const char *what,
                    const float *got, const float *wanted, size_t count)
{
    char text[3 * GOLDEN_NAME];
    snprintf(text, sizeof text, "%s: %s", t->name, what);
    golden_compare(runner, text, got, wanted, count, STEPS * GOLDEN_RTOL, GOLDEN_ATOL);
}

static void compare_step(const struct training *t, const char *runner, int step, float loss,
                         float norm)
{
    char what[GOLDEN_NAME];
    snprintf(what, sizeof what, "loss of step %d", step + 1);
    compare(t, runner, what, &loss, &t->losses[step], 1);
    snprintf(what, sizeof what, "norm of step %d", step + 1);
    compare(t, runner, what, &norm, &t->norms[step], 1);
}

/* What the file holds of a parameter, `which` "first" or "last". */
static const struct cyx_safetensors_tensor *recorded(const struct training *t, const char *which,
                                                     const struct cyx_value *value)
{
    char part[GOLDEN_NAME];
    snprintf(part, sizeof part, "%s.%s", which, value->name);
    return value->kind == CYX_VALUE_PARAM ? golden_need(t->file, t->name, part) : NULL;
}

static void write_first(const struct training *t, const struct runner *runner,
                        struct cyx_session *session)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < t->graph->n_values; v++) {
        const struct cyx_value *value = &t->graph->values[v];
        const struct cyx_safetensors_tensor *tensor = recorded(t, "first", value);
        if (!tensor)
            continue;
        float *data = golden_bytes(t->file, tensor);
        must_do(
            runner->name,
            runner->backend->value_write(session, value->name, data, golden_count(tensor), &error),
            &error);
        free(data);
    }
}

static void compare_last(const struct training *t, const char *runner,
                         const struct cyx_value *value, const float *got)
{
    char what[GOLDEN_NAME];
    const struct cyx_safetensors_tensor *tensor = recorded(t, "last", value);
    float *wanted = golden_bytes(t->file, tensor);
    snprintf(what, sizeof what, "%s after %d steps", value->name, STEPS);
    compare(t, runner, what, got, wanted, golden_count(tensor));
    free(wanted);
}

static void check_last(const struct training *t, const struct runner *runner,
                       struct cyx_session *session)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < t->graph->n_values; v++) {
        const struct cyx_value *value = &t->graph->values[v];
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *got = calloc(count, sizeof *got);
        assert_non_null(got);
        must_do(runner->name, runner->backend->value_read(session, value->name, got, count, &error),
                &error);
        compare_last(t, runner->name, value, got);
        free(got);
    }
}

static void train(const struct training *t, const struct runner *runner)
{
    const struct cyx_backend *backend = runner->backend;
    struct cyx_error error = {0};
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    enum cyx_status status = backend->session_create(runner->device, t->graph, &session, &error);
    if (status == CYX_OK)
        status = backend->program_create(session, t->graph, &program, &error);
    if (status == CYX_ERR_UNSUPPORTED) {
        printf("SKIP %s: %s: %s\n", runner->name, t->name, error.message);
    } else {
        must_do(runner->name, status, &error);
        write_first(t, runner, session);
        for (int step = 0; step < STEPS; step++) {
            struct cyx_feed feed = feed_of(t, step);
            struct cyx_step_result result = run_step(runner, program, &feed);
            compare_step(t, runner->name, step, result.loss, result.grad_norm);
        }
        check_last(t, runner, session);
    }
    backend->program_destroy(program);
    backend->session_destroy(session);
}

static void fill_reference(const struct training *t, struct reference *reference)
{
    for (size_t v = 0; v < t->graph->n_values; v++) {
        const struct cyx_safetensors_tensor *tensor = recorded(t, "first", &t->graph->values[v]);
        if (!tensor)
            continue;
        float *data = golden_bytes(t->file, tensor);
        for (size_t i = 0; i < golden_count(tensor); i++)
            reference->data[v][i] = (double)data[i];
        free(data);
    }
}

static void step_reference(const struct training *t, struct reference *reference, int step)
{
    struct cyx_feed feed = feed_of(t, step);
    for (size_t i = 0; i < (size_t)BATCH * PIXELS; i++)
        reference->data[t->graph->input][i] = (double)feed.input[i];
    for (size_t i = 0; i < BATCH; i++)
        reference->data[t->graph->target][i] = ((const int32_t *)feed.target)[i];
    memcpy(reference->lr, feed.lr, sizeof reference->lr);
    reference->step = step + 1;
    reference_run(reference, t->graph->n_nodes);
    const double *result = reference->data[t->graph->result];
    compare_step(t, "reference", step, (float)result[CYX_RESULT_LOSS],
                 (float)result[CYX_RESULT_GRAD_NORM]);
}

static void train_reference(const struct training *t)
{
    struct reference reference;
    reference_init(&reference, t->graph, false);
    fill_reference(t, &reference);
    for (int step = 0; step < STEPS; step++)
        step_reference(t, &reference, step);
    for (size_t v = 0; v < t->graph->n_values; v++) {
        const struct cyx_value *value = &t->graph->values[v];
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *got = calloc(count, sizeof *got);
        assert_non_null(got);
        for (size_t i = 0; i < count; i++)
            got[i] = (float)reference.data[v][i];
        compare_last(t, "reference", value, got);
        free(got);
    }
    reference_finish(&reference);
}

static void test_golden__optimizers_train_as_pytorch(void **state)
{
    (void)state;
    struct cyx_safetensors *file = golden_open("training");
    char **names = NULL;
    size_t n = golden_cases(file, "losses", &names);
    assert_int_equal(n, CASES);
    for (size_t i = 0; i < n; i++) {
        struct training *t = calloc(1, sizeof *t);
        assert_non_null(t);
        open_training(t, file, names[i]);
        train_reference(t);
        for (size_t r = 0; r < runners.count; r++)
            train(t, &runners.items[r]);
        close_training(t);
        free(t);
        free(names[i]);
    }
    free(names);
    cyx_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__optimizers_train_as_pytorch),
    };
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
