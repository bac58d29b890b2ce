/* What workers say: accept, progress, finish and heartbeats. */
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

enum { GRANT_SECONDS = 24 * 3600, HEARTBEAT_JOBS_LIMIT = 64, LOAD_EVERY = 5 };

/* Whose job it is stands in the message, who speaks in the subject, which NATS has checked. */
static enum cyx_status read_claim(const char *subject, const json_t *message,
                                  struct cyx_sched_claim *claim, struct cyx_error *err)
{
    enum cyx_status status;
    if ((status = cyx_message_id(message, "node_id", &claim->node_id, err)) != CYX_OK ||
        (status = cyx_message_id(message, "job_id", &claim->job_id, err)) != CYX_OK ||
        (status = cyx_message_int(message, "token", 1, INT64_MAX, &claim->token, err)) != CYX_OK)
        return status;
    if (!cyx_subject_is_from(subject, claim->node_id))
        return cyx_error_set(err, CYX_ERR_DENIED, "/node_id", "a node speaks only for itself");
    return CYX_OK;
}

/* The uploads that the job may read; the gateway saw whose they are. */
static void grant_uploads(const struct cyx_sched_job *job, struct cyx_grant *grant)
{
    if (cyx_sha256_valid(job->need.dataset))
        memcpy(grant->data, job->need.dataset, CYX_SHA256_HEX);
    if (!strstr(job->spec, "\"initial\"")) /* so that few specs are parsed */
        return;
    CYX_CLEANUP_JSON json_t *spec = json_loads(job->spec, 0, NULL);
    const char *sha256 =
        json_string_value(json_object_get(json_object_get(spec, "initial"), "sha256"));
    if (sha256 && cyx_sha256_valid(sha256))
        memcpy(grant->initial, sha256, CYX_SHA256_HEX);
}

/* {job_id, spec, grant, checkpoint?, lease_ms} */
static enum cyx_status write_accepted(struct cyx_sched_app *app,
                                      const struct cyx_sched_claim *claim,
                                      const struct cyx_sched_job *job, struct cyx_buf *reply,
                                      struct cyx_error *err)
{
    char grant_text[CYX_GRANT_TEXT_BYTES];
    struct cyx_grant grant = {.token = claim->token,
                              .expires_s = cyx_clock_unix_ms() / 1000 + GRANT_SECONDS,
                              .rights = CYX_GRANT_READ | CYX_GRANT_WRITE};
    memcpy(grant.job_id, claim->job_id, CYX_ID_BYTES);
    memcpy(grant.node_id, claim->node_id, CYX_ID_BYTES);
    grant_uploads(job, &grant);
    enum cyx_status status = cyx_grant_mint(app->grant_key, &grant, grant_text, err);
    if (status != CYX_OK)
        return status;
    cyx_buf_printf(reply, "{\"job_id\":\"%s\",\"lease_ms\":%lld,\"grant\":", job->id,
                   (long long)app->store.policy.lease_ms);
    cyx_buf_json_string(reply, grant_text);
    if (job->need.nodes > 1)
        cyx_buf_printf(reply, ",\"gang\":{\"rank\":%lld,\"nodes\":%lld,\"attempt\":%lld}",
                       (long long)(job->token - claim->token), (long long)job->need.nodes,
                       (long long)job->token);
    if (job->checkpoint.sha256[0])
        cyx_buf_printf(reply, ",\"checkpoint\":{\"sha256\":\"%s\",\"bytes\":%lld,\"step\":%lld}",
                       job->checkpoint.sha256, (long long)job->checkpoint.bytes,
                       (long long)job->checkpoint.step);
    cyx_buf_puts(reply, ",\"spec\":");
    cyx_buf_puts(reply, job->spec);
    cyx_buf_puts(reply, "}");
    return reply->failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer")
                         : CYX_OK;
}

CYX_SCHED_HANDLER(cyx_sched_api_accept)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_arena arena = {0};
    struct cyx_trace trace;
    struct cyx_sched_word word = {.trace = &trace, .arena = &arena};
    cyx_trace_start(&trace, request->meta.request_id, request->meta.traceparent);
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = read_claim(request->subject, message, &word.claim, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "boot_id", &word.claim.boot_id, err);
    if (status == CYX_OK)
        status = cyx_sched_gather_hear(app->gather, &word, err);
    if (status == CYX_OK) {
        cyx_log(CYX_LOG_INFO, "job accepted", CYX_STR("job_id", word.job.id),
                CYX_STR("node_id", word.claim.node_id), CYX_INT("token", word.claim.token),
                CYX_INT("attempt", word.job.attempt), CYX_STR("request_id", trace.request_id));
        status = write_accepted(app, &word.claim, &word.job, reply, err);
    }
    cyx_arena_finish(&arena);
    return status;
}

