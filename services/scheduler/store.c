#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "store_row.h"
#include "wire.h"

#include "base/banned.h"

struct submitting {
    struct cyx_sched_store *self;
    const struct cyx_sched_submission *submission;
    const struct cyx_trace *trace;
    struct cyx_arena *arena;
    struct cyx_sched_job job;
    bool created;
};

static enum cyx_status insert_job(struct cyx_db_conn *conn,
                                  const struct cyx_sched_submission *submission, bool *ret_inserted,
                                  char ret_id[CYX_ID_BYTES], struct cyx_error *err)
{
    const struct cyx_sched_need *need = &submission->need;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    cyx_id_new(ret_id);
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into job (id, account_id, idempotency_key, name, spec, state, priority, budget, "
        "backend, memory_bytes, threads, parameters, flops_per_sample, training_bytes, created_at) "
        "values ($1, $2, $3, $4, $5, 'queued', $6, $7, $8, $9, $10, $11, $12, $13, "
        "clock_timestamp()) on conflict (account_id, idempotency_key) do nothing returning id",
        &rows, err, CYX_DB_TEXT(ret_id), CYX_DB_TEXT(submission->account_id),
        CYX_DB_TEXT(submission->idempotency_key), CYX_DB_TEXT(submission->name),
        CYX_DB_TEXT(submission->spec), CYX_DB_INT(submission->priority),
        CYX_DB_INT(need->budget_base_units), CYX_DB_TEXT(cyx_sched_backend_name(need->backend)),
        CYX_DB_INT(need->memory_bytes), CYX_DB_INT(need->threads),
        CYX_DB_INT(submission->parameters), CYX_DB_INT(submission->flops_per_sample),
        CYX_DB_INT(submission->training_bytes));
    *ret_inserted = status == CYX_OK && cyx_db_rows(rows) == 1;
    return status;
}

/* The job that this key made before; CYX_ERR_CONFLICT when it was for another spec. */
static enum cyx_status find_by_key(struct cyx_db_conn *conn, struct submitting *submitting,
                                   struct cyx_error *err)
{
    const struct cyx_sched_submission *submission = submitting->submission;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query_one(conn,
                                              "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                                              "where j.account_id = $1 and j.idempotency_key = $2",
                                              &rows, err, CYX_DB_TEXT(submission->account_id),
                                              CYX_DB_TEXT(submission->idempotency_key));
    if (status == CYX_OK)
        status = cyx_sched_row_read(rows, 0, submitting->arena, &submitting->job, err);
    if (status == CYX_OK && strcmp(submitting->job.spec, submission->spec) != 0)
        status =
            cyx_error_set(err, CYX_ERR_CONFLICT, "/idempotency_key",
                          "this key has already submitted another spec, as job %s; use a new key",
                          submitting->job.id);
    return status;
}

static enum cyx_status submit_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct submitting *submitting = ctx;
    char id[CYX_ID_BYTES];
    enum cyx_status status =
        insert_job(conn, submitting->submission, &submitting->created, id, err);
    if (status != CYX_OK)
        return status;
    if (!submitting->created)
        return find_by_key(conn, submitting, err);
    status = cyx_sched_row_lock(conn, id, false, submitting->arena, &submitting->job, err);
    if (status == CYX_OK)
        status = cyx_sched_row_born(conn, &submitting->job, submitting->trace, err);
    return status;
}

enum cyx_status cyx_sched_store_submit(struct cyx_sched_store *self,
                                       const struct cyx_sched_submission *submission,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, bool *ret_created,
                                       struct cyx_error *err)
{
    struct submitting submitting = {self, submission, trace, arena, {{0}}, false};
    enum cyx_status status = cyx_db_transaction(self->db, submit_body, &submitting, err);
    if (status != CYX_OK)
        return status;
    cyx_outbox_wake(self->outbox);
    *ret_job = submitting.job;
    *ret_created = submitting.created;
    return CYX_OK;
}

static enum cyx_status not_yours(const char *job_id, struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/job_id", "no job %s", job_id);
}

