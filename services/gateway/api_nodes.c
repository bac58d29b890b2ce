/* Nodes: how they are let in, how they are, and what operators do with them. Their list stands in api_catalog.c. */
#include <string.h>

#include "api.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

enum { RECORD_TIMEOUT_MS = 1000 };

/* Passes `body` (taken) on to the registry and its answer back. */
static enum cyx_status ask_registry(struct app *app, const struct cyx_http_request *request,
                                    struct cyx_http_response *response, const char *subject,
                                    json_t *body, int http)
{
    struct api_call call = {
        .service = CYX_SVC_REGISTRY, .subject = subject, .body = body, .own_body = true};
    json_t *reply = NULL;
    enum cyx_status status = api_call(app, request, response, &call, &reply);
    return status == CYX_OK ? api_respond(response, http, reply) : status;
}

enum cyx_status api_nodes_token(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    static const char *const members[] = {"node_id", "life_s", NULL};
    json_t *body = NULL;
    enum cyx_status status = api_body_object(request, response, members, &body);
    if (status != CYX_OK)
        return status;
    json_object_set_new(body, "account_id", json_string(api_caller(request)->account.id));
    return ask_registry(ctx, request, response, CYX_SVC_REGISTRY_TOKEN, body, 201);
}

/* What comes without a login costs the database too: an address has a tenth of an account's requests. */
static enum cyx_status limit_strangers(struct app *app, const struct cyx_http_request *request,
                                       struct cyx_http_response *response)
{
    const struct api_rate rate = {"node", request->peer, "requests of nodes",
                                  app->requests_a_minute / 10};
    return api_limit(app, response, &rate);
}

/* Without a login: the one-time token in the body is the credential. */
enum cyx_status api_nodes_join(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    static const char *const members[] = {"token", "public_key", NULL};
    json_t *body = NULL;
    enum cyx_status status = limit_strangers(ctx, request, response);
    if (status == CYX_OK)
        status = api_body_object(request, response, members, &body);
    return status == CYX_OK ? ask_registry(ctx, request, response, CYX_SVC_REGISTRY_JOIN, body, 201)
                            : status;
}

/* Without a login: the node signs. */
enum cyx_status api_nodes_renew(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    static const char *const members[] = {"node_id", "public_key",    "at", "signature",
                                          "new_key", "new_signature", NULL};
    json_t *body = NULL;
    enum cyx_status status = limit_strangers(ctx, request, response);
    if (status == CYX_OK)
        status = api_body_object(request, response, members, &body);
    return status == CYX_OK
               ? ask_registry(ctx, request, response, CYX_SVC_REGISTRY_RENEW, body, 200)
               : status;
}

/* An operator's order to the node of the path, with the members of the body that the order knows, and `more` (taken). */
static enum cyx_status order(struct app *app, const struct cyx_http_request *request,
                             struct cyx_http_response *response, const char *subject,
                             const char *const *members, json_t *more)
{
    const char *id = NULL;
    json_t *body = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK && request->body_length > 0)
        status = api_body_object(request, response, members, &body);
    if (status == CYX_OK) {
        body = body ? body : json_object();
        json_object_set_new(body, "node_id", json_string(id));
        json_object_update(body, more);
    }
    json_decref(more);
    if (status != CYX_OK)
        return status;
    return ask_registry(app, request, response, subject, body, 200);
}

enum cyx_status api_nodes_revoke(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    static const char *const members[] = {"reason", NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_REVOKE, members, NULL);
}

enum cyx_status api_nodes_rotate(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    static const char *const members[] = {NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_ROTATE, members, NULL);
}

enum cyx_status api_nodes_drain(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    static const char *const members[] = {"reason", NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_DRAIN, members, NULL);
}

enum cyx_status api_nodes_undrain(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    static const char *const members[] = {NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_DRAIN, members,
                 json_pack("{s:b}", "drain", 0));
}

enum cyx_status api_nodes_maintain(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    static const char *const members[] = {"starts_at", "ends_at", "reason", NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_MAINTENANCE, members, NULL);
}

enum cyx_status api_nodes_maintain_no_more(void *ctx, const struct cyx_http_request *request,
                                           struct cyx_http_response *response)
{
    static const char *const members[] = {NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_MAINTENANCE, members,
                 json_pack("{s:s}", "window_id", cyx_http_param(request, "window")));
}

/* ---- one node ---- */

/* How jobs fared there, from the scheduler; a node can be shown without it. */
static json_t *record_of(struct app *app, const struct cyx_http_request *request,
                         struct cyx_http_response *response, const char *id)
{
    json_t *record = NULL;
    struct api_call call = {.service = CYX_SVC_SCHEDULER,
                            .subject = CYX_SVC_SCHEDULER_NODE,
                            .body = json_pack("{s:s}", "node_id", id),
                            .timeout_ms = RECORD_TIMEOUT_MS};
    if (api_call(app, request, response, &call, &record) != CYX_OK)
        response->error = (struct cyx_error){0};
    return record ? record : json_null();
}

enum cyx_status api_nodes_get(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    const char *id = NULL;
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    struct api_call call = {.service = CYX_SVC_REGISTRY, .subject = CYX_SVC_REGISTRY_GET};
    if (status != CYX_OK)
        return status;
    call.body = json_pack("{s:s}", "node_id", id);
    status = api_call(ctx, request, response, &call, &reply);
    if (status != CYX_OK)
        return status;
    json_t *node = json_object_get(reply, "node");
    json_object_set_new(node, "record", record_of(ctx, request, response, id));
    return api_respond(response, 200, json_incref(node));
}
