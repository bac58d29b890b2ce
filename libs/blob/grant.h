/*
 * Artifact grants: a capability in text that lets a worker read a job's artifacts and data sets, or
 * write new ones, without an account. Minted by the scheduler, checked by the gateway
 * (docs/contracts/platform.md, 4):
 *
 *     base64url(payload) "." base64url(HMAC-SHA256(key, payload))
 *     payload: {"job":"…","node":"…","token":7,"exp":1764000000,"rights":"rw","data":"<sha256>"}
 *
 * `data` is there where the job trains on an upload of its account, `initial` where it begins with an uploaded model: these
 * bytes it may read besides.
 *
 * The signature is compared in constant time before the payload is looked at. Not secret in itself
 * but worth its rights until it expires: never log one. Thread-safe, no state; nothing to free.
 *
 *     uint8_t key[CYX_GRANT_KEY_BYTES];
 *     cyx_grant_key_parse(getenv("CYXWIZ_GRANT_KEY"), key, &err);
 *     cyx_grant_mint(key, &grant, text, &err);
 *     cyx_grant_verify(key, text, now_s, &grant, &err);
 *     if (!(grant.rights & CYX_GRANT_WRITE)) …
 */
#ifndef CYX_BLOB_GRANT_H
#define CYX_BLOB_GRANT_H

#include <stdint.h>

#include "base/id.h"
#include "base/status.h"
#include "blob/sha256.h"

enum { CYX_GRANT_KEY_BYTES = 32, CYX_GRANT_TEXT_BYTES = 512 };

enum cyx_grant_rights { CYX_GRANT_READ = 1 << 0, CYX_GRANT_WRITE = 1 << 1 };

struct cyx_grant {
    char job_id[CYX_ID_BYTES], node_id[CYX_ID_BYTES];
    int64_t token;                                      /* fencing token */
    int64_t expires_s;                                  /* unix seconds */
    unsigned rights;                                    /* enum cyx_grant_rights */
    char data[CYX_SHA256_HEX], initial[CYX_SHA256_HEX]; /* "": no upload */
};

/* 64 hexadecimal digits, as in CYXWIZ_GRANT_KEY. CYX_ERR_INVALID names the remedy; NULL is refused.
 */
enum cyx_status cyx_grant_key_parse(const char *hex, uint8_t ret_key[CYX_GRANT_KEY_BYTES],
                                    struct cyx_error *ret_error);

enum cyx_status cyx_grant_mint(const uint8_t key[CYX_GRANT_KEY_BYTES],
                               const struct cyx_grant *grant, char ret_text[CYX_GRANT_TEXT_BYTES],
                               struct cyx_error *ret_error);

/* CYX_ERR_UNAUTHENTICATED for anything that was not minted with this key, or has expired at
 * `now_s`. */
enum cyx_status cyx_grant_verify(const uint8_t key[CYX_GRANT_KEY_BYTES], const char *text,
                                 int64_t now_s, struct cyx_grant *ret_grant,
                                 struct cyx_error *ret_error);

#endif
