/*
 * Learning rates of every scheduler and warm-up as PyTorch gives them. No device is opened.
 *
 * Rates agree to the last bit but where a warm-up stands before: torch's LinearLR multiplies its way up to a rate
 * that is the optimizer's own but for rounding, ours ends at the optimizer's own.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "golden.h"
#include "nn/optim/lr.h"

enum { EPOCHS = 8, STEPS = 5, CASES = 21 };

static void compare_rates(const char *name, const struct cyx_lr *lr, int step, const double *wanted)
{
    double tolerance = lr->warmup.total_iters > 0 ? 8 * 0x1p-53 : 0;
    for (int g = 0; g < lr->n_groups; g++)
        if (!(fabs(lr->state.rate[g] - wanted[g]) <= tolerance * wanted[g]))
            fail_msg("%s: rate of group %d in step %d is %.17g, PyTorch has %.17g", name, g, step,
                     lr->state.rate[g], wanted[g]);
}

static void run_schedule(const struct cyx_safetensors *file, const char *name,
                         const double *evaluations)
{
    struct cyx_job_spec *spec = golden_spec(file, name);
    const struct cyx_safetensors_tensor *tensor = golden_need(file, name, "rates");
    double *rates = golden_bytes(file, tensor);
    struct cyx_lr lr;
    cyx_lr_init(&lr, spec, STEPS);
    assert_int_equal(lr.n_groups, tensor->shape[1]);
    assert_int_equal(tensor->shape[0], EPOCHS * STEPS);
    for (int step = 0; step < EPOCHS * STEPS; step++) {
        compare_rates(name, &lr, step, &rates[step * lr.n_groups]);
        cyx_lr_after_step(&lr);
        if (step % STEPS == STEPS - 1) {
            const double *evaluation = &evaluations[step / STEPS * 2];
            cyx_lr_after_epoch(&lr, evaluation[0], evaluation[1]);
        }
    }
    free(rates);
    cyx_job_spec_destroy(spec);
}

static void test_golden__schedules_are_pytorchs(void **state)
{
    (void)state;
    struct cyx_safetensors *file = golden_open("schedules");
    double *evaluations = golden_bytes(file, cyx_safetensors_find(file, "evaluations"));
    char **names = NULL;
    size_t n = golden_cases(file, "rates", &names);
    assert_int_equal(n, CASES);
    for (size_t i = 0; i < n; i++) {
        run_schedule(file, names[i], evaluations);
        free(names[i]);
    }
    free(names);
    free(evaluations);
    cyx_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__schedules_are_pytorchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
