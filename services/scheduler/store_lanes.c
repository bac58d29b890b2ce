/* The queue as matching reads it: lanes of jobs that are the same to it, and the accounts that they belong to. */
#include <string.h>

#include "base/text.h"
#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

/* Jobs that can be matched, written as the index job_queue has it. */
#define QUEUED "state = 'queued' and funded and waits_for = 0 and priority = $1"

#define HEAD                                                                                       \
    "select account_id, lane, created_at, id from job where " QUEUED                               \
    " and not_before <= clock_timestamp() "

/*
 * One row a lane: its oldest job that may be matched now. The recursion steps from lane to lane by the index
 * ("loose index scan"), so that a lane of a hundred thousand jobs costs as much as a lane of one.
 */
static const char *const lanes_sql =
    "with recursive head as ((" HEAD "order by account_id, lane, created_at, id limit 1) "
    "union all select n.* from head h, lateral (" HEAD
    "and (account_id, lane) > (h.account_id, h.lane) "
    "order by account_id, lane, created_at, id limit 1) n) "
    "select h.account_id, h.lane, h.id, h.created_at::text, " CYX_SCHED_NEED_COLUMNS
    ", (extract(epoch from clock_timestamp() - greatest(j.created_at, j.not_before)) * "
    "1000)::bigint"
    " from head h join job j on j.id = h.id limit $2";

static const char *const refill_sql =
    "select id, created_at::text, " CYX_SCHED_NEED_COLUMNS " from job j where " QUEUED
    " and account_id = $2 and lane = $3 and not_before <= clock_timestamp() "
    "and (created_at, id) > ($4::timestamptz, $5::uuid) order by created_at, id limit $6";

/* Usage decays by half every half-life; what has been used since the fold and what runs now counts as well. */
static const char *const shares_sql =
    "with run as (select account_id, count(distinct job_id) as n, "
    "sum(extract(epoch from clock_timestamp() - offered_at)) as s "
    "from assignment where ended_at is null group by account_id), "
    "late as (select account_id, sum(device_ms) / 1000.0 as s from charge group by account_id) "
    "select ids.id, coalesce(a.weight, 1), coalesce(a.usage_s * power(0.5, "
    "extract(epoch from clock_timestamp() - a.usage_at) * 1000 / $2), 0) + coalesce(run.s, 0) + "
    "coalesce(late.s, 0), "
    "coalesce(run.n, 0), coalesce(a.running_limit, $3), "
    "((case when a.day = (clock_timestamp() at time zone 'UTC')::date then a.day_ms else 0 end) / "
    "1000.0 + coalesce(run.s, 0) + coalesce(late.s, 0)) / 3600.0, coalesce(a.device_hours_limit, "
    "$4::float8) "
    "from unnest($1::uuid[]) as ids(id) left join account a on a.id = ids.id "
    "left join run on run.account_id = ids.id left join late on late.account_id = ids.id";

static enum cyx_status read_shares(struct cyx_sched_store *self, struct cyx_sched_lanes *lanes,
                                   const char *ids, struct cyx_db_conn *conn, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    const struct cyx_sched_policy *policy = &self->policy;
    enum cyx_status status = cyx_db_query(
        conn, shares_sql, &rows, err, CYX_DB_TEXT(ids), CYX_DB_INT(policy->share_half_life_ms),
        CYX_DB_INT(policy->running_limit), CYX_DB_DOUBLE(policy->device_hours_limit));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        for (size_t k = 0; k < lanes->n_shares; k++) {
            struct cyx_sched_share *share = &lanes->shares[k];
            if (strcmp(share->account_id, cyx_db_text(rows, i, 0)) != 0)
                continue;
            share->weight = cyx_db_double(rows, i, 1);
            share->usage_s = cyx_db_double(rows, i, 2);
            share->running = cyx_db_int(rows, i, 3);
            share->running_limit = cyx_db_int(rows, i, 4);
            share->device_hours = cyx_db_double(rows, i, 5);
            share->device_hours_limit = cyx_db_double(rows, i, 6);
        }
    }
    return status;
}

/* The share of the row's account: rows of an account follow one another. */
static struct cyx_sched_share *share_of(struct cyx_sched_lanes *lanes, const char *account_id,
                                        struct cyx_buf *ids)
{
    struct cyx_sched_share *last = lanes->n_shares ? &lanes->shares[lanes->n_shares - 1] : NULL;
    if (last && strcmp(last->account_id, account_id) == 0)
        return last;
    last = &lanes->shares[lanes->n_shares++];
    cyx_text_copy(last->account_id, sizeof(last->account_id), account_id);
    cyx_db_put_element(ids, account_id);
    return last;
}

