/*
 * Private to store*.c: a job's row and the one way in which its state changes.
 */
#ifndef CYX_SCHEDULER_STORE_ROW_H
#define CYX_SCHEDULER_STORE_ROW_H

#include "store.h"

/* What matching reads of a job besides its first columns, by cyx_sched_row_need(). */
#define CYX_SCHED_NEED_COLUMNS                                                                     \
    "j.backend, j.memory_bytes, j.threads, j.budget, j.node_id, j.host_memory_bytes, j.labels, "   \
    "j.avoid_labels, j.regions, j.avoid_regions, j.max_price_per_hour, j.min_reputation, "         \
    "j.dataset, j.flops_per_sample, j.total_flops, j.nodes"
enum { CYX_SCHED_NEED_COLUMN_COUNT = 16 };

/* Of job j: {nodes, members of its last attempt, paid: whose time counts, as many as payments takes}; null: one node. */
#define CYX_SCHED_TIME(column)                                                                     \
    "to_char(" column " at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define CYX_SCHED_AMOUNT "trim_scale(price::numeric / 1000000000) || ' CYX'"
#define CYX_SCHED_GANG                                                                             \
    "case when j.nodes > 1 then json_build_object('nodes', j.nodes, 'members', (select "           \
    "coalesce(json_agg(json_build_object('rank', rank, 'node_id', node_id, 'token', token, "       \
    "'accepted_at', " CYX_SCHED_TIME("accepted_at") ", 'ended_at', " CYX_SCHED_TIME(               \
        "ended_at") ", 'ended_cause', coalesce(outcome, ended_cause), 'device_ms', used_ms, "      \
                    "'price_per_hour', " CYX_SCHED_AMOUNT ") order by rank), '[]') from "          \
                    "assignment where job_id = j.id and token > j.token - j.nodes and token <= "   \
                    "j.token), 'paid', (select coalesce(json_agg(json_build_object('node_id', "    \
                    "node_id, 'device_ms', ms, 'price_per_hour', " CYX_SCHED_AMOUNT ") order by "  \
                    "last desc), '[]') from (select node_id, price, sum(used_ms) as ms, "          \
                    "max(token) as last from assignment where job_id = j.id and counted group by " \
                    "1, 2 order by last desc limit 128) as p)) end"

/* A job's spec stands beside its row, which each change of state writes anew. */
#define CYX_SCHED_SPEC "(select s.spec from job_spec s where s.job_id = j.id)"

/* Columns that cyx_sched_row_read() reads, of `job j left join assignment a` on the last token. */
#define CYX_SCHED_JOB_COLUMNS                                                                      \
    "j.id, j.account_id, j.name, " CYX_SCHED_SPEC                                                  \
    ", j.state, j.funded, j.cancel_requested, j.requeues, "                                        \
    "j.failures, j.backend, j.memory_bytes, j.threads, j.budget, j.priority, j.attempt, j.token, " \
    "j.node_id, j.price_per_hour, j.cost, j.device_ms, j.parameters, j.flops_per_sample, "         \
    "j.training_bytes, "                                                                           \
    "greatest(0, extract(epoch from greatest(j.not_before, clock_timestamp()) - "                  \
    "clock_timestamp()) * 1000)::bigint, "                                                         \
    "j.created_at, j.assigned_at, j.started_at, j.ended_at, a.progress, j.result, j.error, "       \
    "j.model_sha256, j.model_bytes, j.checkpoint_sha256, j.checkpoint_bytes, "                     \
    "j.checkpoint_step, " CYX_SCHED_NEED_COLUMNS                                                   \
    ", j.deadline, j.retries, j.waits_for, j.awaited, j.array_id, j.array_index, j.array_count, "  \
    "j.preemptions, a.placement, a.preempt_for is not null, " CYX_SCHED_GANG
enum { CYX_SCHED_JOB_COLUMN_COUNT = 36 + CYX_SCHED_NEED_COLUMN_COUNT + 11 };
/* The last assignment of job j, looked up by its key: joined plainly, PostgreSQL reads a young table whole for it. */
#define CYX_SCHED_LAST_ASSIGNMENT                                                                  \
    "left join lateral (select x.token, x.progress, x.placement, x.preempt_for from assignment x " \
    "where x.job_id = j.id and x.token = j.token limit 1) a on a.token = j.token "
#define CYX_SCHED_JOB_FROM " from job j " CYX_SCHED_LAST_ASSIGNMENT

/*
 * Stands behind what a statement reads from its parameter's JSON or array: CYX_SCHED_TXN_JOBS rows at most. PostgreSQL
 * takes such a list to be 100 rows long, and joins 100 rows to a table of a few thousand by reading all of it.
 */
#define CYX_SCHED_FEW "limit 32"
_Static_assert(CYX_SCHED_TXN_JOBS == 32, "CYX_SCHED_FEW is as many");

/* Milliseconds since assignment a was last accepted or renewed: at least 0, at most a lease (a parameter), however
 * the clock was set meanwhile. */
