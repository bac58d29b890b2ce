/* The projection of the registry's nodes: what its events tell, what heartbeats add, what matching reads. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

/* The news of a node that went says nothing of its devices. */
static const char *const node_offline_sql =
    "insert into node (id, boot_id, online, revision, name, cpus, cpu_memory_bytes, "
    "gpu_memory_bytes, soft_memory_bytes, price_per_hour) "
    "values ($1, $2, false, $3, '', 0, 0, 0, 0, 0) "
    "on conflict (id) do update set online = false, revision = excluded.revision, "
    "boot_id = excluded.boot_id, updated_at = clock_timestamp() "
    "where node.revision < excluded.revision";
static const char *const node_online_sql =
    "insert into node (id, boot_id, online, revision, name, cpus, cpu_memory_bytes, "
    "gpu_memory_bytes, soft_memory_bytes, price_per_hour, host_memory_bytes, labels, region, "
    "slots, closed, cpu_flops, gpu_flops, soft_flops) "
    "values ($1, $2, true, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) "
    "on conflict (id) do update set boot_id = excluded.boot_id, online = true, "
    "revision = excluded.revision, name = excluded.name, cpus = excluded.cpus, "
    "cpu_memory_bytes = excluded.cpu_memory_bytes, gpu_memory_bytes = excluded.gpu_memory_bytes, "
    "soft_memory_bytes = excluded.soft_memory_bytes, price_per_hour = excluded.price_per_hour, "
    "host_memory_bytes = excluded.host_memory_bytes, labels = excluded.labels, "
    "region = excluded.region, slots = excluded.slots, closed = excluded.closed, "
    "cpu_flops = excluded.cpu_flops, gpu_flops = excluded.gpu_flops, "
    "soft_flops = excluded.soft_flops, "
    "offers_missed = 0, rests_until = "
    "'-infinity', "
    "updated_at = clock_timestamp() where node.revision < excluded.revision";

enum cyx_status cyx_sched_store_node(struct cyx_sched_store *self,
                                     const struct cyx_sched_node_news *news, bool *ret_taken,
                                     struct cyx_error *err)
{
    const struct cyx_sched_node *node = &news->node;
    const struct cyx_db_param params[] = {
        CYX_DB_TEXT(node->id),
        CYX_DB_TEXT(node->boot_id),
        CYX_DB_INT(news->revision),
        CYX_DB_TEXT(news->name),
        CYX_DB_INT(node->cpus),
        CYX_DB_INT(node->cpu_memory_bytes),
        CYX_DB_INT(node->gpu_memory_bytes),
        CYX_DB_INT(node->soft_memory_bytes),
        CYX_DB_INT(node->price_per_hour_base_units),
        CYX_DB_INT(node->host_memory_bytes),
        CYX_DB_TEXT(node->labels ? node->labels : ""),
        CYX_DB_TEXT(node->region ? node->region : ""),
        CYX_DB_INT(node->slots > 0 ? node->slots : 1),
        CYX_DB_TEXT(node->closed ? node->closed : ""),
        CYX_DB_DOUBLE(node->cpu_flops),
        CYX_DB_DOUBLE(node->gpu_flops),
        CYX_DB_DOUBLE(node->soft_flops),
    };
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run_params(self->db, news->online ? node_online_sql : node_offline_sql,
                          news->online ? sizeof(params) / sizeof(*params) : 3, params, &rows, err);
    if (status == CYX_OK)
        *ret_taken = cyx_db_affected(rows) == 1;
    return status;
}

/* One row a node. */
static const char *const nodes_sql = "select " CYX_SCHED_NODE_COLUMNS(
    "rests_until > clock_timestamp() or (select count(*) from assignment a where "
    "a.node_id = node.id and a.ended_at is null) >= slots",
    "0") " from node where online order by id";

/* PostgreSQL's text of an array of numbers: {1,2.5}. */
static void read_speeds(const char *text, double ret_speeds[CYX_SCHED_SIZES])
{
    const char *at = *text == '{' ? text + 1 : text;
    for (int i = 0; i < CYX_SCHED_SIZES && *at && *at != '}'; i++) {
        char *end = NULL;
        ret_speeds[i] = strtod(at, &end);
        at = end && *end == ',' ? end + 1 : "";
    }
}

