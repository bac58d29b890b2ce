/* Why a job waits, in words: what it needs, what is there, what would change it. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "contract/money.h"
#include "placement.h"

#include "base/banned.h"

const char *cyx_sched_pending_name(enum cyx_sched_pending_code code)
{
    static const char *const names[CYX_SCHED_PENDING_COUNT] = {
        "none",           "awaiting-escrow",    "waits-for-jobs",
        "retry-backoff",  "quota-running-jobs", "quota-device-hours",
        "no-node-online", "no-node-fits",       "all-nodes-busy",
        "too-few-nodes"};
    return (unsigned)code < CYX_SCHED_PENDING_COUNT ? names[code] : "none";
}

enum { BYTES_TEXT = 32 };

static const char *format_bytes(int64_t bytes, char ret_text[BYTES_TEXT])
{
    if (bytes >= INT64_C(1) << 30)
        snprintf(ret_text, BYTES_TEXT, "%.1f GiB", (double)bytes / (double)(INT64_C(1) << 30));
    else
        snprintf(ret_text, BYTES_TEXT, "%.1f MiB", (double)bytes / (double)(INT64_C(1) << 20));
    return ret_text;
}

/* The best that the nodes have that fail by no earlier test than `misfit`. */
struct best {
    size_t nodes; /* that came so far */
    int64_t device_memory, host_memory, cpus, price;
    double reputation;
    const char *region, *closed; /* of one of them */
};

static int64_t memory_for(const struct cyx_sched_need *need, const struct cyx_sched_node *node)
{
    int64_t gpu = node->gpu_memory_bytes, cpu = node->cpu_memory_bytes,
            soft = node->soft_memory_bytes;
    if (need->backend == CYX_SCHED_CPU)
        return cpu;
    if (need->backend == CYX_SCHED_VULKAN)
        return gpu > soft ? gpu : soft;
    int64_t most = gpu > cpu ? gpu : cpu;
    return most > 0 ? most : soft;
}

static void note(struct best *best, const struct cyx_sched_need *need,
                 const struct cyx_sched_node *node)
{
    int64_t memory = memory_for(need, node);
    double reputation = cyx_sched_reputation(node);
    if (best->nodes++ == 0 || node->price_per_hour_base_units < best->price)
        best->price = node->price_per_hour_base_units;
    if (memory > best->device_memory)
        best->device_memory = memory;
    if (node->host_memory_bytes > best->host_memory)
        best->host_memory = node->host_memory_bytes;
    if (node->cpus > best->cpus)
        best->cpus = node->cpus;
    if (reputation > best->reputation)
        best->reputation = reputation;
    if (node->closed && *node->closed)
        best->closed = node->closed;
    if (node->region && *node->region)
        best->region = node->region;
}

/* The test that the last nodes failed, none having come further, and the best of these nodes. */
static enum cyx_sched_misfit furthest(const struct cyx_sched_need *need,
                                      const struct cyx_sched_node *nodes, size_t count,
                                      struct best *ret_best)
{
    enum cyx_sched_misfit last = CYX_SCHED_NO_BACKEND;
    for (size_t i = 0; i < count; i++) {
        enum cyx_sched_misfit misfit = cyx_sched_fit(need, &nodes[i]);
        if (misfit > last)
            last = misfit;
    }
    *ret_best = (struct best){0};
    for (size_t i = 0; i < count; i++)
        if (cyx_sched_fit(need, &nodes[i]) == last)
            note(ret_best, need, &nodes[i]);
    return last;
}

static const char *device_of(const struct cyx_sched_need *need)
{
    return need->backend == CYX_SCHED_CPU      ? "CPU device"
           : need->backend == CYX_SCHED_VULKAN ? "Vulkan device"
                                               : "device";
}

