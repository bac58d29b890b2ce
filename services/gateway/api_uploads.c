/* Data sets and models that accounts bring: announced with size and hash, sent in parts, listed, fetched, deleted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api_receive.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

static json_t *upload_json(const struct store_upload *upload)
{
    bool whole = upload->completed_ms > 0;
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:b,s:o,s:o}", "id", upload->id, "kind",
                     upload->kind, "name", upload->name, "sha256", upload->sha256, "bytes",
                     (json_int_t)upload->bytes, "received",
                     (json_int_t)(whole ? upload->bytes : upload->received), "complete", whole,
                     "created_at", cyx_message_new_time(upload->created_ms), "completed_at",
                     cyx_message_new_time(upload->completed_ms));
}

static enum cyx_status find(struct app *app, const struct cyx_http_request *request,
                            struct cyx_http_response *response, struct store_upload *ret_upload)
{
    const char *id = NULL;
    enum cyx_status status = api_path_id(request, response, &id);
    if (status == CYX_OK)
        status = store_upload_find(app->store, api_caller(request)->account.id, id, ret_upload,
                                   &response->error);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(&response->error, status, NULL, "the account has no such upload");
    return status;
}

/* ---- announcing, listing, deleting -------------------------------------------------------------- */

static bool is_kind(const char *text)
{
    return strcmp(text, "dataset") == 0 || strcmp(text, "model") == 0;
}

enum cyx_status api_uploads_create(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    static const char *const keys[] = {"kind", "name", "sha256", "bytes", NULL};
    CYX_CLEANUP_JSON json_t *body = NULL;
    const char *kind = NULL, *name = NULL, *sha256 = NULL;
    struct store_upload upload = {0};
    bool created = false;
    struct cyx_error *err = &response->error;
    enum cyx_status status;
    if ((status = api_body_object(request, response, keys, &body)) != CYX_OK ||
        (status = cyx_message_text(body, "kind", &kind, err)) != CYX_OK ||
        (status = cyx_message_text(body, "name", &name, err)) != CYX_OK ||
        (status = gateway_name_check(name, err)) != CYX_OK ||
        (status = cyx_message_text(body, "sha256", &sha256, err)) != CYX_OK ||
        (status = cyx_message_int(body, "bytes", 1, (int64_t)API_ARTIFACT_LIMIT_BYTES,
                                  &upload.bytes, err)) != CYX_OK)
        return status;
    if (!is_kind(kind))
        return cyx_error_set(err, CYX_ERR_INVALID, "/kind", "expected \"dataset\" or \"model\"");
    if (!cyx_sha256_valid(sha256))
        return cyx_error_set(err, CYX_ERR_INVALID, "/sha256",
                             "expected a SHA-256 as 64 lower-case hexadecimal digits");
    memcpy(upload.kind, kind, strlen(kind) + 1);
    memcpy(upload.name, name, strlen(name) + 1);
    memcpy(upload.sha256, sha256, sizeof(upload.sha256));
    status = store_upload_add(app->store, api_caller(request)->account.id, app->upload_quota_bytes,
                              &upload, &created, err);
    if (status != CYX_OK)
        return status;
    const char *location = cyx_arena_printf(request->arena, "/api/v1/uploads/%s", upload.id);
    if (location && (status = cyx_http_response_header(response, "Location", location)) != CYX_OK)
        return status;
    return api_respond(response, created ? 201 : 200, upload_json(&upload));
}

static enum cyx_status read_query(const struct cyx_http_request *request,
                                  struct cyx_http_response *response,
                                  struct store_upload_query *query)
{
    struct cyx_error *err = &response->error;
    const char *complete = cyx_http_query(request, "complete");
    int64_t limit = 0;
    *query = (struct store_upload_query){.account_id = api_caller(request)->account.id,
                                         .kind = cyx_http_query(request, "kind"),
                                         .complete = complete};
    if (query->kind && !is_kind(query->kind))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "kind: expected dataset or model");
    if (complete && strcmp(complete, "true") != 0 && strcmp(complete, "false") != 0)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "complete: expected true or false");
    enum cyx_status status =
        cyx_http_query_int(request, "limit", 1, CYX_LIST_LIMIT, CYX_LIST_DEFAULT, &limit, err);
    if (status == CYX_OK)
        status = cyx_page_parse(cyx_http_query(request, "sort"), cyx_http_query(request, "cursor"),
                                limit, store_upload_orders, &query->page, err);
    bool numbers = status == CYX_OK && strstr(store_upload_orders[query->page.order].name, "bytes");
    if (numbers && (strlen(query->page.value) > 18 ||
                    query->page.value[strspn(query->page.value, "0123456789")]))
        return cyx_error_set(err, CYX_ERR_INVALID, "/cursor", "expected a next_cursor");
    return status;
}

static json_t *next_page(const struct cyx_page *page, const struct store_upload *last)
{
    char bytes[24];
    bool by_name = strstr(store_upload_orders[page->order].name, "name") != NULL;
    snprintf(bytes, sizeof(bytes), "%" PRId64, last->bytes);
    return cyx_page_next(store_upload_orders, page, by_name ? last->name : bytes, last->id);
}

enum cyx_status api_uploads_list(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct store_upload_query query;
    struct store_upload *uploads = NULL;
    size_t count = 0;
    enum cyx_status status = read_query(request, response, &query);
    if (status != CYX_OK)
        return status;
    size_t limit = (size_t)query.page.limit;
    status = store_upload_list(app->store, &query, &uploads, &count, &response->error);
    if (status != CYX_OK)
        return status;
    size_t shown = count < limit ? count : limit;
    json_t *list = json_array();
    for (size_t i = 0; i < shown; i++)
        json_array_append_new(list, upload_json(&uploads[i]));
    json_t *next = count > shown ? next_page(&query.page, &uploads[shown - 1]) : json_null();
    free(uploads);
    return api_respond(response, 200, json_pack("{s:o,s:o}", "uploads", list, "next_cursor", next));
}

