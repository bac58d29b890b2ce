/* Orders to nodes (drain, maintenance), what `get` tells of their health, and what NATS tells of their connections. */
#include <string.h>

#include "api.h"
#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "store_health.h"
#include "store_identity.h"

#include "base/banned.h"

enum { REASON_LIMIT = 200, WINDOW_DAYS_LIMIT = 366 };

static enum cyx_status read_reason(const json_t *message, const char **ret_reason,
                                   struct cyx_error *err)
{
    enum cyx_status status = cyx_message_maybe_text(message, "reason", ret_reason, err);
    if (status == CYX_OK && *ret_reason && strlen(*ret_reason) > REASON_LIMIT)
        status = cyx_error_set(err, CYX_ERR_INVALID, "/reason", "expected at most %d bytes",
                               REASON_LIMIT);
    return status;
}

static enum cyx_status drain(struct cyx_registry_app *app, const struct cyx_bus_message *request,
                             bool by_node, struct cyx_buf *reply, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_registry_drain order = {.by_node = by_node};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    order.drain = !json_is_false(json_object_get(message, "drain"));
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &order.node_id, err);
    if (status == CYX_OK && by_node)
        status = cyx_registry_check_speaker(request, order.node_id, err);
    if (status == CYX_OK)
        status = read_reason(message, &order.reason, err);
    if (status == CYX_OK)
        status = cyx_registry_store_drain(&app->store, &order, err);
    if (status != CYX_OK)
        return status;
    cyx_log(CYX_LOG_INFO, order.drain ? "node drained" : "node open again",
            CYX_STR("node_id", order.node_id), CYX_STR("by", by_node ? "node" : "operator"),
            CYX_STR("reason", order.reason), CYX_STR("request_id", request->meta.request_id));
    return cyx_registry_answer_node(app, order.node_id, reply, err);
}

enum cyx_status cyx_registry_api_drain(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err)
{
    return drain(ctx, request, false, reply, err);
}

enum cyx_status cyx_registry_api_drain_self(void *ctx, const struct cyx_bus_message *request,
                                            struct cyx_buf *reply, struct cyx_error *err)
{
    return drain(ctx, request, true, reply, err);
}

static enum cyx_status read_time(const json_t *message, const char *key, int64_t fallback_ms,
                                 int64_t *ret_ms, struct cyx_error *err)
{
    const char *text = NULL;
    enum cyx_status status = cyx_message_maybe_text(message, key, &text, err);
    if (status != CYX_OK)
        return status;
    *ret_ms = fallback_ms;
    if (!text ? fallback_ms > 0 : cyx_time_parse(text, ret_ms) == CYX_OK)
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_INVALID,
                         strcmp(key, "ends_at") == 0 ? "/ends_at" : "/starts_at",
                         "expected a time as 2030-01-31T12:00:00Z");
}

static enum cyx_status read_window(const json_t *message, struct cyx_registry_window *window,
                                   struct cyx_error *err)
{
    int64_t now_ms = cyx_clock_unix_ms();
    enum cyx_status status = read_time(message, "starts_at", now_ms, &window->starts_at_ms, err);
    if (status == CYX_OK)
        status = read_time(message, "ends_at", 0, &window->ends_at_ms, err);
    if (status == CYX_OK)
        status = read_reason(message, &window->reason, err);
    if (status != CYX_OK)
        return status;
    int64_t longest_ms = INT64_C(86400000) * WINDOW_DAYS_LIMIT;
    if (window->ends_at_ms <= now_ms || window->ends_at_ms <= window->starts_at_ms ||
        window->ends_at_ms - window->starts_at_ms > longest_ms)
        return cyx_error_set(err, CYX_ERR_INVALID, "/ends_at",
                             "expected a time to come, behind starts_at by %d days at most",
                             WINDOW_DAYS_LIMIT);
    return CYX_OK;
}

