#include "api.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

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
    struct cyx_arena arena = {0};
    struct cyx_sched_node *nodes = NULL;
    size_t count = 0;
    if (cache->read_ns && now_ns - cache->read_ns < INT64_C(500000000))
        return;
    if (cyx_sched_store_nodes(&app->store, &arena, &nodes, &count, NULL) != CYX_OK) {
        cyx_arena_finish(&arena); /* the older ones will do */
        return;
    }
    cyx_arena_finish(&cache->arena);
    cache->arena = arena;
    cache->nodes = nodes;
    cache->count = count;
    cache->read_ns = now_ns;
}

const struct cyx_sched_nodes_cache *cyx_sched_nodes_lock(struct cyx_sched_app *app)
{
    pthread_mutex_lock(&app->nodes.lock);
    refresh_nodes(app);
    return &app->nodes;
}

void cyx_sched_nodes_unlock(struct cyx_sched_app *app)
{
    pthread_mutex_unlock(&app->nodes.lock);
}

static struct cyx_sched_hold hold_of(const struct cyx_sched_job *job,
                                     const struct cyx_sched_account *account)
{
    struct cyx_sched_hold hold = {.funded = job->facts.funded,
                                  .waits_for = job->waits_for,
                                  .failures = job->facts.failures,
                                  .wait_ms = job->wait_ms,
                                  .wait_until_ms = cyx_clock_unix_ms() + job->wait_ms};
    if (!account)
        return hold;
    if (account->running_limit >= 0 && account->running >= account->running_limit) {
        hold.quota = CYX_SCHED_QUOTA_RUNNING;
        hold.quota_limit = (double)account->running_limit;
    } else if (account->device_hours_limit >= 0 &&
               account->device_hours_today >= account->device_hours_limit) {
        hold.quota = CYX_SCHED_QUOTA_DEVICE_HOURS;
        hold.quota_limit = account->device_hours_limit;
    }
    return hold;
}

/* The nodes that are kept for another job; NULL: none are. */
static const struct cyx_sched_kept *
kept_from(struct cyx_sched_app *app, const struct cyx_sched_job *job, struct cyx_sched_kept *room)
{
    pthread_mutex_lock(&app->store.kept_lock);
    *room = app->store.kept;
    pthread_mutex_unlock(&app->store.kept_lock);
    return room->job_id[0] && strcmp(room->job_id, job->id) != 0 ? room : NULL;
}

