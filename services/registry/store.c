#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract/message.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

#define NODE_COLUMNS                                                                               \
    "id, boot_id, name, version, status, devices, host_memory_bytes, cpus, price_per_hour, "       \
    "revision, enrolled_at, last_heartbeat_at, running_jobs, cpu_percent, memory_used_bytes, "     \
    "images_per_second, labels, region"

/*
 * Revisions rise with each event of a node, and never fall behind the clock: consumers pass over what is older than
 * they know, and must not do so for ever when this schema was lost and made anew.
 */
#define NOW_MS "(extract(epoch from clock_timestamp()) * 1000)::bigint"
#define NEXT_REVISION "greatest(node.revision + 1, " NOW_MS ")"

static void copy(char *target, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(target, text, length);
    target[length] = '\0';
}

/* A row of NODE_COLUMNS. */
static enum cyx_status read_node(const struct cyx_db_result *rows, size_t row,
                                 struct cyx_registry_node *ret_node, struct cyx_error *err)
{
    struct cyx_registry_node *node = ret_node;
    *node = (struct cyx_registry_node){0};
    copy(node->id, sizeof(node->id), cyx_db_text(rows, row, 0));
    copy(node->boot_id, sizeof(node->boot_id), cyx_db_text(rows, row, 1));
    copy(node->name, sizeof(node->name), cyx_db_text(rows, row, 2));
    copy(node->version, sizeof(node->version), cyx_db_text(rows, row, 3));
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
    copy(node->labels, sizeof(node->labels), cyx_db_text(rows, row, 16));
    copy(node->region, sizeof(node->region), cyx_db_text(rows, row, 17));
    CYX_CLEANUP_JSON json_t *devices = json_loads(cyx_db_text(rows, row, 5), 0, NULL);
    return cyx_registry_devices_parse(devices, node, err);
}