#define CYX_SCHED_USED_SINCE(lease_ms)                                                             \
    "least(greatest((extract(epoch from clock_timestamp() - a.lease_until) * 1000)::bigint "       \
    "+ " lease_ms "::bigint, 0), " lease_ms "::bigint)"

/* CYX_SCHED_NEED_COLUMNS from column `first` on; texts in the arena. */
enum cyx_status cyx_sched_row_need(const struct cyx_db_result *rows, size_t row, size_t first,
                                   struct cyx_arena *arena, struct cyx_sched_need *ret_need,
                                   struct cyx_error *err);

enum cyx_status cyx_sched_row_read(const struct cyx_db_result *rows, size_t row,
                                   struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                   struct cyx_error *err);

/* The job's row, locked until the transaction ends. With `skip_locked`, one that another holds is NOT_FOUND. */
enum cyx_status cyx_sched_row_lock(struct cyx_db_conn *conn, const char *job_id, bool skip_locked,
                                   struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                   struct cyx_error *err);

/* What goes with an event besides what the rules decide; all optional. */
struct cyx_sched_details {
    const char *error, *result; /* JSON */
    const char *outcome;        /* of finish, kept with the assignment */
    int64_t
        token; /* of the assignment that it comes from; 0: the job's, that is, its first member's */
    const struct cyx_sched_artifact *model;
    bool counts_device_time; /* the assignment's work was of use to the user */
    const struct cyx_trace *trace;
};

/* An event for one of several jobs, no two the same, that are locked. */
struct cyx_sched_happening {
    struct cyx_sched_job *job;  /* becomes what it then is */
    enum cyx_sched_event event; /* not ASSIGN, which store_match.c writes */
    struct cyx_sched_details details;
    struct cyx_arena *arena; /* of the job's texts */
    /* What came of it. CYX_ERR_CONFLICT, with why: the rules forbid it, and nothing of this one is written. */
    struct cyx_sched_change change;
    enum cyx_status status;
    struct cyx_error error;
};

/* Applies all, at most CYX_SCHED_TXN_JOBS: rules, rows, assignments, history, events. */
enum cyx_status cyx_sched_row_apply_all(struct cyx_db_conn *conn,
                                        const struct cyx_sched_policy *policy,
                                        struct cyx_sched_happening *happenings, size_t count,
                                        struct cyx_error *err);

/* The same for one; CYX_ERR_CONFLICT when the rules forbid it. */
enum cyx_status cyx_sched_row_apply(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    struct cyx_arena *arena, struct cyx_sched_job *job,
                                    enum cyx_sched_event event,
                                    const struct cyx_sched_details *details,
                                    struct cyx_sched_change *ret_change, struct cyx_error *err);

/* Reads job->gang anew, as the statements before this one left it; nothing for a job of one node. */
enum cyx_status cyx_sched_row_gang(struct cyx_db_conn *conn, struct cyx_arena *arena,
                                   struct cyx_sched_job *job, struct cyx_error *err);

/* A member's assignment as it is, read behind the job's lock. Texts in the arena. */
struct cyx_sched_member {
    int64_t rank, others_to_accept;
    bool accepted, ended;
    const char *ended_cause, *outcome;
};
enum cyx_status cyx_sched_member_read(struct cyx_db_conn *conn, const struct cyx_sched_claim *claim,
                                      struct cyx_arena *arena, struct cyx_sched_member *ret_member,
                                      struct cyx_error *err);
/* It accepts and others have still to; it has done its part and the job goes on. The job's row is locked. */
enum cyx_status cyx_sched_member_accepts(struct cyx_db_conn *conn,
                                         const struct cyx_sched_policy *policy,
                                         const struct cyx_sched_claim *claim,
                                         struct cyx_error *err);
enum cyx_status cyx_sched_member_is_done(struct cyx_db_conn *conn,
                                         const struct cyx_sched_policy *policy,
                                         const struct cyx_sched_claim *claim,
                                         struct cyx_error *err);

/* Leaves a node alone for a while that lets offers pass (`missed` in a row before this one). */
enum cyx_status cyx_sched_rest_node(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    const char *node_id, int64_t missed, struct cyx_error *err);

/* A job that has just moved, as it now is, and the row of history that says so. */
struct cyx_sched_moved {
    const struct cyx_sched_job *job;
    const char *from, *cause; /* from NULL: the first transition */
    const struct cyx_trace *trace;
    int64_t transition, at_ms;
};
/* The events of jobs that moved, in one statement. */
enum cyx_status cyx_sched_row_tell(struct cyx_db_conn *conn, const struct cyx_sched_moved *moved,
                                   size_t count, struct cyx_error *err);

/* The first transition of a job just written, and its events. */
enum cyx_status cyx_sched_row_born(struct cyx_db_conn *conn, const struct cyx_sched_job *job,
                                   const struct cyx_trace *trace, struct cyx_error *err);

#endif
