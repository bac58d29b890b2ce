/*
 * Matching: who gets which node. Priorities one after another; within one, the account that has used least for its
 * weight goes first, its oldest job first. The measure of use is Slurm's multifactor plugin's: device seconds that
 * decay by half every half-life, so that an account that waited is served before one that has just had its turn.
 */
#include <math.h>
#include <string.h>

#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

/* A job that has just been placed is taken to run so long, until it is known how long it did. */
static const double charge_ahead_s = 60;

static void copy_id(char target[CYX_ID_BYTES], const char *id)
{
    size_t length = strnlen(id, CYX_ID_BYTES - 1);
    memcpy(target, id, length);
    target[length] = '\0';
}

enum placing_result { STAGED, ASSIGNED, JOB_GONE, NODE_GONE };

/* A job and the node chosen for it. */
struct placing {
    char job_id[CYX_ID_BYTES];
    struct cyx_sched_node *node;
    struct cyx_sched_score score;
    enum placing_result result;
    int64_t token;
};

struct pass {
    struct cyx_sched_store *self;
    struct cyx_arena arena;
    struct cyx_sched_node *nodes; /* that were free */
    size_t n_nodes, n_free, assigned;
    struct placing staged[CYX_SCHED_TXN_JOBS];
    size_t n_staged;
    cyx_sched_offered offered;
    void *ctx;
};

/* Locks the node if it is still there and free; another replica's lock means that it is being taken. */
static enum cyx_status lock_node(struct cyx_db_conn *conn, const struct cyx_sched_node *node,
                                 bool *ret_free, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_db_query(conn,
                     "select id from node where id = $1 and boot_id = $2 and online "
                     "and rests_until <= clock_timestamp() for update skip locked",
                     &rows, err, CYX_DB_TEXT(node->id), CYX_DB_TEXT(node->boot_id));
    *ret_free = status == CYX_OK && cyx_db_rows(rows) == 1;
    return status;
}

static void write_placement(const struct placing *placing, struct cyx_buf *text)
{
    const struct cyx_sched_score *score = &placing->score;
    cyx_buf_printf(text,
                   "{\"score\":%.4f,\"speed\":%.4f,\"price\":%.4f,\"reputation\":%.4f,"
                   "\"load\":%.4f,\"data\":%.4f,\"measured\":%s}",
                   score->total, score->speed, score->price, score->reputation, score->load,
                   score->data, score->measured ? "true" : "false");
}

static enum cyx_status insert_assignment(struct cyx_db_conn *conn, const struct pass *pass,
                                         const struct placing *placing,
                                         const struct cyx_sched_job *job, bool *ret_inserted,
                                         struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    CYX_CLEANUP_BUF struct cyx_buf placement = {0};
    write_placement(placing, &placement);
    if (placement.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a placement");
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into assignment (job_id, token, node_id, boot_id, account_id, placement, "
        "offered_at, lease_until) values ($1, $2, $3, $4, $5, $6, clock_timestamp(), "
        "clock_timestamp() + $7 * interval '1 millisecond') on conflict do nothing returning token",
        &rows, err, CYX_DB_TEXT(job->id), CYX_DB_INT(placing->token),
        CYX_DB_TEXT(placing->node->id), CYX_DB_TEXT(placing->node->boot_id),
        CYX_DB_TEXT(job->account_id), CYX_DB_TEXT(placement.data),
        CYX_DB_INT(pass->self->policy.offer_ms));
    *ret_inserted = status == CYX_OK && cyx_db_rows(rows) == 1;
    return status;
}

static enum cyx_status assign(struct pass *pass, struct placing *placing, struct cyx_db_conn *conn,
                              struct cyx_arena *arena, struct cyx_error *err)
{
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    bool ok = false;
    enum cyx_status status = cyx_sched_row_lock(conn, placing->job_id, true, arena, &job, err);
    if (status == CYX_ERR_NOT_FOUND ||
        (status == CYX_OK && (job.facts.state != CYX_SCHED_QUEUED || job.wait_ms > 0))) {
        placing->result = JOB_GONE; /* another replica has it, or it was cancelled */
        return CYX_OK;
    }
    if (status == CYX_OK)
        status = lock_node(conn, placing->node, &ok, err);
    placing->token = job.token + 1;
    if (status == CYX_OK && ok)
        status = insert_assignment(conn, pass, placing, &job, &ok, err);
    if (status != CYX_OK || !ok) {
        placing->result = NODE_GONE;
        return status;
    }
    placing->result = ASSIGNED;
    const struct cyx_sched_details details = {.node = placing->node};
    return cyx_sched_row_apply(conn, &pass->self->policy, arena, &job, CYX_SCHED_ASSIGN, &details,
                               &change, err);
}

static enum cyx_status assign_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct pass *pass = ctx;
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < pass->n_staged; i++) {
        struct cyx_arena arena = {0};
        status = assign(pass, &pass->staged[i], conn, &arena, err);
        cyx_arena_finish(&arena);
    }
    return status;
}

