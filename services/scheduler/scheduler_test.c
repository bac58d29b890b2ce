#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "scheduler.h"

static const struct cyx_sched_policy *policy(void)
{
    static struct cyx_sched_policy made;
    made = cyx_sched_policy_default(2000);
    return &made;
}

/*
 * One row a state, one letter an event in the order of enum cyx_sched_event: the state that it leads to
 * (q a r c f x = cancelled), '.' when it is allowed and moves nothing, '-' when it is refused.
 *
 *   ASSIGN ACCEPT COMPLETE FAIL STOP HAND_BACK CANCEL REFUSE OFFER LEASE OFFLINE RESTARTED DEADLINE BREAK
 */
static const char *const expected_plain[CYX_SCHED_STATE_COUNT] = {
    /* queued    */ "a-----xf----ff",
    /* assigned  */ "-r-q-qx-qqqqf-",
    /* running   */ "--cqqq.--qqqf-",
    /* completed */ "------.-------",
    /* failed    */ "------.-------",
    /* cancelled */ "------.-------",
};
/* The same when the user has asked to cancel: what would be queued again is cancelled instead. */
static const char *const expected_cancelling[CYX_SCHED_STATE_COUNT] = {
    "a-----xf----ff", "-r-x-xx-xxxxf-", "--cxxx.--xxxf-",
    "------.-------", "------.-------", "------.-------",
};

static void check_matrix(const char *const rows[CYX_SCHED_STATE_COUNT], bool cancel_requested)
{
    static const char letters[] = "qarcfx";
    for (int state = 0; state < CYX_SCHED_STATE_COUNT; state++) {
        assert_int_equal(strlen(rows[state]), CYX_SCHED_EVENT_COUNT);
        for (int event = 0; event < CYX_SCHED_EVENT_COUNT; event++) {
            struct cyx_sched_facts facts = {.state = (enum cyx_sched_state)state,
                                            .funded = true,
                                            .cancel_requested = cancel_requested,
                                            .failure = CYX_ERR_UNAVAILABLE};
            struct cyx_sched_change change = {0};
            struct cyx_error err = {0};
            enum cyx_status status =
                cyx_sched_apply(&facts, (enum cyx_sched_event)event, policy(), &change, &err);
            char got = status == CYX_ERR_CONFLICT ? '-'
                       : status != CYX_OK         ? '?'
                       : change.moves             ? letters[change.to]
                                                  : '.';
            if (got != rows[state][event])
                fail_msg("%s, event %d: expected '%c', got '%c'", cyx_sched_state_name(facts.state),
                         event, rows[state][event], got);
            if (got == '-')
                assert_true(strlen(err.message) > 10);
            else if (change.moves)
                assert_non_null(change.cause);
            if (change.moves && change.to == CYX_SCHED_FAILED && event != CYX_SCHED_FAIL)
                assert_non_null(change.error_message);
        }
    }
}

static void test_scheduler__every_state_and_event(void **state)
{
    (void)state;
    check_matrix(expected_plain, false);
    check_matrix(expected_cancelling, true);
}

static void test_scheduler__ended_states_only_answer_cancel(void **state)
{
    (void)state;
    for (int s = CYX_SCHED_COMPLETED; s <= CYX_SCHED_CANCELLED; s++) {
        struct cyx_sched_facts facts = {.state = (enum cyx_sched_state)s};
        struct cyx_sched_change change;
        assert_true(cyx_sched_state_ended(facts.state));
        assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_CANCEL, policy(), &change, NULL),
                         CYX_OK);
        assert_false(change.moves || change.ends_assignment || change.tells_worker);
        assert_int_equal(change.outcome, CYX_SCHED_OUTCOME_ENDED);
    }
}

static void test_scheduler__cancel_outcomes(void **state)
{
    (void)state;
    static const struct {
        enum cyx_sched_state from;
        enum cyx_sched_outcome outcome;
        bool tells, ends;
    } cases[] = {
        {CYX_SCHED_QUEUED, CYX_SCHED_OUTCOME_CANCELLED, false, false},
        {CYX_SCHED_ASSIGNED, CYX_SCHED_OUTCOME_CANCELLED, true, true},
        {CYX_SCHED_RUNNING, CYX_SCHED_OUTCOME_CANCELLING, true, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cyx_sched_facts facts = {.state = cases[i].from};
        struct cyx_sched_change change;
        assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_CANCEL, policy(), &change, NULL),
                         CYX_OK);
        assert_int_equal(change.outcome, cases[i].outcome);
        assert_int_equal(change.tells_worker, cases[i].tells);
        assert_int_equal(change.ends_assignment, cases[i].ends);
    }
}

