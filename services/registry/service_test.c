/*
 * The registry as a process, on real PostgreSQL, NATS and Redis: two replicas, workers that enrol and beat.
 * Run by tests/support/servers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "contract/subjects.h"
#include "fleet.h"
#include "integration/servers.h"
#include "store/db.h"

enum { HEARTBEAT_MS = 300, LOST_MS = HEARTBEAT_MS * CYX_HEARTBEATS_MISSED };
static const char *const environment[] = {"CYXWIZ_HEARTBEAT_MS=300", "CYXWIZ_DRAIN_MS=2000",
                                          "CYXWIZ_PROOF=off", NULL};

static struct service *first, *second;
static struct cyx_bus *bus;
static struct cyx_db *db;
static struct watch *events;

static int start_all(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    servers_env("CYXWIZ_NATS_URL");
    const struct cyx_db_options options = {.dsn = servers_env("CYXWIZ_DATABASE_URL"),
                                           .schema = "registry"};
    first = service_start("cyxwiz-registry", environment);
    second = service_start("cyxwiz-registry", environment);
    bus = fleet_bus("registry-test");
    events = watch_create(bus, CYX_STREAM_EVENTS, "cyx.evt.node.*");
    return cyx_db_open(&options, &db, &err) == CYX_OK ? 0 : -1;
}

static int stop_all(void **state)
{
    (void)state;
    watch_destroy(events);
    cyx_bus_destroy(bus);
    cyx_db_close(db);
    int a = service_stop(first, SIGTERM), b = service_stop(second, SIGTERM);
    return a == 0 && b == 0 ? 0 : -1;
}

static struct worker *new_worker(const char *name)
{
    return worker_create(&(struct worker_options){.name = name, .heartbeat_ms = HEARTBEAT_MS});
}

/* Events of one node: online ones hold it below "node". */
struct seen {
    int online, offline;
    int64_t revision; /* of the last */
    bool rising;
};

static struct seen count_events(const char *node_id)
{
    struct seen seen = {.rising = true};
    for (int nth = 1;; nth++) {
        if (watch_count(events, FIELDS("subject", CYX_EVT_NODE_ONLINE)) < nth)
            break;
        const json_t *event = watch_wait(events, nth, 0, FIELDS("subject", CYX_EVT_NODE_ONLINE));
        const json_t *node = json_object_get(event, "node");
        if (strcmp(json_string_value(json_object_get(node, "id")), node_id) != 0)
            continue;
        int64_t revision = json_integer_value(json_object_get(event, "revision"));
        seen.rising = seen.rising && revision > seen.revision;
        seen.revision = revision;
        seen.online++;
    }
    seen.offline = watch_count(events, FIELDS("subject", CYX_EVT_NODE_OFFLINE, "node_id", node_id));
    return seen;
}

struct awaited {
    const char *node_id;
    int online, offline;
};

static bool has_come(void *ctx)
{
    const struct awaited *awaited = ctx;
    struct seen seen = count_events(awaited->node_id);
    return seen.online >= awaited->online && seen.offline >= awaited->offline;
}

/* Waits for so many events of the node; no more may have come. */
static void expect_events(const struct worker *worker, int online, int offline)
{
    struct awaited awaited = {worker_id(worker), online, offline};
    assert_true(wait_for(has_come, &awaited));
    struct seen seen = count_events(worker_id(worker));
    assert_int_equal(seen.online, online);
    assert_int_equal(seen.offline, offline);
}

static json_t *get_node(const char *id)
{
    json_t *reply = ask(bus, CYX_SVC_REGISTRY_GET, json_pack("{s:s}", "node_id", id), CYX_OK);
    json_t *node = json_incref(json_object_get(reply, "node"));
    json_decref(reply);
    return node;
}

static void expect_status(const struct worker *worker, const char *status)
{
    json_t *node = get_node(worker_id(worker));
    assert_string_equal(json_string_value(json_object_get(node, "status")), status);
    json_decref(node);
}

/* An operator's words on a node are kept, shown, and news when they change. */
static void test_registry__keeps_labels_and_region(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct worker *worker = new_worker("labelled");
    expect_events(worker, 1, 0);
    json_t *body = worker_enrolment(worker);
    json_object_set_new(body, "labels", json_pack("[s, s]", "disk=ssd", "lab"));
    json_object_set_new(body, "region", json_string("eu-west/3"));
    json_t *bad = json_deep_copy(body);
    json_object_set_new(bad, "labels", json_pack("[s]", "a,b"));
    ask_error(bus, CYX_SVC_REGISTRY_ENROL, bad, CYX_ERR_INVALID, &err);
    assert_string_equal(err.pointer, "/labels/0");
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, json_incref(body), CYX_OK));
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, body, CYX_OK)); /* the same again */
    expect_events(worker, 2, 0);
    json_t *node = get_node(worker_id(worker));
    const json_t *labels = json_object_get(node, "labels");
    assert_int_equal(json_array_size(labels), 2);
    assert_string_equal(json_string_value(json_array_get(labels, 0)), "disk=ssd");
    assert_string_equal(json_string_value(json_object_get(node, "region")), "eu-west/3");
    json_decref(node);
    worker_destroy(worker);
}

