#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "store_row.h"
#include "wire.h"

#include "base/banned.h"

static enum cyx_status not_yours(const char *job_id, struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/job_id", "no job %s", job_id);
}

enum cyx_status cyx_sched_store_get(struct cyx_sched_store *self, const char *job_id,
                                    const char *account_id, struct cyx_arena *arena,
                                    struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM
                   "where j.id = $1 and ($2::uuid is null or j.account_id = $2)",
                   &rows, err, CYX_DB_TEXT(job_id), CYX_DB_TEXT(account_id));
    if (status == CYX_OK)
        status = cyx_db_rows(rows) == 1 ? cyx_sched_row_read(rows, 0, arena, ret_job, err)
                                        : not_yours(job_id, err);
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
            .members = keep(rows, i, 6, arena),
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
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
                   "select from_state, to_state, cause, node_id, token, at, to_json(members) "
                   "from job_transition "
                   "where job_id = $1 order by id limit $2",
                   &rows, err, CYX_DB_TEXT(job_id), CYX_DB_INT(CYX_SCHED_TRANSITIONS_LIMIT));
    if (status == CYX_OK)
        status = read_transitions(rows, arena, ret_transitions, ret_count, err);
    return status;
}

/* The same filters in every order; ids rise with time. */
#define LIST(behind, order)                                                                        \
    "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM                                             \
    "where ($1::uuid is null or j.account_id = $1) and ($2::text is null or j.state = $2) "        \
    "and ($3::uuid is null or " behind ") and ($5::uuid is null or j.array_id = $5) "              \
    "and ($6::text is not null) order by " order " limit $4"

enum order { NEWEST, OLDEST, NAME, NAME_DOWN, STATE, STATE_DOWN };

const struct cyx_page_order cyx_sched_orders[] = {
    [NEWEST] = {"-created_at", true},
    [OLDEST] = {"created_at", true},
    [NAME] = {"name", false},
    [NAME_DOWN] = {"-name", false},
    [STATE] = {"state", false},
    [STATE_DOWN] = {"-state", false},
    {0},
};

static const char *const list_sql[] = {
    [NEWEST] = LIST("j.id < $3", "j.id desc"),
    [OLDEST] = LIST("j.id > $3", "j.id"),
    [NAME] = LIST("(j.name, j.id) > ($6, $3)", "j.name, j.id"),
    [NAME_DOWN] = LIST("(j.name, j.id) < ($6, $3)", "j.name desc, j.id desc"),
    [STATE] = LIST("(j.state, j.id) > ($6, $3)", "j.state, j.id"),
    [STATE_DOWN] = LIST("(j.state, j.id) < ($6, $3)", "j.state desc, j.id desc"),
};

enum cyx_status cyx_sched_store_list(struct cyx_sched_store *self,
                                     const struct cyx_sched_filter *filter,
                                     const struct cyx_page *page, struct cyx_arena *arena,
                                     struct cyx_sched_job **ret_jobs, size_t *ret_count,
                                     struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db, list_sql[page->order], &rows, err, CYX_DB_TEXT(filter->account_id),
                   CYX_DB_TEXT(filter->state ? cyx_sched_state_name(*filter->state) : NULL),
                   CYX_DB_TEXT(cyx_page_id(page)), CYX_DB_INT(page->limit + 1),
                   CYX_DB_TEXT(filter->array_id), CYX_DB_TEXT(page->value));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_sched_job *jobs = cyx_arena_calloc(arena, count, sizeof(*jobs));
    if (status == CYX_OK && !jobs)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the list");
    for (size_t i = 0; status == CYX_OK && i < count; i++)
        status = cyx_sched_row_read(rows, i, arena, &jobs[i], err);
    if (status != CYX_OK)
        return status;
    *ret_jobs = jobs;
    *ret_count = count;
    return CYX_OK;
}

enum cyx_status cyx_sched_store_user_of(struct cyx_sched_store *self, const char *account_id,
                                        const char *sha256, bool model,
                                        char ret_job_id[CYX_ID_BYTES], struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run_one(self->db,
                       model ? "select j.id from job j join job_spec s on s.job_id = j.id where "
                               "j.account_id = $1 and j.ended_at is null and "
                               "s.spec #>> '{initial,sha256}' = $2 order by j.id limit 1"
                             : "select id from job where dataset = $2 and length(dataset) = 64 and "
                               "ended_at is null and account_id = $1 order by id limit 1",
                       &rows, err, CYX_DB_TEXT(account_id), CYX_DB_TEXT(sha256));
    if (status == CYX_OK)
        snprintf(ret_job_id, CYX_ID_BYTES, "%s", cyx_db_text(rows, 0, 0));
    return status;
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
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(self->db,
                                        "update job set funded = true "
                                        "where id = $1 and state = 'queued' and not funded",
                                        &rows, err, CYX_DB_TEXT(job_id));
    if (status == CYX_OK)
        *ret_changed = cyx_db_affected(rows) == 1;
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

enum cyx_status cyx_sched_store_settle(struct cyx_sched_store *self, const char *job_id,
                                       int64_t cost_base_units, struct cyx_error *err)
{
    return cyx_db_run(self->db,
                      "update job set cost = $2 where id = $1 and cost is distinct from $2", NULL,
                      err, CYX_DB_TEXT(job_id), CYX_DB_INT(cost_base_units));
}

enum cyx_status cyx_sched_store_ahead(struct cyx_sched_store *self, int priority, int64_t limit,
                                      struct cyx_arena *arena, struct cyx_sched_ahead **ret_ahead,
                                      size_t *ret_count, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "with q as (select account_id, lane, id from job where state = 'queued' and funded and "
        "waits_for = 0 and priority >= $1 limit $2), l as (select min(id::text)::uuid as id, "
        "count(*) as n from q group by account_id, lane) "
        "select l.n, " CYX_SCHED_NEED_COLUMNS " from l join job j on j.id = l.id",
        &rows, err, CYX_DB_INT(priority), CYX_DB_INT(limit));
    if (status != CYX_OK)
        return status;
    size_t count = cyx_db_rows(rows);
    struct cyx_sched_ahead *ahead = cyx_arena_calloc(arena, count + 1, sizeof(*ahead));
    if (!ahead)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the jobs ahead");
    for (size_t i = 0; i < count && status == CYX_OK; i++) {
        ahead[i].jobs = cyx_db_int(rows, i, 0);
        status = cyx_sched_row_need(rows, i, 1, arena, &ahead[i].need, err);
    }
    *ret_ahead = ahead;
    *ret_count = count;
    return status;
}

enum cyx_status cyx_sched_store_counts(struct cyx_sched_store *self,
                                       int64_t ret_counts[CYX_SCHED_STATE_COUNT],
                                       struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_run(self->db,
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
    return status;
}
