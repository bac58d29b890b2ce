/* What all handlers share: who asks, bodies, calls over the bus, answers. */
#include "api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

/* ---- who asks ---------------------------------------------------------------------------------- */

static enum cyx_status unauthenticated(struct cyx_http_response *response, const char *message)
{
    return cyx_error_set(&response->error, CYX_ERR_UNAUTHENTICATED, NULL, "%s", message);
}

static bool reads(const struct cyx_http_request *request)
{
    return strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
}

/* A look-up that failed: nobody there is 401, a database that is away is not. */
static enum cyx_status unknown(struct cyx_http_response *response, enum cyx_status status,
                               const char *message)
{
    if (status == CYX_ERR_NOT_FOUND)
        return unauthenticated(response, message);
    cyx_log(CYX_LOG_ERROR, "credential not looked up", CYX_STR("error", response->error.message));
    return cyx_error_set(&response->error, CYX_ERR_UNAVAILABLE, NULL,
                         "credentials cannot be checked at the moment; try again in a few seconds");
}

static void take_holder(struct api_caller *caller, const struct store_holder *holder)
{
    caller->account = holder->account;
    caller->scopes = holder->scopes;
    caller->expires_ms = holder->expires_ms;
    memcpy(caller->key_id, holder->key_id, sizeof(caller->key_id));
}

static enum cyx_status by_bearer(struct app *app, const struct cyx_http_route *route,
                                 const char *bearer, struct api_caller *caller,
                                 struct cyx_http_response *response)
{
    if (strncmp(bearer, "cyx_", 4) == 0) {
        char hash[GATEWAY_HASH_BYTES];
        caller->kind = API_CALLER_KEY;
        if (!gateway_api_key_plausible(bearer))
            return unauthenticated(response, "the API key is not valid");
        gateway_token_hash(bearer, hash);
        struct store_holder holder;
        enum cyx_status status = store_api_key_find(app->store, hash, &holder, &response->error);
        if (status != CYX_OK)
            return unknown(response, status,
                           "the API key is not valid, has expired or was revoked");
        take_holder(caller, &holder);
        return CYX_OK;
    }
    if (!(route->flags & API_ROUTE_GRANT))
        return unauthenticated(response, "expected an API key that begins with cyx_");
    caller->kind = API_CALLER_GRANT;
    return cyx_grant_verify(app->grant_key, bearer, cyx_clock_unix_ms() / 1000, &caller->grant,
                            &response->error);
}

static enum cyx_status by_cookie(struct app *app, struct cyx_http_request *request,
                                 struct api_caller *caller, struct cyx_http_response *response)
{
    const char *token = cyx_http_cookie(request, "cyx_session");
    if (!token)
        return unauthenticated(response,
                               "sign in, or send an API key as Authorization: Bearer cyx_…");
    if (!gateway_token_plausible(token))
        return unauthenticated(response, "the session is not valid; sign in again");
    caller->kind = API_CALLER_SESSION;
    caller->session_token = token;
    gateway_token_hash(token, caller->session_hash);
    struct store_holder holder;
    enum cyx_status status =
        store_session_find(app->store, caller->session_hash, &holder, &response->error);
    if (status != CYX_OK)
        return unknown(response, status, "the session has ended; sign in again");
    take_holder(caller, &holder);
    if (!reads(request) && !gateway_csrf_matches(token, cyx_http_header(request, "X-CSRF-Token")))
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "expected the header X-CSRF-Token with the session's csrf_token");
    return CYX_OK;
}

static enum cyx_status identify(struct app *app, const struct cyx_http_route *route,
                                struct cyx_http_request *request, struct api_caller *caller,
                                struct cyx_http_response *response)
{
    const char *bearer = cyx_http_bearer(request);
    if (bearer)
        return by_bearer(app, route, bearer, caller, response);
    if (cyx_http_header(request, "Authorization"))
        return unauthenticated(response, "expected Authorization: Bearer cyx_…");
    return by_cookie(app, request, caller, response);
}

/* ---- what they may do -------------------------------------------------------------------------- */

