/*
 * Artifacts by hash: workers put checkpoints and models and get data sets with a grant, people get what their jobs
 * made. Who may read follows from who showed the bytes: a job has an artifact only after its worker sent all of
 * them, also when another job had stored the same before.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

static enum cyx_status path_sha256(const struct cyx_http_request *request,
                                   struct cyx_http_response *response, const char **ret_sha256)
{
    const char *sha256 = cyx_http_param(request, "sha256");
    if (!sha256 || !cyx_sha256_valid(sha256))
        return cyx_error_set(&response->error, CYX_ERR_INVALID, NULL,
                             "expected a SHA-256 as 64 lower-case hexadecimal digits in the path");
    *ret_sha256 = sha256;
    return CYX_OK;
}

static enum cyx_status not_here(struct cyx_http_response *response)
{
    return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL,
                         "there is no such artifact, or it is not yours");
}

static void upload_offset(const struct cyx_http_request *request,
                          struct cyx_http_response *response, uint64_t offset)
{
    const char *text = cyx_arena_printf(request->arena, "%" PRIu64, offset);
    if (text)
        cyx_http_response_header(response, "Upload-Offset", text);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Whether one of the jobs that have the artifact belongs to the caller's account. */
static enum cyx_status account_may_read(struct app *app, const struct cyx_http_request *request,
                                        struct cyx_http_response *response, const char *sha256)
{
    char job_ids[STORE_ARTIFACT_JOBS][CYX_ID_BYTES];
    size_t count = 0;
    enum cyx_status status =
        store_artifact_jobs(app->store, sha256, job_ids, &count, &response->error);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct api_call call = {
            .service = CYX_SVC_SCHEDULER,
            .subject = CYX_SVC_SCHEDULER_GET,
            .body = json_pack("{s:s,s:s}", "job_id", job_ids[i], "account_id",
                              api_caller(request)->account.id),
        };
        CYX_CLEANUP_JSON json_t *reply = NULL;
        enum cyx_status owned = api_call(app, request, response, &call, &reply);
        if (owned == CYX_OK || owned == CYX_ERR_UNAVAILABLE)
            return owned;
    }
    return status == CYX_OK ? not_here(response) : status;
}

static enum cyx_status may_read(struct app *app, const struct cyx_http_request *request,
                                struct cyx_http_response *response, const char *sha256)
{
    const struct api_caller *caller = api_caller(request);
    if (api_is_dataset_file(sha256))
        return CYX_OK;
    if (caller->kind != API_CALLER_GRANT)
        return account_may_read(app, request, response, sha256);
    if (!(caller->grant.rights & CYX_GRANT_READ))
        return not_here(response);
    return store_artifact_find(app->store, sha256, caller->grant.job_id, &response->error);
}

/* How much of an upload is here. Of an object that this job did not show yet: nothing. */
static void tell_offset(struct app *app, const struct cyx_http_request *request,
                        struct cyx_http_response *response, const char *sha256)
{
    uint64_t offset = 0;
    if (cyx_blob_stat(app->blobs, sha256, NULL, NULL) == CYX_OK)
        upload_offset(request, response, 0);
    else if (cyx_blob_offset(app->blobs, sha256, &offset, NULL) == CYX_OK)
        upload_offset(request, response, offset);
}

enum cyx_status api_artifacts_get(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    struct app *app = ctx;
    const char *sha256 = NULL;
    enum cyx_status status = path_sha256(request, response, &sha256);
    if (status != CYX_OK)
        return status;
    status = may_read(app, request, response, sha256);
    if (status == CYX_OK)
        status = api_send_blob(app, request, response, sha256, sha256);
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    if (api_caller(request)->kind == API_CALLER_GRANT && strcmp(request->method, "HEAD") == 0)
        tell_offset(app, request, response, sha256);
    return not_here(response);
}

/* ---- writing ----------------------------------------------------------------------------------- */

struct upload {
    struct app *app;
    struct upload *next; /* app->uploads_lock */
    char sha256[CYX_SHA256_HEX], job_id[CYX_ID_BYTES];
    pthread_mutex_t lock;     /* of the writer */
    bool superseded;          /* the worker has begun anew: its writer was taken from it */
    bool owned;               /* the job has it already: bytes are dropped */
    struct cyx_sha256 *proof; /* the object is there by another job: the bytes must be shown */
    struct cyx_blob_writer *writer; /* else they are written */
    bool ranged;
    struct gateway_range range;
    uint64_t received;
};

static void upload_enlist(struct upload *upload)
{
    struct app *app = upload->app;
    pthread_mutex_lock(&app->uploads_lock);
    upload->next = app->uploads;
    app->uploads = upload;
    pthread_mutex_unlock(&app->uploads_lock);
}

