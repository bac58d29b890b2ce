#include "identity/jwt.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"

#include "base/banned.h"

#define HEADER "{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}"

void cyx_base64url_write(const void *bytes, size_t length, struct cyx_buf *ret_text)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = bytes;
    for (size_t i = 0; i < length; i += 3) {
        size_t n = length - i < 3 ? length - i : 3;
        uint32_t group = (uint32_t)in[i] << 16 | (n > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (n > 2 ? in[i + 2] : 0);
        char four[4];
        for (int k = 0; k < 4; k++)
            four[k] = alphabet[group >> (18 - 6 * k) & 63];
        cyx_buf_append(ret_text, four, n + 1);
    }
}

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool cyx_base64url_read(const char *text, size_t n, void *ret_bytes, size_t capacity,
                        size_t *ret_length)
{
    uint8_t *out = ret_bytes;
    uint32_t pending = 0;
    int bits = 0;
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = base64url_digit(text[i]);
        if (digit < 0)
            return false;
        pending = pending << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            if (length == capacity)
                return false;
            bits -= 8;
            out[length++] = (uint8_t)(pending >> bits);
        }
    }
    *ret_length = length;
    return bits < 6 && (pending & ((1U << bits) - 1)) == 0;
}

/* Signs `claims` (taken; NULL: no memory) and appends header.claims.signature. */
static enum cyx_status write_token(json_t *claims, const struct cyx_nkey *signer,
                                   struct cyx_buf *ret_token, struct cyx_error *err)
{
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf token = {0};
    char *text = claims ? json_dumps(claims, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(claims);
    cyx_base64url_write(HEADER, sizeof(HEADER) - 1, &token);
    cyx_buf_puts(&token, ".");
    if (text)
        cyx_base64url_write(text, strlen(text), &token);
    bool made = text && !token.failed;
    free(text);
    if (!made)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a token");
    enum cyx_status status = cyx_nkey_sign(signer, token.data, token.length, signature, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_puts(&token, ".");
    cyx_base64url_write(signature, sizeof(signature), &token);
    cyx_buf_append(ret_token, token.data, token.length);
    return ret_token->failed || token.failed
               ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a token")
               : CYX_OK;
}

/* What all have; `nats` is taken. */
static json_t *claims_json(const char *subject, const char *name, const struct cyx_nkey *issuer,
                           int64_t issued_s, json_t *nats)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:o}", "jti", subject, "iat", (json_int_t)issued_s,
                     "iss", issuer->text, "name", name, "sub", subject, "nats", nats);
}

/* [key], or null for none. */
static json_t *keys_json(const char *key)
{
    return key ? json_pack("[s]", key) : json_array();
}

enum cyx_status cyx_jwt_operator_write(const struct cyx_jwt_operator *claims,
                                       const struct cyx_nkey *operator_key, int64_t issued_s,
                                       struct cyx_buf *ret_token, struct cyx_error *err)
{
    json_t *nats =
        json_pack("{s:o, s:s, s:s, s:i}", "signing_keys", keys_json(claims->signing_key),
                  "system_account", claims->system_account, "type", "operator", "version", 2);
    return write_token(claims_json(operator_key->text, claims->name, operator_key, issued_s, nats),
                       operator_key, ret_token, err);
}

/* -1: no limit. */
static json_t *account_limits(bool has_streams)
{
    static const char *const unlimited[] = {"subs",    "data", "payload", "imports",
                                            "exports", "conn", "leaf"};
    static const char *const streams[] = {"mem_storage", "disk_storage", "streams", "consumer"};
    json_t *limits = json_pack("{s:b}", "wildcards", 1);
    for (size_t i = 0; i < sizeof(unlimited) / sizeof(unlimited[0]); i++)
        json_object_set_new(limits, unlimited[i], json_integer(-1));
    for (size_t i = 0; has_streams && i < sizeof(streams) / sizeof(streams[0]); i++)
        json_object_set_new(limits, streams[i], json_integer(-1));
    return limits;
}

enum cyx_status cyx_jwt_account_write(const struct cyx_jwt_account *claims,
                                      const struct cyx_nkey *operator_key, int64_t issued_s,
                                      struct cyx_buf *ret_token, struct cyx_error *err)
{
    json_t *revocations = json_object();
    for (size_t i = 0; i < claims->n_revocations; i++)
        json_object_set_new(revocations, claims->revocations[i].key,
                            json_integer((json_int_t)claims->revocations[i].before_s));
    json_t *nats = json_pack("{s:o, s:o, s:{s:{}, s:{}}, s:o, s:s, s:i}", "limits",
                             account_limits(claims->has_streams), "signing_keys",
                             keys_json(claims->signing_key), "default_permissions", "pub", "sub",
                             "revocations", revocations, "type", "account", "version", 2);
    return write_token(claims_json(claims->subject, claims->name, operator_key, issued_s, nats),
                       operator_key, ret_token, err);
}

static json_t *allow_json(const char *const *subjects)
{
    if (!subjects)
        return json_object();
    json_t *array = json_array();
    for (; *subjects; subjects++)
        json_array_append_new(array, json_string(*subjects));
    return json_pack("{s:o}", "allow", array);
}

enum cyx_status cyx_jwt_user_write(const struct cyx_jwt_user *claims, const struct cyx_nkey *signer,
                                   int64_t issued_s, struct cyx_buf *ret_token,
                                   struct cyx_error *err)
{
    json_t *nats = json_pack("{s:o, s:o, s:i, s:i, s:i, s:s, s:i}", "pub",
                             allow_json(claims->publish), "sub", allow_json(claims->subscribe),
                             "subs", -1, "data", -1, "payload", -1, "type", "user", "version", 2);
    if (claims->account)
        json_object_set_new(nats, "issuer_account", json_string(claims->account));
    json_t *all = claims_json(claims->subject, claims->name, signer, issued_s, nats);
    if (claims->expires_s)
        json_object_set_new(all, "exp", json_integer((json_int_t)claims->expires_s));
    return write_token(all, signer, ret_token, err);
}
