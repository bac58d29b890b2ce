#include "store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "contract/subjects.h"
#include "store_internal.h"

#include "base/banned.h"

enum { LOGIN_WINDOW_MS = 60000, CACHE_KEY_BYTES = 128 };

void store_connection_give(struct cyx_db_conn **conn)
{
    cyx_db_give(*conn);
}

enum cyx_status store_create(struct cyx_db *db, struct cyx_cache *cache,
                             struct cyx_outbox_relay *outbox, struct store **ret_store,
                             struct cyx_error *err)
{
    struct store *self = calloc(1, sizeof(*self));
    if (self)
        self->logins = gateway_limiter_create(GATEWAY_LOGINS_A_MINUTE, LOGIN_WINDOW_MS);
    if (!self || !self->logins) {
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
    gateway_limiter_destroy(self->logins);
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

/* Columns id, email, name, role from `column` on. */
static void read_account(const struct cyx_db_result *row, size_t column,
                         struct gateway_account *ret_account)
{
    snprintf(ret_account->id, sizeof(ret_account->id), "%s", cyx_db_text(row, 0, column));
    snprintf(ret_account->email, sizeof(ret_account->email), "%s", cyx_db_text(row, 0, column + 1));
    snprintf(ret_account->name, sizeof(ret_account->name), "%s", cyx_db_text(row, 0, column + 2));
    if (!gateway_role_parse(cyx_db_text(row, 0, column + 3), &ret_account->role))
        ret_account->role = GATEWAY_ROLE_USER;
}

enum cyx_status store_account_by_email(struct store *self, const char *email,
                                       struct gateway_account *ret_account,
                                       char ret_password_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                       struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(
        conn, "select id, email, name, role, password_hash from account where email = $1", &row,
        err, CYX_DB_TEXT(email));
    if (status != CYX_OK)
        return status;
    read_account(row, 0, ret_account);
    snprintf(ret_password_hash, GATEWAY_PASSWORD_HASH_BYTES, "%s", cyx_db_text(row, 0, 4));
    return CYX_OK;
}

/* ---- the cache of found sessions and keys ------------------------------------------------------- */

static void cache_key(char ret_key[CACHE_KEY_BYTES], const char *kind, const char *hash)
{
    snprintf(ret_key, CACHE_KEY_BYTES, "%s:%s", kind, hash);
}

static bool cache_find(struct store *self, const char *kind, const char *hash,
                       struct gateway_account *ret_account, int64_t *ret_expires_ms)
{
    char key[CACHE_KEY_BYTES];
    cache_key(key, kind, hash);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (cyx_cache_get(self->cache, key, &text) != CYX_OK || text.failed)
        return false;
    json_t *root = json_loadb(text.data ? text.data : "", text.length, 0, NULL);
    const char *id = NULL, *email = NULL, *name = NULL, *role = NULL;
    json_int_t expires_ms = 0;
    struct gateway_account account = {0};
    bool found = json_unpack(root, "{s:s,s:s,s:s,s:s,s:I}", "id", &id, "email", &email, "name",
                             &name, "role", &role, "expires_ms", &expires_ms) == 0 &&
                 cyx_id_valid(id) && gateway_role_parse(role, &account.role);
    if (found) {
        snprintf(account.id, sizeof(account.id), "%s", id);
        snprintf(account.email, sizeof(account.email), "%s", email);
        snprintf(account.name, sizeof(account.name), "%s", name);
        *ret_account = account;
        *ret_expires_ms = expires_ms;
    }
    json_decref(root);
    return found;
}

static void cache_keep(struct store *self, const char *kind, const char *hash,
                       const struct gateway_account *account, int64_t expires_ms)
{
    json_t *root = json_pack("{s:s,s:s,s:s,s:s,s:I}", "id", account->id, "email", account->email,
                             "name", account->name, "role", gateway_role_name(account->role),
                             "expires_ms", (json_int_t)expires_ms);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text) {
        char key[CACHE_KEY_BYTES];
        cache_key(key, kind, hash);
        cyx_cache_set(self->cache, key, text, strlen(text), STORE_CACHE_MS);
    }
    free(text);
    json_decref(root);
}

static void cache_forget(struct store *self, const char *kind, const char *hash)
{
    char key[CACHE_KEY_BYTES];
    cache_key(key, kind, hash);
    cyx_cache_delete(self->cache, key);
}

/* ---- sessions ---------------------------------------------------------------------------------- */

enum cyx_status store_session_create(struct store *self, const char *account_id,
                                     const char *token_hash, int64_t expires_ms,
                                     struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn, "delete from session where account_id = $1 and expires_at <= now()",
                          NULL, err, CYX_DB_TEXT(account_id));
    if (status != CYX_OK)
        return status;
    return cyx_db_query(conn,
                        "insert into session (token_hash, account_id, expires_at) "
                        "values ($1, $2, to_timestamp($3 / 1000.0))",
                        NULL, err, CYX_DB_TEXT(token_hash), CYX_DB_TEXT(account_id),
                        CYX_DB_TIME_MS(expires_ms));
}

