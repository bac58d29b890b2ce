#include "store_row.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "contract/subjects.h"
#include "wire.h"

#include "base/banned.h"

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
    C_PREEMPTED,
    C_GANG,
    C_TRANSITION, /* of apply_sql alone: the row of history, and when */
    C_TRANSITION_AT
};
_Static_assert((int)C_TRANSITION == (int)CYX_SCHED_JOB_COLUMN_COUNT,
               "CYX_SCHED_JOB_COLUMNS has grown");

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
        .nodes = cyx_db_int(rows, row, first + 15),
    };
    (void)cyx_sched_backend_parse(cyx_db_text(rows, row, first), &need.backend);
    cyx_text_copy(need.last_node_id, sizeof(need.last_node_id), cyx_db_text(rows, row, first + 4));
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
    cyx_text_copy(job->array.id, sizeof(job->array.id), cyx_db_text(rows, row, C_ARRAY));
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
    cyx_text_copy(job->model.sha256, sizeof(job->model.sha256), cyx_db_text(rows, row, C_MODEL));
    job->model.bytes = cyx_db_int(rows, row, C_MODEL_BYTES);
    cyx_text_copy(job->checkpoint.sha256, sizeof(job->checkpoint.sha256),
                  cyx_db_text(rows, row, C_CHECKPOINT));
    job->checkpoint.bytes = cyx_db_int(rows, row, C_CHECKPOINT_BYTES);
    job->checkpoint.step = cyx_db_int(rows, row, C_CHECKPOINT_STEP);
}

