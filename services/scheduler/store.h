/*
 * The scheduler's state: PostgreSQL, schema scheduler (migrations/scheduler). The only SQL of the service, in
 * store.c (jobs as users see them), store_lease.c (who holds them) and store_row.c (rows and transitions).
 *
 * Every change of a job's state, its row of history and the events that tell of it are one transaction. Locks
 * are taken in one order: job, then assignment, then node.
 *
 * Ownership: the store refers to the pool and the relay, which belong to the service. A job's texts live in the
 * arena that the call was given. Any thread, one arena a thread.
 *
 * Errors: CYX_ERR_NOT_FOUND no such job (or another account's), CYX_ERR_CONFLICT the state or a newer token
 * forbids it; else those of store/db.h.
 */
#ifndef CYX_SCHEDULER_STORE_H
#define CYX_SCHEDULER_STORE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/trace.h"
#include "scheduler.h"
#include "store/db.h"
#include "store/outbox.h"

enum { CYX_SHA256_TEXT_BYTES = 65, CYX_SCHED_TRANSITIONS_LIMIT = 500 };

struct cyx_sched_store {
    struct cyx_db *db;
    struct cyx_outbox_relay *outbox;
    struct cyx_sched_policy policy;
};

/* An artifact: sha256 "" when there is none. */
struct cyx_sched_artifact {
    char sha256[CYX_SHA256_TEXT_BYTES];
    int64_t bytes, step; /* step: checkpoints alone */
};

struct cyx_sched_job {
    char id[CYX_ID_BYTES], account_id[CYX_ID_BYTES];
    char node_id[CYX_ID_BYTES]; /* of the last assignment, "" before the first */
    const char *name, *spec;    /* spec: canonical JSON */
    struct cyx_sched_facts facts;
    struct cyx_sched_need need;
    int priority, attempt;
    int64_t token; /* of the last assignment, 0 before the first */
    int64_t budget_base_units;
    int64_t cost_base_units;           /* -1: not settled */
    int64_t price_per_hour_base_units; /* of the last node when it was assigned, -1 before that */
    int64_t device_ms;
    int64_t parameters, flops_per_sample, training_bytes;
    int64_t wait_ms; /* until it may be matched again */
    int64_t created_at_ms, assigned_at_ms, started_at_ms, ended_at_ms; /* 0: not yet */
    const char *progress, *result, *error; /* JSON, NULL when there is none */
    struct cyx_sched_artifact model, checkpoint;
};

struct cyx_sched_submission {
    const char *account_id, *idempotency_key; /* key NULL: none */
    const char *name, *spec;
    struct cyx_sched_need need;
    int priority;
    int64_t parameters, flops_per_sample, training_bytes;
};

enum cyx_status cyx_sched_store_submit(struct cyx_sched_store *self,
                                       const struct cyx_sched_submission *submission,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, bool *ret_created,
                                       struct cyx_error *err);

/* `account_id` NULL: anybody's. */
enum cyx_status cyx_sched_store_get(struct cyx_sched_store *self, const char *job_id,
                                    const char *account_id, struct cyx_arena *arena,
                                    struct cyx_sched_job *ret_job, struct cyx_error *err);

struct cyx_sched_transition {
    const char *from;                 /* NULL for the first */
    const char *to, *cause, *node_id; /* node_id NULL: no node had to do with it */
    int64_t token;                    /* 0: none */
    int64_t at_ms;
};
enum cyx_status cyx_sched_store_transitions(struct cyx_sched_store *self, const char *job_id,
                                            struct cyx_arena *arena,
                                            struct cyx_sched_transition **ret_transitions,
                                            size_t *ret_count, struct cyx_error *err);

struct cyx_sched_filter {
    const char *account_id, *cursor;   /* NULL: any; from the newest */
    const enum cyx_sched_state *state; /* NULL: any */
    int64_t limit;
};
/* Newest first. */
enum cyx_status cyx_sched_store_list(struct cyx_sched_store *self,
                                     const struct cyx_sched_filter *filter, struct cyx_arena *arena,
                                     struct cyx_sched_job **ret_jobs, size_t *ret_count,
                                     struct cyx_error *err);

/* What the user's wish led to; `ret_change->tells_worker`: tell ret_job->node_id of ret_job->token. */
enum cyx_status cyx_sched_store_cancel(struct cyx_sched_store *self, const char *job_id,
                                       const char *account_id, const struct cyx_trace *trace,
                                       struct cyx_arena *arena, struct cyx_sched_job *ret_job,
                                       struct cyx_sched_change *ret_change, struct cyx_error *err);

