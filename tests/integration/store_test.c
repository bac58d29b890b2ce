/* libs/store's pool, transactions and migrations against a real PostgreSQL. */
#include "servers.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "store/migrate.h"

/* A folder of migrations of a test's own, and a schema of the same name. */
struct world {
    char folder[64], schema[32];
    struct cyx_db *db;
};

static struct cyx_db *open_db(const char *schema, unsigned size, int64_t take_timeout_ms)
{
    const struct cyx_db_options options = {.dsn = servers_env("CYXWIZ_DATABASE_URL"),
                                           .schema = schema,
                                           .size = size,
                                           .take_timeout_ms = take_timeout_ms,
                                           .statement_timeout_ms = 3000};
    struct cyx_error err = {0};
    struct cyx_db *db = NULL;
    if (cyx_db_open(&options, &db, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return db;
}

static void write_migration(const struct world *world, const char *name, const char *sql)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", world->folder, name);
    assert_int_equal(cyx_file_write_atomic(path, sql, strlen(sql), 0600, NULL), CYX_OK);
}

static void remove_migration(const struct world *world, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", world->folder, name);
    assert_int_equal(unlink(path), 0);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    unsigned char random[4];
    char hex[9];
    cyx_random_bytes(random, sizeof(random));
    cyx_hex_encode(random, sizeof(random), hex);
    snprintf(world->schema, sizeof(world->schema), "t_%s", hex);
    snprintf(world->folder, sizeof(world->folder), "/tmp/cyx-migrations-XXXXXX");
    if (!mkdtemp(world->folder))
        return -1;
    world->db = open_db(world->schema, 4, 0);
    write_migration(world, "0001_create_things.sql",
                    "create table thing (id integer primary key, name text unique,"
                    " price bigint check (price >= 0), share double precision, good boolean,"
                    " bytes bytea, at timestamptz, doc jsonb);\n"
                    "insert into thing (id, name, price) values (1, 'one', 10);\n");
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    char command[128];
    cyx_db_close(world->db);
    snprintf(command, sizeof(command), "rm -rf %s", world->folder);
    int removed = system(command);
    free(world);
    return removed;
}

static void migrate(struct world *world)
{
    struct cyx_error err = {0};
    if (cyx_migrate(world->db, world->folder, &err) != CYX_OK)
        fail_msg("%s", err.message);
}

static struct cyx_db_conn *take(struct cyx_db *db)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = NULL;
    if (cyx_db_take(db, &conn, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return conn;
}

/* The only value of a query without parameters, as a number. */
static int64_t number(struct cyx_db *db, const char *sql)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = take(db);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    if (cyx_db_query_one(conn, sql, &row, &err) != CYX_OK)
        fail_msg("%s", err.message);
    int64_t value = cyx_db_int(row, 0, 0);
    cyx_db_give(conn);
    return value;
}

/* ---- queries ---- */

static void test_db__values_come_back_as_they_went(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    migrate(world);
    struct cyx_db_conn *conn = take(world->db);
    const char text[] = "O'Brien; drop table thing; -- ü";
    const unsigned char bytes[] = {0, 1, '\\', 255, 0};
    int64_t at_ms = 1795487100125;
    assert_int_equal(
        cyx_db_query(conn,
                     "insert into thing (id, name, price, share, good, bytes, at, doc) values"
                     " ($1, $2, $3, $4, $5, $6, to_timestamp($7 / 1000.0), $8)",
                     NULL, &err, CYX_DB_INT(2), CYX_DB_TEXT(text), CYX_DB_INT(INT64_MAX),
                     CYX_DB_DOUBLE(0.1), CYX_DB_BOOL(true), CYX_DB_BYTES(bytes, sizeof(bytes)),
                     CYX_DB_TIME_MS(at_ms), CYX_DB_TEXT("{\"a\": [1, 2]}")),
        CYX_OK);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    assert_int_equal(
        cyx_db_query_one(conn,
                         "select name, price, share, good, bytes, at, doc->'a'->>1, null"
                         " from thing where name = $1",
                         &row, &err, CYX_DB_TEXT(text)),
        CYX_OK);
    assert_string_equal(cyx_db_text(row, 0, 0), text);
    assert_int_equal(cyx_db_int(row, 0, 1), INT64_MAX);
    assert_true(cyx_db_double(row, 0, 2) == 0.1);
    assert_true(cyx_db_bool(row, 0, 3));
    void *back = NULL;
    size_t length = 0;
    assert_int_equal(cyx_db_bytes(row, 0, 4, &back, &length), CYX_OK);
    assert_int_equal(length, sizeof(bytes));
    assert_memory_equal(back, bytes, length);
    free(back);
    assert_int_equal(cyx_db_time_ms(row, 0, 5), at_ms);
    assert_int_equal(cyx_db_int(row, 0, 6), 2);
    assert_true(cyx_db_null(row, 0, 7));
    assert_string_equal(cyx_db_text(row, 0, 7), "");
    cyx_db_give(conn);
}

static void test_db__no_number_and_infinity_survive(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = take(world->db);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    assert_int_equal(cyx_db_query_one(conn, "select $1::float8, $2::float8", &row, &err,
                                      CYX_DB_DOUBLE(NAN), CYX_DB_DOUBLE(-INFINITY)),
                     CYX_OK);
    assert_true(isnan(cyx_db_double(row, 0, 0)));
    assert_true(cyx_db_double(row, 0, 1) == -INFINITY);
    cyx_db_give(conn);
}

static void test_db__sqlstates_become_statuses(void **state)
{
    struct world *world = *state;
    migrate(world);
    static const struct {
        const char *sql;
        enum cyx_status status;
        const char *constraint;
    } rows[] = {
        {"insert into thing (id) values (1)", CYX_ERR_CONFLICT, "thing_pkey"},
        {"insert into thing (id, name) values (2, 'one')", CYX_ERR_CONFLICT, "thing_name_key"},
        {"insert into thing (id, price) values (3, -1)", CYX_ERR_INVALID, "thing_price_check"},
        {"select 'soon'::timestamptz", CYX_ERR_INVALID, ""},
        {"select pg_sleep(20)", CYX_ERR_TIMEOUT, ""},
        {"select * from no_such_table", CYX_ERR_INTERNAL, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cyx_error err = {0};
        struct cyx_db_conn *conn = take(world->db);
        assert_int_equal(cyx_db_query(conn, rows[i].sql, NULL, &err), rows[i].status);
        assert_string_equal(cyx_db_constraint(conn), rows[i].constraint);
        assert_non_null(strstr(err.message, cyx_db_sqlstate(conn)));
        cyx_db_give(conn);
    }
}

static void test_db__one_row_means_one(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = take(world->db);
    assert_int_equal(
        cyx_db_query_one(conn, "select 1 from thing where id = $1", NULL, &err, CYX_DB_INT(77)),
        CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_db_query_one(conn, "select generate_series(1, 2)", NULL, &err),
                     CYX_ERR_INTERNAL);
    CYX_CLEANUP_RESULT struct cyx_db_result *done = NULL;
    assert_int_equal(cyx_db_query(conn, "update thing set price = 11", &done, &err), CYX_OK);
    assert_int_equal(cyx_db_affected(done), 1);
    cyx_db_give(conn);
}

/* ---- pool ---- */

static void test_db__an_exhausted_pool_times_out_and_recovers(void **state)
{
    struct world *world = *state;
    struct cyx_db *db = open_db(world->schema, 2, 200);
    struct cyx_db_conn *first = take(db), *second = take(db), *third = NULL;
    struct cyx_error err = {0};
    int64_t start = cyx_clock_monotonic_ns();
    assert_int_equal(cyx_db_take(db, &third, &err), CYX_ERR_TIMEOUT);
    int64_t waited_ms = (cyx_clock_monotonic_ns() - start) / 1000000;
    assert_in_range(waited_ms, 190, 2000);
    assert_non_null(strstr(err.message, "all 2 connections were busy"));
    assert_int_equal(cyx_db_busy(db), 2);
    cyx_db_give(second);
    third = take(db);
    cyx_db_give(third);
    cyx_db_give(first);
    assert_int_equal(cyx_db_busy(db), 0);
    cyx_db_close(db);
}

struct waiter {
    struct cyx_db *db;
    struct latch got;
};

static void *wait_for_connection(void *ctx)
{
    struct waiter *waiter = ctx;
    struct cyx_db_conn *conn = NULL;
    if (cyx_db_take(waiter->db, &conn, NULL) == CYX_OK) {
        cyx_db_give(conn);
        latch_add(&waiter->got, 1);
    }
    return NULL;
}

static void test_db__who_waits_gets_the_connection_given_back(void **state)
{
    struct world *world = *state;
    struct waiter waiter = {.db = open_db(world->schema, 1, 20000), .got = LATCH_INIT};
    struct cyx_db_conn *only = take(waiter.db);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_connection, &waiter), 0);
    cyx_db_give(only);
    assert_true(latch_wait(&waiter.got, 1));
    pthread_join(thread, NULL);
    cyx_db_close(waiter.db);
}

