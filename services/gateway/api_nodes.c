/* Nodes: how they are let in, and what operators do with them. What is looked at alone stands in api_catalog.c. */
#include <string.h>

#include "api.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

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

/* An operator's order to the node of the path, with the members of the body that the order knows. */
static enum cyx_status order(struct app *app, const struct cyx_http_request *request,
                             struct cyx_http_response *response, const char *subject,
                             const char *const *members)
{
    const char *id = NULL;
    json_t *body = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK && request->body_length > 0)
        status = api_body_object(request, response, members, &body);
    if (status != CYX_OK)
        return status;
    body = body ? body : json_object();
    json_object_set_new(body, "node_id", json_string(id));
    return ask_registry(app, request, response, subject, body, 200);
}

enum cyx_status api_nodes_revoke(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    static const char *const members[] = {"reason", NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_REVOKE, members);
}

enum cyx_status api_nodes_rotate(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    static const char *const members[] = {NULL};
    return order(ctx, request, response, CYX_SVC_REGISTRY_ROTATE, members);
}
