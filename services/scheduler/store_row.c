#include "store_row.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

static void copy(char *target, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(target, text, length);
    target[length] = '\0';
}

/* The text in the arena, NULL for NULL. */
static const char *keep(const struct cyx_db_result *rows, size_t row, size_t column,
                        struct cyx_arena *arena)
{
    return cyx_db_null(rows, row, column) ? NULL
                                          : cyx_arena_strdup(arena, cyx_db_text(rows, row, column));
}

static int64_t int_or(const struct cyx_db_result *rows, size_t row, size_t column, int64_t fallback)
{
    return cyx_db_null(rows, row, column) ? fallback : cyx_db_int(rows, row, column);
}

/* Columns of CYX_SCHED_JOB_COLUMNS. */
enum column {
    C_ID,
    C_ACCOUNT,
    C_NAME,
    C_SPEC,
    C_STATE,
    C_FUNDED,
    C_CANCEL,
    C_REQUEUES,
    C_FAILURES,
    C_BACKEND,
    C_MEMORY,
    C_THREADS,
    C_BUDGET,
    C_PRIORITY,
    C_ATTEMPT,
    C_TOKEN,
    C_NODE,
    C_PRICE,
    C_COST,
    C_DEVICE_MS,
    C_PARAMETERS,
    C_FLOPS,
    C_TRAINING,
    C_WAIT,
    C_CREATED,
    C_ASSIGNED,
    C_STARTED,
    C_ENDED,
    C_PROGRESS,
    C_RESULT,
    C_ERROR,
    C_MODEL,
    C_MODEL_BYTES,
    C_CHECKPOINT,
    C_CHECKPOINT_BYTES,
    C_CHECKPOINT_STEP,
    C_NEED,
    C_DEADLINE = C_NEED + CYX_SCHED_NEED_COLUMN_COUNT,
    C_RETRIES,
    C_WAITS_FOR,
    C_AWAITED,
    C_ARRAY,
    C_ARRAY_INDEX,
    C_ARRAY_COUNT,
    C_PREEMPTIONS,
    C_PLACEMENT,
    C_PREEMPTED
};

enum cyx_status cyx_sched_row_need(const struct cyx_db_result *rows, size_t row, size_t first,
                                   struct cyx_arena *arena, struct cyx_sched_need *ret_need,
                                   struct cyx_error *err)
{
    struct cyx_sched_need need = {
        .memory_bytes = cyx_db_int(rows, row, first + 1),
        .threads = cyx_db_int(rows, row, first + 2),
        .budget_base_units = cyx_db_int(rows, row, first + 3),
        .host_memory_bytes = cyx_db_int(rows, row, first + 5),
        .labels = keep(rows, row, first + 6, arena),
        .avoid_labels = keep(rows, row, first + 7, arena),
        .regions = keep(rows, row, first + 8, arena),
        .avoid_regions = keep(rows, row, first + 9, arena),
        .max_price_per_hour_base_units = cyx_db_int(rows, row, first + 10),
        .min_reputation = cyx_db_double(rows, row, first + 11),
        .dataset = keep(rows, row, first + 12, arena),
        .flops_per_sample = cyx_db_double(rows, row, first + 13),
        .total_flops = cyx_db_double(rows, row, first + 14),
    };
    (void)cyx_sched_backend_parse(cyx_db_text(rows, row, first), &need.backend);
    copy(need.last_node_id, sizeof(need.last_node_id), cyx_db_text(rows, row, first + 4));
    if (!need.labels || !need.avoid_labels || !need.regions || !need.avoid_regions || !need.dataset)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a job");
    *ret_need = need;
    return CYX_OK;
}

static void read_schedule(const struct cyx_db_result *rows, size_t row, struct cyx_sched_job *job)
{
    job->deadline_ms = cyx_db_time_ms(rows, row, C_DEADLINE);
    job->waits_for = (int)cyx_db_int(rows, row, C_WAITS_FOR);
    job->awaited = cyx_db_bool(rows, row, C_AWAITED);
    job->preemptions = (int)cyx_db_int(rows, row, C_PREEMPTIONS);
    copy(job->array.id, sizeof(job->array.id), cyx_db_text(rows, row, C_ARRAY));
    job->array.index = cyx_db_int(rows, row, C_ARRAY_INDEX);
    job->array.count = cyx_db_int(rows, row, C_ARRAY_COUNT);
    job->facts.attempts_limit = (int)cyx_db_int(rows, row, C_RETRIES) + 1;
    job->facts.preempted = cyx_db_bool(rows, row, C_PREEMPTED);
}