enum cyx_status cyx_registry_api_maintenance(void *ctx, const struct cyx_bus_message *request,
                                             struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL, *window_id = NULL;
    struct cyx_registry_window window = {0};
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_id(message, "window_id", &window_id, err);
    if (status == CYX_OK && !window_id)
        status = read_window(message, &window, err);
    if (status == CYX_OK)
        status = window_id ? cyx_registry_store_end_window(&app->store, node_id, window_id, err)
                           : cyx_registry_store_add_window(&app->store, node_id, &window, err);
    return status == CYX_OK ? cyx_registry_answer_node(app, node_id, reply, err) : status;
}

json_t *cyx_registry_heartbeat_json(struct cyx_registry_app *app, const char *node_id)
{
    struct cyx_heartbeat_gaps gaps;
    int64_t deadline_ms = cyx_presence_deadline_ms(app->presence, node_id, &gaps);
    return json_pack("{s:I, s:f, s:f, s:I, s:I}", "period_ms", (json_int_t)app->heartbeat_ms,
                     "gap_ms", gaps.mean_ms, "deviation_ms", gaps.deviation_ms, "deadline_ms",
                     (json_int_t)deadline_ms, "seen", (json_int_t)gaps.seen);
}

/* ---- a node that goes ---- */

/* cyx.node.<id>.leaving {boot_id}: its process ends as it should, nobody need miss it. */
void cyx_registry_api_leaving(void *ctx, const struct cyx_bus_message *message)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *json = NULL;
    char node_id[CYX_ID_BYTES];
    const char *boot_id = NULL;
    struct cyx_error err = {0};
    if (!cyx_subject_id(message->subject, node_id) ||
        cyx_message_parse(message->data, message->length, &json, NULL) != CYX_OK ||
        cyx_message_id(json, "boot_id", &boot_id, NULL) != CYX_OK)
        return;
    cyx_presence_left(app->presence, node_id, boot_id);
    if (cyx_registry_store_leave(&app->store, node_id, boot_id, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "a node's leave was not stored", CYX_STR("node_id", node_id),
                CYX_STR("error", err.message));
    else
        cyx_log(CYX_LOG_INFO, "node stopped", CYX_STR("node_id", node_id));
}

/* $SYS.ACCOUNT.<account>.DISCONNECT: {client: {user: "U…"}, reason}; kept for when the node is missed. */
void cyx_registry_api_disconnect(void *ctx, const struct cyx_bus_message *message)
{
    struct cyx_registry_app *app = ctx;
    char node_id[CYX_ID_BYTES];
    CYX_CLEANUP_JSON json_t *json = json_loadb(message->data, message->length, 0, NULL);
    const char *user = json_string_value(json_object_get(json_object_get(json, "client"), "user"));
    const char *reason = json_string_value(json_object_get(json, "reason"));
    const char *name = json_string_value(json_object_get(json_object_get(json, "client"), "name"));
    if (name && strncmp(name, CYX_GANG_CONNECTION, strlen(CYX_GANG_CONNECTION)) == 0)
        return; /* a job's of several nodes, which ends with its attempt */
    if (!user || !reason || !cyx_nkey_public_valid(user, CYX_NKEY_USER) ||
        cyx_registry_store_key_owner(&app->store, user, node_id, NULL) != CYX_OK)
        return; /* a service */
    cyx_presence_disconnected(app->presence, node_id, reason, cyx_clock_monotonic_ns());
}

void cyx_registry_explain_silence(struct cyx_registry_app *app, const char *node_id,
                                  const char *boot_id, int64_t host_memory_bytes, int64_t now_ns,
                                  struct cyx_registry_why *ret_why)
{
    char reason[CYX_REGISTRY_REASON_BYTES];
    struct cyx_registry_load load = {0};
    cyx_presence_disconnect_reason(app->presence, node_id, reason);
    const struct cyx_registry_silence silence = {
        .watches_connections = app->trust != NULL,
        .disconnected = reason,
        .heard_age_ms = cyx_presence_age_ms(app->presence, node_id, boot_id, now_ns, &load),
        .deadline_ms = cyx_presence_deadline_ms(app->presence, node_id, NULL),
        .memory_used_bytes = load.memory_used_bytes,
        .host_memory_bytes = host_memory_bytes};
    cyx_registry_explain(&silence, ret_why);
}
