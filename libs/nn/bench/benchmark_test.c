/* The benchmark on the CPU, and on Vulkan where there is any: its numbers are sane, its answer to a challenge is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "nn/bench/private.h"

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

/* ---- a card whose memory wraps around, and one that has less than it says ---- */

enum { CELLS = 2, SESSIONS_LIMIT = 8, MARK = 1024 };
static struct {
    const struct cyx_session *sessions[SESSIONS_LIMIT];
    size_t n_sessions, created, allowed;
    float cells[CELLS][MARK];
} card;

/* Which cell a session's mark really lies in. */
static float *cell_of(const struct cyx_session *session)
{
    size_t i = 0;
    while (i < card.n_sessions && card.sessions[i] != session)
        i++;
    if (i == card.n_sessions && i < SESSIONS_LIMIT)
        card.sessions[card.n_sessions++] = session;
    return card.cells[i % CELLS];
}

static enum cyx_status wrapping_write(struct cyx_session *session, const char *name,
                                      const float *data, size_t count, struct cyx_error *err)
{
    (void)name;
    (void)err;
    assert_int_equal(count, MARK);
    memcpy(cell_of(session), data, sizeof(card.cells[0]));
    return CYX_OK;
}

static enum cyx_status wrapping_read(struct cyx_session *session, const char *name, float *ret_data,
                                     size_t count, struct cyx_error *err)
{
    (void)name;
    (void)err;
    assert_int_equal(count, MARK);
    memcpy(ret_data, cell_of(session), sizeof(card.cells[0]));
    return CYX_OK;
}

static enum cyx_status scarce_create(struct cyx_device *device, const struct cyx_graph *graph,
                                     struct cyx_session **ret_session, struct cyx_error *err)
{
    if (card.created >= card.allowed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "there is no more");
    card.created++;
    return cyx_backend_cpu()->session_create(device, graph, ret_session, err);
}

static void test_benchmark__finds_memory_that_is_not_there(void **state)
{
    (void)state;
    struct cyx_benchmark *benchmark = NULL;
    struct cyx_error err = {0};
    int64_t held = 0, tried = 0;
    struct cyx_backend lying = *cyx_backend_cpu();
    assert_int_equal(cyx_benchmark_create("cpu", NULL, &benchmark, &err), CYX_OK);
    benchmark->backend = &lying;
    lying.value_write = wrapping_write;
    lying.value_read = wrapping_read;
    memset(&card, 0, sizeof(card));
    assert_int_equal(bench_memory(benchmark, &held, &tried, &err), CYX_OK);
    if (tried < INT64_C(256) << 20) {
        printf("SKIP too little free memory to see it wrap around\n");
        cyx_benchmark_destroy(benchmark);
        skip();
    }
    assert_int_equal(held, INT64_C(128) << 20); /* the last mark of each cell */

    lying = *cyx_backend_cpu();
    lying.session_create = scarce_create;
    card.allowed = 3;
    assert_int_equal(bench_memory(benchmark, &held, &tried, &err), CYX_OK);
    assert_int_equal(held, INT64_C(192) << 20);
    assert_int_equal(tried, INT64_C(256) << 20);
    benchmark->backend = cyx_backend_cpu();
    cyx_benchmark_destroy(benchmark);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_benchmark__measures_and_proves_the_cpu),
        cmocka_unit_test(test_benchmark__measures_and_proves_vulkan),
        cmocka_unit_test(test_benchmark__finds_memory_that_is_not_there),
        cmocka_unit_test(test_benchmark__refuses_what_is_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