/* Adds cyx.evt.node.{online,offline} of `node` to the transaction; offline takes a reason. */
static enum cyx_status add_event(struct cyx_db_conn *conn, const struct cyx_registry_node *node,
                                 const char *reason, const struct cyx_trace *trace,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf json = {0};
    char event_id[CYX_ID_BYTES];
    cyx_id_new(event_id);
    bool online = node->status == CYX_NODE_ONLINE;
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

struct enrolment {
    const struct cyx_registry_node *given;
    struct cyx_registry_node stored;
    const struct cyx_trace *trace;
    bool news;
};

static enum cyx_status write_enrolment(struct cyx_db_conn *conn, struct enrolment *enrolment,
                                       struct cyx_error *err)
{
    const struct cyx_registry_node *node = enrolment->given;
    CYX_CLEANUP_BUF struct cyx_buf devices = {0};
    enum cyx_status status = cyx_message_write(cyx_registry_devices_json(node), &devices, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    status = cyx_db_query_one(
        conn,
        "insert into node (id, boot_id, name, version, status, devices, host_memory_bytes, cpus, "
        "price_per_hour, labels, region, revision) "
        "values ($1, $2, $3, $4, 'online', $5::jsonb, $6, $7, $8, $10, $11, " NOW_MS ") "
        "on conflict (id) do update set boot_id = excluded.boot_id, name = excluded.name, "
        "version = excluded.version, status = 'online', devices = excluded.devices, "
        "host_memory_bytes = excluded.host_memory_bytes, cpus = excluded.cpus, "
        "price_per_hour = excluded.price_per_hour, labels = excluded.labels, "
        "region = excluded.region, last_heartbeat_at = now(), "
        "revision = case when $9::boolean then " NEXT_REVISION " else node.revision end "
        "returning " NODE_COLUMNS,
        &rows, err, CYX_DB_TEXT(node->id), CYX_DB_TEXT(node->boot_id), CYX_DB_TEXT(node->name),
        CYX_DB_TEXT(node->version), CYX_DB_TEXT(devices.data), CYX_DB_INT(node->host_memory_bytes),
        CYX_DB_INT(node->cpus), CYX_DB_INT(node->price_per_hour_base_units),
        CYX_DB_BOOL(enrolment->news), CYX_DB_TEXT(node->labels), CYX_DB_TEXT(node->region));
    return status == CYX_OK ? read_node(rows, 0, &enrolment->stored, err) : status;
}

static enum cyx_status enrol_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct enrolment *enrolment = ctx;
    /* One enrolment of a node at a time, also before it has a row to lock. */
    enum cyx_status status =
        cyx_db_query(conn, "select pg_advisory_xact_lock(hashtextextended($1, 0))", NULL, err,
                     CYX_DB_TEXT(enrolment->given->id));
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    status = cyx_db_query(conn, "select " NODE_COLUMNS " from node where id = $1 for update", &rows,
                          err, CYX_DB_TEXT(enrolment->given->id));
    if (status != CYX_OK)
        return status;
    struct cyx_registry_node before;
    bool known = cyx_db_rows(rows) == 1;
    if (known && (status = read_node(rows, 0, &before, err)) != CYX_OK)
        return status;
    enrolment->news = cyx_registry_enrol_is_news(known ? &before : NULL, enrolment->given);
    status = write_enrolment(conn, enrolment, err);
    if (status == CYX_OK && enrolment->news)
        status = add_event(conn, &enrolment->stored, NULL, enrolment->trace, err);
    return status;
}

enum cyx_status cyx_registry_store_enrol(struct cyx_registry_store *self,
                                         struct cyx_registry_node *node,
                                         const struct cyx_trace *trace, struct cyx_error *err)
{
    struct enrolment enrolment = {.given = node, .trace = trace};
    enum cyx_status status = cyx_db_transaction(self->db, enrol_body, &enrolment, err);
    if (status != CYX_OK)
        return status;
    if (enrolment.news)
        cyx_outbox_wake(self->outbox);
    *node = enrolment.stored;
    return CYX_OK;
}

enum cyx_status cyx_registry_store_beat(struct cyx_registry_store *self, const char *node_id,
                                        const char *boot_id, const struct cyx_registry_load *load,
                                        struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    /* Every replica hears each heartbeat: who comes second within ten seconds (less a tenth, for jitter) writes nothing. */
    status = cyx_db_query(
        conn,
        "update node set last_heartbeat_at = now(), running_jobs = $3, cpu_percent = $4, "
        "memory_used_bytes = $5, images_per_second = $6 where id = $1 and boot_id = $2 "
        "and last_heartbeat_at < now() - $7 * interval '1 millisecond'",
        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_TEXT(boot_id), CYX_DB_INT(load->running_jobs),
        CYX_DB_DOUBLE(load->cpu_percent), CYX_DB_INT(load->memory_used_bytes),
        CYX_DB_DOUBLE(load->images_per_second), CYX_DB_INT(CYX_REGISTRY_STORE_MS * 9 / 10));
    cyx_db_give(conn);
    return status;
}

/* "node:<id>" */
static void cache_key(const char *node_id, char ret_key[64])
{
    snprintf(ret_key, 64, "node:%s", node_id);
}

void cyx_registry_store_cache_load(struct cyx_registry_store *self, const char *node_id,
                                   const char *boot_id, const struct cyx_registry_load *load)
{
    char key[64];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cache_key(node_id, key);
    if (self->cache &&
        cyx_message_write(cyx_registry_load_json(boot_id, load), &text, NULL) == CYX_OK)
        (void)cyx_cache_set(self->cache, key, text.data, text.length, self->lost_ms);
}

bool cyx_registry_store_cached_load(struct cyx_registry_store *self, const char *node_id,
                                    const char *boot_id, struct cyx_registry_load *ret_load)
{
    char key[64];
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cache_key(node_id, key);
    if (!self->cache || cyx_cache_get(self->cache, key, &text) != CYX_OK)
        return false;
    CYX_CLEANUP_JSON json_t *json = json_loadb(text.data, text.length, 0, NULL);
    return json && cyx_registry_load_parse(json, boot_id, ret_load);
}

struct judgement {
    const char *node_id, *boot_id, *reason;
    enum cyx_registry_verdict verdict;
    bool done;
};

static enum cyx_status judge_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct judgement *judgement = ctx;
    bool online = judgement->verdict == CYX_VERDICT_ONLINE;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    judgement->done = false;
    enum cyx_status status = cyx_db_query(
        conn,
        "update node set status = case when $3::boolean then 'online' else 'offline' end, "
        "revision = " NEXT_REVISION ", "
        "last_heartbeat_at = case when $3::boolean then now() else last_heartbeat_at end "
        "where id = $1 and boot_id = $2 and (status = 'offline') = $3::boolean "
        "and not exists (select 1 from identity i where i.node_id = node.id and i.revoked_at is "
        "not null) "
        "returning " NODE_COLUMNS,
        &rows, err, CYX_DB_TEXT(judgement->node_id), CYX_DB_TEXT(judgement->boot_id),
        CYX_DB_BOOL(online));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    struct cyx_registry_node node;
    status = read_node(rows, 0, &node, err);
    if (status == CYX_OK)
        status = add_event(conn, &node, judgement->reason, NULL, err);
    judgement->done = status == CYX_OK;
    return status;
}

