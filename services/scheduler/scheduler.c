#include "scheduler.h"

#include <string.h>

#include "contract/heartbeat.h"
#include "contract/subjects.h"

#include "base/banned.h"

static const char *const state_names[CYX_SCHED_STATE_COUNT] = {
    "queued", "assigned", "running", "completed", "failed", "cancelled"};

const char *cyx_sched_state_name(enum cyx_sched_state state)
{
    return (unsigned)state < CYX_SCHED_STATE_COUNT ? state_names[state] : "unknown";
}

bool cyx_sched_state_parse(const char *name, enum cyx_sched_state *ret_state)
{
    for (int i = 0; name && i < CYX_SCHED_STATE_COUNT; i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *ret_state = (enum cyx_sched_state)i;
            return true;
        }
    }
    return false;
}

bool cyx_sched_state_ended(enum cyx_sched_state state)
{
    return state == CYX_SCHED_COMPLETED || state == CYX_SCHED_FAILED ||
           state == CYX_SCHED_CANCELLED;
}

struct cyx_sched_policy cyx_sched_policy_default(int64_t heartbeat_ms)
{
    return (struct cyx_sched_policy){
        .heartbeat_ms = heartbeat_ms,
        .lease_ms = heartbeat_ms * CYX_HEARTBEATS_MISSED,
        .lease_grace_ms = heartbeat_ms * (CYX_HEARTBEAT_MOST - CYX_HEARTBEATS_MISSED),
        .offer_ms = CYX_OFFER_TIMEOUT_MS,
        .retry_ms = heartbeat_ms * 2,
        .offer_missed_ms = heartbeat_ms,
        .preempt_grace_ms = heartbeat_ms * 15,
        .preemptions_limit = 3,
        .share_half_life_ms = INT64_C(24) * 3600 * 1000,
        .running_limit = -1,
        .queued_limit = -1,
        .device_hours_limit = -1,
        .gang_patience_ms = heartbeat_ms * 15,
        .requeues_limit = 10,
        .attempts_limit = 3,
    };
}

const char *cyx_sched_outcome_name(enum cyx_sched_outcome outcome)
{
    switch (outcome) {
    case CYX_SCHED_OUTCOME_CANCELLED:
        return "cancelled";
    case CYX_SCHED_OUTCOME_CANCELLING:
        return "cancelling";
    case CYX_SCHED_OUTCOME_ENDED:
        return "already-ended";
    case CYX_SCHED_OUTCOME_NONE:
        break;
    }
    return "none";
}

bool cyx_sched_failure_may_pass(enum cyx_status failure)
{
    switch (failure) {
    case CYX_ERR_TIMEOUT:
    case CYX_ERR_UNAVAILABLE:
    case CYX_ERR_RATE_LIMITED:
    case CYX_ERR_CORRUPT: /* a bad download or disk: another node has others */
    case CYX_ERR_NO_MEMORY:
    case CYX_ERR_IO:
    case CYX_ERR_INTERNAL:
        return true;
    default:
        return false; /* the spec, or what it asks, is wrong: it will be wrong again */
    }
}

enum { RETRY_DOUBLINGS = 9 }; /* the pause grows no further: half an hour at a heartbeat of 2 s */

int64_t cyx_sched_longest_retry_ms(const struct cyx_sched_policy *policy)
{
    return policy->retry_ms << RETRY_DOUBLINGS;
}

int64_t cyx_sched_offer_rest_ms(const struct cyx_sched_policy *policy, int missed)
{
    const int64_t limit_ms = 60000;
    if (missed <= 0)
        return 0;
    int64_t rest = policy->offer_missed_ms;
    for (int i = 1; i < missed && rest < limit_ms; i++)
        rest *= 2;
    return rest < limit_ms ? rest : limit_ms;
}

static void move(struct cyx_sched_change *change, enum cyx_sched_state to, const char *cause)
{
    change->moves = true;
    change->to = to;
    change->cause = cause;
}

static void fail(struct cyx_sched_change *change, const char *cause, enum cyx_status error,
                 const char *message)
{
    move(change, CYX_SCHED_FAILED, cause);
    change->error = error;
    change->error_message = message;
}

/* The job leaves its node without having ended: cancelled when the user wanted that, else queued
 * again. */
