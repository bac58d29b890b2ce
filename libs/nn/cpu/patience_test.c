/* Waiting threads spin on an idle machine, and sleep early beside others. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "nn/cpu/openmp.h"
#include "nn/cpu/patience.h"

#define NS_A_MS INT64_C(1000000)

static void test_patience__is_given_up_after_idle_windows_only(void **state)
{
    (void)state;
    assert_true(cpu_patience_rule(true, 0.05, 50 * NS_A_MS));
    assert_false(cpu_patience_rule(true, 0.05, 100 * NS_A_MS));
    assert_true(cpu_patience_rule(true, 0.5, 0));
}

static void test_patience__comes_back_with_the_first_busy_window(void **state)
{
    (void)state;
    assert_false(cpu_patience_rule(false, 0.05, 0));
    assert_false(cpu_patience_rule(false, 0.25, 0)); /* neither idle nor busy: as it was */
    assert_true(cpu_patience_rule(false, 0.4, 0));
}

static void test_patience__stays_where_nothing_is_told(void **state)
{
    (void)state;
    struct cpu_patience *patience = cpu_patience_create(2);
    assert_non_null(patience);
    int64_t end = cyx_clock_monotonic_ns() + 300 * NS_A_MS; /* no member is watched */
    while (cyx_clock_monotonic_ns() < end)
        cpu_patience_observe(patience);
    assert_true(cpu_patience_held(patience));
    assert_true(cpu_patience_share(patience) < 0.0);
    cpu_patience_destroy(patience);
}

static atomic_bool enough;

static void *burn(void *context)
{
    while (!atomic_load(&enough))
        ;
    return context;
}

/* Three busy threads for each processor: whoever runs beside them waits for most of the time. */
static void test_patience__notices_who_must_share_a_processor(void **state)
{
    (void)state;
    enum { THREADS_LIMIT = 256 };
    pthread_t threads[THREADS_LIMIT];
    int n = 3 * omp_get_num_procs();
    n = n < THREADS_LIMIT ? n : THREADS_LIMIT;
    struct cpu_patience *patience = cpu_patience_create(1);
    assert_non_null(patience);
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, burn, NULL), 0);
    cpu_patience_watch(patience, 0);
    int64_t end = cyx_clock_monotonic_ns() + 10000 * NS_A_MS;
    while (cyx_clock_monotonic_ns() < end && cpu_patience_share(patience) < 0.4)
        cpu_patience_observe(patience);
    atomic_store(&enough, true);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    assert_true(cpu_patience_share(patience) >= 0.4);
    assert_true(cpu_patience_held(patience));
    cpu_patience_destroy(patience);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patience__is_given_up_after_idle_windows_only),
        cmocka_unit_test(test_patience__comes_back_with_the_first_busy_window),
        cmocka_unit_test(test_patience__stays_where_nothing_is_told),
        cmocka_unit_test(test_patience__notices_who_must_share_a_processor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
