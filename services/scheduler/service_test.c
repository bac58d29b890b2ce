/*
 * The scheduler as a process, on real PostgreSQL and NATS, with a real registry; workers speak the real protocol.
 * Run by tests/support/servers. Payments is played by the test, which publishes its events. What goes wrong
 * stands in faults_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "world.h"

static void test_scheduler__submit_to_finish(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("first", false);
    submit(spec("to the end"), id);
    expect_pending(id, "awaiting-escrow");
    hold(id);
    struct claim claim = worker_wait_offer(worker, WAIT_MS);
    assert_string_equal(claim.job_id, id);
    assert_int_equal(claim.token, 1);
    expect_state(id, "assigned");

    worker_holds(worker, &claim);
    json_t *accepted = ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &claim), CYX_OK);
    expect_text(accepted, "job_id", id);
    assert_int_equal(json_integer_value(json_object_get(accepted, "lease_ms")), LEASE_MS);
    expect_text(json_object_get(accepted, "spec"), "name", "to the end");
    assert_null(json_object_get(accepted, "checkpoint"));
    assert_non_null(strchr(json_string_value(json_object_get(accepted, "grant")), '.'));
    json_decref(accepted);
    /* Said again, since the answer may have been lost: the same, and no second transition. */
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &claim), CYX_OK));

    json_t *body = progress_json(worker, &claim, 200);
    json_object_set_new(body, "checkpoint",
                        json_pack("{s:s, s:i, s:i}", "sha256", sha, "bytes", 77, "step", 200));
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_PROGRESS, body, CYX_OK);
    assert_true(json_is_false(json_object_get(reply, "cancel")));
    json_decref(reply);
    json_t *job = get_job(id);
    expect_text(job, "state", "running");
    expect_text(job, "node_id", worker_id(worker));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(job, "progress"), "step")),
                     200);
    expect_text(json_object_get(job, "checkpoint"), "sha256", sha);
    assert_int_equal(json_integer_value(json_object_get(job, "parameters")), 235146);
    json_decref(job);

    finish(worker, &claim, "completed", NULL);
    finish(worker, &claim, "completed", NULL); /* idempotent by token */
    job = get_job(id);
    expect_text(job, "state", "completed");
    expect_text(job, "price_per_hour", "1 CYX");
    assert_int_equal(json_array_size(json_object_get(job, "transitions")), 4);
    assert_true(json_integer_value(json_object_get(job, "device_ms")) > 0);
    assert_float_equal(
        json_real_value(json_object_get(json_object_get(job, "result"), "test_accuracy")), 0.9125,
        0);
    assert_true(json_is_null(json_object_get(job, "error")));
    json_decref(job);
    static const char *const states[] = {"queued", "assigned", "running", "completed"};
    for (size_t i = 0; i < 4; i++) {
        const json_t *event = watch_wait(events, 1, WAIT_MS, FIELDS("job_id", id, "to", states[i]));
        expect_text(json_object_get(event, "job"), "state", states[i]);
        expect_text(event, "account_id", account);
    }
    retire(worker);
    assert_int_equal(
        watch_count(events, FIELDS("job_id", id, "account_id", account, "to", "completed")), 1);
}

static void test_scheduler__telemetry_tells_each_state(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES], subject[CYX_SUBJECT_BYTES];
    submit(spec("telemetry"), id);
    cyx_subject_job(subject, id, CYX_JOB_STATE);
    struct watch *telemetry = watch_create(bus, CYX_STREAM_JOBS, subject);
    watch_wait(telemetry, 1, WAIT_MS, FIELDS("to", "queued", "cause", "submitted"));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
    const json_t *seen =
        watch_wait(telemetry, 1, WAIT_MS, FIELDS("to", "cancelled", "from", "queued"));
    assert_non_null(json_object_get(seen, "at"));
    watch_destroy(telemetry);
}

static void expect_refused(json_t *body, enum cyx_status status, const char *pointer)
{
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_SUBMIT, body, status, &err);
    assert_string_equal(err.pointer, pointer);
    assert_true(strlen(err.message) > 5);
}

