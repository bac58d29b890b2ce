/*
 * Private to store*.c: a pass of matching in progress.
 */
#ifndef CYX_SCHEDULER_STORE_MATCH_H
#define CYX_SCHEDULER_STORE_MATCH_H

#include "store.h"

enum {
    CYX_SCHED_LANES_LIMIT = 4096, /* of one priority, looked at in a pass */
    CYX_SCHED_LANE_BATCH = 32,    /* jobs of a lane that are read at once */
};

/* A queued job as matching sees it. */
struct cyx_sched_candidate {
    char id[CYX_ID_BYTES];
    char created_at[40]; /* with all its microseconds: it is a cursor */
    struct cyx_sched_need need;
    int64_t waited_ms; /* of a lane's oldest, when the lanes were read */
};

/* An account's part in a pass. */
struct cyx_sched_share {
    char account_id[CYX_ID_BYTES];
    double usage_s, weight; /* usage_s: with what runs now */
    int64_t running, running_limit;
    double device_hours, device_hours_limit;
};

/* Queued jobs of one account that ask the same of a node, oldest first. */
struct cyx_sched_lane {
    int64_t key;
    struct cyx_sched_share *share;
    struct cyx_sched_candidate *jobs; /* of CYX_SCHED_LANE_BATCH */
    size_t next, count;
    bool whole;   /* what was read is all there is */
    bool closed;  /* no node fits, or the quota is full */
    bool starved; /* closed since every node that fits is busy */
};

struct cyx_sched_lanes {
    int priority;
    struct cyx_sched_lane *lanes;
    size_t n_lanes;
    struct cyx_sched_share *shares;
    size_t n_shares;
};

/* The lanes of a priority with their oldest jobs, and their accounts. All in the arena. */
enum cyx_status cyx_sched_lanes_read(struct cyx_sched_store *self, int priority,
                                     struct cyx_arena *arena, struct cyx_sched_lanes *ret_lanes,
                                     struct cyx_error *err);

/* The next job of a lane, NULL at its end; `ret_job` is valid until the next call for this lane. */
enum cyx_status cyx_sched_lane_next(struct cyx_sched_store *self, int priority,
                                    struct cyx_sched_lane *lane, struct cyx_arena *arena,
                                    const struct cyx_sched_candidate **ret_job,
                                    struct cyx_error *err);

/*
 * Jobs of high or critical priority that every node that fits is too busy for: chooses what makes way for them,
 * lowest priority first, then the least work lost since its last checkpoint, and marks it. What makes way goes on
 * until its next checkpoint, for the grace of the policy at most.
 */
enum cyx_status cyx_sched_store_preempt(struct cyx_sched_store *self,
                                        const struct cyx_sched_lanes *lanes,
                                        struct cyx_arena *arena, struct cyx_error *err);

/* Who is to train a job of several nodes: the first member first, each on a free slot of another node. */
struct cyx_sched_gang_plan {
    const char *job_id;
    const struct cyx_sched_node *nodes[CYX_SCHED_GANG_LIMIT];
    const struct cyx_sched_score *scores[CYX_SCHED_GANG_LIMIT];
    size_t count;
};
/* All in one transaction; `ret_token` is the first member's, 0 when somebody else was quicker and nothing was done. */
enum cyx_status cyx_sched_store_assign_gang(struct cyx_sched_store *self,
                                            const struct cyx_sched_gang_plan *plan,
                                            struct cyx_arena *arena, int64_t *ret_token,
                                            struct cyx_error *err);

/* The score and its parts as JSON. */
void cyx_sched_write_placement(const struct cyx_sched_score *score, struct cyx_buf *text);

/* How many of the nodes that are online fit, whatever they do now; as the last free_slots read them. */
size_t cyx_sched_roster_fits(const struct cyx_sched_roster *self,
                             const struct cyx_sched_need *need);

/* What cyx_sched_read_node() reads of a node, in the first columns of a row. */
#define CYX_SCHED_NODE_COLUMNS(busy, slot)                                                         \
    "id, boot_id, cpus, cpu_memory_bytes, gpu_memory_bytes, soft_memory_bytes, "                   \
    "price_per_hour, " busy                                                                        \
    " as busy, host_memory_bytes, labels, region, datasets, cpu_percent, good, bad, speed, "       \
    "slots, " slot ", closed, cpu_flops, gpu_flops, soft_flops"
enum { CYX_SCHED_NODE_COLUMN_COUNT = 22 };

/* Texts in the arena. */
enum cyx_status cyx_sched_read_node(const struct cyx_db_result *rows, size_t row,
                                    struct cyx_arena *arena, struct cyx_sched_node *node,
                                    struct cyx_error *err);

/*
 * Every free slot of nodes that take jobs, one entry each; a node's second one comes behind every node's first. In the
 * arena; their texts are valid until the next call. For the matcher's thread alone.
 */
enum cyx_status cyx_sched_store_free_slots(struct cyx_sched_store *self, struct cyx_arena *arena,
                                           struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                           struct cyx_error *err);

#endif
