/*
 * Matching: who gets which node. Priorities one after another; within one, the account that has used least for its
 * weight goes first, its oldest job first. The measure of use is Slurm's multifactor plugin's: device seconds that
 * decay by half every half-life, so that an account that waited is served before one that has just had its turn.
 */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

/* A job that has just been placed is taken to run so long, until it is known how long it did. */
static const double charge_ahead_s = 60;

enum placing_result { STAGED, ASSIGNED, GONE }; /* GONE: the job or the node was taken meanwhile */

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
    struct cyx_sched_node *nodes; /* free slots, one each */
    size_t n_nodes, n_free, assigned;
    struct placing staged[CYX_SCHED_TXN_JOBS];
    size_t n_staged;
    struct cyx_sched_kept kept; /* free nodes that nobody else gets in this pass */
    cyx_sched_offered offered;
    void *ctx;
};

void cyx_sched_write_placement(const struct cyx_sched_score *score, struct cyx_buf *text)
{
    cyx_buf_printf(text,
                   "{\"score\":%.4f,\"speed\":%.4f,\"price\":%.4f,\"reputation\":%.4f,"
                   "\"load\":%.4f,\"data\":%.4f,\"measured\":%s,\"speed_by\":\"%s\"}",
                   score->total, score->speed, score->price, score->reputation, score->load,
                   score->data, score->measured ? "true" : "false", score->speed_by);
}

/* What is staged, as JSON for the database: [[job, node, boot, price, placement, slot] …]. */
static void write_staged(const struct pass *pass, struct cyx_buf *text)
{
    cyx_buf_puts(text, "[");
    for (size_t i = 0; i < pass->n_staged; i++) {
        const struct placing *placing = &pass->staged[i];
        cyx_buf_printf(text, "%s[\"%s\",\"%s\",\"%s\",%lld,", i ? "," : "", placing->job_id,
                       placing->node->id, placing->node->boot_id,
                       (long long)placing->node->price_per_hour_base_units);
        cyx_sched_write_placement(&placing->score, text);
        cyx_buf_printf(text, ",%lld]", (long long)placing->node->slot);
    }
    cyx_buf_puts(text, "]");
}

/*
 * All assignments of the batch in one statement: jobs that still wait and nodes that are still free are locked (what
 * another replica has locked is being taken, and passed over), then the assignment, the job's new state and its
 * history are written. It does what cyx_sched_apply() says of CYX_SCHED_ASSIGN; the trigger of the table agrees.
 */
static const char *const assign_sql =
    "with staged as (select (x ->> 0)::uuid as job_id, (x ->> 1)::uuid as node_id, "
    "(x ->> 2)::uuid as boot_id, (x ->> 3)::bigint as price, x -> 4 as placement, "
    "(x ->> 5)::smallint as slot "
    "from json_array_elements($1::json) x " CYX_SCHED_FEW "), "
    "jobs as (select id, account_id, token from job where id in (select job_id from staged) "
    "and state = 'queued' and funded and waits_for = 0 and not_before <= clock_timestamp() "
    "order by id for update skip locked), "
    "nodes as (select id, boot_id from node where id in (select node_id from staged) and online "
    "and rests_until <= clock_timestamp() order by id for update skip locked), "
    "made as (insert into assignment (job_id, token, node_id, boot_id, slot, account_id, "
    "placement, price, "
    "offered_at, lease_until) select s.job_id, j.token + 1, s.node_id, s.boot_id, s.slot, "
    "j.account_id, s.placement, s.price, clock_timestamp(), clock_timestamp() + $2 * interval '1 "
    "millisecond' "
    "from staged s join jobs j on j.id = s.job_id "
    "join nodes n on n.id = s.node_id and n.boot_id = s.boot_id "
    "on conflict do nothing returning job_id, token, node_id), "
    "moved as (update job set state = 'assigned', token = m.token, node_id = m.node_id, "
    "price_per_hour = s.price, assigned_at = clock_timestamp() from made m "
    "join staged s on s.job_id = m.job_id where job.id = m.job_id returning job.id), "
    "told as (insert into job_transition (job_id, from_state, to_state, cause, node_id, token, at) "
    "select m.job_id, 'queued', 'assigned', 'matched', m.node_id, m.token, clock_timestamp() "
    "from made m returning id, job_id, at) "
    "select t.job_id, t.id, t.at from told t join moved on moved.id = t.job_id";

static struct placing *find_placing(struct pass *pass, const char *job_id)
{
    for (size_t i = 0; i < pass->n_staged; i++)
        if (strcmp(pass->staged[i].job_id, job_id) == 0)
            return &pass->staged[i];
    return NULL;
}

