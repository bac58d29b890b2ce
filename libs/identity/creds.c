/* Credentials files. */
#include <jansson.h>
#include <string.h>

#include "identity/jwt.h"

#include "base/banned.h"

#define TOKEN_BEGIN "-----BEGIN NATS USER JWT-----\n"
#define TOKEN_END "\n------END NATS USER JWT------\n"
#define SEED_BEGIN "-----BEGIN USER NKEY SEED-----\n"
#define SEED_END "\n------END USER NKEY SEED------\n"

enum { CLAIMS_LIMIT = 16384 };

void cyx_creds_write(const char *token, const struct cyx_nkey *user, struct cyx_buf *ret_text)
{
    char seed[CYX_NKEY_SEED_BYTES];
    cyx_nkey_seed_text(user, seed);
    cyx_buf_printf(ret_text, TOKEN_BEGIN "%s" TOKEN_END "\n" SEED_BEGIN "%s" SEED_END, token, seed);
    explicit_bzero(seed, sizeof(seed));
}

enum cyx_status cyx_creds_times(const char *text, int64_t *ret_issued_s, int64_t *ret_expires_s,
                                struct cyx_error *err)
{
    char claims[CLAIMS_LIMIT];
    size_t length = 0;
    const char *from = strstr(text, TOKEN_BEGIN);
    const char *first = from ? strchr(from + sizeof(TOKEN_BEGIN) - 1, '.') : NULL;
    const char *last = first ? strchr(first + 1, '.') : NULL;
    json_t *json = last && cyx_base64url_read(first + 1, (size_t)(last - first - 1), claims,
                                              sizeof(claims), &length)
                       ? json_loadb(claims, length, 0, NULL)
                       : NULL;
    const json_t *issued = json_object_get(json, "iat");
    bool right = json_is_integer(issued);
    if (right) {
        *ret_issued_s = json_integer_value(issued);
        *ret_expires_s = json_integer_value(json_object_get(json, "exp"));
    }
    json_decref(json);
    return right ? CYX_OK
                 : cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "this is no credentials file of NATS");
}
