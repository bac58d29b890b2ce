/*
 * Jobs of several nodes in the running scheduler: all or none, one for all and all for one. As service_test.c: real
 * processes, real servers, workers that speak the protocol and train nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "world.h"

enum { A_PASS_MS = 700 }; /* of the matcher, with room */

static json_t *gang_spec(const char *name, int nodes, const char *priority)
{
    json_t *made = spec(name);
    json_object_set_new(made, "resources", json_pack("{s:i}", "nodes", nodes));
    json_object_set_new(made, "priority", json_string(priority));
    return made;
}

static void submit_gang(const char *name, int nodes, const char *priority,
                        char ret_id[CYX_ID_BYTES])
{
    submit(gang_spec(name, nodes, priority), ret_id);
    hold(ret_id);
}

static void submit_low(const char *name, char ret_id[CYX_ID_BYTES])
{
    submit(gang_spec(name, 1, "low"), ret_id);
    hold(ret_id);
}

static void run_sql(const char *sql, const char *parameter)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_error err = {0};
    assert_int_equal(cyx_db_take(db, &conn, &err), CYX_OK);
    enum cyx_status status = cyx_db_query(conn, sql, NULL, &err, CYX_DB_TEXT(parameter));
    cyx_db_give(conn);
    if (status != CYX_OK)
        fail_msg("%s: %s", sql, err.message);
}

static void a_moment(int64_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static int64_t open_assignments(void)
{
    return number("select count(*) from assignment where ended_at is null", NULL);
}

static void wait_number(const char *sql, const char *parameter, int64_t wanted)
{
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (number(sql, parameter) != wanted) {
        if (cyx_clock_monotonic_ns() > until_ns)
            fail_msg("%s: %lld, not %lld", sql, (long long)number(sql, parameter),
                     (long long)wanted);
        a_moment(5);
    }
}

/* A member: its worker and what it holds. They are put in the order of their ranks. */
struct member {
    struct worker *worker;
    struct claim claim;
};

static int by_token(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return x->claim.token < y->claim.token ? 1 : -1;
}

static void take_offers(struct member *members, int count, const char *job_id)
{
    for (int i = 0; i < count; i++) {
        members[i].claim = worker_wait_offer(members[i].worker, WAIT_MS);
        assert_string_equal(members[i].claim.job_id, job_id);
    }
    qsort(members, (size_t)count, sizeof(*members), by_token);
    for (int i = 1; i < count; i++)
        assert_int_equal(members[i].claim.token, members[0].claim.token - i);
}

static void accept(struct member *member)
{
    worker_holds(member->worker, &member->claim);
    json_decref(
        ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(member->worker, &member->claim), CYX_OK));
}

static void accept_all(struct member *members, int count, const char *job_id)
{
    take_offers(members, count, job_id);
    for (int i = 0; i < count; i++)
        accept(&members[i]);
    expect_state(job_id, "running");
}

static void say(struct member *member, const char *outcome, const char *error,
                enum cyx_status expected)
{
    json_decref(ask(bus, CYX_SVC_SCHEDULER_FINISH,
                    finish_json(member->worker, &member->claim, outcome, error), expected));
}

/* The others were told, and hold it no more. */
static void expect_stopped(struct member *member)
{
    struct cyx_error err = {0};
    struct claim told = worker_wait_cancel(member->worker, WAIT_MS);
    assert_int_equal(told.token, member->claim.token);
    ask_error(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(member->worker, &member->claim, 9),
              CYX_ERR_CONFLICT, &err);
    worker_holds(member->worker, &(struct claim){.token = 0});
}

static void let_go(struct member *member)
{
    worker_holds(member->worker, &(struct claim){.token = 0});
}

static bool checkpoint(struct member *member, int step)
{
    json_t *body = progress_json(member->worker, &member->claim, step);
    json_object_set_new(body, "checkpoint",
                        json_pack("{s:s, s:i, s:i}", "sha256", sha, "bytes", 77, "step", step));
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_PROGRESS, body, CYX_OK);
    bool cancel = json_is_true(json_object_get(reply, "cancel"));
    json_decref(reply);
    return cancel;
}

static void expect_ended_causes(const char *job_id, const char *const *causes, size_t count)
{
    json_t *job = get_job(job_id);
    const json_t *members = json_object_get(json_object_get(job, "gang"), "members");
    assert_int_equal(json_array_size(members), count);
    for (size_t i = 0; i < count; i++)
        expect_text(json_array_get(members, i), "ended_cause", causes[i]);
    json_decref(job);
}

