/*
 * The gateway's rules: who somebody is and what may be said. Accounts, passwords, session tokens,
 * API keys and their scopes, wallets, CSRF tokens. No SQL, no HTTP, no NATS in here.
 *
 * Secrets: a session token and an API key are 32 random bytes in base64url; only their SHA-256 is
 * ever stored. The CSRF token is an HMAC under the session's token, so it needs no storing and page
 * scripts can have it without the cookie. Passwords are Argon2id (libsodium, interactive limits: 64
 * MiB, two passes).
 *
 * Ownership: plain values. Threads: gateway_init() once before the
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
    GATEWAY_SESSION_S = 7 * 24 * 3600,
    GATEWAY_SCOPES_BYTES = 64,
    GATEWAY_PUBLIC_KEY_BYTES = 65, /* Ed25519, hexadecimal, and the NUL */
    GATEWAY_SIGNATURE_DIGITS = 128,
    GATEWAY_NONCE_BYTES = 65,
    GATEWAY_CHALLENGE_BYTES = 1024,
    GATEWAY_CHALLENGE_MS = 5 * 60 * 1000,
    GATEWAY_WALLETS_LIMIT = 20, /* an account */
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

/* ---- scopes of API keys ------------------------------------------------------------------------
 */

enum gateway_scope {
    GATEWAY_SCOPE_READ = 1 << 0,    /* all that GET gives */
    GATEWAY_SCOPE_WRITE = 1 << 1,   /* jobs, uploads */
    GATEWAY_SCOPE_ACCOUNT = 1 << 2, /* keys, wallets, password */
    GATEWAY_SCOPE_ADMIN = 1 << 3,   /* what the account's role allows beyond a user's */
    GATEWAY_SCOPES_ALL = (1 << 4) - 1,
};

/* 0 for an unknown name. */
unsigned gateway_scope_parse(const char *name);

/* The name of a single scope. */
const char *gateway_scope_name(unsigned scope);

/* Words with spaces between, as stored, and back; unknown words are left out. */
void gateway_scopes_format(unsigned scopes, char ret_text[GATEWAY_SCOPES_BYTES]);
unsigned gateway_scopes_parse(const char *text);

/* ---- wallets -----------------------------------------------------------------------------------
 */

struct gateway_challenge {
    const char *domain, *uri; /* whose page asks */
    const char *action;       /* "sign in" or "link this key to your account" */
    const char *public_key;   /* lower-case hexadecimal */
    const char *nonce;
    int64_t issued_ms, expires_ms;
};

/* The text that a wallet shows and signs, in the form of ERC-4361. CYX_ERR_TOO_LARGE. */
enum cyx_status gateway_challenge_format(const struct gateway_challenge *challenge,
                                         char ret_text[GATEWAY_CHALLENGE_BYTES],
                                         struct cyx_error *ret_error);

/* 32 random bytes in hexadecimal. */
void gateway_nonce_new(char ret_nonce[GATEWAY_NONCE_BYTES]);

/* 64 lower-case hexadecimal digits. */
bool gateway_public_key_plausible(const char *text);

/* Ed25519 (RFC 8032) over the text's bytes; false too for a signature that is no 128 hexadecimal digits. */
bool gateway_signature_valid(const char *public_key, const char *text, const char *signature);

/* ---- byte ranges of an upload ------------------------------------------------------------------
 */

struct gateway_range {
    uint64_t first, last, total; /* bytes first to last, both included, of total */
};

/* "bytes a-b/total" with a <= b < total; CYX_ERR_INVALID otherwise, CYX_ERR_TOO_LARGE over
 * `limit_bytes`. */
enum cyx_status gateway_range_parse(const char *text, uint64_t limit_bytes,
                                    struct gateway_range *ret_range, struct cyx_error *ret_error);

#endif
