#include "golden_train.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reference.h"

static void compare(const struct golden_run *run, const char *runner, const char *what,
                    const float *got, const float *wanted, size_t count)
{
    char text[3 * GOLDEN_NAME];
    snprintf(text, sizeof text, "%s: %s", run->name, what);
    golden_compare(runner, text, got, wanted, count, GOLDEN_RTOL, GOLDEN_ATOL);
}

static void compare_step(const struct golden_run *run, const char *runner, int64_t step, float loss,
                         float norm)
{
    char what[GOLDEN_NAME];
    snprintf(what, sizeof what, "loss of step %lld", (long long)step + 1);
    compare(run, runner, what, &loss, &run->losses[step], 1);
    snprintf(what, sizeof what, "norm of step %lld", (long long)step + 1);
    compare(run, runner, what, &norm, &run->norms[step], 1);
}

static void compare_last(const struct golden_run *run, const char *runner,
                         const struct cyx_value *value, const float *got)
{
    char what[GOLDEN_NAME];
    const struct cyx_safetensors_tensor *tensor = golden_run_tensor(run, "last", value);
    float *wanted = golden_bytes(run->file, tensor);
    snprintf(what, sizeof what, "%s after the last step", value->name);
    compare(run, runner, what, got, wanted, golden_count(tensor));
    free(wanted);
}

static void check_last(const struct golden_run *run, const struct runner *runner,
                       struct cyx_session *session)
{
    struct cyx_error error = {0};
    for (size_t v = 0; v < run->graph->n_values; v++) {
        const struct cyx_value *value = &run->graph->values[v];
        if (!cyx_value_in_state_dict(value->kind))
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *got = calloc(count, sizeof *got);
        assert_non_null(got);
        must_do(runner->name, runner->backend->value_read(session, value->name, got, count, &error),
                &error);
        compare_last(run, runner->name, value, got);
        free(got);
    }
}

static void train(const struct golden_run *run, const struct runner *runner)
{
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    golden_run_start(run, runner, &session, &program);
    for (int64_t step = 0; step < run->steps; step++) {
        struct cyx_feed feed = golden_run_feed(run, step);
        struct cyx_step_result result = run_step(runner, program, &feed);
        compare_step(run, runner->name, step, result.loss, result.grad_norm);
    }
    check_last(run, runner, session);
    runner->backend->program_destroy(program);
    runner->backend->session_destroy(session);
}

static void fill_reference(const struct golden_run *run, struct reference *reference)
{
    for (size_t v = 0; v < run->graph->n_values; v++) {
        const struct cyx_safetensors_tensor *tensor =
            golden_run_tensor(run, "first", &run->graph->values[v]);
        if (!tensor)
            continue;
        float *data = golden_bytes(run->file, tensor);
        for (size_t i = 0; i < golden_count(tensor); i++)
            reference->data[v][i] = (double)data[i];
        free(data);
    }
}

static void step_reference(const struct golden_run *run, struct reference *reference, int64_t step)
{
    const struct cyx_graph *graph = run->graph;
    struct cyx_feed feed = golden_run_feed(run, step);
    for (int64_t i = 0; i < cyx_shape_count(&graph->values[graph->input].shape); i++)
        reference->data[graph->input][i] = (double)feed.input[i];
    const struct cyx_value *target = &graph->values[graph->target];
    for (int64_t i = 0; i < cyx_shape_count(&target->shape); i++)
        reference->data[graph->target][i] = target->dtype == CYX_I32
                                                ? (double)((const int32_t *)feed.target)[i]
                                                : (double)((const float *)feed.target)[i];
    memcpy(reference->lr, feed.lr, sizeof reference->lr);
    reference->step = (double)feed.step;
    reference_run(reference, graph->n_nodes);
    const double *result = reference->data[graph->result];
    compare_step(run, "reference", step, (float)result[CYX_RESULT_LOSS],
                 (float)result[CYX_RESULT_GRAD_NORM]);
}

static void train_reference(const struct golden_run *run)
{
    struct reference reference;
    reference_init(&reference, run->graph, false);
    fill_reference(run, &reference);
    for (int64_t step = 0; step < run->steps; step++)
        step_reference(run, &reference, step);
    for (size_t v = 0; v < run->graph->n_values; v++) {
        const struct cyx_value *value = &run->graph->values[v];
        if (!cyx_value_in_state_dict(value->kind))
            continue;
        size_t count = (size_t)cyx_shape_count(&value->shape);
        float *got = calloc(count, sizeof *got);
        assert_non_null(got);
        for (size_t i = 0; i < count; i++)
            got[i] = (float)reference.data[v][i];
        compare_last(run, "reference", value, got);
        free(got);
    }
    reference_finish(&reference);
}

void golden_train_all(const struct runners *runners, const char *file_name, size_t wanted_cases,
                      golden_open_run open)
{
    unsetenv("CYXWIZ_KEEP_VALUES"); /* in a shared arena, as jobs train */
    struct cyx_safetensors *file = golden_open(file_name);
    char **names = NULL;
    size_t n = golden_cases(file, "losses", &names);
    assert_int_equal(n, wanted_cases);
    for (size_t i = 0; i < n; i++) {
        struct golden_run run;
        open(&run, file, names[i]);
        assert_int_equal(run.steps, GOLDEN_STEPS);
        /* standing still would agree too */
        assert_true(run.losses[GOLDEN_STEPS - 1] < run.losses[0]);
        train_reference(&run);
        for (size_t r = 0; r < runners->count; r++)
            train(&run, &runners->items[r]);
        golden_run_close(&run);
        free(names[i]);
    }
    free(names);
    cyx_safetensors_close(file);
}
