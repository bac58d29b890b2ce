/*
 * What the gateway keeps: accounts, sessions, API keys, wallets, the audit log, who owns which artifact. The only SQL
 * and Redis of the service, in the store*.c files.
 *
 * PostgreSQL is the truth. The process remembers keys for a second (another replica's revocation counts after it), Redis holds found sessions and keys for STORE_CACHE_MS and the counts of rate limits;
 * with Redis gone everything works from PostgreSQL and limits in the process.
 *
 * Ownership: the store borrows database, cache and outbox, which outlive it. Any thread.
 * Errors: those of store/db.h; CYX_ERR_NOT_FOUND where nothing fits.
 */
#ifndef CYX_GATEWAY_STORE_H
#define CYX_GATEWAY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "contract/page.h"
#include "gateway.h"
#include "limit.h"
#include "store/cache.h"
#include "store/db.h"
#include "store/outbox.h"

enum { STORE_CACHE_MS = 30000, STORE_ARTIFACT_JOBS = 20 };

struct store;

enum cyx_status store_create(struct cyx_db *db, struct cyx_cache *cache,
                             struct cyx_outbox_relay *outbox, struct store **ret_store,
                             struct cyx_error *err);
void store_destroy(struct store *self);

/* ---- accounts ---------------------------------------------------------------------------------- */

/*
 * Makes the account and its event cyx.evt.account.created in one transaction. CYX_ERR_CONFLICT when the e-mail
 * address has one already. `account->id` is filled in.
 */
enum cyx_status store_account_create(struct store *self, struct gateway_account *account,
                                     const char *password_hash, struct cyx_error *err);

enum cyx_status store_account_by_email(struct store *self, const char *email,
                                       struct gateway_account *ret_account,
                                       char ret_password_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                       struct cyx_error *err);

/* Newest first, `role` NULL: all; those before `cursor` (an id, or NULL). `*ret_accounts` is the caller's to free(). */
enum cyx_status store_account_list(struct store *self, const char *role, const char *cursor,
                                   int64_t limit, struct gateway_account **ret_accounts,
                                   size_t *ret_count, struct cyx_error *err);

/* Counts at once for all its sessions and keys. */
enum cyx_status store_account_set_role(struct store *self, const char *id, enum gateway_role role,
                                       struct gateway_account *ret_account, struct cyx_error *err);

/* Ends the account's sessions but `keep_session` (a token's hash, or ""). */
enum cyx_status store_account_set_password(struct store *self, const char *id,
                                           const char *password_hash, const char *keep_session,
                                           struct cyx_error *err);

/* ---- sessions and keys: who holds a token's hash (store_credential.c) --------------------------- */

struct store_holder {
    struct gateway_account account;
    unsigned scopes;           /* enum gateway_scope; all of them for a session */
    int64_t expires_ms;        /* 0: never */
    char key_id[CYX_ID_BYTES]; /* "" for a session */
};

/* Also forgets the account's sessions that have expired. */
enum cyx_status store_session_create(struct store *self, const char *account_id,
                                     const char *token_hash, int64_t expires_ms,
                                     struct cyx_error *err);

enum cyx_status store_session_find(struct store *self, const char *token_hash,
                                   struct store_holder *ret_holder, struct cyx_error *err);

enum cyx_status store_session_delete(struct store *self, const char *token_hash,
                                     struct cyx_error *err);

struct store_api_key {
    char id[CYX_ID_BYTES];
    char name[GATEWAY_NAME_BYTES];
    char prefix[GATEWAY_API_KEY_PREFIX_BYTES];
    unsigned scopes;
    int64_t expires_ms;               /* 0: never */
    int64_t created_ms, last_used_ms; /* last_used_ms 0: never */
};

/* Fills id and created_ms. CYX_ERR_CONFLICT when the account has GATEWAY_API_KEYS_LIMIT of them. */
enum cyx_status store_api_key_create(struct store *self, const char *account_id,
                                     const char *key_hash, struct store_api_key *key,
                                     struct cyx_error *err);

/* Newest first, those that have expired too; `*ret_keys` is the caller's to free(). */
enum cyx_status store_api_key_list(struct store *self, const char *account_id,
                                   struct store_api_key **ret_keys, size_t *ret_count,
                                   struct cyx_error *err);

