/* Jobs of several nodes: all of them at once or none, and what each member of an attempt holds. */
#include <string.h>

#include "base/text.h"
#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

/*
 * Behind the locks: whoever assigns holds the node's row, so that what this statement sees of a node's slots is what is
 * so. The first member has the highest token. Gives no row unless every member was made; the caller then takes all back.
 */
static const char *const assign_sql =
    "with m as (select (x ->> 0)::uuid as node_id, (x ->> 1)::uuid as boot_id, (x ->> 2)::bigint "
    "as price, x -> 3 as placement, (x ->> 4)::smallint as slot, (nth - 1)::smallint as rank "
    "from json_array_elements($2::json) with ordinality as t(x, nth)), "
    "made as (insert into assignment (job_id, token, node_id, boot_id, slot, account_id, "
    "placement, rank, members, price, offered_at, lease_until) select j.id, j.token + $3 - m.rank, "
    "m.node_id, m.boot_id, m.slot, j.account_id, m.placement, m.rank, $3, m.price, "
    "clock_timestamp(), clock_timestamp() + $4 * interval '1 millisecond' "
    "from m join node n on n.id = m.node_id and n.boot_id = m.boot_id join job j on j.id = $1 "
    "where not exists (select from assignment a where a.node_id = m.node_id and a.slot = m.slot "
    "and a.ended_at is null) returning token, node_id, rank, price), "
    "moved as (update job set state = 'assigned', token = f.token, node_id = f.node_id, "
    "price_per_hour = f.price, assigned_at = clock_timestamp() from made f where f.rank = 0 "
    "and job.id = $1 and (select count(*) from made) = $3 returning job.id, f.token, f.node_id), "
    "told as (insert into job_transition (job_id, from_state, to_state, cause, node_id, token, "
    "members, at) select id, 'queued', 'assigned', 'matched', node_id, token, "
    "(select array_agg(node_id order by rank) from made), clock_timestamp() from moved "
    "returning id, at) select id, at from told";

struct assigning {
    struct cyx_sched_store *self;
    const struct cyx_sched_gang_plan *plan;
    struct cyx_sched_job job;
    struct cyx_arena *arena;
};

static void write_members(const struct cyx_sched_gang_plan *plan, struct cyx_buf *text)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct cyx_sched_node *node = plan->nodes[i];
        cyx_buf_printf(text, "%s[\"%s\",\"%s\",%lld,", i ? "," : "[", node->id, node->boot_id,
                       (long long)node->price_per_hour_base_units);
        cyx_sched_write_placement(plan->scores[i], text);
        cyx_buf_printf(text, ",%lld]", (long long)node->slot);
    }
    cyx_buf_puts(text, "]");
}

/* CYX_ERR_CONFLICT: the job or one of the nodes was taken meanwhile, or is being taken. */
static enum cyx_status lock_all(struct cyx_db_conn *conn, const struct cyx_sched_gang_plan *plan,
                                struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf ids = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *job = NULL;
    CYX_CLEANUP_RESULT struct cyx_db_result *nodes = NULL;
    for (size_t i = 0; i < plan->count; i++)
        cyx_db_put_element(&ids, plan->nodes[i]->id);
    cyx_buf_puts(&ids, "}");
    if (ids.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = cyx_db_query(
        conn,
        "select from job where id = $1 and state = 'queued' and funded and waits_for = 0 "
        "and not_before <= clock_timestamp() for update skip locked",
        &job, err, CYX_DB_TEXT(plan->job_id));
    if (status == CYX_OK && cyx_db_rows(job) == 1)
        status = cyx_db_query(conn,
                              "select from node where id = any($1::uuid[]) and online "
                              "and rests_until <= clock_timestamp() order by id "
                              "for update skip locked",
                              &nodes, err, CYX_DB_TEXT(ids.data));
    if (status != CYX_OK)
        return status;
    return nodes && cyx_db_rows(nodes) == plan->count
               ? CYX_OK
               : cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "taken meanwhile");
}

static enum cyx_status assign_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct assigning *assigning = ctx;
    const struct cyx_sched_gang_plan *plan = assigning->plan;
    CYX_CLEANUP_BUF struct cyx_buf members = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    write_members(plan, &members);
    if (members.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = lock_all(conn, plan, err);
    if (status == CYX_OK)
        status = cyx_db_query(conn, assign_sql, &rows, err, CYX_DB_TEXT(plan->job_id),
                              CYX_DB_TEXT(members.data), CYX_DB_INT(plan->count),
                              CYX_DB_INT(assigning->self->policy.offer_ms));
    if (status == CYX_OK && cyx_db_rows(rows) == 0)
        status = cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "taken meanwhile");
    if (status == CYX_OK)
        status =
            cyx_sched_row_lock(conn, plan->job_id, false, assigning->arena, &assigning->job, err);
    if (status != CYX_OK)
        return status;
    const struct cyx_sched_moved moved = {.job = &assigning->job,
                                          .from = "queued",
                                          .cause = "matched",
                                          .transition = cyx_db_int(rows, 0, 0),
                                          .at_ms = cyx_db_time_ms(rows, 0, 1)};
    return cyx_sched_row_tell(conn, &moved, 1, err);
}

