/* A job's way in: its quota, what it waits for, its row; arrays are all or nothing. */
#include <stdio.h>
#include <string.h>

#include "store.h"
#include "store_row.h"

#include "base/banned.h"

struct submitting {
    struct cyx_sched_store *self;
    const struct cyx_sched_submission *submissions;
    size_t count;
    const struct cyx_trace *trace;
    struct cyx_arena *arena;
    struct cyx_sched_job job; /* the first */
    bool created;
};

const char *cyx_sched_join(struct cyx_arena *arena, const char *const *items, size_t count)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < count; i++) {
        cyx_buf_puts(&text, i ? "," : "");
        cyx_buf_puts(&text, items[i]);
    }
    return text.failed ? NULL : cyx_arena_strdup(arena, text.data ? text.data : "");
}

/* CYX_ERR_RATE_LIMITED when the account has as many jobs queued as it may. Submits of the same moment may pass it
 * together: it is a limit of volume, and no lock that all of an account's submits would wait for. */
static enum cyx_status check_quota(struct cyx_db_conn *conn, struct submitting *submitting,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    const char *account_id = submitting->submissions->account_id;
    enum cyx_status status = cyx_db_query_one(
        conn,
        "with most as (select coalesce((select queued_limit from account where id = $1), $2) as n) "
        "select n, (select count(*) from (select from job where account_id = $1 and state = "
        "'queued' limit (select greatest(n, 0) from most)) q) + $3 from most",
        &rows, err, CYX_DB_TEXT(account_id), CYX_DB_INT(submitting->self->policy.queued_limit),
        CYX_DB_INT(submitting->count));
    if (status != CYX_OK)
        return status;
    int64_t most = cyx_db_int(rows, 0, 0), would = cyx_db_int(rows, 0, 1);
    if (most < 0 || would <= most)
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_RATE_LIMITED, NULL,
                         "your account may have %lld jobs queued at once; wait until some have "
                         "started, or cancel some",
                         (long long)most);
}

/* What is the same for two jobs that the same nodes fit. */
static void lane_of(const struct cyx_sched_need *need, struct cyx_buf *text)
{
    cyx_buf_printf(text, "%s|%lld|%lld|%lld|%lld|%lld|%.9g|", cyx_sched_backend_name(need->backend),
                   (long long)need->memory_bytes, (long long)need->host_memory_bytes,
                   (long long)need->threads, (long long)need->budget_base_units,
                   (long long)need->max_price_per_hour_base_units, need->min_reputation);
    cyx_buf_printf(text, "%lld|%s|%s|%s|%s", (long long)need->nodes, need->labels,
                   need->avoid_labels, need->regions, need->avoid_regions);
}

