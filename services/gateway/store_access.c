/* Wallets and what they were asked to sign; the audit log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

#include "base/banned.h"

/* ---- challenges -------------------------------------------------------------------------------- */

enum cyx_status store_challenge_add(struct store *self, const struct store_challenge *challenge,
                                    struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status == CYX_OK)
        status =
            cyx_db_query(conn, "delete from wallet_challenge where expires_at <= now()", NULL, err);
    if (status != CYX_OK)
        return status;
    return cyx_db_query(conn,
                        "insert into wallet_challenge (nonce, purpose, public_key, message, "
                        "expires_at) values ($1, $2, $3, $4, to_timestamp($5 / 1000.0))",
                        NULL, err, CYX_DB_TEXT(challenge->nonce), CYX_DB_TEXT(challenge->purpose),
                        CYX_DB_TEXT(challenge->public_key), CYX_DB_TEXT(challenge->message),
                        CYX_DB_TIME_MS(challenge->expires_ms));
}

enum cyx_status store_challenge_take(struct store *self, struct store_challenge *challenge,
                                     struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db,
                       "delete from wallet_challenge where nonce = $1 and purpose = $2 and "
                       "expires_at > now() returning public_key, message, expires_at",
                       &row, err, CYX_DB_TEXT(challenge->nonce), CYX_DB_TEXT(challenge->purpose));
    if (status != CYX_OK)
        return status;
    snprintf(challenge->public_key, sizeof(challenge->public_key), "%s", cyx_db_text(row, 0, 0));
    snprintf(challenge->message, sizeof(challenge->message), "%s", cyx_db_text(row, 0, 1));
    challenge->expires_ms = cyx_db_time_ms(row, 0, 2);
    return CYX_OK;
}

/* ---- wallets ----------------------------------------------------------------------------------- */

enum cyx_status store_wallet_add(struct store *self, const char *account_id,
                                 struct store_wallet *wallet, struct cyx_error *err)
{
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "insert into wallet (id, account_id, public_key, name) select $1::uuid, $2::uuid, $3, $4 "
        "where (select count(*) from wallet where account_id = $2::uuid) < $5 returning created_at",
        &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id), CYX_DB_TEXT(wallet->public_key),
        CYX_DB_TEXT(wallet->name), CYX_DB_INT(GATEWAY_WALLETS_LIMIT));
    if (status == CYX_ERR_CONFLICT)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "this key signs in for an account already");
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "the account has %d wallets, which is the limit; unlink one first",
                             GATEWAY_WALLETS_LIMIT);
    if (status != CYX_OK)
        return status;
    memcpy(wallet->id, id, sizeof(id));
    wallet->created_ms = cyx_db_time_ms(row, 0, 0);
    wallet->last_used_ms = 0;
    return CYX_OK;
}

enum cyx_status store_wallet_find(struct store *self, const char *public_key,
                                  struct gateway_account *ret_account, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db,
                       "update wallet w set last_used_at = now() from account a "
                       "where w.public_key = $1 and a.id = w.account_id "
                       "returning a.id, a.email, a.name, a.role",
                       &row, err, CYX_DB_TEXT(public_key));
    if (status == CYX_OK)
        store_read_account(row, 0, 0, ret_account);
    return status;
}

enum cyx_status store_wallet_list(struct store *self, const char *account_id,
                                  struct store_wallet **ret_wallets, size_t *ret_count,
                                  struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select id, public_key, name, created_at, last_used_at from wallet "
                   "where account_id = $1 order by created_at desc, id desc limit $2",
                   &rows, err, CYX_DB_TEXT(account_id), CYX_DB_INT(GATEWAY_WALLETS_LIMIT));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct store_wallet *wallets = calloc(count ? count : 1, sizeof(*wallets));
    if (!wallets)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for %zu wallets", count);
    for (size_t i = 0; i < count; i++) {
        struct store_wallet *wallet = &wallets[i];
        snprintf(wallet->id, sizeof(wallet->id), "%s", cyx_db_text(rows, i, 0));
        snprintf(wallet->public_key, sizeof(wallet->public_key), "%s", cyx_db_text(rows, i, 1));
        snprintf(wallet->name, sizeof(wallet->name), "%s", cyx_db_text(rows, i, 2));
        wallet->created_ms = cyx_db_time_ms(rows, i, 3);
        wallet->last_used_ms = cyx_db_time_ms(rows, i, 4);
    }
    *ret_wallets = wallets;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status store_wallet_delete(struct store *self, const char *account_id, const char *id,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    return cyx_db_run_one(self->db,
                          "delete from wallet where id = $1 and account_id = $2 returning id", &row,
                          err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id));
}

/* ---- the audit log ----------------------------------------------------------------------------- */

enum cyx_status store_audit_add(struct store *self, const struct store_audit *entry,
                                struct cyx_error *err)
{
    return cyx_db_run(self->db,
                      "insert into audit (account_id, credential, key_id, action, target, "
                      "status, address, request_id) values ($1, $2, $3, $4, $5, $6, $7, $8)",
                      NULL, err, CYX_DB_TEXT(entry->account_id), CYX_DB_TEXT(entry->credential),
                      CYX_DB_TEXT(entry->key_id), CYX_DB_TEXT(entry->action),
                      CYX_DB_TEXT(entry->target), CYX_DB_INT(entry->status),
                      CYX_DB_TEXT(entry->address), CYX_DB_TEXT(entry->request_id));
}

enum cyx_status store_audit_list(struct store *self, const struct store_audit_query *query,
                                 void (*take)(void *ctx, const struct store_audit *entry),
                                 void *ctx, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "select id, at, account_id, credential, key_id, action, target, status, address, "
        "request_id from audit where ($1::uuid is null or account_id = $1) "
        "and ($2::text is null or action = $2) and ($3::bigint = 0 or id < $3) order by id desc "
        "limit $4",
        &rows, err, CYX_DB_TEXT(query->account_id), CYX_DB_TEXT(query->action),
        CYX_DB_INT(query->before), CYX_DB_INT(query->limit));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        struct store_audit entry = {
            .id = cyx_db_int(rows, i, 0),
            .at_ms = cyx_db_time_ms(rows, i, 1),
            .account_id = cyx_db_text(rows, i, 2),
            .credential = cyx_db_text(rows, i, 3),
            .key_id = cyx_db_text(rows, i, 4),
            .action = cyx_db_text(rows, i, 5),
            .target = cyx_db_text(rows, i, 6),
            .status = (int)cyx_db_int(rows, i, 7),
            .address = cyx_db_text(rows, i, 8),
            .request_id = cyx_db_text(rows, i, 9),
        };
        take(ctx, &entry);
    }
    return status;
}

enum cyx_status store_audit_prune(struct store *self, int64_t days, int64_t limit,
                                  int64_t *ret_gone, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "with gone as (delete from audit where id in (select id from (select id, at from audit "
        "order by id limit $2) oldest where at < now() - make_interval(days => $1::int)) "
        "returning 1) select count(*) from gone",
        &rows, err, CYX_DB_INT(days), CYX_DB_INT(limit));
    if (status == CYX_OK)
        *ret_gone = cyx_db_int(rows, 0, 0);
    return status;
}