void cyx_sched_tell_attempt(struct cyx_sched_app *app, const struct cyx_sched_job *job,
                            const char *but_node_id)
{
    struct cyx_sched_offer members[CYX_SCHED_GANG_LIMIT];
    struct cyx_error err = {0};
    size_t count = 0;
    if (cyx_sched_store_attempt(&app->store, job, members, &count, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "a job's nodes not told; their heartbeats will",
                CYX_STR("job_id", job->id), CYX_STR("error", err.message));
    for (size_t i = 0; i < count; i++)
        if (!but_node_id || strcmp(members[i].node_id, but_node_id) != 0)
            cyx_sched_tell(app, members[i].node_id, CYX_NODE_CANCEL, job->id, members[i].token);
}

void cyx_sched_show(struct cyx_sched_app *app, struct cyx_buf *text,
                    const struct cyx_sched_job *job, const struct cyx_sched_account *account,
                    const struct cyx_sched_transition *transitions, size_t n_transitions)
{
    struct cyx_sched_pending pending = {0};
    if (job->facts.state == CYX_SCHED_QUEUED) {
        struct cyx_sched_hold hold = hold_of(job, account);
        struct cyx_sched_kept kept;
        const struct cyx_sched_nodes_cache *nodes = cyx_sched_nodes_lock(app);
        hold.kept = kept_from(app, job, &kept);
        cyx_sched_pending(&job->need, &hold, nodes->nodes, nodes->count, &pending);
        cyx_sched_nodes_unlock(app);
    }
    cyx_sched_write_job(text,
                        &(struct cyx_sched_job_view){job, &pending, transitions, n_transitions});
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
    struct cyx_sched_account account;
    struct cyx_sched_transition *transitions = NULL;
    size_t count = 0;
    enum cyx_status status = read_target(request, &message, &job_id, &account_id, err);
    if (status == CYX_OK)
        status = cyx_sched_store_get(&app->store, job_id, account_id, &arena, &job, err);
    if (status == CYX_OK)
        status =
            cyx_sched_store_transitions(&app->store, job_id, &arena, &transitions, &count, err);
    bool waits = status == CYX_OK && job.facts.state == CYX_SCHED_QUEUED;
    if (waits)
        status = cyx_sched_store_account(&app->store, job.account_id, &account, err);
    if (status == CYX_OK) {
        cyx_buf_puts(reply, "{\"job\":");
        cyx_sched_show(app, reply, &job, waits ? &account : NULL, transitions, count);
        cyx_buf_puts(reply, "}");
        status = whole(reply, err);
    }
    cyx_arena_finish(&arena);
    return status;
}

/* Appends jobs until the limit, or until the reply is full; the rest is behind the cursor. */
static void write_page(struct cyx_sched_app *app, struct cyx_buf *reply,
                       const struct cyx_sched_job *jobs, size_t count, const struct cyx_page *page)
{
    size_t shown = 0, limit = (size_t)page->limit;
    cyx_buf_puts(reply, "{\"jobs\":[");
    for (; shown < count && shown < limit && !reply->failed; shown++) {
        if (shown > 0 && reply->length + strlen(jobs[shown].spec) > CYX_SCHED_PAGE_BYTES)
            break;
        if (shown > 0)
            cyx_buf_puts(reply, ",");
        cyx_sched_show(app, reply, &jobs[shown], NULL, NULL, 0);
    }
    cyx_buf_puts(reply, "],\"next_cursor\":");
    if (shown < count) {
        const struct cyx_sched_job *last = &jobs[shown - 1];
        bool by_name = strstr(cyx_sched_orders[page->order].name, "name") != NULL;
        CYX_CLEANUP_JSON json_t *next =
            cyx_page_next(cyx_sched_orders, page,
                          by_name ? last->name : cyx_sched_state_name(last->facts.state), last->id);
        cyx_buf_json_string(reply, next ? json_string_value(next) : "");
    } else {
        cyx_buf_puts(reply, "null");
    }
    cyx_buf_puts(reply, "}");
}

CYX_SCHED_HANDLER(cyx_sched_api_list)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_sched_filter filter = {0};
    enum cyx_sched_state wanted;
    const char *name = NULL;
    struct cyx_page page;
    enum cyx_status status;
    if ((status = cyx_message_parse(request->data, request->length, &message, err)) != CYX_OK ||
        (status = cyx_message_maybe_id(message, "account_id", &filter.account_id, err)) != CYX_OK ||
        (status = cyx_message_maybe_id(message, "array", &filter.array_id, err)) != CYX_OK ||
        (status = cyx_message_maybe_text(message, "state", &name, err)) != CYX_OK ||
        (status = cyx_page_read(message, cyx_sched_orders, &page, err)) != CYX_OK)
        return status;
    if (name && !cyx_sched_state_parse(name, &wanted))
        return cyx_error_set(err, CYX_ERR_INVALID, "/state",
                             "expected queued, assigned, running, completed, failed or cancelled");
    filter.state = name ? &wanted : NULL;
    struct cyx_arena arena = {0};
    struct cyx_sched_job *jobs = NULL;
    size_t count = 0;
    status = cyx_sched_store_list(&app->store, &filter, &page, &arena, &jobs, &count, err);
    if (status == CYX_OK) {
        write_page(app, reply, jobs, count, &page);
        status = whole(reply, err);
    }
    cyx_arena_finish(&arena);
    return status;
}

/* {account_id, sha256, kind} -> {job_id}: whether an upload may go. */
CYX_SCHED_HANDLER(cyx_sched_api_uses)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *account_id = NULL, *sha256 = NULL, *kind = NULL;
    char job_id[CYX_ID_BYTES] = "";
    enum cyx_status status;
    if ((status = cyx_message_parse(request->data, request->length, &message, err)) != CYX_OK ||
        (status = cyx_message_id(message, "account_id", &account_id, err)) != CYX_OK ||
        (status = cyx_message_text(message, "sha256", &sha256, err)) != CYX_OK ||
        (status = cyx_message_text(message, "kind", &kind, err)) != CYX_OK)
        return status;
    status = cyx_sched_store_user_of(&app->store, account_id, sha256, strcmp(kind, "model") == 0,
                                     job_id, err);
    if (status != CYX_OK && status != CYX_ERR_NOT_FOUND)
        return status;
    *err = (struct cyx_error){0};
    if (status == CYX_OK)
        cyx_buf_printf(reply, "{\"job_id\":\"%s\"}", job_id);
    else
        cyx_buf_puts(reply, "{\"job_id\":null}");
    return whole(reply, err);
}