static void test_gang__ends_with_its_first_members_result(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct member m[3] = {{.worker = new_worker("one", false)},
                          {.worker = new_worker("two", false)}};
    submit_gang("three", 3, "normal", id);
    expect_pending_for(id, "too-few-nodes", "needs 3 nodes at once; 2 fit");
    a_moment(A_PASS_MS);
    assert_int_equal(open_assignments(), 0);
    m[2].worker = new_worker("three", false);
    take_offers(m, 3, id);
    accept(&m[2]);
    accept(&m[0]);
    accept(&m[0]); /* its answer was lost */
    expect_state(id, "assigned");
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(m[1].worker, &m[1].claim, "done", NULL),
              CYX_ERR_CONFLICT, &err); /* it has not even accepted */
    accept(&m[1]);
    expect_state(id, "running");
    json_t *quota =
        ask(bus, CYX_SVC_SCHEDULER_QUOTA, json_pack("{s:s}", "account_id", account), CYX_OK);
    assert_int_equal(json_number_value(json_object_get(
                         json_object_get(json_object_get(quota, "quota"), "running_jobs"), "used")),
                     1); /* one job, not three */
    json_decref(quota);
    assert_false(checkpoint(&m[0], 20));
    assert_false(checkpoint(&m[1], 30)); /* not its to give: passed over */
    json_t *job = get_job(id);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(job, "checkpoint"), "step")), 20);
    json_decref(job);

    ask_error(bus, CYX_SVC_SCHEDULER_FINISH,
              finish_json(m[1].worker, &m[1].claim, "completed", NULL), CYX_ERR_CONFLICT, &err);
    assert_non_null(strstr(err.message, "first member"));
    say(&m[0], "done", NULL, CYX_ERR_CONFLICT);
    say(&m[2], "done", NULL, CYX_OK);
    say(&m[2], "done", NULL, CYX_OK); /* said again */
    let_go(&m[2]);
    expect_state(id, "running");
    assert_int_equal(open_assignments(), 2);
    let_go(&m[0]);
    say(&m[0], "completed", NULL, CYX_OK);
    expect_state(id, "completed");
    assert_int_equal(open_assignments(), 0);
    say(&m[1], "done", NULL, CYX_OK); /* a little late: it is no fault */
    expect_ended_causes(id, FIELDS("completed", "worker-completed", "done"), 3);
    expect_stopped(&m[1]);

    job = get_job(id);
    const json_t *gang = json_object_get(job, "gang"), *paid = json_object_get(gang, "paid");
    assert_int_equal(json_array_size(paid), 3);
    int64_t sum = 0;
    for (size_t i = 0; i < 3; i++)
        sum += json_integer_value(json_object_get(json_array_get(paid, i), "device_ms"));
    assert_true(sum > 0);
    assert_int_equal(json_integer_value(json_object_get(job, "device_ms")), sum);
    expect_text(json_array_get(paid, 0), "price_per_hour", "1 CYX");
    expect_text(job, "node_id", worker_id(m[0].worker));
    const json_t *assigned = json_array_get(json_object_get(job, "transitions"), 1);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(
            json_string_value(json_array_get(json_object_get(assigned, "members"), i)),
            worker_id(m[i].worker));
    json_decref(job);
    assert_int_equal(number("select count(*) from node where good = 1 and id::text <> $1",
                            worker_id(m[1].worker)),
                     2);
    for (int i = 0; i < 3; i++)
        retire(m[i].worker);
}

static void test_gang__the_database_refuses_a_part_of_one(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_db_conn *conn = NULL;
    struct cyx_error err = {0};
    submit(gang_spec("partial", 2, "normal"), id); /* never funded: nobody else takes it */
    assert_int_equal(cyx_db_take(db, &conn, &err), CYX_OK);
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into assignment (job_id, token, node_id, boot_id, account_id, lease_until, rank, "
        "members) select id, 2, gen_random_uuid(), gen_random_uuid(), account_id, now(), 0, 2 "
        "from job where id = $1",
        NULL, &err, CYX_DB_TEXT(id));
    cyx_db_give(conn);
    assert_int_not_equal(status, CYX_OK);
    assert_non_null(strstr(err.message, "together or not at all"));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
}

