#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "contract/job_spec.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "model/graph.h"
#include "wire.h"

#include "base/banned.h"

static void trace_of(const struct cyx_bus_message *request, struct cyx_trace *ret_trace)
{
    cyx_trace_start(ret_trace, request->meta.request_id, request->meta.traceparent);
}

/* The end of a reply: nothing was lost on the way. */
static enum cyx_status whole(const struct cyx_buf *reply, struct cyx_error *err)
{
    return reply->failed ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer")
                         : CYX_OK;
}

/* Reads the nodes anew when what is kept is older than half a second; the lock is held. */
static void refresh_nodes(struct cyx_sched_app *app)
{
    struct cyx_sched_nodes_cache *cache = &app->nodes;
    int64_t now_ns = cyx_clock_monotonic_ns();
    struct cyx_sched_node *nodes = NULL;
    size_t count = 0;
    if (cache->read_ns && now_ns - cache->read_ns < INT64_C(500000000))
        return;
    if (cyx_sched_store_nodes(&app->store, &nodes, &count, NULL) != CYX_OK)
        return; /* the older ones will do */
    free(cache->nodes);
    cache->nodes = nodes;
    cache->count = count;
    cache->read_ns = now_ns;
}

void cyx_sched_show(struct cyx_sched_app *app, struct cyx_buf *text,
                    const struct cyx_sched_job *job, const struct cyx_sched_transition *transitions,
                    size_t n_transitions)
{
    struct cyx_sched_pending pending = {0};
    if (job->facts.state == CYX_SCHED_QUEUED) {
        pthread_mutex_lock(&app->nodes.lock);
        refresh_nodes(app);
        cyx_sched_pending(&job->need, job->facts.funded, job->wait_ms, app->nodes.nodes,
                          app->nodes.count, &pending);
        pthread_mutex_unlock(&app->nodes.lock);
    }
    cyx_sched_write_job(text,
                        &(struct cyx_sched_job_view){job, &pending, transitions, n_transitions});
}

/* Validates the spec by the rules that every part shares, and reads of it what matching needs. */
static enum cyx_status judge_spec(const struct cyx_job_spec *spec,
                                  struct cyx_sched_submission *submission, struct cyx_error *err)
{
    struct cyx_model_cost cost;
    if (strlen(spec->canonical) > CYX_SCHED_SPEC_BYTES)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, "", "the spec is larger than %d bytes",
                             CYX_SCHED_SPEC_BYTES);
    enum cyx_status status = cyx_job_spec_check_shared(spec, err);
    if (status == CYX_OK)
        status = cyx_model_cost(spec, &cost, err);
    if (status != CYX_OK)
        return status;
    submission->name = spec->name;
    submission->spec = spec->canonical;
    submission->priority = (int)spec->priority;
    submission->parameters = cost.parameters;
    submission->flops_per_sample = cost.training_flops_per_sample;
    submission->training_bytes = cost.training_bytes;
    submission->need = (struct cyx_sched_need){
        .memory_bytes = cost.training_bytes + spec->resources.device_memory_bytes,
        .threads = spec->resources.threads,
        .budget_base_units = spec->budget_base_units,
    };
    if (!cyx_sched_backend_parse(spec->resources.backend, &submission->need.backend))
        return cyx_error_set(err, CYX_ERR_INVALID, "/resources/backend",
                             "expected \"auto\", \"cpu\" or \"vulkan\"");
    return CYX_OK;
}

static enum cyx_status read_submission(const json_t *message,
                                       struct cyx_sched_submission *submission,
                                       struct cyx_job_spec **ret_spec, struct cyx_error *err)
{
    json_t *object = NULL;
    enum cyx_status status;
    if ((status = cyx_message_id(message, "account_id", &submission->account_id, err)) != CYX_OK ||
        (status = cyx_message_object(message, "spec", &object, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(message, "idempotency_key", &submission->idempotency_key,
                                         err)) != CYX_OK)
        return status;
    if (submission->idempotency_key && strlen(submission->idempotency_key) > 200)
        return cyx_error_set(err, CYX_ERR_INVALID, "/idempotency_key", "expected 1 to 200 bytes");
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the spec");
    status = cyx_job_spec_parse(text, strlen(text), ret_spec, err);
    free(text);
    return status == CYX_OK ? judge_spec(*ret_spec, submission, err) : status;
}

CYX_SCHED_HANDLER(cyx_sched_api_submit)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_job_spec *spec = NULL;
    struct cyx_sched_submission submission = {0};
    struct cyx_arena arena = {0};
    struct cyx_sched_job job;
    struct cyx_trace trace;
    bool created = false;
    trace_of(request, &trace);
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = read_submission(message, &submission, &spec, err);
    if (status == CYX_OK)
        status =
            cyx_sched_store_submit(&app->store, &submission, &trace, &arena, &job, &created, err);
    if (status == CYX_OK) {
        cyx_sched_matcher_wake(app->matcher);
        cyx_buf_printf(reply, "{\"created\":%s,\"job\":", created ? "true" : "false");
        cyx_sched_show(app, reply, &job, NULL, 0);
        cyx_buf_puts(reply, "}");
        status = whole(reply, err);
        if (created)
            cyx_log(CYX_LOG_INFO, "job submitted", CYX_STR("job_id", job.id),
                    CYX_STR("account_id", job.account_id), CYX_STR("name", job.name),
                    CYX_STR("request_id", trace.request_id));
    }
    cyx_arena_finish(&arena);
    cyx_job_spec_destroy(spec);
    return status;
}

