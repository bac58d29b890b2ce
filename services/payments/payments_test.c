#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "payments.h"

static void test_payments__cost_is_price_times_time_within_the_budget(void **state)
{
    (void)state;
    int64_t cost = -1;
    assert_int_equal(cyx_payments_cost(3600000, 1500, 1000000, &cost), CYX_OK);
    assert_int_equal(cost, 1500);
    assert_int_equal(cyx_payments_cost(1, 3599999, 10, &cost), CYX_OK);
    assert_int_equal(cost, 0); /* rounded down */
    assert_int_equal(cyx_payments_cost(INT64_MAX, INT64_MAX, 77, &cost), CYX_OK);
    assert_int_equal(cost, 77); /* no overflow on the way */
    assert_int_equal(cyx_payments_cost(-1, 1, 1, &cost), CYX_ERR_INVALID);
    assert_int_equal(cyx_payments_cost(1, -1, 1, &cost), CYX_ERR_INVALID);
}

static void test_payments__shares_sum_to_the_cost_and_the_fee_is_rounded_down(void **state)
{
    (void)state;
    const int64_t costs[] = {0, 1, 9, 10, 11, 99, 1000000007, INT64_MAX};
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
        struct cyx_payments_shares shares = cyx_payments_split(costs[i]);
        assert_int_equal(shares.platform_base_units, costs[i] / 10);
        assert_int_equal(shares.node_base_units + shares.platform_base_units, costs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payments__cost_is_price_times_time_within_the_budget),
        cmocka_unit_test(test_payments__shares_sum_to_the_cost_and_the_fee_is_rounded_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