static void read_numbers(const struct cyx_db_result *rows, size_t row, struct cyx_sched_job *job)
{
    job->priority = (int)cyx_db_int(rows, row, C_PRIORITY);
    job->attempt = (int)cyx_db_int(rows, row, C_ATTEMPT);
    job->token = cyx_db_int(rows, row, C_TOKEN);
    job->price_per_hour_base_units = int_or(rows, row, C_PRICE, -1);
    job->cost_base_units = int_or(rows, row, C_COST, -1);
    job->device_ms = cyx_db_int(rows, row, C_DEVICE_MS);
    job->parameters = cyx_db_int(rows, row, C_PARAMETERS);
    job->flops_per_sample = cyx_db_int(rows, row, C_FLOPS);
    job->training_bytes = cyx_db_int(rows, row, C_TRAINING);
    job->wait_ms = cyx_db_int(rows, row, C_WAIT);
    job->created_at_ms = cyx_db_time_ms(rows, row, C_CREATED);
    job->assigned_at_ms = cyx_db_time_ms(rows, row, C_ASSIGNED);
    job->started_at_ms = cyx_db_time_ms(rows, row, C_STARTED);
    job->ended_at_ms = cyx_db_time_ms(rows, row, C_ENDED);
    copy(job->model.sha256, sizeof(job->model.sha256), cyx_db_text(rows, row, C_MODEL));
    job->model.bytes = cyx_db_int(rows, row, C_MODEL_BYTES);
    copy(job->checkpoint.sha256, sizeof(job->checkpoint.sha256),
         cyx_db_text(rows, row, C_CHECKPOINT));
    job->checkpoint.bytes = cyx_db_int(rows, row, C_CHECKPOINT_BYTES);
    job->checkpoint.step = cyx_db_int(rows, row, C_CHECKPOINT_STEP);
}

enum cyx_status cyx_sched_row_read(const struct cyx_db_result *rows, size_t row,
                                   struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                   struct cyx_error *err)
{
    struct cyx_sched_job job = {0};
    copy(job.id, sizeof(job.id), cyx_db_text(rows, row, C_ID));
    copy(job.account_id, sizeof(job.account_id), cyx_db_text(rows, row, C_ACCOUNT));
    copy(job.node_id, sizeof(job.node_id), cyx_db_text(rows, row, C_NODE));
    if (!cyx_sched_state_parse(cyx_db_text(rows, row, C_STATE), &job.facts.state))
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "job %s is in the unknown state \"%s\"",
                             job.id, cyx_db_text(rows, row, C_STATE));
    job.facts.funded = cyx_db_bool(rows, row, C_FUNDED);
    job.facts.cancel_requested = cyx_db_bool(rows, row, C_CANCEL);
    job.facts.requeues = (int)cyx_db_int(rows, row, C_REQUEUES);
    job.facts.failures = (int)cyx_db_int(rows, row, C_FAILURES);
    read_numbers(rows, row, &job);
    read_schedule(rows, row, &job);
    job.budget_base_units = cyx_db_int(rows, row, C_BUDGET);
    job.placement = keep(rows, row, C_PLACEMENT, arena);
    job.name = keep(rows, row, C_NAME, arena);
    job.spec = keep(rows, row, C_SPEC, arena);
    job.progress = keep(rows, row, C_PROGRESS, arena);
    job.result = keep(rows, row, C_RESULT, arena);
    job.error = keep(rows, row, C_ERROR, arena);
    if (!job.name || !job.spec)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a job");
    enum cyx_status status = cyx_sched_row_need(rows, row, C_NEED, arena, &job.need, err);
    if (status == CYX_OK)
        *ret_job = job;
    return status;
}

enum cyx_status cyx_sched_row_lock(struct cyx_db_conn *conn, const char *job_id, bool skip_locked,
                                   struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     skip_locked ? "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                                   "where j.id = $1 for update of j skip locked"
                                 : "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                                   "where j.id = $1 for update of j",
                     &rows, err, CYX_DB_TEXT(job_id));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/job_id", "no job %s", job_id);
    return cyx_sched_row_read(rows, 0, arena, ret_job, err);
}

