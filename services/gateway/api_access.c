/* Accounts for administrators, one's password, wallets that sign in. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

/* ---- accounts ---------------------------------------------------------------------------------- */

static enum cyx_status read_role(const json_t *body, enum gateway_role *ret_role,
                                 struct cyx_error *err)
{
    const char *text = NULL;
    enum cyx_status status = cyx_message_text(body, "role", &text, err);
    if (status == CYX_OK && !gateway_role_parse(text, ret_role))
        return cyx_error_set(err, CYX_ERR_INVALID, "/role",
                             "expected \"user\", \"operator\" or \"admin\"");
    return status;
}

enum cyx_status api_accounts_create(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"email", "name", "role", "password", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *email = NULL, *name = NULL, *password = NULL;
    struct gateway_account account = {0};
    char hash[GATEWAY_PASSWORD_HASH_BYTES];
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "email", &email, err)) != CYX_OK ||
        (status = gateway_email_normalise(email, account.email, err)) != CYX_OK ||
        (status = cyx_message_text(body, "name", &name, err)) != CYX_OK ||
        (status = gateway_name_check(name, err)) != CYX_OK ||
        (status = read_role(body, &account.role, err)) != CYX_OK ||
        (status = cyx_message_text(body, "password", &password, err)) != CYX_OK ||
        (status = gateway_password_check(password, err)) != CYX_OK ||
        (status = api_hash_password(app, password, hash, err)) != CYX_OK)
        return status;
    memcpy(account.name, name, strlen(name) + 1);
    if ((status = store_account_create(app->store, &account, hash, err)) != CYX_OK)
        return status;
    return api_respond(response, 201, api_account_json(&account));
}

enum cyx_status api_accounts_list(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct gateway_account *accounts = NULL;
    const char *role = cyx_http_query(request, "role"), *cursor = cyx_http_query(request, "cursor");
    enum gateway_role known;
    size_t count = 0;
    int64_t limit = 0;
    struct cyx_error *err = &response->error;
    enum cyx_status status =
        cyx_http_query_int(request, "limit", 1, CYX_LIST_LIMIT, CYX_LIST_DEFAULT, &limit, err);
    if (status != CYX_OK)
        return status;
    if (role && !gateway_role_parse(role, &known))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "role: expected user, operator or admin");
    if (cursor && !cyx_id_valid(cursor))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "cursor: expected a next_cursor");
    status = store_account_list(app->store, role, cursor, limit + 1, &accounts, &count, err);
    if (status != CYX_OK)
        return status;
    size_t shown = count < (size_t)limit ? count : (size_t)limit;
    json_t *list = json_array();
    for (size_t i = 0; i < shown; i++)
        json_array_append_new(list, api_account_json(&accounts[i]));
    json_t *next = count > shown ? json_string(accounts[shown - 1].id) : json_null();
    free(accounts);
    return api_respond(response, 200,
                       json_pack("{s:o,s:o}", "accounts", list, "next_cursor", next));
}

enum cyx_status api_accounts_change(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"role", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *id = NULL;
    enum gateway_role role = GATEWAY_ROLE_USER;
    struct gateway_account account = {0};
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_path_id(request, response, &id)) != CYX_OK ||
        (status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = read_role(body, &role, err)) != CYX_OK)
        return status;
    if (strcmp(id, api_caller(request)->account.id) == 0 && role != GATEWAY_ROLE_ADMIN)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/role",
                             "an administrator cannot step down; let another one do it");
    status = store_account_set_role(app->store, id, role, &account, err);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, status, NULL, "there is no such account");
    return status == CYX_OK ? api_respond(response, 200, api_account_json(&account)) : status;
}

enum cyx_status api_password_set(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"current", "password", NULL};
    const struct api_caller *caller = api_caller(request);
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *current = NULL, *password = NULL;
    struct gateway_account account = {0};
    char hash[GATEWAY_PASSWORD_HASH_BYTES];
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_limit_sign_in(app, request, response)) != CYX_OK ||
        (status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "current", &current, err)) != CYX_OK ||
        (status = cyx_message_text(body, "password", &password, err)) != CYX_OK ||
        (status = gateway_password_check(password, err)) != CYX_OK)
        return status;
    status = api_check_password(app, caller->account.email, current, &account, err);
    if (status == CYX_ERR_UNAUTHENTICATED)
        return cyx_error_set(err, CYX_ERR_DENIED, "/current", "this is not the present password");
    if (status != CYX_OK || (status = api_hash_password(app, password, hash, err)) != CYX_OK ||
        (status = store_account_set_password(app->store, account.id, hash, caller->session_hash,
                                             err)) != CYX_OK)
        return status;
    return cyx_http_respond_empty(response, 204);
}

/* ---- wallets ----------------------------------------------------------------------------------- */

static json_t *wallet_json(const struct store_wallet *wallet)
{
    return json_pack("{s:s,s:s,s:s,s:o,s:o}", "id", wallet->id, "public_key", wallet->public_key,
                     "name", wallet->name, "created_at", cyx_message_new_time(wallet->created_ms),
                     "last_used_at", cyx_message_new_time(wallet->last_used_ms));
}

/* What the wallet is to sign, for `purpose`. */
static enum cyx_status make_challenge(struct app *app, const char *purpose,
                                      struct store_challenge *challenge, struct cyx_error *err)
{
    const char *domain = strstr(app->public_url, "://");
    int64_t now_ms = cyx_clock_unix_ms();
    challenge->purpose = purpose;
    challenge->expires_ms = now_ms + GATEWAY_CHALLENGE_MS;
    struct gateway_challenge text = {
        .domain = domain ? domain + 3 : app->public_url,
        .uri = app->public_url,
        .action = strcmp(purpose, "link") == 0 ? "link this key to your account" : "sign in",
        .public_key = challenge->public_key,
        .nonce = challenge->nonce,
        .issued_ms = now_ms,
        .expires_ms = challenge->expires_ms,
    };
    return gateway_challenge_format(&text, challenge->message, err);
}

