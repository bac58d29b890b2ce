#include "blob/grant.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

enum { PAYLOAD_BYTES = 340, SIGNATURE_BYTES = 32 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* base64url without padding (RFC 4648, 5); `to` holds 4 * (length + 2) / 3 + 1. */
static size_t encode(const uint8_t *from, size_t length, char *to)
{
    size_t made = 0;
    for (size_t i = 0; i < length; i += 3) {
        uint32_t word = (uint32_t)from[i] << 16;
        word |= i + 1 < length ? (uint32_t)from[i + 1] << 8 : 0;
        word |= i + 2 < length ? (uint32_t)from[i + 2] : 0;
        size_t digits = length - i >= 3 ? 4 : length - i + 1;
        for (size_t d = 0; d < digits; d++)
            to[made++] = alphabet[word >> (18 - 6 * d) & 63];
    }
    to[made] = '\0';
    return made;
}

/* The only spelling of some bytes: leftover bits must be zero. False for anything else. */
static bool decode(const char *from, size_t length, uint8_t *to, size_t size, size_t *ret_length)
{
    if (length % 4 == 1 || length / 4 * 3 + 2 > size)
        return false;
    size_t made = 0;
    uint32_t word = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < length; i++) {
        const char *digit = from[i] ? strchr(alphabet, from[i]) : NULL;
        if (!digit)
            return false;
        word = word << 6 | (uint32_t)(digit - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            to[made++] = (uint8_t)(word >> bits);
            word &= (1u << bits) - 1;
        }
    }
    *ret_length = made;
    return word == 0;
}

static bool sign(const uint8_t key[CYX_GRANT_KEY_BYTES], const uint8_t *payload, size_t length,
                 uint8_t ret_signature[SIGNATURE_BYTES])
{
    unsigned made = 0;
    return HMAC(EVP_sha256(), key, CYX_GRANT_KEY_BYTES, payload, length, ret_signature, &made) &&
           made == SIGNATURE_BYTES;
}

enum cyx_status cyx_grant_key_parse(const char *hex, uint8_t ret_key[CYX_GRANT_KEY_BYTES],
                                    struct cyx_error *ret_error)
{
    uint8_t key[CYX_GRANT_KEY_BYTES];
    if (!hex || !cyx_hex_decode(hex, key, sizeof(key)))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "CYXWIZ_GRANT_KEY must be 64 hexadecimal digits; make one with "
                             "`openssl rand -hex 32`");
    memcpy(ret_key, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
    return CYX_OK;
}

enum cyx_status cyx_grant_mint(const uint8_t key[CYX_GRANT_KEY_BYTES],
                               const struct cyx_grant *grant, char ret_text[CYX_GRANT_TEXT_BYTES],
                               struct cyx_error *ret_error)
{
    if (!cyx_id_valid(grant->job_id) || !cyx_id_valid(grant->node_id) || grant->token < 0 ||
        grant->expires_s <= 0 || !(grant->rights & (CYX_GRANT_READ | CYX_GRANT_WRITE)) ||
        (grant->data[0] && !cyx_sha256_valid(grant->data)) ||
        (grant->initial[0] && !cyx_sha256_valid(grant->initial)))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "a grant needs a job, a node, a token, an expiry and a right");
    char payload[PAYLOAD_BYTES];
    int length = snprintf(
        payload, sizeof(payload),
        "{\"job\":\"%s\",\"node\":\"%s\",\"token\":%lld,\"exp\":%lld,"
        "\"rights\":\"%s%s\"%s%s%s%s%s%s}",
        grant->job_id, grant->node_id, (long long)grant->token, (long long)grant->expires_s,
        grant->rights & CYX_GRANT_READ ? "r" : "", grant->rights & CYX_GRANT_WRITE ? "w" : "",
        grant->data[0] ? ",\"data\":\"" : "", grant->data, grant->data[0] ? "\"" : "",
        grant->initial[0] ? ",\"initial\":\"" : "", grant->initial, grant->initial[0] ? "\"" : "");
    uint8_t signature[SIGNATURE_BYTES];
    if (length < 0 || (size_t)length >= sizeof(payload) ||
        !sign(key, (const uint8_t *)payload, (size_t)length, signature))
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "cannot sign a grant");
    size_t made = encode((const uint8_t *)payload, (size_t)length, ret_text);
    ret_text[made++] = '.';
    encode(signature, sizeof(signature), ret_text + made);
    return CYX_OK;
}

static bool read_id(json_t *root, const char *name, char ret_id[CYX_ID_BYTES])
{
    const char *text = json_string_value(json_object_get(root, name));
    if (!cyx_id_valid(text))
        return false;
    memcpy(ret_id, text, CYX_ID_BYTES);
    return true;
}

static bool read_payload(const uint8_t *payload, size_t length, struct cyx_grant *ret_grant)
{
    json_t *root = json_loadb((const char *)payload, length, JSON_REJECT_DUPLICATES, NULL);
    json_t *token = json_object_get(root, "token"), *expiry = json_object_get(root, "exp");
    const char *rights = json_string_value(json_object_get(root, "rights"));
    const char *data = json_string_value(json_object_get(root, "data"));
    const char *initial = json_string_value(json_object_get(root, "initial"));
    struct cyx_grant grant = {0};
    bool good = read_id(root, "job", grant.job_id) && read_id(root, "node", grant.node_id) &&
                json_is_integer(token) && json_is_integer(expiry) && rights &&
                (!data || cyx_sha256_valid(data)) && (!initial || cyx_sha256_valid(initial));
    if (good) {
        snprintf(grant.data, sizeof(grant.data), "%s", data ? data : "");
        snprintf(grant.initial, sizeof(grant.initial), "%s", initial ? initial : "");
        grant.token = json_integer_value(token);
        grant.expires_s = json_integer_value(expiry);
        grant.rights = (strchr(rights, 'r') ? CYX_GRANT_READ : 0u) |
                       (strchr(rights, 'w') ? CYX_GRANT_WRITE : 0u);
        *ret_grant = grant;
    }
    json_decref(root);
    return good;
}

enum cyx_status cyx_grant_verify(const uint8_t key[CYX_GRANT_KEY_BYTES], const char *text,
                                 int64_t now_s, struct cyx_grant *ret_grant,
                                 struct cyx_error *ret_error)
{
    size_t total = text ? strnlen(text, CYX_GRANT_TEXT_BYTES) : 0;
    const char *dot = total && total < CYX_GRANT_TEXT_BYTES ? strchr(text, '.') : NULL;
    uint8_t payload[CYX_GRANT_TEXT_BYTES], given[SIGNATURE_BYTES + 4], wanted[SIGNATURE_BYTES];
    size_t length = 0, given_length = 0;
    struct cyx_grant grant;
    if (!dot || !decode(text, (size_t)(dot - text), payload, sizeof(payload), &length) ||
        !decode(dot + 1, total - (size_t)(dot + 1 - text), given, sizeof(given), &given_length) ||
        given_length != SIGNATURE_BYTES || !sign(key, payload, length, wanted) ||
        CRYPTO_memcmp(given, wanted, SIGNATURE_BYTES) != 0 ||
        !read_payload(payload, length, &grant))
        return cyx_error_set(ret_error, CYX_ERR_UNAUTHENTICATED, NULL,
                             "the artifact grant is not valid");
    if (now_s >= grant.expires_s)
        return cyx_error_set(ret_error, CYX_ERR_UNAUTHENTICATED, NULL,
                             "the artifact grant has expired; ask the scheduler for a new one");
    *ret_grant = grant;
    return CYX_OK;
}