enum cyx_status api_uploads_get(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct store_upload upload = {0};
    enum cyx_status status = find(ctx, request, response, &upload);
    return status == CYX_OK ? api_respond(response, 200, upload_json(&upload)) : status;
}

/* It stays while a job of the account needs it. */
static enum cyx_status check_unused(struct app *app, const struct cyx_http_request *request,
                                    struct cyx_http_response *response,
                                    const struct store_upload *upload)
{
    if (upload->completed_ms == 0)
        return CYX_OK;
    struct api_call call = {
        .service = CYX_SVC_SCHEDULER,
        .subject = CYX_SVC_SCHEDULER_USES,
        .body = json_pack("{s:s,s:s,s:s}", "account_id", api_caller(request)->account.id, "sha256",
                          upload->sha256, "kind", upload->kind),
    };
    CYX_CLEANUP_JSON json_t *reply = NULL;
    enum cyx_status status = api_call(app, request, response, &call, &reply);
    if (status != CYX_OK)
        return status;
    const char *job_id = json_string_value(json_object_get(reply, "job_id"));
    if (!job_id)
        return CYX_OK;
    return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL,
                         "job %s needs it and has not ended: wait for it, or cancel it first",
                         job_id);
}

enum cyx_status api_uploads_delete(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    struct app *app = ctx;
    char id[CYX_ID_BYTES];
    struct store_upload upload = {0};
    bool last = false;
    enum cyx_status status = find(app, request, response, &upload);
    if (status == CYX_OK)
        status = check_unused(app, request, response, &upload);
    if (status != CYX_OK)
        return status;
    memcpy(id, upload.id, sizeof(id));
    status = store_upload_delete(app->store, api_caller(request)->account.id, id, &upload, &last,
                                 &response->error);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(&response->error, status, NULL, "the account has no such upload");
    if (status != CYX_OK)
        return status;
    struct cyx_error err = {0};
    if (last && !api_is_dataset_file(upload.sha256) &&
        cyx_blob_remove(app->blobs, upload.sha256, &err) != CYX_OK &&
        err.status != CYX_ERR_NOT_FOUND)
        cyx_log(CYX_LOG_WARN, "bytes of a deleted upload stay", CYX_STR("sha256", upload.sha256),
                CYX_STR("error", err.message));
    return cyx_http_respond_empty(response, 204);
}

/* ---- the bytes ---------------------------------------------------------------------------------- */

static enum cyx_status upload_has(const struct upload *upload, struct cyx_error *err)
{
    /* Complete ones never come so far; the object is another owner's. */
    (void)upload;
    return cyx_error_set(err, CYX_ERR_NOT_FOUND, NULL, "not shown yet");
}

static enum cyx_status keep_upload(const struct upload *upload,
                                   const struct cyx_http_request *request, uint64_t bytes,
                                   struct cyx_error *err)
{
    (void)request;
    return store_upload_progress(upload->app->store, upload->owner_id, (int64_t)bytes, true, err);
}

static void note_progress(const struct upload *upload, uint64_t bytes)
{
    struct cyx_error err = {0};
    if (store_upload_progress(upload->app->store, upload->owner_id, (int64_t)bytes, false, &err) !=
        CYX_OK)
        cyx_log(CYX_LOG_WARN, "an upload's progress is not noted; it begins anew",
                CYX_STR("upload_id", upload->owner_id), CYX_STR("error", err.message));
}

static enum cyx_status begin_content(void *ctx, const struct cyx_http_request *request,
                                     struct cyx_http_response *response, void **ret_state)
{
    static const struct upload_kind of_account = {
        .has = upload_has, .keep = keep_upload, .progress = note_progress};
    struct store_upload row = {0};
    if (api_caller(request)->kind == API_CALLER_GRANT)
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "a worker sends artifacts, not uploads");
    enum cyx_status status = find(ctx, request, response, &row);
    if (status != CYX_OK)
        return status;
    if (row.completed_ms > 0)
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL, "this upload is whole");
    struct upload upload = {.kind = &of_account,
                            .limit_bytes = API_ARTIFACT_LIMIT_BYTES,
                            .total_bytes = (uint64_t)row.bytes,
                            .shown_bytes = (uint64_t)row.received};
    memcpy(upload.sha256, row.sha256, sizeof(upload.sha256));
    memcpy(upload.owner_id, row.id, sizeof(upload.owner_id));
    return api_receive_begin(ctx, request, response, &upload, ret_state);
}

const struct cyx_http_sink api_uploads_sink = {begin_content, api_receive_chunk,
                                               api_receive_finish};

enum cyx_status api_uploads_content(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response)
{
    struct app *app = ctx;
    struct store_upload upload = {0};
    uint64_t here = 0;
    enum cyx_status status = find(app, request, response, &upload);
    if (status != CYX_OK)
        return status;
    if (upload.completed_ms > 0)
        return api_send_blob(app, request, response, upload.sha256,
                             api_file_name(request, upload.name, ""));
    bool own = cyx_blob_offset(app->blobs, upload.sha256, &here, NULL) == CYX_OK &&
               here == (uint64_t)upload.received;
    api_upload_offset(request, response, own ? here : 0);
    return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL,
                         "the upload is not whole yet; go on from Upload-Offset");
}
