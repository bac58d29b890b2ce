/*
 * Artifacts by hash: workers put checkpoints and models and get data sets with a grant, people get what their jobs
 * made. Who may read follows from who showed the bytes: a job has an artifact only after its worker sent all of
 * them, also when another job had stored the same before.
 */
#include <string.h>

#include "api_receive.h"
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
    if (strcmp(caller->grant.data, sha256) == 0 || /* what the job trains on, begins with */
        strcmp(caller->grant.initial, sha256) == 0)
        return CYX_OK;
    return store_artifact_find(app->store, sha256, caller->grant.job_id, &response->error);
}

/* How much of an upload is here. Of an object that this job did not show yet: nothing. */
static void tell_offset(struct app *app, const struct cyx_http_request *request,
                        struct cyx_http_response *response, const char *sha256)
{
    uint64_t offset = 0;
    if (cyx_blob_stat(app->blobs, sha256, NULL, NULL) == CYX_OK)
        api_upload_offset(request, response, 0);
    else if (cyx_blob_offset(app->blobs, sha256, &offset, NULL) == CYX_OK)
        api_upload_offset(request, response, offset);
}

enum cyx_status api_artifacts_get(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    struct app *app = ctx;
    const char *sha256 = "";
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

static enum cyx_status job_has(const struct upload *upload, struct cyx_error *err)
{
    if (api_is_dataset_file(upload->sha256))
        return CYX_OK;
    return store_artifact_find(upload->app->store, upload->sha256, upload->owner_id, err);
}

static enum cyx_status keep_for_job(const struct upload *upload,
                                    const struct cyx_http_request *request, uint64_t bytes,
                                    struct cyx_error *err)
{
    const struct cyx_grant *grant = &api_caller(request)->grant;
    struct store_artifact artifact = {.sha256 = upload->sha256,
                                      .job_id = grant->job_id,
                                      .node_id = grant->node_id,
                                      .token = grant->token,
                                      .bytes = (int64_t)bytes};
    return store_artifact_add(upload->app->store, &artifact, err);
}

static enum cyx_status begin_artifact(void *ctx, const struct cyx_http_request *request,
                                      struct cyx_http_response *response, void **ret_state)
{
    static const struct upload_kind of_job = {.has = job_has, .keep = keep_for_job};
    const struct api_caller *caller = api_caller(request);
    const char *sha256 = "";
    if (caller->kind != API_CALLER_GRANT || !(caller->grant.rights & CYX_GRANT_WRITE))
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "expected a worker's grant with the right to write");
    enum cyx_status status = path_sha256(request, response, &sha256);
    if (status != CYX_OK)
        return status;
    struct upload upload = {.kind = &of_job,
                            .limit_bytes = API_ARTIFACT_LIMIT_BYTES,
                            .total_bytes = UINT64_MAX,
                            .shown_bytes = UINT64_MAX};
    memcpy(upload.sha256, sha256, sizeof(upload.sha256));
    memcpy(upload.owner_id, caller->grant.job_id, sizeof(upload.owner_id));
    return api_receive_begin(ctx, request, response, &upload, ret_state);
}

const struct cyx_http_sink api_artifacts_sink = {begin_artifact, api_receive_chunk,
                                                 api_receive_finish};