enum cyx_status cyx_registry_store_take_offline(struct cyx_db_conn *conn, const char *node_id,
                                                const char *reason, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    struct cyx_registry_node node;
    enum cyx_status status =
        cyx_db_query(conn,
                     "update node set status = 'offline', revision = " NEXT_REVISION " "
                     "where id = $1 and status <> 'offline' returning " NODE_COLUMNS,
                     &rows, err, CYX_DB_TEXT(node_id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    status = read_node(rows, 0, &node, err);
    return status == CYX_OK ? add_event(conn, &node, reason, NULL, err) : status;
}

enum cyx_status cyx_registry_store_judge(struct cyx_registry_store *self, const char *node_id,
                                         const char *boot_id, enum cyx_registry_verdict verdict,
                                         const char *reason, bool *ret_done, struct cyx_error *err)
{
    struct judgement judgement = {node_id, boot_id, reason, verdict, false};
    enum cyx_status status = cyx_db_transaction(self->db, judge_body, &judgement, err);
    if (status != CYX_OK)
        return status;
    if (judgement.done)
        cyx_outbox_wake(self->outbox);
    *ret_done = judgement.done;
    return CYX_OK;
}

enum cyx_status cyx_registry_store_get(struct cyx_registry_store *self, const char *node_id,
                                       struct cyx_registry_node *ret_node, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    struct cyx_db_result *rows = NULL;
    status = cyx_db_query(conn, "select " NODE_COLUMNS " from node where id = $1", &rows, err,
                          CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", node_id);
    else if (status == CYX_OK)
        status = read_node(rows, 0, ret_node, err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_registry_store_list(struct cyx_registry_store *self,
                                        const enum cyx_registry_status *wanted, int64_t limit,
                                        const char *cursor, struct cyx_registry_node **ret_nodes,
                                        size_t *ret_count, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    struct cyx_db_result *rows = NULL;
    status =
        cyx_db_query(conn,
                     "select " NODE_COLUMNS " from node where ($1::text is null or status = $1) "
                     "and ($2::uuid is null or id > $2) order by id limit $3",
                     &rows, err, CYX_DB_TEXT(wanted ? cyx_registry_status_name(*wanted) : NULL),
                     CYX_DB_TEXT(cursor), CYX_DB_INT(limit));
    struct cyx_registry_node *nodes =
        status == CYX_OK ? calloc(cyx_db_rows(rows) + 1, sizeof(*nodes)) : NULL;
    if (status == CYX_OK && !nodes)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the list");
    size_t count = 0;
    for (; nodes && status == CYX_OK && count < cyx_db_rows(rows); count++)
        status = read_node(rows, count, &nodes[count], err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    if (status != CYX_OK) {
        free(nodes);
        return status;
    }
    *ret_nodes = nodes;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status cyx_registry_store_sights(struct cyx_registry_store *self,
                                          struct cyx_registry_sight **ret_sights, size_t *ret_count,
                                          struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    struct cyx_db_result *rows = NULL;
    status =
        cyx_db_query(conn,
                     "select id, boot_id, status, "
                     "greatest(0, (extract(epoch from now() - last_heartbeat_at) * 1000)::bigint) "
                     "from node where not exists (select 1 from identity i "
                     "where i.node_id = node.id and i.revoked_at is not null)",
                     &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_registry_sight *sights =
        status == CYX_OK ? calloc(count + 1, sizeof(*sights)) : NULL;
    if (status == CYX_OK && !sights)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    for (size_t i = 0; sights && i < count; i++) {
        copy(sights[i].id, sizeof(sights[i].id), cyx_db_text(rows, i, 0));
        copy(sights[i].boot_id, sizeof(sights[i].boot_id), cyx_db_text(rows, i, 1));
        (void)cyx_registry_status_parse(cyx_db_text(rows, i, 2), &sights[i].status);
        sights[i].stored_age_ms = cyx_db_int(rows, i, 3);
    }
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    if (status != CYX_OK)
        return status;
    *ret_sights = sights;
    *ret_count = count;
    return CYX_OK;
}
