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

static void test_payments__several_nodes_share_to_the_last_unit(void **state)
{
    (void)state;
    struct cyx_payments_work works[] = {
        {3600000, 1000, 0}, {7200000, 1000, 0}, {3600000, 999, 0}, {0, 5000, 0}};
    int64_t cost = -1, sum = 0;
    assert_int_equal(cyx_payments_cost_of_all(works, 4, 1000000, &cost), CYX_OK);
    assert_int_equal(cost, 1000 + 2000 + 999);
    int64_t pot = cyx_payments_split(cost).node_base_units; /* 3999 - 399 */
    cyx_payments_share_out(pot, works, 4);
    for (int i = 0; i < 4; i++)
        sum += works[i].share_base_units;
    assert_int_equal(sum, pot);
    assert_int_equal(works[0].share_base_units, 900);
    assert_int_equal(works[1].share_base_units, 1800);
    assert_int_equal(works[2].share_base_units,
                     900); /* of 899.1 and what the others' rounding left */
    assert_int_equal(works[3].share_base_units, 0);

    assert_int_equal(cyx_payments_cost_of_all(works, 4, 100, &cost), CYX_OK);
    assert_int_equal(cost, 100); /* the budget is all there is */
    for (int64_t amount = 0; amount < 50; amount++) {
        cyx_payments_share_out(amount, works, 4);
        sum = 0;
        for (int i = 0; i < 4; i++) {
            assert_true(works[i].share_base_units >= 0);
            sum += works[i].share_base_units;
        }
        assert_int_equal(sum, amount);
    }
    struct cyx_payments_work huge[] = {
        {INT64_MAX, INT64_MAX, 0}, {INT64_MAX, INT64_MAX, 0}, {INT64_MAX, INT64_MAX, 0}};
    assert_int_equal(cyx_payments_cost_of_all(huge, 3, INT64_MAX, &cost), CYX_OK);
    assert_int_equal(cost, INT64_MAX);
    cyx_payments_share_out(INT64_MAX, huge, 3);
    assert_int_equal(huge[0].share_base_units + huge[1].share_base_units + huge[2].share_base_units,
                     INT64_MAX);
    assert_int_equal(huge[0].share_base_units, INT64_MAX / 3);
    works[0].device_ms = -1;
    assert_int_equal(cyx_payments_cost_of_all(works, 4, 100, &cost), CYX_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payments__cost_is_price_times_time_within_the_budget),
        cmocka_unit_test(test_payments__several_nodes_share_to_the_last_unit),
        cmocka_unit_test(test_payments__shares_sum_to_the_cost_and_the_fee_is_rounded_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