/* Payments held the budget, refused to, or settled the cost. Repetition changes nothing. */
enum cyx_status cyx_sched_store_fund(struct cyx_sched_store *self, const char *job_id,
                                     bool *ret_changed, struct cyx_error *err);
enum cyx_status cyx_sched_store_refuse(struct cyx_sched_store *self, const char *job_id,
                                       const char *reason, const struct cyx_trace *trace,
                                       struct cyx_error *err);
enum cyx_status cyx_sched_store_settle(struct cyx_sched_store *self, const char *job_id,
                                       int64_t cost_base_units, struct cyx_error *err);

/* What an event of the registry tells; only `id`, `boot_id`, `online` and `revision` of an offline one. */
struct cyx_sched_node_news {
    struct cyx_sched_node node;
    const char *name;
    bool online;
    int64_t revision;
};
/* Passes over news older than what is known; `ret_taken` tells. Leases are freed by the next reaping. */
enum cyx_status cyx_sched_store_node(struct cyx_sched_store *self,
                                     const struct cyx_sched_node_news *news, bool *ret_taken,
                                     struct cyx_error *err);

/* Every node that is online; malloc'ed, the caller frees it. */
enum cyx_status cyx_sched_store_nodes(struct cyx_sched_store *self,
                                      struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                      struct cyx_error *err);

struct cyx_sched_offer {
    char job_id[CYX_ID_BYTES], node_id[CYX_ID_BYTES];
    int64_t token;
};

/*
 * One pass of matching: assigns queued, funded jobs to free nodes until one of them runs out, and calls back
 * for each assignment once it is committed. Any number of replicas may do it at once.
 */
typedef void (*cyx_sched_offered)(void *ctx, const struct cyx_sched_offer *offer);
enum cyx_status cyx_sched_store_match(struct cyx_sched_store *self, cyx_sched_offered offered,
                                      void *ctx, size_t *ret_assigned, struct cyx_error *err);

/* Calls back for each offer older than `older_ms` that nobody has answered; counts the younger too. */
enum cyx_status cyx_sched_store_standing(struct cyx_sched_store *self, int64_t older_ms,
                                         cyx_sched_offered offered, void *ctx, size_t *ret_count,
                                         struct cyx_error *err);

/*
 * One pass of taking back what is lost: nodes gone or started anew, and, with `by_time`, offers and leases that
 * ran out. Without it for a scheduler that has not been able to hear renewals for as long as a lease.
 */
enum cyx_status cyx_sched_store_reap(struct cyx_sched_store *self, bool by_time, size_t *ret_freed,
                                     struct cyx_error *err);

/* Which assignment a worker speaks of. `boot_id` is given by accept alone, NULL otherwise. */
struct cyx_sched_claim {
    const char *node_id, *boot_id, *job_id;
    int64_t token;
};

enum cyx_status cyx_sched_store_accept(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err);

/* `progress` is JSON; `checkpoint` may be NULL. Renews the lease. */
enum cyx_status cyx_sched_store_progress(struct cyx_sched_store *self,
                                         const struct cyx_sched_claim *claim, const char *progress,
                                         const struct cyx_sched_artifact *checkpoint,
                                         bool *ret_cancel, struct cyx_error *err);

/*
 * A heartbeat names the claim: renews its lease. `ret_gone`: the node holds it no more and should stop; an offer
 * that it has not accepted yet is neither renewed nor gone.
 */
enum cyx_status cyx_sched_store_renew(struct cyx_sched_store *self,
                                      const struct cyx_sched_claim *claim, bool *ret_gone,
                                      struct cyx_error *err);

struct cyx_sched_report {
    enum cyx_sched_event event;             /* COMPLETE, FAIL, STOP or HAND_BACK */
    const char *outcome;                    /* as the worker spelt it */
    enum cyx_status failure;                /* FAIL alone */
    const char *error, *result;             /* JSON or NULL */
    const struct cyx_sched_artifact *model; /* or NULL */
};
/* Idempotent by token: the same report again gives the job as it is. */
enum cyx_status cyx_sched_store_finish(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_sched_report *report,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err);

/* Jobs by state, for metrics: CYX_SCHED_STATE_COUNT numbers; ended ones are not counted. */
enum cyx_status cyx_sched_store_counts(struct cyx_sched_store *self,
                                       int64_t ret_counts[CYX_SCHED_STATE_COUNT],
                                       struct cyx_error *err);

#endif
