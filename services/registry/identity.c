#include "identity.h"

#include <stdio.h>
#include <string.h>

#include "contract/enrol.h"
#include "contract/message.h"
#include "identity/jwt.h"

#include "base/banned.h"

enum { TOKEN_RANDOM_BYTES = 32 };

enum cyx_status cyx_enrol_token_hash(const char *token, char ret_hash[CYX_SHA256_HEX],
                                     struct cyx_error *err)
{
    if (cyx_sha256_bytes(token, strlen(token), ret_hash) == CYX_OK)
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "the crypto library cannot hash");
}

enum cyx_status cyx_enrol_token_new(char ret_token[CYX_ENROL_TOKEN_BYTES],
                                    char ret_hash[CYX_SHA256_HEX], struct cyx_error *err)
{
    uint8_t random[TOKEN_RANDOM_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_random_bytes(random, sizeof(random));
    cyx_buf_puts(&text, "cyxn_");
    cyx_base64url_write(random, sizeof(random), &text);
    explicit_bzero(random, sizeof(random));
    if (text.failed || text.length >= CYX_ENROL_TOKEN_BYTES)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a token");
    memcpy(ret_token, text.data, text.length + 1);
    return cyx_enrol_token_hash(ret_token, ret_hash, err);
}

static enum cyx_status read_key(const json_t *message, const char *key, const char **ret_key,
                                struct cyx_error *err)
{
    char pointer[32];
    enum cyx_status status = cyx_message_text(message, key, ret_key, err);
    if (status != CYX_OK || cyx_nkey_public_valid(*ret_key, CYX_NKEY_USER))
        return status;
    snprintf(pointer, sizeof(pointer), "/%s", key);
    return cyx_error_set(err, CYX_ERR_INVALID, pointer,
                         "expected a user's public nkey, \"U\" and 55 characters");
}

enum cyx_status cyx_joining_parse(const json_t *message, struct cyx_joining *ret_joining,
                                  struct cyx_error *err)
{
    struct cyx_joining joining = {0};
    enum cyx_status status = cyx_message_text(message, "token", &joining.token, err);
    if (status == CYX_OK)
        status = read_key(message, "public_key", &joining.public_key, err);
    if (status == CYX_OK)
        *ret_joining = joining;
    return status;
}

/* Whether `member` is the owner's signature (base64url) of the text. */
static enum cyx_status check_signature(const json_t *message, const char *member,
                                       const char *public_key, const char *text,
                                       struct cyx_error *err)
{
    uint8_t signature[CYX_NKEY_SIGNATURE_BYTES];
    char pointer[32];
    size_t length = 0;
    const char *given = NULL;
    enum cyx_status status = cyx_message_text(message, member, &given, err);
    if (status != CYX_OK)
        return status;
    if (cyx_base64url_read(given, strlen(given), signature, sizeof(signature), &length) &&
        length == sizeof(signature) &&
        cyx_nkey_verify(public_key, CYX_NKEY_USER, text, strlen(text), signature, NULL) == CYX_OK)
        return CYX_OK;
    snprintf(pointer, sizeof(pointer), "/%s", member);
    return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, pointer,
                         "this is not the key's signature of the renewal");
}

enum cyx_status cyx_renewal_parse(const json_t *message, int64_t now_ms,
                                  struct cyx_renewal *ret_renewal, struct cyx_error *err)
{
    struct cyx_renewal renewal = {0};
    char text[CYX_RENEWAL_TEXT_BYTES];
    int64_t at_ms = 0;
    enum cyx_status status;
    if ((status = cyx_message_id(message, "node_id", &renewal.node_id, err)) != CYX_OK ||
        (status = read_key(message, "public_key", &renewal.public_key, err)) != CYX_OK ||
        (status = cyx_message_int(message, "at", 0, INT64_MAX, &at_ms, err)) != CYX_OK)
        return status;
    if (json_object_get(message, "new_key") &&
        (status = read_key(message, "new_key", &renewal.new_key, err)) != CYX_OK)
        return status;
    if (at_ms < now_ms - CYX_RENEWAL_SKEW_MS || at_ms > now_ms + CYX_RENEWAL_SKEW_MS)
        return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, "/at",
                             "more than 5 minutes off: set the node's clock");
    snprintf(text, sizeof(text), CYX_RENEWAL_TEXT, renewal.node_id, (long long)at_ms,
             renewal.public_key, renewal.new_key ? renewal.new_key : "");
    status = check_signature(message, "signature", renewal.public_key, text, err);
    if (status == CYX_OK && renewal.new_key)
        status = check_signature(message, "new_signature", renewal.new_key, text, err);
    if (status == CYX_OK)
        *ret_renewal = renewal;
    return status;
}