static void give_up_node(const struct cyx_sched_policy *policy, struct cyx_sched_change *change,
                         const char *cause)
{
    change->ends_assignment = true;
    if (change->cancel_requested) {
        move(change, CYX_SCHED_CANCELLED, "cancel-requested");
    } else if (change->requeues >= policy->requeues_limit) {
        fail(change, "lease-lost", CYX_ERR_UNAVAILABLE,
             "the job was queued again too often: its nodes were lost or did not take it; submit "
             "it again");
    } else {
        change->requeues++;
        move(change, CYX_SCHED_QUEUED, cause);
    }
}

static void worker_failed(const struct cyx_sched_facts *facts,
                          const struct cyx_sched_policy *policy, struct cyx_sched_change *change)
{
    change->ends_assignment = true;
    change->failures++;
    bool again = cyx_sched_failure_may_pass(facts->failure) &&
                 change->failures <
                     (facts->attempts_limit > 0 ? facts->attempts_limit : policy->attempts_limit);
    if (again) {
        give_up_node(policy, change, "worker-failed");
        if (change->to == CYX_SCHED_QUEUED)
            change->retry_after_ms = policy->retry_ms
                                     << (change->failures <= RETRY_DOUBLINGS ? change->failures - 1
                                                                             : RETRY_DOUBLINGS);
    } else {
        move(change, CYX_SCHED_FAILED, "worker-failed");
    }
}

/*
 * The worker stopped before the end: for a job of higher priority, or for reasons of its own. A worker on its way out
 * that hands back what it was training, or declines what it was offered, is no fault of the job, and does not count
 * towards the limit of requeues; that it does not do so for ever is seen to by the rest that the node has to take.
 */
static void worker_stopped(const struct cyx_sched_facts *facts, enum cyx_sched_event event,
                           const struct cyx_sched_policy *policy, struct cyx_sched_change *change)
{
    bool drained = event == CYX_SCHED_HAND_BACK;
    const char *cause = event == CYX_SCHED_HAND_BACK ? "handed-back" : "worker-stopped";
    if (change->cancel_requested || !(facts->preempted || drained)) {
        give_up_node(policy, change, cause);
        return;
    }
    change->ends_assignment = true;
    change->preempted = facts->preempted;
    move(change, CYX_SCHED_QUEUED, facts->preempted ? "preempted" : cause);
}

/* A job that was only offered when its node went cannot be what the node went by: that counts no requeue. */
static void node_gone(const struct cyx_sched_facts *facts, const struct cyx_sched_policy *policy,
                      struct cyx_sched_change *change, const char *cause)
{
    if (facts->state != CYX_SCHED_ASSIGNED || change->cancel_requested) {
        give_up_node(policy, change, cause);
        return;
    }
    change->ends_assignment = true;
    move(change, CYX_SCHED_QUEUED, cause);
}

static void user_cancels(const struct cyx_sched_facts *facts, struct cyx_sched_change *change)
{
    switch (facts->state) {
    case CYX_SCHED_QUEUED:
        move(change, CYX_SCHED_CANCELLED, "cancel-requested");
        change->outcome = CYX_SCHED_OUTCOME_CANCELLED;
        break;
    case CYX_SCHED_ASSIGNED: /* the node holds an offer: its accept will be refused */
        move(change, CYX_SCHED_CANCELLED, "cancel-requested");
        change->ends_assignment = change->tells_worker = true;
        change->outcome = CYX_SCHED_OUTCOME_CANCELLED;
        break;
    case CYX_SCHED_RUNNING:
        change->cancel_requested = change->tells_worker = true;
        change->outcome = CYX_SCHED_OUTCOME_CANCELLING;
        break;
    default:
        change->outcome = CYX_SCHED_OUTCOME_ENDED;
        break;
    }
}

static const char *const event_texts[CYX_SCHED_EVENT_COUNT] = {"be assigned",
                                                               "be accepted",
                                                               "complete",
                                                               "fail",
                                                               "be stopped",
                                                               "be handed back",
                                                               "be cancelled",
                                                               "be refused its budget",
                                                               "have its offer expire",
                                                               "have its lease expire",
                                                               "lose its node",
                                                               "lose its worker",
                                                               "pass its deadline",
                                                               "lose a job that it waits for"};