CYX_SCHED_HANDLER(cyx_sched_api_progress)
{
    static const char *const keys[] = {
        "epoch", "epochs", "step", "total_steps", "loss", "accuracy", "images_per_second", NULL};
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    CYX_CLEANUP_BUF struct cyx_buf progress = {0};
    struct cyx_sched_claim claim = {0};
    struct cyx_sched_artifact checkpoint;
    bool cancel = false;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = read_claim(request->subject, message, &claim, err);
    if (status == CYX_OK)
        status = cyx_sched_artifact_parse(message, "checkpoint", true, &checkpoint, err);
    if (status == CYX_OK)
        status = cyx_sched_pick(message, keys, &progress, err);
    if (status == CYX_OK)
        status = cyx_sched_store_progress(&app->store, &claim, progress.data,
                                          checkpoint.sha256[0] ? &checkpoint : NULL, &cancel, err);
    if (status != CYX_OK)
        return status;
    return cyx_message_write(json_pack("{s:I, s:b}", "lease_ms",
                                       (json_int_t)app->store.policy.lease_ms, "cancel", cancel),
                             reply, err);
}

/* What a finish holds; texts in buffers of its own. */
struct finish {
    struct cyx_sched_report report;
    struct cyx_sched_artifact model;
    struct cyx_buf error, result;
};

static enum cyx_status read_outcome(const json_t *message, struct cyx_sched_report *report,
                                    struct cyx_error *err)
{
    static const struct {
        const char *name;
        enum cyx_sched_event event;
    } outcomes[] = {{"completed", CYX_SCHED_COMPLETE},
                    {"failed", CYX_SCHED_FAIL},
                    {"done", CYX_SCHED_EVENT_COUNT},
                    {"cancelled", CYX_SCHED_STOP},
                    {"handed-back", CYX_SCHED_HAND_BACK}};
    enum cyx_status status = cyx_message_text(message, "outcome", &report->outcome, err);
    for (size_t i = 0; status == CYX_OK && i < CYX_COUNT_OF(outcomes); i++) {
        if (strcmp(report->outcome, outcomes[i].name) == 0) {
            report->event = outcomes[i].event;
            report->done = report->event == CYX_SCHED_EVENT_COUNT;
            return CYX_OK;
        }
    }
    return status != CYX_OK ? status
                            : cyx_error_set(err, CYX_ERR_INVALID, "/outcome",
                                            "expected completed, done, failed, cancelled or "
                                            "handed-back");
}

/* The worker's {status, pointer, message}; without one it is an internal error of the worker. */
static void read_error(const json_t *message, struct finish *finish)
{
    const json_t *error = json_object_get(message, "error");
    const char *name = json_string_value(json_object_get(error, "status"));
    const char *pointer = json_string_value(json_object_get(error, "pointer"));
    const char *text = json_string_value(json_object_get(error, "message"));
    struct cyx_error kept = {0}; /* cuts what is too long */
    finish->report.failure = name ? cyx_status_from_name(name) : CYX_ERR_INTERNAL;
    if (finish->report.failure == CYX_OK)
        finish->report.failure = CYX_ERR_INTERNAL;
    cyx_error_set(&kept, finish->report.failure, pointer, "%s",
                  text ? text : "the worker gave no reason");
    cyx_sched_write_error(&finish->error, kept.status, kept.pointer, kept.message);
    finish->report.error = finish->error.data;
}

static enum cyx_status read_result(const json_t *message, struct finish *finish,
                                   struct cyx_error *err)
{
    static const char *const keys[] = {
        "test_accuracy",     "test_loss", "train_loss", "epochs", "steps",
        "images_per_second", "seconds",   "backend",    "device", NULL};
    json_t *result = NULL;
    enum cyx_status status = cyx_message_object(message, "result", &result, err);
    if (status == CYX_OK)
        status = cyx_sched_pick(result, keys, &finish->result, err);
    if (status == CYX_OK)
        status = cyx_sched_artifact_parse(message, "model", false, &finish->model, err);
    if (status == CYX_OK && !finish->model.sha256[0])
        status = cyx_error_set(err, CYX_ERR_INVALID, "/model",
                               "expected the sha256 and bytes of the model that was uploaded");
    finish->report.result = finish->result.data;
    double speed = json_number_value(json_object_get(result, "images_per_second"));
    finish->report.images_per_second = speed > 0 && speed < 1e12 ? speed : 0;
    finish->report.model = &finish->model;
    return status;
}

static enum cyx_status read_finish(const char *subject, const json_t *message,
                                   struct cyx_sched_claim *claim, struct finish *finish,
                                   struct cyx_error *err)
{
    enum cyx_status status = read_claim(subject, message, claim, err);
    if (status == CYX_OK)
        status = read_outcome(message, &finish->report, err);
    if (status == CYX_OK && finish->report.event == CYX_SCHED_COMPLETE)
        status = read_result(message, finish, err);
    if (status == CYX_OK && finish->report.event == CYX_SCHED_FAIL)
        read_error(message, finish);
    if (status == CYX_OK && (finish->error.failed || finish->result.failed))
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
    return status;
}

