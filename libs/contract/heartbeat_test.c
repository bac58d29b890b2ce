#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract/heartbeat.h"
#include "contract/subjects.h"

enum { PERIOD = 2000 };

static struct cyx_heartbeat_gaps after(const int64_t *gaps, size_t n, int rounds)
{
    struct cyx_heartbeat_gaps seen = {0};
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < n; i++)
            cyx_heartbeat_note(&seen, gaps[i], PERIOD);
    return seen;
}

static int64_t deadline(const int64_t *gaps, size_t n, int rounds)
{
    const struct cyx_heartbeat_gaps seen = after(gaps, n, rounds);
    return cyx_heartbeat_deadline_ms(&seen, PERIOD);
}

static void test_heartbeat__first_gaps_are_those_of_the_rfc(void **state)
{
    (void)state;
    static const int64_t gaps[] = {2000, 4000};
    const struct cyx_heartbeat_gaps one = after(gaps, 1, 1), two = after(gaps, 2, 1);
    assert_true(one.mean_ms == 2000 && one.deviation_ms == 1000);
    assert_true(two.mean_ms == 2250 && two.deviation_ms == 1250); /* 7/8 and 1/8; 3/4 and 1/4 */
}

static void test_heartbeat__a_node_that_is_not_known_yet_has_five_periods(void **state)
{
    (void)state;
    const struct cyx_heartbeat_gaps none = {0};
    static const int64_t steady[] = {2000};
    assert_int_equal(cyx_heartbeat_deadline_ms(&none, PERIOD), PERIOD * CYX_HEARTBEATS_MISSED);
    assert_int_equal(deadline(steady, 1, CYX_HEARTBEAT_KNOWN - 1), PERIOD * CYX_HEARTBEATS_MISSED);
}

static void test_heartbeat__a_steady_node_is_missed_soon_and_a_ragged_one_waited_for(void **state)
{
    (void)state;
    static const int64_t steady[] = {2000, 2010, 1990}, ragged[] = {500, 500, 6000, 1000, 4000};
    int64_t of_steady = deadline(steady, 3, 20), of_ragged = deadline(ragged, 5, 20);
    assert_true(of_steady >= 4 * PERIOD && of_steady < 4 * PERIOD + 200);
    assert_true(of_ragged > 5 * PERIOD && of_ragged <= 15 * PERIOD);
    assert_true(of_ragged > 6000 + PERIOD); /* its own longest gap is no silence */
}

static void test_heartbeat__one_long_absence_is_forgotten(void **state)
{
    (void)state;
    static const int64_t steady[] = {2000};
    struct cyx_heartbeat_gaps seen = after(steady, 1, 50);
    cyx_heartbeat_note(&seen, INT64_C(86400000), PERIOD);
    assert_int_equal(cyx_heartbeat_deadline_ms(&seen, PERIOD), 15 * PERIOD);
    for (int i = 0; i < 60; i++)
        cyx_heartbeat_note(&seen, 2000, PERIOD);
    assert_true(cyx_heartbeat_deadline_ms(&seen, PERIOD) < 5 * PERIOD);
    cyx_heartbeat_note(&seen, -5, PERIOD); /* a clock that was set back */
    assert_true(cyx_heartbeat_deadline_ms(&seen, PERIOD) >= 4 * PERIOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heartbeat__first_gaps_are_those_of_the_rfc),
        cmocka_unit_test(test_heartbeat__a_node_that_is_not_known_yet_has_five_periods),
        cmocka_unit_test(test_heartbeat__a_steady_node_is_missed_soon_and_a_ragged_one_waited_for),
        cmocka_unit_test(test_heartbeat__one_long_absence_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