static void test_db__an_open_transaction_is_rolled_back_when_given_back(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = take(world->db);
    assert_int_equal(cyx_db_script(conn, "begin; delete from thing", &err), CYX_OK);
    cyx_db_give(conn);
    assert_int_equal(number(world->db, "select count(*) from thing"), 1);
}

static void test_db__the_pool_survives_a_restarted_server(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = take(world->db), *other = take(world->db);
    cyx_db_give(other); /* one idle, one in use */
    servers_command("kill", "postgres");
    assert_int_equal(cyx_db_query(conn, "select 1", NULL, &err), CYX_ERR_UNAVAILABLE);
    cyx_db_give(conn);
    assert_int_equal(cyx_db_ping(world->db, &err), CYX_ERR_UNAVAILABLE);
    servers_command("start", "postgres");
    for (int i = 0; i < 4; i++)
        assert_int_equal(cyx_db_ping(world->db, &err), CYX_OK);
    assert_int_equal(number(world->db, "select count(*) from thing"), 1);
}

static void test_db__a_wrong_address_or_name_is_told(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct cyx_db *db = NULL;
    struct cyx_db_options options = {
        .dsn = "host=/nowhere/at/all dbname=x password=secret", .schema = "s", .wait_ms = 200};
    assert_int_equal(cyx_db_open(&options, &db, &err), CYX_ERR_UNAVAILABLE);
    assert_null(strstr(err.message, "secret"));
    options.schema = "bad-name";
    assert_int_equal(cyx_db_open(&options, &db, &err), CYX_ERR_INVALID);
    char dsn[512];
    snprintf(dsn, sizeof(dsn), "%s dbname=absent", servers_env("CYXWIZ_DATABASE_URL"));
    options = (struct cyx_db_options){.dsn = dsn, .schema = "s", .wait_ms = 20000};
    int64_t start = cyx_clock_monotonic_ns();
    assert_int_equal(cyx_db_open(&options, &db, &err), CYX_ERR_UNAVAILABLE);
    assert_true(cyx_clock_monotonic_ns() - start < 5000000000); /* waiting would not help */
    assert_non_null(strstr(err.message, "absent"));
}

