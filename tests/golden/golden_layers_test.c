/*
 * Every layer and loss against PyTorch, on every device and on the reference: output, loss, the gradients of input
 * and parameters, running statistics, and the evaluation that follows. Then fifty steps that train input and
 * parameters.
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

#include "golden_case.h"
#include "golden_train.h"
#include "reference.h"
#include "runners.h"

enum { LAYERS = 76, LOSSES = 15 };

static struct runners runners;

struct golden_case {
    const struct cyx_safetensors *file;
    const char *name;
    struct cyx_job_spec *spec;
    struct cyx_graph *train, *evaluate;
    float *input;
    void *target;
};

/* ---- the graphs ---- */

static void open_case(struct golden_case *c, const struct cyx_safetensors *file, const char *name)
{
    struct cyx_error error = {0};
    *c = (struct golden_case){.file = file, .name = name, .spec = golden_case_spec(file, name)};
    struct cyx_graph_options options = {.batch = golden_case_batch(file, name)};
    must_do(name, cyx_graph_create(c->spec, &options, &c->evaluate, &error), &error);
    c->train = golden_case_graph(file, name, c->spec);
    c->input = golden_bytes(file, golden_need(file, name, "input"));
    c->target = golden_bytes(file, golden_need(file, name, "target"));
}

static void close_case(struct golden_case *c)
{
    cyx_graph_destroy(c->train);
    cyx_graph_destroy(c->evaluate);
    cyx_job_spec_destroy(c->spec);
    free(c->input);
    free(c->target);
}

/* The part of the case that tells what value `v` must be after the step, false when nothing does. */
static bool recorded_part(const struct cyx_graph *graph, size_t v, char *ret_part, size_t size,
                          int32_t *ret_value)
{
    const struct cyx_value *value = &graph->values[v];
    *ret_value = (int32_t)v;
    if (value->kind == CYX_VALUE_BUFFER) {
        snprintf(ret_part, size, "after.%s", value->name);
        return true;
    }
    if (value->kind == CYX_VALUE_PARAM) {
        snprintf(ret_part, size, "grad.%s", value->name);
        *ret_value = value->grad;
        return true;
    }
    if ((int32_t)v == graph->output) {
        snprintf(ret_part, size, "output");
        return true;
    }
    return false;
}

/*
 * How many of an operation's tolerances. A gradient through two BatchNorms is what is left of large numbers: PyTorch's
 * own in float32 is 0.8 of a tolerance from its own in double, and ours may be as far on the other side.
 */
static double tolerances(const struct golden_case *c)
{
    return strcmp(c->name, "batch_norm2d_behind_conv") == 0 ? 2 : 1;
}

static void check(const struct golden_case *c, const char *runner, const char *part,
                  const float *got)
{
    char what[2 * GOLDEN_NAME];
    const struct cyx_safetensors_tensor *tensor = golden_need(c->file, c->name, part);
    float *wanted = golden_bytes(c->file, tensor);
    snprintf(what, sizeof what, "%s: %s", c->name, part);
    golden_compare(runner, what, got, wanted, golden_count(tensor), tolerances(c) * GOLDEN_RTOL,
                   tolerances(c) * GOLDEN_ATOL);
    free(wanted);
}

/* ---- on a device ---- */

static float *read_value(const struct runner *runner, struct cyx_session *session,
                         struct cyx_program *program, const struct cyx_value *value)
{
    struct cyx_error error = {0};
    size_t count = (size_t)cyx_shape_count(&value->shape);
    float *data = calloc(count, sizeof *data);
    assert_non_null(data);
    must_do(runner->name,
            cyx_value_persists(value->kind)
                ? runner->backend->value_read(session, value->name, data, count, &error)
                : runner->backend->transient_read(program, value->name, data, count, &error),
            &error);
    return data;
}

static void write_values(const struct golden_case *c, const struct runner *runner,
                         struct cyx_session *session)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < c->train->n_values; v++) {
        const struct cyx_value *value = &c->train->values[v];
        const struct cyx_safetensors_tensor *tensor = golden_case_first(c->file, c->name, value);
        if (!tensor)
            continue;
        float *data = golden_bytes(c->file, tensor);
        must_do(
            runner->name,
            runner->backend->value_write(session, value->name, data, golden_count(tensor), &error),
            &error);
        free(data);
    }
}

static void check_step(const struct golden_case *c, const struct runner *runner,
                       struct cyx_session *session, struct cyx_program *program)
{
    static const float fed[1] = {0};
    struct cyx_feed feed = {.input = fed, .target = c->target, .step = 1};
    struct cyx_step_result result = run_step(runner, program, &feed);
    check(c, runner->name, "loss", &result.loss);
    if (golden_find(c->file, c->name, "correct"))
        check(c, runner->name, "correct", &result.correct);
    for (size_t v = 0; v < c->train->n_values; v++) {
        char part[GOLDEN_NAME];
        int32_t value = CYX_NO_VALUE;
        if (!recorded_part(c->train, v, part, sizeof part, &value))
            continue;
        float *got = read_value(runner, session, program, &c->train->values[value]);
        check(c, runner->name, part, got);
        free(got);
    }
}

