/* What is taken back: leases that were lost, jobs whose time is over, jobs that wait for what will not come. */
#include <string.h>

#include "base/text.h"
#include "store.h"
#include "store_row.h"

#include "base/banned.h"

enum { BATCH = 128 }; /* jobs taken back between two questions to the database */

/*
 * Open assignments that are lost, and by what. Asked again for one job once its row is locked. An accepted one whose node
 * the registry still counts as online has until the longest deadline that there is for heartbeats: how long a node
 * may be silent is the registry's to judge, by how regularly it beats (contract/heartbeat.h). $1: whether leases end
 * by time now, $2: lease_grace_ms.
 */
#define LOST_SQL                                                                                   \
    "select a.job_id, a.token, a.node_id, a.accepted_at is not null, "                             \
    "coalesce(not n.online, false), coalesce(n.boot_id <> a.boot_id, false), "                     \
    "coalesce(n.offers_missed, 0) "                                                                \
    "from assignment a left join node n on n.id = a.node_id where a.ended_at is null and "         \
    "(($1::boolean and a.lease_until + case when a.accepted_at is null then 0 else $2 end * "      \
    "interval '1 millisecond' < clock_timestamp()) or not n.online or n.boot_id <> a.boot_id) "

static enum cyx_sched_event lost_by(const struct cyx_db_result *rows, size_t row)
{
    if (cyx_db_bool(rows, row, 5))
        return CYX_SCHED_NODE_RESTARTED;
    if (cyx_db_bool(rows, row, 4))
        return CYX_SCHED_NODE_OFFLINE;
    return cyx_db_bool(rows, row, 3) ? CYX_SCHED_LEASE_EXPIRED : CYX_SCHED_OFFER_EXPIRED;
}

enum cyx_status cyx_sched_rest_node(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    const char *node_id, int64_t missed, struct cyx_error *err)
{
    int in_a_row = missed < 30 ? (int)missed + 1 : 30;
    return cyx_db_query(
        conn,
        "update node set offers_missed = $2, "
        "rests_until = clock_timestamp() + $3 * interval '1 millisecond' where id = $1",
        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_INT(in_a_row),
        CYX_DB_INT(cyx_sched_offer_rest_ms(policy, in_a_row)));
}

struct reaping {
    struct cyx_sched_store *self;
    char job_id[CYX_ID_BYTES];
    bool by_time, freed;
};

static enum cyx_status reap_locked(struct reaping *reaping, struct cyx_db_conn *conn,
                                   struct cyx_arena *arena, struct cyx_error *err)
{
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    reaping->freed = false;
    enum cyx_status status = cyx_sched_row_lock(conn, reaping->job_id, true, arena, &job, err);
    if (status == CYX_ERR_NOT_FOUND)
        return CYX_OK; /* somebody is at it */
    if (status == CYX_OK)
        status =
            cyx_db_query(conn, LOST_SQL "and a.job_id = $3 order by a.node_id", &rows, err,
                         CYX_DB_BOOL(reaping->by_time),
                         CYX_DB_INT(reaping->self->policy.lease_grace_ms), CYX_DB_TEXT(job.id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status; /* renewed, or ended, in the meantime */
    enum cyx_sched_event event = lost_by(rows, 0);
    const struct cyx_sched_details details = {.token = cyx_db_int(rows, 0, 1)};
    status = cyx_sched_row_apply(conn, &reaping->self->policy, arena, &job, event, &details,
                                 &change, err);
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        if (lost_by(rows, i) == CYX_SCHED_OFFER_EXPIRED)
            status = cyx_sched_rest_node(conn, &reaping->self->policy, cyx_db_text(rows, i, 2),
                                         cyx_db_int(rows, i, 6), err);
        else /* it lost the job */
            status = cyx_db_query(conn, "update node set bad = bad + 1 where id = $1", NULL, err,
                                  CYX_DB_TEXT(cyx_db_text(rows, i, 2)));
    }
    reaping->freed = status == CYX_OK;
    return status;
}

static enum cyx_status reap_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct cyx_arena arena = {0};
    enum cyx_status status = reap_locked(ctx, conn, &arena, err);
    cyx_arena_finish(&arena);
    return status;
}

/* Ids of jobs whose assignment is lost; at most BATCH. */
static enum cyx_status read_lost(struct cyx_sched_store *self, bool by_time,
                                 char (*ret_ids)[CYX_ID_BYTES], size_t *ret_count,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(self->db, LOST_SQL "order by a.lease_until limit $3", &rows,
                                        err, CYX_DB_BOOL(by_time),
                                        CYX_DB_INT(self->policy.lease_grace_ms), CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++)
        cyx_text_copy(ret_ids[i], CYX_ID_BYTES, cyx_db_text(rows, i, 0));
    *ret_count = count;
    return status;
}

static enum cyx_status reap_lost(struct cyx_sched_store *self, bool by_time, size_t *ret_freed,
                                 struct cyx_error *err)
{
    char ids[BATCH][CYX_ID_BYTES];
    size_t count = 0;
    enum cyx_status status = read_lost(self, by_time, ids, &count, err);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct reaping reaping = {.self = self, .by_time = by_time};
        cyx_text_copy(reaping.job_id, CYX_ID_BYTES, ids[i]);
        status = cyx_db_transaction(self->db, reap_body, &reaping, err);
        *ret_freed += status == CYX_OK && reaping.freed;
    }
    return status;
}