/* What became of a cancel, in a sentence. */
static void say_cancelled(const struct cyx_sched_job *job, const struct cyx_sched_change *change,
                          char *ret_text, size_t size)
{
    char ended[CYX_TIME_TEXT_BYTES] = "";
    const char *state = cyx_sched_state_name(job->facts.state);
    switch (change->outcome) {
    case CYX_SCHED_OUTCOME_CANCELLED:
        snprintf(ret_text, size,
                 change->tells_worker
                     ? "it was offered to a node that had not begun; it will not run"
                     : "it was waiting; it will not run");
        return;
    case CYX_SCHED_OUTCOME_CANCELLING:
        snprintf(ret_text, size,
                 "it runs; its node was told to stop. It is cancelled once the node has stopped, "
                 "or is lost, and completed if it ends first");
        return;
    default:
        cyx_time_format(job->ended_at_ms, ended);
        snprintf(ret_text, size, "nothing was done: it had %s at %s already",
                 job->facts.state == CYX_SCHED_CANCELLED ? "been cancelled" : state, ended);
        return;
    }
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
    char said[240];
    cyx_trace_start(&trace, request->meta.request_id, request->meta.traceparent);
    enum cyx_status status = read_target(request, &message, &job_id, &account_id, err);
    if (status == CYX_OK)
        status = cyx_sched_store_cancel(&app->store, job_id, account_id, &trace, &arena, &job,
                                        &change, err);
    if (status == CYX_OK) {
        if (change.tells_worker)
            cyx_sched_tell_attempt(app, &job, NULL);
        cyx_sched_matcher_wake(app->matcher); /* its node may be free */
        say_cancelled(&job, &change, said, sizeof(said));
        cyx_buf_printf(reply, "{\"outcome\":\"%s\",\"message\":\"%s\",\"job\":",
                       cyx_sched_outcome_name(change.outcome), said);
        cyx_sched_show(app, reply, &job, NULL, NULL, 0);
        cyx_buf_puts(reply, "}");
        status = whole(reply, err);
        cyx_log(CYX_LOG_INFO, "job cancel asked", CYX_STR("job_id", job.id),
                CYX_STR("outcome", cyx_sched_outcome_name(change.outcome)),
                CYX_STR("request_id", trace.request_id));
    }
    cyx_arena_finish(&arena);
    return status;
}

static void write_account(struct cyx_buf *reply, const struct cyx_sched_account *account)
{
    const struct {
        const char *key;
        double used, limit;
    } rows[] = {
        {"running_jobs", (double)account->running, (double)account->running_limit},
        {"queued_jobs", (double)account->queued, (double)account->queued_limit},
        {"device_hours_today", account->device_hours_today, account->device_hours_limit},
    };
    cyx_buf_printf(
        reply, "{\"quota\":{\"account_id\":\"%s\",\"weight\":%.6g,\"recent_device_seconds\":%.3f",
        account->id, account->weight, account->usage_s);
    for (size_t i = 0; i < CYX_COUNT_OF(rows); i++) {
        cyx_buf_printf(reply, ",\"%s\":{\"used\":%.6g,\"limit\":", rows[i].key, rows[i].used);
        if (rows[i].limit >= 0)
            cyx_buf_printf(reply, "%.6g}", rows[i].limit);
        else
            cyx_buf_puts(reply, "null}");
    }
    cyx_buf_puts(reply, "}}");
}

/* An optional number of `set`; `slot` is where it lies when it is given. */
static enum cyx_status read_limit(const json_t *set, const char *key, double *slot,
                                  const double **ret_limit, struct cyx_error *err)
{
    const json_t *value = json_object_get(set, key);
    char pointer[64];
    if (!value)
        return CYX_OK;
    *slot = json_is_null(value) ? -1 : json_number_value(value);
    *ret_limit = slot;
    if (json_is_null(value) || (json_is_number(value) && *slot >= 0 && *slot <= 1e9))
        return CYX_OK;
    snprintf(pointer, sizeof(pointer), "/set/%s", key);
    return cyx_error_set(err, CYX_ERR_INVALID, pointer,
                         "expected 0 to 1000000000, or null for the service's own setting");
}

/* {account_id, set?: {weight, running_jobs, queued_jobs, device_hours_a_day}} -> {quota} */
CYX_SCHED_HANDLER(cyx_sched_api_quota)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *account_id = NULL;
    double slots[4];
    struct cyx_sched_limits limits = {0};
    struct cyx_sched_account account;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "account_id", &account_id, err);
    const json_t *set = json_object_get(message, "set");
    if (status == CYX_OK && json_is_object(set)) {
        if ((status = read_limit(set, "weight", &slots[0], &limits.weight, err)) != CYX_OK ||
            (status = read_limit(set, "running_jobs", &slots[1], &limits.running, err)) != CYX_OK ||
            (status = read_limit(set, "queued_jobs", &slots[2], &limits.queued, err)) != CYX_OK ||
            (status = read_limit(set, "device_hours_a_day", &slots[3], &limits.device_hours,
                                 err)) != CYX_OK)
            return status;
        status = cyx_sched_store_limit(&app->store, account_id, &limits, err);
        cyx_sched_matcher_wake(app->matcher); /* what was held back may go */
    }
    if (status == CYX_OK)
        status = cyx_sched_store_account(&app->store, account_id, &account, err);
    if (status != CYX_OK)
        return status;
    write_account(reply, &account);
    return whole(reply, err);
}

CYX_SCHED_HANDLER(cyx_sched_api_node)
{
    struct cyx_sched_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    return status == CYX_OK ? cyx_sched_store_record(&app->store, node_id, reply, err) : status;
}
