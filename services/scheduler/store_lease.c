/*
 * Who holds which job: offers, leases, what workers report. See store.h for the rules of locking.
 */
#include <string.h>

#include "store.h"
#include "store_row.h"

#include "base/banned.h"

enum { BATCH = 128 }; /* offers that are told again between two questions to the database */

static void copy_id(char target[CYX_ID_BYTES], const char *id)
{
    size_t length = strnlen(id, CYX_ID_BYTES - 1);
    memcpy(target, id, length);
    target[length] = '\0';
}

/* What a worker's word about its assignment meets. */
struct claiming {
    struct cyx_sched_store *self;
    const struct cyx_sched_claim *claim;
    const struct cyx_sched_report *report;
    const struct cyx_trace *trace;
    struct cyx_arena *arena;
    struct cyx_sched_job job;
    bool moved;
};

struct held {
    bool accepted, ended;
    char boot_id[CYX_ID_BYTES];
    const char *ended_cause, *outcome; /* outcome NULL: it did not end by finish */
};

/* Locks the job and looks up the assignment; CYX_ERR_CONFLICT for a token that was never this node's. */
static enum cyx_status look_up(struct cyx_db_conn *conn, struct claiming *claiming,
                               struct held *ret_held, struct cyx_error *err)
{
    const struct cyx_sched_claim *claim = claiming->claim;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_sched_row_lock(conn, claim->job_id, false, claiming->arena, &claiming->job, err);
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "select accepted_at is not null, ended_at is not null, boot_id, ended_cause, outcome "
            "from assignment where job_id = $1 and token = $2 and node_id = $3",
            &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
            CYX_DB_TEXT(claim->node_id));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                             "node %s was never given job %s with token %lld", claim->node_id,
                             claim->job_id, (long long)claim->token);
    *ret_held = (struct held){
        .accepted = cyx_db_bool(rows, 0, 0),
        .ended = cyx_db_bool(rows, 0, 1),
        .ended_cause = cyx_arena_strdup(claiming->arena, cyx_db_text(rows, 0, 3)),
        .outcome = cyx_db_null(rows, 0, 4)
                       ? NULL
                       : cyx_arena_strdup(claiming->arena, cyx_db_text(rows, 0, 4)),
    };
    copy_id(ret_held->boot_id, cyx_db_text(rows, 0, 2));
    return CYX_OK;
}

static enum cyx_status too_late(const struct claiming *claiming, const struct held *held,
                                struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                         "token %lld of job %s is no longer valid (%s)",
                         (long long)claiming->claim->token, claiming->claim->job_id,
                         held->ended_cause ? held->ended_cause : "ended");
}

static enum cyx_status accept_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct claiming *claiming = ctx;
    struct held held = {0};
    struct cyx_sched_change change;
    claiming->moved = false;
    enum cyx_status status = look_up(conn, claiming, &held, err);
    if (status != CYX_OK)
        return status;
    if (held.ended)
        return too_late(claiming, &held, err);
    if (strcmp(held.boot_id, claiming->claim->boot_id) != 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/boot_id",
                             "the offer was for another run of this worker");
    if (held.accepted)
        return CYX_OK; /* its answer was lost: given again */
    status = cyx_db_query(
        conn,
        "with answered as (update node set offers_missed = 0 where id = $4 "
        "and offers_missed > 0) "
        "update assignment set accepted_at = clock_timestamp(), lease_until = "
        "clock_timestamp() + $3 * interval '1 millisecond' "
        "where job_id = $1 and token = $2",
        NULL, err, CYX_DB_TEXT(claiming->claim->job_id), CYX_DB_INT(claiming->claim->token),
        CYX_DB_INT(claiming->self->policy.lease_ms), CYX_DB_TEXT(claiming->claim->node_id));
    const struct cyx_sched_details details = {.trace = claiming->trace};
    if (status == CYX_OK)
        status = cyx_sched_row_apply(conn, &claiming->self->policy, claiming->arena, &claiming->job,
                                     CYX_SCHED_ACCEPT, &details, &change, err);
    claiming->moved = true;
    return status;
}

