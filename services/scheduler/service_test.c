/*
 * The scheduler as a process, on real PostgreSQL and NATS, with a real registry; workers speak the real protocol.
 * Run by tests/support/servers. Payments is played by the test, which publishes its events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "contract/subjects.h"
#include "fleet.h"
#include "integration/servers.h"
#include "store/db.h"

enum { HEARTBEAT_MS = 800, LEASE_MS = HEARTBEAT_MS * CYX_HEARTBEATS_MISSED };
#define LAST_REVISION INT64_C(9000000000000000)
#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
static const char *const environment[] = {"CYXWIZ_HEARTBEAT_MS=800", "CYXWIZ_ENROL_TOKEN=let me in",
                                          ("CYXWIZ_GRANT_KEY=" KEY), "CYXWIZ_DRAIN_MS=2000", NULL};
static const char *const account = "01935b1e-0000-7000-8000-0000000acc01";
static const char *const stranger = "01935b1e-0000-7000-8000-0000000acc02";
static const char *const sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static struct service *scheduler, *registry;
static struct cyx_bus *bus;
static struct cyx_db *db;
static struct watch *events;

static int start_all(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    if (!getenv("CYXWIZ_DATABASE_URL") || !getenv("CYXWIZ_NATS_URL")) {
        printf("SKIP needs PostgreSQL and NATS: run by tests/support/servers\n");
        exit(77);
    }
    setenv("CYXWIZ_ENROL_TOKEN", "let me in", 1);
    registry = service_start("cyxwiz-registry", environment);
    scheduler = service_start("cyxwiz-scheduler", environment);
    bus = fleet_bus("scheduler-test");
    events = watch_create(bus, CYX_STREAM_EVENTS, CYX_EVENTS_ALL);
    const struct cyx_db_options options = {.dsn = getenv("CYXWIZ_DATABASE_URL"),
                                           .schema = "scheduler"};
    return cyx_db_open(&options, &db, &err) == CYX_OK ? 0 : -1;
}

static int stop_all(void **state)
{
    (void)state;
    watch_destroy(events);
    cyx_bus_destroy(bus);
    cyx_db_close(db);
    int status = service_stop(scheduler, SIGTERM);
    int other = service_stop(registry, SIGTERM);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && other == 0 ? 0 : -1;
}

/* One number out of the scheduler's database. */
static int64_t number(const char *sql, const char *parameter)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_error err = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    assert_int_equal(cyx_db_take(db, &conn, &err), CYX_OK);
    enum cyx_status status = parameter
                                 ? cyx_db_query_one(conn, sql, &rows, &err, CYX_DB_TEXT(parameter))
                                 : cyx_db_query_one(conn, sql, &rows, &err);
    int64_t value = status == CYX_OK ? cyx_db_int(rows, 0, 0) : 0;
    cyx_db_give(conn);
    if (status != CYX_OK)
        fail_msg("%s: %s", sql, err.message);
    return value;
}

struct publication {
    const char *subject, *event_id, *text;
    struct cyx_error *err;
};

static bool is_published(void *ctx)
{
    struct publication *p = ctx;
    return cyx_bus_publish_event(bus, p->subject, p->event_id, NULL, p->text, strlen(p->text), NULL,
                                 p->err) == CYX_OK;
}

static void publish(const char *subject, json_t *event)
{
    struct cyx_error err = {0};
    char event_id[CYX_ID_BYTES];
    cyx_id_new(event_id);
    json_object_set_new(event, "event_id", json_string(event_id));
    char *text = json_dumps(event, JSON_COMPACT);
    struct publication publication = {subject, event_id, text, &err};
    if (!wait_for(is_published, &publication))
        fail_msg("%s: %s", subject, err.message);
    free(text);
    json_decref(event);
}

static void hold(const char *job_id)
{
    publish(CYX_EVT_PAYMENT_HELD, json_pack("{s:s, s:s, s:s}", "job_id", job_id, "account_id",
                                            account, "amount", "1 CYX"));
}

