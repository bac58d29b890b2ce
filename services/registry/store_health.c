#include "store_health.h"

#include <string.h>

#include "contract/message.h"
#include "store_row.h"

#include "base/banned.h"

/* ---- orders ---- */

struct draining {
    const struct cyx_registry_drain *order;
    size_t changed;
};

static enum cyx_status settle(struct cyx_db_conn *conn, size_t *ret_changed, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "update node set closed = " CLOSED_NOW ", revision = " NEXT_REVISION
                     " where closed <> " CLOSED_NOW " returning " NODE_COLUMNS,
                     &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct cyx_registry_node node;
        status = cyx_registry_row_read(rows, i, &node, err);
        if (status == CYX_OK)
            status = cyx_registry_row_record(conn, node.id, node.closed[0] ? "closed" : "opened",
                                             node.closed, err);
        if (status == CYX_OK && node.status != CYX_NODE_OFFLINE) /* else its return tells */
            status = cyx_registry_row_tell(conn, &node, NULL, NULL, err);
    }
    *ret_changed = count;
    return status;
}

/* No row was changed: there is none, or it is drained by those whom a node cannot overrule. */
static enum cyx_status refuse_drain(struct cyx_db_conn *conn, const char *node_id,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn, "select 1 from node where id = $1", &rows, err, CYX_DB_TEXT(node_id));
    if (status != CYX_OK)
        return status;
    return cyx_db_rows(rows) == 0
               ? cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", node_id)
               : cyx_error_set(err, CYX_ERR_DENIED, "/drain",
                               "an operator of the platform drains this node: it is theirs to "
                               "open (`cyxwiz node undrain`)");
}

static enum cyx_status drain_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct draining *draining = ctx;
    const struct cyx_registry_drain *order = draining->order;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "with old as (select id, drained_at is not null and not drained_by_node as firm from node "
        "where id = $1 for update) "
        "update node set drained_at = case when $2::boolean then coalesce(drained_at, now()) end, "
        "drained_by_node = $2::boolean and $4::boolean and not old.firm, "
        "drain_reason = case when $4::boolean and old.firm then drain_reason when $2::boolean then "
        "$3 end from old where node.id = old.id and ($2::boolean or not $4::boolean or not "
        "old.firm) returning 1",
        &rows, err, CYX_DB_TEXT(order->node_id), CYX_DB_BOOL(order->drain),
        CYX_DB_TEXT(order->reason), CYX_DB_BOOL(order->by_node));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = refuse_drain(conn, order->node_id, err);
    return status == CYX_OK ? settle(conn, &draining->changed, err) : status;
}

/* Runs `body` and sends what it told on its way. */
static enum cyx_status change(struct cyx_registry_store *self,
                              enum cyx_status (*body)(void *, struct cyx_db_conn *,
                                                      struct cyx_error *),
                              void *ctx, struct cyx_error *err)
{
    enum cyx_status status = cyx_db_transaction(self->db, body, ctx, err);
    if (status == CYX_OK)
        cyx_outbox_wake(self->outbox);
    return status;
}

enum cyx_status cyx_registry_store_drain(struct cyx_registry_store *self,
                                         const struct cyx_registry_drain *order,
                                         struct cyx_error *err)
{
    struct draining draining = {.order = order};
    return change(self, drain_body, &draining, err);
}

struct windowing {
    const char *node_id, *window_id;
    const struct cyx_registry_window *window;
    size_t changed;
};

static enum cyx_status add_window_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct windowing *windowing = ctx;
    const struct cyx_registry_window *window = windowing->window;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "with old as (delete from maintenance where node_id = $2 and ends_at < now()) "
        "insert into maintenance (id, node_id, starts_at, ends_at, reason) "
        "select $1::uuid, id, to_timestamp($3::float8 / 1000), to_timestamp($4::float8 / 1000), $5 "
        "from node where id = $2 returning 1",
        &rows, err, CYX_DB_TEXT(window->id), CYX_DB_TEXT(windowing->node_id),
        CYX_DB_INT(window->starts_at_ms), CYX_DB_INT(window->ends_at_ms),
        CYX_DB_TEXT(window->reason ? window->reason : ""));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status =
            cyx_error_set(err, CYX_ERR_NOT_FOUND, "/node_id", "no node %s", windowing->node_id);
    return status == CYX_OK ? settle(conn, &windowing->changed, err) : status;
}