/* The rows as they now are, and their events. */
static enum cyx_status tell_assigned(struct pass *pass, struct cyx_db_conn *conn,
                                     const struct cyx_db_result *made, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf ids = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    size_t count = cyx_db_rows(made);
    struct cyx_sched_job *jobs = cyx_arena_calloc(&pass->arena, count, sizeof(*jobs));
    struct cyx_sched_moved moved[CYX_SCHED_TXN_JOBS];
    for (size_t i = 0; i < count; i++)
        cyx_db_put_element(&ids, cyx_db_text(made, i, 0));
    cyx_buf_puts(&ids, "}");
    if (ids.failed || !jobs)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = cyx_db_query(
        conn, "select " CYX_SCHED_JOB_COLUMNS CYX_SCHED_JOB_FROM "where j.id = any($1::uuid[])",
        &rows, err, CYX_DB_TEXT(ids.data));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        moved[i] = (struct cyx_sched_moved){.job = &jobs[i], .from = "queued", .cause = "matched"};
        status = cyx_sched_row_read(rows, i, &pass->arena, &jobs[i], err);
        for (size_t k = 0; status == CYX_OK && k < count; k++) {
            if (strcmp(cyx_db_text(made, k, 0), jobs[i].id) != 0)
                continue;
            moved[i].transition = cyx_db_int(made, k, 1);
            moved[i].at_ms = cyx_db_time_ms(made, k, 2);
        }
        struct placing *placing = status == CYX_OK ? find_placing(pass, jobs[i].id) : NULL;
        if (placing) {
            placing->result = ASSIGNED;
            placing->token = jobs[i].token;
        }
    }
    return status == CYX_OK ? cyx_sched_row_tell(conn, moved, cyx_db_rows(rows), err) : status;
}

static enum cyx_status assign_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct pass *pass = ctx;
    CYX_CLEANUP_BUF struct cyx_buf staged = {0};
    CYX_CLEANUP_RESULT struct cyx_db_result *made = NULL;
    for (size_t i = 0; i < pass->n_staged; i++)
        pass->staged[i].result = GONE;
    write_staged(pass, &staged);
    if (staged.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = cyx_db_query(conn, assign_sql, &made, err, CYX_DB_TEXT(staged.data),
                                          CYX_DB_INT(pass->self->policy.offer_ms));
    if (status != CYX_OK || cyx_db_rows(made) == 0)
        return status;
    return tell_assigned(pass, conn, made, err);
}