static void check_evaluation(const struct golden_case *c, const struct runner *runner,
                             struct cyx_session *session, struct cyx_program *program)
{
    struct cyx_feed feed = {.input = c->input, .target = c->target, .step = 1};
    bool buffers = golden_find(c->file, c->name, "evaluated") != NULL;
    run_step(runner, program, &feed);
    float *got = read_value(runner, session, program, &c->evaluate->values[c->evaluate->output]);
    check(c, runner->name, buffers ? "evaluated" : "output", got);
    free(got);
}

static void run_case(const struct golden_case *c, const struct runner *runner)
{
    const struct cyx_backend *backend = runner->backend;
    struct cyx_error error = {0};
    struct cyx_session *session = NULL;
    struct cyx_program *train = NULL, *evaluate = NULL;
    must_do(runner->name, backend->session_create(runner->device, c->train, &session, &error),
            &error);
    must_do(runner->name, backend->program_create(session, c->train, &train, &error), &error);
    must_do(runner->name, backend->program_create(session, c->evaluate, &evaluate, &error), &error);
    write_values(c, runner, session);
    check_step(c, runner, session, train);
    check_evaluation(c, runner, session, evaluate);
    backend->program_destroy(evaluate);
    backend->program_destroy(train);
    backend->session_destroy(session);
}

/* ---- on the reference, whose doubles must be PyTorch's floats too ---- */

static void fill_reference(const struct golden_case *c, struct reference *reference)
{
    const struct cyx_graph *graph = reference->graph;
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_safetensors_tensor *tensor =
            golden_case_first(c->file, c->name, &graph->values[v]);
        if (graph->values[v].kind == CYX_VALUE_INPUT && strcmp(graph->values[v].name, "fed") != 0)
            tensor = golden_need(c->file, c->name, "input");
        if ((int32_t)v == graph->target)
            tensor = golden_need(c->file, c->name, "target");
        if (!tensor)
            continue;
        void *data = golden_bytes(c->file, tensor);
        for (size_t i = 0; i < golden_count(tensor); i++)
            reference->data[v][i] = tensor->dtype == CYX_ST_I32 ? (double)((int32_t *)data)[i]
                                                                : (double)((float *)data)[i];
        free(data);
    }
}

static void check_reference_value(const struct golden_case *c, const struct reference *reference,
                                  int32_t value, const char *part)
{
    size_t count = (size_t)cyx_shape_count(&reference->graph->values[value].shape);
    float *got = calloc(count, sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < count; i++)
        got[i] = (float)reference->data[value][i];
    check(c, "reference", part, got);
    free(got);
}

static void copy_buffers(const struct reference *from, const struct reference *to)
{
    for (size_t v = 0; v < to->graph->n_values; v++) {
        const struct cyx_value *value = &to->graph->values[v];
        if (value->kind == CYX_VALUE_BUFFER)
            memcpy(to->data[v], reference_data(from, value->name),
                   (size_t)cyx_shape_count(&value->shape) * sizeof(double));
    }
}

static void run_reference(const struct golden_case *c)
{
    struct reference train, evaluate;
    reference_init(&train, c->train, true);
    reference_init(&evaluate, c->evaluate, true);
    fill_reference(c, &train);
    fill_reference(c, &evaluate);
    reference_run(&train, c->train->n_nodes);
    float loss = (float)train.data[c->train->result][CYX_RESULT_LOSS];
    check(c, "reference", "loss", &loss);
    for (size_t v = 0; v < c->train->n_values; v++) {
        char part[GOLDEN_NAME];
        int32_t value = CYX_NO_VALUE;
        if (recorded_part(c->train, v, part, sizeof part, &value))
            check_reference_value(c, &train, value, part);
    }
    copy_buffers(&train, &evaluate);
    reference_run(&evaluate, c->evaluate->n_nodes);
    check_reference_value(c, &evaluate, c->evaluate->output,
                          golden_find(c->file, c->name, "evaluated") ? "evaluated" : "output");
    reference_finish(&train);
    reference_finish(&evaluate);
}

static void run_file(const char *file_name, size_t wanted_cases)
{
    struct cyx_safetensors *file = golden_open(file_name);
    char **names = NULL;
    size_t n = golden_cases(file, "output", &names);
    setenv("CYXWIZ_KEEP_VALUES", "1", 1);
    assert_int_equal(n, wanted_cases);
    for (size_t i = 0; i < n; i++) {
        struct golden_case c;
        open_case(&c, file, names[i]);
        run_reference(&c);
        for (size_t r = 0; r < runners.count; r++)
            run_case(&c, &runners.items[r]);
        close_case(&c);
        free(names[i]);
    }
    free(names);
    cyx_safetensors_close(file);
}

static void test_golden__layers_are_pytorchs(void **state)
{
    (void)state;
    run_file("layers", LAYERS);
}

static void test_golden__losses_are_pytorchs(void **state)
{
    (void)state;
    run_file("losses", LOSSES);
}

static void test_golden__layers_train_as_pytorch(void **state)
{
    (void)state;
    golden_train_all(&runners, "layers", LAYERS, golden_run_open_case);
}

static void test_golden__losses_train_as_pytorch(void **state)
{
    (void)state;
    golden_train_all(&runners, "losses", LOSSES, golden_run_open_case);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__layers_are_pytorchs),
        cmocka_unit_test(test_golden__losses_are_pytorchs),
        cmocka_unit_test(test_golden__layers_train_as_pytorch),
        cmocka_unit_test(test_golden__losses_train_as_pytorch),
    };
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