static void test_scheduler__is_not_assigned_before_it_is_funded(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {.state = CYX_SCHED_QUEUED, .funded = false};
    struct cyx_sched_change change;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_ASSIGN, policy(), &change, NULL),
                     CYX_ERR_CONFLICT);
}

/* Failures: which may pass, how often and after which pause a job is tried again. */
static void test_scheduler__retries_what_may_pass(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {.state = CYX_SCHED_RUNNING, .failure = CYX_ERR_IO};
    const int64_t pauses[] = {4000, 8000};
    struct cyx_sched_change change;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_FAIL, policy(), &change, NULL), CYX_OK);
        assert_int_equal(change.to, CYX_SCHED_QUEUED);
        assert_int_equal(change.retry_after_ms, pauses[i]);
        facts.failures = change.failures;
        facts.requeues = change.requeues;
    }
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_FAIL, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_FAILED);
    assert_int_equal(change.error, CYX_OK); /* the worker's own error stands */
    assert_int_equal(change.failures, 3);
}

/* The spec's own limit of attempts wins over the policy's. */
static void test_scheduler__retries_as_often_as_the_user_says(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {
        .state = CYX_SCHED_RUNNING, .failure = CYX_ERR_IO, .attempts_limit = 1};
    struct cyx_sched_change change;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_FAIL, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_FAILED);
    facts.attempts_limit = 5;
    facts.failures = 3;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_FAIL, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_QUEUED);
}

/* Making way is no fault of the job: it does not count towards the limit of requeues. */
static void test_scheduler__makes_way_without_being_counted(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {.state = CYX_SCHED_RUNNING, .preempted = true, .requeues = 10};
    struct cyx_sched_change change;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_STOP, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_QUEUED);
    assert_string_equal(change.cause, "preempted");
    assert_true(change.preempted && change.ends_assignment);
    assert_int_equal(change.requeues, 10);
    facts.cancel_requested = true; /* the user's wish comes first */
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_STOP, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_CANCELLED);
}

static void test_scheduler__does_not_retry_what_stays_wrong(void **state)
{
    (void)state;
    for (int failure = CYX_ERR_INVALID; failure < CYX_STATUS_COUNT; failure++) {
        struct cyx_sched_facts facts = {.state = CYX_SCHED_RUNNING,
                                        .failure = (enum cyx_status)failure};
        struct cyx_sched_change change;
        assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_FAIL, policy(), &change, NULL), CYX_OK);
        assert_true(change.ends_assignment);
        assert_int_equal(change.to, cyx_sched_failure_may_pass(facts.failure) ? CYX_SCHED_QUEUED
                                                                              : CYX_SCHED_FAILED);
    }
    assert_false(cyx_sched_failure_may_pass(CYX_ERR_INVALID));
    assert_false(cyx_sched_failure_may_pass(CYX_ERR_UNSUPPORTED));
    assert_true(cyx_sched_failure_may_pass(CYX_ERR_NO_MEMORY));
    assert_true(cyx_sched_failure_may_pass(CYX_ERR_INTERNAL));
}

/* Nor is a worker that goes: a fleet that is updated node by node may hand a long job on twenty times. */
static void test_scheduler__a_hand_back_counts_no_requeue(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {.state = CYX_SCHED_RUNNING, .requeues = 10};
    struct cyx_sched_change change;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_HAND_BACK, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_QUEUED);
    assert_string_equal(change.cause, "handed-back");
    assert_int_equal(change.requeues, 10);
    assert_false(change.preempted);
    assert_true(change.ends_assignment);
    facts.cancel_requested = true;
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_HAND_BACK, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_CANCELLED);
    /* Nor one that declines an offer, since it goes: taking the job and handing it back would have been free too. */
    facts = (struct cyx_sched_facts){.state = CYX_SCHED_ASSIGNED, .requeues = 3};
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_HAND_BACK, policy(), &change, NULL), CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_QUEUED);
    assert_int_equal(change.requeues, 3);
}