/* One bit a state in which the event can happen. */
static unsigned states_of(enum cyx_sched_event event)
{
    enum {
        QUEUED = 1 << CYX_SCHED_QUEUED,
        ASSIGNED = 1 << CYX_SCHED_ASSIGNED,
        RUNNING = 1 << CYX_SCHED_RUNNING
    };
    switch (event) {
    case CYX_SCHED_ASSIGN:
    case CYX_SCHED_REFUSE:
        return QUEUED;
    case CYX_SCHED_ACCEPT:
    case CYX_SCHED_OFFER_EXPIRED:
        return ASSIGNED;
    case CYX_SCHED_COMPLETE:
    case CYX_SCHED_STOP:
        return RUNNING;
    case CYX_SCHED_LEASE_EXPIRED: /* of several nodes, some hold it before the last has accepted */
    case CYX_SCHED_FAIL:
    case CYX_SCHED_HAND_BACK:
    case CYX_SCHED_NODE_OFFLINE:
    case CYX_SCHED_NODE_RESTARTED:
        return ASSIGNED | RUNNING;
    case CYX_SCHED_DEADLINE:
        return QUEUED | ASSIGNED | RUNNING;
    case CYX_SCHED_BREAK:
        return QUEUED;
    case CYX_SCHED_CANCEL:
        return ~0u;
    case CYX_SCHED_EVENT_COUNT:
        break;
    }
    return 0;
}

static void carry_out(const struct cyx_sched_facts *facts, enum cyx_sched_event event,
                      const struct cyx_sched_policy *policy, struct cyx_sched_change *change)
{
    switch (event) {
    case CYX_SCHED_ASSIGN:
        move(change, CYX_SCHED_ASSIGNED, "matched");
        break;
    case CYX_SCHED_ACCEPT:
        move(change, CYX_SCHED_RUNNING, "accepted");
        break;
    case CYX_SCHED_COMPLETE: /* also when a cancel came too late: the work is done and is kept */
        move(change, CYX_SCHED_COMPLETED, "worker-completed");
        change->ends_assignment = true;
        break;
    case CYX_SCHED_FAIL:
        worker_failed(facts, policy, change);
        break;
    case CYX_SCHED_STOP: /* without a user's wish it was the node's: somebody else takes the job */
    case CYX_SCHED_HAND_BACK:
        worker_stopped(facts, event, policy, change);
        break;
    case CYX_SCHED_CANCEL:
        user_cancels(facts, change);
        break;
    case CYX_SCHED_REFUSE:
        fail(change, "payment-refused", CYX_ERR_DENIED, "the budget could not be held");
        break;
    case CYX_SCHED_OFFER_EXPIRED:
        give_up_node(policy, change, "offer-expired");
        break;
    case CYX_SCHED_LEASE_EXPIRED:
        give_up_node(policy, change, "lease-expired");
        break;
    case CYX_SCHED_NODE_OFFLINE:
        node_gone(facts, policy, change, "node-offline");
        break;
    case CYX_SCHED_NODE_RESTARTED:
        node_gone(facts, policy, change, "node-restarted");
        break;
    case CYX_SCHED_DEADLINE:
        fail(change, "deadline-passed", CYX_ERR_TIMEOUT,
             "the deadline of schedule.deadline passed before the job ended");
        change->ends_assignment = change->tells_worker = facts->state != CYX_SCHED_QUEUED;
        break;
    case CYX_SCHED_BREAK:
        fail(change, "dependency-failed", CYX_ERR_CANCELLED,
             "a job of schedule.after failed or was cancelled");
        break;
    case CYX_SCHED_EVENT_COUNT:
        break;
    }
}

enum cyx_status cyx_sched_apply(const struct cyx_sched_facts *facts, enum cyx_sched_event event,
                                const struct cyx_sched_policy *policy,
                                struct cyx_sched_change *ret_change, struct cyx_error *err)
{
    if ((unsigned)event >= CYX_SCHED_EVENT_COUNT || (unsigned)facts->state >= CYX_SCHED_STATE_COUNT)
        return cyx_error_set(err, CYX_ERR_INTERNAL, NULL, "no such event %d in state %d",
                             (int)event, (int)facts->state);
    if (!(states_of(event) & (1u << facts->state)))
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "a job that is %s cannot %s",
                             cyx_sched_state_name(facts->state), event_texts[event]);
    if (event == CYX_SCHED_ASSIGN && !facts->funded)
        return cyx_error_set(err, CYX_ERR_CONFLICT, NULL, "the job's budget is not held yet");
    struct cyx_sched_change change = {
        .to = facts->state,
        .cancel_requested = facts->cancel_requested,
        .requeues = facts->requeues,
        .failures = facts->failures,
    };
    carry_out(facts, event, policy, &change);
    *ret_change = change;
    return CYX_OK;
}