static struct worker *new_worker(const char *name, bool works_by_itself)
{
    const struct worker_options options = {
        .name = name, .heartbeat_ms = HEARTBEAT_MS, .works_by_itself = works_by_itself};
    return worker_create(&options);
}

/* Takes a node out for good, at once, so that the next test starts with none. */
static void retire(struct worker *worker)
{
    char boot_id[CYX_ID_BYTES];
    cyx_id_new(boot_id);
    const char *id = worker_id(worker);
    publish(CYX_EVT_NODE_OFFLINE,
            json_pack("{s:s, s:s, s:I, s:s}", "node_id", id, "boot_id", boot_id, "revision",
                      (json_int_t)LAST_REVISION, "reason", "retired"));
    const int64_t until_ns = cyx_clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (number("select count(*) from node n where n.id = $1 and (n.revision < 9000000000000000 "
                  "or exists "
                  "(select from assignment a where a.node_id = n.id and a.ended_at is null))",
                  id) > 0) {
        assert_true(cyx_clock_monotonic_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    worker_destroy(worker);
}

static json_t *spec(const char *name)
{
    json_error_t at;
    json_t *made = json_load_file(CYX_SOURCE_DIR "/docs/examples/mnist-mlp.json", 0, &at);
    assert_non_null(made);
    json_object_set_new(made, "name", json_string(name));
    return made;
}

static json_t *submit_json(json_t *body_spec, const char *key)
{
    json_t *body = json_pack("{s:s, s:o}", "account_id", account, "spec", body_spec);
    if (key)
        json_object_set_new(body, "idempotency_key", json_string(key));
    return body;
}

static void submit(json_t *body_spec, char ret_id[CYX_ID_BYTES])
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_SUBMIT, submit_json(body_spec, NULL), CYX_OK);
    const json_t *job = json_object_get(reply, "job");
    assert_true(json_is_true(json_object_get(reply, "created")));
    assert_string_equal(json_string_value(json_object_get(job, "state")), "queued");
    snprintf(ret_id, CYX_ID_BYTES, "%s", json_string_value(json_object_get(job, "id")));
    json_decref(reply);
}

static void submit_funded(const char *name, char ret_id[CYX_ID_BYTES])
{
    submit(spec(name), ret_id);
    hold(ret_id);
}

/* {job_id, account_id} */
static json_t *target(const char *job_id)
{
    return json_pack("{s:s, s:s}", "job_id", job_id, "account_id", account);
}

static json_t *get_job(const char *job_id)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_GET, target(job_id), CYX_OK);
    json_t *job = json_incref(json_object_get(reply, "job"));
    json_decref(reply);
    return job;
}

static void expect_text(const json_t *object, const char *key, const char *expected)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strcmp(value, expected) != 0) {
        char *text = json_dumps(object, JSON_INDENT(1));
        fail_msg("%s: expected %s, got %s in %s", key, expected, value ? value : "none", text);
    }
}

static void expect_state(const char *job_id, const char *state)
{
    json_t *job = get_job(job_id);
    expect_text(job, "state", state);
    json_decref(job);
}

static void expect_pending(const char *job_id, const char *code)
{
    /* Reads may be half a second behind the nodes: what must be true in the end is waited for. */
    const int64_t until_ns = cyx_clock_monotonic_ns() + 5000 * INT64_C(1000000);
    for (;;) {
        json_t *job = get_job(job_id);
        const json_t *pending = json_object_get(job, "pending");
        const char *got = json_string_value(json_object_get(pending, "code"));
        bool same = got && strcmp(got, code) == 0;
        if (same)
            assert_true(json_string_length(json_object_get(pending, "message")) > 10);
        if (!same && cyx_clock_monotonic_ns() > until_ns)
            fail_msg("expected %s, got %s", code, got ? got : "none");
        json_decref(job);
        if (same)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

/* The nth transition of a job to a state, with its cause. */
static void wait_event(const char *job_id, int nth, const char *to, const char *cause)
{
    watch_wait(events, nth, WAIT_MS, FIELDS("job_id", job_id, "to", to, "cause", cause));
}

static struct claim accept_offer(struct worker *worker, const char *job_id)
{
    struct claim claim = worker_wait_offer(worker, WAIT_MS);
    assert_string_equal(claim.job_id, job_id);
    worker_holds(worker, &claim);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &claim), CYX_OK));
    return claim;
}