static void test_scheduler__refuses_what_is_no_job(void **state)
{
    (void)state;
    int64_t before = number("select count(*) from job", NULL);
    json_t *bad = spec("shapes");
    json_t *layers = json_object_get(json_object_get(bad, "model"), "layers");
    json_object_set_new(json_array_get(layers, 3), "in_features", json_integer(300));
    expect_refused(submit_json(bad, NULL), CYX_ERR_INVALID, "/model/layers/3");
    bad = spec("unknown key");
    json_object_set_new(bad, "epoch", json_integer(3));
    expect_refused(submit_json(bad, NULL), CYX_ERR_INVALID, "/epoch");
    expect_refused(json_pack("{s:s}", "account_id", account), CYX_ERR_INVALID, "/spec");
    expect_refused(json_pack("{s:s, s:o}", "account_id", "me", "spec", spec("x")), CYX_ERR_INVALID,
                   "/account_id");
    char key[300];
    memset(key, 'k', sizeof(key));
    key[299] = '\0';
    expect_refused(submit_json(spec("x"), key), CYX_ERR_INVALID, "/idempotency_key");
    assert_int_equal(number("select count(*) from job", NULL), before); /* nothing half done */
}

static void *submit_once(void *ctx)
{
    const char *key = ctx;
    struct cyx_buf reply = {0};
    json_t *body = submit_json(spec("once"), key);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    enum cyx_status status = cyx_bus_request(bus, CYX_SVC_SCHEDULER_SUBMIT, NULL, text,
                                             strlen(text), WAIT_MS, &reply, NULL);
    free(text);
    if (status != CYX_OK)
        return NULL;
    json_t *json = json_loads(reply.data, 0, NULL);
    cyx_buf_finish(&reply);
    return json;
}

static void test_scheduler__same_key_same_job(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    char key[CYX_ID_BYTES], first[CYX_ID_BYTES] = "";
    int created = 0;
    cyx_id_new(key);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, submit_once, key);
    for (int i = 0; i < THREADS; i++) {
        json_t *reply = NULL;
        pthread_join(threads[i], (void **)&reply);
        assert_non_null(reply);
        const char *id = json_string_value(json_object_get(json_object_get(reply, "job"), "id"));
        if (!first[0])
            snprintf(first, sizeof(first), "%s", id);
        assert_string_equal(id, first);
        created += json_is_true(json_object_get(reply, "created"));
        json_decref(reply);
    }
    assert_int_equal(created, 1);
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_SUBMIT, submit_json(spec("twice"), key), CYX_ERR_CONFLICT,
              &err);
    wait_event(first, 1, "queued", "submitted");
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(first), CYX_OK));
}

static void test_scheduler__says_why_a_job_waits(void **state)
{
    (void)state;
    char waiting[CYX_ID_BYTES], large[CYX_ID_BYTES], busy[CYX_ID_BYTES];
    submit_funded("waits", waiting);
    expect_pending(waiting, "no-node-online");
    struct worker *worker = new_worker("only", false);
    struct claim claim = accept_offer(worker, waiting);
    json_t *huge = spec("huge");
    json_object_set_new(huge, "resources",
                        json_pack("{s:I}", "device_memory_bytes", (json_int_t)(INT64_C(1) << 40)));
    submit(huge, large);
    hold(large);
    expect_pending(large, "no-node-fits");
    submit_funded("behind", busy);
    expect_pending(busy, "all-nodes-busy");
    finish(worker, &claim, "completed", NULL);
    claim =
        accept_offer(worker, busy); /* the huge one, which is older, does not stand in its way */
    finish(worker, &claim, "completed", NULL);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(large), CYX_OK));
    retire(worker);
}

static void test_scheduler__cancels_in_each_state(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    submit(spec("queued"), id);
    expect_outcome(id, "cancelled");
    expect_outcome(id, "already-ended");
    expect_state(id, "cancelled");

    struct worker *worker = new_worker("canceller", false);
    submit_funded("assigned", id);
    struct claim claim = worker_wait_offer(worker, WAIT_MS);
    expect_outcome(id, "cancelled");
    struct claim told = worker_wait_cancel(worker, WAIT_MS);
    assert_string_equal(told.job_id, id);
    ask_error(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &claim), CYX_ERR_CONFLICT, &err);

    submit_funded("running", id);
    claim = accept_offer(worker, id);
    expect_outcome(id, "cancelling");
    told = worker_wait_cancel(worker, WAIT_MS);
    assert_string_equal(told.job_id, id);
    assert_int_equal(told.token, claim.token);
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(worker, &claim, 1), CYX_OK);
    assert_true(json_is_true(json_object_get(reply, "cancel")));
    json_decref(reply);
    expect_state(id, "running");
    finish(worker, &claim, "cancelled", NULL);
    expect_state(id, "cancelled");
    expect_outcome(id, "already-ended");
    wait_event(id, 1, "cancelled", "cancel-requested");
    retire(worker);
}