/* Ends the open assignment of this job and token; what it used is charged; gives the time that counts. */
static enum cyx_status end_assignment(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                      const char *cause, const struct cyx_sched_details *details,
                                      int64_t *ret_device_ms, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "with ended as (update assignment set ended_at = clock_timestamp(), ended_cause = $3, "
        "outcome = $4 where job_id = $1 and token = $2 and ended_at is null returning account_id, "
        "coalesce(extract(epoch from ended_at - accepted_at) * 1000, 0)::bigint as used_ms), "
        "charged as (insert into charge (account_id, device_ms) "
        "select account_id, used_ms from ended where used_ms > 0) select used_ms from ended",
        &rows, err, CYX_DB_TEXT(job->id), CYX_DB_INT(job->token), CYX_DB_TEXT(cause),
        CYX_DB_TEXT(details->outcome));
    *ret_device_ms = status == CYX_OK && cyx_db_rows(rows) == 1 && details->counts_device_time
                         ? cyx_db_int(rows, 0, 0)
                         : 0;
    return status;
}

/* Writes what the change says into the row of the job. */
static enum cyx_status write_job(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                 const struct cyx_sched_change *change,
                                 const struct cyx_sched_details *details, const char *error,
                                 int64_t device_ms, struct cyx_error *err)
{
    const struct cyx_sched_artifact *model = details->model;
    const struct cyx_sched_node *node = details->node;
    return cyx_db_query(
        conn,
        "update job set state = $2, cancel_requested = $3, requeues = $4, failures = $5, "
        "not_before = case when $6::bigint > 0 "
        "  then clock_timestamp() + $6 * interval '1 millisecond' else not_before end, "
        "error = case when $2 = 'completed' then null else coalesce($7::json, error) end, "
        "result = coalesce($8::json, result), model_sha256 = coalesce($9, model_sha256), "
        "model_bytes = coalesce($10, model_bytes), node_id = coalesce($11::uuid, node_id), "
        "price_per_hour = coalesce($12, price_per_hour), "
        "token = token + (case when $2 = 'assigned' and state = 'queued' then 1 else 0 end), "
        "attempt = attempt + (case when $2 = 'running' and state = 'assigned' then 1 else 0 end), "
        "assigned_at = case when $2 = 'assigned' then clock_timestamp() else assigned_at end, "
        "started_at = case when $2 = 'running' then coalesce(started_at, clock_timestamp()) "
        "  else started_at end, "
        "ended_at = case when $2 in ('completed', 'failed', 'cancelled') then clock_timestamp() "
        "end, "
        "device_ms = device_ms + $13, preemptions = preemptions + $14 where id = $1",
        NULL, err, CYX_DB_TEXT(job->id), CYX_DB_TEXT(cyx_sched_state_name(change->to)),
        CYX_DB_BOOL(change->cancel_requested), CYX_DB_INT(change->requeues),
        CYX_DB_INT(change->failures), CYX_DB_INT(change->retry_after_ms), CYX_DB_TEXT(error),
        CYX_DB_TEXT(details->result), CYX_DB_TEXT(model ? model->sha256 : NULL),
        model ? CYX_DB_INT(model->bytes) : CYX_DB_NULL, CYX_DB_TEXT(node ? node->id : NULL),
        node ? CYX_DB_INT(node->price_per_hour_base_units) : CYX_DB_NULL, CYX_DB_INT(device_ms),
        CYX_DB_INT(change->preempted));
}

/* Jobs that wait for this one, which has ended: one less to wait for, or nothing left to wait for. */
static enum cyx_status tell_waiting(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                    struct cyx_error *err)
{
    return cyx_db_query(
        conn,
        job->facts.state == CYX_SCHED_COMPLETED
            ? "update job set waits_for = waits_for - 1 where state = 'queued' and waits_for > 0 "
              "and id in (select job_id from job_after where after_id = $1)"
            : "update job set broken_by = $1 where state = 'queued' and broken_by is null "
              "and id in (select job_id from job_after where after_id = $1)",
        NULL, err, CYX_DB_TEXT(job->id));
}

/* One message of the outbox as JSON: [subject, message_id, payload]. */
static void write_message(struct cyx_buf *text, const char *subject, const char *message_id,
                          const struct cyx_buf *payload)
{
    cyx_buf_printf(text, "%c[\"%s\",\"%s\",", text->length ? ',' : '[', subject, message_id);
    cyx_buf_json_string(text, payload->data ? payload->data : "");
    cyx_buf_puts(text, "]");
    text->failed |= payload->failed;
}