static enum cyx_status insert_job(struct cyx_db_conn *conn,
                                  const struct cyx_sched_submission *submission, int64_t waits_for,
                                  bool *ret_inserted, char ret_id[CYX_ID_BYTES],
                                  struct cyx_error *err)
{
    const struct cyx_sched_need *need = &submission->need;
    const struct cyx_sched_array *array = &submission->array;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    CYX_CLEANUP_BUF struct cyx_buf lane = {0};
    lane_of(need, &lane);
    if (lane.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a job");
    cyx_id_new(ret_id);
    enum cyx_status status = cyx_db_query(
        conn,
        "with made as (insert into job (id, account_id, idempotency_key, name, state, priority, "
        "budget, "
        "backend, memory_bytes, threads, parameters, flops_per_sample, training_bytes, "
        "host_memory_bytes, labels, avoid_labels, regions, avoid_regions, max_price_per_hour, "
        "min_reputation, dataset, total_flops, lane, deadline, retries, waits_for, array_id, "
        "array_index, array_count, nodes, created_at) "
        "values ($1, $2, $3, $4, 'queued', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
        "$17, $18, $19, $20, $21, $22, hashtextextended($23, 0), "
        "case when $24::bigint > 0 then to_timestamp($24 / 1000.0) end, $25, $26, "
        "$27, $28, $29, $30, clock_timestamp()) "
        "on conflict (account_id, idempotency_key) where idempotency_key is not null "
        "do nothing returning id), kept as (insert into job_spec (job_id, spec) "
        "select id, $5::json from made) select id from made",
        &rows, err, CYX_DB_TEXT(ret_id), CYX_DB_TEXT(submission->account_id),
        CYX_DB_TEXT(submission->idempotency_key), CYX_DB_TEXT(submission->name),
        CYX_DB_TEXT(submission->spec), CYX_DB_INT(submission->priority),
        CYX_DB_INT(need->budget_base_units), CYX_DB_TEXT(cyx_sched_backend_name(need->backend)),
        CYX_DB_INT(need->memory_bytes), CYX_DB_INT(need->threads),
        CYX_DB_INT(submission->parameters), CYX_DB_INT(submission->flops_per_sample),
        CYX_DB_INT(submission->training_bytes), CYX_DB_INT(need->host_memory_bytes),
        CYX_DB_TEXT(need->labels), CYX_DB_TEXT(need->avoid_labels), CYX_DB_TEXT(need->regions),
        CYX_DB_TEXT(need->avoid_regions), CYX_DB_INT(need->max_price_per_hour_base_units),
        CYX_DB_DOUBLE(need->min_reputation), CYX_DB_TEXT(need->dataset),
        CYX_DB_DOUBLE(need->total_flops), CYX_DB_TEXT(lane.data),
        CYX_DB_INT(submission->deadline_ms), CYX_DB_INT(submission->retries), CYX_DB_INT(waits_for),
        CYX_DB_TEXT(array->count ? array->id : NULL),
        array->count ? CYX_DB_INT(array->index) : CYX_DB_NULL,
        array->count ? CYX_DB_INT(array->count) : CYX_DB_NULL, CYX_DB_INT(need->nodes));
    *ret_inserted = status == CYX_OK && cyx_db_rows(rows) == 1;
    return status;
}

/*
 * Looks at one job that is to complete first; it is locked, so that its end comes before or after this submit
 * and not in between. `ret_waits`: it has not completed yet.
 */
static enum cyx_status look_at_after(struct cyx_db_conn *conn,
                                     const struct cyx_sched_submission *submission, size_t i,
                                     bool *ret_waits, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    char pointer[48];
    const char *id = submission->after[i];
    snprintf(pointer, sizeof(pointer), "/schedule/after/%zu", i);
    enum cyx_status status = cyx_db_query(
        conn, "select state from job where id = $1 and account_id = $2 for no key update", &rows,
        err, CYX_DB_TEXT(id), CYX_DB_TEXT(submission->account_id));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_INVALID, pointer, "you have no job %s", id);
    enum cyx_sched_state state = CYX_SCHED_QUEUED;
    (void)cyx_sched_state_parse(cyx_db_text(rows, 0, 0), &state);
    if (state == CYX_SCHED_FAILED || state == CYX_SCHED_CANCELLED)
        return cyx_error_set(err, CYX_ERR_CONFLICT, pointer,
                             "job %s is %s and will not complete; leave it out, or submit it again",
                             id, cyx_sched_state_name(state));
    *ret_waits = state != CYX_SCHED_COMPLETED;
    if (!*ret_waits)
        return CYX_OK;
    return cyx_db_query(conn, "update job set awaited = true where id = $1 and not awaited", NULL,
                        err, CYX_DB_TEXT(id));
}

static enum cyx_status look_at_all_after(struct cyx_db_conn *conn,
                                         const struct cyx_sched_submission *submission,
                                         int64_t *ret_waits_for, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    *ret_waits_for = 0;
    for (size_t i = 0; status == CYX_OK && i < submission->n_after; i++) {
        bool waits = false;
        status = look_at_after(conn, submission, i, &waits, err);
        *ret_waits_for += waits;
    }
    return status;
}