static void test_registry__enrols_a_node(void **state)
{
    (void)state;
    struct worker *worker = new_worker("box one");
    expect_events(worker, 1, 0);
    json_t *node = get_node(worker_id(worker));
    assert_string_equal(json_string_value(json_object_get(node, "name")), "box one");
    assert_string_equal(json_string_value(json_object_get(node, "status")), "online");
    assert_string_equal(json_string_value(json_object_get(node, "price_per_hour")), "1 CYX");
    const json_t *device = json_array_get(json_object_get(node, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "backend")), "cpu");
    assert_int_equal(json_integer_value(json_object_get(device, "memory_bytes")), INT64_C(8) << 30);
    json_decref(node);
    /* The same again is no news; a new boot id is. */
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, worker_enrolment(worker), CYX_OK));
    worker_restart(worker);
    expect_events(worker, 2, 0);
    assert_true(count_events(worker_id(worker)).rising);
    worker_destroy(worker);
}

static void test_registry__a_node_speaks_only_for_itself(void **state)
{
    (void)state;
    struct worker *honest = new_worker("honest"), *liar = new_worker("liar");
    struct cyx_error err = {0};
    char subject[CYX_SUBJECT_BYTES];
    expect_events(honest, 1, 0);
    cyx_subject_from_node(subject, CYX_SVC_REGISTRY_ENROL, worker_id(liar));
    ask_error(bus, subject, worker_enrolment(honest), CYX_ERR_DENIED, &err);
    assert_string_equal(err.pointer, "/node_id");
    expect_events(honest, 1, 0);
    worker_destroy(honest);
    worker_destroy(liar);
}

static void test_registry__a_revoked_node_stays_out(void **state)
{
    (void)state;
    struct worker *worker = new_worker("stolen");
    struct cyx_error err = {0};
    expect_events(worker, 1, 0);
    json_t *order = json_pack("{s:s, s:s}", "node_id", worker_id(worker), "reason", "stolen");
    json_decref(ask(bus, CYX_SVC_REGISTRY_REVOKE, json_incref(order), CYX_OK));
    json_decref(ask(bus, CYX_SVC_REGISTRY_REVOKE, order, CYX_OK)); /* the same again */
    watch_wait(events, 1, WAIT_MS, FIELDS("node_id", worker_id(worker), "reason", "revoked"));
    ask_error(bus, CYX_SVC_REGISTRY_ENROL, worker_enrolment(worker), CYX_ERR_DENIED, &err);
    assert_non_null(strstr(err.message, "revoked"));
    /* It beats on, and another node that went is found to be away: meanwhile this one was looked at as well. */
    struct worker *other = new_worker("other");
    expect_events(other, 1, 0);
    worker_beat(other, false);
    expect_events(other, 1, 1);
    expect_events(worker, 1, 1);
    worker_destroy(other);
    worker_destroy(worker);
}

static void test_registry__a_revocation_names_a_node(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_REGISTRY_REVOKE,
              json_pack("{s:s}", "node_id", "01935b1e-0000-7000-8000-000000000000"),
              CYX_ERR_NOT_FOUND, &err);
    ask_error(bus, CYX_SVC_REGISTRY_ROTATE,
              json_pack("{s:s}", "node_id", "01935b1e-0000-7000-8000-000000000000"),
              CYX_ERR_NOT_FOUND, &err);
    /* This NATS has users of its own: nothing can be handed out. */
    ask_error(bus, CYX_SVC_REGISTRY_TOKEN,
              json_pack("{s:s}", "account_id", "01935b1e-0000-7000-8000-000000000000"),
              CYX_ERR_UNSUPPORTED, &err);
}

