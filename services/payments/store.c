#include "store.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"

#include "base/banned.h"

struct leg {
    const char *kind, *owner_id; /* owner NULL for platform and external */
    int64_t amount;
};

static enum cyx_status account_of(struct cyx_db_conn *conn, const char *kind, const char *owner_id,
                                  char ret_id[CYX_ID_BYTES], struct cyx_error *err)
{
    char made[CYX_ID_BYTES];
    cyx_id_new(made);
    enum cyx_status status =
        cyx_db_query(conn,
                     "INSERT INTO ledger_account (id, kind, owner_id) VALUES ($1, $2, $3) ON "
                     "CONFLICT DO NOTHING",
                     NULL, err, CYX_DB_TEXT(made), CYX_DB_TEXT(kind), CYX_DB_TEXT(owner_id));
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    if (status == CYX_OK)
        status = cyx_db_query_one(conn,
                                  "SELECT id FROM ledger_account WHERE kind = $1 AND owner_id IS "
                                  "NOT DISTINCT FROM $2::uuid",
                                  &row, err, CYX_DB_TEXT(kind), CYX_DB_TEXT(owner_id));
    if (status == CYX_OK)
        snprintf(ret_id, CYX_ID_BYTES, "%s", cyx_db_text(row, 0, 0));
    return status;
}

/* One transfer and its entries; legs of 0 are left out. `ret_done_before`: the key is known, nothing was written. */
static enum cyx_status transfer(struct cyx_db_conn *conn, const char *key, const char *kind,
                                const char *job_id, const char *memo, const struct leg *legs,
                                size_t count, bool *ret_done_before, struct cyx_error *err)
{
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    CYX_CLEANUP_RESULT struct cyx_db_result *made = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "INSERT INTO transfer (id, idempotency_key, kind, job_id, memo) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (idempotency_key) DO NOTHING",
        &made, err, CYX_DB_TEXT(id), CYX_DB_TEXT(key), CYX_DB_TEXT(kind), CYX_DB_TEXT(job_id),
        CYX_DB_TEXT(memo));
    if (status != CYX_OK)
        return status;
    *ret_done_before = cyx_db_affected(made) == 0;
    for (size_t i = 0; status == CYX_OK && !*ret_done_before && i < count; i++) {
        if (legs[i].amount == 0)
            continue;
        char account[CYX_ID_BYTES], entry[CYX_ID_BYTES];
        cyx_id_new(entry);
        status = account_of(conn, legs[i].kind, legs[i].owner_id, account, err);
        if (status == CYX_OK)
            status = cyx_db_query(conn,
                                  "INSERT INTO entry (id, transfer_id, ledger_account_id, amount) "
                                  "VALUES ($1, $2, $3, $4)",
                                  NULL, err, CYX_DB_TEXT(entry), CYX_DB_TEXT(id),
                                  CYX_DB_TEXT(account), CYX_DB_INT(legs[i].amount));
    }
    return status;
}

enum cyx_status store_open_account(struct cyx_db_conn *conn, const char *account_id,
                                   struct cyx_error *err)
{
    char key[64];
    snprintf(key, sizeof(key), "grant:%s", account_id);
    const struct leg legs[] = {{"external", NULL, -CYX_PAYMENTS_WELCOME_BASE_UNITS},
                               {"user", account_id, CYX_PAYMENTS_WELCOME_BASE_UNITS}};
    bool done_before = false;
    return transfer(conn, key, "grant", NULL, "welcome", legs, 2, &done_before, err);
}

/* The row that says once for all what became of the hold: false when there is one already. */
static enum cyx_status claim_escrow(struct cyx_db_conn *conn, const char *job_id,
                                    const char *account_id, const char *state, int64_t held,
                                    const char *reason, bool *ret_claimed, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *made = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "INSERT INTO escrow (job_id, account_id, state, held, reason) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (job_id) DO NOTHING",
        &made, err, CYX_DB_TEXT(job_id), CYX_DB_TEXT(account_id), CYX_DB_TEXT(state),
        CYX_DB_INT(held), CYX_DB_TEXT(reason));
    if (status == CYX_OK)
        *ret_claimed = cyx_db_affected(made) == 1;
    return status;
}

