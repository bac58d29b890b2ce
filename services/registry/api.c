#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "store_health.h"
#include "store_identity.h"
#include "store_proof.h"
#include "wire.h"

#include "base/banned.h"

enum cyx_status cyx_registry_configure(struct cyx_registry_app *app, struct cyx_svc *svc,
                                       struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    app->heartbeat_ms =
        cyx_config_int(config, "CYXWIZ_HEARTBEAT_MS", CYX_HEARTBEAT_DEFAULT_MS, 50, 60000);
    app->store.lost_ms = app->heartbeat_ms * CYX_HEARTBEATS_MISSED;
    app->store.proof = (struct cyx_proof_settings){
        .required = strcmp(cyx_config_choice(config, "CYXWIZ_PROOF", "required", "required off"),
                           "required") == 0,
        .interval_ms = cyx_config_int(config, "CYXWIZ_PROOF_INTERVAL_MS", 14400000, 100, 604800000),
        .retry_ms = cyx_config_int(config, "CYXWIZ_PROOF_RETRY_MS", 30000, 50, 3600000),
        .deadline_ms = cyx_config_int(config, "CYXWIZ_PROOF_DEADLINE_MS", 60000, 100, 3600000)};
    struct cyx_metrics *metrics = cyx_svc_metrics(svc);
    app->proofs = cyx_metrics_counter(metrics, "cyx_registry_proofs_total",
                                      "Challenges of devices by how they ended.", "end");
    app->heartbeats = cyx_metrics_counter(metrics, "cyx_registry_heartbeats_total",
                                          "Heartbeats by what became of them.", "result");
    app->nodes =
        cyx_metrics_gauge(metrics, "cyx_registry_nodes", "Enrolled nodes by status.", "status");
    app->changes = cyx_metrics_counter(metrics, "cyx_registry_changes_total",
                                       "Nodes that enrolled, came back or were lost.", "event");
    app->presence = cyx_presence_create(app->heartbeat_ms);
    if (!app->presence)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the presence table");
    return cyx_config_check(config, err);
}

enum cyx_status cyx_registry_open_trust(struct cyx_registry_app *app, struct cyx_svc *svc,
                                        struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    const char *folder = cyx_config_text(config, "CYXWIZ_NATS_TRUST", NULL);
    int64_t life_s = cyx_config_int(config, "CYXWIZ_NODE_TOKEN_LIFE_S", 86400, 2, 2592000);
    const struct cyx_bus_options server = {
        .url = cyx_config_text(config, "CYXWIZ_NATS_URL", "nats://127.0.0.1:4222"),
        .ca_file = cyx_config_text(config, "CYXWIZ_NATS_CA", NULL),
        .cert_file = cyx_config_text(config, "CYXWIZ_NATS_CERT", NULL),
        .key_file = cyx_config_text(config, "CYXWIZ_NATS_KEY", NULL)};
    enum cyx_status status = cyx_config_check(config, err);
    if (status == CYX_OK && folder)
        status = cyx_trust_open(folder, &server, life_s, &app->trust, err);
    return status == CYX_OK ? cyx_registry_push_revocations(app, err) : status;
}

static void drain_watch(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    struct cyx_registry_app *app = ctx;
    cyx_registry_watch_stop(app->watch);
    app->watch = NULL;
}

enum cyx_status cyx_registry_start(struct cyx_registry_app *app, struct cyx_svc *svc,
                                   struct cyx_error *err)
{
    enum cyx_status status = cyx_registry_store_require(&app->store, err);
    /* Without a queue group: every replica hears every node, and judges for itself. */
    if (status == CYX_OK)
        status = cyx_bus_subscribe(app->bus, CYX_NODE_HEARTBEAT_ALL, NULL,
                                   cyx_registry_api_heartbeat, app, err);
    if (status == CYX_OK)
        status = cyx_bus_subscribe(app->bus, CYX_NODE_LEAVING_ALL, NULL, cyx_registry_api_leaving,
                                   app, err);
    if (status == CYX_OK && app->trust)
        status = cyx_trust_watch_connections(app->trust, cyx_registry_api_disconnect, app, err);
    if (status == CYX_OK)
        status = cyx_svc_on_drain(svc, drain_watch, app, err);
    if (status == CYX_OK) /* last: where starting fails, no thread is left that uses the service */
        status = cyx_registry_watch_start(app, err);
    return status;
}

