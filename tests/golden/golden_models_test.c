/*
 * Whole models train for a hundred steps beside PyTorch from the same weights: a LeNet, a small ResNet (BatchNorm,
 * residuals, weight decay, clipping by norm, a cosine schedule), a smooth autoencoder with ConvTranspose2d. The loss of
 * every step and the output in evaluation mode afterwards.
 *
 * Tolerance: rounding grows as a model trains, and how fast is the model's own. PyTorch ran in float32 and in double;
 * ours must stay within FACTOR times the largest distance between those two (LeNet 6.5e-6 of the loss, ResNet 1.1e-3,
 * autoencoder 2.2e-7), and never less than an operation's tolerance. FACTOR: one of its runs is one draw of a
 * distance that another order of summation draws anew.
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

#include "golden_run.h"

static const double FACTOR = 8;

static struct runners runners;

/* The largest |a - b| / |b|, or |a - b| alone. */
static double largest_distance(const float *a, const double *b, size_t count, bool relative)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)a[i] - b[i]) / (relative ? fabs(b[i]) : 1));
    return largest;
}

struct model {
    struct golden_run run;
    struct cyx_graph *evaluate;
    double *losses, *evaluated; /* PyTorch's in double precision */
    size_t n_evaluated;
    double loss_tolerance, evaluated_tolerance;
};

static void open_model(struct model *m, const struct cyx_safetensors *file, const char *name)
{
    struct cyx_error error = {0};
    golden_run_open(&m->run, file, name);
    struct cyx_graph_options options = {.batch = m->run.batch};
    must_do(name, cyx_graph_create(m->run.spec, &options, &m->evaluate, &error), &error);
    const struct cyx_safetensors_tensor *evaluated = golden_need(file, name, "evaluated");
    float *single = golden_bytes(file, evaluated);
    m->n_evaluated = golden_count(evaluated);
    m->losses = golden_bytes(file, golden_need(file, name, "double_losses"));
    m->evaluated = golden_bytes(file, golden_need(file, name, "double_evaluated"));
    m->loss_tolerance =
        FACTOR * largest_distance(m->run.losses, m->losses, (size_t)m->run.steps, true);
    m->evaluated_tolerance = FACTOR * largest_distance(single, m->evaluated, m->n_evaluated, false);
    free(single);
}

static void close_model(struct model *m)
{
    cyx_graph_destroy(m->evaluate);
    golden_run_close(&m->run);
    free(m->losses);
    free(m->evaluated);
}

static void check_loss(const struct model *m, const char *runner, int64_t step, double loss)
{
    double off = fabs(loss - m->losses[step]);
    double relative = fmax(m->loss_tolerance, GOLDEN_RTOL);
    if (!(off <= GOLDEN_ATOL + relative * fabs(m->losses[step])))
        fail_msg("%s: %s: loss of step %lld is %.9g, PyTorch has %.9g", runner, m->run.name,
                 (long long)step + 1, loss, m->losses[step]);
}

/* The weights as trained, the first batch, evaluation mode. */
static void check_evaluation(const struct model *m, const struct runner *runner,
                             struct cyx_session *session)
{
    struct cyx_error error = {0};
    struct cyx_program *program = NULL;
    struct cyx_feed feed = golden_run_feed(&m->run, 0);
    float *got = calloc(m->n_evaluated, sizeof *got);
    assert_non_null(got);
    must_do(runner->name, runner->backend->program_create(session, m->evaluate, &program, &error),
            &error);
    run_step(runner, program, &feed);
    must_do(runner->name,
            runner->backend->transient_read(program, m->evaluate->values[m->evaluate->output].name,
                                            got, m->n_evaluated, &error),
            &error);
    double off = largest_distance(got, m->evaluated, m->n_evaluated, false);
    printf("%s: %s: output in evaluation mode at most %.2g from PyTorch's double, %.2g allowed\n",
           runner->name, m->run.name, off, m->evaluated_tolerance + GOLDEN_ATOL);
    assert_true(off <= m->evaluated_tolerance + GOLDEN_ATOL);
    runner->backend->program_destroy(program);
    free(got);
}

/* Tiles in shared memory are slow where software is the GPU, minutes a model: there the beginning must do. */
static int64_t steps_of(const struct model *m, const struct runner *runner)
{
    struct cyx_device_info info;
    runner->backend->device_info(runner->device, &info);
    bool slow = info.is_software && strcmp(runner->name, "vulkan/shared") == 0;
    return slow ? 2 : m->run.steps;
}

static void train(const struct model *m, const struct runner *runner)
{
    struct cyx_session *session = NULL;
    struct cyx_program *program = NULL;
    int64_t steps = steps_of(m, runner);
    double worst = 0;
    golden_run_start(&m->run, runner, &session, &program);
    for (int64_t step = 0; step < steps; step++) {
        struct cyx_feed feed = golden_run_feed(&m->run, step);
        double loss = (double)run_step(runner, program, &feed).loss;
        check_loss(m, runner->name, step, loss);
        worst = fmax(worst, fabs(loss / m->losses[step] - 1));
    }
    printf("%s: %s: losses of %lld steps %.4f … %.4f, at most %.2g of them from PyTorch's double\n",
           runner->name, m->run.name, (long long)steps, m->losses[0], m->losses[steps - 1], worst);
    if (steps == m->run.steps)
        check_evaluation(m, runner, session);
    runner->backend->program_destroy(program);
    runner->backend->session_destroy(session);
}

static void test_golden__whole_models_train_as_pytorch(void **state)
{
    (void)state;
    struct cyx_safetensors *file = golden_open("models");
    char **names = NULL;
    size_t n = golden_cases(file, "losses", &names);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        struct model m;
        open_model(&m, file, names[i]);
        /* a model that learns: standing still would agree too */
        assert_true(m.losses[m.run.steps - 1] < m.losses[0] / 2);
        for (size_t r = 0; r < runners.count; r++)
            train(&m, &runners.items[r]);
        close_model(&m);
        free(names[i]);
    }
    free(names);
    cyx_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__whole_models_train_as_pytorch),
    };
    runners_open(&runners);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runners_close(&runners);
    return failed;
}