static json_t *progress_json(struct worker *worker, const struct claim *claim, int step)
{
    json_t *body = claim_json(worker, claim);
    json_object_update_new(body, json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:f}", "epoch", 1,
                                           "epochs", 3, "step", step, "total_steps", 1407, "loss",
                                           0.5, "accuracy", 0.75, "images_per_second", 4321.5));
    return body;
}

static void finish(struct worker *worker, const struct claim *claim, const char *outcome,
                   const char *error)
{
    worker_holds(worker, &(struct claim){.token = 0});
    json_decref(
        ask(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(worker, claim, outcome, error), CYX_OK));
}

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

static void expect_outcome(const char *job_id, const char *outcome)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(job_id), CYX_OK);
    expect_text(reply, "outcome", outcome);
    json_decref(reply);
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

static void test_scheduler__a_lost_lease_is_given_to_another(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *lost = new_worker("lost", false);
    submit_funded("moves on", id);
    struct claim old = accept_offer(lost, id);
    json_t *body = progress_json(lost, &old, 400);
    json_object_set_new(body, "checkpoint",
                        json_pack("{s:s, s:i, s:i}", "sha256", sha, "bytes", 77, "step", 400));
    json_decref(ask(bus, CYX_SVC_SCHEDULER_PROGRESS, body, CYX_OK));
    /* It still beats, but says no more that it holds the job: the lease runs out, the node stays. */
    worker_holds(lost, &(struct claim){.token = 0});
    struct worker *heir = new_worker("heir", false);
    wait_event(id, 1, "queued", "lease-expired");
    struct claim new = worker_wait_offer(heir, WAIT_MS); /* not to the one that it ran on last */
    assert_true(new.token > old.token);
    worker_holds(heir, &new);
    json_t *accepted = ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(heir, &new), CYX_OK);
    expect_text(json_object_get(accepted, "checkpoint"), "sha256", sha);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(accepted, "checkpoint"), "step")), 400);
    json_decref(accepted);

    ask_error(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(lost, &old, 500), CYX_ERR_CONFLICT,
              &err);
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(lost, &old, "completed", NULL),
              CYX_ERR_CONFLICT, &err);
    assert_non_null(strstr(err.message, "lease-expired"));
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(lost, &new, "completed", NULL),
              CYX_ERR_CONFLICT, &err); /* another's token */
    worker_holds(lost, &old);
    struct claim told = worker_wait_cancel(lost, WAIT_MS); /* its heartbeat gives it away */
    assert_int_equal(told.token, old.token);
    expect_state(id, "running");
    finish(heir, &new, "completed", NULL);
    expect_state(id, "completed");
    retire(lost);
    retire(heir);
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

static void test_scheduler__a_restarted_worker_loses_its_job_at_once(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *worker = new_worker("restarts", false);
    submit_funded("survives", id);
    struct claim old = accept_offer(worker, id);
    int64_t start_ns = cyx_clock_monotonic_ns();
    worker_restart(worker);
    wait_event(id, 1, "queued", "node-restarted");
    struct claim new = worker_wait_offer(worker, WAIT_MS);
    assert_true((cyx_clock_monotonic_ns() - start_ns) / 1000000 <
                LEASE_MS); /* not by the lease's end */
    ask_error(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(worker, &old, "completed", NULL),
              CYX_ERR_CONFLICT, &err);
    assert_string_equal(new.job_id, id);
    worker_holds(worker, &new);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &new), CYX_OK));
    finish(worker, &new, "completed", NULL);
    expect_state(id, "completed");
    retire(worker);
}