static enum cyx_status insert_after(struct cyx_db_conn *conn, const char *job_id,
                                    const struct cyx_sched_submission *submission,
                                    struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < submission->n_after; i++)
        status = cyx_db_query(conn, "insert into job_after (job_id, after_id) values ($1, $2)",
                              NULL, err, CYX_DB_TEXT(job_id), CYX_DB_TEXT(submission->after[i]));
    return status;
}

/* The job that this key made before; CYX_ERR_CONFLICT when it was for another spec. */
static enum cyx_status find_by_key(struct cyx_db_conn *conn, struct submitting *submitting,
                                   struct cyx_error *err)
{
    const struct cyx_sched_submission *submission = submitting->submissions;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(conn,
                                          "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                                          "where j.account_id = $1 and j.idempotency_key = $2",
                                          &rows, err, CYX_DB_TEXT(submission->account_id),
                                          CYX_DB_TEXT(submission->idempotency_key));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status;
    submitting->created = false;
    status = cyx_sched_row_read(rows, 0, submitting->arena, &submitting->job, err);
    if (status == CYX_OK && (strcmp(submitting->job.spec, submission->spec) != 0 ||
                             submitting->job.array.count != submission->array.count))
        status =
            cyx_error_set(err, CYX_ERR_CONFLICT, "/idempotency_key",
                          "this key has already submitted another spec, as job %s; use a new key",
                          submitting->job.id);
    return status;
}

/* One job of the submission; `ret_inserted` false: its key was there already. */
static enum cyx_status submit_one(struct cyx_db_conn *conn, struct submitting *submitting, size_t i,
                                  bool *ret_inserted, struct cyx_error *err)
{
    const struct cyx_sched_submission *submission = &submitting->submissions[i];
    char id[CYX_ID_BYTES];
    struct cyx_sched_job job;
    int64_t waits_for = 0;
    enum cyx_status status = look_at_all_after(conn, submission, &waits_for, err);
    if (status == CYX_OK)
        status = insert_job(conn, submission, waits_for, ret_inserted, id, err);
    if (status != CYX_OK || !*ret_inserted)
        return status;
    status = insert_after(conn, id, submission, err);
    if (status == CYX_OK)
        status = cyx_sched_row_lock(conn, id, false, submitting->arena, &job, err);
    if (status == CYX_OK)
        status = cyx_sched_row_born(conn, &job, submitting->trace, err);
    if (status == CYX_OK && i == 0)
        submitting->job = job;
    return status;
}

static enum cyx_status submit_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct submitting *submitting = ctx;
    enum cyx_status status = CYX_OK;
    submitting->created = true;
    if (submitting->submissions->idempotency_key) /* before the quota: it was within it then */
        status = find_by_key(conn, submitting, err);
    if (status != CYX_OK || !submitting->created)
        return status;
    status = check_quota(conn, submitting, err);
    for (size_t i = 0; status == CYX_OK && i < submitting->count; i++) {
        bool inserted = false;
        status = submit_one(conn, submitting, i, &inserted, err);
        if (status == CYX_OK && !inserted) /* another submit with the key has just committed */
            return find_by_key(conn, submitting, err);
    }
    return status;
}

enum cyx_status cyx_sched_store_submit(struct cyx_sched_store *self,
                                       const struct cyx_sched_submission *submissions, size_t count,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, bool *ret_created,
                                       struct cyx_error *err)
{
    struct submitting submitting = {
        .self = self, .submissions = submissions, .count = count, .trace = trace, .arena = arena};
    enum cyx_status status = cyx_db_transaction(self->db, submit_body, &submitting, err);
    if (status != CYX_OK)
        return status;
    cyx_outbox_wake(self->outbox);
    *ret_job = submitting.job;
    *ret_created = submitting.created;
    return CYX_OK;
}