/* A node that goes takes what it trains along, which counts; not what it was only offered. */
static void test_scheduler__an_offer_to_a_node_that_goes_counts_no_requeue(void **state)
{
    (void)state;
    const enum cyx_sched_event goes[] = {CYX_SCHED_NODE_OFFLINE, CYX_SCHED_NODE_RESTARTED};
    for (size_t i = 0; i < 2; i++) {
        struct cyx_sched_facts facts = {.state = CYX_SCHED_ASSIGNED, .requeues = 10};
        struct cyx_sched_change change;
        assert_int_equal(cyx_sched_apply(&facts, goes[i], policy(), &change, NULL), CYX_OK);
        assert_int_equal(change.to, CYX_SCHED_QUEUED);
        assert_int_equal(change.requeues, 10);
        assert_true(change.ends_assignment);
        facts.cancel_requested = true;
        assert_int_equal(cyx_sched_apply(&facts, goes[i], policy(), &change, NULL), CYX_OK);
        assert_int_equal(change.to, CYX_SCHED_CANCELLED);
        facts = (struct cyx_sched_facts){.state = CYX_SCHED_RUNNING, .requeues = 3};
        assert_int_equal(cyx_sched_apply(&facts, goes[i], policy(), &change, NULL), CYX_OK);
        assert_int_equal(change.requeues, 4);
    }
}

static void test_scheduler__ten_requeues_then_lease_lost(void **state)
{
    (void)state;
    struct cyx_sched_facts facts = {.state = CYX_SCHED_RUNNING};
    struct cyx_sched_change change;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_LEASE_EXPIRED, policy(), &change, NULL),
                         CYX_OK);
        assert_int_equal(change.to, CYX_SCHED_QUEUED);
        assert_int_equal(change.requeues, i);
        assert_int_equal(change.retry_after_ms, 0); /* at once */
        facts.requeues = change.requeues;
    }
    assert_int_equal(cyx_sched_apply(&facts, CYX_SCHED_NODE_OFFLINE, policy(), &change, NULL),
                     CYX_OK);
    assert_int_equal(change.to, CYX_SCHED_FAILED);
    assert_string_equal(change.cause, "lease-lost");
    assert_int_equal(change.error, CYX_ERR_UNAVAILABLE);
}

static void test_scheduler__offer_rest_doubles_up_to_a_minute(void **state)
{
    (void)state;
    assert_int_equal(cyx_sched_offer_rest_ms(policy(), 0), 0);
    assert_int_equal(cyx_sched_offer_rest_ms(policy(), 1), 2000);
    assert_int_equal(cyx_sched_offer_rest_ms(policy(), 3), 8000);
    assert_int_equal(cyx_sched_offer_rest_ms(policy(), 1000), 60000);
}

static void test_scheduler__names_go_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < CYX_SCHED_STATE_COUNT; i++) {
        enum cyx_sched_state back = CYX_SCHED_STATE_COUNT;
        assert_true(cyx_sched_state_parse(cyx_sched_state_name((enum cyx_sched_state)i), &back));
        assert_int_equal(back, i);
    }
    enum cyx_sched_state state_out;
    assert_false(cyx_sched_state_parse("paused", &state_out));
    assert_false(cyx_sched_state_parse(NULL, &state_out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler__every_state_and_event),
        cmocka_unit_test(test_scheduler__ended_states_only_answer_cancel),
        cmocka_unit_test(test_scheduler__cancel_outcomes),
        cmocka_unit_test(test_scheduler__is_not_assigned_before_it_is_funded),
        cmocka_unit_test(test_scheduler__retries_what_may_pass),
        cmocka_unit_test(test_scheduler__retries_as_often_as_the_user_says),
        cmocka_unit_test(test_scheduler__makes_way_without_being_counted),
        cmocka_unit_test(test_scheduler__does_not_retry_what_stays_wrong),
        cmocka_unit_test(test_scheduler__a_hand_back_counts_no_requeue),
        cmocka_unit_test(test_scheduler__an_offer_to_a_node_that_goes_counts_no_requeue),
        cmocka_unit_test(test_scheduler__ten_requeues_then_lease_lost),
        cmocka_unit_test(test_scheduler__offer_rest_doubles_up_to_a_minute),
        cmocka_unit_test(test_scheduler__names_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