static enum cyx_status read_lanes(struct cyx_sched_store *self, struct cyx_sched_lanes *lanes,
                                  struct cyx_db_conn *conn, const struct cyx_db_result *rows,
                                  struct cyx_arena *arena, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf ids = {0};
    size_t count = cyx_db_rows(rows);
    enum cyx_status status = CYX_OK;
    lanes->lanes = cyx_arena_calloc(arena, count, sizeof(*lanes->lanes));
    lanes->shares = cyx_arena_calloc(arena, count, sizeof(*lanes->shares));
    if (!lanes->lanes || !lanes->shares)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct cyx_sched_lane *lane = &lanes->lanes[i];
        lane->share = share_of(lanes, cyx_db_text(rows, i, 0), &ids);
        lane->key = cyx_db_int(rows, i, 1);
        lane->jobs = cyx_arena_calloc(arena, 1, sizeof(*lane->jobs)); /* more when it is refilled */
        if (!lane->jobs)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
        lane->count = 1;
        cyx_text_copy(lane->jobs->id, sizeof(lane->jobs->id), cyx_db_text(rows, i, 2));
        cyx_text_copy(lane->jobs->created_at, sizeof(lane->jobs->created_at),
                      cyx_db_text(rows, i, 3));
        status = cyx_sched_row_need(rows, i, 4, arena, &lane->jobs->need, err);
        lane->jobs->waited_ms = cyx_db_int(rows, i, 4 + CYX_SCHED_NEED_COLUMN_COUNT);
    }
    lanes->n_lanes = count;
    cyx_buf_puts(&ids, ids.length ? "}" : "{}");
    if (status == CYX_OK && ids.failed)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    return status == CYX_OK && count > 0 ? read_shares(self, lanes, ids.data, conn, err) : status;
}

enum cyx_status cyx_sched_lanes_read(struct cyx_sched_store *self, int priority,
                                     struct cyx_arena *arena, struct cyx_sched_lanes *ret_lanes,
                                     struct cyx_error *err)
{
    struct cyx_sched_lanes lanes = {.priority = priority};
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn, lanes_sql, &rows, err, CYX_DB_INT(priority),
                          CYX_DB_INT(CYX_SCHED_LANES_LIMIT));
    if (status == CYX_OK)
        status = read_lanes(self, &lanes, conn, rows, arena, err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    if (status == CYX_OK)
        *ret_lanes = lanes;
    return status;
}

static enum cyx_status refill(struct cyx_sched_store *self, int priority,
                              struct cyx_sched_lane *lane, struct cyx_arena *arena,
                              struct cyx_error *err)
{
    const struct cyx_sched_candidate last = lane->jobs[lane->count - 1];
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    lane->jobs = cyx_arena_calloc(arena, CYX_SCHED_LANE_BATCH, sizeof(*lane->jobs));
    if (!lane->jobs)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = cyx_db_run(self->db, refill_sql, &rows, err, CYX_DB_INT(priority),
                                        CYX_DB_TEXT(lane->share->account_id), CYX_DB_INT(lane->key),
                                        CYX_DB_TEXT(last.created_at), CYX_DB_TEXT(last.id),
                                        CYX_DB_INT(CYX_SCHED_LANE_BATCH));
    lane->next = 0;
    lane->count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    lane->whole = lane->count < CYX_SCHED_LANE_BATCH;
    for (size_t i = 0; status == CYX_OK && i < lane->count; i++) {
        struct cyx_sched_candidate *job = &lane->jobs[i];
        cyx_text_copy(job->id, sizeof(job->id), cyx_db_text(rows, i, 0));
        cyx_text_copy(job->created_at, sizeof(job->created_at), cyx_db_text(rows, i, 1));
        status = cyx_sched_row_need(rows, i, 2, arena, &job->need, err);
    }
    return status;
}

enum cyx_status cyx_sched_lane_next(struct cyx_sched_store *self, int priority,
                                    struct cyx_sched_lane *lane, struct cyx_arena *arena,
                                    const struct cyx_sched_candidate **ret_job,
                                    struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    if (lane->next == lane->count && !lane->whole)
        status = refill(self, priority, lane, arena, err);
    if (status != CYX_OK)
        return status;
    *ret_job = lane->next < lane->count ? &lane->jobs[lane->next++] : NULL;
    return CYX_OK;
}
