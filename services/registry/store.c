#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "store_row.h"
#include "wire.h"

#include "base/banned.h"

struct enrolment {
    struct cyx_registry_node *given; /* its proofs are filled in */
    const struct cyx_proof_settings *proof;
    struct cyx_registry_node stored;
    const struct cyx_trace *trace;
    bool news;
};

static enum cyx_status write_enrolment(struct cyx_db_conn *conn, struct enrolment *enrolment,
                                       struct cyx_error *err)
{
    const struct cyx_registry_node *node = enrolment->given;
    bool required = enrolment->proof->required;
    struct cyx_registry_why why;
    CYX_CLEANUP_BUF struct cyx_buf devices = {0};
    enum cyx_status status =
        cyx_message_write(cyx_registry_devices_json(node, true), &devices, err);
    if (status != CYX_OK)
        return status;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    status = cyx_db_query_one(
        conn,
        "insert into node (id, boot_id, name, version, status, devices, host_memory_bytes, cpus, "
        "price_per_hour, labels, region, proof_closed, closed, proof_due_at, revision) "
        "values ($1, $2, $3, $4, 'online', $5::jsonb, $6, $7, $8, $10, $11, $12, $12, "
        "to_timestamp($13::float8 / 1000), " NOW_MS ") "
        "on conflict (id) do update set boot_id = excluded.boot_id, name = excluded.name, "
        "version = excluded.version, status = 'online', devices = excluded.devices, "
        "host_memory_bytes = excluded.host_memory_bytes, cpus = excluded.cpus, "
        "price_per_hour = excluded.price_per_hour, labels = excluded.labels, "
        "region = excluded.region, last_heartbeat_at = now(), silent_code = null, "
        "silent_message = null, proof_closed = excluded.proof_closed, "
        "proof_due_at = excluded.proof_due_at, closed = " CLOSED_BY(
            "excluded.proof_closed") ", "
                                     "status_since = case when node.status = 'online' then "
                                     "node.status_since else now() end, "
                                     "revision = case when $9::boolean then " NEXT_REVISION
                                     " else node.revision end "
                                     "returning " NODE_COLUMNS,
        &rows, err, CYX_DB_TEXT(node->id), CYX_DB_TEXT(node->boot_id), CYX_DB_TEXT(node->name),
        CYX_DB_TEXT(node->version), CYX_DB_TEXT(devices.data), CYX_DB_INT(node->host_memory_bytes),
        CYX_DB_INT(node->cpus), CYX_DB_INT(node->price_per_hour_base_units),
        CYX_DB_BOOL(enrolment->news), CYX_DB_TEXT(node->labels), CYX_DB_TEXT(node->region),
        CYX_DB_TEXT(required ? cyx_proof_closes(node, &why) : ""),
        required ? CYX_DB_INT(cyx_proof_due_ms(node)) : CYX_DB_NULL);
    return status == CYX_OK ? cyx_registry_row_read(rows, 0, &enrolment->stored, err) : status;
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
    if (known && (status = cyx_registry_row_read(rows, 0, &before, err)) != CYX_OK)
        return status;
    enrolment->news = cyx_registry_enrol_is_news(known ? &before : NULL, enrolment->given);
    cyx_proof_carry(known ? &before : NULL, cyx_clock_unix_ms(), enrolment->given);
    status = write_enrolment(conn, enrolment, err);
    if (status == CYX_OK) /* that process is gone, and will not answer */
        status = cyx_db_query(conn, "delete from challenge where node_id = $1 and boot_id <> $2",
                              NULL, err, CYX_DB_TEXT(enrolment->given->id),
                              CYX_DB_TEXT(enrolment->given->boot_id));
    if (status == CYX_OK && enrolment->news)
        status = cyx_registry_row_record(conn, enrolment->given->id, "enrolled",
                                         enrolment->given->version, err);
    if (status == CYX_OK && enrolment->news)
        status = cyx_registry_row_tell(conn, &enrolment->stored, NULL, enrolment->trace, err);
    return status;
}

