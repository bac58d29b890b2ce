/*
 * The gateway's rules: who somebody is and what may be said. Accounts, passwords, session tokens,
 * API keys, CSRF tokens, rate limits. No SQL, no HTTP, no NATS in here.
 *
 * Secrets: a session token and an API key are 32 random bytes in base64url; only their SHA-256 is
 * ever stored. The CSRF token is an HMAC under the session's token, so it needs no storing and page
 * scripts can have it without the cookie. Passwords are Argon2id (libsodium, interactive limits: 64
 * MiB, two passes).
 *
 * Ownership: plain values; a limiter is on the heap. Threads: gateway_init() once before the
 * others; the rest from any thread.
 *
 *     char token[GATEWAY_TOKEN_BYTES], hash[GATEWAY_HASH_BYTES], csrf[GATEWAY_HASH_BYTES];
 *     gateway_token_new(token);
 *     gateway_token_hash(token, hash);
 *     gateway_csrf_token(token, csrf);
 */
#ifndef CYX_GATEWAY_GATEWAY_H
#define CYX_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/status.h"

enum {
    GATEWAY_EMAIL_BYTES = 255,     /* 254 characters and the NUL, as mail allows */
    GATEWAY_NAME_BYTES = 101 * 4,  /* 100 characters of UTF-8 */
    GATEWAY_PASSWORD_MIN = 8,      /* characters; NIST SP 800-63B */
    GATEWAY_PASSWORD_LIMIT = 1024, /* bytes */
    GATEWAY_PASSWORD_HASH_BYTES = 128,
    GATEWAY_TOKEN_BYTES = 44,          /* 43 characters of base64url and the NUL */
    GATEWAY_API_KEY_BYTES = 48,        /* "cyx_" before them */
    GATEWAY_API_KEY_PREFIX_BYTES = 13, /* what lists show */
    GATEWAY_HASH_BYTES = 65,           /* SHA-256 in hexadecimal and the NUL */
    GATEWAY_API_KEYS_LIMIT = 100,      /* an account */
    GATEWAY_LOGINS_A_MINUTE = 10,      /* an address */
    GATEWAY_SESSION_S = 7 * 24 * 3600,
    GATEWAY_IDEMPOTENCY_KEY_LIMIT = 200,
};

enum gateway_role { GATEWAY_ROLE_USER, GATEWAY_ROLE_OPERATOR, GATEWAY_ROLE_ADMIN };

struct gateway_account {
    char id[CYX_ID_BYTES];
    char email[GATEWAY_EMAIL_BYTES];
    char name[GATEWAY_NAME_BYTES];
    enum gateway_role role;
};

/* Readies the crypto library; CYX_ERR_INTERNAL when it refuses. */
enum cyx_status gateway_init(struct cyx_error *ret_error);

const char *gateway_role_name(enum gateway_role role);

/* False and unchanged for an unknown name. */
bool gateway_role_parse(const char *text, enum gateway_role *ret_role);

/* Lower-cases and checks the shape local@domain; CYX_ERR_INVALID at /email. */
enum cyx_status gateway_email_normalise(const char *text, char ret_email[GATEWAY_EMAIL_BYTES],
                                        struct cyx_error *ret_error);

/* 1 to 100 characters of UTF-8, none of them a control; CYX_ERR_INVALID at /name. */
enum cyx_status gateway_name_check(const char *text, struct cyx_error *ret_error);

/* 8 characters to 1024 bytes; CYX_ERR_INVALID at /password. */
enum cyx_status gateway_password_check(const char *text, struct cyx_error *ret_error);

/* Takes 64 MiB and about 0.1 s. CYX_ERR_NO_MEMORY. */
enum cyx_status gateway_password_hash(const char *password,
                                      char ret_hash[GATEWAY_PASSWORD_HASH_BYTES],
                                      struct cyx_error *ret_error);

/* `hash` NULL (no such account) takes as long as a wrong password, and is false. */
bool gateway_password_verify(const char *hash, const char *password);

void gateway_token_new(char ret_token[GATEWAY_TOKEN_BYTES]);
void gateway_api_key_new(char ret_key[GATEWAY_API_KEY_BYTES],
                         char ret_prefix[GATEWAY_API_KEY_PREFIX_BYTES]);

/* Whether text has the form of a session token or an API key: what has not is not looked up. */
bool gateway_token_plausible(const char *text);
bool gateway_api_key_plausible(const char *text);

/* What is stored of a token or key. */
void gateway_token_hash(const char *token, char ret_hash[GATEWAY_HASH_BYTES]);

void gateway_csrf_token(const char *session_token, char ret_token[GATEWAY_HASH_BYTES]);

/* In constant time; `given` may be NULL. */
bool gateway_csrf_matches(const char *session_token, const char *given);

/* 1 to 200 printable ASCII characters. */
enum cyx_status gateway_idempotency_key_check(const char *text, struct cyx_error *ret_error);

/* ---- byte ranges of an upload ------------------------------------------------------------------
 */

struct gateway_range {
    uint64_t first, last, total; /* bytes first to last, both included, of total */
};

/* "bytes a-b/total" with a <= b < total; CYX_ERR_INVALID otherwise, CYX_ERR_TOO_LARGE over
 * `limit_bytes`. */
enum cyx_status gateway_range_parse(const char *text, uint64_t limit_bytes,
                                    struct gateway_range *ret_range, struct cyx_error *ret_error);

/* ---- rate limit within this process, for when the shared one is away ----------------------------
 */

struct gateway_limiter;

/* At most `limit` calls a key and window. NULL when memory ran out. Memory is bounded: keys that
 * share a slot push each other out, the limit then errs towards letting through. */
struct gateway_limiter *gateway_limiter_create(unsigned limit, int64_t window_ms);
void gateway_limiter_destroy(struct gateway_limiter *self);

/* Counts one call at `now_ms`; false when it is one too many, then `ret_wait_ms` tells how long to
 * wait. */
bool gateway_limiter_allow(struct gateway_limiter *self, const char *key, int64_t now_ms,
                           int64_t *ret_wait_ms);

#endif
