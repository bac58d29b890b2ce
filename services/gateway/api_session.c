/* Signing in and out, API keys, the first account. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"

#include "base/banned.h"

enum { HASHING_WAIT_S = 3, KEY_DAYS_LIMIT = 3650 };

json_t *api_account_json(const struct gateway_account *account)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "id", account->id, "email", account->email, "name",
                     account->name, "role", gateway_role_name(account->role));
}

static json_t *session_json(const struct gateway_account *account, const char *csrf,
                            int64_t expires_ms)
{
    return json_pack("{s:o,s:o,s:o}", "account", api_account_json(account), "csrf_token",
                     cyx_message_new_text(csrf), "expires_at", cyx_message_new_time(expires_ms));
}

/* Argon2id takes 64 MiB: only a few at once, or a flood of sign-ins takes the machine's memory. */
static enum cyx_status wait_for_memory(struct app *app, struct cyx_error *err)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += HASHING_WAIT_S;
    if (sem_clockwait(&app->hashing, CLOCK_MONOTONIC, &until) != 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "too many are signing in at this moment; try again in a few seconds");
    return CYX_OK;
}

static enum cyx_status verify(struct app *app, const char *hash, const char *password,
                              bool *ret_same, struct cyx_error *err)
{
    enum cyx_status status = wait_for_memory(app, err);
    if (status != CYX_OK)
        return status;
    *ret_same = gateway_password_verify(hash, password);
    sem_post(&app->hashing);
    return CYX_OK;
}

enum cyx_status api_hash_password(struct app *app, const char *password,
                                  char ret_hash[GATEWAY_PASSWORD_HASH_BYTES], struct cyx_error *err)
{
    enum cyx_status status = wait_for_memory(app, err);
    if (status != CYX_OK)
        return status;
    status = gateway_password_hash(password, ret_hash, err);
    sem_post(&app->hashing);
    return status;
}

enum cyx_status api_check_password(struct app *app, const char *email, const char *password,
                                   struct gateway_account *ret_account, struct cyx_error *err)
{
    char normal[GATEWAY_EMAIL_BYTES] = "", hash[GATEWAY_PASSWORD_HASH_BYTES];
    enum cyx_status found = gateway_email_normalise(email, normal, NULL);
    if (found == CYX_OK)
        found = store_account_by_email(app->store, normal, ret_account, hash, err);
    else
        found = CYX_ERR_NOT_FOUND;
    if (found != CYX_OK && found != CYX_ERR_NOT_FOUND)
        return found;
    bool same = false;
    enum cyx_status status = verify(app, found == CYX_OK ? hash : NULL, password, &same, err);
    if (status != CYX_OK)
        return status;
    if (!same)
        return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, NULL,
                             "the e-mail address or the password is wrong");
    return CYX_OK;
}

enum cyx_status api_limit_sign_in(struct app *app, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    struct api_rate rate = {"login", request->peer, "tries to sign in", app->sign_ins_a_minute};
    return api_limit(app, response, &rate);
}

enum cyx_status api_open_session(struct app *app, const struct cyx_http_request *request,
                                 struct cyx_http_response *response,
                                 const struct gateway_account *account,
                                 const struct api_sign_in *sign_in)
{
    struct cyx_error *err = &response->error;
    char token[GATEWAY_TOKEN_BYTES], hash[GATEWAY_HASH_BYTES], csrf[GATEWAY_HASH_BYTES];
    gateway_token_new(token);
    gateway_token_hash(token, hash);
    gateway_csrf_token(token, csrf);
    int64_t expires_ms = cyx_clock_unix_ms() + GATEWAY_SESSION_S * INT64_C(1000);
    enum cyx_status status;
    if ((status = store_session_create(app->store, account->id, hash, expires_ms, err)) != CYX_OK ||
        (status = cyx_http_response_cookie(response, "cyx_session", token, GATEWAY_SESSION_S,
                                           api_secure(app))) != CYX_OK)
        return status;
    cyx_log(CYX_LOG_INFO, "signed in", CYX_STR("account_id", account->id),
            CYX_STR("request_id", request->request_id));
    api_audit_sign_in(app, request, sign_in);
    return api_respond(response, 201, session_json(account, csrf, expires_ms));
}

