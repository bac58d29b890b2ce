/* Bytes that come in: streamed into the store, continued after a break, verified by their hash. */
#include "api_receive.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "base/banned.h"

void api_upload_offset(const struct cyx_http_request *request, struct cyx_http_response *response,
                       uint64_t offset)
{
    const char *text = cyx_arena_printf(request->arena, "%" PRIu64, offset);
    if (text)
        cyx_http_response_header(response, "Upload-Offset", text);
}

static void upload_enlist(struct upload *upload)
{
    struct app *app = upload->app;
    pthread_mutex_lock(&app->uploads_lock);
    upload->next = app->uploads;
    app->uploads = upload;
    pthread_mutex_unlock(&app->uploads_lock);
}

void api_receive_finish(void *state, bool complete)
{
    (void)complete; /* what was written stays, to be continued */
    struct upload *upload = state;
    struct app *app = upload->app;
    pthread_mutex_lock(&app->uploads_lock);
    struct upload **link = &app->uploads;
    while (*link && *link != upload)
        link = &(*link)->next;
    if (*link)
        *link = upload->next;
    pthread_mutex_unlock(&app->uploads_lock);
    if (upload->kind->progress && upload->writer && !upload->kept)
        upload->kind->progress(upload, cyx_blob_written(upload->writer));
    cyx_blob_writer_destroy(upload->writer);
    cyx_sha256_destroy(upload->proof);
    pthread_mutex_destroy(&upload->lock);
    free(upload);
}

/*
 * Whose connection broke comes again before the end of the old one is noticed (a lost FIN takes until the idle
 * time-out): the old upload of the same job gives its file up, unless it is writing at this very moment.
 */
static bool take_over(struct app *app, const struct upload *from)
{
    bool taken = false;
    pthread_mutex_lock(&app->uploads_lock);
    for (struct upload *old = app->uploads; old; old = old->next) {
        if (old == from || strcmp(old->sha256, from->sha256) != 0 ||
            strcmp(old->owner_id, from->owner_id) != 0 || pthread_mutex_trylock(&old->lock) != 0)
            continue;
        cyx_blob_writer_destroy(old->writer);
        old->writer = NULL;
        old->superseded = taken = true;
        pthread_mutex_unlock(&old->lock);
    }
    pthread_mutex_unlock(&app->uploads_lock);
    return taken;
}

/* Content-Length, UINT64_MAX where it is not sent (chunked). */
static uint64_t content_length(const struct cyx_http_request *request)
{
    const char *text = cyx_http_header(request, "Content-Length");
    char *end = NULL;
    uint64_t length = text ? strtoull(text, &end, 10) : UINT64_MAX;
    return text && *end == '\0' ? length : UINT64_MAX;
}

static enum cyx_status read_range(const struct cyx_http_request *request,
                                  struct cyx_http_response *response, struct upload *upload)
{
    const char *text = cyx_http_header(request, "Content-Range");
    uint64_t length = content_length(request);
    if (!text)
        return CYX_OK;
    enum cyx_status status =
        gateway_range_parse(text, upload->limit_bytes, &upload->range, &response->error);
    if (status == CYX_ERR_INVALID)
        response->error_http = 400;
    if (status != CYX_OK)
        return status;
    uint64_t part = upload->range.last - upload->range.first + 1;
    if (length != UINT64_MAX && length != part)
        return api_fail_as(response, 400, CYX_ERR_INVALID, NULL,
                           "Content-Range tells of %" PRIu64 " bytes, Content-Length of %" PRIu64,
                           part, length);
    upload->ranged = true;
    return CYX_OK;
}

static enum cyx_status begin_writer(const struct cyx_http_request *request,
                                    struct cyx_http_response *response, struct upload *upload)
{
    struct app *app = upload->app;
    uint64_t total = upload->ranged ? upload->range.total : content_length(request);
    enum cyx_status status = cyx_blob_begin(app->blobs, upload->sha256, upload->range.first, total,
                                            &upload->writer, &response->error);
    if (status == CYX_ERR_CONFLICT && take_over(app, upload))
        status = cyx_blob_begin(app->blobs, upload->sha256, upload->range.first, total,
                                &upload->writer, &response->error);
    uint64_t offset = 0;
    if (status == CYX_ERR_CONFLICT &&
        cyx_blob_offset(app->blobs, upload->sha256, &offset, NULL) == CYX_OK)
        api_upload_offset(request, response, offset);
    return status;
}

/* Going on is for who has sent what is here; any other begins anew. */
static enum cyx_status check_shown(const struct cyx_http_request *request,
                                   struct cyx_http_response *response, struct upload *upload)
{
    uint64_t first = upload->range.first, here = 0;
    if (!upload->ranged || first == 0 || upload->shown_bytes == UINT64_MAX)
        return CYX_OK;
    bool own = cyx_blob_offset(upload->app->blobs, upload->sha256, &here, NULL) == CYX_OK &&
               here == upload->shown_bytes;
    if (own && first == here)
        return CYX_OK;
    api_upload_offset(request, response, own ? here : 0);
    return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL,
                         "expected the part that begins at Upload-Offset");
}

static enum cyx_status check_total(struct cyx_http_response *response, const struct upload *upload,
                                   uint64_t length)
{
    uint64_t total = upload->ranged ? upload->range.total : length;
    if (upload->total_bytes == UINT64_MAX || total == UINT64_MAX || total == upload->total_bytes)
        return CYX_OK;
    return cyx_error_set(&response->error, CYX_ERR_INVALID, NULL,
                         "this upload was announced with %" PRIu64 " bytes, not %" PRIu64,
                         upload->total_bytes, total);
}