static void test_scheduler__an_offline_node_loses_its_job(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("dies", false);
    submit_funded("outlives", id);
    accept_offer(worker, id);
    worker_beat(worker, false);
    const json_t *event =
        watch_wait(events, 1, WAIT_MS, FIELDS("job_id", id, "from", "running", "to", "queued"));
    const char *cause = json_string_value(json_object_get(event, "cause"));
    assert_true(strcmp(cause, "node-offline") == 0 || strcmp(cause, "lease-expired") == 0);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(id), CYX_OK));
    retire(worker);
}

static void test_scheduler__failures(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *worker = new_worker("fails", false);
    submit_funded("wrong", id);
    struct claim claim = accept_offer(worker, id);
    finish(worker, &claim, "failed", "unsupported");
    json_t *job = get_job(id);
    expect_text(job, "state", "failed");
    expect_text(json_object_get(job, "error"), "status", "unsupported");
    expect_text(json_object_get(job, "error"), "message", "as the test wants it");
    json_decref(job);

    submit_funded("unlucky", id);
    for (int i = 1; i <= 3; i++) {
        claim = accept_offer(worker, id);
        finish(worker, &claim, "failed", "io");
        if (i < 3) {
            wait_event(id, i, "queued", "worker-failed");
            expect_pending(id, "retry-backoff");
        }
    }
    wait_event(id, 1, "failed", "worker-failed");
    job = get_job(id);
    assert_int_equal(json_integer_value(json_object_get(job, "attempt")), 3);
    expect_text(json_object_get(job, "error"), "status", "io");
    json_decref(job);

    submit_funded("handed back", id);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "handed-back", NULL);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "completed", NULL);
    retire(worker);
}

static void test_scheduler__an_unanswered_offer_expires(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct worker *deaf = new_worker("deaf", false);
    submit_funded("unanswered", id);
    struct claim first = worker_wait_offer(deaf, WAIT_MS);
    wait_event(id, 1, "queued", "offer-expired");
    struct claim second = worker_wait_offer(deaf, WAIT_MS);
    assert_true(second.token > first.token);
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(deaf, &first), CYX_ERR_CONFLICT, &err);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(deaf, &second), CYX_OK));
    finish(deaf, &second, "completed", NULL);
    retire(deaf);
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
    expect_outcome(id, "cancelled");
    expect_closed("update job set state = 'queued', ended_at = null where id = $1", id);
    expect_closed("update job set error = '{}' where id = $1", id);
    expect_closed("update job_transition set cause = 'x' where job_id = $1", id);
    expect_closed("delete from job_transition where job_id = $1", id);
}

enum { JOBS = 100, WORKERS = 4 };

static bool all_finished(void *ctx)
{
    struct worker **workers = ctx;
    int finished = 0;
    for (int i = 0; i < WORKERS; i++)
        finished += worker_finished(workers[i]);
    return finished == JOBS;
}