enum cyx_status cyx_registry_store_enrol(struct cyx_registry_store *self,
                                         struct cyx_registry_node *node,
                                         const struct cyx_trace *trace, struct cyx_error *err)
{
    struct enrolment enrolment = {.given = node, .proof = &self->proof, .trace = trace};
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
    /* Every replica hears each heartbeat: who comes second within ten seconds (less a tenth, for jitter) writes nothing. */
    enum cyx_status status = cyx_db_run(
        self->db,
        "update node set last_heartbeat_at = now(), running_jobs = $3, cpu_percent = $4, "
        "memory_used_bytes = $5, images_per_second = $6 where id = $1 and boot_id = $2 "
        "and last_heartbeat_at < now() - $7 * interval '1 millisecond'",
        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_TEXT(boot_id), CYX_DB_INT(load->running_jobs),
        CYX_DB_DOUBLE(load->cpu_percent), CYX_DB_INT(load->memory_used_bytes),
        CYX_DB_DOUBLE(load->images_per_second), CYX_DB_INT(CYX_REGISTRY_STORE_MS * 9 / 10));
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
    const struct cyx_registry_why *why; /* OFFLINE */
    enum cyx_registry_verdict verdict;
    bool done;
};

/* The alert: cyx.evt.node.silent. A node that was taken out of service alarms nobody. */
static enum cyx_status tell_silent(struct cyx_db_conn *conn, const struct cyx_registry_node *node,
                                   const struct cyx_registry_why *why, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf json = {0};
    char event_id[CYX_ID_BYTES];
    enum cyx_status status = cyx_registry_row_record(
        conn, node->id, node->closed[0] ? "offline" : "silent", why->message, err);
    if (status != CYX_OK || node->closed[0])
        return status;
    cyx_id_new(event_id);
    status = cyx_message_write(cyx_registry_silent_json(event_id, node, why), &json, err);
    const struct cyx_outbox_event event = {
        .subject = CYX_EVT_NODE_SILENT, .message_id = event_id, .json = json.data};
    return status == CYX_OK ? cyx_outbox_add_event(conn, &event, err) : status;
}

static enum cyx_status judge_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct judgement *judgement = ctx;
    bool online = judgement->verdict == CYX_VERDICT_ONLINE;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    judgement->done = false;
    enum cyx_status status = cyx_db_query(
        conn,
        "update node set status = case when $3::boolean then 'online' else 'offline' end, "
        "revision = " NEXT_REVISION ", status_since = now(), silent_code = $4, "
        "silent_message = $5, "
        "last_heartbeat_at = case when $3::boolean then now() else last_heartbeat_at end "
        "where id = $1 and boot_id = $2 and (status = 'offline') = $3::boolean "
        "and not exists (select 1 from identity i where i.node_id = node.id and i.revoked_at is "
        "not null) "
        "returning " NODE_COLUMNS,
        &rows, err, CYX_DB_TEXT(judgement->node_id), CYX_DB_TEXT(judgement->boot_id),
        CYX_DB_BOOL(online), CYX_DB_TEXT(online ? NULL : judgement->why->code),
        CYX_DB_TEXT(online ? NULL : judgement->why->message));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    struct cyx_registry_node node;
    status = cyx_registry_row_read(rows, 0, &node, err);
    if (status == CYX_OK)
        status = online ? cyx_registry_row_record(conn, node.id, "online", "", err)
                        : tell_silent(conn, &node, judgement->why, err);
    if (status == CYX_OK)
        status = cyx_registry_row_tell(conn, &node, judgement->reason, NULL, err);
    judgement->done = status == CYX_OK;
    return status;
}

