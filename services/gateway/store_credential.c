/* Sessions and API keys, the cache of those found, and rate limits. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store_internal.h"

#include "base/banned.h"

enum { CACHE_KEY_BYTES = 128 };

/* ---- the cache of found sessions and keys ------------------------------------------------------- */

static void cache_key(char ret_key[CACHE_KEY_BYTES], const char *kind, const char *hash)
{
    snprintf(ret_key, CACHE_KEY_BYTES, "%s:%s", kind, hash);
}

static bool read_holder(json_t *root, struct store_holder *ret_holder)
{
    const char *id = NULL, *email = NULL, *name = NULL, *role = NULL, *key_id = NULL;
    json_int_t expires_ms = 0;
    int scopes = 0;
    struct store_holder holder = {0};
    if (json_unpack(root, "{s:s,s:s,s:s,s:s,s:I,s:i,s:s}", "id", &id, "email", &email, "name",
                    &name, "role", &role, "expires_ms", &expires_ms, "scopes", &scopes, "key_id",
                    &key_id) != 0 ||
        !cyx_id_valid(id) || !gateway_role_parse(role, &holder.account.role))
        return false;
    snprintf(holder.account.id, sizeof(holder.account.id), "%s", id);
    snprintf(holder.account.email, sizeof(holder.account.email), "%s", email);
    snprintf(holder.account.name, sizeof(holder.account.name), "%s", name);
    snprintf(holder.key_id, sizeof(holder.key_id), "%s", key_id);
    holder.expires_ms = expires_ms;
    holder.scopes = (unsigned)scopes;
    *ret_holder = holder;
    return true;
}

static bool cache_find(struct store *self, const char *kind, const char *hash,
                       struct store_holder *ret_holder)
{
    char key[CACHE_KEY_BYTES];
    cache_key(key, kind, hash);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (cyx_cache_get(self->cache, key, &text) != CYX_OK || text.failed)
        return false;
    json_t *root = json_loadb(text.data ? text.data : "", text.length, 0, NULL);
    bool found = read_holder(root, ret_holder);
    json_decref(root);
    return found;
}

static void cache_keep(struct store *self, const char *kind, const char *hash,
                       const struct store_holder *holder)
{
    const struct gateway_account *account = &holder->account;
    json_t *root = json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:i,s:s}", "id", account->id, "email", account->email, "name",
        account->name, "role", gateway_role_name(account->role), "expires_ms",
        (json_int_t)holder->expires_ms, "scopes", (int)holder->scopes, "key_id", holder->key_id);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text) {
        char key[CACHE_KEY_BYTES];
        cache_key(key, kind, hash);
        cyx_cache_set(self->cache, key, text, strlen(text), STORE_CACHE_MS);
    }
    free(text);
    json_decref(root);
}

/* ---- what was found in the last second ---- */

/* A token's hash is random already. */
static struct recent *lock_recent(struct store *self, const char *hash, pthread_mutex_t **ret_lock)
{
    uint32_t at = 0;
    for (size_t i = 0; i < 8; i++)
        at = at << 4 | (uint32_t)(hash[i] <= '9' ? hash[i] - '0' : hash[i] - 'a' + 10);
    at %= RECENT_SLOTS;
    *ret_lock = &self->recent_locks[at % RECENT_LOCKS];
    pthread_mutex_lock(*ret_lock);
    return &self->recent[at];
}

static void remember(struct store *self, const char *hash, const struct store_holder *holder)
{
    pthread_mutex_t *lock;
    struct recent *recent = lock_recent(self, hash, &lock);
    recent->holder = *holder;
    recent->until_ns = cyx_clock_monotonic_ns() + RECENT_MS * INT64_C(1000000);
    memcpy(recent->hash, hash, sizeof(recent->hash));
    pthread_mutex_unlock(lock);
}

static bool recall(struct store *self, const char *hash, struct store_holder *ret_holder)
{
    pthread_mutex_t *lock;
    const struct recent *recent = lock_recent(self, hash, &lock);
    bool found = recent->until_ns > cyx_clock_monotonic_ns() && strcmp(recent->hash, hash) == 0;
    if (found)
        *ret_holder = recent->holder;
    pthread_mutex_unlock(lock);
    return found;
}

static void forget(struct store *self, const char *hash)
{
    pthread_mutex_t *lock;
    struct recent *recent = lock_recent(self, hash, &lock);
    if (strcmp(recent->hash, hash) == 0)
        recent->until_ns = 0;
    pthread_mutex_unlock(lock);
}

static void cache_forget(struct store *self, const char *kind, const char *hash)
{
    forget(self, hash);
    char key[CACHE_KEY_BYTES];
    cache_key(key, kind, hash);
    cyx_cache_delete(self->cache, key);
}

enum cyx_status store_forget_account(struct store *self, struct cyx_db_conn *conn,
                                     const char *account_id, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "select 'session', token_hash from session where account_id = $1 "
                     "union all select 'key', key_hash from api_key "
                     "where account_id = $1 and revoked_at is null",
                     &rows, err, CYX_DB_TEXT(account_id));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++)
        cache_forget(self, cyx_db_text(rows, i, 0), cyx_db_text(rows, i, 1));
    return status;
}