enum cyx_status cyx_sched_store_accept(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    struct claiming claiming = {.self = self, .claim = claim, .trace = trace, .arena = arena};
    enum cyx_status status = cyx_db_transaction(self->db, accept_body, &claiming, err);
    if (status != CYX_OK)
        return status;
    if (claiming.moved)
        cyx_outbox_wake(self->outbox);
    *ret_job = claiming.job;
    return CYX_OK;
}

/* Keeps in mind how well the node did, how fast it was, and that the data lies there now. */
static enum cyx_status judge_node(struct cyx_db_conn *conn, const struct claiming *claiming,
                                  struct cyx_error *err)
{
    const struct cyx_sched_report *report = claiming->report;
    const struct cyx_sched_job *job = &claiming->job;
    bool well = report->event == CYX_SCHED_COMPLETE;
    double speed = well ? report->images_per_second * (double)job->flops_per_sample : 0;
    if (!well && (report->event != CYX_SCHED_FAIL || !cyx_sched_failure_may_pass(report->failure)))
        return CYX_OK; /* not its fault */
    return cyx_db_query(
        conn,
        "update node set good = good + $2, bad = bad + $3, speed[$4] = case when $5::float8 <= 0 "
        "then speed[$4] when speed[$4] = 0 then $5 else 0.7 * speed[$4] + 0.3 * $5 end, "
        "datasets = case when $2 = 0 or $6 = '' or $6 = any(string_to_array(datasets, ',')) "
        "then datasets when datasets = '' then $6 else datasets || ',' || $6 end where id = $1",
        NULL, err, CYX_DB_TEXT(claiming->claim->node_id), CYX_DB_INT(well), CYX_DB_INT(!well),
        CYX_DB_INT(cyx_sched_size((double)job->flops_per_sample) + 1), CYX_DB_DOUBLE(speed),
        CYX_DB_TEXT(job->need.dataset));
}

static enum cyx_status finish_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct claiming *claiming = ctx;
    const struct cyx_sched_report *report = claiming->report;
    struct held held = {0};
    struct cyx_sched_change change;
    claiming->moved = false;
    enum cyx_status status = look_up(conn, claiming, &held, err);
    if (status != CYX_OK)
        return status;
    if (held.ended && held.outcome && strcmp(held.outcome, report->outcome) == 0)
        return CYX_OK; /* said before */
    if (held.ended)
        return too_late(claiming, &held, err);
    claiming->job.facts.failure = report->failure;
    const struct cyx_sched_details details = {
        .error = report->error,
        .result = report->result,
        .outcome = report->outcome,
        .model = report->model,
        .counts_device_time = report->event == CYX_SCHED_COMPLETE ||
                              report->event == CYX_SCHED_HAND_BACK || claiming->job.facts.preempted,
        .trace = claiming->trace,
    };
    status = cyx_sched_row_apply(conn, &claiming->self->policy, claiming->arena, &claiming->job,
                                 report->event, &details, &change, err);
    if (status == CYX_OK && report->event == CYX_SCHED_HAND_BACK) /* it is on its way out */
        status =
            cyx_sched_rest_node(conn, &claiming->self->policy, claiming->claim->node_id, 0, err);
    if (status == CYX_OK)
        status = judge_node(conn, claiming, err);
    claiming->moved = true;
    return status;
}

enum cyx_status cyx_sched_store_finish(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_sched_report *report,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    struct claiming claiming = {
        .self = self, .claim = claim, .report = report, .trace = trace, .arena = arena};
    enum cyx_status status = cyx_db_transaction(self->db, finish_body, &claiming, err);
    if (status != CYX_OK)
        return status;
    if (claiming.moved)
        cyx_outbox_wake(self->outbox);
    *ret_job = claiming.job;
    return CYX_OK;
}

struct progressing {
    struct cyx_sched_store *self;
    const struct cyx_sched_claim *claim;
    const char *progress;
    const struct cyx_sched_artifact *checkpoint;
    bool cancel;
};

