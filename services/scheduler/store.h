/*
 * The scheduler's state: PostgreSQL, schema scheduler (migrations/scheduler). The only SQL of the service, in
 * store.c (jobs as users see them), store_submit.c, store_gang.c (jobs of several nodes), store_node.c (the projection of the nodes), store_match.c (the
 * queue and who gets what), store_preempt.c, store_account.c (quotas and shares), store_lease.c (who holds jobs),
 * store_reap.c (what is lost or too late) and store_row.c (rows and transitions).
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

#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/trace.h"
#include "contract/page.h"
#include "scheduler.h"
#include "store/db.h"
#include "store/outbox.h"

enum {
    CYX_SHA256_TEXT_BYTES = 65,
    CYX_SCHED_TRANSITIONS_LIMIT = 500,
    CYX_SCHED_TXN_JOBS = 32, /* jobs that change in one transaction, at most */
};

struct cyx_sched_roster;

struct cyx_sched_store {
    struct cyx_db *db;
    struct cyx_outbox_relay *outbox;
    struct cyx_sched_policy policy;
    struct cyx_sched_roster *roster; /* the matcher's */
    pthread_mutex_t kept_lock;
    struct cyx_sched_kept
        kept; /* under the lock: by the last pass of this replica; job_id "" for none */
};

void cyx_sched_roster_destroy(struct cyx_sched_roster *self);

/* A list of the spec as it is stored: texts joined by commas, in the arena. NULL when memory ran out. */
const char *cyx_sched_join(struct cyx_arena *arena, const char *const *items, size_t count);

/* An artifact: sha256 "" when there is none. */
struct cyx_sched_artifact {
    char sha256[CYX_SHA256_TEXT_BYTES];
    int64_t bytes, step; /* step: checkpoints alone */
};

/* Of a job array; count 0: the job is no member of one. */
struct cyx_sched_array {
    char id[CYX_ID_BYTES];
    int64_t index, count;
};

struct cyx_sched_job {
    char id[CYX_ID_BYTES], account_id[CYX_ID_BYTES];
    char node_id[CYX_ID_BYTES]; /* of the last assignment, "" before the first */
    const char *name, *spec;    /* spec: canonical JSON */
    struct cyx_sched_facts facts;
    struct cyx_sched_need need;
    int priority, attempt;
    int waits_for;   /* jobs that must complete first */
    int preemptions; /* times that it made way for a job of higher priority */
    bool awaited;    /* some job waits for this one */
    struct cyx_sched_array array;
    int64_t deadline_ms; /* 0: none */
    int64_t token;       /* of the last assignment, 0 before the first */
    int64_t budget_base_units;
    int64_t cost_base_units;           /* -1: not settled */
    int64_t price_per_hour_base_units; /* of the last node when it was assigned, -1 before that */
    int64_t device_ms;
    int64_t parameters, flops_per_sample, training_bytes;
    int64_t wait_ms; /* until it may be matched again */
    int64_t created_at_ms, assigned_at_ms, started_at_ms, ended_at_ms; /* 0: not yet */
    const char *progress, *result, *error; /* JSON, NULL when there is none */
    const char *placement; /* JSON: why the last assignment's node, NULL before the first */
    const char *gang;      /* JSON: {nodes, members, paid}; NULL: a job of one node */
    struct cyx_sched_artifact model, checkpoint;
};

struct cyx_sched_submission {
    const char *account_id, *idempotency_key; /* key NULL: none */
    const char *name, *spec;
    struct cyx_sched_need need;
    int priority;
    int64_t parameters, flops_per_sample, training_bytes;
    const char *const *after; /* ids */
    size_t n_after;
    int64_t deadline_ms, retries;
    struct cyx_sched_array array;
};

/*
 * Stores `count` jobs, all or none; several are the members of an array, in order, and the answer is the first.
 * CYX_ERR_CONFLICT: the key was used for another spec, or a job of `after` has ended without completing;
 * CYX_ERR_RATE_LIMITED: the account's quota of queued jobs is full.
 */
enum cyx_status cyx_sched_store_submit(struct cyx_sched_store *self,
                                       const struct cyx_sched_submission *submissions, size_t count,
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
    const char *members;              /* JSON: the nodes of a gang, by rank; NULL: none or one */
    int64_t token;                    /* 0: none */
    int64_t at_ms;
};
enum cyx_status cyx_sched_store_transitions(struct cyx_sched_store *self, const char *job_id,
                                            struct cyx_arena *arena,
                                            struct cyx_sched_transition **ret_transitions,
                                            size_t *ret_count, struct cyx_error *err);

/* -created_at (default), created_at, name, -name, state, -state; as contract/page.h wants them. */
extern const struct cyx_page_order cyx_sched_orders[];

struct cyx_sched_filter {
    const char *account_id, *array_id; /* NULL: any */
    const enum cyx_sched_state *state; /* NULL: any */
};
/* A page, and one job more where there is one. */
enum cyx_status cyx_sched_store_list(struct cyx_sched_store *self,
                                     const struct cyx_sched_filter *filter,
                                     const struct cyx_page *page, struct cyx_arena *arena,
                                     struct cyx_sched_job **ret_jobs, size_t *ret_count,
                                     struct cyx_error *err);

/* A job of the account that trains on this upload, or begins with this model, and has not ended; CYX_ERR_NOT_FOUND when
 * there is none. */
enum cyx_status cyx_sched_store_user_of(struct cyx_sched_store *self, const char *account_id,
                                        const char *sha256, bool model,
                                        char ret_job_id[CYX_ID_BYTES], struct cyx_error *err);

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

/* Every node that is online; in the arena, with their texts. */
enum cyx_status cyx_sched_store_nodes(struct cyx_sched_store *self, struct cyx_arena *arena,
                                      struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                      struct cyx_error *err);