static void test_scheduler__heartbeats_alone_keep_the_lease(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("quiet", false);
    submit_funded("downloads", id);
    struct claim claim = accept_offer(worker, id);
    nanosleep(&(struct timespec){.tv_sec = 6},
              NULL); /* half as long again as a lease: the test is time */
    expect_state(id, "running");
    json_decref(ask(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(worker, &claim, 9), CYX_OK));
    finish(worker, &claim, "completed", NULL);
    retire(worker);
}

static void test_scheduler__a_refused_budget_fails_the_job(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    submit(spec("poor"), id);
    publish(CYX_EVT_PAYMENT_REFUSED,
            json_pack("{s:s, s:s}", "job_id", id, "reason", "the balance is 0 CYX"));
    wait_event(id, 1, "failed", "payment-refused");
    json_t *job = get_job(id);
    expect_text(json_object_get(job, "error"), "message", "the balance is 0 CYX");
    json_decref(job);
    hold(id); /* too late: changes nothing */
    publish(CYX_EVT_PAYMENT_SETTLED, json_pack("{s:s, s:s}", "job_id", id, "released", "0 CYX"));
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (number("select count(*) from job where id = $1 and cost = 0", id) == 0) {
        assert_true(cyx_clock_monotonic_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    expect_state(id, "failed");
}

static void test_scheduler__lists_in_pages_and_keeps_accounts_apart(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES], own[CYX_ID_BYTES], cursor[CYX_ID_BYTES] = "";
    struct cyx_error err = {0};
    cyx_id_new(own);
    for (int i = 0; i < 5; i++) {
        json_t *reply =
            ask(bus, CYX_SVC_SCHEDULER_SUBMIT,
                json_pack("{s:s, s:o}", "account_id", own, "spec", spec("page")), CYX_OK);
        snprintf(id, sizeof(id), "%s",
                 json_string_value(json_object_get(json_object_get(reply, "job"), "id")));
        json_decref(reply);
    }
    char last[CYX_ID_BYTES] = "zzz";
    int seen = 0;
    for (int page = 0; page < 3; page++) {
        json_t *body =
            json_pack("{s:s, s:i, s:s}", "account_id", own, "limit", 2, "state", "queued");
        if (cursor[0])
            json_object_set_new(body, "cursor", json_string(cursor));
        json_t *reply = ask(bus, CYX_SVC_SCHEDULER_LIST, body, CYX_OK);
        size_t i;
        const json_t *job;
        json_array_foreach(json_object_get(reply, "jobs"), i, job)
        {
            const char *job_id = json_string_value(json_object_get(job, "id"));
            assert_true(strcmp(job_id, last) < 0); /* newest first, none twice */
            snprintf(last, sizeof(last), "%s", job_id);
            seen++;
        }
        const char *next = json_string_value(json_object_get(reply, "next_cursor"));
        assert_int_equal(next != NULL, page < 2);
        snprintf(cursor, sizeof(cursor), "%s", next ? next : "");
        json_decref(reply);
    }
    assert_int_equal(seen, 5);
    json_t *theirs = json_pack("{s:s, s:s}", "job_id", id, "account_id", stranger);
    ask_error(bus, CYX_SVC_SCHEDULER_GET, json_incref(theirs), CYX_ERR_NOT_FOUND, &err);
    ask_error(bus, CYX_SVC_SCHEDULER_CANCEL, theirs, CYX_ERR_NOT_FOUND, &err);
    ask_error(bus, CYX_SVC_SCHEDULER_LIST, json_pack("{s:s}", "state", "paused"), CYX_ERR_INVALID,
              &err);
    assert_string_equal(err.pointer, "/state");
}

static void expect_closed(const char *sql, const char *job_id)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_error err = {0};
    assert_int_equal(cyx_db_take(db, &conn, &err), CYX_OK);
    enum cyx_status status = cyx_db_query(conn, sql, NULL, &err, CYX_DB_TEXT(job_id));
    cyx_db_give(conn);
    if (status != CYX_ERR_INVALID)
        fail_msg("the database let it pass: %s", sql);
}

static void test_scheduler__the_database_keeps_what_has_ended(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    submit(spec("history"), id);
    expect_closed("update job set state = 'completed' where id = $1", id); /* no such arrow */
    expect_closed("update job set token = token - 1 where id = $1", id);
    expect_closed("delete from job where id = $1", id);
    expect_closed("update job_spec set spec = '{}' where job_id = $1", id);
    expect_closed("delete from job_spec where job_id = $1", id);
    expect_outcome(id, "cancelled");
    expect_closed("update job set state = 'queued', ended_at = null where id = $1", id);
    expect_closed("update job set error = '{}' where id = $1", id);
    expect_closed("update job_transition set cause = 'x' where job_id = $1", id);
    expect_closed("delete from job_transition where job_id = $1", id);
}