/* A hundred jobs, four workers, two schedulers, one of which is killed in the middle and comes back. */
static void test_scheduler__replicas_never_assign_twice(void **state)
{
    (void)state;
    char(*ids)[CYX_ID_BYTES] = calloc(JOBS, sizeof(*ids));
    struct worker *workers[WORKERS];
    struct service *second = service_start("cyxwiz-scheduler", environment);
    for (int i = 0; i < WORKERS; i++)
        workers[i] = new_worker("hand", true);
    for (int i = 0; i < JOBS; i++) {
        submit_funded("one of many", ids[i]);
        if (i == JOBS / 2) { /* in the middle of submitting and working */
            assert_true(WIFSIGNALED(service_stop(second, SIGKILL)));
            second = service_start("cyxwiz-scheduler", environment);
        }
    }
    for (int i = 0; i < JOBS; i++)
        watch_wait(events, 1, WAIT_MS, FIELDS("job_id", ids[i], "to", "completed"));
    for (int i = 0; i < JOBS; i++) {
        /* Each event once; each held by one node from accept to end. Offers of the killed may be made anew. */
        assert_int_equal(watch_count(events, FIELDS("job_id", ids[i], "to", "completed")), 1);
        assert_int_equal(watch_count(events, FIELDS("job_id", ids[i], "to", "running")), 1);
        int told = watch_count(events, FIELDS("job_id", ids[i], "to", "assigned"));
        assert_int_equal(
            number(
                "select count(*) from job_transition where to_state = 'assigned' and job_id = $1",
                ids[i]),
            told);
        assert_int_equal(number("select count(*) from assignment where job_id = $1 and "
                                "accepted_at is not null",
                                ids[i]),
                         1);
    }
    /* No node ever held two at once. From the accept: the clock of an offer is read before its insert waits. */
    assert_int_equal(
        number("select count(*) from assignment a join assignment b on a.node_id = b.node_id "
               "and (a.job_id, a.token) <> (b.job_id, b.token) "
               "and a.accepted_at is not null and b.accepted_at is not null and "
               "tstzrange(a.accepted_at, a.ended_at) && tstzrange(b.accepted_at, b.ended_at)",
               NULL),
        0);
    assert_true(wait_for(all_finished, workers)); /* none was lost, none was done twice */
    for (int i = 0; i < WORKERS; i++)
        retire(workers[i]);
    assert_int_equal(service_stop(second, SIGTERM), 0);
    assert_int_equal(number("select count(*) from outbox", NULL), 0);
    free(ids);
}

/* A progress that is taken: the scheduler is back, and the token still holds. */
static void wait_renewed(struct worker *worker, const struct claim *claim)
{
    json_decref(ask(bus, CYX_SVC_SCHEDULER_PROGRESS, progress_json(worker, claim, 10), CYX_OK));
}

static void test_scheduler__outlives_its_servers(void **state)
{
    (void)state;
    char id[CYX_ID_BYTES];
    struct cyx_error err = {0};
    struct worker *worker = new_worker("patient", false);
    submit_funded("through thick and thin", id);
    struct claim claim = accept_offer(worker, id);
    servers_command("kill", "postgres");
    ask_error(bus, CYX_SVC_SCHEDULER_GET, target(id), CYX_ERR_UNAVAILABLE, &err);
    assert_null(strstr(err.message, "database:")); /* nothing of where and how it is kept */
    assert_null(strstr(err.message, "host"));
    /* Away for longer than a lease: nobody could renew, so nobody has lost anything. */
    nanosleep(&(struct timespec){.tv_sec = LEASE_MS / 1000 + 1}, NULL);
    servers_command("start", "postgres");
    wait_renewed(worker, &claim);
    expect_state(id, "running");
    finish(worker, &claim, "completed", NULL);
    expect_state(id, "completed");

    servers_command("kill", "nats");
    servers_command("start", "nats");
    submit_funded("after the storm", id);
    claim = accept_offer(worker, id);
    finish(worker, &claim, "completed", NULL);
    watch_wait(events, 1, WAIT_MS, FIELDS("job_id", id, "to", "completed"));
    retire(worker);
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
        cmocka_unit_test(test_scheduler__a_lost_lease_is_given_to_another),
        cmocka_unit_test(test_scheduler__heartbeats_alone_keep_the_lease),
        cmocka_unit_test(test_scheduler__a_restarted_worker_loses_its_job_at_once),
        cmocka_unit_test(test_scheduler__an_offline_node_loses_its_job),
        cmocka_unit_test(test_scheduler__failures),
        cmocka_unit_test(test_scheduler__an_unanswered_offer_expires),
        cmocka_unit_test(test_scheduler__a_refused_budget_fails_the_job),
        cmocka_unit_test(test_scheduler__lists_in_pages_and_keeps_accounts_apart),
        cmocka_unit_test(test_scheduler__the_database_keeps_what_has_ended),
        cmocka_unit_test(test_scheduler__replicas_never_assign_twice),
        cmocka_unit_test(test_scheduler__outlives_its_servers),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
