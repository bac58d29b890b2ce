#include "scheduler.h"

#include <stdio.h>
#include <string.h>

#include "contract/money.h"
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
        .offer_ms = CYX_OFFER_TIMEOUT_MS,
        .retry_ms = heartbeat_ms * 2,
        .offer_missed_ms = heartbeat_ms,
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
    bool again =
        cyx_sched_failure_may_pass(facts->failure) && change->failures < policy->attempts_limit;
    if (again) {
        give_up_node(policy, change, "worker-failed");
        if (change->to == CYX_SCHED_QUEUED)
            change->retry_after_ms = policy->retry_ms << (change->failures - 1);
    } else {
        move(change, CYX_SCHED_FAILED, "worker-failed");
    }
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
                                                               "lose its worker"};

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
    case CYX_SCHED_LEASE_EXPIRED:
        return RUNNING;
    case CYX_SCHED_FAIL:
    case CYX_SCHED_HAND_BACK:
    case CYX_SCHED_NODE_OFFLINE:
    case CYX_SCHED_NODE_RESTARTED:
        return ASSIGNED | RUNNING;
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
        give_up_node(policy, change, "worker-stopped");
        break;
    case CYX_SCHED_HAND_BACK:
        give_up_node(policy, change, "handed-back");
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
        give_up_node(policy, change, "node-offline");
        break;
    case CYX_SCHED_NODE_RESTARTED:
        give_up_node(policy, change, "node-restarted");
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

bool cyx_sched_backend_parse(const char *name, enum cyx_sched_backend *ret_backend)
{
    for (int i = CYX_SCHED_ANY; name && i <= CYX_SCHED_VULKAN; i++) {
        if (strcmp(name, cyx_sched_backend_name((enum cyx_sched_backend)i)) == 0) {
            *ret_backend = (enum cyx_sched_backend)i;
            return true;
        }
    }
    return false;
}

const char *cyx_sched_backend_name(enum cyx_sched_backend backend)
{
    return backend == CYX_SCHED_CPU ? "cpu" : backend == CYX_SCHED_VULKAN ? "vulkan" : "auto";
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Memory of the largest device that counts for this backend, 0 when the node has none. */
static int64_t device_memory(enum cyx_sched_backend backend, const struct cyx_sched_node *node)
{
    if (backend == CYX_SCHED_CPU)
        return node->cpu_memory_bytes;
    if (backend == CYX_SCHED_VULKAN)
        return larger(node->gpu_memory_bytes, node->soft_memory_bytes);
    int64_t memory = larger(node->gpu_memory_bytes, node->cpu_memory_bytes);
    return memory > 0 ? memory : node->soft_memory_bytes;
}

/* A minute at this price, rounded up. */
static int64_t minute_price(int64_t price_per_hour)
{
    return price_per_hour / 60 + (price_per_hour % 60 > 0);
}

enum cyx_sched_misfit cyx_sched_fit(const struct cyx_sched_need *need,
                                    const struct cyx_sched_node *node)
{
    int64_t memory = device_memory(need->backend, node);
    if (memory <= 0)
        return CYX_SCHED_NO_BACKEND;
    if (memory < need->memory_bytes)
        return CYX_SCHED_NO_MEMORY;
    if (need->threads > node->cpus)
        return CYX_SCHED_NO_THREADS;
    if (minute_price(node->price_per_hour_base_units) > need->budget_base_units)
        return CYX_SCHED_TOO_DEAR;
    return CYX_SCHED_FITS;
}

static bool gpu_fits(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    return need->backend != CYX_SCHED_CPU && node->gpu_memory_bytes > 0 &&
           node->gpu_memory_bytes >= need->memory_bytes;
}

/* Whether `a` comes before `b` for this job. */
static bool better(const struct cyx_sched_need *need, const struct cyx_sched_node *a,
                   const struct cyx_sched_node *b)
{
    bool a_last = strcmp(a->id, need->last_node_id) == 0;
    bool b_last = strcmp(b->id, need->last_node_id) == 0;
    if (a_last != b_last)
        return b_last;
    if (gpu_fits(need, a) != gpu_fits(need, b))
        return gpu_fits(need, a);
    if (a->price_per_hour_base_units != b->price_per_hour_base_units)
        return a->price_per_hour_base_units < b->price_per_hour_base_units;
    return strcmp(a->id, b->id) < 0;
}

const struct cyx_sched_node *cyx_sched_match(const struct cyx_sched_need *need,
                                             const struct cyx_sched_node *nodes, size_t count)
{
    const struct cyx_sched_node *best = NULL;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].busy || cyx_sched_fit(need, &nodes[i]) != CYX_SCHED_FITS)
            continue;
        if (!best || better(need, &nodes[i], best))
            best = &nodes[i];
    }
    return best;
}