static enum cyx_status progress_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct progressing *progressing = ctx;
    const struct cyx_sched_claim *claim = progressing->claim;
    const struct cyx_sched_artifact *checkpoint = progressing->checkpoint;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = CYX_OK;
    if (checkpoint) /* the job's row before the assignment's: one order of locks */
        status =
            cyx_db_query(conn,
                         "update job set checkpoint_sha256 = $3, checkpoint_bytes = $4, "
                         "checkpoint_step = $5 where id = $1 and token = $2 and state = 'running'",
                         NULL, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
                         CYX_DB_TEXT(checkpoint->sha256), CYX_DB_INT(checkpoint->bytes),
                         CYX_DB_INT(checkpoint->step));
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "update assignment a set progress = $4, lease_until = clock_timestamp() + "
            "$5 * interval '1 millisecond', checkpointed_at = case when $6::boolean "
            "then clock_timestamp() else checkpointed_at end "
            "from job j where a.job_id = $1 and a.token = $2 "
            "and a.node_id = $3 and a.ended_at is null and a.accepted_at is not null "
            "and j.id = a.job_id returning j.cancel_requested or (a.preempt_for is not null and "
            "($6::boolean or a.preempt_at < clock_timestamp() - $7 * interval '1 millisecond') and "
            "exists (select from job w where w.id = a.preempt_for and w.state = 'queued'))",
            &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
            CYX_DB_TEXT(claim->node_id), CYX_DB_TEXT(progressing->progress),
            CYX_DB_INT(progressing->self->policy.lease_ms), CYX_DB_BOOL(checkpoint),
            CYX_DB_INT(progressing->self->policy.preempt_grace_ms));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                             "node %s does not hold job %s with token %lld: stop it",
                             claim->node_id, claim->job_id, (long long)claim->token);
    progressing->cancel = cyx_db_bool(rows, 0, 0);
    return CYX_OK;
}

enum cyx_status cyx_sched_store_progress(struct cyx_sched_store *self,
                                         const struct cyx_sched_claim *claim, const char *progress,
                                         const struct cyx_sched_artifact *checkpoint,
                                         bool *ret_cancel, struct cyx_error *err)
{
    struct progressing progressing = {self, claim, progress, checkpoint, false};
    enum cyx_status status = cyx_db_transaction(self->db, progress_body, &progressing, err);
    if (status == CYX_OK)
        *ret_cancel = progressing.cancel;
    return status;
}

enum cyx_status cyx_sched_store_renew(struct cyx_sched_store *self,
                                      const struct cyx_sched_claim *claim, bool *ret_gone,
                                      struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query_one(
        conn,
        "with renewed as (update assignment set lease_until = greatest(lease_until, "
        "clock_timestamp() + $5 * interval '1 millisecond') where job_id = $1 and token = $2 "
        "and node_id = $3 and boot_id = $4 and accepted_at is not null and ended_at is null) "
        "select not exists (select from assignment where job_id = $1 and token = $2 "
        "and node_id = $3 and ended_at is null)",
        &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
        CYX_DB_TEXT(claim->node_id), CYX_DB_TEXT(claim->boot_id),
        CYX_DB_INT(self->policy.lease_ms));
    if (status == CYX_OK)
        *ret_gone = cyx_db_bool(rows, 0, 0);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_sched_store_standing(struct cyx_sched_store *self, int64_t older_ms,
                                         cyx_sched_offered offered, void *ctx, size_t *ret_count,
                                         struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn,
                          "select job_id, node_id, token, "
                          "offered_at < clock_timestamp() - $1 * interval '1 millisecond' "
                          "from assignment where ended_at is null and accepted_at is null limit $2",
                          &rows, err, CYX_DB_INT(older_ms), CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++) {
        struct cyx_sched_offer offer = {.token = cyx_db_int(rows, i, 2)};
        copy_id(offer.job_id, cyx_db_text(rows, i, 0));
        copy_id(offer.node_id, cyx_db_text(rows, i, 1));
        if (cyx_db_bool(rows, i, 3))
            offered(ctx, &offer);
    }
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    *ret_count = count;
    return status;
}