void cyx_registry_finish(struct cyx_registry_app *app)
{
    cyx_registry_watch_stop(app->watch);
    cyx_presence_destroy(app->presence);
    cyx_trust_close(app->trust);
    app->trust = NULL;
    app->watch = NULL;
    app->presence = NULL;
}

/* The freshest load that this replica can find: heard itself, else from the cache, else the stored one. */
static json_t *node_json(struct cyx_registry_app *app, struct cyx_registry_node *node)
{
    int64_t age_ms = -1;
    if (node->status != CYX_NODE_OFFLINE) {
        age_ms = cyx_presence_age_ms(app->presence, node->id, node->boot_id,
                                     cyx_clock_monotonic_ns(), &node->load);
        if (age_ms < 0)
            (void)cyx_registry_store_cached_load(&app->store, node->id, node->boot_id, &node->load);
    }
    if (age_ms >= 0 && cyx_clock_unix_ms() - age_ms > node->last_heartbeat_at_ms)
        node->last_heartbeat_at_ms = cyx_clock_unix_ms() - age_ms;
    return cyx_registry_node_json(node);
}

enum cyx_status cyx_registry_check_speaker(const struct cyx_bus_message *request,
                                           const char *node_id, struct cyx_error *err)
{
    return cyx_subject_is_from(request->subject, node_id)
               ? CYX_OK
               : cyx_error_set(err, CYX_ERR_DENIED, "/node_id", "a node speaks only for itself");
}

enum cyx_status cyx_registry_api_enrol(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    struct cyx_registry_node node;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_registry_enrolment_parse(message, &node, err);
    if (status == CYX_OK)
        status = cyx_registry_check_speaker(request, node.id, err);
    if (status == CYX_OK)
        status = cyx_registry_store_may_work(&app->store, node.id, app->trust != NULL, err);
    if (status != CYX_OK)
        return status;
    struct cyx_trace trace;
    cyx_trace_start(&trace, request->meta.request_id, request->meta.traceparent);
    status = cyx_registry_store_enrol(&app->store, &node, &trace, err);
    if (status == CYX_OK)
        status = cyx_presence_enrolled(app->presence, node.id, node.boot_id);
    if (status != CYX_OK)
        return status;
    cyx_metric_add(app->changes, 1, "enrolled");
    cyx_log(CYX_LOG_INFO, "node enrolled", CYX_STR("node_id", node.id), CYX_STR("name", node.name),
            CYX_STR("boot_id", node.boot_id), CYX_INT("revision", node.revision),
            CYX_STR("request_id", trace.request_id));
    cyx_registry_ask_proofs(app, node.id);
    return cyx_message_write(json_pack("{s:o}", "node", node_json(app, &node)), reply, err);
}

enum cyx_status cyx_registry_answer_node(struct cyx_registry_app *app, const char *node_id,
                                         struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_node node;
    json_t *health = NULL;
    enum cyx_status status = cyx_registry_store_get(&app->store, node_id, &node, err);
    if (status == CYX_OK)
        status = cyx_registry_store_health(&app->store, node_id, &health, err);
    if (status != CYX_OK)
        return status;
    json_t *shown = node_json(app, &node);
    json_object_update(shown, health);
    json_decref(health);
    json_object_set_new(shown, "heartbeat", cyx_registry_heartbeat_json(app, node_id));
    return cyx_message_write(json_pack("{s:o}", "node", shown), reply, err);
}