/* ---- transactions ---- */

struct increment {
    struct latch *both_read; /* makes two transactions collide on their first try */
    int tries;
};

static enum cyx_status increment(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct increment *self = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_query_one(conn, "select price from thing where id = 1", &row, err);
    if (status != CYX_OK)
        return status;
    if (self->tries++ == 0) {
        latch_add(self->both_read, 1);
        if (!latch_wait(self->both_read, 2))
            return CYX_ERR_INTERNAL;
    }
    return cyx_db_query(conn, "update thing set price = $1 where id = 1", NULL, err,
                        CYX_DB_INT(cyx_db_int(row, 0, 0) + 1));
}

struct runner {
    struct cyx_db *db;
    struct increment increment;
    enum cyx_status status;
};

static void *run_increment(void *ctx)
{
    struct runner *runner = ctx;
    runner->status =
        cyx_db_transaction_serializable(runner->db, increment, &runner->increment, NULL);
    return NULL;
}

static void test_transaction__a_serialization_failure_is_tried_again(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct latch both_read = LATCH_INIT;
    struct runner runners[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        runners[i] = (struct runner){.db = world->db, .increment = {.both_read = &both_read}};
        assert_int_equal(pthread_create(&threads[i], NULL, run_increment, &runners[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(runners[i].status, CYX_OK);
    }
    assert_int_equal(runners[0].increment.tries + runners[1].increment.tries, 3);
    assert_int_equal(number(world->db, "select price from thing where id = 1"), 12);
}

static enum cyx_status change_then_fail(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    (*(int *)ctx)++;
    enum cyx_status status = cyx_db_query(conn, "delete from thing", NULL, err);
    return status == CYX_OK ? cyx_error_set(err, CYX_ERR_DENIED, "/x", "no") : status;
}

static void test_transaction__a_refusal_rolls_back_once(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    int runs = 0;
    assert_int_equal(cyx_db_transaction(world->db, change_then_fail, &runs, &err), CYX_ERR_DENIED);
    assert_string_equal(err.pointer, "/x");
    assert_int_equal(runs, 1);
    assert_int_equal(number(world->db, "select count(*) from thing"), 1);
}

static enum cyx_status lose_connection_once(void *ctx, struct cyx_db_conn *conn,
                                            struct cyx_error *err)
{
    int *runs = ctx;
    enum cyx_status status = cyx_db_query(conn, "update thing set price = price + 1", NULL, err);
    if (status == CYX_OK && (*runs)++ == 0)
        status = cyx_db_query(conn, "select pg_terminate_backend(pg_backend_pid())", NULL, err);
    return status;
}

static void test_transaction__a_lost_connection_before_commit_is_tried_again(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    int runs = 0;
    assert_int_equal(cyx_db_transaction(world->db, lose_connection_once, &runs, &err), CYX_OK);
    assert_int_equal(runs, 2);
    assert_int_equal(number(world->db, "select price from thing where id = 1"), 11);
}

static enum cyx_status hide_failure(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    (void)ctx;
    cyx_db_query(conn, "insert into thing (id) values (1)", NULL, err);
    return CYX_OK;
}

static void test_transaction__a_hidden_failure_does_not_commit(void **state)
{
    struct world *world = *state;
    migrate(world);
    struct cyx_error err = {0};
    assert_int_equal(cyx_db_transaction(world->db, hide_failure, NULL, &err), CYX_ERR_INTERNAL);
}

/* ---- migrations ---- */

static void test_migrate__each_file_runs_once_and_in_order(void **state)
{
    struct world *world = *state;
    write_migration(world, "0002_add_thing.sql", "insert into thing (id) values (2);");
    write_migration(world, "0010_add_other.sql",
                    "insert into thing (id) select max(id) + 1 from thing;");
    write_migration(world, "README.md", "not a migration");
    migrate(world);
    migrate(world);
    assert_int_equal(number(world->db, "select count(*) from thing"), 3);
    assert_int_equal(number(world->db, "select max(id) from thing"), 3);
    assert_int_equal(number(world->db, "select count(*) from schema_migrations"), 3);
}

static void test_migrate__a_changed_file_is_refused(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    migrate(world);
    write_migration(world, "0001_create_things.sql", "select 1;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_CONFLICT);
    assert_non_null(strstr(err.message, "0001_create_things.sql was changed after it was applied"));
}

static void test_migrate__a_removed_or_late_file_is_refused(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    write_migration(world, "0003_select_one.sql", "select 1;");
    migrate(world);
    write_migration(world, "0002_come_late.sql", "select 1;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_CONFLICT);
    assert_non_null(strstr(err.message, "give it a higher number"));
    remove_migration(world, "0002_come_late.sql");
    remove_migration(world, "0001_create_things.sql");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_CONFLICT);
    assert_non_null(strstr(err.message, "is missing in"));
}

static void test_migrate__an_older_release_starts_beside_a_newer_schema(void **state)
{
    struct world *world = *state;
    write_migration(world, "0002_select_one.sql", "select 1;");
    migrate(world);
    remove_migration(world, "0002_select_one.sql");
    migrate(world);
}

static void test_migrate__a_failing_file_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    write_migration(world, "0002_break_things.sql",
                    "create table half (id integer); select no_column;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "0002_break_things.sql"));
    char sql[128];
    snprintf(sql, sizeof(sql), "select count(*) from pg_tables where schemaname = '%s'",
             world->schema);
    assert_int_equal(number(world->db, sql), 0);
}

static void test_migrate__names_and_own_commits_are_refused(void **state)
{
    struct world *world = *state;
    struct cyx_error err = {0};
    write_migration(world, "2_short.sql", "select 1;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_INVALID);
    assert_non_null(strstr(err.message, "NNNN_verb_noun.sql"));
    remove_migration(world, "2_short.sql");
    write_migration(world, "0001_same_number.sql", "select 1;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_INVALID);
    remove_migration(world, "0001_same_number.sql");
    write_migration(world, "0002_commit_early.sql", "select 1; commit;");
    assert_int_equal(cyx_migrate(world->db, world->folder, &err), CYX_ERR_INVALID);
    assert_non_null(strstr(err.message, "ends the transaction"));
}

struct starter {
    struct world *world;
    struct cyx_db *db;
    enum cyx_status status;
    struct cyx_error err;
};

static void *start_replica(void *ctx)
{
    struct starter *starter = ctx;
    starter->status = cyx_migrate(starter->db, starter->world->folder, &starter->err);
    return NULL;
}

static void test_migrate__replicas_may_start_at_once(void **state)
{
    struct world *world = *state;
    struct starter starters[6];
    pthread_t threads[6];
    write_migration(world, "0002_wait_little.sql", "select pg_sleep(0.2);");
    for (int i = 0; i < 6; i++) {
        starters[i] = (struct starter){.world = world, .db = open_db(world->schema, 1, 0)};
        assert_int_equal(pthread_create(&threads[i], NULL, start_replica, &starters[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        if (starters[i].status != CYX_OK)
            fail_msg("%s", starters[i].err.message);
        cyx_db_close(starters[i].db);
    }
    assert_int_equal(number(world->db, "select count(*) from thing"), 1);
}

/* From its second use on a statement is prepared; a table that changes under it costs one failure, then it is right. */
static void test_db__repeated_statements_are_prepared(void **state)
{
    struct world *world = *state;
    static const char *const sql = "select * from thing where id = $1";
    struct cyx_error err = {0};
    migrate(world);
    struct cyx_db_conn *conn = take(world->db);
    CYX_CLEANUP_RESULT struct cyx_db_result *names = NULL;
    for (int i = 0; i < 4; i++) {
        CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
        assert_int_equal(cyx_db_query_one(conn, sql, &rows, &err, CYX_DB_INT(1)), CYX_OK);
        assert_string_equal(cyx_db_text(rows, 0, 1), "one");
    }
    assert_int_equal(cyx_db_query_one(conn,
                                      "select count(*) from pg_prepared_statements where "
                                      "statement like 'select * from thing%'",
                                      &names, &err),
                     CYX_OK);
    assert_int_equal(cyx_db_int(names, 0, 0), 1);
    assert_int_equal(cyx_db_script(conn, "alter table thing drop column doc", &err), CYX_OK);
    assert_int_not_equal(cyx_db_query(conn, sql, NULL, &err, CYX_DB_INT(1)), CYX_OK);
    cyx_db_give(conn); /* its session is replaced */
    conn = take(world->db);
    assert_int_equal(cyx_db_query(conn, sql, NULL, &err, CYX_DB_INT(1)), CYX_OK);
    /* One that is wrong says so each time, and leaves the session usable. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(cyx_db_query(conn, "select nothing from thing", NULL, &err),
                         CYX_ERR_INTERNAL);
    assert_int_equal(cyx_db_query(conn, sql, NULL, &err, CYX_DB_INT(1)), CYX_OK);
    cyx_db_give(conn);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    servers_env("CYXWIZ_DATABASE_URL");
    const struct CMUnitTest tests[] = {
        TEST(test_db__values_come_back_as_they_went),
        TEST(test_db__no_number_and_infinity_survive),
        TEST(test_db__sqlstates_become_statuses),
        TEST(test_db__one_row_means_one),
        TEST(test_db__an_exhausted_pool_times_out_and_recovers),
        TEST(test_db__who_waits_gets_the_connection_given_back),
        TEST(test_db__an_open_transaction_is_rolled_back_when_given_back),
        TEST(test_db__the_pool_survives_a_restarted_server),
        TEST(test_db__a_wrong_address_or_name_is_told),
        TEST(test_transaction__a_serialization_failure_is_tried_again),
        TEST(test_transaction__a_refusal_rolls_back_once),
        TEST(test_transaction__a_lost_connection_before_commit_is_tried_again),
        TEST(test_transaction__a_hidden_failure_does_not_commit),
        TEST(test_migrate__each_file_runs_once_and_in_order),
        TEST(test_migrate__a_changed_file_is_refused),
        TEST(test_migrate__a_removed_or_late_file_is_refused),
        TEST(test_migrate__an_older_release_starts_beside_a_newer_schema),
        TEST(test_migrate__a_failing_file_leaves_nothing_behind),
        TEST(test_migrate__names_and_own_commits_are_refused),
        TEST(test_migrate__replicas_may_start_at_once),
        TEST(test_db__repeated_statements_are_prepared),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