static enum cyx_status check_expiry(const struct store_holder *holder, struct cyx_error *err)
{
    if (holder->expires_ms == 0 || holder->expires_ms > cyx_clock_unix_ms())
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL, "it has expired");
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

static enum cyx_status query_session(struct store *self, const char *token_hash,
                                     struct store_holder *ret_holder, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_run_one(self->db,
                                            "select a.id, a.email, a.name, a.role, s.expires_at "
                                            "from session s join account a on a.id = s.account_id "
                                            "where s.token_hash = $1 and s.expires_at > now()",
                                            &row, err, CYX_DB_TEXT(token_hash));
    if (status != CYX_OK)
        return status;
    *ret_holder = (struct store_holder){.scopes = GATEWAY_SCOPES_ALL,
                                        .expires_ms = cyx_db_time_ms(row, 0, 4)};
    store_read_account(row, 0, 0, &ret_holder->account);
    return CYX_OK;
}

enum cyx_status store_session_find(struct store *self, const char *token_hash,
                                   struct store_holder *ret_holder, struct cyx_error *err)
{
    struct store_holder holder = {0};
    if (!cache_find(self, "session", token_hash, &holder)) {
        enum cyx_status status = query_session(self, token_hash, &holder, err);
        if (status != CYX_OK)
            return status;
        cache_keep(self, "session", token_hash, &holder);
    }
    enum cyx_status status = check_expiry(&holder, err);
    if (status == CYX_OK)
        *ret_holder = holder;
    return status;
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
    char id[CYX_ID_BYTES], scopes[GATEWAY_SCOPES_BYTES];
    cyx_id_new(id);
    gateway_scopes_format(key->scopes, scopes);
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "insert into api_key (id, account_id, name, prefix, key_hash, scopes, expires_at) "
        "select $1::uuid, $2::uuid, $3, $4, $5, $6, to_timestamp(nullif($7::bigint, 0) / 1000.0) "
        "where (select count(*) from api_key where account_id = $2::uuid and revoked_at is null) "
        "< $8 returning created_at",
        &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id), CYX_DB_TEXT(key->name),
        CYX_DB_TEXT(key->prefix), CYX_DB_TEXT(key_hash), CYX_DB_TEXT(scopes),
        CYX_DB_TIME_MS(key->expires_ms), CYX_DB_INT(GATEWAY_API_KEYS_LIMIT));
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

static void read_key(const struct cyx_db_result *rows, size_t row, struct store_api_key *ret_key)
{
    snprintf(ret_key->id, sizeof(ret_key->id), "%s", cyx_db_text(rows, row, 0));
    snprintf(ret_key->name, sizeof(ret_key->name), "%s", cyx_db_text(rows, row, 1));
    snprintf(ret_key->prefix, sizeof(ret_key->prefix), "%s", cyx_db_text(rows, row, 2));
    ret_key->created_ms = cyx_db_time_ms(rows, row, 3);
    ret_key->last_used_ms = cyx_db_time_ms(rows, row, 4);
    ret_key->scopes = gateway_scopes_parse(cyx_db_text(rows, row, 5));
    ret_key->expires_ms = cyx_db_time_ms(rows, row, 6);
}

enum cyx_status store_api_key_list(struct store *self, const char *account_id,
                                   struct store_api_key **ret_keys, size_t *ret_count,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select id, name, prefix, created_at, last_used_at, scopes, expires_at "
                   "from api_key where account_id = $1 and revoked_at is null "
                   "order by created_at desc, id desc limit $2",
                   &rows, err, CYX_DB_TEXT(account_id), CYX_DB_INT(GATEWAY_API_KEYS_LIMIT));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct store_api_key *keys = calloc(count ? count : 1, sizeof(*keys));
    if (!keys)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for %zu keys", count);
    for (size_t i = 0; i < count; i++)
        read_key(rows, i, &keys[i]);
    *ret_keys = keys;
    *ret_count = count;
    return CYX_OK;
}

static enum cyx_status query_key(struct store *self, const char *key_hash,
                                 struct store_holder *ret_holder, struct cyx_error *err)
{
    STORE_CLEANUP_CONN struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    status = cyx_db_query_one(
        conn,
        "select a.id, a.email, a.name, a.role, k.id, k.scopes, k.expires_at from api_key k "
        "join account a on a.id = k.account_id where k.key_hash = $1 and k.revoked_at is null",
        &row, err, CYX_DB_TEXT(key_hash));
    if (status != CYX_OK)
        return status;
    *ret_holder = (struct store_holder){.scopes = gateway_scopes_parse(cyx_db_text(row, 0, 5)),
                                        .expires_ms = cyx_db_time_ms(row, 0, 6)};
    snprintf(ret_holder->key_id, sizeof(ret_holder->key_id), "%s", cyx_db_text(row, 0, 4));
    store_read_account(row, 0, 0, &ret_holder->account);
    /* When a key was last used is told to the minute: not a write for every request. */
    return cyx_db_query(conn,
                        "update api_key set last_used_at = now() where key_hash = $1 and "
                        "(last_used_at is null or last_used_at < now() - interval '1 minute')",
                        NULL, err, CYX_DB_TEXT(key_hash));
}