enum cyx_status api_challenge_create(void *ctx, const struct cyx_http_request *request,
                                     struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"public_key", "purpose", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *key = NULL, *purpose = "sign-in";
    char nonce[GATEWAY_NONCE_BYTES];
    struct store_challenge challenge = {.nonce = nonce};
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_limit_sign_in(app, request, response)) != CYX_OK ||
        (status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "public_key", &key, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(body, "purpose", &purpose, err)) != CYX_OK)
        return status;
    if (!gateway_public_key_plausible(key))
        return cyx_error_set(err, CYX_ERR_INVALID, "/public_key",
                             "expected an Ed25519 key as 64 lower-case hexadecimal digits");
    if (strcmp(purpose, "sign-in") != 0 && strcmp(purpose, "link") != 0)
        return cyx_error_set(err, CYX_ERR_INVALID, "/purpose", "expected \"sign-in\" or \"link\"");
    memcpy(challenge.public_key, key, sizeof(challenge.public_key));
    gateway_nonce_new(nonce);
    if ((status = make_challenge(app, purpose, &challenge, err)) != CYX_OK ||
        (status = store_challenge_add(app->store, &challenge, err)) != CYX_OK)
        return status;
    return api_respond(response, 201,
                       json_pack("{s:s,s:s,s:o}", "nonce", nonce, "message", challenge.message,
                                 "expires_at", cyx_message_new_time(challenge.expires_ms)));
}

/* The body's nonce and signature: a challenge of ours that was answered right, once. */
static enum cyx_status answered(struct app *app, const json_t *body, const char *purpose,
                                struct store_challenge *ret_challenge, struct cyx_error *err)
{
    const char *signature = NULL;
    ret_challenge->purpose = purpose;
    enum cyx_status status;
    if ((status = cyx_message_text(body, "nonce", &ret_challenge->nonce, err)) != CYX_OK ||
        (status = cyx_message_text(body, "signature", &signature, err)) != CYX_OK)
        return status;
    status = store_challenge_take(app->store, ret_challenge, err);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, NULL,
                             "the challenge was used, has expired or never was; ask for another");
    if (status != CYX_OK)
        return status;
    if (!gateway_signature_valid(ret_challenge->public_key, ret_challenge->message, signature))
        return cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, NULL,
                             "this is not the key's signature of the challenge's message");
    return CYX_OK;
}

enum cyx_status api_session_wallet(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"nonce", "signature", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    struct store_challenge challenge = {0};
    struct gateway_account account = {0};
    struct cyx_error *err = &response->error;
    if (!api_origin_own(app, request))
        return cyx_error_set(err, CYX_ERR_DENIED, NULL, "sign in from the gateway's own pages");
    enum cyx_status status;
    if ((status = api_limit_sign_in(app, request, response)) != CYX_OK ||
        (status = api_body_object(request, response, keys, &body)) != CYX_OK)
        return status;
    status = answered(app, body, "sign-in", &challenge, err);
    if (status == CYX_OK)
        status = store_wallet_find(app->store, challenge.public_key, &account, err);
    if (status == CYX_ERR_NOT_FOUND)
        status = cyx_error_set(err, CYX_ERR_UNAUTHENTICATED, NULL,
                               "no account has this key; sign in otherwise and link it");
    struct api_sign_in sign_in = {"POST /session/wallet", "wallet", challenge.public_key,
                                  account.id[0] ? account.id : NULL, 201};
    if (status == CYX_OK)
        return api_open_session(app, request, response, &account, &sign_in);
    return api_refuse_sign_in(app, request, &sign_in, status);
}

enum cyx_status api_wallets_create(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"nonce", "signature", "name", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *name = "wallet";
    struct store_challenge challenge = {0};
    struct store_wallet wallet = {0};
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_maybe_text(body, "name", &name, err)) != CYX_OK ||
        (status = gateway_name_check(name, err)) != CYX_OK)
        return status;
    status = answered(app, body, "link", &challenge, err);
    if (status == CYX_ERR_UNAUTHENTICATED) /* the caller is known; what is shown is not right */
        return api_fail_as(response, 422, CYX_ERR_INVALID, "/signature", "%s", err->message);
    if (status != CYX_OK)
        return status;
    memcpy(wallet.public_key, challenge.public_key, sizeof(wallet.public_key));
    memcpy(wallet.name, name, strlen(name) + 1);
    status = store_wallet_add(app->store, api_caller(request)->account.id, &wallet, err);
    return status == CYX_OK ? api_respond(response, 201, wallet_json(&wallet)) : status;
}

enum cyx_status api_wallets_list(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct store_wallet *wallets = NULL;
    size_t count = 0;
    enum cyx_status status = store_wallet_list(app->store, api_caller(request)->account.id,
                                               &wallets, &count, &response->error);
    if (status != CYX_OK)
        return status;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, wallet_json(&wallets[i]));
    free(wallets);
    return api_respond(response, 200, json_pack("{s:o}", "wallets", list));
}

enum cyx_status api_wallets_delete(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK)
        status =
            store_wallet_delete(app->store, api_caller(request)->account.id, id, &response->error);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(&response->error, status, NULL, "the account has no such wallet");
    return status == CYX_OK ? cyx_http_respond_empty(response, 204) : status;
}