/* The role that the route asks for, then the scope that an API key must have. */
static enum cyx_status authorise(const struct cyx_http_route *route,
                                 const struct cyx_http_request *request,
                                 const struct api_caller *caller,
                                 struct cyx_http_response *response)
{
    unsigned needed = reads(request)                     ? GATEWAY_SCOPE_READ
                      : route->flags & API_ROUTE_ACCOUNT ? GATEWAY_SCOPE_ACCOUNT
                                                         : GATEWAY_SCOPE_WRITE;
    enum gateway_role role = route->flags & API_ROUTE_ADMIN      ? GATEWAY_ROLE_ADMIN
                             : route->flags & API_ROUTE_OPERATOR ? GATEWAY_ROLE_OPERATOR
                                                                 : GATEWAY_ROLE_USER;
    if (role != GATEWAY_ROLE_USER)
        needed = GATEWAY_SCOPE_ADMIN;
    if (caller->account.role < role)
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL, "this is for %s only",
                             role == GATEWAY_ROLE_ADMIN ? "administrators"
                                                        : "operators and administrators");
    if (!(caller->scopes & needed))
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "the API key lacks the scope \"%s\"; make one that has it",
                             gateway_scope_name(needed));
    return CYX_OK;
}

static void limit_headers(struct cyx_http_response *response, const struct limit_state *at,
                          bool taken)
{
    char limit[24], remaining[24], seconds[24];
    snprintf(limit, sizeof(limit), "%" PRId64, at->limit);
    snprintf(remaining, sizeof(remaining), "%" PRId64, at->remaining);
    snprintf(seconds, sizeof(seconds), "%" PRId64, at->reset_ms / 1000 + 1);
    cyx_http_response_header(response, "RateLimit-Limit", limit);
    cyx_http_response_header(response, "RateLimit-Remaining", remaining);
    cyx_http_response_header(response, "RateLimit-Reset", seconds);
    if (!taken)
        cyx_http_response_header(response, "Retry-After", seconds);
}

enum cyx_status api_limit(struct app *app, struct cyx_http_response *response,
                          const struct api_rate *rate)
{
    struct limit_state at;
    char key[128];
    snprintf(key, sizeof(key), "%s:%s", rate->kind, rate->who);
    bool taken = store_limit_take(app->store, key, rate->a_minute, &at);
    limit_headers(response, &at, taken);
    if (taken)
        return CYX_OK;
    return cyx_error_set(&response->error, CYX_ERR_RATE_LIMITED, NULL,
                         "expected at most %" PRId64 " %s a minute; wait %" PRId64 " s",
                         rate->a_minute, rate->what, at.reset_ms / 1000 + 1);
}

bool api_limit_peek(struct app *app, struct cyx_http_response *response, const char *account_id)
{
    struct limit_state at;
    char key[128];
    snprintf(key, sizeof(key), "account:%s", account_id);
    if (!store_limit_peek(app->store, key, app->requests_a_minute, &at))
        return false;
    limit_headers(response, &at, true);
    return true;
}

/* Of an account; of an address where no credential was right. Workers' grants are not counted. */
static enum cyx_status limit_requests(struct app *app, const struct cyx_http_request *request,
                                      const struct api_caller *caller, bool known,
                                      struct cyx_http_response *response)
{
    if (known && caller->kind == API_CALLER_GRANT)
        return CYX_OK;
    struct api_rate rate = {"account", caller->account.id, "requests", app->requests_a_minute};
    if (!known)
        rate = (struct api_rate){"address", request->peer, "requests without a right credential",
                                 app->requests_a_minute / 10};
    return api_limit(app, response, &rate);
}

enum cyx_status api_before(void *ctx, const struct cyx_http_route *route,
                           struct cyx_http_request *request, struct cyx_http_response *response)
{
    struct app *app = ctx;
    if (cyx_http_query(request, "access_token"))
        return api_fail_as(response, 400, CYX_ERR_INVALID, NULL,
                           "a token in a URL ends up in logs; send it as Authorization: Bearer");
    struct api_caller *caller = cyx_arena_alloc(request->arena, sizeof(*caller));
    if (!caller)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    memset(caller, 0, sizeof(*caller));
    request->user = caller;
    enum cyx_status status = identify(app, route, request, caller, response);
    bool known = status == CYX_OK || status == CYX_ERR_DENIED; /* denied: without the CSRF token */
    if (known || status == CYX_ERR_UNAUTHENTICATED) {
        enum cyx_status limited = limit_requests(app, request, caller, known, response);
        if (limited != CYX_OK)
            return limited;
    }
    caller->audited = known && !reads(request) && caller->kind != API_CALLER_GRANT;
    if (status != CYX_OK || caller->kind == API_CALLER_GRANT)
        return status;
    return authorise(route, request, caller, response);
}