enum cyx_status cyx_registry_store_take_offline(struct cyx_db_conn *conn, const char *node_id,
                                                const char *boot_id, const char *reason,
                                                struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    struct cyx_registry_node node;
    enum cyx_status status =
        cyx_db_query(conn,
                     "update node set status = 'offline', status_since = now(), "
                     "revision = " NEXT_REVISION " where id = $1 and status <> 'offline' "
                     "and ($2::uuid is null or boot_id = $2) returning " NODE_COLUMNS,
                     &rows, err, CYX_DB_TEXT(node_id), CYX_DB_TEXT(boot_id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    status = cyx_registry_row_read(rows, 0, &node, err);
    if (status == CYX_OK)
        status = cyx_registry_row_record(conn, node_id, "offline", reason, err);
    return status == CYX_OK ? cyx_registry_row_tell(conn, &node, reason, NULL, err) : status;
}

struct leaving {
    const char *node_id, *boot_id;
};

static enum cyx_status leave_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    const struct leaving *leaving = ctx;
    return cyx_registry_store_take_offline(conn, leaving->node_id, leaving->boot_id, "stopped",
                                           err);
}

enum cyx_status cyx_registry_store_leave(struct cyx_registry_store *self, const char *node_id,
                                         const char *boot_id, struct cyx_error *err)
{
    struct leaving leaving = {node_id, boot_id};
    enum cyx_status status = cyx_db_transaction(self->db, leave_body, &leaving, err);
    if (status == CYX_OK)
        cyx_outbox_wake(self->outbox);
    return status;
}

enum cyx_status cyx_registry_store_judge(struct cyx_registry_store *self, const char *node_id,
                                         const char *boot_id, enum cyx_registry_verdict verdict,
                                         const struct cyx_registry_why *why, bool *ret_done,
                                         struct cyx_error *err)
{
    struct judgement judgement = {node_id, boot_id, "missed-heartbeats", why, verdict, false};
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
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(self->db, "select " NODE_COLUMNS " from node where id = $1",
                                        &rows, err, CYX_DB_TEXT(node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", node_id);
    else if (status == CYX_OK)
        status = cyx_registry_row_read(rows, 0, ret_node, err);
    return status;
}

/* Ids rise with enrolment. */
#define LIST(behind, order)                                                                        \
    "select " NODE_COLUMNS " from node where ($1::text is null or $1 = case "                      \
    "when status = 'offline' then status when closed = '' then 'online' else 'draining' end) "     \
    "and ($2::uuid is null or " behind ") and $4::text is not null order by " order " limit $3"

enum order { OLDEST, NEWEST, NAME, NAME_DOWN };

const struct cyx_page_order cyx_registry_orders[] = {
    [OLDEST] = {"enrolled_at", true},
    [NEWEST] = {"-enrolled_at", true},
    [NAME] = {"name", false},
    [NAME_DOWN] = {"-name", false},
    {0},
};

static const char *const list_sql[] = {
    [OLDEST] = LIST("id > $2", "id"),
    [NEWEST] = LIST("id < $2", "id desc"),
    [NAME] = LIST("(name, id) > ($4, $2)", "name, id"),
    [NAME_DOWN] = LIST("(name, id) < ($4, $2)", "name desc, id desc"),
};

enum cyx_status cyx_registry_store_list(struct cyx_registry_store *self,
                                        const enum cyx_registry_status *wanted,
                                        const struct cyx_page *page,
                                        struct cyx_registry_node **ret_nodes, size_t *ret_count,
                                        struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db, list_sql[page->order], &rows, err,
        CYX_DB_TEXT(wanted ? cyx_registry_status_name(*wanted) : NULL),
        CYX_DB_TEXT(cyx_page_id(page)), CYX_DB_INT(page->limit + 1), CYX_DB_TEXT(page->value));
    struct cyx_registry_node *nodes =
        status == CYX_OK ? calloc(cyx_db_rows(rows) + 1, sizeof(*nodes)) : NULL;
    if (status == CYX_OK && !nodes)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the list");
    size_t count = 0;
    for (; nodes && status == CYX_OK && count < cyx_db_rows(rows); count++)
        status = cyx_registry_row_read(rows, count, &nodes[count], err);
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
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select id, boot_id, status, "
                   "greatest(0, (extract(epoch from now() - last_heartbeat_at) * 1000)::bigint), "
                   "host_memory_bytes from node where not exists (select 1 from identity i "
                   "where i.node_id = node.id and i.revoked_at is not null)",
                   &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_registry_sight *sights =
        status == CYX_OK ? calloc(count + 1, sizeof(*sights)) : NULL;
    if (status == CYX_OK && !sights)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    for (size_t i = 0; sights && i < count; i++) {
        cyx_text_copy(sights[i].id, sizeof(sights[i].id), cyx_db_text(rows, i, 0));
        cyx_text_copy(sights[i].boot_id, sizeof(sights[i].boot_id), cyx_db_text(rows, i, 1));
        (void)cyx_registry_status_parse(cyx_db_text(rows, i, 2), &sights[i].status);
        sights[i].stored_age_ms = cyx_db_int(rows, i, 3);
        sights[i].host_memory_bytes = cyx_db_int(rows, i, 4);
    }
    if (status != CYX_OK)
        return status;
    *ret_sights = sights;
    *ret_count = count;
    return CYX_OK;
}
