/*
 * What the gateway keeps: accounts, sessions, API keys, who owns which artifact. The only SQL and Redis of the
 * service; store_artifact.c holds the artifacts' part.
 *
 * PostgreSQL is the truth. Redis holds found sessions and keys for STORE_CACHE_MS and the counts of sign-in tries;
 * with Redis gone everything works from PostgreSQL and an in-process limit.
 *
 * Ownership: the store borrows database, cache and outbox, which outlive it. Any thread.
 * Errors: those of store/db.h; CYX_ERR_NOT_FOUND where nothing fits.
 */
#ifndef CYX_GATEWAY_STORE_H
#define CYX_GATEWAY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway.h"
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

/* ---- sessions and keys: who holds a token's hash ------------------------------------------------ */

/* Also forgets the account's sessions that have expired. */
enum cyx_status store_session_create(struct store *self, const char *account_id,
                                     const char *token_hash, int64_t expires_ms,
                                     struct cyx_error *err);

enum cyx_status store_session_find(struct store *self, const char *token_hash,
                                   struct gateway_account *ret_account, int64_t *ret_expires_ms,
                                   struct cyx_error *err);

enum cyx_status store_session_delete(struct store *self, const char *token_hash,
                                     struct cyx_error *err);

struct store_api_key {
    char id[CYX_ID_BYTES];
    char name[GATEWAY_NAME_BYTES];
    char prefix[GATEWAY_API_KEY_PREFIX_BYTES];
    int64_t created_ms, last_used_ms; /* last_used_ms 0: never */
};

/* Fills id and created_ms. CYX_ERR_CONFLICT when the account has GATEWAY_API_KEYS_LIMIT of them. */
enum cyx_status store_api_key_create(struct store *self, const char *account_id,
                                     const char *key_hash, struct store_api_key *key,
                                     struct cyx_error *err);

/* Newest first; `*ret_keys` is the caller's to free(). */
enum cyx_status store_api_key_list(struct store *self, const char *account_id,
                                   struct store_api_key **ret_keys, size_t *ret_count,
                                   struct cyx_error *err);

enum cyx_status store_api_key_find(struct store *self, const char *key_hash,
                                   struct gateway_account *ret_account, struct cyx_error *err);

enum cyx_status store_api_key_revoke(struct store *self, const char *account_id, const char *id,
                                     struct cyx_error *err);

/* Counts a try to sign in from `address`; false when it is one too many. */
bool store_login_allow(struct store *self, const char *address, int64_t *ret_wait_ms);

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