/* "2 nodes online" or, once tests have sorted some out, "of the 5 nodes online 2 come so far". */
static void say_who(const struct best *best, size_t count, char *ret_text, size_t size)
{
    if (best->nodes == count)
        snprintf(ret_text, size, "%zu node%s online", count, count == 1 ? " is" : "s are");
    else
        snprintf(ret_text, size, "%zu of %zu nodes online are right but for this", best->nodes,
                 count);
}

static void say_memory(const struct cyx_sched_need *need, const struct best *best,
                       struct cyx_sched_pending *pending)
{
    char want[BYTES_TEXT], have[BYTES_TEXT];
    format_bytes(need->memory_bytes, want);
    format_bytes(best->device_memory, have);
    snprintf(pending->message, sizeof(pending->message),
             "needs %s of memory on a %s; the largest that is online has %s", want, device_of(need),
             have);
    snprintf(pending->remedy, sizeof(pending->remedy),
             "a node with %s, or a smaller batch or model, or less resources.device_memory_bytes",
             want);
}

static void say_host(const struct cyx_sched_need *need, const struct best *best,
                     struct cyx_sched_pending *pending)
{
    char want[BYTES_TEXT], have[BYTES_TEXT];
    format_bytes(need->host_memory_bytes, want);
    format_bytes(best->host_memory, have);
    snprintf(pending->message, sizeof(pending->message),
             "needs %s of main memory; the largest of the %zu nodes that have the device has %s",
             want, best->nodes, have);
    snprintf(pending->remedy, sizeof(pending->remedy),
             "a node with %s of main memory, or less resources.host_memory_bytes", want);
}

static void say_price(const struct cyx_sched_need *need, const struct best *best, bool budget,
                      struct cyx_sched_pending *pending)
{
    char want[CYX_MONEY_TEXT_BYTES], have[CYX_MONEY_TEXT_BYTES];
    cyx_money_format(budget ? need->budget_base_units : need->max_price_per_hour_base_units, want);
    cyx_money_format(best->price, have);
    snprintf(pending->message, sizeof(pending->message),
             budget ? "its budget of %s does not pay for a minute; an hour on the cheapest node "
                      "that fits costs %s"
                    : "pays at most %s an hour; the cheapest node that fits costs %s",
             want, have);
    snprintf(pending->remedy, sizeof(pending->remedy), "a cheaper node, or more %s",
             budget ? "budget" : "resources.max_price_per_hour");
}

/* Nodes that would do but take nothing new. */
static void say_closed(const struct best *best, struct cyx_sched_pending *pending)
{
    const char *closed = best->closed ? best->closed : "";
    bool unproven = strcmp(closed, "unproven") == 0;
    bool planned = strcmp(closed, "maintenance") == 0, proving = strcmp(closed, "proving") == 0;
    snprintf(pending->message, sizeof(pending->message), "%zu node%s would fit but %s: %s",
             best->nodes, best->nodes == 1 ? "" : "s",
             best->nodes == 1 ? "takes nothing new" : "take nothing new",
             unproven  ? "its benchmark did not bear out what it claims"
             : proving ? "it is being benchmarked"
             : planned ? "it is in maintenance"
                       : "its operator drains it");
    snprintf(
        pending->remedy, sizeof(pending->remedy), "%s",
        unproven  ? "a node whose claims are proved; its operator sees why in `cyxwiz node show`"
        : proving ? "nothing to do: a benchmark takes some seconds"
        : planned ? "the end of the maintenance, or another node that fits"
                  : "its operator opens it (`cyxwiz node undrain`), or another node that fits");
}