/* {job_id, account_id?} of get and cancel. */
static enum cyx_status read_target(const struct cyx_bus_message *request, json_t **ret_message,
                                   const char **ret_job_id, const char **ret_account_id,
                                   struct cyx_error *err)
{
    enum cyx_status status = cyx_message_parse(request->data, request->length, ret_message, err);
    if (status == CYX_OK)
        status = cyx_message_id(*ret_message, "job_id", ret_job_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_id(*ret_message, "account_id", ret_account_id, err);
    return status;
}

CYX_SCHED_HANDLER(cyx_sched_api_get)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *job_id = NULL, *account_id = NULL;
    struct cyx_arena arena = {0};
    struct cyx_sched_job job;
    struct cyx_sched_transition *transitions = NULL;
    size_t count = 0;
    enum cyx_status status = read_target(request, &message, &job_id, &account_id, err);
    if (status == CYX_OK)
        status = cyx_sched_store_get(&app->store, job_id, account_id, &arena, &job, err);
    if (status == CYX_OK)
        status =
            cyx_sched_store_transitions(&app->store, job_id, &arena, &transitions, &count, err);
    if (status == CYX_OK) {
        cyx_buf_puts(reply, "{\"job\":");
        cyx_sched_show(app, reply, &job, transitions, count);
        cyx_buf_puts(reply, "}");
        status = whole(reply, err);
    }
    cyx_arena_finish(&arena);
    return status;
}

/* Appends jobs until `limit`, or until the reply is full; the rest is behind the cursor. */
static void write_page(struct cyx_sched_app *app, struct cyx_buf *reply,
                       const struct cyx_sched_job *jobs, size_t count, size_t limit)
{
    size_t shown = 0;
    cyx_buf_puts(reply, "{\"jobs\":[");
    for (; shown < count && shown < limit && !reply->failed; shown++) {
        if (shown > 0 && reply->length + strlen(jobs[shown].spec) > CYX_SCHED_PAGE_BYTES)
            break;
        if (shown > 0)
            cyx_buf_puts(reply, ",");
        cyx_sched_show(app, reply, &jobs[shown], NULL, 0);
    }
    cyx_buf_puts(reply, "],\"next_cursor\":");
    if (shown < count)
        cyx_buf_json_string(reply, jobs[shown - 1].id);
    else
        cyx_buf_puts(reply, "null");
    cyx_buf_puts(reply, "}");
}

CYX_SCHED_HANDLER(cyx_sched_api_list)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_sched_filter filter = {0};
    enum cyx_sched_state wanted;
    const char *name = NULL;
    int64_t limit = 0;
    enum cyx_status status;
    if ((status = cyx_message_parse(request->data, request->length, &message, err)) != CYX_OK ||
        (status = cyx_message_maybe_id(message, "account_id", &filter.account_id, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(message, "state", &name, err)) != CYX_OK ||
        (status = cyx_message_page(message, &limit, &filter.cursor, err)) != CYX_OK)
        return status;
    if (name && !cyx_sched_state_parse(name, &wanted))
        return cyx_error_set(err, CYX_ERR_INVALID, "/state",
                             "expected queued, assigned, running, completed, failed or cancelled");
    filter.state = name ? &wanted : NULL;
    filter.limit = limit + 1;
    struct cyx_arena arena = {0};
    struct cyx_sched_job *jobs = NULL;
    size_t count = 0;
    status = cyx_sched_store_list(&app->store, &filter, &arena, &jobs, &count, err);
    if (status == CYX_OK) {
        write_page(app, reply, jobs, count, (size_t)limit);
        status = whole(reply, err);
    }
    cyx_arena_finish(&arena);
    return status;
}

CYX_SCHED_HANDLER(cyx_sched_api_cancel)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *job_id = NULL, *account_id = NULL;
    struct cyx_arena arena = {0};
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    struct cyx_trace trace;
    trace_of(request, &trace);
    enum cyx_status status = read_target(request, &message, &job_id, &account_id, err);
    if (status == CYX_OK)
        status = cyx_sched_store_cancel(&app->store, job_id, account_id, &trace, &arena, &job,
                                        &change, err);
    if (status == CYX_OK) {
        if (change.tells_worker)
            cyx_sched_tell(app, job.node_id, CYX_NODE_CANCEL, job.id, job.token);
        cyx_sched_matcher_wake(app->matcher); /* its node may be free */
        cyx_buf_printf(reply,
                       "{\"outcome\":\"%s\",\"job\":", cyx_sched_outcome_name(change.outcome));
        cyx_sched_show(app, reply, &job, NULL, 0);
        cyx_buf_puts(reply, "}");
        status = whole(reply, err);
        cyx_log(CYX_LOG_INFO, "job cancel asked", CYX_STR("job_id", job.id),
                CYX_STR("outcome", cyx_sched_outcome_name(change.outcome)),
                CYX_STR("request_id", trace.request_id));
    }
    cyx_arena_finish(&arena);
    return status;
}