enum cyx_status store_api_key_find(struct store *self, const char *key_hash,
                                   struct store_holder *ret_holder, struct cyx_error *err);

/* Without waiting for anybody: false when the key was not found in the last second. */
bool store_api_key_peek(struct store *self, const char *key_hash, struct store_holder *ret_holder);

enum cyx_status store_api_key_revoke(struct store *self, const char *account_id, const char *id,
                                     struct cyx_error *err);

/* What opened a stream: a session by its token's hash, or an API key by its id. */
struct store_credential {
    bool session;
    char name[GATEWAY_HASH_BYTES];
};

/* Which of them let nobody in any more: revoked, signed out, expired. PostgreSQL is asked, no cache; a flag each. */
enum cyx_status store_credentials_ended(struct store *self, const struct store_credential *list,
                                        size_t count, bool *ret_ended, struct cyx_error *err);

/* ---- rate limits -------------------------------------------------------------------------------- */

/* Takes one call of `limit` a minute of what `key` names; with Redis away, of this process's own count. */
bool store_limit_take(struct store *self, const char *key, int64_t limit,
                      struct limit_state *ret_state);

/* The same without waiting for anybody; false too when the next share must be asked for. */
bool store_limit_peek(struct store *self, const char *key, int64_t limit,
                      struct limit_state *ret_state);

/* ---- wallets (store_access.c) -------------------------------------------------------------------- */

struct store_wallet {
    char id[CYX_ID_BYTES];
    char public_key[GATEWAY_PUBLIC_KEY_BYTES];
    char name[GATEWAY_NAME_BYTES];
    int64_t created_ms, last_used_ms; /* last_used_ms 0: never */
};

struct store_challenge {
    const char *nonce, *purpose; /* "sign-in" or "link" */
    char public_key[GATEWAY_PUBLIC_KEY_BYTES];
    char message[GATEWAY_CHALLENGE_BYTES];
    int64_t expires_ms;
};

/* Keeps it until it is taken or expires. */
enum cyx_status store_challenge_add(struct store *self, const struct store_challenge *challenge,
                                    struct cyx_error *err);

/* Gives it once, by nonce and purpose; CYX_ERR_NOT_FOUND when it was taken, has expired or never was. */
enum cyx_status store_challenge_take(struct store *self, struct store_challenge *challenge,
                                     struct cyx_error *err);

/* Fills id and created_ms. CYX_ERR_CONFLICT when the key has an account, or the account too many. */
enum cyx_status store_wallet_add(struct store *self, const char *account_id,
                                 struct store_wallet *wallet, struct cyx_error *err);

/* Whose key it is; notes the use. */
enum cyx_status store_wallet_find(struct store *self, const char *public_key,
                                  struct gateway_account *ret_account, struct cyx_error *err);

/* Newest first; `*ret_wallets` is the caller's to free(). */
enum cyx_status store_wallet_list(struct store *self, const char *account_id,
                                  struct store_wallet **ret_wallets, size_t *ret_count,
                                  struct cyx_error *err);

enum cyx_status store_wallet_delete(struct store *self, const char *account_id, const char *id,
                                    struct cyx_error *err);

/* ---- the audit log (store_access.c) -------------------------------------------------------------- */

struct store_audit {
    int64_t id, at_ms;      /* set by the store */
    const char *account_id; /* NULL: nobody known */
    const char *credential; /* "session", "key", "password", "wallet" or "none" */
    const char *key_id;     /* NULL: none */
    const char *action;     /* "POST /jobs/{id}/cancel" */
    const char *target;     /* the path, or who tried to sign in */
    int status;             /* HTTP */
    const char *address, *request_id;
};

enum cyx_status store_audit_add(struct store *self, const struct store_audit *entry,
                                struct cyx_error *err);

struct store_audit_query {
    const char *account_id, *action; /* NULL: any */
    int64_t before;                  /* entries with a smaller id; 0: from the newest */
    int64_t limit;
};

/* Newest first: `take` is called for each, its texts live until it returns. */
enum cyx_status store_audit_list(struct store *self, const struct store_audit_query *query,
                                 void (*take)(void *ctx, const struct store_audit *entry),
                                 void *ctx, struct cyx_error *err);