static enum cyx_status begin_checked(const struct cyx_http_request *request,
                                     struct cyx_http_response *response, struct upload *upload)
{
    enum cyx_status status;
    if ((status = read_range(request, response, upload)) != CYX_OK ||
        (status = check_total(response, upload, content_length(request))) != CYX_OK)
        return status;
    if (cyx_blob_stat(upload->app->blobs, upload->sha256, NULL, NULL) != CYX_OK) {
        status = check_shown(request, response, upload);
        return status == CYX_OK ? begin_writer(request, response, upload) : status;
    }
    status = upload->kind->has(upload, &response->error);
    upload->owned = status == CYX_OK;
    if (upload->owned)
        return CYX_OK;
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    if (upload->ranged && upload->range.first != 0) {
        api_upload_offset(request, response, 0);
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL,
                             "these bytes have to be sent from the first one on");
    }
    upload->proof = cyx_sha256_create();
    return upload->proof ? CYX_OK
                         : cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
}

enum cyx_status api_receive_begin(struct app *app, const struct cyx_http_request *request,
                                  struct cyx_http_response *response, const struct upload *what,
                                  void **ret_state)
{
    struct upload *upload = calloc(1, sizeof(*upload));
    if (!upload)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    *upload = *what;
    upload->app = app;
    pthread_mutex_init(&upload->lock, NULL);
    upload_enlist(upload);
    pthread_mutex_lock(&upload->lock);
    enum cyx_status status = begin_checked(request, response, upload);
    pthread_mutex_unlock(&upload->lock);
    if (status != CYX_OK) {
        api_receive_finish(upload, false);
        return status;
    }
    *ret_state = upload;
    return CYX_OK;
}

static enum cyx_status superseded(struct cyx_error *ret_error)
{
    return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                         "this upload was begun anew over another connection");
}

static enum cyx_status take_bytes(struct upload *upload, const void *bytes, size_t length,
                                  struct cyx_error *ret_error)
{
    if (upload->superseded)
        return superseded(ret_error);
    upload->received += length;
    if (upload->ranged && upload->received > upload->range.last - upload->range.first + 1)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "more bytes than Content-Range tells of");
    if (upload->writer)
        return cyx_blob_append(upload->writer, bytes, length, ret_error);
    return upload->proof ? cyx_sha256_update(upload->proof, bytes, length) : CYX_OK;
}

enum cyx_status api_receive_chunk(void *state, const void *bytes, size_t length,
                                  struct cyx_error *ret_error)
{
    struct upload *upload = state;
    pthread_mutex_lock(&upload->lock);
    enum cyx_status status = take_bytes(upload, bytes, length, ret_error);
    pthread_mutex_unlock(&upload->lock);
    return status;
}

static enum cyx_status answer(struct cyx_http_response *response, int http,
                              const struct upload *upload, uint64_t bytes, bool complete)
{
    return api_respond(response, http,
                       json_pack("{s:s,s:I,s:b}", "sha256", upload->sha256, "bytes",
                                 (json_int_t)bytes, "complete", complete));
}

static enum cyx_status wrong_hash(struct cyx_http_response *response, const struct upload *upload)
{
    return api_fail_as(response, 422, CYX_ERR_CORRUPT, NULL,
                       "the bytes do not have the SHA-256 %s; send them again from the start",
                       upload->sha256);
}

/* Another job's bytes: kept as this job's too when all of them were shown. */
static enum cyx_status prove(struct cyx_http_response *response, struct upload *upload)
{
    char sha256[CYX_SHA256_HEX];
    enum cyx_status status = cyx_sha256_final(upload->proof, sha256);
    if (status != CYX_OK)
        return cyx_error_set(&response->error, status, NULL, "the hash could not be computed");
    return strcmp(sha256, upload->sha256) == 0 ? CYX_OK : wrong_hash(response, upload);
}

/* All bytes of a part, or of the whole, are here. */
static enum cyx_status complete(const struct cyx_http_request *request,
                                struct cyx_http_response *response, struct upload *upload)
{
    struct app *app = upload->app;
    struct cyx_error *err = &response->error;
    uint64_t bytes = 0;
    enum cyx_status status = CYX_OK;
    if (upload->superseded)
        return superseded(err);
    if (upload->ranged && upload->received != upload->range.last - upload->range.first + 1)
        return api_fail_as(response, 400, CYX_ERR_INVALID, NULL,
                           "fewer bytes than Content-Range tells of");
    bool last = !upload->ranged || upload->range.last + 1 == upload->range.total;
    if (!last && !upload->owned) {
        uint64_t kept = upload->writer ? cyx_blob_written(upload->writer) : 0;
        api_upload_offset(request, response, kept);
        return answer(response, 202, upload, kept, false);
    }
    if (upload->writer)
        status = cyx_blob_commit(upload->writer, &bytes, err);
    else if ((status = cyx_blob_stat(app->blobs, upload->sha256, &bytes, err)) == CYX_OK &&
             upload->proof)
        status = prove(response, upload);
    if (status == CYX_ERR_CORRUPT)
        return wrong_hash(response, upload);
    if (status == CYX_OK && !upload->owned)
        status = upload->kind->keep(upload, request, bytes, err);
    if (status != CYX_OK)
        return status;
    upload->kept = true;
    cyx_log(CYX_LOG_INFO, "artifact stored", CYX_STR("sha256", upload->sha256),
            CYX_INT("bytes", bytes), CYX_STR("owner", upload->owner_id),
            CYX_STR("request_id", request->request_id));
    return answer(response, upload->writer ? 201 : 200, upload, bytes, true);
}

enum cyx_status api_receive_put(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    (void)ctx;
    struct upload *upload = request->sink_state;
    pthread_mutex_lock(&upload->lock);
    enum cyx_status status = complete(request, response, upload);
    pthread_mutex_unlock(&upload->lock);
    return status;
}
