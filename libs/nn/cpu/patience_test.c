/* Waiting threads spin on an idle machine, and sleep early beside others. */
#include <pthread.h>
#include <semaphore.h>
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

/* After a window that ended `now_ms` with this share, where the last busy one ended at 1000 ms. */
static bool holds(bool held, double share, int64_t now_ms)
{
    int64_t idle_since = 1000 * NS_A_MS;
    return cpu_patience_rule(held, share, now_ms * NS_A_MS, &idle_since);
}

static void test_patience__is_given_up_after_idle_windows_only(void **state)
{
    (void)state;
    assert_true(holds(true, 0.05, 1050));
    assert_false(holds(true, 0.05, 1100));
    assert_true(holds(true, 0.25, 1100)); /* not idle */
    assert_true(holds(true, 0.5, 1100));
    assert_true(holds(true, -1.0, 1100)); /* nothing is told */
}

static void test_patience__comes_back_with_the_first_busy_window(void **state)
{
    (void)state;
    assert_false(holds(false, 0.05, 1050));
    assert_false(holds(false, 0.25, 1050)); /* neither idle nor busy: as it was */
    assert_true(holds(false, 0.4, 1050));
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

struct member {
    struct cpu_patience *patience;
    sem_t watched, wake;
};

/* Sleeps, which is no waiting for a processor, and then is as busy as the others. */
static void *sleep_then_burn(void *context)
{
    struct member *member = context;
    cpu_patience_watch(member->patience, 0);
    sem_post(&member->watched);
    sem_wait(&member->wake);
    return burn(context);
}

/* Observes until waiting threads sleep early, or no longer do. */
static bool becomes(struct cpu_patience *patience, bool held)
{
    int64_t end = cyx_clock_monotonic_ns() + 10000 * NS_A_MS;
    while (cyx_clock_monotonic_ns() < end && cpu_patience_held(patience) != held)
        cpu_patience_observe(patience);
    return cpu_patience_held(patience) == held;
}

/* Then three busy threads for each processor: whoever runs beside them waits for most of the time. */
static void test_patience__is_given_up_by_idle_members_and_back_with_busy_ones(void **state)
{
    (void)state;
    enum { THREADS_LIMIT = 256 };
    pthread_t threads[THREADS_LIMIT];
    int n = 3 * omp_get_num_procs() + 1;
    n = n < THREADS_LIMIT ? n : THREADS_LIMIT;
    struct member member = {.patience = cpu_patience_create(1)};
    assert_non_null(member.patience);
    assert_true(cpu_patience_held(member.patience));
    sem_init(&member.watched, 0, 0);
    sem_init(&member.wake, 0, 0);
    assert_int_equal(pthread_create(&threads[0], NULL, sleep_then_burn, &member), 0);
    sem_wait(&member.watched);
    bool given_up = becomes(member.patience, false);
    for (int i = 1; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, burn, NULL), 0);
    sem_post(&member.wake);
    bool back = becomes(member.patience, true);
    double share = cpu_patience_share(member.patience);
    atomic_store(&enough, true);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    assert_true(given_up);
    assert_true(back);
    assert_true(share > 0.3);
    cpu_patience_destroy(member.patience);
    sem_destroy(&member.watched);
    sem_destroy(&member.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patience__is_given_up_after_idle_windows_only),
        cmocka_unit_test(test_patience__comes_back_with_the_first_busy_window),
        cmocka_unit_test(test_patience__stays_where_nothing_is_told),
        cmocka_unit_test(test_patience__is_given_up_by_idle_members_and_back_with_busy_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
