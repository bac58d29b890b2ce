/* A node's row as a struct, its events and its history. */
#include "store_row.h"

#include <string.h>

#include "base/text.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

enum cyx_status cyx_registry_row_read(const struct cyx_db_result *rows, size_t row,
                                      struct cyx_registry_node *ret_node, struct cyx_error *err)
{
    struct cyx_registry_node *node = ret_node;
    *node = (struct cyx_registry_node){0};
    cyx_text_copy(node->id, sizeof(node->id), cyx_db_text(rows, row, 0));
    cyx_text_copy(node->boot_id, sizeof(node->boot_id), cyx_db_text(rows, row, 1));
    cyx_text_copy(node->name, sizeof(node->name), cyx_db_text(rows, row, 2));
    cyx_text_copy(node->version, sizeof(node->version), cyx_db_text(rows, row, 3));
    (void)cyx_registry_status_parse(cyx_db_text(rows, row, 4), &node->status);
    node->host_memory_bytes = cyx_db_int(rows, row, 6);
    node->cpus = cyx_db_int(rows, row, 7);
    node->price_per_hour_base_units = cyx_db_int(rows, row, 8);
    node->revision = cyx_db_int(rows, row, 9);
    node->enrolled_at_ms = cyx_db_time_ms(rows, row, 10);
    node->last_heartbeat_at_ms = cyx_db_time_ms(rows, row, 11);
    node->load.running_jobs = cyx_db_int(rows, row, 12);
    node->load.cpu_percent = cyx_db_double(rows, row, 13);
    node->load.memory_used_bytes = cyx_db_int(rows, row, 14);
    node->load.images_per_second = cyx_db_double(rows, row, 15);
    cyx_text_copy(node->labels, sizeof(node->labels), cyx_db_text(rows, row, 16));
    cyx_text_copy(node->region, sizeof(node->region), cyx_db_text(rows, row, 17));
    cyx_text_copy(node->closed, sizeof(node->closed), cyx_db_text(rows, row, 18));
    if (node->status == CYX_NODE_ONLINE && node->closed[0])
        node->status = CYX_NODE_DRAINING;
    CYX_CLEANUP_JSON json_t *devices = json_loads(cyx_db_text(rows, row, 5), 0, NULL);
    enum cyx_status status = cyx_registry_devices_parse(devices, node, err);
    if (status == CYX_OK)
        cyx_registry_proofs_parse(devices, node);
    return status;
}

enum cyx_status cyx_registry_row_tell(struct cyx_db_conn *conn,
                                      const struct cyx_registry_node *node, const char *reason,
                                      const struct cyx_trace *trace, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf json = {0};
    char event_id[CYX_ID_BYTES];
    cyx_id_new(event_id);
    bool online = node->status != CYX_NODE_OFFLINE;
    enum cyx_status status =
        cyx_message_write(online ? cyx_registry_online_json(event_id, node)
                                 : cyx_registry_offline_json(event_id, node, reason),
                          &json, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_outbox_event event = {
        .subject = online ? CYX_EVT_NODE_ONLINE : CYX_EVT_NODE_OFFLINE,
        .message_id = event_id,
        .request_id = trace ? trace->request_id : NULL,
        .traceparent = trace ? trace->traceparent : NULL,
        .json = json.data,
    };
    return cyx_outbox_add_event(conn, &event, err);
}

enum cyx_status cyx_registry_row_record(struct cyx_db_conn *conn, const char *node_id,
                                        const char *kind, const char *reason, struct cyx_error *err)
{
    return cyx_db_query(conn,
                        "with old as (delete from node_event where node_id = $1 "
                        "and at < now() - interval '90 days') "
                        "insert into node_event (node_id, kind, reason) values ($1, $2, $3)",
                        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_TEXT(kind),
                        CYX_DB_TEXT(reason ? reason : ""));
}
