/*
 * The JWTs of NATS's decentralised authentication (version 2, alg ed25519-nkey): an operator vouches for accounts, an
 * account's signing key for users; the server holds the operator's and the accounts' alone. A user's names the subjects
 * that it may publish and subscribe. Field names: github.com/nats-io/jwt.
 *
 * Ownership: tokens are appended to the caller's buffer. Times are Unix seconds. Pure: any thread.
 *
 *     const char *const publish[] = {"cyx.node.17.>", NULL};
 *     struct cyx_jwt_user user = {.subject = key.text, .name = "node 17", .account = account.text,
 *                                 .publish = publish, .subscribe = publish, .expires_s = now + 86400};
 *     cyx_jwt_user_write(&user, &signing_key, now, &token, &err);
 */
#ifndef CYX_IDENTITY_JWT_H
#define CYX_IDENTITY_JWT_H

#include "base/buf.h"
#include "identity/nkey.h"

struct cyx_jwt_operator {
    const char *name;
    const char *signing_key; /* "O…", may sign accounts besides the operator's own; NULL: none */
    const char *system_account; /* "A…" */
};
/* Signed by the operator's own key. */
enum cyx_status cyx_jwt_operator_write(const struct cyx_jwt_operator *claims,
                                       const struct cyx_nkey *operator_key, int64_t issued_s,
                                       struct cyx_buf *ret_token, struct cyx_error *err);

/* Users of this key whose tokens were issued at or before then are refused. */
struct cyx_jwt_revocation {
    char key[CYX_NKEY_TEXT_BYTES];
    int64_t before_s;
};

struct cyx_jwt_account {
    const char *subject, *name;
    const char *signing_key; /* "A…", may sign users besides the account's own; NULL: none */
    bool has_streams;        /* JetStream without a limit; the system account may not have it */
    const struct cyx_jwt_revocation *revocations;
    size_t n_revocations;
};
enum cyx_status cyx_jwt_account_write(const struct cyx_jwt_account *claims,
                                      const struct cyx_nkey *operator_key, int64_t issued_s,
                                      struct cyx_buf *ret_token, struct cyx_error *err);

struct cyx_jwt_user {
    const char *subject, *name;
    const char *account; /* "A…", whose signing key signs; NULL: the account's own does */
    const char *const *publish, *const
                                    *subscribe; /* end with NULL; NULL: everything in the account */
    int64_t expires_s;                          /* 0: never */
};
enum cyx_status cyx_jwt_user_write(const struct cyx_jwt_user *claims, const struct cyx_nkey *signer,
                                   int64_t issued_s, struct cyx_buf *ret_token,
                                   struct cyx_error *err);

/*
 * A credentials file: token and seed, as clients of NATS read them. And out of one: the token's "iat" and "exp" (0:
 * never), unverified, for who wants to know when to ask for a new one.
 */
void cyx_creds_write(const char *token, const struct cyx_nkey *user, struct cyx_buf *ret_text);
enum cyx_status cyx_creds_times(const char *text, int64_t *ret_issued_s, int64_t *ret_expires_s,
                                struct cyx_error *err);

/* Base64 of RFC 4648 section 5, without padding: appended; and exactly `length` bytes back, false for anything else. */
void cyx_base64url_write(const void *bytes, size_t length, struct cyx_buf *ret_text);
bool cyx_base64url_read(const char *text, size_t n, void *ret_bytes, size_t capacity,
                        size_t *ret_length);

#endif