enum cyx_status cyx_sched_store_assign_gang(struct cyx_sched_store *self,
                                            const struct cyx_sched_gang_plan *plan,
                                            struct cyx_arena *arena, int64_t *ret_token,
                                            struct cyx_error *err)
{
    struct assigning assigning = {.self = self, .plan = plan, .arena = arena};
    struct cyx_error why = {0};
    enum cyx_status status = cyx_db_transaction(self->db, assign_body, &assigning, &why);
    *ret_token = status == CYX_OK ? assigning.job.token : 0;
    if (status == CYX_ERR_CONFLICT)
        return CYX_OK;
    if (status != CYX_OK && err)
        *err = why;
    return status;
}

/* ---- what a member holds ---- */

enum cyx_status cyx_sched_store_attempt(struct cyx_sched_store *self,
                                        const struct cyx_sched_job *job,
                                        struct cyx_sched_offer ret_members[CYX_SCHED_GANG_LIMIT],
                                        size_t *ret_count, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "select node_id, token from assignment where job_id = $1 and token > $2 - $3::bigint "
        "and token <= $2 and outcome is distinct from 'done' order by rank limit $4",
        &rows, err, CYX_DB_TEXT(job->id), CYX_DB_INT(job->token),
        CYX_DB_INT(job->need.nodes > 1 ? job->need.nodes : 1), CYX_DB_INT(CYX_SCHED_GANG_LIMIT));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++) {
        ret_members[i] = (struct cyx_sched_offer){.token = cyx_db_int(rows, i, 1)};
        cyx_text_copy(ret_members[i].job_id, CYX_ID_BYTES, job->id);
        cyx_text_copy(ret_members[i].node_id, CYX_ID_BYTES, cyx_db_text(rows, i, 0));
    }
    *ret_count = count;
    return status;
}

enum cyx_status cyx_sched_store_seat(struct cyx_sched_store *self,
                                     const struct cyx_sched_claim *claim,
                                     struct cyx_sched_seat *ret_seat, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "select rank, members from assignment where job_id = $1 and token = $2 and node_id = $3 "
        "and accepted_at is not null and ended_at is null",
        &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
        CYX_DB_TEXT(claim->node_id));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                             "node %s does not hold job %s with token %lld", claim->node_id,
                             claim->job_id, (long long)claim->token);
    *ret_seat =
        (struct cyx_sched_seat){.rank = cyx_db_int(rows, 0, 0), .nodes = cyx_db_int(rows, 0, 1)};
    return CYX_OK;
}

/* ---- what a member says ---- */

enum cyx_status cyx_sched_member_read(struct cyx_db_conn *conn, const struct cyx_sched_claim *claim,
                                      struct cyx_arena *arena, struct cyx_sched_member *ret_member,
                                      struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    struct cyx_sched_member member = {0};
    enum cyx_status status = cyx_db_query_one(
        conn,
        "select rank, accepted_at is not null, ended_at is not null, ended_cause, outcome, "
        "(select count(*) from assignment o where o.job_id = $1 and o.token <> $2 "
        "and o.ended_at is null and o.accepted_at is null) from assignment "
        "where job_id = $1 and token = $2",
        &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token));
    if (status != CYX_OK)
        return status;
    member.rank = cyx_db_int(rows, 0, 0);
    member.accepted = cyx_db_bool(rows, 0, 1);
    member.ended = cyx_db_bool(rows, 0, 2);
    member.others_to_accept = cyx_db_int(rows, 0, 5);
    if (!cyx_db_null(rows, 0, 3))
        member.ended_cause = cyx_arena_strdup(arena, cyx_db_text(rows, 0, 3));
    if (!cyx_db_null(rows, 0, 4))
        member.outcome = cyx_arena_strdup(arena, cyx_db_text(rows, 0, 4));
    *ret_member = member;
    return CYX_OK;
}

enum cyx_status cyx_sched_member_accepts(struct cyx_db_conn *conn,
                                         const struct cyx_sched_policy *policy,
                                         const struct cyx_sched_claim *claim, struct cyx_error *err)
{
    return cyx_db_query(conn,
                        "update assignment set accepted_at = clock_timestamp(), lease_until = "
                        "clock_timestamp() + $3 * interval '1 millisecond' "
                        "where job_id = $1 and token = $2",
                        NULL, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
                        CYX_DB_INT(policy->lease_ms));
}

enum cyx_status cyx_sched_member_is_done(struct cyx_db_conn *conn,
                                         const struct cyx_sched_policy *policy,
                                         const struct cyx_sched_claim *claim, struct cyx_error *err)
{
    return cyx_db_query(
        conn,
        "with ended as (update assignment a set ended_at = clock_timestamp(), ended_cause = "
        "'member-done', outcome = 'done', used_ms = a.used_ms + " CYX_SCHED_USED_SINCE(
            "$3") " where a.job_id = $1 and a.token = $2 and a.ended_at is null "
                  "returning a.account_id, a.used_ms) "
                  "insert into charge (account_id, device_ms) select account_id, used_ms from "
                  "ended "
                  "where used_ms > 0",
        NULL, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
        CYX_DB_INT(policy->lease_ms));
}