bool api_origin_own(const struct app *app, const struct cyx_http_request *request)
{
    const char *origin = cyx_http_header(request, "Origin");
    if (!origin || cyx_ws_same_origin(request))
        return true;
    /* Behind a proxy the Host may be another than the one that users see. */
    size_t length = strlen(origin);
    return strncasecmp(app->public_url, origin, length) == 0 &&
           (app->public_url[length] == '\0' || app->public_url[length] == '/');
}

/* ---- bodies ------------------------------------------------------------------------------------ */

enum cyx_status api_body(const struct cyx_http_request *request, struct cyx_http_response *response,
                         json_t **ret_json)
{
    if (request->body_length == 0)
        return api_fail_as(response, 400, CYX_ERR_INVALID, NULL, "expected a JSON body, got none");
    json_error_t at;
    json_t *json = json_loadb(request->body, request->body_length, JSON_REJECT_DUPLICATES, &at);
    if (!json && json_error_code(&at) == json_error_out_of_memory)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    if (!json)
        return api_fail_as(response, 400, CYX_ERR_INVALID, NULL,
                           "not JSON at line %d, column %d: %s", at.line, at.column, at.text);
    *ret_json = json;
    return CYX_OK;
}

enum cyx_status api_body_object(const struct cyx_http_request *request,
                                struct cyx_http_response *response, const char *const *allowed,
                                json_t **ret_object)
{
    CYX_CLEANUP_JSON json_t *json = NULL;
    enum cyx_status status = api_body(request, response, &json);
    if (status != CYX_OK)
        return status;
    if (!json_is_object(json))
        return cyx_error_set(&response->error, CYX_ERR_INVALID, "", "expected a JSON object");
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        const char *const *known = allowed;
        while (*known && strcmp(*known, key) != 0)
            known++;
        if (!*known) {
            char pointer[128];
            snprintf(pointer, sizeof(pointer), "/%.100s", key);
            return cyx_error_set(&response->error, CYX_ERR_INVALID, pointer, "unknown key");
        }
    }
    *ret_object = json_incref(json);
    return CYX_OK;
}

/* ---- calls ------------------------------------------------------------------------------------- */

/* The pointer is into our message; outside only what lies in the caller's own body means something. */
static void outside_pointer(struct cyx_error *error)
{
    static const char *const bodies[] = {"/spec/", "/set/"};
    for (size_t i = 0; i < CYX_COUNT_OF(bodies); i++) {
        size_t length = strlen(bodies[i]) - 1;
        if (strncmp(error->pointer, bodies[i], length + 1) == 0) {
            memmove(error->pointer, error->pointer + length, strlen(error->pointer + length) + 1);
            return;
        }
    }
    if (strncmp(error->pointer, "/schedule/", 10) !=
        0) /* of the spec, as the scheduler judged it */
        error->pointer[0] = '\0';
}

/* What a person outside is told: no subject's name, no SQL; the log has that. */
static enum cyx_status call_failed(const struct cyx_http_request *request,
                                   struct cyx_http_response *response, const struct api_call *call,
                                   enum cyx_status status)
{
    struct cyx_error *error = &response->error;
    if (!call->own_body)
        outside_pointer(error);
    if (cyx_status_http(status) < 500)
        return status;
    cyx_log(CYX_LOG_ERROR, "call failed", CYX_STR("subject", call->subject),
            CYX_STR("status", cyx_status_name(status)), CYX_STR("error", error->message),
            CYX_STR("request_id", request->request_id));
    if (status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT)
        return cyx_error_set(error, CYX_ERR_UNAVAILABLE, NULL,
                             "the %s does not answer; try again in a few seconds", call->service);
    return cyx_error_set(error, CYX_ERR_INTERNAL, NULL,
                         "the %s failed; its log has the reason under this request id",
                         call->service);
}