enum cyx_status cyx_registry_store_add_window(struct cyx_registry_store *self, const char *node_id,
                                              struct cyx_registry_window *window,
                                              struct cyx_error *err)
{
    struct windowing windowing = {.node_id = node_id, .window = window};
    cyx_id_new(window->id);
    return change(self, add_window_body, &windowing, err);
}

static enum cyx_status end_window_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct windowing *windowing = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn, "delete from maintenance where id = $1 and node_id = $2 returning 1", &rows, err,
        CYX_DB_TEXT(windowing->window_id), CYX_DB_TEXT(windowing->node_id));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_NOT_FOUND, "/window_id", "no window %s of this node",
                               windowing->window_id);
    return status == CYX_OK ? settle(conn, &windowing->changed, err) : status;
}

enum cyx_status cyx_registry_store_end_window(struct cyx_registry_store *self, const char *node_id,
                                              const char *window_id, struct cyx_error *err)
{
    struct windowing windowing = {.node_id = node_id, .window_id = window_id};
    return change(self, end_window_body, &windowing, err);
}

static enum cyx_status settle_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    return settle(conn, ctx, err);
}

enum cyx_status cyx_registry_store_settle(struct cyx_registry_store *self, size_t *ret_changed,
                                          struct cyx_error *err)
{
    size_t changed = 0;
    enum cyx_status status = cyx_db_transaction(self->db, settle_body, &changed, err);
    if (status == CYX_OK && changed)
        cyx_outbox_wake(self->outbox);
    if (status == CYX_OK)
        *ret_changed = changed;
    return status;
}

/* ---- what became of a node ---- */

#define TIME_TEXT(column)                                                                          \
    "to_char(" column " at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/* Of the last 30 days, or since it enrolled, the part in which it was not offline; null when it has just enrolled. */
#define UPTIME                                                                                     \
    "(select sum(extract(epoch from until - since)) filter (where up) / "                          \
    "nullif(sum(extract(epoch from until - since)), 0) from (select kind not in ('offline', "      \
    "'silent') as up, greatest(at, now() - interval '30 days') as since, "                         \
    "lead(at, 1, now()) over (order by at, id) as until from node_event where node_id = $1 and "   \
    "kind not in ('closed', 'opened')) as spans where until > since)"

