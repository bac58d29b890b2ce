/*
 * Who holds which job: offers that stand, leases that are renewed. See store.h for the rules of locking.
 */
#include <string.h>

#include "base/text.h"
#include "store.h"
#include "store_row.h"

#include "base/banned.h"

enum { BATCH = 128 }; /* offers that are told again between two questions to the database */

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
            "update assignment a set progress = $4, "
            "used_ms = a.used_ms + " CYX_SCHED_USED_SINCE(
                "$5") ", lease_until = "
                      "clock_timestamp() + $5 * interval '1 millisecond', checkpointed_at = case "
                      "when $6::boolean "
                      "then clock_timestamp() else checkpointed_at end "
                      "from job j where a.job_id = $1 and a.token = $2 "
                      "and a.node_id = $3 and a.ended_at is null and a.accepted_at is not null "
                      "and j.id = a.job_id returning j.cancel_requested or (a.preempt_for is not "
                      "null and "
                      "($6::boolean or a.preempt_at < clock_timestamp() - $7 * interval '1 "
                      "millisecond') and "
                      "exists (select from job w where w.id = a.preempt_for and w.state = "
                      "'queued'))",
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
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run_one(
        self->db,
        "with renewed as (update assignment a set used_ms = a.used_ms + " CYX_SCHED_USED_SINCE(
            "$5") ", lease_until = clock_timestamp() + "
                  "$5 * interval '1 millisecond' where job_id = $1 and token = $2 "
                  "and node_id = $3 and boot_id = $4 and accepted_at is not null and ended_at is "
                  "null) "
                  "select not exists (select from assignment where job_id = $1 and token = $2 "
                  "and node_id = $3 and ended_at is null)",
        &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
        CYX_DB_TEXT(claim->node_id), CYX_DB_TEXT(claim->boot_id),
        CYX_DB_INT(self->policy.lease_ms));
    if (status == CYX_OK)
        *ret_gone = cyx_db_bool(rows, 0, 0);
    return status;
}

enum cyx_status cyx_sched_store_standing(struct cyx_sched_store *self, int64_t older_ms,
                                         cyx_sched_offered offered, void *ctx, size_t *ret_count,
                                         struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select job_id, node_id, token, "
                   "offered_at < clock_timestamp() - $1 * interval '1 millisecond' "
                   "from assignment where ended_at is null and accepted_at is null limit $2",
                   &rows, err, CYX_DB_INT(older_ms), CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++) {
        struct cyx_sched_offer offer = {.token = cyx_db_int(rows, i, 2)};
        cyx_text_copy(offer.job_id, CYX_ID_BYTES, cyx_db_text(rows, i, 0));
        cyx_text_copy(offer.node_id, CYX_ID_BYTES, cyx_db_text(rows, i, 1));
        if (cyx_db_bool(rows, i, 3))
            offered(ctx, &offer);
    }
    *ret_count = count;
    return status;
}