static void say_misfit(const struct cyx_sched_need *need, enum cyx_sched_misfit misfit,
                       const struct best *best, size_t count, struct cyx_sched_pending *pending)
{
    char *message = pending->message, *remedy = pending->remedy, who[96];
    const size_t size = sizeof(pending->message), room = sizeof(pending->remedy);
    say_who(best, count, who, sizeof(who));
    switch (misfit) {
    case CYX_SCHED_NO_MEMORY:
        say_memory(need, best, pending);
        return;
    case CYX_SCHED_NO_HOST_MEMORY:
        say_host(need, best, pending);
        return;
    case CYX_SCHED_NO_THREADS:
        snprintf(message, size, "needs %lld processors; the most that a node that fits has is %lld",
                 (long long)need->threads, (long long)best->cpus);
        snprintf(remedy, room, "a node with more processors, or fewer resources.threads");
        return;
    case CYX_SCHED_NO_LABEL:
        snprintf(message, size, "wants a node labelled %.200s; %s", need->labels, who);
        snprintf(remedy, room, "a node with these labels, or fewer resources.labels");
        return;
    case CYX_SCHED_BAD_LABEL:
        snprintf(message, size, "refuses nodes labelled %.200s; %s", need->avoid_labels, who);
        snprintf(remedy, room, "a node without these labels, or fewer resources.avoid_labels");
        return;
    case CYX_SCHED_NO_REGION:
        snprintf(message, size, "wants a node in %.120s%s%.120s; %s, the last in %.64s",
                 need->regions && *need->regions ? need->regions : "any region",
                 need->avoid_regions && *need->avoid_regions ? " but not in " : "",
                 need->avoid_regions ? need->avoid_regions : "", who,
                 best->region ? best->region : "no known region");
        snprintf(remedy, room,
                 "a node there, or other resources.regions and resources.avoid_regions");
        return;
    case CYX_SCHED_LOW_REPUTATION:
        snprintf(message, size, "wants a reputation of %.4g at least; the best that fits has %.4g",
                 need->min_reputation, best->reputation);
        snprintf(remedy, room, "a node of better repute, or less resources.min_reputation");
        return;
    case CYX_SCHED_CLOSED:
        say_closed(best, pending);
        return;
    case CYX_SCHED_TOO_DEAR:
    case CYX_SCHED_OVER_BUDGET:
        say_price(need, best, misfit == CYX_SCHED_OVER_BUDGET, pending);
        return;
    default:
        snprintf(message, size, "needs a %s; %s, and none has one", device_of(need), who);
        snprintf(remedy, room, "a node with such a device, or another resources.backend");
        return;
    }
}

/* What holds the job back whatever the nodes are; false when nothing does. */
static bool say_hold(const struct cyx_sched_hold *hold, struct cyx_sched_pending *pending)
{
    char *message = pending->message, *remedy = pending->remedy, until[CYX_TIME_TEXT_BYTES];
    const size_t size = sizeof(pending->message), room = sizeof(pending->remedy);
    if (!hold->funded) {
        pending->code = CYX_SCHED_AWAITING_ESCROW;
        snprintf(message, size, "waits until its budget is held");
        snprintf(remedy, room, "nothing to do: payments holds it, or refuses within moments");
    } else if (hold->waits_for > 0) {
        pending->code = CYX_SCHED_WAITS_FOR_JOBS;
        snprintf(message, size, "waits for %d other job%s to complete", hold->waits_for,
                 hold->waits_for == 1 ? "" : "s");
        snprintf(remedy, room, "their end; it fails when one of them fails or is cancelled");
    } else if (hold->wait_ms > 0) {
        pending->code = CYX_SCHED_RETRY_BACKOFF;
        cyx_time_format(hold->wait_until_ms, until);
        snprintf(message, size, "failed %d time%s for a reason that may pass; tried again at %s",
                 hold->failures, hold->failures == 1 ? "" : "s", until);
        snprintf(remedy, room, "%.1f seconds", (double)hold->wait_ms / 1000.0);
    } else if (hold->quota == CYX_SCHED_QUOTA_RUNNING) {
        pending->code = hold->quota;
        snprintf(message, size, "your account runs %.0f jobs, which is its limit",
                 hold->quota_limit);
        snprintf(remedy, room, "the end of one of your running jobs, or a larger quota");
    } else if (hold->quota == CYX_SCHED_QUOTA_DEVICE_HOURS) {
        pending->code = hold->quota;
        snprintf(message, size, "your account has used its %.1f device hours of today (UTC)",
                 hold->quota_limit);
        snprintf(remedy, room, "midnight UTC, or a larger quota");
    }
    return pending->code != CYX_SCHED_PENDING_NONE;
}