static void test_gang__what_befalls_one_befalls_all(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct member m[2] = {{.worker = new_worker("one", false)},
                          {.worker = new_worker("two", false)}};
    submit_gang("fails", 2, "normal", id);
    accept_all(m, 2, id);
    assert_false(checkpoint(&m[0], 40));
    let_go(&m[1]);
    say(&m[1], "failed", "unavailable", CYX_OK); /* its own, and the attempt's end */
    wait_event(id, 1, "queued", "worker-failed");
    expect_stopped(&m[0]);
    expect_ended_causes(id, FIELDS("worker-failed", "failed"), 2);
    assert_int_equal(open_assignments(), 0);

    int64_t before = m[0].claim.token;
    take_offers(m, 2, id);
    assert_true(m[1].claim.token > before);
    worker_holds(m[0].worker, &m[0].claim);
    json_t *accepted =
        ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(m[1].worker, &m[1].claim), CYX_OK);
    expect_text(json_object_get(accepted, "checkpoint"), "sha256", sha); /* for each of them */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(accepted, "gang"), "rank")),
                     1);
    json_decref(accepted);
    worker_holds(m[1].worker, &m[1].claim);
    /* The first one never accepts: its offer runs out, and the other is let go. */
    wait_event(id, 1, "queued", "offer-expired");
    expect_stopped(&m[1]);
    let_go(&m[0]);
    wait_number("select count(*) from node where online and rests_until > clock_timestamp()", NULL,
                0);
    accept_all(m, 2, id);
    worker_restart(m[1].worker);
    const json_t *event = watch_wait(
        events, 1, WAIT_MS,
        FIELDS("job_id", id, "from", "running", "to", "queued", "cause", "node-restarted"));
    assert_non_null(event);
    assert_int_equal(number("select count(*) from job_transition where job_id = $1 and cause = "
                            "'node-restarted' and node_id is not null and token = "
                            "(select max(token) - 1 from assignment where job_id = $1 and "
                            "ended_cause = 'node-restarted')",
                            id),
                     1); /* whom it befell */
    expect_stopped(&m[0]);
    take_offers(m, 2, id);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
    assert_int_equal(open_assignments(), 0);
    for (int i = 0; i < 2; i++)
        retire(m[i].worker);
}

static void test_gang__a_cancel_is_told_to_all(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct member m[2] = {{.worker = new_worker("one", false)},
                          {.worker = new_worker("two", false)}};
    submit_gang("cancelled", 2, "normal", id);
    accept_all(m, 2, id);
    expect_outcome(id, "cancelling");
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_wait_cancel(m[i].worker, WAIT_MS).token, m[i].claim.token);
    let_go(&m[1]);
    say(&m[1], "cancelled", NULL, CYX_OK); /* whoever stops first */
    expect_state(id, "cancelled");
    assert_int_equal(open_assignments(), 0);
    for (int i = 0; i < 2; i++)
        retire(m[i].worker);
}

static void test_gang__two_never_hold_half_each(void **state)
{
    (void)state;
    char first[CYX_ID_BYTES], second[CYX_ID_BYTES];
    struct member m[3];
    submit_gang("first", 2, "normal", first);
    submit_gang("second", 2, "normal", second);
    for (int i = 0; i < 3; i++)
        m[i] = (struct member){.worker = new_worker(i == 0 ? "a" : i == 1 ? "b" : "c", false)};
    wait_number("select count(*) from assignment where ended_at is null", NULL, 2);
    a_moment(A_PASS_MS);
    assert_int_equal(open_assignments(), 2); /* the third node waits: half a gang is none */
    assert_int_equal(
        number("select count(distinct job_id) from assignment where ended_at is null", NULL), 1);
    bool is_first = number("select count(*) from assignment where ended_at is null and job_id = $1",
                           first) == 2;
    const char *runs = is_first ? first : second, *waits = is_first ? second : first;
    expect_pending_for(waits, "too-few-nodes",
                       "needs 2 nodes at once; 3 fit, and 1 of them is free now");
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(runs), CYX_OK));
    wait_number("select count(*) from assignment where ended_at is null and job_id = $1", waits, 2);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(waits), CYX_OK));
    for (int i = 0; i < 3; i++)
        retire(m[i].worker);
}