enum cyx_status store_session_find(struct store *self, const char *token_hash,
                                   struct gateway_account *ret_account, int64_t *ret_expires_ms,
                                   struct cyx_error *err)
{
    struct gateway_account account = {0};
    int64_t expires_ms = 0;
    if (!cache_find(self, "session", token_hash, &account, &expires_ms)) {
        STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
        enum cyx_status status = cyx_db_take(self->db, &conn, err);
        if (status != CYX_OK)
            return status;
        CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
        status = cyx_db_query_one(conn,
                                  "select a.id, a.email, a.name, a.role, s.expires_at "
                                  "from session s join account a on a.id = s.account_id "
                                  "where s.token_hash = $1 and s.expires_at > now()",
                                  &row, err, CYX_DB_TEXT(token_hash));
        if (status != CYX_OK)
            return status;
        read_account(row, 0, &account);
        expires_ms = cyx_db_time_ms(row, 0, 4);
        cache_keep(self, "session", token_hash, &account, expires_ms);
    }
    if (expires_ms <= cyx_clock_unix_ms())
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL, "the session has expired");
    *ret_account = account;
    *ret_expires_ms = expires_ms;
    return CYX_OK;
}

enum cyx_status store_session_delete(struct store *self, const char *token_hash,
                                     struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status == CYX_OK)
        status = cyx_db_query(conn, "delete from session where token_hash = $1", NULL, err,
                              CYX_DB_TEXT(token_hash));
    cache_forget(self, "session", token_hash);
    return status;
}

/* ---- API keys ---------------------------------------------------------------------------------- */

enum cyx_status store_api_key_create(struct store *self, const char *account_id,
                                     const char *key_hash, struct store_api_key *key,
                                     struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(
        conn,
        "insert into api_key (id, account_id, name, prefix, key_hash) "
        "select $1::uuid, $2::uuid, $3, $4, $5 where (select count(*) from api_key "
        "where account_id = $2::uuid and revoked_at is null) < $6 returning created_at",
        &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id), CYX_DB_TEXT(key->name),
        CYX_DB_TEXT(key->prefix), CYX_DB_TEXT(key_hash), CYX_DB_INT(GATEWAY_API_KEYS_LIMIT));
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL,
                             "the account has %d API keys, which is the limit; revoke one first",
                             GATEWAY_API_KEYS_LIMIT);
    if (status != CYX_OK)
        return status;
    memcpy(key->id, id, sizeof(id));
    key->created_ms = cyx_db_time_ms(row, 0, 0);
    key->last_used_ms = 0;
    return CYX_OK;
}

enum cyx_status store_api_key_list(struct store *self, const char *account_id,
                                   struct store_api_key **ret_keys, size_t *ret_count,
                                   struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    status = cyx_db_query(conn,
                          "select id, name, prefix, created_at, last_used_at from api_key "
                          "where account_id = $1 and revoked_at is null "
                          "order by created_at desc, id desc limit $2",
                          &rows, err, CYX_DB_TEXT(account_id), CYX_DB_INT(GATEWAY_API_KEYS_LIMIT));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct store_api_key *keys = calloc(count ? count : 1, sizeof(*keys));
    if (!keys)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for %zu keys", count);
    for (size_t i = 0; i < count; i++) {
        snprintf(keys[i].id, sizeof(keys[i].id), "%s", cyx_db_text(rows, i, 0));
        snprintf(keys[i].name, sizeof(keys[i].name), "%s", cyx_db_text(rows, i, 1));
        snprintf(keys[i].prefix, sizeof(keys[i].prefix), "%s", cyx_db_text(rows, i, 2));
        keys[i].created_ms = cyx_db_time_ms(rows, i, 3);
        keys[i].last_used_ms = cyx_db_time_ms(rows, i, 4);
    }
    *ret_keys = keys;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status store_api_key_find(struct store *self, const char *key_hash,
                                   struct gateway_account *ret_account, struct cyx_error *err)
{
    int64_t expires_ms = 0;
    if (cache_find(self, "key", key_hash, ret_account, &expires_ms))
        return CYX_OK;
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(conn,
                              "select a.id, a.email, a.name, a.role from api_key k "
                              "join account a on a.id = k.account_id "
                              "where k.key_hash = $1 and k.revoked_at is null",
                              &row, err, CYX_DB_TEXT(key_hash));
    if (status != CYX_OK)
        return status;
    read_account(row, 0, ret_account);
    /* When a key was last used is told to the minute: not a write for every request. */
    status = cyx_db_query(conn,
                          "update api_key set last_used_at = now() where key_hash = $1 and "
                          "(last_used_at is null or last_used_at < now() - interval '1 minute')",
                          NULL, err, CYX_DB_TEXT(key_hash));
    if (status != CYX_OK)
        return status;
    cache_keep(self, "key", key_hash, ret_account, 0);
    return CYX_OK;
}

enum cyx_status store_api_key_revoke(struct store *self, const char *account_id, const char *id,
                                     struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status =
        cyx_db_query_one(conn,
                         "update api_key set revoked_at = now() where id = $1 and account_id = $2 "
                         "and revoked_at is null returning key_hash",
                         &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id));
    if (status != CYX_OK)
        return status;
    cache_forget(self, "key", cyx_db_text(row, 0, 0));
    return CYX_OK;
}

bool store_login_allow(struct store *self, const char *address, int64_t *ret_wait_ms)
{
    char key[CACHE_KEY_BYTES];
    cache_key(key, "login", address);
    int64_t count = 0, remaining_ms = 0;
    if (cyx_cache_count(self->cache, key, 1, LOGIN_WINDOW_MS, &count, &remaining_ms) != CYX_OK)
        return gateway_limiter_allow(self->logins, address, cyx_clock_monotonic_ns() / 1000000,
                                     ret_wait_ms);
    *ret_wait_ms = remaining_ms;
    return count <= GATEWAY_LOGINS_A_MINUTE;
}