const char *cyx_sched_pending_name(enum cyx_sched_pending_code code)
{
    static const char *const names[] = {"none",           "awaiting-escrow", "no-node-online",
                                        "all-nodes-busy", "no-node-fits",    "retry-backoff"};
    return (unsigned)code < sizeof(names) / sizeof(names[0]) ? names[code] : "none";
}

static void format_bytes(int64_t bytes, char *ret_text, size_t size)
{
    if (bytes >= INT64_C(1) << 30)
        snprintf(ret_text, size, "%.1f GiB", (double)bytes / (double)(INT64_C(1) << 30));
    else
        snprintf(ret_text, size, "%.1f MiB", (double)bytes / (double)(INT64_C(1) << 20));
}

/* What would fit, and what the nodes that are online lack. */
static void describe_misfit(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                            size_t count, char *ret_text, size_t size)
{
    size_t lack[CYX_SCHED_TOO_DEAR + 1] = {0};
    int64_t memory = 0, cheapest = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        lack[cyx_sched_fit(need, &nodes[i])]++;
        memory = larger(memory, device_memory(need->backend, &nodes[i]));
        if (nodes[i].price_per_hour_base_units < cheapest)
            cheapest = nodes[i].price_per_hour_base_units;
    }
    char want[32], have[32], dear[CYX_MONEY_TEXT_BYTES], minute[CYX_MONEY_TEXT_BYTES],
        threads[48] = "";
    format_bytes(need->memory_bytes, want, sizeof(want));
    format_bytes(memory, have, sizeof(have));
    cyx_money_format(cheapest, dear);
    cyx_money_format(need->budget_base_units, minute);
    if (need->threads > 0)
        snprintf(threads, sizeof(threads), ", %lld processors", (long long)need->threads);
    snprintf(ret_text, size,
             "wants a node with a%s device of %s%s whose minute costs at most %s; of %zu online, "
             "%zu lack "
             "the device, %zu memory (most: %s), %zu processors, and %zu cost too much (least: %s "
             "an hour)",
             need->backend == CYX_SCHED_ANY   ? ""
             : need->backend == CYX_SCHED_CPU ? " CPU"
                                              : " Vulkan",
             want, threads, minute, count, lack[CYX_SCHED_NO_BACKEND], lack[CYX_SCHED_NO_MEMORY],
             have, lack[CYX_SCHED_NO_THREADS], lack[CYX_SCHED_TOO_DEAR], dear);
}

void cyx_sched_pending(const struct cyx_sched_need *need, bool funded, int64_t wait_ms,
                       const struct cyx_sched_node *nodes, size_t count,
                       struct cyx_sched_pending *ret_pending)
{
    size_t fit = 0, idle = 0;
    for (size_t i = 0; i < count; i++) {
        if (cyx_sched_fit(need, &nodes[i]) != CYX_SCHED_FITS)
            continue;
        fit++;
        idle += !nodes[i].busy;
    }
    *ret_pending = (struct cyx_sched_pending){.code = CYX_SCHED_PENDING_NONE};
    char *text = ret_pending->message;
    const size_t size = sizeof(ret_pending->message);
    if (!funded) {
        ret_pending->code = CYX_SCHED_AWAITING_ESCROW;
        snprintf(text, size, "waits until its budget is held");
    } else if (wait_ms > 0) {
        ret_pending->code = CYX_SCHED_RETRY_BACKOFF;
        snprintf(text, size, "failed for a reason that may pass; tried again in %.1f s",
                 (double)wait_ms / 1000.0);
    } else if (count == 0) {
        ret_pending->code = CYX_SCHED_NO_NODE_ONLINE;
        snprintf(text, size, "no node is online; it starts as soon as one is");
    } else if (fit == 0) {
        ret_pending->code = CYX_SCHED_NO_NODE_FITS;
        describe_misfit(need, nodes, count, text, size);
    } else if (idle == 0) {
        ret_pending->code = CYX_SCHED_ALL_NODES_BUSY;
        snprintf(text, size, "%zu of %zu nodes online would fit, and all of them are busy", fit,
                 count);
    }
}