static void test_registry__refuses_strangers_and_nonsense(void **state)
{
    (void)state;
    struct worker *worker = new_worker("honest");
    struct cyx_error err = {0};
    static const struct {
        const char *key, *json, *pointer;
        enum cyx_status status;
    } cases[] = {
        {"node_id", "\"me\"", "/node_id", CYX_ERR_INVALID},
        {"boot_id", "null", "/boot_id", CYX_ERR_INVALID},
        {"devices", "[]", "/devices", CYX_ERR_INVALID},
        {"devices", "[{\"index\":0,\"backend\":\"cuda\",\"name\":\"x\",\"memory_bytes\":1}]",
         "/devices/0/backend", CYX_ERR_INVALID},
        {"devices", "[{\"index\":0,\"backend\":\"cpu\",\"name\":\"x\",\"memory_bytes\":-1}]",
         "/devices/0/memory_bytes", CYX_ERR_INVALID},
        {"price_per_hour", "1", "/price_per_hour", CYX_ERR_INVALID},
        {"cpus", "0", "/cpus", CYX_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *body = worker_enrolment(worker);
        json_object_set_new(body, cases[i].key, json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        ask_error(bus, CYX_SVC_REGISTRY_ENROL, body, cases[i].status, &err);
        assert_string_equal(err.pointer, cases[i].pointer);
    }
    ask_error(bus, CYX_SVC_REGISTRY_GET,
              json_pack("{s:s}", "node_id", "01935b1e-0000-7000-8000-000000000000"),
              CYX_ERR_NOT_FOUND, &err);
    expect_events(worker, 1, 0);
    worker_destroy(worker);
}

static void test_registry__silence_is_offline_and_a_heartbeat_brings_it_back(void **state)
{
    (void)state;
    struct worker *worker = new_worker("comes and goes");
    worker_beat(worker, false);
    int64_t start_ns = cyx_clock_monotonic_ns();
    expect_events(worker, 1, 1); /* two replicas watch, one tells */
    assert_true((cyx_clock_monotonic_ns() - start_ns) / 1000000 > LOST_MS - HEARTBEAT_MS);
    expect_status(worker, "offline");
    worker_beat(worker, true);
    expect_events(worker, 2, 1);
    expect_status(worker, "online");
    worker_destroy(worker);
}

static bool load_shows(void *ctx)
{
    json_t *node = get_node(worker_id(ctx));
    bool shows = json_integer_value(json_object_get(node, "running_jobs")) == 1 &&
                 json_real_value(json_object_get(node, "images_per_second")) == 99.0;
    json_decref(node);
    return shows;
}

static void test_registry__shows_the_newest_load_with_and_without_redis(void **state)
{
    (void)state;
    struct claim claim = {.token = 1};
    struct worker *worker = new_worker("loaded");
    cyx_id_new(claim.job_id);
    worker_holds(worker, &claim);
    assert_true(wait_for(load_shows, worker));
    servers_command("kill", "redis");
    assert_true(wait_for(load_shows, worker));
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, worker_enrolment(worker), CYX_OK));
    expect_status(worker, "online");
    servers_command("start", "redis");
    expect_events(worker, 1, 0);
    worker_destroy(worker);
}

static void test_registry__lists_in_pages(void **state)
{
    (void)state;
    struct worker *workers[5];
    for (int i = 0; i < 5; i++)
        workers[i] = new_worker("one of five");
    int seen = 0, pages = 0;
    char cursor[CYX_ID_BYTES] = "", last[CYX_ID_BYTES] = "";
    do {
        json_t *body = json_pack("{s:i, s:s}", "limit", 2, "status", "online");
        if (cursor[0])
            json_object_set_new(body, "cursor", json_string(cursor));
        json_t *reply = ask(bus, CYX_SVC_REGISTRY_LIST, body, CYX_OK);
        size_t i;
        const json_t *node;
        json_array_foreach(json_object_get(reply, "nodes"), i, node)
        {
            const char *id = json_string_value(json_object_get(node, "id"));
            assert_true(strcmp(id, last) > 0);
            snprintf(last, sizeof(last), "%s", id);
            for (int w = 0; w < 5; w++)
                seen += strcmp(id, worker_id(workers[w])) == 0;
        }
        const char *next = json_string_value(json_object_get(reply, "next_cursor"));
        snprintf(cursor, sizeof(cursor), "%s", next ? next : "");
        json_decref(reply);
        assert_true(++pages < 50);
    } while (cursor[0]);
    assert_int_equal(seen, 5);
    struct cyx_error err = {0};
    ask_error(bus, CYX_SVC_REGISTRY_LIST, json_pack("{s:s}", "status", "asleep"), CYX_ERR_INVALID,
              &err);
    assert_string_equal(err.pointer, "/status");
    for (int i = 0; i < 5; i++)
        worker_destroy(workers[i]);
}

/* A registry that starts, or was cut off from NATS, has not listened: that is no reason to call anybody lost. */
static void test_registry__deafness_is_not_their_silence(void **state)
{
    (void)state;
    struct worker *worker = new_worker("steady");
    expect_events(worker, 1, 0);
    assert_int_equal(service_stop(second, SIGTERM), 0);
    servers_command("kill", "nats");
    second = NULL;
    nanosleep(&(struct timespec){.tv_sec = 2},
              NULL); /* longer than a node may be silent: the test is time */
    servers_command("start", "nats");
    second = service_start("cyxwiz-registry", environment);
    json_decref(ask(bus, CYX_SVC_REGISTRY_ENROL, worker_enrolment(worker), CYX_OK));
    nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    expect_events(worker, 1, 0);
    expect_status(worker, "online");
    worker_destroy(worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry__enrols_a_node),
        cmocka_unit_test(test_registry__keeps_labels_and_region),
        cmocka_unit_test(test_registry__a_node_speaks_only_for_itself),
        cmocka_unit_test(test_registry__a_revoked_node_stays_out),
        cmocka_unit_test(test_registry__a_revocation_names_a_node),
        cmocka_unit_test(test_registry__refuses_strangers_and_nonsense),
        cmocka_unit_test(test_registry__silence_is_offline_and_a_heartbeat_brings_it_back),
        cmocka_unit_test(test_registry__shows_the_newest_load_with_and_without_redis),
        cmocka_unit_test(test_registry__lists_in_pages),
        cmocka_unit_test(test_registry__deafness_is_not_their_silence),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