/* Jobs that fail by themselves: which, and by what event. The condition is asked again under the job's lock. */
struct doom {
    enum cyx_sched_event event;
    const char *find_sql, *still_sql;
};
static const struct doom dooms[] = {
    {CYX_SCHED_DEADLINE,
     "select id from job where deadline < clock_timestamp() and ended_at is null limit $1",
     "select from job where id = $1 and deadline < clock_timestamp() and ended_at is null"},
    {CYX_SCHED_BREAK,
     "select id from job where state = 'queued' and broken_by is not null limit $1",
     "select from job where id = $1 and state = 'queued' and broken_by is not null"},
};

struct dooming {
    struct cyx_sched_store *self;
    const struct doom *doom;
    char job_id[CYX_ID_BYTES];
    bool done;
};

static enum cyx_status doom_locked(struct dooming *dooming, struct cyx_db_conn *conn,
                                   struct cyx_arena *arena, struct cyx_error *err)
{
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    const struct cyx_sched_details details = {0};
    dooming->done = false;
    enum cyx_status status = cyx_sched_row_lock(conn, dooming->job_id, true, arena, &job, err);
    if (status == CYX_ERR_NOT_FOUND)
        return CYX_OK; /* somebody is at it */
    if (status == CYX_OK)
        status = cyx_db_query(conn, dooming->doom->still_sql, &rows, err, CYX_DB_TEXT(job.id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    status = cyx_sched_row_apply(conn, &dooming->self->policy, arena, &job, dooming->doom->event,
                                 &details, &change, err);
    dooming->done = status == CYX_OK;
    return status;
}

static enum cyx_status doom_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct cyx_arena arena = {0};
    enum cyx_status status = doom_locked(ctx, conn, &arena, err);
    cyx_arena_finish(&arena);
    return status;
}

static enum cyx_status read_doomed(struct cyx_sched_store *self, const struct doom *doom,
                                   char (*ret_ids)[CYX_ID_BYTES], size_t *ret_count,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(self->db, doom->find_sql, &rows, err, CYX_DB_INT(BATCH));
    *ret_count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < *ret_count; i++)
        cyx_text_copy(ret_ids[i], CYX_ID_BYTES, cyx_db_text(rows, i, 0));
    return status;
}

/* Until none is left: what one job's end breaks may break others. */
static enum cyx_status reap_doomed(struct cyx_sched_store *self, const struct doom *doom,
                                   size_t *ret_ended, struct cyx_error *err)
{
    char ids[BATCH][CYX_ID_BYTES];
    enum cyx_status status = CYX_OK;
    for (bool any = true; status == CYX_OK && any;) {
        size_t count = 0;
        status = read_doomed(self, doom, ids, &count, err);
        any = false;
        for (size_t i = 0; status == CYX_OK && i < count; i++) {
            struct dooming dooming = {.self = self, .doom = doom};
            cyx_text_copy(dooming.job_id, CYX_ID_BYTES, ids[i]);
            status = cyx_db_transaction(self->db, doom_body, &dooming, err);
            any |= dooming.done;
            *ret_ended += dooming.done;
        }
    }
    return status;
}

enum cyx_status cyx_sched_store_mend_times(struct cyx_sched_store *self, struct cyx_error *err)
{
    const struct cyx_sched_policy *policy = &self->policy;
    int64_t lease_ms = policy->lease_ms > policy->offer_ms ? policy->lease_ms : policy->offer_ms;
    enum cyx_status status = cyx_db_run(
        self->db,
        "with times as (select clock_timestamp() as now, $1 * interval '1 millisecond' as lease, "
        "$2 * interval '1 millisecond' as rest, $3 * interval '1 millisecond' as retry), "
        "leases as (update assignment set lease_until = now + lease from times "
        "where ended_at is null and lease_until > now + 2 * lease), "
        "rests as (update node set rests_until = now + rest from times "
        "where rests_until > now + 2 * rest) "
        "update job set not_before = now + retry from times where state = 'queued' "
        "and not_before > '-infinity' and not_before > now + 2 * retry",
        NULL, err, CYX_DB_INT(lease_ms), CYX_DB_INT(cyx_sched_offer_rest_ms(policy, 1000)),
        CYX_DB_INT(cyx_sched_longest_retry_ms(policy)));
    return status;
}

enum cyx_status cyx_sched_store_reap(struct cyx_sched_store *self, bool by_time, size_t *ret_freed,
                                     struct cyx_error *err)
{
    size_t freed = 0, ended = 0;
    enum cyx_status status = reap_lost(self, by_time, &freed, err);
    for (size_t i = 0; status == CYX_OK && i < sizeof(dooms) / sizeof(dooms[0]); i++)
        status = reap_doomed(self, &dooms[i], &ended, err);
    if (freed + ended > 0)
        cyx_outbox_wake(self->outbox);
    *ret_freed = freed;
    return status;
}
