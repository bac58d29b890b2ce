/*
 * The outbox from PostgreSQL into JetStream: what is committed arrives once and in order, also when the relay is killed
 * in the middle, when NATS is away, and when replicas share the work. And the inbox.
 */
#include "servers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "bus/stream.h"
#include "store/migrate.h"
#include "store/outbox.h"
#include "svc/svc.h"

static const char *own_path;

struct world {
    char schema[32], subject[64];
    struct cyx_db *db;
    struct cyx_bus *bus;
    struct cyx_outbox_relay *relay;
};

static struct cyx_db *open_db(const char *schema)
{
    const struct cyx_db_options options = {
        .dsn = servers_env("CYXWIZ_DATABASE_URL"), .schema = schema, .size = 4};
    struct cyx_error err = {0};
    struct cyx_db *db = NULL;
    if (cyx_db_open(&options, &db, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return db;
}

static struct cyx_bus *open_bus(void)
{
    const struct cyx_bus_options options = {.url = servers_env("CYXWIZ_NATS_URL"), .name = "test"};
    struct cyx_error err = {0};
    struct cyx_bus *bus = NULL;
    if (cyx_bus_connect(&options, &bus, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return bus;
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct cyx_error err = {0};
    unsigned char random[4];
    char hex[9], subjects[64];
    cyx_random_bytes(random, sizeof(random));
    cyx_hex_encode(random, sizeof(random), hex);
    snprintf(world->schema, sizeof(world->schema), "o_%s", hex);
    snprintf(world->subject, sizeof(world->subject), "%s.event", world->schema);
    snprintf(subjects, sizeof(subjects), "%s.>", world->schema);
    world->db = open_db(world->schema);
    world->bus = open_bus();
    if (cyx_migrate(world->db, CYX_SOURCE_DIR "/tests/integration/outbox_migrations", &err) !=
        CYX_OK)
        fail_msg("%s", err.message);
    const struct cyx_bus_stream stream = {.name = world->schema, .subjects = {subjects}};
    if (cyx_bus_ensure_stream(world->bus, &stream, &err) != CYX_OK)
        fail_msg("%s", err.message);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    cyx_outbox_relay_stop(world->relay, 0);
    cyx_bus_destroy(world->bus);
    cyx_db_close(world->db);
    free(world);
    return 0;
}

static void start_relay(struct world *world)
{
    struct cyx_error err = {0};
    if (cyx_outbox_relay_start(world->db, cyx_svc_publish, world->bus, &world->relay, &err) !=
        CYX_OK)
        fail_msg("%s", err.message);
}

/* ---- adding events ---- */

struct addition {
    const struct world *world;
    int from, to;
    bool fail;
};

static enum cyx_status add_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct addition *addition = ctx;
    enum cyx_status status = CYX_OK;
    for (int i = addition->from; status == CYX_OK && i < addition->to; i++) {
        char id[32], json[32];
        snprintf(id, sizeof(id), "event-%d", i);
        snprintf(json, sizeof(json), "%d", i);
        const struct cyx_outbox_event event = {.subject = addition->world->subject,
                                               .message_id = id,
                                               .request_id = "req-7",
                                               .json = json};
        status = cyx_outbox_add_event(conn, &event, err);
    }
    if (status == CYX_OK && addition->fail)
        return CYX_ERR_CANCELLED;
    return status;
}

static void add(const struct world *world, int from, int to)
{
    struct addition addition = {.world = world, .from = from, .to = to};
    struct cyx_error err = {0};
    if (cyx_db_transaction(world->db, add_body, &addition, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

/* ---- watching the stream ---- */

struct watched {
    struct latch count;
    int next;
    bool in_order, has_ids;
};

static void on_message(void *ctx, const struct cyx_bus_message *message)
{
    struct watched *watched = ctx;
    char id[32];
    snprintf(id, sizeof(id), "event-%s", message->data);
    watched->in_order &= strtol(message->data, NULL, 10) == watched->next++;
    watched->has_ids &= strcmp(message->message_id, id) == 0 && message->meta.request_id &&
                        strcmp(message->meta.request_id, "req-7") == 0;
    latch_add(&watched->count, 1);
}

static struct cyx_bus_tail *watch(const struct world *world, struct watched *watched)
{
    struct cyx_error err = {0};
    struct cyx_bus_tail *tail = NULL;
    *watched = (struct watched){.count = LATCH_INIT, .in_order = true, .has_ids = true};
    if (cyx_bus_tail(world->bus, world->schema, ">", 1, on_message, watched, &tail, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return tail;
}

static int64_t waiting(const struct world *world)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    if (cyx_db_take(world->db, &conn, &err) != CYX_OK ||
        cyx_db_query_one(conn, "select count(*) from outbox", &row, &err) != CYX_OK)
        fail_msg("%s", err.message);
    cyx_db_give(conn);
    return cyx_db_int(row, 0, 0);
}

static bool nothing_waits(void *ctx)
{
    return waiting(ctx) == 0;
}

/* The relay counts a batch when its transaction is over: just behind what others see of it. */
static bool all_are_counted(void *ctx)
{
    const struct world *world = ctx;
    return cyx_outbox_relay_published(world->relay) == 201;
}

static void test_outbox__a_commit_is_published_at_once_and_a_rollback_never(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    start_relay(world);
    add(world, 0, 1);
    assert_true(latch_wait(&watched.count, 1)); /* the relay idles from here on */
    assert_true(wait_for(nothing_waits, world));
    struct addition cancelled = {.world = world, .from = 1, .to = 5, .fail = true};
    assert_int_equal(cyx_db_transaction(world->db, add_body, &cancelled, NULL), CYX_ERR_CANCELLED);
    add(world, 1, 171);
    assert_true(latch_wait(&watched.count, 171));
    int64_t start = cyx_clock_monotonic_ns();
    for (int i = 171; i < 201; i++) { /* each begins behind a poll: by polls alone it takes 30 s */
        assert_true(wait_for(nothing_waits, world));
        add(world, i, i + 1);
        assert_true(latch_wait(&watched.count, i + 1));
    }
    assert_true(cyx_clock_monotonic_ns() - start < 15000000000);
    assert_true(watched.in_order);
    assert_true(watched.has_ids);
    assert_true(wait_for(all_are_counted, world));
    cyx_bus_tail_stop(tail);
}

static void test_outbox__a_message_id_is_taken_once(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    add(world, 0, 1);
    struct addition again = {.world = world, .from = 0, .to = 1};
    assert_int_equal(cyx_db_transaction(world->db, add_body, &again, &err), CYX_ERR_CONFLICT);
}

static void test_outbox__what_waits_is_found_at_start_and_flushed_at_stop(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    add(world, 0, 300);
    start_relay(world);
    assert_true(latch_wait(&watched.count, 300));
    add(world, 300, 500);
    cyx_outbox_relay_stop(world->relay, 10000);
    world->relay = NULL;
    assert_int_equal(waiting(world), 0);
    assert_true(latch_wait(&watched.count, 500));
    assert_true(watched.in_order);
    cyx_bus_tail_stop(tail);
}

static void test_outbox__events_wait_while_nats_is_away(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    start_relay(world);
    add(world, 0, 10);
    assert_true(latch_wait(&watched.count, 10));
    servers_command("kill", "nats");
    add(world, 10, 200); /* the database goes on */
    servers_command("start", "nats");
    assert_true(latch_wait(&watched.count, 200));
    assert_true(wait_for(nothing_waits, world));
    assert_true(watched.in_order);
    assert_int_equal(latch_count(&watched.count), 200);
    cyx_bus_tail_stop(tail);
}

static void test_outbox__events_wait_while_postgres_is_away(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    start_relay(world);
    add(world, 0, 10);
    assert_true(latch_wait(&watched.count, 10));
    servers_command("kill", "postgres");
    servers_command("start", "postgres");
    add(world, 10, 100);
    assert_true(latch_wait(&watched.count, 100));
    assert_true(watched.in_order);
    cyx_bus_tail_stop(tail);
}

struct pair {
    struct cyx_outbox_relay *one, *other;
};

static bool both_published_all(void *ctx)
{
    const struct pair *pair = ctx; /* they count behind the commit that empties the outbox */
    return cyx_outbox_relay_published(pair->one) + cyx_outbox_relay_published(pair->other) == 2000;
}

static void test_outbox__replicas_share_without_doubling(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    struct cyx_db *other_db = open_db(world->schema);
    struct cyx_outbox_relay *other = NULL;
    struct cyx_error err = {0};
    start_relay(world);
    assert_int_equal(cyx_outbox_relay_start(other_db, cyx_svc_publish, world->bus, &other, &err),
                     CYX_OK);
    for (int i = 0; i < 20; i++) {
        add(world, 100 * i, 100 * i + 100);
        cyx_outbox_wake(other);
    }
    assert_true(latch_wait(&watched.count, 2000));
    assert_true(wait_for(nothing_waits, world));
    assert_true(wait_for(both_published_all, &(struct pair){world->relay, other}));
    cyx_outbox_relay_stop(other, 0);
    cyx_db_close(other_db);
    cyx_bus_tail_stop(tail);
}

/* ---- a relay in a process of its own, killed in the middle ---- */

static int relay_main(const char *schema)
{
    struct world world = {.db = open_db(schema), .bus = open_bus()};
    start_relay(&world);
    pause();
    return 0;
}

static pid_t start_relay_process(const struct world *world)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl(own_path, own_path, "relay", world->schema, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static void test_outbox__a_killed_relay_neither_loses_nor_doubles(void **state)
{
    struct world *world = *state;
    struct watched watched;
    struct cyx_bus_tail *tail = watch(world, &watched);
    enum { EVENTS = 4000, KILLS = 5 };
    add(world, 0, EVENTS);
    for (int kill_number = 0; kill_number <= KILLS; kill_number++) {
        pid_t pid = start_relay_process(world);
        if (kill_number < KILLS) { /* in the middle of a batch of 64, somewhere else each time */
            assert_true(latch_wait(&watched.count, 600 * kill_number + 13 * kill_number + 101));
        } else {
            assert_true(latch_wait(&watched.count, EVENTS));
            assert_true(wait_for(nothing_waits, world));
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (kill_number < KILLS)
            assert_true(waiting(world) > 0);
    }
    assert_int_equal(latch_count(&watched.count), EVENTS);
    assert_true(watched.in_order); /* 0 to 3999, each once */
    cyx_bus_tail_stop(tail);
}

/* ---- inbox ---- */

struct delivery {
    const char *id;
    bool seen, fail;
};

static enum cyx_status deliver(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct delivery *delivery = ctx;
    enum cyx_status status = cyx_inbox_seen(conn, "ledger", delivery->id, &delivery->seen, err);
    if (status != CYX_OK || delivery->seen)
        return status;
    status = cyx_db_query(conn, "update counter set value = value + 1", NULL, err);
    return status == CYX_OK && delivery->fail ? CYX_ERR_CANCELLED : status;
}

static void *deliver_main(void *ctx)
{
    struct world *world = ctx;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "m-%d", i);
        struct delivery delivery = {.id = id};
        if (cyx_db_transaction(world->db, deliver, &delivery, NULL) != CYX_OK)
            return ctx;
    }
    return NULL;
}

static void test_inbox__a_message_counts_once(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    struct delivery delivery = {.id = "once", .fail = true};
    assert_int_equal(cyx_db_transaction(world->db, deliver, &delivery, &err), CYX_ERR_CANCELLED);
    delivery.fail = false;
    assert_int_equal(cyx_db_transaction(world->db, deliver, &delivery, &err), CYX_OK);
    assert_false(delivery.seen); /* the failed try left nothing behind */
    assert_int_equal(cyx_db_transaction(world->db, deliver, &delivery, &err), CYX_OK);
    assert_true(delivery.seen);
    delivery.id = "";
    assert_int_equal(cyx_db_transaction(world->db, deliver, &delivery, &err), CYX_ERR_INVALID);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, deliver_main, world), 0);
    for (int i = 0; i < 3; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    struct cyx_db_conn *conn = NULL;
    assert_int_equal(cyx_db_take(world->db, &conn, &err), CYX_OK);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    assert_int_equal(cyx_db_query_one(conn, "select value from counter", &row, &err), CYX_OK);
    assert_int_equal(cyx_db_int(row, 0, 0), 51);
    cyx_db_give(conn);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    servers_env("CYXWIZ_DATABASE_URL");
    servers_env("CYXWIZ_NATS_URL");
    signal(SIGPIPE, SIG_IGN);
    own_path = argv[0];
    if (argc == 3 && strcmp(argv[1], "relay") == 0)
        return relay_main(argv[2]);
    const struct CMUnitTest tests[] = {
        TEST(test_outbox__a_commit_is_published_at_once_and_a_rollback_never),
        TEST(test_outbox__a_message_id_is_taken_once),
        TEST(test_outbox__what_waits_is_found_at_start_and_flushed_at_stop),
        TEST(test_outbox__events_wait_while_nats_is_away),
        TEST(test_outbox__events_wait_while_postgres_is_away),
        TEST(test_outbox__replicas_share_without_doubling),
        TEST(test_outbox__a_killed_relay_neither_loses_nor_doubles),
        TEST(test_inbox__a_message_counts_once),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
