#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "contract/subjects.h"

static const char *const id = "01935b1e-0000-7000-8000-00000000000a";

static void test_subjects__are_made_of_valid_ids_only(void **state)
{
    (void)state;
    char subject[CYX_SUBJECT_BYTES];
    assert_int_equal(cyx_subject_node(subject, id, CYX_NODE_OFFER), CYX_OK);
    assert_string_equal(subject, "cyx.node.01935b1e-0000-7000-8000-00000000000a.offer");
    assert_int_equal(
        cyx_subject_job(subject, "01935B1E-0000-7000-8000-00000000000A", CYX_JOB_STATE), CYX_OK);
    assert_string_equal(subject, "cyx.job.01935b1e-0000-7000-8000-00000000000a.state");
    static const char *const bad[] = {"",
                                      "*",
                                      ">",
                                      "a.b",
                                      "01935b1e-0000-7000-8000-00000000000",
                                      "01935b1e-0000-7000-8000-0000000000.a",
                                      NULL};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cyx_subject_job(subject, bad[i], "log"), CYX_ERR_INVALID);
        assert_string_equal(subject, "");
    }
}

static void test_subjects__of_a_gang_name_job_attempt_and_ranks(void **state)
{
    (void)state;
    char subject[CYX_SUBJECT_BYTES];
    assert_int_equal(cyx_subject_gang(subject, id, 7, 2, 0), CYX_OK);
    assert_string_equal(subject, "cyx.gang.01935b1e-0000-7000-8000-00000000000a.7.2.0");
    assert_int_equal(cyx_subject_gang(subject, id, INT64_MAX, -1, 7), CYX_OK);
    assert_string_equal(subject,
                        "cyx.gang.01935b1e-0000-7000-8000-00000000000a.9223372036854775807.*.7");
    assert_int_equal(cyx_subject_gang(subject, "*", 1, 0, 1), CYX_ERR_INVALID);
    assert_string_equal(subject, "");
}

static void test_subjects__give_their_id_back(void **state)
{
    (void)state;
    char subject[CYX_SUBJECT_BYTES], back[CYX_ID_BYTES];
    assert_int_equal(cyx_subject_node(subject, id, CYX_NODE_HEARTBEAT), CYX_OK);
    assert_true(cyx_subject_id(subject, back));
    assert_string_equal(back, id);
    static const char *const bad[] = {"",
                                      "cyx",
                                      "cyx.node",
                                      "cyx.node..heartbeat",
                                      "cyx.node.me.heartbeat",
                                      "cyx.evt.job.queued",
                                      "abc.node.01935b1e-0000-7000-8000-00000000000a.heartbeat",
                                      "cyx.node.01935b1e-0000-7000-8000-00000000000a",
                                      "cyx.node.01935b1e.0000-7000-8000-00000000000a.x",
                                      NULL};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(cyx_subject_id(bad[i], back));
        assert_string_equal(back, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subjects__are_made_of_valid_ids_only),
        cmocka_unit_test(test_subjects__of_a_gang_name_job_attempt_and_ranks),
        cmocka_unit_test(test_subjects__give_their_id_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