/* The domain event and the telemetry message of one transition. */
static enum cyx_status write_messages(struct cyx_buf *text, const struct cyx_sched_event_view *view,
                                      struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES], message_id[CYX_SUBJECT_BYTES];
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    cyx_sched_write_event(&payload, view);
    snprintf(subject, sizeof(subject), "cyx.evt.job.%s", view->to);
    write_message(text, subject, view->event_id, &payload);
    cyx_buf_clear(&payload);
    cyx_sched_write_state(&payload, view);
    if (cyx_subject_job(subject, view->job->id, CYX_JOB_STATE) != CYX_OK)
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "\"%s\" is no job id", view->job->id);
    snprintf(message_id, sizeof(message_id), "%s:%lld:state:%lld", view->job->id,
             (long long)view->job->token, (long long)view->transition);
    write_message(text, subject, message_id, &payload);
    return CYX_OK;
}

enum cyx_status cyx_sched_row_tell(struct cyx_db_conn *conn, const struct cyx_sched_moved *moved,
                                   size_t count, const char *from, const char *cause,
                                   const struct cyx_trace *trace, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        char event_id[CYX_ID_BYTES];
        cyx_id_new(event_id);
        const struct cyx_sched_event_view view = {
            .event_id = event_id,
            .from = from,
            .to = cyx_sched_state_name(moved[i].job.facts.state),
            .cause = cause,
            .transition = moved[i].transition,
            .at_ms = moved[i].at_ms,
            .job = &moved[i].job,
        };
        status = write_messages(&text, &view, err);
    }
    cyx_buf_puts(&text, count ? "]" : "[]");
    if (status == CYX_OK && text.failed)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for events");
    if (status != CYX_OK)
        return status;
    return cyx_outbox_add_events(conn, text.data, trace ? trace->request_id : NULL,
                                 trace ? trace->traceparent : NULL, err);
}

static enum cyx_status add_transition(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                      const char *from, const char *cause, bool of_node,
                                      const struct cyx_trace *trace, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    const char *to = cyx_sched_state_name(job->facts.state);
    of_node = of_node && job->token > 0;
    enum cyx_status status = cyx_db_query_one(
        conn,
        "insert into job_transition (job_id, from_state, to_state, cause, node_id, token, at) "
        "values ($1, $2, $3, $4, $5, $6, clock_timestamp()) returning id, at",
        &rows, err, CYX_DB_TEXT(job->id), CYX_DB_TEXT(from), CYX_DB_TEXT(to), CYX_DB_TEXT(cause),
        CYX_DB_TEXT(of_node ? job->node_id : NULL), of_node ? CYX_DB_INT(job->token) : CYX_DB_NULL);
    if (status != CYX_OK)
        return status;
    const struct cyx_sched_moved moved = {
        .job = *job, .transition = cyx_db_int(rows, 0, 0), .at_ms = cyx_db_time_ms(rows, 0, 1)};
    return cyx_sched_row_tell(conn, &moved, 1, from, cause, trace, err);
}

enum cyx_status cyx_sched_row_born(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                   const struct cyx_trace *trace, struct cyx_error *err)
{
    return add_transition(conn, job, NULL, "submitted", false, trace, err);
}

/* The error that goes into the row: the rules' own, or the worker's. NULL for none. */
static const char *error_text(const struct cyx_sched_change *change,
                              const struct cyx_sched_details *details, struct cyx_buf *room)
{
    if (change->error == CYX_OK || details->error)
        return details->error;
    cyx_sched_write_error(room, change->error, "", change->error_message);
    return room->data;
}

enum cyx_status cyx_sched_row_apply(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    struct cyx_arena *arena, struct cyx_sched_job *job,
                                    enum cyx_sched_event event,
                                    const struct cyx_sched_details *details,
                                    struct cyx_sched_change *ret_change, struct cyx_error *err)
{
    const char *from = cyx_sched_state_name(job->facts.state);
    CYX_CLEANUP_BUF struct cyx_buf room = {0};
    int64_t device_ms = 0;
    struct cyx_sched_change change;
    enum cyx_status status = cyx_sched_apply(&job->facts, event, policy, &change, err);
    if (status == CYX_OK && change.ends_assignment)
        status = end_assignment(conn, job, change.cause, details, &device_ms, err);
    if (status == CYX_OK)
        status = write_job(conn, job, &change, details, error_text(&change, details, &room),
                           device_ms, err);
    if (status == CYX_OK)
        status = cyx_sched_row_lock(conn, job->id, false, arena, job, err);
    bool of_node = change.ends_assignment || event == CYX_SCHED_ASSIGN || event == CYX_SCHED_ACCEPT;
    if (status == CYX_OK && change.moves)
        status = add_transition(conn, job, from, change.cause, of_node, details->trace, err);
    if (status == CYX_OK && job->awaited && cyx_sched_state_ended(job->facts.state))
        status = tell_waiting(conn, job, err);
    if (status == CYX_OK)
        *ret_change = change;
    return status;
}