enum cyx_status api_call(struct app *app, const struct cyx_http_request *request,
                         struct cyx_http_response *response, const struct api_call *call,
                         json_t **ret_reply)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0}, reply = {0};
    enum cyx_status status = cyx_message_write(call->body, &text, &response->error);
    if (status != CYX_OK)
        return status;
    const struct api_caller *caller = api_caller(request);
    struct cyx_bus_meta meta = {.request_id = request->request_id,
                                .traceparent = request->traceparent,
                                .account = caller ? caller->account.id : NULL};
    status = cyx_bus_request(app->bus, call->subject, &meta, text.data, text.length,
                             call->timeout_ms ? call->timeout_ms : CYX_REQUEST_TIMEOUT_MS, &reply,
                             &response->error);
    if (status == CYX_OK)
        status = cyx_message_parse(reply.data ? reply.data : "", reply.length, ret_reply,
                                   &response->error);
    else
        return call_failed(request, response, call, status);
    if (status == CYX_ERR_INVALID) /* not the asker's fault */
        return call_failed(request, response, call, CYX_ERR_INTERNAL);
    return status;
}

enum cyx_status api_path_id(const struct cyx_http_request *request,
                            struct cyx_http_response *response, const char **ret_id)
{
    const char *id = cyx_http_param(request, "id");
    if (!id || !cyx_id_valid(id))
        return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL,
                             "nothing has this id; ids are UUIDs");
    *ret_id = id;
    return CYX_OK;
}

enum cyx_status api_own_job(struct app *app, const struct cyx_http_request *request,
                            struct cyx_http_response *response, json_t **ret_job)
{
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status != CYX_OK)
        return status;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_GET,
        .body = json_pack("{s:s,s:s}", "job_id", id, "account_id", api_caller(request)->account.id),
    };
    CYX_CLEANUP_JSON json_t *reply = NULL;
    status = api_call(app, request, response, &call, &reply);
    if (status != CYX_OK)
        return status;
    json_t *job = json_object_get(reply, "job");
    if (!json_is_object(job))
        return cyx_error_set(&response->error, CYX_ERR_INTERNAL, NULL, "the scheduler gave no job");
    *ret_job = json_incref(job);
    return CYX_OK;
}

/* ---- answers ----------------------------------------------------------------------------------- */

enum cyx_status api_respond(struct cyx_http_response *response, int http, json_t *json)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_message_write(json, &text, &response->error);
    if (status != CYX_OK)
        return status;
    return cyx_http_respond_buf(response, http, "application/json", &text);
}

json_t *api_problem(const struct cyx_error *error, const char *instance, const char *request_id)
{
    char type[64];
    snprintf(type, sizeof(type), "urn:cyxwiz:problem:%s", cyx_status_name(error->status));
    json_t *problem =
        json_pack("{s:s,s:s,s:i,s:s,s:s,s:s}", "type", type, "title",
                  cyx_status_name(error->status), "status", cyx_status_http(error->status),
                  "detail", error->message, "instance", instance, "request_id", request_id);
    if (problem && error->pointer[0])
        json_object_set_new(problem, "pointer", json_string(error->pointer));
    return problem;
}

enum cyx_status api_send_blob(struct app *app, const struct cyx_http_request *request,
                              struct cyx_http_response *response, const char *sha256,
                              const char *download_name)
{
    const char *path = NULL;
    enum cyx_status status = cyx_blob_stat(app->blobs, sha256, NULL, &response->error);
    if (status == CYX_OK)
        status = cyx_blob_path(app->blobs, sha256, request->arena, &path, &response->error);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL,
                             "the artifact %s is not in the store", sha256);
    if (status != CYX_OK)
        return status;
    char etag[CYX_SHA256_HEX + 2];
    snprintf(etag, sizeof(etag), "\"%s\"", sha256);
    struct cyx_http_file file = {.content_type = "application/octet-stream",
                                 .etag = etag,
                                 .cache_control = "private, no-cache",
                                 .download_name = download_name};
    return cyx_http_respond_file(response, request, path, &file);
}

const char *api_file_name(const struct cyx_http_request *request, const char *name,
                          const char *suffix)
{
    char *text = cyx_arena_printf(request->arena, "%.100s%s", name, suffix);
    for (char *c = text; c && *c; c++) {
        bool fits = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || (*c == '.' && c != text);
        if (!fits)
            *c = '_';
    }
    return text;
}