CYX_SCHED_HANDLER(cyx_sched_api_finish)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct finish finish = {0};
    struct cyx_arena arena = {0};
    struct cyx_trace trace;
    struct cyx_sched_word word = {.report = &finish.report, .trace = &trace, .arena = &arena};
    cyx_trace_start(&trace, request->meta.request_id, request->meta.traceparent);
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = read_finish(request->subject, message, &word.claim, &finish, err);
    if (status == CYX_OK)
        status = cyx_sched_gather_hear(app->gather, &word, err);
    if (status == CYX_OK) {
        cyx_sched_matcher_wake(
            app->matcher); /* the node is free, or the job is to be matched again */
        if (word.job.need.nodes > 1 && word.job.facts.state != CYX_SCHED_RUNNING)
            cyx_sched_tell_attempt(app, &word.job, word.claim.node_id); /* it ended for all */
        cyx_log(CYX_LOG_INFO, "job finished by its worker", CYX_STR("job_id", word.job.id),
                CYX_STR("node_id", word.claim.node_id), CYX_STR("outcome", finish.report.outcome),
                CYX_STR("state", cyx_sched_state_name(word.job.facts.state)),
                CYX_STR("request_id", trace.request_id));
        cyx_buf_puts(reply, "{\"job\":");
        cyx_sched_show(app, reply, &word.job, NULL, NULL, 0);
        cyx_buf_puts(reply, "}");
        if (reply->failed)
            status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer");
    }
    cyx_arena_finish(&arena);
    cyx_buf_finish(&finish.error);
    cyx_buf_finish(&finish.result);
    return status;
}

/*
 * {node_id, job_id, token} -> {rank, nodes, attempt, nats_token}: what lets a member speak with the others of its attempt,
 * from the registry; null where NATS has users of its own.
 */
CYX_SCHED_HANDLER(cyx_sched_api_gang)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    CYX_CLEANUP_JSON json_t *admitted = NULL;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    CYX_CLEANUP_BUF struct cyx_buf answer = {0};
    struct cyx_sched_claim claim = {0};
    struct cyx_sched_seat seat;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = read_claim(request->subject, message, &claim, err);
    if (status == CYX_OK)
        status = cyx_sched_store_seat(&app->store, &claim, &seat, err);
    if (status == CYX_OK && seat.nodes < 2)
        status =
            cyx_error_set(err, CYX_ERR_CONFLICT, "/job_id", "job %s has one node", claim.job_id);
    if (status != CYX_OK)
        return status;
    int64_t attempt = claim.token + seat.rank;
    json_t *place = json_pack("{s:s, s:s, s:I, s:I, s:I}", "node_id", claim.node_id, "job_id",
                              claim.job_id, "attempt", (json_int_t)attempt, "rank",
                              (json_int_t)seat.rank, "nodes", (json_int_t)seat.nodes);
    status = cyx_message_write(json_incref(place), &text, err);
    if (status == CYX_OK)
        status = cyx_bus_request(app->bus, CYX_SVC_REGISTRY_GANG, &request->meta, text.data,
                                 text.length, CYX_REQUEST_TIMEOUT_MS, &answer, err);
    if (status == CYX_OK)
        status = cyx_message_parse(answer.data, answer.length, &admitted, err);
    if (status == CYX_OK) {
        json_object_update(place, admitted);
        status = cyx_message_write(json_incref(place), reply, err);
    }
    json_decref(place);
    return status;
}

/* Renews the lease of one job that a heartbeat names; a node that holds it no more is told to stop. */
static void renew_one(struct cyx_sched_app *app, const char *node_id, const char *boot_id,
                      const json_t *held)
{
    struct cyx_sched_claim claim = {.node_id = node_id, .boot_id = boot_id};
    struct cyx_error err = {0};
    bool gone = false;
    if (cyx_message_id(held, "job_id", &claim.job_id, NULL) != CYX_OK ||
        cyx_message_int(held, "token", 1, INT64_MAX, &claim.token, NULL) != CYX_OK)
        return;
    if (cyx_sched_store_renew(&app->store, &claim, &gone, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "lease not renewed", CYX_STR("job_id", claim.job_id),
                CYX_STR("node_id", node_id), CYX_STR("error", err.message));
    else if (gone)
        cyx_sched_tell(app, node_id, CYX_NODE_CANCEL, claim.job_id, claim.token);
}

void cyx_sched_api_heartbeat(void *ctx, const struct cyx_bus_message *message)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *json = NULL;
    char node_id[CYX_ID_BYTES];
    const char *boot_id = NULL;
    if (!cyx_subject_id(message->subject, node_id) ||
        cyx_message_parse(message->data, message->length, &json, NULL) != CYX_OK ||
        cyx_message_id(json, "boot_id", &boot_id, NULL) != CYX_OK)
        return; /* the registry counts and logs what is broken */
    /* Matching reads how busy a node is: one heartbeat in five is enough for that. */
    if (json_integer_value(json_object_get(json, "seq")) % LOAD_EVERY == 0)
        (void)cyx_sched_store_load(&app->store, node_id,
                                   json_number_value(json_object_get(json, "cpu_percent")), NULL);
    const json_t *jobs = json_object_get(json, "jobs");
    size_t count = json_array_size(jobs);
    for (size_t i = 0; i < count && i < HEARTBEAT_JOBS_LIMIT; i++)
        renew_one(app, node_id, boot_id, json_array_get(jobs, i));
}