/* The user's balance, locked, so that two holds cannot both count on it. */
static enum cyx_status locked_balance(struct cyx_db_conn *conn, const char *account_id,
                                      int64_t *ret_balance, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_query_one(
        conn, "SELECT balance FROM ledger_account WHERE kind = 'user' AND owner_id = $1 FOR UPDATE",
        &row, err, CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        *ret_balance = cyx_db_int(row, 0, 0);
    return status;
}

enum cyx_status store_hold(struct cyx_db_conn *conn, const char *job_id, const char *account_id,
                           int64_t amount, enum cyx_hold_outcome *ret_outcome,
                           struct cyx_error *err)
{
    int64_t balance = 0;
    bool claimed = false, done_before = false;
    char reason[128] = "", key[64];
    enum cyx_status status = store_open_account(conn, account_id, err);
    if (status == CYX_OK)
        status = locked_balance(conn, account_id, &balance, err);
    if (status != CYX_OK)
        return status;
    bool enough = balance >= amount;
    if (!enough)
        snprintf(reason, sizeof(reason), "the budget is more than the balance of the account");
    status = claim_escrow(conn, job_id, account_id, enough ? "held" : "refused",
                          enough ? amount : 0, reason, &claimed, err);
    if (status != CYX_OK)
        return status;
    *ret_outcome = !claimed ? CYX_HOLD_DONE_BEFORE : enough ? CYX_HOLD_HELD : CYX_HOLD_REFUSED;
    if (*ret_outcome != CYX_HOLD_HELD)
        return CYX_OK;
    const struct leg legs[] = {{"user", account_id, -amount}, {"escrow", job_id, amount}};
    snprintf(key, sizeof(key), "hold:%s", job_id);
    return transfer(conn, key, "hold", job_id, "budget held for the job", legs, 2, &done_before,
                    err);
}

enum cyx_status store_escrow_get(struct cyx_db_conn *conn, const char *job_id, bool lock,
                                 struct store_escrow *ret_escrow, struct cyx_error *err)
{
    static const char *const text[] = {
        "SELECT account_id, coalesce(node_id::text, ''), state, held, released, refunded, "
        "node_share,"
        " platform_fee, reason FROM escrow WHERE job_id = $1",
        "SELECT account_id, coalesce(node_id::text, ''), state, held, released, refunded, "
        "node_share,"
        " platform_fee, reason FROM escrow WHERE job_id = $1 FOR UPDATE"};
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_query_one(conn, text[lock], &row, err, CYX_DB_TEXT(job_id));
    if (status != CYX_OK)
        return status;
    struct store_escrow made = {.held = cyx_db_int(row, 0, 3),
                                .released = cyx_db_int(row, 0, 4),
                                .refunded = cyx_db_int(row, 0, 5),
                                .node_share = cyx_db_int(row, 0, 6),
                                .platform_fee = cyx_db_int(row, 0, 7)};
    snprintf(made.account_id, sizeof(made.account_id), "%s", cyx_db_text(row, 0, 0));
    snprintf(made.node_id, sizeof(made.node_id), "%s", cyx_db_text(row, 0, 1));
    snprintf(made.state, sizeof(made.state), "%s", cyx_db_text(row, 0, 2));
    snprintf(made.reason, sizeof(made.reason), "%s", cyx_db_text(row, 0, 8));
    *ret_escrow = made;
    return CYX_OK;
}

enum cyx_status store_shares(struct cyx_db_conn *conn, const char *job_id,
                             struct cyx_db_result **ret_rows, struct cyx_error *err)
{
    return cyx_db_query(conn,
                        "SELECT a.owner_id, sum(e.amount) FROM transfer t JOIN entry e ON "
                        "e.transfer_id = t.id JOIN ledger_account a ON a.id = e.ledger_account_id "
                        "WHERE t.idempotency_key = 'release:' || $1::uuid AND a.kind = 'node' "
                        "GROUP BY 1 ORDER BY min(e.seq)",
                        ret_rows, err, CYX_DB_TEXT(job_id));
}

static enum cyx_status pay_out(struct cyx_db_conn *conn, const char *job_id,
                               const struct store_escrow *escrow, const struct store_payee *payees,
                               size_t n_payees, int64_t cost, struct cyx_payments_shares shares,
                               struct cyx_error *err)
{
    struct leg release[STORE_PAYEES_LIMIT + 2] = {{"escrow", job_id, -cost},
                                                  {"platform", NULL, shares.platform_base_units}};
    char key[64];
    bool done_before = false;
    enum cyx_status status = CYX_OK;
    if (n_payees > STORE_PAYEES_LIMIT)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL, "job %s: %zu nodes to pay", job_id,
                             n_payees);
    for (size_t i = 0; i < n_payees; i++)
        release[2 + i] = (struct leg){"node", payees[i].node_id, payees[i].amount};
    if (cost > 0) {
        snprintf(key, sizeof(key), "release:%s", job_id);
        status = transfer(conn, key, "release", job_id, "device time of the job", release,
                          2 + n_payees, &done_before, err);
    }
    if (status == CYX_OK && escrow->held > cost) {
        const struct leg refund[] = {{"escrow", job_id, cost - escrow->held},
                                     {"user", escrow->account_id, escrow->held - cost}};
        snprintf(key, sizeof(key), "refund:%s", job_id);
        status =
            transfer(conn, key, "refund", job_id, "budget not used", refund, 2, &done_before, err);
    }
    return status;
}