enum cyx_status store_api_key_find(struct store *self, const char *key_hash,
                                   struct store_holder *ret_holder, struct cyx_error *err)
{
    struct store_holder holder = {0};
    if (!cache_find(self, "key", key_hash, &holder)) {
        enum cyx_status status = query_key(self, key_hash, &holder, err);
        if (status != CYX_OK)
            return status;
        cache_keep(self, "key", key_hash, &holder);
    }
    enum cyx_status status = check_expiry(&holder, err);
    if (status != CYX_OK)
        return status;
    remember(self, key_hash, &holder);
    *ret_holder = holder;
    return CYX_OK;
}

bool store_api_key_peek(struct store *self, const char *key_hash, struct store_holder *ret_holder)
{
    return recall(self, key_hash, ret_holder) && check_expiry(ret_holder, NULL) == CYX_OK;
}

enum cyx_status store_api_key_revoke(struct store *self, const char *account_id, const char *id,
                                     struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *row = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db,
                       "update api_key set revoked_at = now() where id = $1 and account_id = $2 "
                       "and revoked_at is null returning key_hash",
                       &row, err, CYX_DB_TEXT(id), CYX_DB_TEXT(account_id));
    if (status != CYX_OK)
        return status;
    cache_forget(self, "key", cyx_db_text(row, 0, 0));
    return CYX_OK;
}

static enum cyx_status find_ended(struct store *self, const struct store_credential *list,
                                  size_t count, bool sessions, bool *ended, struct cyx_error *err)
{
    static const char *const sql[] = {
        "select u.n - 1 from unnest($1::text[]) with ordinality u(name, n) where u.name <> '' and "
        "not exists (select from api_key k where k.id = nullif(u.name, '')::uuid and k.revoked_at "
        "is null and "
        "(k.expires_at is null or k.expires_at > now()))",
        "select u.n - 1 from unnest($1::text[]) with ordinality u(name, n) where u.name <> '' and "
        "not exists (select from session s where s.token_hash = u.name and s.expires_at > now())"};
    CYX_CLEANUP_BUF struct cyx_buf names = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++) {
        bool one = list[i].session == sessions;
        cyx_db_put_element(&names, one ? list[i].name : "");
        wanted += one;
    }
    if (wanted == 0)
        return CYX_OK;
    cyx_buf_puts(&names, "}");
    if (names.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the names");
    enum cyx_status status =
        cyx_db_run(self->db, sql[sessions], &rows, err, CYX_DB_TEXT(names.data));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        int64_t at = cyx_db_int(rows, i, 0);
        if (at >= 0 && (size_t)at < count)
            ended[at] = true;
    }
    return status;
}

enum cyx_status store_credentials_ended(struct store *self, const struct store_credential *list,
                                        size_t count, bool *ret_ended, struct cyx_error *err)
{
    enum cyx_status status = find_ended(self, list, count, false, ret_ended, err);
    return status == CYX_OK ? find_ended(self, list, count, true, ret_ended, err) : status;
}

/* ---- rate limits ------------------------------------------------------------------------------- */

/* The next share of the window, from the counter of all replicas or from this one's own. */
static void get_share(struct store *self, const char *key, int64_t limit, int64_t now_ms)
{
    char name[CACHE_KEY_BYTES];
    cache_key(name, "limit", key);
    int64_t share = limit_share(limit), count = 0, left_ms = 0;
    if (cyx_cache_count(self->cache, name, share, LIMIT_WINDOW_MS, &count, &left_ms) != CYX_OK) {
        limit_grant_self(self->limit, key, limit, now_ms);
        return;
    }
    int64_t rest = limit - (count - share);
    int64_t given = rest < share ? (rest > 0 ? rest : 0) : share;
    limit_grant(self->limit, key, given, rest - given, left_ms, now_ms);
}

bool store_limit_take(struct store *self, const char *key, int64_t limit,
                      struct limit_state *ret_state)
{
    int64_t now_ms = cyx_clock_monotonic_ns() / 1000000;
    *ret_state = (struct limit_state){limit, 0, LIMIT_WINDOW_MS};
    for (int i = 0; i < 3; i++) { /* others may take the share that was just got */
        enum limit_answer answer = limit_take(self->limit, key, limit, now_ms, ret_state);
        if (answer != LIMIT_ASK)
            return answer == LIMIT_TAKEN;
        get_share(self, key, limit, now_ms);
    }
    return true; /* a slot that keys fight over */
}

bool store_limit_peek(struct store *self, const char *key, int64_t limit,
                      struct limit_state *ret_state)
{
    return limit_take(self->limit, key, limit, cyx_clock_monotonic_ns() / 1000000, ret_state) ==
           LIMIT_TAKEN;
}