enum cyx_status api_refuse_sign_in(struct app *app, const struct cyx_http_request *request,
                                   const struct api_sign_in *sign_in, enum cyx_status status)
{
    if (status != CYX_ERR_UNAUTHENTICATED)
        return status;
    cyx_log(CYX_LOG_INFO, "sign-in refused", CYX_STR("address", request->peer),
            CYX_STR("request_id", request->request_id));
    struct api_sign_in refused = *sign_in;
    refused.http = 401;
    api_audit_sign_in(app, request, &refused);
    return status;
}

enum cyx_status api_session_create(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"email", "password", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *email = NULL, *password = NULL;
    struct cyx_error *err = &response->error;
    if (!api_origin_own(app, request))
        return cyx_error_set(err, CYX_ERR_DENIED, NULL, "sign in from the gateway's own pages");
    enum cyx_status status;
    if ((status = api_limit_sign_in(app, request, response)) != CYX_OK ||
        (status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "email", &email, err)) != CYX_OK ||
        (status = cyx_message_text(body, "password", &password, err)) != CYX_OK)
        return status;
    struct gateway_account account = {0};
    status = api_check_password(app, email, password, &account, err);
    const char *name = cyx_arena_printf(request->arena, "%.254s", email);
    struct api_sign_in sign_in = {"POST /session", "password", name ? name : "",
                                  account.id[0] ? account.id : NULL, 201};
    if (status == CYX_OK)
        return api_open_session(app, request, response, &account, &sign_in);
    return api_refuse_sign_in(app, request, &sign_in, status);
}

enum cyx_status api_session_get(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    (void)ctx;
    const struct api_caller *caller = api_caller(request);
    char csrf[GATEWAY_HASH_BYTES] = "";
    if (caller->kind == API_CALLER_SESSION)
        gateway_csrf_token(caller->session_token, csrf);
    return api_respond(response, 200, session_json(&caller->account, csrf, caller->expires_ms));
}

enum cyx_status api_session_delete(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    const struct api_caller *caller = api_caller(request);
    if (caller->kind == API_CALLER_SESSION) {
        enum cyx_status status =
            store_session_delete(app->store, caller->session_hash, &response->error);
        if (status != CYX_OK)
            return status;
    }
    enum cyx_status status =
        cyx_http_response_cookie(response, "cyx_session", "", 0, api_secure(app));
    return status == CYX_OK ? cyx_http_respond_empty(response, 204) : status;
}

/* ---- API keys ---------------------------------------------------------------------------------- */

static json_t *scopes_json(unsigned scopes)
{
    json_t *list = json_array();
    for (unsigned scope = 1; scope < GATEWAY_SCOPES_ALL; scope <<= 1)
        if (scopes & scope)
            json_array_append_new(list, json_string(gateway_scope_name(scope)));
    return list;
}

/* A key, with its secret where that is not NULL. */
static json_t *key_json(const struct store_api_key *key, const char *secret)
{
    json_t *json = json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "id", key->id, "name", key->name,
                             "prefix", key->prefix, "scopes", scopes_json(key->scopes),
                             "created_at", cyx_message_new_time(key->created_ms), "expires_at",
                             cyx_message_new_time(key->expires_ms), "last_used_at",
                             cyx_message_new_time(key->last_used_ms));
    if (secret)
        json_object_set_new(json, "key", json_string(secret));
    return json;
}

/* "scopes": all that the caller has where it is left out, and never more than that. */
static enum cyx_status read_scopes(const json_t *body, unsigned own, unsigned *ret_scopes,
                                   struct cyx_error *err)
{
    const json_t *list = json_object_get(body, "scopes"), *item;
    unsigned scopes = 0;
    size_t i;
    *ret_scopes = own;
    if (!list || json_is_null(list))
        return CYX_OK;
    json_array_foreach(list, i, item)
    {
        unsigned scope = json_is_string(item) ? gateway_scope_parse(json_string_value(item)) : 0;
        if (!scope)
            return cyx_error_set(err, CYX_ERR_INVALID, "/scopes",
                                 "expected \"read\", \"write\", \"account\" or \"admin\"");
        scopes |= scope;
    }
    if (!scopes)
        return cyx_error_set(err, CYX_ERR_INVALID, "/scopes", "expected a list of scopes");
    if (scopes & ~own)
        return cyx_error_set(err, CYX_ERR_DENIED, "/scopes",
                             "an API key makes no key that may do more than itself");
    *ret_scopes = scopes;
    return CYX_OK;
}