/* Without patience each node that becomes free would go to the next small job. */
static void test_gang__one_that_waited_long_gets_its_nodes(void **state)
{
    (void)state;
    char gang[CYX_ID_BYTES], small[4][CYX_ID_BYTES], dear[CYX_ID_BYTES];
    struct member m[2] = {{.worker = new_worker("one", false)},
                          {.worker = new_worker("two", false)}};
    for (int i = 0; i < 2; i++)
        submit_funded("small", small[i]);
    for (int i = 0; i < 2; i++) {
        m[i].claim = worker_wait_offer(m[i].worker, WAIT_MS);
        accept(&m[i]);
    }
    submit_gang("patient", 2, "normal", gang);
    /* One that could never be placed keeps nothing from anybody. */
    submit_gang("hopeless", 8, "normal", dear);
    run_sql("update job set created_at = created_at - interval '1 day' where id = $1", dear);
    for (int i = 2; i < 4; i++)
        submit_funded("small", small[i]);
    let_go(&m[0]);
    say(&m[0], "completed", NULL, CYX_OK);
    m[0].claim = worker_wait_offer(m[0].worker, WAIT_MS); /* a small one: the gang is young */
    accept(&m[0]);
    run_sql("update job set created_at = created_at - interval '1 hour' where id = $1", gang);
    let_go(&m[0]);
    say(&m[0], "completed", NULL, CYX_OK);
    a_moment(A_PASS_MS);
    assert_int_equal(open_assignments(), 1); /* kept */
    expect_pending_for(gang, "too-few-nodes",
                       "needs 2 nodes at once; 2 fit, and 1 of them is free now");
    const char *waiting = number("select (state = 'queued')::int from job where id = $1", small[2])
                              ? small[2]
                              : small[3];
    expect_pending_for(waiting, "all-nodes-busy", "kept for job");
    expect_pending_for(waiting, "all-nodes-busy", gang);
    let_go(&m[1]);
    say(&m[1], "completed", NULL, CYX_OK);
    accept_all(m, 2, gang);
    for (int i = 0; i < 2; i++)
        let_go(&m[i]);
    say(&m[0], "completed", NULL, CYX_OK);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(waiting), CYX_OK));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(dear), CYX_OK));
    for (int i = 0; i < 2; i++)
        retire(m[i].worker);
}

static void wait_marks(const char *for_job_id, int64_t wanted)
{
    wait_number("select count(*) from assignment where ended_at is null and preempt_for = $1",
                for_job_id, wanted);
}

static void test_gang__makes_way_and_is_made_way_for(void **state)
{
    (void)state;
    char low[CYX_ID_BYTES], high[CYX_ID_BYTES], single[CYX_ID_BYTES];
    struct member m[2] = {{.worker = new_worker("one", false)},
                          {.worker = new_worker("two", false)}};
    submit_gang("low gang", 2, "low", low);
    accept_all(m, 2, low);
    a_moment(HEARTBEAT_MS + 200);
    submit(gang_spec("high", 1, "high"), single);
    hold(single);
    wait_marks(single, 1);
    assert_int_equal(
        number("select count(*) from assignment where preempt_for = $1 and rank = 0", single), 1);
    assert_true(checkpoint(&m[0], 12)); /* its first member saves it, and ends it for all */
    let_go(&m[0]);
    say(&m[0], "cancelled", NULL, CYX_OK);
    wait_event(low, 1, "queued", "preempted");
    expect_stopped(&m[1]);
    wait_number("select count(*) from assignment where ended_at is null and job_id = $1", single,
                1);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(single), CYX_OK));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(low), CYX_OK));
    for (int i = 0; i < 2; i++)
        retire(m[i].worker);

    struct member n[2] = {{.worker = new_worker("three", false)},
                          {.worker = new_worker("four", false)}};
    char lows[2][CYX_ID_BYTES];
    for (int i = 0; i < 2; i++)
        submit_low("low", lows[i]);
    for (int i = 0; i < 2; i++) {
        n[i].claim = worker_wait_offer(n[i].worker, WAIT_MS);
        accept(&n[i]);
    }
    a_moment(HEARTBEAT_MS + 200);
    submit_gang("high gang", 2, "high", high);
    wait_marks(high, 2); /* both make way, and no third is asked */
    for (int i = 0; i < 2; i++) {
        assert_true(checkpoint(&n[i], 5));
        let_go(&n[i]);
        say(&n[i], "cancelled", NULL, CYX_OK);
    }
    accept_all(n, 2, high); /* the first that was free was kept from the low ones that wait again */
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(high), CYX_OK));
    let_go(&n[0]);
    say(&n[0], "cancelled", NULL, CYX_OK);
    for (int i = 0; i < 2; i++) {
        json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(lows[i]), CYX_OK));
        retire(n[i].worker);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gang__ends_with_its_first_members_result),
        cmocka_unit_test(test_gang__the_database_refuses_a_part_of_one),
        cmocka_unit_test(test_gang__what_befalls_one_befalls_all),
        cmocka_unit_test(test_gang__a_cancel_is_told_to_all),
        cmocka_unit_test(test_gang__two_never_hold_half_each),
        cmocka_unit_test(test_gang__one_that_waited_long_gets_its_nodes),
        cmocka_unit_test(test_gang__makes_way_and_is_made_way_for),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
