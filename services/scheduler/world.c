#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "integration/servers.h"

#define LAST_REVISION INT64_C(9000000000000000)
#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
const char *const environment[] = {"CYXWIZ_HEARTBEAT_MS=800", ("CYXWIZ_GRANT_KEY=" KEY),
                                   "CYXWIZ_DRAIN_MS=2000", "CYXWIZ_PROOF=off", NULL};
/* The registry's where nodes must prove themselves. */
static const char *const proving_environment[] = {
    "CYXWIZ_HEARTBEAT_MS=800",        "CYXWIZ_DRAIN_MS=2000",
    "CYXWIZ_PROOF_INTERVAL_MS=2000",  "CYXWIZ_PROOF_RETRY_MS=20000",
    "CYXWIZ_PROOF_DEADLINE_MS=12000", NULL};
const char *const account = "01935b1e-0000-7000-8000-0000000acc01";
const char *const stranger = "01935b1e-0000-7000-8000-0000000acc02";
const char *const sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static struct service *scheduler, *registry;
struct cyx_bus *bus;
struct cyx_db *db;
struct watch *events;

static int start(const char *const *registry_environment)
{
    struct cyx_error err = {0};
    if (!getenv("CYXWIZ_DATABASE_URL") || !getenv("CYXWIZ_NATS_URL")) {
        printf("SKIP needs PostgreSQL and NATS: run by tests/support/servers\n");
        exit(77);
    }
    registry = service_start("cyxwiz-registry", registry_environment);
    scheduler = service_start("cyxwiz-scheduler", environment);
    bus = fleet_bus("scheduler-test");
    events = watch_create(bus, CYX_STREAM_EVENTS, CYX_EVENTS_ALL);
    const struct cyx_db_options options = {.dsn = getenv("CYXWIZ_DATABASE_URL"),
                                           .schema = "scheduler"};
    return cyx_db_open(&options, &db, &err) == CYX_OK ? 0 : -1;
}

int start_all(void **state)
{
    (void)state;
    return start(environment);
}

int start_proving(void **state)
{
    (void)state;
    return start(proving_environment);
}

int stop_all(void **state)
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
int64_t number(const char *sql, const char *parameter)
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

void publish(const char *subject, json_t *event)
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

void hold(const char *job_id)
{
    publish(CYX_EVT_PAYMENT_HELD, json_pack("{s:s, s:s, s:s}", "job_id", job_id, "account_id",
                                            account, "amount", "1 CYX"));
}

struct worker *new_worker(const char *name, bool works_by_itself)
{
    const struct worker_options options = {
        .name = name, .heartbeat_ms = HEARTBEAT_MS, .works_by_itself = works_by_itself};
    return worker_create(&options);
}

/* Takes a node out for good, at once, so that the next test starts with none. */
void retire(struct worker *worker)
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

json_t *spec(const char *name)
{
    json_error_t at;
    json_t *made = json_load_file(CYX_SOURCE_DIR "/docs/examples/mnist-mlp.json", 0, &at);
    assert_non_null(made);
    json_object_set_new(made, "name", json_string(name));
    return made;
}

json_t *submit_json(json_t *body_spec, const char *key)
{
    json_t *body = json_pack("{s:s, s:o}", "account_id", account, "spec", body_spec);
    if (key)
        json_object_set_new(body, "idempotency_key", json_string(key));
    return body;
}

void submit(json_t *body_spec, char ret_id[CYX_ID_BYTES])
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_SUBMIT, submit_json(body_spec, NULL), CYX_OK);
    const json_t *job = json_object_get(reply, "job");
    assert_true(json_is_true(json_object_get(reply, "created")));
    assert_string_equal(json_string_value(json_object_get(job, "state")), "queued");
    snprintf(ret_id, CYX_ID_BYTES, "%s", json_string_value(json_object_get(job, "id")));
    json_decref(reply);
}

void submit_funded(const char *name, char ret_id[CYX_ID_BYTES])
{
    submit(spec(name), ret_id);
    hold(ret_id);
}

/* {job_id, account_id} */
json_t *target(const char *job_id)
{
    return json_pack("{s:s, s:s}", "job_id", job_id, "account_id", account);
}

json_t *get_job(const char *job_id)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_GET, json_pack("{s:s}", "job_id", job_id), CYX_OK);
    json_t *job = json_incref(json_object_get(reply, "job"));
    json_decref(reply);
    return job;
}

void expect_text(const json_t *object, const char *key, const char *expected)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strcmp(value, expected) != 0) {
        char *text = json_dumps(object, JSON_INDENT(1));
        fail_msg("%s: expected %s, got %s in %s", key, expected, value ? value : "none", text);
    }
}

void expect_state(const char *job_id, const char *state)
{
    json_t *job = get_job(job_id);
    expect_text(job, "state", state);
    json_decref(job);
}

void expect_pending(const char *job_id, const char *code)
{
    expect_pending_for(job_id, code, "");
}

void expect_pending_for(const char *job_id, const char *code, const char *words)
{
    /* Reads may be half a second behind the nodes: what must be true in the end is waited for. */
    const int64_t until_ns = cyx_clock_monotonic_ns() + 5000 * INT64_C(1000000);
    for (;;) {
        json_t *job = get_job(job_id);
        const json_t *pending = json_object_get(job, "pending");
        const char *got = json_string_value(json_object_get(pending, "code"));
        const char *message = json_string_value(json_object_get(pending, "message"));
        bool same = got && strcmp(got, code) == 0 && message && strstr(message, words);
        if (same) {
            assert_true(strlen(message) > 10);
            assert_true(json_string_length(json_object_get(pending, "remedy")) > 5);
        }
        if (!same && cyx_clock_monotonic_ns() > until_ns)
            fail_msg("expected %s \"%s\", got %s: %s", code, words, got ? got : "none",
                     message ? message : "");
        json_decref(job);
        if (same)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

/* The nth transition of a job to a state, with its cause. */
void wait_event(const char *job_id, int nth, const char *to, const char *cause)
{
    watch_wait(events, nth, WAIT_MS, FIELDS("job_id", job_id, "to", to, "cause", cause));
}

struct claim accept_offer(struct worker *worker, const char *job_id)
{
    struct claim claim = worker_wait_offer(worker, WAIT_MS);
    assert_string_equal(claim.job_id, job_id);
    worker_holds(worker, &claim);
    json_decref(ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &claim), CYX_OK));
    return claim;
}

json_t *progress_json(struct worker *worker, const struct claim *claim, int step)
{
    json_t *body = claim_json(worker, claim);
    json_object_update_new(body, json_pack("{s:i, s:i, s:i, s:i, s:f, s:f, s:f}", "epoch", 1,
                                           "epochs", 3, "step", step, "total_steps", 1407, "loss",
                                           0.5, "accuracy", 0.75, "images_per_second", 4321.5));
    return body;
}

void finish(struct worker *worker, const struct claim *claim, const char *outcome,
            const char *error)
{
    worker_holds(worker, &(struct claim){.token = 0});
    json_decref(
        ask(bus, CYX_SVC_SCHEDULER_FINISH, finish_json(worker, claim, outcome, error), CYX_OK));
}

void expect_outcome(const char *job_id, const char *outcome)
{
    json_t *reply = ask(bus, CYX_SVC_SCHEDULER_CANCEL, target(job_id), CYX_OK);
    expect_text(reply, "outcome", outcome);
    json_decref(reply);
}