/* Commits what is staged, and tells the nodes. What met somebody else waits for the next pass. */
static enum cyx_status commit(struct pass *pass, struct cyx_error *err)
{
    if (pass->n_staged == 0)
        return CYX_OK;
    enum cyx_status status = cyx_db_transaction(pass->self->db, assign_body, pass, err);
    for (size_t i = 0; status == CYX_OK && i < pass->n_staged; i++) {
        const struct placing *placing = &pass->staged[i];
        if (placing->result != ASSIGNED)
            continue;
        pass->assigned++;
        struct cyx_sched_offer offer = {.token = placing->token};
        cyx_text_copy(offer.job_id, CYX_ID_BYTES, placing->job_id);
        cyx_text_copy(offer.node_id, CYX_ID_BYTES, placing->node->id);
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

/* Takes a gang's nodes, all or none; what met somebody else waits for the next pass. */
static enum cyx_status assign_gang(struct pass *pass, struct cyx_sched_lane *lane,
                                   const struct cyx_sched_candidate *job,
                                   const struct cyx_sched_gang_choice *choice,
                                   struct cyx_error *err)
{
    struct cyx_sched_gang_plan plan = {.job_id = job->id, .count = choice->count};
    int64_t token = 0;
    for (size_t i = 0; i < plan.count; i++) {
        plan.nodes[i] = &pass->nodes[choice->places[i]];
        plan.scores[i] = &choice->scores[i];
        pass->nodes[choice->places[i]].busy = true;
    }
    pass->n_free -= plan.count;
    lane->share->running++;
    lane->share->usage_s += charge_ahead_s * (double)plan.count;
    enum cyx_status status =
        cyx_sched_store_assign_gang(pass->self, &plan, &pass->arena, &token, err);
    if (status != CYX_OK || token == 0)
        return status;
    cyx_outbox_wake(pass->self->outbox);
    for (size_t i = 0; i < plan.count; i++) {
        struct cyx_sched_offer offer = {.token = token - (int64_t)i};
        cyx_text_copy(offer.job_id, CYX_ID_BYTES, job->id);
        cyx_text_copy(offer.node_id, CYX_ID_BYTES, plan.nodes[i]->id);
        pass->offered(pass->ctx, &offer);
    }
    pass->assigned++;
    return CYX_OK;
}

/* Places the lane's next job, which wants several nodes, or closes the lane. */
static enum cyx_status place_gang(struct pass *pass, struct cyx_sched_lane *lane,
                                  const struct cyx_sched_candidate *job, struct cyx_error *err)
{
    struct cyx_sched_gang_choice choice;
    if (cyx_sched_match_gang(&job->need, pass->nodes, pass->n_nodes, &choice))
        return assign_gang(pass, lane, job, &choice, err);
    lane->next--;
    lane->closed = lane->starved = true;
    return CYX_OK;
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
    if (job->need.nodes > 1)
        return place_gang(pass, lane, job, err);
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
    cyx_text_copy(placing->job_id, CYX_ID_BYTES, job->id);
    pass->n_staged++;
    pass->n_free--;
    lane->share->running++;
    lane->share->usage_s += charge_ahead_s;
    return pass->n_staged == CYX_SCHED_TXN_JOBS ? commit(pass, err) : CYX_OK;
}

/* ---- gangs that have waited long enough ---- */

/* The oldest job of several nodes that is first in its lane and has waited so long that it goes before others. */
static struct cyx_sched_lane *patient_lane(const struct pass *pass, struct cyx_sched_lanes *lanes)
{
    struct cyx_sched_lane *best = NULL;
    int64_t patience_ms = lanes->priority >= 2 ? 0 : pass->self->policy.gang_patience_ms;
    for (size_t i = 0; i < lanes->n_lanes; i++) {
        struct cyx_sched_lane *lane = &lanes->lanes[i];
        bool first = lane->next == 0 && lane->count > 0 && lane->jobs->need.nodes > 1;
        if (!first || lane->closed || over_quota(lane->share) ||
            lane->jobs->waited_ms < patience_ms)
            continue;
        if (!best || strcmp(lane->jobs->created_at, best->jobs->created_at) < 0)
            best = lane;
    }
    return best;
}

/* One free slot of each node that fits, of which there are too few, is kept from whoever comes behind. */
static void keep_nodes(struct pass *pass, const struct cyx_sched_candidate *job)
{
    struct cyx_sched_kept *kept = &pass->kept;
    cyx_text_copy(kept->job_id, CYX_ID_BYTES, job->id);
    kept->nodes = job->need.nodes;
    for (size_t i = 0; i < pass->n_nodes && kept->count < CYX_SCHED_GANG_LIMIT; i++) {
        struct cyx_sched_node *node = &pass->nodes[i];
        if (node->busy || cyx_sched_is_kept(kept, node->id) ||
            cyx_sched_fit(&job->need, node) != CYX_SCHED_FITS)
            continue;
        cyx_text_copy(kept->node_ids[kept->count++], CYX_ID_BYTES, node->id);
        node->busy = true;
        pass->n_free--;
    }
}

/*
 * Small jobs would take each node as it becomes free, and a gang would wait for ever. So one that has waited long goes
 * first in its priority, and where there are too few nodes for it, those that are free are kept until there are
 * enough: for one gang at a time, so that no two hold what the other waits for, and only where enough nodes fit at all.
 */
static enum cyx_status serve_patient(struct pass *pass, struct cyx_sched_lanes *lanes,
                                     struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (struct cyx_sched_lane *lane;
         status == CYX_OK && !pass->kept.job_id[0] && (lane = patient_lane(pass, lanes));) {
        const struct cyx_sched_candidate *job = &lane->jobs[lane->next++];
        status = place_gang(pass, lane, job, err);
        if (status == CYX_OK && lane->starved &&
            cyx_sched_roster_fits(pass->self->roster, &job->need) >= (size_t)job->need.nodes)
            keep_nodes(pass, job);
    }
    return status;
}

static enum cyx_status match_priority(struct pass *pass, int priority, struct cyx_error *err)
{
    struct cyx_sched_lanes lanes;
    struct cyx_sched_lane *lane = NULL;
    enum cyx_status status = cyx_sched_lanes_read(pass->self, priority, &pass->arena, &lanes, err);
    if (status != CYX_OK)
        return status;
    status = serve_patient(pass, &lanes, err);
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

/* The priorities that something waits with, a bit each. */
static enum cyx_status waiting_priorities(struct cyx_sched_store *self, unsigned *ret_waiting,
                                          struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db,
        "select p from generate_series(0, 3) p, lateral (select from job where state = 'queued' "
        "and funded and waits_for = 0 and priority = p "
        "order by account_id, lane, created_at, id limit 1) q", /* the order of job_queue, so that it is used */
        &rows, err);
    *ret_waiting = 0;
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++)
        *ret_waiting |= 1U << (unsigned)cyx_db_int(rows, i, 0);
    return status;
}

enum cyx_status cyx_sched_store_match(struct cyx_sched_store *self, cyx_sched_offered offered,
                                      void *ctx, size_t *ret_assigned, struct cyx_error *err)
{
    struct pass pass = {.self = self, .offered = offered, .ctx = ctx};
    unsigned waiting = 0;
    enum cyx_status status = waiting_priorities(self, &waiting, err);
    *ret_assigned = 0;
    if (status != CYX_OK || waiting == 0)
        return status;
    status = cyx_sched_store_free_slots(self, &pass.arena, &pass.nodes, &pass.n_nodes, err);
    pass.n_free = pass.n_nodes;
    /* Without a free node the high ones are looked at all the same: something may have to make way. */
    for (int priority = 3; status == CYX_OK && priority >= 0; priority--)
        if ((waiting >> priority & 1U) && (pass.n_free > 0 || priority >= 2))
            status = match_priority(&pass, priority, err);
    *ret_assigned = pass.assigned;
    pthread_mutex_lock(&self->kept_lock);
    self->kept = pass.kept;
    pthread_mutex_unlock(&self->kept_lock);
    cyx_arena_finish(&pass.arena);
    return status;
}