/* One request of many that are sent at the same moment. */
struct said {
    pthread_barrier_t *start;
    char subject[CYX_SUBJECT_BYTES], *text;
    enum cyx_status expected, got;
};

static void *say(void *ctx)
{
    struct said *said = ctx;
    struct cyx_buf reply = {0};
    pthread_barrier_wait(said->start);
    said->got = cyx_bus_request(bus, said->subject, NULL, said->text, strlen(said->text), WAIT_MS,
                                &reply, NULL);
    cyx_buf_finish(&reply);
    return NULL;
}

static void say_all(struct said *said, size_t count)
{
    pthread_t threads[64];
    pthread_barrier_t start;
    assert_true(count <= 64);
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        said[i].start = &start;
        assert_int_equal(pthread_create(&threads[i], NULL, say, &said[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(said[i].got, said[i].expected);
        free(said[i].text);
    }
    pthread_barrier_destroy(&start);
}

static struct said to_say(const char *subject, json_t *body, enum cyx_status expected)
{
    struct said said = {.text = json_dumps(body, JSON_COMPACT), .expected = expected};
    own_subject(subject, body, said.subject);
    json_decref(body);
    return said;
}

/* Heard together, each gets the answer that it would have got alone. */
static void test_scheduler__many_words_at_once(void **state)
{
    (void)state;
    enum { WORKERS = 10 };
    struct worker *workers[WORKERS];
    struct claim claims[WORKERS];
    struct said said[3 * WORKERS];
    char ids[WORKERS][CYX_ID_BYTES];
    for (int i = 0; i < WORKERS; i++)
        workers[i] = new_worker("speaks", false);
    for (int i = 0; i < WORKERS; i++)
        submit_funded("spoken of", ids[i]);
    for (int i = 0; i < WORKERS; i++) {
        claims[i] = worker_wait_offer(workers[i], WAIT_MS);
        worker_holds(workers[i], &claims[i]);
        struct claim wrong = claims[i];
        wrong.token++;
        said[3 * i] = to_say(CYX_SVC_SCHEDULER_ACCEPT, claim_json(workers[i], &claims[i]), CYX_OK);
        said[3 * i + 1] =
            to_say(CYX_SVC_SCHEDULER_ACCEPT, claim_json(workers[i], &claims[i]), CYX_OK);
        said[3 * i + 2] =
            to_say(CYX_SVC_SCHEDULER_ACCEPT, claim_json(workers[i], &wrong), CYX_ERR_CONFLICT);
    }
    say_all(said, 3 * WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        struct worker *thief = workers[(i + 1) % WORKERS];
        worker_holds(workers[i], &(struct claim){.token = 0});
        for (int k = 0; k < 2; k++)
            said[3 * i + k] =
                to_say(CYX_SVC_SCHEDULER_FINISH,
                       finish_json(workers[i], &claims[i], "completed", NULL), CYX_OK);
        said[3 * i + 2] =
            to_say(CYX_SVC_SCHEDULER_FINISH, finish_json(thief, &claims[i], "completed", NULL),
                   CYX_ERR_CONFLICT);
    }
    say_all(said, 3 * WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        expect_state(ids[i], "completed");
        assert_int_equal(number("select count(*) from job_transition where job_id = $1", ids[i]),
                         4);
        assert_int_equal(number("select attempt from job where id = $1", ids[i]), 1);
        retire(workers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler__submit_to_finish),
        cmocka_unit_test(test_scheduler__telemetry_tells_each_state),
        cmocka_unit_test(test_scheduler__refuses_what_is_no_job),
        cmocka_unit_test(test_scheduler__same_key_same_job),
        cmocka_unit_test(test_scheduler__says_why_a_job_waits),
        cmocka_unit_test(test_scheduler__cancels_in_each_state),
        cmocka_unit_test(test_scheduler__many_words_at_once),
        cmocka_unit_test(test_scheduler__heartbeats_alone_keep_the_lease),
        cmocka_unit_test(test_scheduler__a_refused_budget_fails_the_job),
        cmocka_unit_test(test_scheduler__lists_in_pages_and_keeps_accounts_apart),
        cmocka_unit_test(test_scheduler__the_database_keeps_what_has_ended),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