/* Deletes the oldest `limit` entries, as far as they are older than so many days. Ids rise with time. */
enum cyx_status store_audit_prune(struct store *self, int64_t days, int64_t limit,
                                  int64_t *ret_gone, struct cyx_error *err);

/* ---- records of ended jobs (store_record.c) ------------------------------------------------------ */

struct store_record {
    char job_id[CYX_ID_BYTES];
    int64_t n_points, n_seen;
    char log_sha256[GATEWAY_HASH_BYTES]; /* "": no log */
    int64_t log_bytes, log_lines;
};

/* `points` is a JSON array. Doing it twice is fine: the first stays. */
enum cyx_status store_record_add(struct store *self, const struct store_record *record,
                                 const char *points, struct cyx_error *err);

/* `ret_points` (may be NULL: not asked for) gets the array appended. */
enum cyx_status store_record_find(struct store *self, const char *job_id,
                                  struct store_record *ret_record, struct cyx_buf *ret_points,
                                  struct cyx_error *err);

/* ---- uploads of accounts (store_upload.c) --------------------------------------------------------- */

struct store_upload {
    char id[CYX_ID_BYTES];
    char kind[8]; /* "dataset" or "model" */
    char name[GATEWAY_NAME_BYTES];
    char sha256[GATEWAY_HASH_BYTES];
    int64_t bytes, received;
    int64_t created_ms, completed_ms; /* completed_ms 0: not whole */
};

/* Fills the rest. The account's own of this kind and hash is given again (`*ret_created` false). CYX_ERR_TOO_LARGE
 * over the quota, which counts what was announced too. */
enum cyx_status store_upload_add(struct store *self, const char *account_id, int64_t quota_bytes,
                                 struct store_upload *upload, bool *ret_created,
                                 struct cyx_error *err);

enum cyx_status store_upload_find(struct store *self, const char *account_id, const char *id,
                                  struct store_upload *ret_upload, struct cyx_error *err);

/* The account's upload of this kind by id or name: of several of a name the newest, whole ones first; of this hash
 * unless `sha256` is NULL. */
enum cyx_status store_upload_named(struct store *self, const char *account_id, const char *kind,
                                   const char *name, const char *sha256,
                                   struct store_upload *ret_upload, struct cyx_error *err);

struct store_upload_query {
    const char *account_id, *kind, *complete; /* kind and complete ("true", "false") NULL: any */
    struct cyx_page page;
};

/* -created_at (default), created_at, name, -name, bytes, -bytes; as contract/page.h wants them. */
extern const struct cyx_page_order store_upload_orders[];

/* A page, and one more where there is one. `*ret_uploads` is the caller's to free(). */
enum cyx_status store_upload_list(struct store *self, const struct store_upload_query *query,
                                  struct store_upload **ret_uploads, size_t *ret_count,
                                  struct cyx_error *err);

enum cyx_status store_upload_progress(struct store *self, const char *id, int64_t received,
                                      bool complete, struct cyx_error *err);

/* `*ret_last`: nobody else has the bytes. */
enum cyx_status store_upload_delete(struct store *self, const char *account_id, const char *id,
                                    struct store_upload *ret_upload, bool *ret_last,
                                    struct cyx_error *err);

/* ---- artifacts --------------------------------------------------------------------------------- */

struct store_artifact {
    const char *sha256, *job_id, *node_id;
    int64_t token, bytes;
};

/* Notes that the job has these bytes; doing it twice is fine. */
enum cyx_status store_artifact_add(struct store *self, const struct store_artifact *artifact,
                                   struct cyx_error *err);

/* CYX_ERR_NOT_FOUND when the job has no such artifact. */
enum cyx_status store_artifact_find(struct store *self, const char *sha256, const char *job_id,
                                    struct cyx_error *err);

/* The newest jobs that have it, at most STORE_ARTIFACT_JOBS. */
enum cyx_status store_artifact_jobs(struct store *self, const char *sha256,
                                    char ret_job_ids[STORE_ARTIFACT_JOBS][CYX_ID_BYTES],
                                    size_t *ret_count, struct cyx_error *err);

#endif
