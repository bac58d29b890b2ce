/* Events of other services: payments holds, refuses and settles; the registry tells of nodes. */
#include <string.h>

#include "api.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

static enum cyx_status on_held(struct cyx_sched_app *app, const char *job_id, struct cyx_error *err)
{
    bool changed = false;
    enum cyx_status status = cyx_sched_store_fund(&app->store, job_id, &changed, err);
    if (status == CYX_OK && changed)
        cyx_sched_matcher_wake(app->matcher);
    return status;
}

static enum cyx_status on_refused(struct cyx_sched_app *app, const struct cyx_bus_message *message,
                                  const json_t *event, const char *job_id, struct cyx_error *err)
{
    const char *reason = "the budget could not be held";
    struct cyx_trace trace;
    cyx_trace_start(&trace, message->meta.request_id, message->meta.traceparent);
    enum cyx_status status = cyx_message_maybe_text(event, "reason", &reason, err);
    if (status == CYX_OK)
        status = cyx_sched_store_refuse(&app->store, job_id, reason, &trace, err);
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    return CYX_OK; /* no job of ours */
}

static enum cyx_status on_settled(struct cyx_sched_app *app, const json_t *event,
                                  const char *job_id, struct cyx_error *err)
{
    int64_t cost = 0;
    enum cyx_status status = cyx_message_amount(event, "released", &cost, err);
    return status == CYX_OK ? cyx_sched_store_settle(&app->store, job_id, cost, err) : status;
}

static enum cyx_status take_payment(struct cyx_sched_app *app,
                                    const struct cyx_bus_message *message, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *event = NULL;
    const char *job_id = NULL;
    enum cyx_status status = cyx_message_parse(message->data, message->length, &event, err);
    if (status == CYX_OK)
        status = cyx_message_id(event, "job_id", &job_id, err);
    if (status != CYX_OK)
        return status;
    if (strcmp(message->subject, CYX_EVT_PAYMENT_HELD) == 0)
        return on_held(app, job_id, err);
    if (strcmp(message->subject, CYX_EVT_PAYMENT_REFUSED) == 0)
        return on_refused(app, message, event, job_id, err);
    if (strcmp(message->subject, CYX_EVT_PAYMENT_SETTLED) == 0)
        return on_settled(app, event, job_id, err);
    return CYX_OK; /* of a later version: none of our business */
}

static enum cyx_status take_node(struct cyx_sched_app *app, const struct cyx_bus_message *message,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *event = NULL;
    struct cyx_arena arena = {0};
    struct cyx_sched_node_news news;
    bool taken = false;
    bool online = strcmp(message->subject, CYX_EVT_NODE_ONLINE) == 0;
    if (!online && strcmp(message->subject, CYX_EVT_NODE_OFFLINE) != 0)
        return CYX_OK;
    enum cyx_status status = cyx_message_parse(message->data, message->length, &event, err);
    if (status == CYX_OK)
        status = online ? cyx_sched_node_online_parse(event, &arena, &news, err)
                        : cyx_sched_node_offline_parse(event, &news, err);
    if (status == CYX_OK)
        status = cyx_sched_store_node(&app->store, &news, &taken, err);
    cyx_arena_finish(&arena);
    if (status != CYX_OK)
        return status;
    cyx_log(CYX_LOG_INFO, online ? "node online" : "node offline", CYX_STR("node_id", news.node.id),
            CYX_STR("boot_id", news.node.boot_id), CYX_INT("revision", news.revision),
            CYX_STR("taken", taken ? "yes" : "no, newer is known"));
    cyx_sched_matcher_wake(
        app->matcher); /* it frees the leases that went with a boot, and matches */
    return CYX_OK;
}

/* An event is not to blame for a database that refuses it: masked, its error asks for it again. */
enum cyx_status cyx_sched_on_payment(void *ctx, const struct cyx_bus_message *message,
                                     struct cyx_error *err)
{
    return cyx_svc_mask(take_payment(ctx, message, err), message, err);
}

enum cyx_status cyx_sched_on_node(void *ctx, const struct cyx_bus_message *message,
                                  struct cyx_error *err)
{
    return cyx_svc_mask(take_node(ctx, message, err), message, err);
}