enum cyx_status cyx_sched_read_node(const struct cyx_db_result *rows, size_t row,
                                    struct cyx_arena *arena, struct cyx_sched_node *node,
                                    struct cyx_error *err)
{
    cyx_text_copy(node->id, CYX_ID_BYTES, cyx_db_text(rows, row, 0));
    cyx_text_copy(node->boot_id, CYX_ID_BYTES, cyx_db_text(rows, row, 1));
    node->cpus = cyx_db_int(rows, row, 2);
    node->cpu_memory_bytes = cyx_db_int(rows, row, 3);
    node->gpu_memory_bytes = cyx_db_int(rows, row, 4);
    node->soft_memory_bytes = cyx_db_int(rows, row, 5);
    node->price_per_hour_base_units = cyx_db_int(rows, row, 6);
    node->busy = cyx_db_bool(rows, row, 7);
    node->host_memory_bytes = cyx_db_int(rows, row, 8);
    node->labels = cyx_arena_strdup(arena, cyx_db_text(rows, row, 9));
    node->region = cyx_arena_strdup(arena, cyx_db_text(rows, row, 10));
    node->datasets = cyx_arena_strdup(arena, cyx_db_text(rows, row, 11));
    node->cpu_percent = cyx_db_double(rows, row, 12);
    node->good = cyx_db_double(rows, row, 13);
    node->bad = cyx_db_double(rows, row, 14);
    read_speeds(cyx_db_text(rows, row, 15), node->flops_per_second);
    node->slots = cyx_db_int(rows, row, 16);
    node->slot = cyx_db_int(rows, row, 17);
    node->closed = cyx_arena_strdup(arena, cyx_db_text(rows, row, 18));
    node->cpu_flops = cyx_db_double(rows, row, 19);
    node->gpu_flops = cyx_db_double(rows, row, 20);
    node->soft_flops = cyx_db_double(rows, row, 21);
    return node->closed && node->labels && node->region && node->datasets
               ? CYX_OK
               : cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
}

enum cyx_status cyx_sched_store_nodes(struct cyx_sched_store *self, struct cyx_arena *arena,
                                      struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                      struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(self->db, nodes_sql, &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_sched_node *nodes = cyx_arena_calloc(arena, count + 1, sizeof(*nodes));
    if (status == CYX_OK && !nodes)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    for (size_t i = 0; nodes && status == CYX_OK && i < count; i++)
        status = cyx_sched_read_node(rows, i, arena, &nodes[i], err);
    if (status != CYX_OK)
        return status;
    *ret_nodes = nodes;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_load(struct cyx_sched_store *self, const char *node_id,
                                     double cpu_percent, struct cyx_error *err)
{
    enum cyx_status status = cyx_db_run(
        self->db,
        "update node set cpu_percent = $2 where id = $1 and abs(cpu_percent - $2::real) > 15", NULL,
        err, CYX_DB_TEXT(node_id), CYX_DB_DOUBLE(cpu_percent));
    return status;
}

enum cyx_status cyx_sched_store_record(struct cyx_sched_store *self, const char *node_id,
                                       struct cyx_buf *ret_json, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query_one(
        conn, /* the reputation of placement.h */
        "select json_build_object('reputation', (good + 1) / (good + bad + 2), 'good', good, "
        "'bad', bad, 'outcomes', coalesce((select json_object_agg(what, n) from (select "
        "coalesce(outcome, ended_cause) as what, count(*) as n from assignment where node_id = $1 "
        "and ended_at is not null group by 1) as ends), '{}'), 'jobs', coalesce((select "
        "json_agg(job_id) from assignment where node_id = $1 and ended_at is null), '[]')) "
        "from node where id = $1",
        &rows, err, CYX_DB_TEXT(node_id));
    if (status == CYX_OK)
        cyx_buf_puts(ret_json, cyx_db_text(rows, 0, 0));
    cyx_db_give(conn);
    return status;
}

/* What is left of a job: by its steps where it has told of any, else by the work and the node's speed. */
enum cyx_status cyx_sched_store_busy(struct cyx_sched_store *self, struct cyx_arena *arena,
                                     struct cyx_sched_busy **ret_busy, size_t *ret_count,
                                     struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "select node_id, case when step > 0 and total >= step then spent * (total - step) / step "
        "else -1 end from (select a.node_id, extract(epoch from clock_timestamp() - "
        "coalesce(a.accepted_at, clock_timestamp())) as spent, (a.progress ->> 'step')::float8 as "
        "step, (a.progress ->> 'total_steps')::float8 as total from assignment a "
        "where a.ended_at is null) as open",
        &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_sched_busy *busy = cyx_arena_calloc(arena, count + 1, sizeof(*busy));
    if (status == CYX_OK && !busy)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    for (size_t i = 0; busy && status == CYX_OK && i < count; i++) {
        cyx_text_copy(busy[i].node_id, CYX_ID_BYTES, cyx_db_text(rows, i, 0));
        busy[i].left_s = cyx_db_double(rows, i, 1);
    }
    if (status != CYX_OK)
        return status;
    *ret_busy = busy;
    *ret_count = count;
    return CYX_OK;
}