enum cyx_status cyx_sched_store_get(struct cyx_sched_store *self, const char *job_id,
                                    const char *account_id, struct cyx_arena *arena,
                                    struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn,
                          "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                          "where j.id = $1 and ($2::uuid is null or j.account_id = $2)",
                          &rows, err, CYX_DB_TEXT(job_id), CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        status = cyx_db_rows(rows) == 1 ? cyx_sched_row_read(rows, 0, arena, ret_job, err)
                                        : not_yours(job_id, err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

static const char *keep(const struct cyx_db_result *rows, size_t row, size_t column,
                        struct cyx_arena *arena)
{
    return cyx_db_null(rows, row, column) ? NULL
                                          : cyx_arena_strdup(arena, cyx_db_text(rows, row, column));
}

static enum cyx_status read_transitions(const struct cyx_db_result *rows, struct cyx_arena *arena,
                                        struct cyx_sched_transition **ret_transitions,
                                        size_t *ret_count, struct cyx_error *err)
{
    size_t count = cyx_db_rows(rows);
    struct cyx_sched_transition *list = cyx_arena_calloc(arena, count, sizeof(*list));
    if (!list)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the transitions");
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct cyx_sched_transition){
            .from = keep(rows, i, 0, arena),
            .to = keep(rows, i, 1, arena),
            .cause = keep(rows, i, 2, arena),
            .node_id = keep(rows, i, 3, arena),
            .token = cyx_db_int(rows, i, 4),
            .at_ms = cyx_db_time_ms(rows, i, 5),
        };
        if (!list[i].to || !list[i].cause)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the transitions");
    }
    *ret_transitions = list;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_transitions(struct cyx_sched_store *self, const char *job_id,
                                            struct cyx_arena *arena,
                                            struct cyx_sched_transition **ret_transitions,
                                            size_t *ret_count, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status =
        cyx_db_query(conn,
                     "select from_state, to_state, cause, node_id, token, at from job_transition "
                     "where job_id = $1 order by id limit $2",
                     &rows, err, CYX_DB_TEXT(job_id), CYX_DB_INT(CYX_SCHED_TRANSITIONS_LIMIT));
    if (status == CYX_OK)
        status = read_transitions(rows, arena, ret_transitions, ret_count, err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_sched_store_list(struct cyx_sched_store *self,
                                     const struct cyx_sched_filter *filter, struct cyx_arena *arena,
                                     struct cyx_sched_job **ret_jobs, size_t *ret_count,
                                     struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status =
        cyx_db_query(conn,
                     "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                     "where ($1::uuid is null or j.account_id = $1) "
                     "and ($2::text is null or j.state = $2) and ($3::uuid is null or j.id < $3) "
                     "order by j.id desc limit $4",
                     &rows, err, CYX_DB_TEXT(filter->account_id),
                     CYX_DB_TEXT(filter->state ? cyx_sched_state_name(*filter->state) : NULL),
                     CYX_DB_TEXT(filter->cursor), CYX_DB_INT(filter->limit));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_sched_job *jobs = cyx_arena_calloc(arena, count, sizeof(*jobs));
    if (status == CYX_OK && !jobs)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the list");
    for (size_t i = 0; status == CYX_OK && i < count; i++)
        status = cyx_sched_row_read(rows, i, arena, &jobs[i], err);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    if (status != CYX_OK)
        return status;
    *ret_jobs = jobs;
    *ret_count = count;
    return CYX_OK;
}

/* One event for one job, by its id. */
struct happening {
    struct cyx_sched_store *self;
    const char *job_id, *account_id;
    enum cyx_sched_event event;
    struct cyx_sched_details details;
    struct cyx_arena *arena;
    struct cyx_sched_job job;
    struct cyx_sched_change change;
};

static enum cyx_status cancel_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct happening *happening = ctx;
    enum cyx_status status =
        cyx_sched_row_lock(conn, happening->job_id, false, happening->arena, &happening->job, err);
    if (status != CYX_OK)
        return status;
    if (happening->account_id && strcmp(happening->account_id, happening->job.account_id) != 0)
        return not_yours(happening->job_id, err);
    if (cyx_sched_state_ended(
            happening->job.facts.state)) /* nothing is written: the row is closed */
        return cyx_sched_apply(&happening->job.facts, CYX_SCHED_CANCEL, &happening->self->policy,
                               &happening->change, err);
    return cyx_sched_row_apply(conn, &happening->self->policy, happening->arena, &happening->job,
                               CYX_SCHED_CANCEL, &happening->details, &happening->change, err);
}

enum cyx_status cyx_sched_store_cancel(struct cyx_sched_store *self, const char *job_id,
                                       const char *account_id, const struct cyx_trace *trace,
                                       struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                       struct cyx_sched_change *ret_change, struct cyx_error *err)
{
    struct happening happening = {.self = self,
                                  .job_id = job_id,
                                  .account_id = account_id,
                                  .arena = arena,
                                  .details = {.trace = trace}};
    enum cyx_status status = cyx_db_transaction(self->db, cancel_body, &happening, err);
    if (status != CYX_OK)
        return status;
    if (happening.change.moves)
        cyx_outbox_wake(self->outbox);
    *ret_job = happening.job;
    *ret_change = happening.change;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_fund(struct cyx_sched_store *self, const char *job_id,
                                     bool *ret_changed, struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn,
                          "update job set funded = true "
                          "where id = $1 and state = 'queued' and not funded",
                          &rows, err, CYX_DB_TEXT(job_id));
    if (status == CYX_OK)
        *ret_changed = cyx_db_affected(rows) == 1;
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

static enum cyx_status refuse_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct happening *happening = ctx;
    enum cyx_status status =
        cyx_sched_row_lock(conn, happening->job_id, false, happening->arena, &happening->job, err);
    if (status != CYX_OK)
        return status;
    if (happening->job.facts.state != CYX_SCHED_QUEUED || happening->job.facts.funded)
        return CYX_OK; /* seen before, or cancelled meanwhile */
    return cyx_sched_row_apply(conn, &happening->self->policy, happening->arena, &happening->job,
                               CYX_SCHED_REFUSE, &happening->details, &happening->change, err);
}

enum cyx_status cyx_sched_store_refuse(struct cyx_sched_store *self, const char *job_id,
                                       const char *reason, const struct cyx_trace *trace,
                                       struct cyx_error *err)
{
    struct cyx_arena arena = {0};
    CYX_CLEANUP_BUF struct cyx_buf error = {0};
    cyx_sched_write_error(&error, CYX_ERR_DENIED, "/budget", reason);
    struct happening happening = {.self = self,
                                  .job_id = job_id,
                                  .arena = &arena,
                                  .details = {.trace = trace, .error = error.data}};
    enum cyx_status status = error.failed
                                 ? cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory")
                                 : cyx_db_transaction(self->db, refuse_body, &happening, err);
    if (status == CYX_OK)
        cyx_outbox_wake(self->outbox);
    cyx_arena_finish(&arena);
    return status;
}

/* One statement without rows, on a connection of its own. */
#define RUN(self, sql, err, ...)                                                                   \
    run_params((self), (sql), CYX_DB_COUNT(__VA_ARGS__), CYX_DB_ARRAY(__VA_ARGS__), NULL, (err))

static enum cyx_status run_params(struct cyx_sched_store *self, const char *sql, size_t count,
                                  const struct cyx_db_param *params, size_t *ret_affected,
                                  struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query_params(conn, sql, count, params, &rows, err);
    if (status == CYX_OK && ret_affected)
        *ret_affected = cyx_db_affected(rows);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_sched_store_settle(struct cyx_sched_store *self, const char *job_id,
                                       int64_t cost_base_units, struct cyx_error *err)
{
    return RUN(self, "update job set cost = $2 where id = $1 and cost is distinct from $2", err,
               CYX_DB_TEXT(job_id), CYX_DB_INT(cost_base_units));
}

/* `name` NULL: the news of a node that went, which says nothing of its devices. */
static const char *const node_offline_sql =
    "insert into node (id, boot_id, online, revision, name, cpus, cpu_memory_bytes, "
    "gpu_memory_bytes, soft_memory_bytes, price_per_hour) "
    "values ($1, $2, false, $3, '', 0, 0, 0, 0, 0) "
    "on conflict (id) do update set online = false, revision = excluded.revision, "
    "boot_id = excluded.boot_id, updated_at = clock_timestamp() "
    "where node.revision < excluded.revision";
static const char *const node_online_sql =
    "insert into node (id, boot_id, online, revision, name, cpus, cpu_memory_bytes, "
    "gpu_memory_bytes, soft_memory_bytes, price_per_hour) "
    "values ($1, $2, true, $3, $4, $5, $6, $7, $8, $9) "
    "on conflict (id) do update set boot_id = excluded.boot_id, online = true, "
    "revision = excluded.revision, name = excluded.name, cpus = excluded.cpus, "
    "cpu_memory_bytes = excluded.cpu_memory_bytes, gpu_memory_bytes = excluded.gpu_memory_bytes, "
    "soft_memory_bytes = excluded.soft_memory_bytes, price_per_hour = excluded.price_per_hour, "
    "offers_missed = 0, rests_until = '-infinity', updated_at = clock_timestamp() "
    "where node.revision < excluded.revision";

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
    };
    size_t affected = 0;
    enum cyx_status status = run_params(self, news->online ? node_online_sql : node_offline_sql,
                                        news->online ? 9 : 3, params, &affected, err);
    if (status == CYX_OK)
        *ret_taken = affected == 1;
    return status;
}

enum cyx_status cyx_sched_store_counts(struct cyx_sched_store *self,
                                       int64_t ret_counts[CYX_SCHED_STATE_COUNT],
                                       struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn,
                          "select state, count(*) from job "
                          "where state in ('queued', 'assigned', 'running') group by state",
                          &rows, err);
    for (int i = 0; status == CYX_OK && i < CYX_SCHED_STATE_COUNT; i++)
        ret_counts[i] = 0;
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        enum cyx_sched_state state;
        if (cyx_sched_state_parse(cyx_db_text(rows, i, 0), &state))
            ret_counts[state] = cyx_db_int(rows, i, 1);
    }
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}
