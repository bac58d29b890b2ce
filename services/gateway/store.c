#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "contract/subjects.h"
#include "store_internal.h"

#include "base/banned.h"

void store_connection_give(struct cyx_db_conn **conn)
{
    cyx_db_give(*conn);
}

enum cyx_status store_create(struct cyx_db *db, struct cyx_cache *cache,
                             struct cyx_outbox_relay *outbox, struct store **ret_store,
                             struct cyx_error *err)
{
    struct store *self = calloc(1, sizeof(*self));
    for (size_t i = 0; self && i < RECENT_LOCKS; i++)
        pthread_mutex_init(&self->recent_locks[i], NULL);
    if (self)
        self->limit = limit_create();
    if (!self || !self->limit) {
        store_destroy(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the store");
    }
    self->db = db;
    self->cache = cache;
    self->outbox = outbox;
    *ret_store = self;
    return CYX_OK;
}

void store_destroy(struct store *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < RECENT_LOCKS; i++)
        pthread_mutex_destroy(&self->recent_locks[i]);
    limit_destroy(self->limit);
    free(self);
}

/* ---- accounts ---------------------------------------------------------------------------------- */

struct account_creation {
    struct gateway_account *account;
    const char *password_hash;
    const char *event;
};

static enum cyx_status insert_account(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct account_creation *creation = ctx;
    const struct gateway_account *account = creation->account;
    enum cyx_status status =
        cyx_db_query(conn,
                     "insert into account (id, email, name, role, password_hash) "
                     "values ($1, $2, $3, $4, $5)",
                     NULL, err, CYX_DB_TEXT(account->id), CYX_DB_TEXT(account->email),
                     CYX_DB_TEXT(account->name), CYX_DB_TEXT(gateway_role_name(account->role)),
                     CYX_DB_TEXT(creation->password_hash));
    if (status == CYX_ERR_CONFLICT)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/email",
                             "an account with this e-mail address exists");
    if (status != CYX_OK)
        return status;
    char message_id[CYX_ID_BYTES + 16];
    snprintf(message_id, sizeof(message_id), "account-created-%s", account->id);
    return cyx_outbox_add(conn, CYX_EVT_ACCOUNT_CREATED, message_id, creation->event, err);
}

enum cyx_status store_account_create(struct store *self, struct gateway_account *account,
                                     const char *password_hash, struct cyx_error *err)
{
    cyx_id_new(account->id);
    CYX_CLEANUP_BUF struct cyx_buf event = {0};
    cyx_buf_printf(&event, "{\"account_id\":\"%s\",\"email\":", account->id);
    cyx_buf_json_string(&event, account->email);
    cyx_buf_puts(&event, "}");
    if (event.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the event");
    struct account_creation creation = {account, password_hash, event.data};
    enum cyx_status status = cyx_db_transaction(self->db, insert_account, &creation, err);
    if (status == CYX_OK)
        cyx_outbox_wake(self->outbox);
    return status;
}

void store_read_account(const struct cyx_db_result *rows, size_t row, size_t column,
                        struct gateway_account *ret_account)
{
    snprintf(ret_account->id, sizeof(ret_account->id), "%s", cyx_db_text(rows, row, column));
    snprintf(ret_account->email, sizeof(ret_account->email), "%s",
             cyx_db_text(rows, row, column + 1));
    snprintf(ret_account->name, sizeof(ret_account->name), "%s",
             cyx_db_text(rows, row, column + 2));
    if (!gateway_role_parse(cyx_db_text(rows, row, column + 3), &ret_account->role))
        ret_account->role = GATEWAY_ROLE_USER;
}

enum cyx_status store_account_by_email(struct store *self, const char *email,
                                       struct gateway_account *ret_account,
                                       char ret_password_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                       struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db, "select id, email, name, role, password_hash from account where email = $1", &row,
        err, CYX_DB_TEXT(email));
    if (status != CYX_OK)
        return status;
    store_read_account(row, 0, 0, ret_account);
    snprintf(ret_password_hash, GATEWAY_PASSWORD_HASH_BYTES, "%s", cyx_db_text(row, 0, 4));
    return CYX_OK;
}

enum cyx_status store_account_list(struct store *self, const char *role, const char *cursor,
                                   int64_t limit, struct gateway_account **ret_accounts,
                                   size_t *ret_count, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select id, email, name, role from account "
                   "where ($1::text is null or role = $1) and ($2::uuid is null or id < $2) "
                   "order by id desc limit $3",
                   &rows, err, CYX_DB_TEXT(role), CYX_DB_TEXT(cursor), CYX_DB_INT(limit));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct gateway_account *accounts = calloc(count ? count : 1, sizeof(*accounts));
    if (!accounts)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for %zu accounts", count);
    for (size_t i = 0; i < count; i++)
        store_read_account(rows, i, 0, &accounts[i]);
    *ret_accounts = accounts;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status store_account_set_role(struct store *self, const char *id, enum gateway_role role,
                                       struct gateway_account *ret_account, struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(
        conn, "update account set role = $2 where id = $1 returning id, email, name, role", &row,
        err, CYX_DB_TEXT(id), CYX_DB_TEXT(gateway_role_name(role)));
    if (status != CYX_OK)
        return status;
    store_read_account(row, 0, 0, ret_account);
    return store_forget_account(self, conn, id, err);
}

enum cyx_status store_account_set_password(struct store *self, const char *id,
                                           const char *password_hash, const char *keep_session,
                                           struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    if ((status = store_forget_account(self, conn, id, err)) != CYX_OK ||
        (status = cyx_db_query(conn, "update account set password_hash = $2 where id = $1", NULL,
                               err, CYX_DB_TEXT(id), CYX_DB_TEXT(password_hash))) != CYX_OK)
        return status;
    return cyx_db_query(conn, "delete from session where account_id = $1 and token_hash <> $2",
                        NULL, err, CYX_DB_TEXT(id), CYX_DB_TEXT(keep_session));
}