static void upload_finish(void *state, bool complete)
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
    cyx_blob_writer_destroy(upload->writer);
    cyx_sha256_destroy(upload->proof);
    pthread_mutex_destroy(&upload->lock);
    free(upload);
}

/*
 * A worker whose connection broke comes again before the end of the old one is noticed (a lost FIN takes until the idle
 * time-out): the old upload of the same job gives its file up, unless it is writing at this very moment.
 */
static bool take_over(struct app *app, const struct upload *from)
{
    bool taken = false;
    pthread_mutex_lock(&app->uploads_lock);
    for (struct upload *old = app->uploads; old; old = old->next) {
        if (old == from || strcmp(old->sha256, from->sha256) != 0 ||
            strcmp(old->job_id, from->job_id) != 0 || pthread_mutex_trylock(&old->lock) != 0)
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
        gateway_range_parse(text, API_ARTIFACT_LIMIT_BYTES, &upload->range, &response->error);
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
        upload_offset(request, response, offset);
    return status;
}

static enum cyx_status begin_checked(const struct cyx_http_request *request,
                                     struct cyx_http_response *response, struct upload *upload)
{
    struct app *app = upload->app;
    const struct cyx_grant *grant = &api_caller(request)->grant;
    enum cyx_status status = read_range(request, response, upload);
    if (status != CYX_OK)
        return status;
    if (cyx_blob_stat(app->blobs, upload->sha256, NULL, NULL) != CYX_OK)
        return begin_writer(request, response, upload);
    status = store_artifact_find(app->store, upload->sha256, grant->job_id, &response->error);
    upload->owned = status == CYX_OK || api_is_dataset_file(upload->sha256);
    if (upload->owned)
        return CYX_OK;
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    if (upload->ranged && upload->range.first != 0) {
        upload_offset(request, response, 0);
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL,
                             "this job has to send these bytes from the first one on");
    }
    upload->proof = cyx_sha256_create();
    return upload->proof ? CYX_OK
                         : cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
}

static enum cyx_status upload_begin(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response, void **ret_state)
{
    const struct api_caller *caller = api_caller(request);
    const char *sha256 = "";
    if (caller->kind != API_CALLER_GRANT || !(caller->grant.rights & CYX_GRANT_WRITE))
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "expected a worker's grant with the right to write");
    enum cyx_status status = path_sha256(request, response, &sha256);
    if (status != CYX_OK)
        return status;
    struct upload *upload = calloc(1, sizeof(*upload));
    if (!upload)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    upload->app = ctx;
    memcpy(upload->sha256, sha256, sizeof(upload->sha256));
    memcpy(upload->job_id, caller->grant.job_id, sizeof(upload->job_id));
    pthread_mutex_init(&upload->lock, NULL);
    upload_enlist(upload);
    pthread_mutex_lock(&upload->lock);
    status = begin_checked(request, response, upload);
    pthread_mutex_unlock(&upload->lock);
    if (status != CYX_OK) {
        upload_finish(upload, false);
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

static enum cyx_status upload_chunk(void *state, const void *bytes, size_t length,
                                    struct cyx_error *ret_error)
{
    struct upload *upload = state;
    pthread_mutex_lock(&upload->lock);
    enum cyx_status status = take_bytes(upload, bytes, length, ret_error);
    pthread_mutex_unlock(&upload->lock);
    return status;
}

const struct cyx_http_sink api_artifacts_sink = {upload_begin, upload_chunk, upload_finish};

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

static enum cyx_status keep(const struct cyx_http_request *request,
                            struct cyx_http_response *response, const struct upload *upload,
                            uint64_t bytes)
{
    const struct cyx_grant *grant = &api_caller(request)->grant;
    struct store_artifact artifact = {.sha256 = upload->sha256,
                                      .job_id = grant->job_id,
                                      .node_id = grant->node_id,
                                      .token = grant->token,
                                      .bytes = (int64_t)bytes};
    return store_artifact_add(upload->app->store, &artifact, &response->error);
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
        upload_offset(request, response, kept);
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
        status = keep(request, response, upload, bytes);
    if (status != CYX_OK)
        return status;
    cyx_log(CYX_LOG_INFO, "artifact stored", CYX_STR("sha256", upload->sha256),
            CYX_INT("bytes", bytes), CYX_STR("job_id", upload->job_id),
            CYX_STR("request_id", request->request_id));
    return answer(response, upload->writer ? 201 : 200, upload, bytes, true);
}

enum cyx_status api_artifacts_put(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)ctx;
    struct upload *upload = request->sink_state;
    pthread_mutex_lock(&upload->lock);
    enum cyx_status status = complete(request, response, upload);
    pthread_mutex_unlock(&upload->lock);
    return status;
}
