#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "holders.h"

#define JOB "cyx.job.01935b1e-0000-7000-8000-00000000000a."
#define NODE "01935b1e-0000-7000-8000-0000000000b1"
#define OTHER "01935b1e-0000-7000-8000-0000000000b2"

static void test_holders__only_who_held_the_job_is_believed(void **state)
{
    (void)state;
    struct holders holders = {0};
    json_t *job = json_pack("{s:[{s:n}, {s:s}, {s:s}, {s:s}]}", "transitions", "node_id", "node_id",
                            NODE, "node_id", NODE, "node_id", "no id");
    assert_false(holders_may_tell(&holders, JOB "metrics." NODE));
    holders_take(&holders, job);
    assert_int_equal(holders.count, 1);
    assert_true(holders_may_tell(&holders, JOB "metrics." NODE));
    assert_true(holders_may_tell(&holders, JOB "log." NODE));
    assert_false(holders_may_tell(&holders, JOB "metrics." OTHER));
    assert_false(holders_may_tell(&holders, JOB "metrics"));
    json_decref(job);
}

static void test_holders__services_may_always_tell(void **state)
{
    (void)state;
    const struct holders nobody = {0};
    assert_true(holders_may_tell(&nobody, JOB "state"));
    assert_true(holders_may_tell(&nobody, JOB "log.service"));
}

static void test_holders__do_not_outgrow_their_table(void **state)
{
    (void)state;
    struct holders holders = {0};
    json_t *transitions = json_array();
    for (int i = 0; i < HOLDERS_LIMIT + 10; i++)
        json_array_append_new(
            transitions,
            json_pack("{s:o}", "node_id", json_sprintf("01935b1e-0000-7000-8000-%012d", i)));
    json_t *job = json_pack("{s:o}", "transitions", transitions);
    holders_take(&holders, job);
    assert_int_equal(holders.count, HOLDERS_LIMIT);
    json_decref(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holders__only_who_held_the_job_is_believed),
        cmocka_unit_test(test_holders__services_may_always_tell),
        cmocka_unit_test(test_holders__do_not_outgrow_their_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
