#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "contract/money.h"
#include "scheduler.h"

#define GIB (INT64_C(1) << 30)

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
 *   ASSIGN ACCEPT COMPLETE FAIL STOP HAND_BACK CANCEL REFUSE OFFER LEASE OFFLINE RESTARTED
 */
static const char *const expected_plain[CYX_SCHED_STATE_COUNT] = {
    /* queued    */ "a-----xf----",
    /* assigned  */ "-r-q-qx-q-qq",
    /* running   */ "--cqqq.--qqq",
    /* completed */ "------.-----",
    /* failed    */ "------.-----",
    /* cancelled */ "------.-----",
};
/* The same when the user has asked to cancel: what would be queued again is cancelled instead. */
static const char *const expected_cancelling[CYX_SCHED_STATE_COUNT] = {
    "a-----xf----", "-r-x-xx-x-xx", "--cxxx.--xxx", "------.-----", "------.-----", "------.-----",
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

static struct cyx_sched_node node(const char *id, int64_t cpu, int64_t gpu, int64_t soft,
                                  int64_t price)
{
    struct cyx_sched_node made = {.cpus = 4,
                                  .cpu_memory_bytes = cpu,
                                  .gpu_memory_bytes = gpu,
                                  .soft_memory_bytes = soft,
                                  .price_per_hour_base_units = price * CYX_MONEY_ONE};
    snprintf(made.id, sizeof(made.id), "%s", id);
    return made;
}

static void test_scheduler__fit(void **state)
{
    (void)state;
    const struct cyx_sched_node cpu = node("a", 8 * GIB, 0, 2 * GIB, 60);
    const struct cyx_sched_node gpu = node("b", 0, 16 * GIB, 0, 60);
    const struct cyx_sched_node soft = node("c", 0, 0, 2 * GIB, 60);
    struct cyx_sched_need need = {.memory_bytes = GIB, .budget_base_units = CYX_MONEY_ONE};

    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    assert_int_equal(cyx_sched_fit(&need, &gpu), CYX_SCHED_FITS);
    assert_int_equal(cyx_sched_fit(&need, &soft), CYX_SCHED_FITS);
    need.backend = CYX_SCHED_CPU;
    assert_int_equal(cyx_sched_fit(&need, &gpu), CYX_SCHED_NO_BACKEND);
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    need.backend = CYX_SCHED_VULKAN;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS); /* by its software device */
    need.memory_bytes = 4 * GIB;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_NO_MEMORY);
    need.backend = CYX_SCHED_ANY;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_FITS);
    need.threads = 5;
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_NO_THREADS);
    need.threads = 4;
    need.budget_base_units = CYX_MONEY_ONE - 1; /* a minute costs 1 CYX */
    assert_int_equal(cyx_sched_fit(&need, &cpu), CYX_SCHED_TOO_DEAR);
}

static void test_scheduler__match_prefers(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 2), node("n2", 8 * GIB, 0, 0, 1),
                                     node("n3", 8 * GIB, 8 * GIB, 0, 3),
                                     node("n4", 8 * GIB, 0, 0, 1)};
    struct cyx_sched_need need = {.memory_bytes = GIB, .budget_base_units = CYX_MONEY_ONE};
    assert_string_equal(cyx_sched_match(&need, nodes, 4)->id, "n3"); /* the GPU */
    need.backend = CYX_SCHED_CPU;
    assert_string_equal(cyx_sched_match(&need, nodes, 4)->id,
                        "n2"); /* cheapest, then smallest id */
    nodes[1].busy = true;
    assert_string_equal(cyx_sched_match(&need, nodes, 4)->id, "n4");
    snprintf(need.last_node_id, sizeof(need.last_node_id), "n4");
    assert_string_equal(cyx_sched_match(&need, nodes, 4)->id, "n1"); /* not where it ran last */
    nodes[0].busy = nodes[2].busy = true;
    assert_string_equal(cyx_sched_match(&need, nodes, 4)->id,
                        "n4"); /* unless nothing else will do */
    nodes[3].busy = true;
    assert_null(cyx_sched_match(&need, nodes, 4));
}

static void expect_pending(const struct cyx_sched_need *need, bool funded, int64_t wait_ms,
                           const struct cyx_sched_node *nodes, size_t count,
                           enum cyx_sched_pending_code code)
{
    struct cyx_sched_pending pending;
    cyx_sched_pending(need, funded, wait_ms, nodes, count, &pending);
    assert_string_equal(cyx_sched_pending_name(pending.code), cyx_sched_pending_name(code));
    assert_int_equal(pending.message[0] != '\0', code != CYX_SCHED_PENDING_NONE);
}

static void test_scheduler__pending_says_why(void **state)
{
    (void)state;
    struct cyx_sched_node nodes[] = {node("n1", 8 * GIB, 0, 0, 1), node("n2", 2 * GIB, 0, 0, 1)};
    struct cyx_sched_need need = {.memory_bytes = 4 * GIB, .budget_base_units = CYX_MONEY_ONE};
    expect_pending(&need, false, 0, nodes, 2, CYX_SCHED_AWAITING_ESCROW);
    expect_pending(&need, true, 500, nodes, 2, CYX_SCHED_RETRY_BACKOFF);
    expect_pending(&need, true, 0, NULL, 0, CYX_SCHED_NO_NODE_ONLINE);
    expect_pending(&need, true, 0, nodes, 2, CYX_SCHED_PENDING_NONE);
    nodes[0].busy = true; /* n2 is free, but too small */
    expect_pending(&need, true, 0, nodes, 2, CYX_SCHED_ALL_NODES_BUSY);
    need.memory_bytes = 100 * GIB;
    expect_pending(&need, true, 0, nodes, 2, CYX_SCHED_NO_NODE_FITS);

    struct cyx_sched_pending pending;
    cyx_sched_pending(&need, true, 0, nodes, 2, &pending);
    assert_non_null(strstr(pending.message, "100.0 GiB")); /* what would fit */
    assert_non_null(strstr(pending.message, "most: 8.0 GiB"));
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
    enum cyx_sched_backend backend;
    assert_false(cyx_sched_state_parse("paused", &state_out));
    assert_false(cyx_sched_state_parse(NULL, &state_out));
    assert_true(cyx_sched_backend_parse("vulkan", &backend));
    assert_int_equal(backend, CYX_SCHED_VULKAN);
    assert_false(cyx_sched_backend_parse("cuda", &backend));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler__every_state_and_event),
        cmocka_unit_test(test_scheduler__ended_states_only_answer_cancel),
        cmocka_unit_test(test_scheduler__cancel_outcomes),
        cmocka_unit_test(test_scheduler__is_not_assigned_before_it_is_funded),
        cmocka_unit_test(test_scheduler__retries_what_may_pass),
        cmocka_unit_test(test_scheduler__does_not_retry_what_stays_wrong),
        cmocka_unit_test(test_scheduler__ten_requeues_then_lease_lost),
        cmocka_unit_test(test_scheduler__offer_rest_doubles_up_to_a_minute),
        cmocka_unit_test(test_scheduler__fit),
        cmocka_unit_test(test_scheduler__match_prefers),
        cmocka_unit_test(test_scheduler__pending_says_why),
        cmocka_unit_test(test_scheduler__names_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