/* "expires_in_days": never where it is left out; never behind the expiry of the key that asks. */
static enum cyx_status read_expiry(const json_t *body, const struct api_caller *caller,
                                   int64_t *ret_expires_ms, struct cyx_error *err)
{
    int64_t days = 0;
    enum cyx_status status =
        cyx_message_maybe_int(body, "expires_in_days", 1, KEY_DAYS_LIMIT, &days, err);
    int64_t own_ms = caller->kind == API_CALLER_KEY ? caller->expires_ms : 0;
    *ret_expires_ms = days ? cyx_clock_unix_ms() + days * INT64_C(86400000) : own_ms;
    if (own_ms && *ret_expires_ms > own_ms)
        *ret_expires_ms = own_ms;
    return status;
}

enum cyx_status api_keys_create(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"name", "scopes", "expires_in_days", NULL};
    const struct api_caller *caller = api_caller(request);
    struct store_api_key key = {0};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *name = NULL;
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "name", &name, err)) != CYX_OK ||
        (status = gateway_name_check(name, err)) != CYX_OK ||
        (status = read_scopes(body, caller->scopes, &key.scopes, err)) != CYX_OK ||
        (status = read_expiry(body, caller, &key.expires_ms, err)) != CYX_OK)
        return status;
    char secret[GATEWAY_API_KEY_BYTES], hash[GATEWAY_HASH_BYTES];
    memcpy(key.name, name, strlen(name) + 1);
    gateway_api_key_new(secret, key.prefix);
    gateway_token_hash(secret, hash);
    status = store_api_key_create(app->store, caller->account.id, hash, &key, err);
    return status == CYX_OK ? api_respond(response, 201, key_json(&key, secret)) : status;
}

enum cyx_status api_keys_list(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct store_api_key *keys = NULL;
    size_t count = 0;
    enum cyx_status status = store_api_key_list(app->store, api_caller(request)->account.id, &keys,
                                                &count, &response->error);
    if (status != CYX_OK)
        return status;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, key_json(&keys[i], NULL));
    free(keys);
    return api_respond(response, 200, json_pack("{s:o}", "api_keys", list));
}

enum cyx_status api_keys_delete(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct app *app = ctx;
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK)
        status =
            store_api_key_revoke(app->store, api_caller(request)->account.id, id, &response->error);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(&response->error, status, NULL, "the account has no such API key");
    return status == CYX_OK ? cyx_http_respond_empty(response, 204) : status;
}

/* ---- the first account ------------------------------------------------------------------------- */

static enum cyx_status make_first_account(struct app *app, const char *email, const char *password,
                                          struct cyx_error *err)
{
    struct gateway_account account = {.role = GATEWAY_ROLE_ADMIN};
    char hash[GATEWAY_PASSWORD_HASH_BYTES];
    enum cyx_status status = store_account_by_email(app->store, email, &account, hash, err);
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    memcpy(account.email, email, strlen(email) + 1);
    size_t length = strcspn(email, "@");
    memcpy(account.name, email, length);
    account.name[length] = '\0';
    if ((status = gateway_password_check(password, err)) != CYX_OK ||
        (status = gateway_password_hash(password, hash, err)) != CYX_OK)
        return status;
    status = store_account_create(app->store, &account, hash, err);
    if (status == CYX_ERR_CONFLICT)
        return CYX_OK; /* another replica was first */
    if (status == CYX_OK)
        cyx_log(CYX_LOG_INFO, "first account made", CYX_STR("account_id", account.id),
                CYX_STR("email", account.email));
    return status;
}

enum cyx_status api_first_account(struct app *app, struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(app->svc);
    const char *text = cyx_config_text(config, "CYXWIZ_ADMIN_EMAIL", NULL);
    const char *password = cyx_config_text(config, "CYXWIZ_ADMIN_PASSWORD", NULL);
    if (!text && !password)
        return CYX_OK;
    if (!text || !password)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "set both CYXWIZ_ADMIN_EMAIL and CYXWIZ_ADMIN_PASSWORD, or neither");
    char email[GATEWAY_EMAIL_BYTES];
    struct cyx_error why = {0};
    enum cyx_status status = gateway_email_normalise(text, email, &why);
    if (status == CYX_OK)
        status = make_first_account(app, email, password, &why);
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL,
                             "the first account (CYXWIZ_ADMIN_EMAIL, …_PASSWORD): %s", why.message);
    return CYX_OK;
}