enum cyx_status cyx_sched_row_read(const struct cyx_db_result *rows, size_t row,
                                   struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                   struct cyx_error *err)
{
    struct cyx_sched_job job = {0};
    cyx_text_copy(job.id, sizeof(job.id), cyx_db_text(rows, row, C_ID));
    cyx_text_copy(job.account_id, sizeof(job.account_id), cyx_db_text(rows, row, C_ACCOUNT));
    cyx_text_copy(job.node_id, sizeof(job.node_id), cyx_db_text(rows, row, C_NODE));
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
    job.gang = keep(rows, row, C_GANG, arena);
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

enum cyx_status cyx_sched_row_gang(struct cyx_db_conn *conn, struct cyx_arena *arena,
                                   struct cyx_sched_job *job, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    if (job->need.nodes <= 1)
        return CYX_OK;
    enum cyx_status status =
        cyx_db_query_one(conn, "select " CYX_SCHED_GANG " from job j where j.id = $1", &rows, err,
                         CYX_DB_TEXT(job->id));
    if (status == CYX_OK)
        job->gang = keep(rows, 0, 0, arena);
    return status;
}

/* A member of a JSON object, after others. */
static void put_text(struct cyx_buf *text, const char *key, const char *value)
{
    cyx_buf_printf(text, ",\"%s\":", key);
    if (value)
        cyx_buf_json_string(text, value);
    else
        cyx_buf_puts(text, "null");
}

static void put_flag(struct cyx_buf *text, const char *key, bool value)
{
    cyx_buf_printf(text, ",\"%s\":%s", key, value ? "true" : "false");
}

static void put_json(struct cyx_buf *text, const char *key, const char *value)
{
    cyx_buf_printf(text, ",\"%s\":%s", key, value ? value : "null");
}

/* The error that goes into the row: the rules' own, or the worker's. */
static void put_error(struct cyx_buf *text, const struct cyx_sched_happening *happening)
{
    const struct cyx_sched_change *change = &happening->change;
    CYX_CLEANUP_BUF struct cyx_buf room = {0};
    const char *error = happening->details.error;
    if (change->error != CYX_OK && !error) {
        cyx_sched_write_error(&room, change->error, "", change->error_message);
        error = room.data;
    }
    put_json(text, "error", error);
    text->failed |= room.failed;
}

/* One row of apply_sql's input. */
static void write_happening(struct cyx_buf *text, const struct cyx_sched_happening *happening)
{
    const struct cyx_sched_job *job = happening->job;
    const struct cyx_sched_change *change = &happening->change;
    const struct cyx_sched_details *details = &happening->details;
    bool accepts = happening->event == CYX_SCHED_ACCEPT;
    cyx_buf_printf(text,
                   "{\"id\":\"%s\",\"token\":%lld,\"said\":%lld,\"nodes\":%lld,\"requeues\":%d,"
                   "\"failures\":%d,\"preempted\":%d,\"retry_ms\":%lld",
                   job->id, (long long)job->token,
                   (long long)(details->token ? details->token : job->token),
                   (long long)job->need.nodes, change->requeues, change->failures,
                   (int)change->preempted, (long long)change->retry_after_ms);
    put_text(text, "from_state", cyx_sched_state_name(job->facts.state));
    put_text(text, "to_state", cyx_sched_state_name(change->to));
    put_text(text, "cause", change->cause);
    put_text(text, "outcome", details->outcome);
    put_flag(text, "moves", change->moves);
    put_flag(text, "ends", change->ends_assignment);
    put_flag(text, "accepts", accepts);
    put_flag(text, "of_node", job->token > 0 && (change->ends_assignment || accepts));
    put_flag(text, "counts", details->counts_device_time);
    put_flag(text, "cancel_requested", change->cancel_requested);
    put_error(text, happening);
    put_json(text, "result", details->result);
    put_text(text, "model", details->model ? details->model->sha256 : NULL);
    if (details->model)
        cyx_buf_printf(text, ",\"model_bytes\":%lld", (long long)details->model->bytes);
    cyx_buf_puts(text, "}");
}

/*
 * What all changes say, in one statement: the assignments that begin to run or end, what those used, the jobs'
 * rows, and the history. Gives each job as it now is, and its row of history. (The assignment that ends is found by its
 * primary key: written plainly, "ended_at is null" would offer the indexes of open assignments, to be read whole.)
 */
static const char *const apply_sql =
    "with w as (select * from json_to_recordset($1::json) as w(id uuid, token bigint, said bigint, "
    "nodes int, requeues int, "
    "failures int, preempted int, retry_ms bigint, from_state text, to_state text, cause text, "
    "outcome text, moves boolean, ends boolean, accepts boolean, of_node boolean, counts boolean, "
    "cancel_requested boolean, error json, result json, model text, model_bytes "
    "bigint) " CYX_SCHED_FEW "), "
    "accepted as (update assignment a set accepted_at = clock_timestamp(), lease_until = "
    "clock_timestamp() + $2 * interval '1 millisecond' from w "
    "where w.accepts and a.job_id = w.id and a.token = w.said), "
    "ended as (update assignment a set ended_at = clock_timestamp(), ended_cause = w.cause, "
    "outcome = case when a.token = w.said then w.outcome end, counted = w.counts, used_ms = case "
    "when a.accepted_at is null then 0 else a.used_ms "
    "+ " CYX_SCHED_USED_SINCE(
        "$2") " end from w where w.ends and a.job_id = w.id "
              "and a.token > w.token - w.nodes and a.token <= w.token "
              "and coalesce(a.ended_at, 'infinity') = 'infinity' returning "
              "a.job_id, a.account_id, "
              "a.used_ms), "
              "did as (update assignment a set counted = true from w where w.counts and w.nodes > "
              "1 "
              "and a.job_id = w.id and a.token > w.token - w.nodes and a.token <= w.token "
              "and a.outcome = 'done' returning a.job_id, a.used_ms), "
              "used as (select job_id, sum(used_ms)::bigint as used_ms from (select job_id, "
              "used_ms "
              "from ended union all select job_id, used_ms from did) as u group by 1), "
              "charged as (insert into charge (account_id, device_ms) "
              "select account_id, used_ms from ended where used_ms > 0), "
              "moved as (update job j set state = w.to_state, cancel_requested = "
              "w.cancel_requested, "
              "requeues = w.requeues, failures = w.failures, not_before = case when w.retry_ms > 0 "
              "  then clock_timestamp() + w.retry_ms * interval '1 millisecond' else j.not_before "
              "end, "
              "error = case when w.to_state = 'completed' then null else coalesce(w.error, "
              "j.error) end, "
              "result = coalesce(w.result, j.result), model_sha256 = coalesce(w.model, "
              "j.model_sha256), "
              "model_bytes = coalesce(w.model_bytes, j.model_bytes), "
              "attempt = j.attempt + (case when w.accepts then 1 else 0 end), "
              "started_at = case when w.accepts then coalesce(j.started_at, clock_timestamp()) "
              "  else j.started_at end, "
              "ended_at = case when w.to_state in ('completed', 'failed', 'cancelled') "
              "  then clock_timestamp() end, "
              "device_ms = j.device_ms + case when w.counts then coalesce(e.used_ms, 0) else 0 "
              "end, "
              "preemptions = j.preemptions + w.preempted from w left join used e on e.job_id = "
              "w.id "
              "left join lateral (select x.progress, x.placement, x.preempt_for from assignment x "
              "where "
              "x.job_id = w.id and x.token = w.token limit 1) a on true where j.id = w.id "
              "returning " CYX_SCHED_JOB_COLUMNS "), "
              "told as (insert into job_transition (job_id, from_state, to_state, cause, node_id, "
              "token, at) "
              "select w.id, w.from_state, w.to_state, w.cause, case when not w.of_node then null "
              "when w.said = w.token then j.node_id else (select x.node_id from assignment x where "
              "x.job_id = w.id and x.token = w.said) end, "
              "case when w.of_node then w.said end, clock_timestamp() from w join job j on j.id = "
              "w.id "
              "where w.moves returning id, job_id, at) "
              "select moved.*, told.id, told.at from moved left join told on told.job_id = "
              "moved.id";

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

/* The messages of one transition, with room for their texts. */
struct telling {
    char event_id[CYX_ID_BYTES], event_subject[CYX_SUBJECT_BYTES];
    char state_id[CYX_SUBJECT_BYTES], state_subject[CYX_SUBJECT_BYTES];
    struct cyx_buf event, state;
};

/* The domain event and the telemetry message of one transition. */
static enum cyx_status write_messages(struct telling *telling, const struct cyx_sched_moved *moved,
                                      struct cyx_outbox_event ret_events[2], struct cyx_error *err)
{
    cyx_id_new(telling->event_id);
    const struct cyx_sched_event_view view = {
        .event_id = telling->event_id,
        .from = moved->from,
        .to = cyx_sched_state_name(moved->job->facts.state),
        .cause = moved->cause,
        .transition = moved->transition,
        .at_ms = moved->at_ms,
        .job = moved->job,
    };
    cyx_sched_write_event(&telling->event, &view);
    cyx_sched_write_state(&telling->state, &view);
    if (telling->event.failed || telling->state.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for events");
    snprintf(telling->event_subject, sizeof(telling->event_subject), "cyx.evt.job.%s", view.to);
    if (cyx_subject_job(telling->state_subject, moved->job->id, CYX_JOB_STATE) != CYX_OK)
        return cyx_error_set(err, CYX_ERR_CORRUPT, NULL, "\"%s\" is no job id", moved->job->id);
    snprintf(telling->state_id, sizeof(telling->state_id), "%s:%lld:state:%lld", moved->job->id,
             (long long)moved->job->token, (long long)moved->transition);
    ret_events[0] = (struct cyx_outbox_event){.subject = telling->event_subject,
                                              .message_id = telling->event_id,
                                              .json = telling->event.data};
    ret_events[1] = (struct cyx_outbox_event){.subject = telling->state_subject,
                                              .message_id = telling->state_id,
                                              .json = telling->state.data};
    for (int i = 0; moved->trace && i < 2; i++) {
        ret_events[i].request_id = moved->trace->request_id;
        ret_events[i].traceparent = moved->trace->traceparent;
    }
    return CYX_OK;
}

enum cyx_status cyx_sched_row_tell(struct cyx_db_conn *conn, const struct cyx_sched_moved *moved,
                                   size_t count, struct cyx_error *err)
{
    struct telling tellings[CYX_SCHED_TXN_JOBS] = {0};
    struct cyx_outbox_event events[2 * CYX_SCHED_TXN_JOBS] = {0};
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < count; i++)
        status = write_messages(&tellings[i], &moved[i], &events[2 * i], err);
    if (status == CYX_OK)
        status = cyx_outbox_add_events(conn, events, 2 * count, err);
    for (size_t i = 0; i < count; i++) {
        cyx_buf_finish(&tellings[i].event);
        cyx_buf_finish(&tellings[i].state);
    }
    return status;
}

enum cyx_status cyx_sched_row_born(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                   const struct cyx_trace *trace, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query_one(
        conn,
        "insert into job_transition (job_id, from_state, to_state, cause, at) "
        "values ($1, null, $2, 'submitted', clock_timestamp()) returning id, at",
        &rows, err, CYX_DB_TEXT(job->id), CYX_DB_TEXT(cyx_sched_state_name(job->facts.state)));
    if (status != CYX_OK)
        return status;
    const struct cyx_sched_moved moved = {.job = job,
                                          .cause = "submitted",
                                          .trace = trace,
                                          .transition = cyx_db_int(rows, 0, 0),
                                          .at_ms = cyx_db_time_ms(rows, 0, 1)};
    return cyx_sched_row_tell(conn, &moved, 1, err);
}

/* What the rules say of each; how many they allow. */
static size_t ask_rules(const struct cyx_sched_policy *policy,
                        struct cyx_sched_happening *happenings, size_t count)
{
    size_t allowed = 0;
    for (size_t i = 0; i < count; i++) {
        struct cyx_sched_happening *happening = &happenings[i];
        happening->status = cyx_sched_apply(&happening->job->facts, happening->event, policy,
                                            &happening->change, &happening->error);
        allowed += happening->status == CYX_OK;
    }
    return allowed;
}

static enum cyx_status write_happenings(struct cyx_db_conn *conn,
                                        const struct cyx_sched_policy *policy,
                                        const struct cyx_sched_happening *happenings, size_t count,
                                        struct cyx_db_result **ret_rows, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < count; i++) {
        if (happenings[i].status != CYX_OK)
            continue;
        cyx_buf_puts(&text, text.length ? "," : "[");
        write_happening(&text, &happenings[i]);
    }
    cyx_buf_puts(&text, "]");
    if (text.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a job's change");
    return cyx_db_query(conn, apply_sql, ret_rows, err, CYX_DB_TEXT(text.data),
                        CYX_DB_INT(policy->lease_ms));
}

static struct cyx_sched_happening *find_happening(struct cyx_sched_happening *happenings,
                                                  size_t count, const char *job_id)
{
    for (size_t i = 0; i < count; i++)
        if (happenings[i].status == CYX_OK && strcmp(happenings[i].job->id, job_id) == 0)
            return &happenings[i];
    return NULL;
}

/* Takes over the jobs as they now are, and tells of those that moved. */
static enum cyx_status tell_happenings(struct cyx_db_conn *conn,
                                       struct cyx_sched_happening *happenings, size_t count,
                                       const struct cyx_db_result *rows, struct cyx_error *err)
{
    struct cyx_sched_moved moved[CYX_SCHED_TXN_JOBS];
    enum cyx_status status = CYX_OK;
    size_t n_moved = 0;
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        struct cyx_sched_happening *happening =
            find_happening(happenings, count, cyx_db_text(rows, i, C_ID));
        if (!happening)
            return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "a job changed that was not asked");
        const char *from = cyx_sched_state_name(happening->job->facts.state);
        status = cyx_sched_row_read(rows, i, happening->arena, happening->job, err);
        if (status == CYX_OK)
            status = cyx_sched_row_gang(conn, happening->arena, happening->job, err);
        if (happening->change.moves)
            moved[n_moved++] = (struct cyx_sched_moved){
                .job = happening->job,
                .from = from,
                .cause = happening->change.cause,
                .trace = happening->details.trace,
                .transition = cyx_db_int(rows, i, C_TRANSITION),
                .at_ms = cyx_db_time_ms(rows, i, C_TRANSITION_AT),
            };
        if (status == CYX_OK && happening->job->awaited &&
            cyx_sched_state_ended(happening->job->facts.state))
            status = tell_waiting(conn, happening->job, err);
    }
    return status == CYX_OK && n_moved > 0 ? cyx_sched_row_tell(conn, moved, n_moved, err) : status;
}