/* Of a job of several nodes: too few fit, or too few of those that fit are free at once. */
static void say_too_few(const struct cyx_sched_need *need, size_t fit, size_t idle,
                        struct cyx_sched_pending *pending)
{
    char *message = pending->message, *remedy = pending->remedy;
    const size_t size = sizeof(pending->message), room = sizeof(pending->remedy);
    long long wanted = (long long)need->nodes, missing = wanted - (long long)fit;
    pending->code = CYX_SCHED_TOO_FEW_NODES;
    if (missing > 0) {
        snprintf(message, size, "needs %lld nodes at once; %zu fit%s", wanted, fit,
                 fit == 1 ? "s" : "");
        snprintf(remedy, room, "%lld more node%s that fit%s, or fewer resources.nodes", missing,
                 missing == 1 ? "" : "s", missing == 1 ? "s" : "");
    } else {
        snprintf(message, size, "needs %lld nodes at once; %zu fit, and %zu of them %s free now",
                 wanted, fit, idle, idle == 1 ? "is" : "are");
        snprintf(
            remedy, room,
            "the end of jobs there: once it has waited a while, the nodes that become free are "
            "kept for it");
    }
}

static void say_busy(const struct cyx_sched_hold *hold, size_t fit, size_t count, size_t kept,
                     struct cyx_sched_pending *pending)
{
    pending->code = CYX_SCHED_ALL_NODES_BUSY;
    if (kept > 0)
        snprintf(pending->message, sizeof(pending->message),
                 "%zu of %zu nodes online fit; %zu of them %s kept for job %s, which needs %lld at "
                 "once, and the others are busy",
                 fit, count, kept, kept == 1 ? "is" : "are", hold->kept->job_id,
                 (long long)hold->kept->nodes);
    else
        snprintf(pending->message, sizeof(pending->message),
                 "%zu of %zu nodes online fit, and all of them are busy", fit, count);
    snprintf(pending->remedy, sizeof(pending->remedy),
             "the end of a job there, or one more node that fits");
}

void cyx_sched_pending(const struct cyx_sched_need *need, const struct cyx_sched_hold *hold,
                       const struct cyx_sched_node *nodes, size_t count,
                       struct cyx_sched_pending *ret_pending)
{
    struct cyx_sched_pending *pending = ret_pending;
    size_t fit = 0, idle = 0, kept = 0;
    struct best best;
    *pending = (struct cyx_sched_pending){.code = CYX_SCHED_PENDING_NONE};
    if (say_hold(hold, pending))
        return;
    for (size_t i = 0; i < count; i++) {
        bool fits = cyx_sched_fit(need, &nodes[i]) == CYX_SCHED_FITS;
        bool of_another = fits && !nodes[i].busy && cyx_sched_is_kept(hold->kept, nodes[i].id);
        fit += fits;
        kept += of_another;
        idle += fits && !nodes[i].busy && !of_another;
    }
    if (count == 0) {
        pending->code = CYX_SCHED_NO_NODE_ONLINE;
        snprintf(pending->message, sizeof(pending->message), "no node is online");
        snprintf(pending->remedy, sizeof(pending->remedy),
                 "a node that comes online; it starts as soon as one that fits does");
    } else if (fit == 0) {
        pending->code = CYX_SCHED_NO_NODE_FITS;
        enum cyx_sched_misfit misfit = furthest(need, nodes, count, &best);
        say_misfit(need, misfit, &best, count, pending);
    } else if (need->nodes > 1 && idle < (size_t)need->nodes) {
        say_too_few(need, fit, idle, pending);
    } else if (idle == 0) {
        say_busy(hold, fit, count, kept, pending);
    }
}