/* {reputation, good, bad, outcomes: {completed: n, …}, jobs: [id…]} of a node, appended. CYX_ERR_NOT_FOUND. */
enum cyx_status cyx_sched_store_record(struct cyx_sched_store *self, const char *node_id,
                                       struct cyx_buf *ret_json, struct cyx_error *err);

/* What a heartbeat told of a node's processors; small changes are not written. */
enum cyx_status cyx_sched_store_load(struct cyx_sched_store *self, const char *node_id,
                                     double cpu_percent, struct cyx_error *err);

/* When each node that is online and holds a job will be free again, as far as its progress tells. */
struct cyx_sched_busy {
    char node_id[CYX_ID_BYTES];
    double left_s; /* -1: unknown */
};
enum cyx_status cyx_sched_store_busy(struct cyx_sched_store *self, struct cyx_arena *arena,
                                     struct cyx_sched_busy **ret_busy, size_t *ret_count,
                                     struct cyx_error *err);

/* Jobs of one lane that would be matched before a new one. */
struct cyx_sched_ahead {
    struct cyx_sched_need need;
    int64_t jobs;
};
/* The lanes before a new job of this priority; counts no further than `limit` jobs. In the arena. */
enum cyx_status cyx_sched_store_ahead(struct cyx_sched_store *self, int priority, int64_t limit,
                                      struct cyx_arena *arena, struct cyx_sched_ahead **ret_ahead,
                                      size_t *ret_count, struct cyx_error *err);

/* An account's limits (-1: none) and what it uses. */
struct cyx_sched_account {
    char id[CYX_ID_BYTES];
    double weight;
    double usage_s; /* device seconds, halved every half-life */
    int64_t running, queued;
    double device_hours_today;
    int64_t running_limit, queued_limit;
    double device_hours_limit;
};
enum cyx_status cyx_sched_store_account(struct cyx_sched_store *self, const char *account_id,
                                        struct cyx_sched_account *ret_account,
                                        struct cyx_error *err);

/* What an administrator sets: NULL leaves it, below 0 takes the service's own setting again. */
struct cyx_sched_limits {
    const double *weight, *running, *queued, *device_hours;
};
enum cyx_status cyx_sched_store_limit(struct cyx_sched_store *self, const char *account_id,
                                      const struct cyx_sched_limits *limits, struct cyx_error *err);

/* Adds used device time to the accounts. */
enum cyx_status cyx_sched_store_fold(struct cyx_sched_store *self, struct cyx_error *err);

struct cyx_sched_offer {
    char job_id[CYX_ID_BYTES], node_id[CYX_ID_BYTES];
    int64_t token;
};

/*
 * One pass of matching: assigns queued, funded jobs to free nodes until one of them runs out, and calls back
 * for each assignment once it is committed. Any number of replicas may do it at once, in each of them one thread.
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

/*
 * After the database's clock was set back, times that were ahead by a second are ahead by as much more: what waits for
 * a time further away than any that is meant waits its time from now.
 */
enum cyx_status cyx_sched_store_mend_times(struct cyx_sched_store *self, struct cyx_error *err);

/* Which assignment a worker speaks of. `boot_id` is given by accept alone, NULL otherwise. */
struct cyx_sched_claim {
    const char *node_id, *boot_id, *job_id;
    int64_t token;
};

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

/* The members of the job's last attempt that have not said that they are done, by rank; of a job of one node, that one. */
enum cyx_status cyx_sched_store_attempt(struct cyx_sched_store *self,
                                        const struct cyx_sched_job *job,
                                        struct cyx_sched_offer ret_members[CYX_SCHED_GANG_LIMIT],
                                        size_t *ret_count, struct cyx_error *err);

/* A member's place in the attempt that it holds; CYX_ERR_CONFLICT when it holds none. */
struct cyx_sched_seat {
    int64_t rank, nodes;
};
enum cyx_status cyx_sched_store_seat(struct cyx_sched_store *self,
                                     const struct cyx_sched_claim *claim,
                                     struct cyx_sched_seat *ret_seat, struct cyx_error *err);

struct cyx_sched_report {
    enum cyx_sched_event event; /* COMPLETE, FAIL, STOP or HAND_BACK */
    bool done;           /* instead of an event: a member that is not the first has done its part */
    const char *outcome; /* as the worker spelt it */
    enum cyx_status failure;                /* FAIL alone */
    const char *error, *result;             /* JSON or NULL */
    double images_per_second;               /* COMPLETE: of the training, 0: not told */
    const struct cyx_sched_artifact *model; /* or NULL */
};
/* What a worker says of its assignment, and what comes of it. Idempotent by token: the same again gives the job as it
 * is. CYX_ERR_NOT_FOUND no such job, CYX_ERR_CONFLICT the token is no longer valid or was never this node's. */
struct cyx_sched_word {
    struct cyx_sched_claim claim;
    const struct cyx_sched_report *report; /* NULL: it accepts */
    const struct cyx_trace *trace;
    struct cyx_arena *arena; /* of the texts of `job` */
    struct cyx_sched_job job;
    enum cyx_status status;
    struct cyx_error error;
};

/* Hears up to CYX_SCHED_TXN_JOBS words, of which no two are of one job or of one node, in one transaction. */
void cyx_sched_store_hear(struct cyx_sched_store *self, struct cyx_sched_word *const *words,
                          size_t count);

/* Jobs by state, for metrics: CYX_SCHED_STATE_COUNT numbers; ended ones are not counted. */
enum cyx_status cyx_sched_store_counts(struct cyx_sched_store *self,
                                       int64_t ret_counts[CYX_SCHED_STATE_COUNT],
                                       struct cyx_error *err);

#endif