enum cyx_status cyx_sched_row_apply_all(struct cyx_db_conn *conn,
                                        const struct cyx_sched_policy *policy,
                                        struct cyx_sched_happening *happenings, size_t count,
                                        struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    size_t allowed = ask_rules(policy, happenings, count);
    if (allowed == 0)
        return CYX_OK;
    enum cyx_status status = write_happenings(conn, policy, happenings, count, &rows, err);
    if (status == CYX_OK && cyx_db_rows(rows) != allowed)
        status = cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "%zu jobs of %zu were there to change",
                               cyx_db_rows(rows), allowed);
    return status == CYX_OK ? tell_happenings(conn, happenings, count, rows, err) : status;
}

enum cyx_status cyx_sched_row_apply(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    struct cyx_arena *arena, struct cyx_sched_job *job,
                                    enum cyx_sched_event event,
                                    const struct cyx_sched_details *details,
                                    struct cyx_sched_change *ret_change, struct cyx_error *err)
{
    struct cyx_sched_happening happening = {
        .job = job, .event = event, .details = *details, .arena = arena};
    enum cyx_status status = cyx_sched_row_apply_all(conn, policy, &happening, 1, err);
    if (status == CYX_OK && happening.status != CYX_OK) {
        if (err)
            *err = happening.error;
        return happening.status;
    }
    *ret_change = happening.change;
    return status;
}
