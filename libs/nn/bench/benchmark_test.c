/* The benchmark on the CPU, and on Vulkan where there is any: its numbers are sane, its answer to a challenge is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "nn/bench/benchmark.h"

static double seconds_since(int64_t began_ns)
{
    return (double)(cyx_clock_monotonic_ns() - began_ns) / 1e9;
}

static void choose(const struct cyx_proof_task *task, int64_t ret_rows[CYX_PROOF_SAMPLES])
{
    for (int64_t s = 0; s < CYX_PROOF_SAMPLES; s++)
        ret_rows[s] = s == 0 ? task->rows - 1 : s * 7919 % task->rows;
}

/* float32 of this device within a twentieth of the tolerance; another seed's outputs are not taken. */
static void expect_right_answer(struct cyx_benchmark *benchmark, const struct cyx_proof_task *task)
{
    struct cyx_error err = {0};
    int64_t rows[CYX_PROOF_SAMPLES];
    double worst = 1;
    float *outputs = malloc((size_t)task->rows * sizeof(float));
    int64_t began_ns = cyx_clock_monotonic_ns();
    assert_int_equal(cyx_benchmark_answer(benchmark, task, outputs, &err), CYX_OK);
    double took = seconds_since(began_ns);
    choose(task, rows);
    began_ns = cyx_clock_monotonic_ns();
    if (cyx_proof_check(task, outputs, rows, &worst, &err) != CYX_OK)
        fail_msg("%s", err.message);
    printf("  width %lld, %lld rows: %.2f s, %.3g GFLOP/s; checked in %.3f s, off by %.2g\n",
           (long long)task->size.width, (long long)task->rows, took,
           (double)task->rows * cyx_proof_row_flops(&task->size) / took / 1e9,
           seconds_since(began_ns), worst);
    assert_true(worst < CYX_PROOF_TOLERANCE / 20);
    struct cyx_proof_task other = *task;
    other.seed++;
    assert_int_equal(cyx_proof_check(&other, outputs, rows, NULL, &err), CYX_ERR_CORRUPT);
    free(outputs);
}

static void measure_and_prove(const char *backend)
{
    struct cyx_error err = {0};
    struct cyx_benchmark *benchmark = NULL;
    struct cyx_benchmark_result result;
    struct cyx_proof_task task;
    if (cyx_benchmark_create(backend, NULL, &benchmark, &err) != CYX_OK) {
        printf("SKIP %s: %s\n", backend, err.message);
        skip();
    }
    int64_t began_ns = cyx_clock_monotonic_ns();
    if (cyx_benchmark_measure(benchmark, &result, &err) != CYX_OK)
        fail_msg("%s", err.message);
    printf("%s in %.2f s: products %.3g, convolutions %.3g GFLOP/s, %.3g GB/s, %lld of %lld MiB\n",
           backend, seconds_since(began_ns), result.products_flops_per_second / 1e9,
           result.convolutions_flops_per_second / 1e9, result.bandwidth_bytes_per_second / 1e9,
           (long long)result.memory_bytes >> 20, (long long)result.memory_tried_bytes >> 20);
    assert_true(result.products_flops_per_second > 1e7);
    assert_true(result.convolutions_flops_per_second > 1e7);
    assert_true(result.bandwidth_bytes_per_second > 1e7);
    assert_true(result.memory_bytes > 0 && result.memory_bytes <= result.memory_tried_bytes);
    cyx_proof_plan(result.products_flops_per_second, 42, &task);
    expect_right_answer(benchmark, &task);
    cyx_proof_plan(1e11, 43, &task); /* another size than it was measured with, perhaps */
    task.rows = 300;                 /* no whole batch */
    expect_right_answer(benchmark, &task);
    cyx_benchmark_destroy(benchmark);
}

static void test_benchmark__measures_and_proves_the_cpu(void **state)
{
    (void)state;
    measure_and_prove("cpu");
}

static void test_benchmark__measures_and_proves_vulkan(void **state)
{
    (void)state;
    measure_and_prove("vulkan");
}

static void test_benchmark__refuses_what_is_no_task(void **state)
{
    (void)state;
    struct cyx_benchmark *benchmark = NULL;
    struct cyx_error err = {0};
    float output;
    const struct cyx_proof_task task = {.size = {4096, 2}, .rows = 64};
    assert_int_equal(cyx_benchmark_create("cuda", NULL, &benchmark, &err), CYX_ERR_INVALID);
    assert_int_equal(cyx_benchmark_create("cpu", NULL, &benchmark, &err), CYX_OK);
    assert_int_equal(cyx_benchmark_answer(benchmark, &task, &output, &err), CYX_ERR_INVALID);
    cyx_benchmark_destroy(benchmark);
    cyx_benchmark_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_benchmark__measures_and_proves_the_cpu),
        cmocka_unit_test(test_benchmark__measures_and_proves_vulkan),
        cmocka_unit_test(test_benchmark__refuses_what_is_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