static enum cyx_status get(struct cyx_registry_app *app, const struct cyx_bus_message *request,
                           bool by_node, struct cyx_buf *reply, struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *message = NULL;
    const char *node_id = NULL;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = cyx_message_id(message, "node_id", &node_id, err);
    if (status == CYX_OK && by_node)
        status = cyx_registry_check_speaker(request, node_id, err);
    return status == CYX_OK ? cyx_registry_answer_node(app, node_id, reply, err) : status;
}

enum cyx_status cyx_registry_api_get(void *ctx, const struct cyx_bus_message *request,
                                     struct cyx_buf *reply, struct cyx_error *err)
{
    return get(ctx, request, false, reply, err);
}

enum cyx_status cyx_registry_api_get_self(void *ctx, const struct cyx_bus_message *request,
                                          struct cyx_buf *reply, struct cyx_error *err)
{
    return get(ctx, request, true, reply, err);
}

static enum cyx_status parse_status(const json_t *message, enum cyx_registry_status *ret_status,
                                    bool *ret_given, struct cyx_error *err)
{
    const char *name = NULL;
    enum cyx_status status = cyx_message_maybe_text(message, "status", &name, err);
    *ret_given = name != NULL;
    if (status == CYX_OK && name && !cyx_registry_status_parse(name, ret_status))
        status = cyx_error_set(err, CYX_ERR_INVALID, "/status",
                               "expected \"online\", \"offline\" or \"draining\"");
    return status;
}

enum cyx_status cyx_registry_api_list(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *message = NULL;
    enum cyx_registry_status wanted = CYX_NODE_ONLINE;
    bool given = false;
    struct cyx_page page;
    enum cyx_status status = cyx_message_parse(request->data, request->length, &message, err);
    if (status == CYX_OK)
        status = parse_status(message, &wanted, &given, err);
    if (status == CYX_OK)
        status = cyx_page_read(message, cyx_registry_orders, &page, err);
    if (status != CYX_OK)
        return status;
    struct cyx_registry_node *nodes = NULL;
    size_t count = 0;
    status =
        cyx_registry_store_list(&app->store, given ? &wanted : NULL, &page, &nodes, &count, err);
    if (status != CYX_OK)
        return status;
    bool more = count > (size_t)page.limit;
    count = more ? (size_t)page.limit : count;
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, node_json(app, &nodes[i]));
    const struct cyx_registry_node *last = more ? &nodes[count - 1] : NULL;
    json_t *next =
        last ? cyx_page_next(cyx_registry_orders, &page, last->name, last->id) : json_null();
    free(nodes);
    return cyx_message_write(json_pack("{s:o, s:o}", "nodes", array, "next_cursor", next), reply,
                             err);
}

void cyx_registry_api_heartbeat(void *ctx, const struct cyx_bus_message *message)
{
    struct cyx_registry_app *app = ctx;
    CYX_CLEANUP_JSON json_t *json = NULL;
    char node_id[CYX_ID_BYTES];
    const char *boot_id = NULL;
    struct cyx_registry_load load;
    struct cyx_error err = {0};
    bool store = false;
    if (!cyx_subject_id(message->subject, node_id) ||
        cyx_message_parse(message->data, message->length, &json, &err) != CYX_OK ||
        cyx_registry_heartbeat_parse(json, &boot_id, &load, &err) != CYX_OK) {
        cyx_metric_add(app->heartbeats, 1, "broken");
        cyx_log(CYX_LOG_DEBUG, "heartbeat refused", CYX_STR("subject", message->subject),
                CYX_STR("error", err.message));
        return;
    }
    if (cyx_presence_beat(app->presence, node_id, boot_id, &load, cyx_clock_monotonic_ns(),
                          &store) != CYX_OK) {
        cyx_metric_add(app->heartbeats, 1, "ignored");
        return;
    }
    cyx_metric_add(app->heartbeats, 1, "taken");
    cyx_registry_store_cache_load(&app->store, node_id, boot_id, &load);
    if (store && cyx_registry_store_beat(&app->store, node_id, boot_id, &load, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "heartbeat not stored", CYX_STR("node_id", node_id),
                CYX_STR("error", err.message));
}