/* Commits what is staged, and tells the nodes. A job whose node went meanwhile waits for the next pass. */
static enum cyx_status commit(struct pass *pass, struct cyx_error *err)
{
    if (pass->n_staged == 0)
        return CYX_OK;
    enum cyx_status status = cyx_db_transaction(pass->self->db, assign_body, pass, err);
    for (size_t i = 0; status == CYX_OK && i < pass->n_staged; i++) {
        const struct placing *placing = &pass->staged[i];
        if (placing->result == JOB_GONE) {
            placing->node->busy = false;
            pass->n_free++;
        }
        if (placing->result != ASSIGNED)
            continue;
        pass->assigned++;
        struct cyx_sched_offer offer = {.token = placing->token};
        copy_id(offer.job_id, placing->job_id);
        copy_id(offer.node_id, placing->node->id);
        pass->offered(pass->ctx, &offer);
    }
    if (status == CYX_OK)
        cyx_outbox_wake(pass->self->outbox);
    pass->n_staged = 0;
    return status;
}

static bool over_quota(const struct cyx_sched_share *share)
{
    return (share->running_limit >= 0 && share->running >= share->running_limit) ||
           (share->device_hours_limit >= 0 && share->device_hours >= share->device_hours_limit);
}

static const struct cyx_sched_candidate *head(const struct cyx_sched_lane *lane)
{
    return &lane->jobs[lane->next < lane->count ? lane->next : lane->count - 1];
}

/* Whose turn it is: the least used for its weight, then the oldest. NULL when all lanes are closed. */
static struct cyx_sched_lane *next_lane(struct cyx_sched_lanes *lanes)
{
    struct cyx_sched_lane *best = NULL;
    double best_use = INFINITY;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        struct cyx_sched_lane *lane = &lanes->lanes[i];
        if (!lane->closed && over_quota(lane->share))
            lane->closed = true;
        if (lane->closed)
            continue;
        double use = lane->share->usage_s / lane->share->weight;
        bool older =
            best && use == best_use && strcmp(head(lane)->created_at, head(best)->created_at) < 0;
        if (!best || use < best_use || older) {
            best = lane;
            best_use = use;
        }
    }
    return best;
}

/* Finds a node for the lane's next job and stages the two; closes a lane for which there is none. */
static enum cyx_status place(struct pass *pass, const struct cyx_sched_lanes *lanes,
                             struct cyx_sched_lane *lane, struct cyx_error *err)
{
    const struct cyx_sched_candidate *job = NULL;
    struct placing *placing = &pass->staged[pass->n_staged];
    enum cyx_status status =
        cyx_sched_lane_next(pass->self, lanes->priority, lane, &pass->arena, &job, err);
    if (status != CYX_OK || !job) {
        lane->closed = true;
        return status;
    }
    const struct cyx_sched_node *node =
        cyx_sched_match(&job->need, pass->nodes, pass->n_nodes, &placing->score);
    if (!node) {
        lane->next--;
        lane->closed = lane->starved = true;
        return CYX_OK;
    }
    placing->node = &pass->nodes[node - pass->nodes];
    placing->node->busy = true;
    placing->result = STAGED;
    copy_id(placing->job_id, job->id);
    pass->n_staged++;
    pass->n_free--;
    lane->share->running++;
    lane->share->usage_s += charge_ahead_s;
    return pass->n_staged == CYX_SCHED_TXN_JOBS ? commit(pass, err) : CYX_OK;
}

static enum cyx_status match_priority(struct pass *pass, int priority, struct cyx_error *err)
{
    struct cyx_sched_lanes lanes;
    struct cyx_sched_lane *lane = NULL;
    enum cyx_status status = cyx_sched_lanes_read(pass->self, priority, &pass->arena, &lanes, err);
    if (status != CYX_OK)
        return status;
    while (status == CYX_OK && pass->n_free > 0 && (lane = next_lane(&lanes)))
        status = place(pass, &lanes, lane, err);
    if (status == CYX_OK)
        status = commit(pass, err);
    for (size_t i = 0; i < lanes.n_lanes; i++) /* those that no node was left for */
        lanes.lanes[i].starved |= !lanes.lanes[i].closed && !over_quota(lanes.lanes[i].share);
    if (status == CYX_OK && priority >= 2)
        status = cyx_sched_store_preempt(pass->self, &lanes, &pass->arena, err);
    return status;
}

enum cyx_status cyx_sched_store_match(struct cyx_sched_store *self, cyx_sched_offered offered,
                                      void *ctx, size_t *ret_assigned, struct cyx_error *err)
{
    struct pass pass = {.self = self, .offered = offered, .ctx = ctx};
    enum cyx_status status =
        cyx_sched_store_nodes(self, true, &pass.arena, &pass.nodes, &pass.n_nodes, err);
    pass.n_free = pass.n_nodes;
    /* Without a free node the high ones are looked at all the same: something may have to make way. */
    for (int priority = 3; status == CYX_OK && priority >= 0; priority--)
        if (pass.n_free > 0 || priority >= 2)
            status = match_priority(&pass, priority, err);
    *ret_assigned = pass.assigned;
    cyx_arena_finish(&pass.arena);
    return status;
}