static const char health_sql[] =
    "select json_build_object("
    "'status_since', " TIME_TEXT(
        "n.status_since") ", "
                          "'drain', case when n.drained_at is not null "
                          "then json_build_object('since', " TIME_TEXT(
                              "n.drained_at") ", 'reason', n.drain_reason, "
                                              "'by', case when n.drained_by_node then 'node' else "
                                              "'operator' end) end, "
                                              "'maintenance', "
                                              "coalesce((select "
                                              "json_agg(json_build_object("
                                              "'id', m.id, "
                                              "'starts_at', " TIME_TEXT(
                                                  "m"
                                                  "."
                                                  "s"
                                                  "t"
                                                  "a"
                                                  "r"
                                                  "t"
                                                  "s"
                                                  "_"
                                                  "a"
                                                  "t") ", 'ends_at', " TIME_TEXT("m.ends_at") ", "
                                                                                              "'rea"
                                                                                              "son'"
                                                                                              ", "
                                                                                              "m."
                                                                                              "reas"
                                                                                              "on) "
                                                                                              "orde"
                                                                                              "r "
                                                                                              "by "
                                                                                              "m."
                                                                                              "star"
                                                                                              "ts_"
                                                                                              "at) "
                                                                                              "from"
                                                                                              " "
                                                                                              "main"
                                                                                              "tena"
                                                                                              "nc"
                                                                                              "e m "
                                                                                              "wher"
                                                                                              "e "
                                                                                              "m."
                                                                                              "node"
                                                                                              "_id "
                                                                                              "= "
                                                                                              "n."
                                                                                              "id "
                                                                                              "and "
                                                                                              "m."
                                                                                              "ends"
                                                                                              "_at "
                                                                                              "> "
                                                                                              "now("
                                                                                              ")), "
                                                                                              "'[]'"
                                                                                              "), "
                                                                                              "'sil"
                                                                                              "ent'"
                                                                                              ", "
                                                                                              "case"
                                                                                              " whe"
                                                                                              "n "
                                                                                              "n."
                                                                                              "sile"
                                                                                              "nt_"
                                                                                              "code"
                                                                                              " is "
                                                                                              "not "
                                                                                              "null"
                                                                                              " "
                                                                                              "then"
                                                                                              " "
                                                                                              "json"
                                                                                              "_"
                                                                                              "buil"
                                                                                              "d_"
                                                                                              "obje"
                                                                                              "ct('"
                                                                                              "code"
                                                                                              "', "
                                                                                              "n."
                                                                                              "sile"
                                                                                              "nt_"
                                                                                              "code"
                                                                                              ", "
                                                                                              "'mes"
                                                                                              "sage"
                                                                                              "',"
                                                                                              " n."
                                                                                              "sile"
                                                                                              "nt_"
                                                                                              "mess"
                                                                                              "age,"
                                                                                              " "
                                                                                              "'sin"
                                                                                              "ce',"
                                                                                              " " TIME_TEXT(
                                                                                                  "n."
                                                                                                  "status"
                                                                                                  "_sinc"
                                                                                                  "e") ")"
                                                                                                       " "
                                                                                                       "e"
                                                                                                       "n"
                                                                                                       "d"
                                                                                                       ","
                                                                                                       " "
                                                                                                       "'"
                                                                                                       "r"
                                                                                                       "e"
                                                                                                       "v"
                                                                                                       "o"
                                                                                                       "k"
                                                                                                       "e"
                                                                                                       "d"
                                                                                                       "'"
                                                                                                       ","
                                                                                                       " "
                                                                                                       "("
                                                                                                       "s"
                                                                                                       "e"
                                                                                                       "l"
                                                                                                       "e"
                                                                                                       "c"
                                                                                                       "t"
                                                                                                       " "
                                                                                                       "j"
                                                                                                       "s"
                                                                                                       "o"
                                                                                                       "n"
                                                                                                       "_"
                                                                                                       "b"
                                                                                                       "u"
                                                                                                       "i"
                                                                                                       "l"
                                                                                                       "d"
                                                                                                       "_"
                                                                                                       "o"
                                                                                                       "b"
                                                                                                       "j"
                                                                                                       "e"
                                                                                                       "c"
                                                                                                       "t"
                                                                                                       "("
                                                                                                       "'"
                                                                                                       "a"
                                                                                                       "t"
                                                                                                       "'"
                                                                                                       ","
                                                                                                       " " TIME_TEXT(
                                                                                                           "i.revoked_at") ", 'reason', "
                                                                                                                           "i.revoked_why) from identity i where i.node_id = n.id and i.revoked_at is not null), "
                                                                                                                           "'key', (select json_build_object('public_key', k.public_key, 'since', " TIME_TEXT(
                                                                                                                               "k.added_at") ", 'rotation_wanted', i.rotate_wanted) from node_key k join identity i "
                                                                                                                                             "using (node_id) where k.node_id = n.id and k.revoked_at is null), "
                                                                                                                                             "'uptime', json_build_object('days', 30, 'part', " UPTIME
                                                                                                                                             "), "
                                                                                                                                             "'events', coalesce((select json_agg(json_build_object('at', " TIME_TEXT(
                                                                                                                                                 "e.at") ", 'kind', "
                                                                                                                                                         "e.kind, 'reason', e.reason) order by e.at desc, e.id desc) from (select * from node_event "
                                                                                                                                                         "where node_id = $1 order by at desc, id desc limit 20) e), '[]')) from node n where n.id = $1";

enum cyx_status cyx_registry_store_health(struct cyx_registry_store *self, const char *node_id,
                                          json_t **ret_health, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run_one(self->db, health_sql, &rows, err, CYX_DB_TEXT(node_id));
    if (status != CYX_OK)
        return status;
    json_t *health = json_loads(cyx_db_text(rows, 0, 0), 0, NULL);
    if (!health)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the node's health");
    *ret_health = health;
    return CYX_OK;
}