enum cyx_status store_settle(struct cyx_db_conn *conn, const char *job_id, const char *account_id,
                             const struct store_payee *payees, size_t n_payees, int64_t cost,
                             struct cyx_payments_shares shares, bool *ret_settled,
                             struct cyx_error *err)
{
    bool claimed = false;
    struct store_escrow escrow;
    *ret_settled = false;
    enum cyx_status status = claim_escrow(conn, job_id, account_id, "void", 0,
                                          "ended before anything was held", &claimed, err);
    if (status != CYX_OK || claimed)
        return status;
    status = store_escrow_get(conn, job_id, true, &escrow, err);
    if (status != CYX_OK || strcmp(escrow.state, "held") != 0)
        return status;
    if (cost > escrow.held)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "job %s: a cost of %lld is more than the %lld that are held", job_id,
                             (long long)cost, (long long)escrow.held);
    status = pay_out(conn, job_id, &escrow, payees, n_payees, cost, shares, err);
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "UPDATE escrow SET state = $2, released = $3, refunded = held - $3, node_id = $4,"
            " node_share = $5, platform_fee = $6, ended_at = now() WHERE job_id = $1",
            NULL, err, CYX_DB_TEXT(job_id), CYX_DB_TEXT(cost > 0 ? "settled" : "refunded"),
            CYX_DB_INT(cost), CYX_DB_TEXT(n_payees ? payees[0].node_id : NULL),
            CYX_DB_INT(shares.node_base_units), CYX_DB_INT(shares.platform_base_units));
    *ret_settled = status == CYX_OK;
    return status;
}

enum cyx_status store_balance(struct cyx_db_conn *conn, const char *account_id,
                              struct store_balance *ret_balance, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_query_one(
        conn,
        "SELECT coalesce((SELECT balance FROM ledger_account WHERE kind = 'user' AND owner_id = "
        "$1), 0),"
        " coalesce((SELECT sum(held) FROM escrow WHERE account_id = $1 AND state = 'held'), 0),"
        " coalesce((SELECT entries FROM ledger_account WHERE kind = 'user' AND owner_id = $1), 0)",
        &row, err, CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        *ret_balance = (struct store_balance){.available = cyx_db_int(row, 0, 0),
                                              .held = cyx_db_int(row, 0, 1),
                                              .entries = cyx_db_int(row, 0, 2)};
    return status;
}

enum cyx_status store_statement(struct cyx_db_conn *conn, const char *account_id,
                                const char *cursor, int64_t limit, struct cyx_db_result **ret_rows,
                                struct cyx_error *err)
{
    return cyx_db_query(
        conn,
        "SELECT e.id, e.created_at, t.kind, e.amount, e.balance, t.job_id, t.memo"
        " FROM entry e JOIN transfer t ON t.id = e.transfer_id"
        " JOIN ledger_account a ON a.id = e.ledger_account_id"
        " WHERE a.kind = 'user' AND a.owner_id = $1"
        " AND ($2::uuid IS NULL OR e.seq < (SELECT seq FROM entry WHERE id = $2::uuid))"
        " ORDER BY e.seq DESC LIMIT $3",
        ret_rows, err, CYX_DB_TEXT(account_id), CYX_DB_TEXT(cursor), CYX_DB_INT(limit));
}

enum cyx_status store_audit(struct cyx_db_conn *conn, struct cyx_error *err)
{
    static const struct {
        const char *what, *sql;
    } rules[] = {
        {"entries of all accounts sum to zero",
         "SELECT count(*) FROM (SELECT sum(amount) AS s FROM entry) x WHERE s <> 0"},
        {"every transfer sums to zero", "SELECT count(*) FROM (SELECT 1 FROM entry GROUP BY "
                                        "transfer_id HAVING sum(amount) <> 0) x"},
        {"every balance is the sum of its entries",
         "SELECT count(*) FROM ledger_account a WHERE balance <>"
         " coalesce((SELECT sum(amount) FROM entry WHERE ledger_account_id = a.id), 0)"},
        {"every escrow account holds what its job's escrow says",
         "SELECT count(*) FROM escrow e LEFT JOIN ledger_account a ON a.kind = 'escrow' AND"
         " a.owner_id = e.job_id WHERE coalesce(a.balance, 0) <>"
         " CASE WHEN e.state = 'held' THEN e.held ELSE 0 END"},
    };
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < sizeof(rules) / sizeof(rules[0]); i++) {
        CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
        status = cyx_db_query_one(conn, rules[i].sql, &row, err);
        if (status == CYX_OK && cyx_db_int(row, 0, 0) != 0)
            status = cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "the books are wrong: not %s (%lld)",
                                   rules[i].what, (long long)cyx_db_int(row, 0, 0));
    }
    return status;
}
