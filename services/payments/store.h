/*
 * The ledger's tables. Every function that changes something runs within the caller's transaction, writes
 * balanced entries, and may be repeated: the second time it does nothing and says so.
 */
#ifndef CYX_PAYMENTS_STORE_H
#define CYX_PAYMENTS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "payments.h"
#include "store/db.h"

enum cyx_hold_outcome { CYX_HOLD_HELD, CYX_HOLD_REFUSED, CYX_HOLD_DONE_BEFORE };

/* The user's ledger account, opened with the welcome grant when it is new. */
enum cyx_status store_open_account(struct cyx_db_conn *conn, const char *account_id,
                                   struct cyx_error *err);

/* Moves `amount` from the user into the job's escrow, or notes that it was refused for want of money. */
enum cyx_status store_hold(struct cyx_db_conn *conn, const char *job_id, const char *account_id,
                           int64_t amount, enum cyx_hold_outcome *ret_outcome,
                           struct cyx_error *err);

struct store_escrow {
    char account_id[37], node_id[37], state[16], reason[256];
    int64_t held, released, refunded, node_share, platform_fee;
};

/* CYX_ERR_NOT_FOUND when nothing was ever held. `lock`: until the transaction's end. */
enum cyx_status store_escrow_get(struct cyx_db_conn *conn, const char *job_id, bool lock,
                                 struct store_escrow *ret_escrow, struct cyx_error *err);

/* A node and what it gets; the same node may stand there twice. */
struct store_payee {
    const char *node_id;
    int64_t amount;
};
enum { STORE_PAYEES_LIMIT = 128 };

/* What became of an escrow for each node: columns node_id, amount; none before it is settled. */
enum cyx_status store_shares(struct cyx_db_conn *conn, const char *job_id,
                             struct cyx_db_result **ret_rows, struct cyx_error *err);

/*
 * Ends an escrow: `cost` goes to the platform and the payees, whose amounts are `shares`' node part, the rest back to the user. `ret_settled` is
 * false when it had ended before, or when nothing was held (then it becomes void, so that a late hold does nothing).
 */
enum cyx_status store_settle(struct cyx_db_conn *conn, const char *job_id, const char *account_id,
                             const struct store_payee *payees, size_t n_payees, int64_t cost,
                             struct cyx_payments_shares shares, bool *ret_settled,
                             struct cyx_error *err);

struct store_balance {
    int64_t available, held, entries;
};
/* Both figures of one snapshot; zeros for an account that has none yet. */
enum cyx_status store_balance(struct cyx_db_conn *conn, const char *account_id,
                              struct store_balance *ret_balance, struct cyx_error *err);

/* Columns: id, at, kind, amount, balance, job_id, memo; newest first, behind the entry `cursor` (or NULL). */
enum cyx_status store_statement(struct cyx_db_conn *conn, const char *account_id,
                                const char *cursor, int64_t limit, struct cyx_db_result **ret_rows,
                                struct cyx_error *err);

/* What must always hold; CYX_ERR_CORRUPT says what does not. For tests and, later, the nightly audit. */
enum cyx_status store_audit(struct cyx_db_conn *conn, struct cyx_error *err);

#endif
