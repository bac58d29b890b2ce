/*
 * Which node may take a job, which one should, and why a job waits. Pure: no SQL, no clock.
 *
 * Score of a node for a job: the sum of five parts, each in [0, 1] and times its weight, higher is better.
 *   speed       .40  FLOP/s over the fastest's of those that fit. Measured by what past jobs of about this size
 *                    reached there; else its benchmark, times the part of theirs that jobs reach on nodes of its kind
 *                    of device; without one it counts as the mean of the measured ones of its kind, else as a guess
 *   price       .25  the cheapest's over this one's
 *   reputation  .15  (good + 1) / (good + bad + 2): Laplace's rule of succession over the node's assignments
 *   load        .10  the part of its processors that other work leaves idle, as it last said
 *   data        .10  1 where the data set lies already
 * A node where the job was lost or failed last comes after all others. Equal scores: cheapest, smallest id.
 *
 * Units: money in base units, memory in bytes. Ownership: needs and nodes refer to texts of whoever made them.
 * Threads: any.
 *
 *     struct cyx_sched_score score;
 *     const struct cyx_sched_node *node = cyx_sched_match(&need, nodes, count, &score);
 */
#ifndef CYX_SCHEDULER_PLACEMENT_H
#define CYX_SCHEDULER_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

enum cyx_sched_backend { CYX_SCHED_ANY, CYX_SCHED_CPU, CYX_SCHED_VULKAN };

/* "auto", "cpu", "vulkan"; false for anything else. */
bool cyx_sched_backend_parse(const char *name, enum cyx_sched_backend *ret_backend);
const char *cyx_sched_backend_name(enum cyx_sched_backend backend);

/* What a job wants of a node. Lists are texts joined by commas; NULL and "" ask nothing. */
struct cyx_sched_need {
    enum cyx_sched_backend backend;
    int64_t memory_bytes; /* the plan's training_bytes and what the spec asks besides */
    int64_t host_memory_bytes;
    int64_t threads; /* 0: any */
    int64_t budget_base_units;
    int64_t max_price_per_hour_base_units; /* 0: any */
    double min_reputation;
    const char *labels, *avoid_labels, *regions, *avoid_regions;
    const char *dataset;
    double flops_per_sample;
    double total_flops;              /* of the whole job */
    int64_t nodes;                   /* that it takes at once; 0 counts as 1 */
    char last_node_id[CYX_ID_BYTES]; /* where it ran last, "" for nowhere: others come first */
};

/* Jobs by their work a sample, eightfold from one size to the next; speeds are kept by size. */
enum { CYX_SCHED_SIZES = 16, CYX_SCHED_NEAR = 1 };
int cyx_sched_size(double flops_per_sample);

/* What a node offers: a row of the scheduler's own projection of the registry's nodes. */
struct cyx_sched_node {
    char id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    bool busy;     /* has no free slot, or rests after missed offers */
    int64_t slots; /* jobs that it takes at once */
    int64_t slot;  /* in a list of free slots: which one this is */
    /* Why it takes nothing new: "draining", "maintenance", "proving", "unproven"; NULL or "": it does. */
    const char *closed;
    int64_t cpus;
    int64_t host_memory_bytes;
    int64_t cpu_memory_bytes;  /* of its CPU device, 0: has none */
    int64_t gpu_memory_bytes;  /* of its largest hardware Vulkan device, 0: has none */
    int64_t soft_memory_bytes; /* of its largest software Vulkan device, 0: has none */
    int64_t price_per_hour_base_units;
    const char *labels, *region, *datasets;   /* NULL and "": none */
    double cpu_percent;                       /* as its last heartbeats said */
    double good, bad;                         /* assignments that ended well, and that it lost */
    double flops_per_second[CYX_SCHED_SIZES]; /* measured; 0: not yet */
    /* What benchmarks bear out, of its CPU, its slowest GPU, its slowest software Vulkan device; 0: none. */
    double cpu_flops, gpu_flops, soft_flops;
};

/* Of its benchmark, where no job has shown what is reached. */
#define CYX_SCHED_SHARE_GUESS 0.5

double cyx_sched_reputation(const struct cyx_sched_node *node);

/*
 * FLOP/s that jobs of about this size reached on the node: of this size, else of the nearest within CYX_SCHED_NEAR.
 * Small networks reach a hundredth of what large ones do, so what others reached stands in for them only where there
 * is no benchmark either. 0: none.
 */
double cyx_sched_speed(const struct cyx_sched_need *need, const struct cyx_sched_node *node);

/* FLOP/s of the benchmark of the device that would run the job there; 0: none. */
double cyx_sched_benchmark(const struct cyx_sched_need *need, const struct cyx_sched_node *node);

/*
 * The part of its benchmark that a job of about this size reaches, over those of the nodes that have both and would run
 * it on the same kind of device as `node`; 0: none has.
 */
