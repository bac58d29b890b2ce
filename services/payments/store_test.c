#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"
#include "store.h"
#include "store/migrate.h"

/* The real ledger in a real PostgreSQL (CYXWIZ_DATABASE_URL, set by tests/support/servers). */

struct step {
    const char *job, *account, *node;
    const char *other; /* a second node, which gets 7 of the nodes' part; NULL: none */
    int64_t amount;
    enum cyx_hold_outcome outcome;
    bool settled;
    struct store_balance balance;
    struct store_escrow escrow;
};

static int open_db(void **state)
{
    struct cyx_error err = {0};
    struct cyx_db *db = NULL;
    struct cyx_db_options options = {.dsn = getenv("CYXWIZ_DATABASE_URL"), .schema = "payments"};
    if (cyx_db_open(&options, &db, &err) != CYX_OK ||
        cyx_migrate(db, CYX_SOURCE_DIR "/migrations/payments", &err) != CYX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    *state = db;
    return 0;
}

static int close_db(void **state)
{
    cyx_db_close(*state);
    return 0;
}

static enum cyx_status do_hold(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct step *s = ctx;
    return store_hold(conn, s->job, s->account, s->amount, &s->outcome, err);
}

static enum cyx_status do_settle(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct step *s = ctx;
    struct cyx_payments_shares shares = cyx_payments_split(s->amount);
    const struct store_payee payees[] = {{s->node, shares.node_base_units - (s->other ? 7 : 0)},
                                         {s->other, 7}};
    return store_settle(conn, s->job, s->account, payees,
                        s->other  ? 2
                        : s->node ? 1
                                  : 0,
                        s->amount, shares, &s->settled, err);
}

static enum cyx_status do_read(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct step *s = ctx;
    enum cyx_status status = store_balance(conn, s->account, &s->balance, err);
    if (status == CYX_OK && s->job)
        status = store_escrow_get(conn, s->job, false, &s->escrow, err);
    return status;
}

static enum cyx_status do_audit(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    (void)ctx;
    return store_audit(conn, err);
}

static void run(struct cyx_db *db, cyx_db_body body, struct step *step)
{
    struct cyx_error err = {0};
    enum cyx_status status = cyx_db_transaction(db, body, step, &err);
    if (status != CYX_OK)
        fail_msg("%s", err.message);
}

static void test_ledger__hold_and_release_balance_and_repeat_to_nothing(void **state)
{
    struct cyx_db *db = *state;
    char account[CYX_ID_BYTES], job[CYX_ID_BYTES], node[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(job);
    cyx_id_new(node);
    struct step s = {.job = job, .account = account, .node = node, .amount = 5000000000};
    run(db, do_hold, &s);
    assert_int_equal(s.outcome, CYX_HOLD_HELD);
    run(db, do_hold, &s);
    assert_int_equal(s.outcome, CYX_HOLD_DONE_BEFORE);
    run(db, do_read, &s);
    assert_int_equal(s.balance.available, CYX_PAYMENTS_WELCOME_BASE_UNITS - 5000000000);
    assert_int_equal(s.balance.held, 5000000000);
    run(db, do_audit, NULL);

    s.amount = 1000000009;
    run(db, do_settle, &s);
    assert_true(s.settled);
    run(db, do_settle, &s);
    assert_false(s.settled);
    run(db, do_read, &s);
    assert_string_equal(s.escrow.state, "settled");
    assert_int_equal(s.escrow.platform_fee, 100000000);
    assert_int_equal(s.escrow.node_share, 900000009);
    assert_int_equal(s.escrow.refunded, 3999999991);
    assert_int_equal(s.balance.held, 0);
    assert_int_equal(s.balance.available, CYX_PAYMENTS_WELCOME_BASE_UNITS - 1000000009);
    run(db, do_audit, NULL);
}

static enum cyx_status do_shares(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct step *s = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = store_shares(conn, s->job, &rows, err);
    if (status != CYX_OK)
        return status;
    assert_int_equal(cyx_db_rows(rows), 2);
    assert_string_equal(cyx_db_text(rows, 0, 0), s->node);
    assert_int_equal(cyx_db_int(rows, 0, 1), 92);
    assert_string_equal(cyx_db_text(rows, 1, 0), s->other);
    assert_int_equal(cyx_db_int(rows, 1, 1), 7);
    return CYX_OK;
}

static void test_ledger__several_nodes_are_paid_by_one_transfer(void **state)
{
    struct cyx_db *db = *state;
    char account[CYX_ID_BYTES], job[CYX_ID_BYTES], node[CYX_ID_BYTES], other[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(job);
    cyx_id_new(node);
    cyx_id_new(other);
    struct step s = {
        .job = job, .account = account, .node = node, .other = other, .amount = 5000000000};
    run(db, do_hold, &s);
    s.amount = 110; /* 11 for the platform */
    run(db, do_settle, &s);
    assert_true(s.settled);
    run(db, do_settle, &s);
    assert_false(s.settled);
    run(db, do_shares, &s);
    run(db, do_read, &s);
    assert_int_equal(s.escrow.node_share, 99);
    assert_string_equal(s.escrow.node_id, node);
    run(db, do_audit, NULL);
}

static void test_ledger__a_job_that_ended_first_is_never_held(void **state)
{
    struct cyx_db *db = *state;
    char account[CYX_ID_BYTES], job[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(job);
    struct step s = {.job = job, .account = account, .amount = 0};
    run(db, do_settle, &s);
    assert_false(s.settled);
    s.amount = 7;
    run(db, do_hold, &s);
    assert_int_equal(s.outcome, CYX_HOLD_DONE_BEFORE);
    run(db, do_read, &s);
    assert_string_equal(s.escrow.state, "void");
    assert_int_equal(s.balance.available, CYX_PAYMENTS_WELCOME_BASE_UNITS);
}

static void test_ledger__refuses_more_than_the_balance_and_more_than_was_held(void **state)
{
    struct cyx_db *db = *state;
    struct cyx_error err = {0};
    char account[CYX_ID_BYTES], job[CYX_ID_BYTES], other[CYX_ID_BYTES];
    cyx_id_new(account);
    cyx_id_new(job);
    cyx_id_new(other);
    struct step s = {.job = job, .account = account, .amount = CYX_PAYMENTS_WELCOME_BASE_UNITS + 1};
    run(db, do_hold, &s);
    assert_int_equal(s.outcome, CYX_HOLD_REFUSED);
    run(db, do_read, &s);
    assert_string_equal(s.escrow.state, "refused");
    assert_int_equal(s.balance.available, CYX_PAYMENTS_WELCOME_BASE_UNITS);

    s.job = other;
    s.amount = 10;
    run(db, do_hold, &s);
    s.amount = 11;
    s.node = job;
    assert_int_equal(cyx_db_transaction(db, do_settle, &s, &err), CYX_ERR_INVALID);
    run(db, do_audit, NULL);
}

static void expect_refused(struct cyx_db *db, const char *sql, const char *constraint)
{
    struct cyx_error err = {0};
    struct cyx_db_conn *conn = NULL;
    assert_int_equal(cyx_db_take(db, &conn, &err), CYX_OK);
    assert_int_not_equal(cyx_db_script(conn, sql, &err), CYX_OK);
    if (!strstr(err.message, constraint))
        fail_msg("expected %s, got: %s", constraint, err.message);
    cyx_db_give(conn);
}

static void test_ledger__the_database_refuses_what_would_unbalance_it(void **state)
{
    struct cyx_db *db = *state;
    char account[CYX_ID_BYTES];
    cyx_id_new(account);
    char job[CYX_ID_BYTES];
    cyx_id_new(job);
    struct step s = {.job = job, .account = account, .amount = 1};
    run(db, do_hold, &s);
    expect_refused(db, "UPDATE entry SET amount = amount + 1", "append_only");
    expect_refused(db, "DELETE FROM transfer", "append_only");
    expect_refused(
        db,
        "WITH t AS (INSERT INTO transfer (id, idempotency_key, kind) VALUES"
        " (gen_random_uuid(), gen_random_uuid()::text, 'grant') RETURNING id)"
        " INSERT INTO entry (id, transfer_id, ledger_account_id, amount) SELECT"
        " gen_random_uuid(), t.id, a.id, 5 FROM t, ledger_account a WHERE a.kind = 'user'"
        " LIMIT 1",
        "sums");
    run(db, do_audit, NULL);
}

struct racer {
    struct cyx_db *db;
    const char *account;
    int held;
};

static void *hold_many(void *ctx)
{
    struct racer *racer = ctx;
    for (int i = 0; i < 20; i++) {
        char job[CYX_ID_BYTES];
        cyx_id_new(job);
        struct cyx_error err = {0};
        struct step s = {
            .job = job, .account = racer->account, .amount = CYX_PAYMENTS_WELCOME_BASE_UNITS / 25};
        if (cyx_db_transaction(racer->db, do_hold, &s, &err) == CYX_OK &&
            s.outcome == CYX_HOLD_HELD)
            racer->held++;
    }
    return NULL;
}

static void test_ledger__concurrent_holds_never_overdraw(void **state)
{
    struct cyx_db *db = *state;
    char account[CYX_ID_BYTES];
    cyx_id_new(account);
    pthread_t threads[4];
    struct racer racers[4];
    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){.db = db, .account = account};
        assert_int_equal(pthread_create(&threads[i], NULL, hold_many, &racers[i]), 0);
    }
    int held = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        held += racers[i].held;
    }
    assert_int_equal(held, 25);
    struct step s = {.account = account};
    run(db, do_read, &s);
    assert_int_equal(s.balance.available, 0);
    run(db, do_audit, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger__hold_and_release_balance_and_repeat_to_nothing),
        cmocka_unit_test(test_ledger__several_nodes_are_paid_by_one_transfer),
        cmocka_unit_test(test_ledger__a_job_that_ended_first_is_never_held),
        cmocka_unit_test(test_ledger__refuses_more_than_the_balance_and_more_than_was_held),
        cmocka_unit_test(test_ledger__the_database_refuses_what_would_unbalance_it),
        cmocka_unit_test(test_ledger__concurrent_holds_never_overdraw),
    };
    return cmocka_run_group_tests(tests, open_db, close_db);
}
