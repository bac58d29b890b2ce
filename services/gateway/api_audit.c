/* The audit log: every request that changes something, and every try to sign in, by whom and with what end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

#define PREFIX "/api/v1"

static const char *credential_name(enum api_caller_kind kind)
{
    return kind == API_CALLER_SESSION ? "session" : kind == API_CALLER_KEY ? "key" : "none";
}

/* A log that cannot be written must not be silent: then the line goes to the service's own. */
static void add(struct app *app, const struct store_audit *entry)
{
    struct cyx_error err = {0};
    if (store_audit_add(app->store, entry, &err) != CYX_OK)
        cyx_log(CYX_LOG_ERROR, "audit entry not stored", CYX_STR("error", err.message),
                CYX_STR("action", entry->action), CYX_STR("target", entry->target),
                CYX_INT("status", entry->status), CYX_STR("account_id", entry->account_id),
                CYX_STR("address", entry->address), CYX_STR("request_id", entry->request_id));
}

/* "POST /jobs/{id}/cancel", as the contract spells it; from the arena. */
static const char *action_of(const struct cyx_http_request *request,
                             const struct cyx_http_route *route)
{
    const char *path = strncmp(route->path, PREFIX, sizeof(PREFIX) - 1) == 0
                           ? route->path + sizeof(PREFIX) - 1
                           : route->path;
    const char *text = cyx_arena_printf(request->arena, "%s %s", request->method, path);
    return text ? text : route->path;
}

void api_audit_request(struct app *app, const struct cyx_http_route *route,
                       const struct cyx_http_request *request, int http)
{
    const struct api_caller *caller = api_caller(request);
    struct store_audit entry = {
        .account_id = caller->account.id[0] ? caller->account.id : NULL,
        .credential = credential_name(caller->kind),
        .key_id = caller->key_id[0] ? caller->key_id : NULL,
        .action = action_of(request, route),
        .target = request->path,
        .status = http,
        .address = request->peer,
        .request_id = request->request_id,
    };
    add(app, &entry);
}

void api_audit_sign_in(struct app *app, const struct cyx_http_request *request,
                       const struct api_sign_in *sign_in)
{
    struct store_audit entry = {
        .account_id = sign_in->account_id,
        .credential = sign_in->credential,
        .action = sign_in->action,
        .target = sign_in->name,
        .status = sign_in->http,
        .address = request->peer,
        .request_id = request->request_id,
    };
    add(app, &entry);
}

/* ---- reading ----------------------------------------------------------------------------------- */

struct page {
    json_t *entries;
    size_t limit, seen;
    int64_t last;
};

static void take_entry(void *ctx, const struct store_audit *entry)
{
    struct page *page = ctx;
    if (page->seen++ == page->limit)
        return; /* only says that there are more */
    page->last = entry->id;
    json_array_append_new(
        page->entries,
        json_pack("{s:o,s:o,s:o,s:s,s:o,s:s,s:s,s:i,s:s,s:s}", "id",
                  json_sprintf("%" PRId64, entry->id), "at", cyx_message_new_time(entry->at_ms),
                  "account_id", cyx_message_new_text(entry->account_id), "credential",
                  entry->credential, "key_id", cyx_message_new_text(entry->key_id), "action",
                  entry->action, "target", entry->target, "status", entry->status, "address",
                  entry->address, "request_id", entry->request_id));
}

enum cyx_status api_audit_list(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct cyx_error *err = &response->error;
    struct store_audit_query query = {.account_id = cyx_http_query(request, "account_id"),
                                      .action = cyx_http_query(request, "action")};
    int64_t limit = 0;
    enum cyx_status status;
    if ((status = cyx_http_query_int(request, "limit", 1, CYX_LIST_LIMIT, CYX_LIST_DEFAULT, &limit,
                                     err)) != CYX_OK ||
        (status = cyx_http_query_int(request, "cursor", 1, INT64_MAX, 0, &query.before, err)) !=
            CYX_OK)
        return status;
    if (query.account_id && !cyx_id_valid(query.account_id))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "account_id: expected a UUID");
    struct page page = {.entries = json_array(), .limit = (size_t)limit};
    query.limit = limit + 1;
    if ((status = store_audit_list(app->store, &query, take_entry, &page, err)) != CYX_OK) {
        json_decref(page.entries);
        return status;
    }
    json_t *next = page.seen > page.limit ? json_sprintf("%" PRId64, page.last) : json_null();
    return api_respond(response, 200,
                       json_pack("{s:o,s:o}", "entries", page.entries, "next_cursor", next));
}