double cyx_sched_share(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                       size_t count, const struct cyx_sched_node *node);

/*
 * Fit. "cpu": the CPU device. "vulkan": any Vulkan device; a software one counts here alone, since it was asked
 * for by name. "auto": a hardware Vulkan device or the CPU device, whichever has room; a node that has nothing but
 * software Vulkan fits too. Memory: the device holds memory_bytes. Threads: the node has so many processors.
 * A region wanted or refused is the node's own or stands before it with a "/": "eu" takes in "eu/west". Price: at
 * most what the spec says, and the budget pays for a minute at least of so many nodes at this one's price.
 */
enum cyx_sched_misfit { /* in the order in which they are looked at */
                        CYX_SCHED_FITS,
                        CYX_SCHED_NO_BACKEND,
                        CYX_SCHED_NO_MEMORY,
                        CYX_SCHED_NO_HOST_MEMORY,
                        CYX_SCHED_NO_THREADS,
                        CYX_SCHED_NO_LABEL,
                        CYX_SCHED_BAD_LABEL,
                        CYX_SCHED_NO_REGION,
                        CYX_SCHED_LOW_REPUTATION,
                        CYX_SCHED_TOO_DEAR,
                        CYX_SCHED_OVER_BUDGET,
                        CYX_SCHED_CLOSED,
                        CYX_SCHED_MISFIT_COUNT
};
enum cyx_sched_misfit cyx_sched_fit(const struct cyx_sched_need *need,
                                    const struct cyx_sched_node *node);

/* Parts are unweighted, `total` is weighted. */
struct cyx_sched_score {
    double total, speed, price, reputation, load, data;
    bool measured;        /* the speed is of past jobs there */
    const char *speed_by; /* where it is from: "jobs", "benchmark", "guess" */
};

/* The node to offer the job to: fits, is free, has the best score. NULL when there is none. */
const struct cyx_sched_node *cyx_sched_match(const struct cyx_sched_need *need,
                                             const struct cyx_sched_node *nodes, size_t count,
                                             struct cyx_sched_score *ret_score);

/*
 * The nodes to offer a job of need->nodes nodes to, the best first: as many different ones, each free and fit. Places in
 * `nodes`, with their scores; false when there are too few.
 */
enum { CYX_SCHED_GANG_LIMIT = 8 };
struct cyx_sched_gang_choice {
    size_t places[CYX_SCHED_GANG_LIMIT];
    struct cyx_sched_score scores[CYX_SCHED_GANG_LIMIT];
    size_t count;
};
bool cyx_sched_match_gang(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                          size_t count, struct cyx_sched_gang_choice *ret_choice);

enum cyx_sched_pending_code {
    CYX_SCHED_PENDING_NONE, /* about to be matched */
    CYX_SCHED_AWAITING_ESCROW,
    CYX_SCHED_WAITS_FOR_JOBS,
    CYX_SCHED_RETRY_BACKOFF,
    CYX_SCHED_QUOTA_RUNNING,
    CYX_SCHED_QUOTA_DEVICE_HOURS,
    CYX_SCHED_NO_NODE_ONLINE,
    CYX_SCHED_NO_NODE_FITS,
    CYX_SCHED_ALL_NODES_BUSY,
    CYX_SCHED_TOO_FEW_NODES, /* of a job of several: they fit, but not so many, or not at once */
    CYX_SCHED_PENDING_COUNT
};
const char *cyx_sched_pending_name(enum cyx_sched_pending_code code);

/* Free nodes that are kept for a job of several until it has enough. */
struct cyx_sched_kept {
    char job_id[CYX_ID_BYTES];
    int64_t nodes; /* that it needs */
    char node_ids[CYX_SCHED_GANG_LIMIT][CYX_ID_BYTES];
    size_t count;
};

/* Whether the node is among them; NULL keeps none. */
bool cyx_sched_is_kept(const struct cyx_sched_kept *kept, const char *node_id);

/* What holds a job back besides nodes. */
struct cyx_sched_hold {
    bool funded;
    int waits_for; /* jobs that must complete first */
    int failures, requeues;
    int64_t wait_ms;                   /* left of its pause */
    int64_t wait_until_ms;             /* Unix time of its end */
    enum cyx_sched_pending_code quota; /* QUOTA_RUNNING or QUOTA_DEVICE_HOURS, else NONE */
    double quota_limit;
    const struct cyx_sched_kept *kept; /* nodes that another job waits for; NULL: none */
};

struct cyx_sched_pending {
    enum cyx_sched_pending_code code;
    char message[400]; /* what is */
    char remedy[240];  /* what would change it */
};

/* Why a queued job waits; `nodes` are all that are online. */
void cyx_sched_pending(const struct cyx_sched_need *need, const struct cyx_sched_hold *hold,
                       const struct cyx_sched_node *nodes, size_t count,
                       struct cyx_sched_pending *ret_pending);

#endif
