#include "op_checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

static struct runners runners;

bool operation_tests_begin(void)
{
    runners_open(&runners);
    return runners.count > 0;
}

int operation_tests_end(int failed)
{
    runners_close(&runners);
    return failed;
}

/* A run of one graph on one device. */
struct op_run {
    const struct runner *runner;
    struct cyx_session *session;
    struct cyx_program *program;
    struct reference reference;
    struct cyx_step_result result; /* of the last step */
};

static void fill_value(struct op_run *run, const struct op_graph *g, size_t v, double scale)
{
    const struct cyx_value *value = &g->values[v];
    size_t count = (size_t)cyx_shape_count(&value->shape);
    double low = g->ranges[v].given ? g->ranges[v].low : -scale;
    double high = g->ranges[v].given ? g->ranges[v].high : scale;
    struct cyx_error error = {0};
    float *data = calloc(count, sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < count; i++) {
        double uniform = (1 + (double)test_uniform(v + 1, (int64_t)i)) / 2;
        data[i] = (float)(low + (high - low) * uniform);
        run->reference.data[v][i] = (double)data[i];
    }
    must_do(run->runner->name,
            run->runner->backend->value_write(run->session, value->name, data, count, &error),
            &error);
    free(data);
}

static void fill(struct op_run *run, const struct op_graph *g, const void *target, double scale)
{
    for (size_t v = 0; v < g->graph.n_values; v++) {
        if (cyx_value_in_state_dict(g->values[v].kind))
            fill_value(run, g, v, scale);
    }
    const struct cyx_value *t = &g->values[g->graph.target];
    for (int64_t i = 0; target && i < cyx_shape_count(&t->shape); i++)
        run->reference.data[g->graph.target][i] = t->dtype == CYX_I32
                                                      ? (double)((const int32_t *)target)[i]
                                                      : (double)((const float *)target)[i];
}

/* The same step on the device and by the reference. Each parameter group has a learning rate of its own. */
static void run_both(struct op_run *run, const struct op_graph *g, const void *target, int step)
{
    static const float input[1] = {0};
    static const int32_t no_target[1] = {0};
    struct cyx_feed feed = {.input = input,
                            .target = target ? target : no_target,
                            .seed = 0x123456789abcdefu,
                            .step = (uint64_t)step};
    for (int i = 0; i < CYX_PARAM_GROUPS_LIMIT; i++)
        feed.lr[i] = run->reference.lr[i] = 0.01 * (i + 1);
    run->result = run_step(run->runner, run->program, &feed);
    run->reference.seed = feed.seed;
    run->reference.step = step;
    reference_run(&run->reference, g->graph.n_nodes);
}

static void check_number(const struct op_run *run, const char *what, const char *name, double got,
                         double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance * fabs(wanted))) /* a NaN is off too */
        fail_msg("%s: %s: %s %.9g, wanted %.9g", run->runner->name, what, name, got, wanted);
}

/* The result is checked as the step gives it, which is how the world reads it. */
static void check_result(const struct op_run *run, const double *wanted, double tolerance,
                         const char *what)
{
    const struct cyx_step_result *got = &run->result;
    check_number(run, what, "loss", (double)got->loss, wanted[CYX_RESULT_LOSS], tolerance);
    check_number(run, what, "correct", (double)got->correct, wanted[CYX_RESULT_CORRECT], 0);
    check_number(run, what, "count", (double)got->count, wanted[CYX_RESULT_COUNT], 0);
    check_number(run, what, "norm", (double)got->grad_norm, wanted[CYX_RESULT_GRAD_NORM],
                 tolerance);
}

static void check_values(const struct op_run *run, const struct op_graph *g, const char *what,
                         const struct check *checks, size_t n_checks)
{
    for (size_t i = 0; i < n_checks; i++) {
        const double *wanted = run->reference.data[checks[i].value];
        if (checks[i].value == g->graph.result)
            check_result(run, wanted, checks[i].tolerance, what);
        else
            compare_value(run->runner, run->session, run->program, &g->graph, checks[i].value,
                          wanted, checks[i].tolerance, what);
    }
}

static void run_on(const struct runner *runner, struct op_graph *g, const char *what,
                   const void *target, int steps, double scale, const struct check *checks,
                   size_t n_checks)
{
    struct op_run run = {.runner = runner};
    struct cyx_error error = {0};
    enum cyx_status status =
        runner->backend->session_create(runner->device, &g->graph, &run.session, &error);
    if (status == CYX_OK)
        status = runner->backend->program_create(run.session, &g->graph, &run.program, &error);
    must_do(runner->name, status, &error);
    reference_init(&run.reference, &g->graph, true);
    fill(&run, g, target, scale);
    for (int step = 1; step <= steps; step++)
        run_both(&run, g, target, step);
    check_values(&run, g, what, checks, n_checks);
    runner->backend->program_destroy(run.program);
    reference_finish(&run.reference);
    runner->backend->session_destroy(run.session);
}

void run_checks(struct op_graph *g, const char *what, const void *target, int steps, double scale,
                const struct check *checks, size_t n_checks)
{
    for (size_t r = 0; r < runners.count; r++)
        run_on(&runners.items[r], g, what, target, steps, scale, checks, n_checks);
}
