/*
 * The scheduler's rules: what may happen to a job (placement.h: which node may take it, why it waits). Pure: no
 * SQL, no HTTP, no NATS, no clock; api.c and store.c feed it facts and carry out what it says.
 *
 * A job's life: queued -> assigned -> running -> completed | failed | cancelled, back to queued
 * when its worker is lost. Of a job of several nodes (a gang) what befalls one befalls the job: it runs once all have
 * accepted, ends with its first member's result, and goes back when any is lost. cyx_sched_apply() is the only place that decides a transition; the
 * database refuses, by a trigger of its own, to change what has ended (migrations/scheduler).
 *
 * Units: money in base units (1 CYX is 10^9), times in ms, memory in bytes. Ownership: plain
 * values. Threads: all functions are pure, any thread.
 *
 *     struct cyx_sched_change change;
 *     status = cyx_sched_apply(&facts, CYX_SCHED_LEASE_EXPIRED, &policy, &change, err);
 *     if (status == CYX_OK && change.moves) …write change.to with change.cause…
 */
#ifndef CYX_SCHEDULER_H
#define CYX_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/status.h"
#include "placement.h"

enum cyx_sched_state {
    CYX_SCHED_QUEUED,
    CYX_SCHED_ASSIGNED, /* offered to a node that has not accepted yet */
    CYX_SCHED_RUNNING,
    CYX_SCHED_COMPLETED,
    CYX_SCHED_FAILED,
    CYX_SCHED_CANCELLED,
    CYX_SCHED_STATE_COUNT
};

/* "queued" and so on, as messages and the database spell it. */
const char *cyx_sched_state_name(enum cyx_sched_state state);

/* False for a name that is no state. */
bool cyx_sched_state_parse(const char *name, enum cyx_sched_state *ret_state);

bool cyx_sched_state_ended(enum cyx_sched_state state);

/* What can happen to a job. */
enum cyx_sched_event {
    CYX_SCHED_ASSIGN,         /* matched: a node is offered the job */
    CYX_SCHED_ACCEPT,         /* the node takes it */
    CYX_SCHED_COMPLETE,       /* finish: completed */
    CYX_SCHED_FAIL,           /* finish: failed, facts.failure says with which status */
    CYX_SCHED_STOP,           /* finish: cancelled */
    CYX_SCHED_HAND_BACK,      /* finish: handed-back */
    CYX_SCHED_CANCEL,         /* the user asks */
    CYX_SCHED_REFUSE,         /* payments could not hold the budget */
    CYX_SCHED_OFFER_EXPIRED,  /* no accept in time */
    CYX_SCHED_LEASE_EXPIRED,  /* no sign of life in time */
    CYX_SCHED_NODE_OFFLINE,   /* the registry says that the node is gone */
    CYX_SCHED_NODE_RESTARTED, /* the worker came back with another boot id: it lost what it held */
    CYX_SCHED_DEADLINE,       /* the spec's deadline has passed */
    CYX_SCHED_BREAK,          /* a job that it waits for did not complete */
    CYX_SCHED_EVENT_COUNT
};

struct cyx_sched_facts {
    enum cyx_sched_state state;
    bool funded;
    bool cancel_requested;
    int requeues;            /* times that it went back to queued */
    int failures;            /* times that a worker reported failure */
    int attempts_limit;      /* failures that end it; 0: the policy's */
    bool preempted;          /* its node was told to stop it for a job of higher priority */
    enum cyx_status failure; /* CYX_SCHED_FAIL alone */
};

struct cyx_sched_policy {
    int64_t heartbeat_ms;
    int64_t lease_ms;        /* heartbeat_ms x CYX_HEARTBEATS_MISSED */
    int64_t lease_grace_ms;  /* and so much longer while the registry still hears the node */
    int64_t offer_ms;        /* CYX_OFFER_TIMEOUT_MS */
    int64_t retry_ms;        /* pause before the second attempt, doubled for the third */
    int64_t offer_missed_ms; /* a node that let an offer pass is left alone for so long, doubled
                                each time */
    int64_t
        gang_patience_ms; /* a job of several nodes that waited so long has free nodes kept for it */
    int requeues_limit;   /* 10: one more and the job fails with lease-lost */
    int64_t preempt_grace_ms;   /* a job that is to make way is waited for so long to save itself */
    int preemptions_limit;      /* 3: a job that made way so often stays where it is */
    int64_t share_half_life_ms; /* of an account's usage */
    /* An account's limits where none are set for it; below 0: none. */
    int64_t running_limit, queued_limit;
    double device_hours_limit;
    int attempts_limit; /* 3: a job that failed so often for reasons that may pass has failed */
};

/* The policy of docs/contracts/platform.md 2.2 for this heartbeat. */
struct cyx_sched_policy cyx_sched_policy_default(int64_t heartbeat_ms);

enum cyx_sched_outcome { /* of a cancel */
                         CYX_SCHED_OUTCOME_NONE,
                         CYX_SCHED_OUTCOME_CANCELLED,
                         CYX_SCHED_OUTCOME_CANCELLING,
                         CYX_SCHED_OUTCOME_ENDED
};
const char *cyx_sched_outcome_name(enum cyx_sched_outcome outcome);

/* What is to be written and done; everything that is not named stays. */
struct cyx_sched_change {
    bool moves;              /* a transition from facts.state to `to` with `cause` */
    enum cyx_sched_state to; /* facts.state when it does not move */
    const char *cause;       /* static text: "submitted", "lease-expired" … */
    bool ends_assignment;    /* the open assignment ends with `cause` */
    bool tells_worker;       /* cyx.node.<id>.cancel goes out */
    bool cancel_requested;
    bool preempted; /* it made way: counted apart from requeues */
    int requeues, failures;
    int64_t retry_after_ms; /* not matched again before so long from now */
    enum cyx_status
        error; /* to FAILED for a reason of our own; CYX_OK: the worker's error stands */
    const char *error_message;      /* static text, with `error` */
    enum cyx_sched_outcome outcome; /* CYX_SCHED_CANCEL alone */
};

/*
 * Decides what `event` does to a job. CYX_ERR_CONFLICT, with a sentence, when it cannot happen in
 * this state; a cancel never conflicts.
 */
enum cyx_status cyx_sched_apply(const struct cyx_sched_facts *facts, enum cyx_sched_event event,
                                const struct cyx_sched_policy *policy,
                                struct cyx_sched_change *ret_change, struct cyx_error *err);

/* Whether a worker's failure with this status may pass when the job is tried again. */
bool cyx_sched_failure_may_pass(enum cyx_status failure);

/* The most that a job is left alone before it is tried again. */
int64_t cyx_sched_longest_retry_ms(const struct cyx_sched_policy *policy);

/* How long a node rests that has let `missed` offers pass in a row: 0 for none, at most a minute.
 */
int64_t cyx_sched_offer_rest_ms(const struct cyx_sched_policy *policy, int missed);

#endif
