/* What makes way for jobs of higher priority. */
#include <string.h>

#include "base/text.h"
#include "store_match.h"
#include "store_row.h"

#include "base/banned.h"

enum { VICTIMS_LIMIT = 256, JOBS_OF_A_LANE = 8 };

/* A running job that may be asked to make way; they come in the order in which they are taken. */
struct victim {
    char job_id[CYX_ID_BYTES], node_id[CYX_ID_BYTES];
    int64_t token;
    bool taken;
};

/*
 * One row a node. Of a job of several nodes its first member is asked, which saves what all have and ends it for all.
 * Lowest priority first, then the least that would be done again. One that has been made to wait as often as the
 * policy allows stays, and so does one that has only just begun: it would lose its start and gain nobody time.
 */
static enum cyx_status read_victims(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                    struct victim *ret_victims, size_t *ret_count,
                                    struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "select a.job_id, j.token, a.node_id from assignment a join job j on j.id = a.job_id "
        "where a.ended_at is null and j.state = 'running' and j.priority < 2 and not exists "
        "(select "
        "from assignment m where m.job_id = j.id and m.token = j.token and m.preempt_for is not "
        "null) "
        "and j.preemptions < $1 and not j.cancel_requested "
        "and a.accepted_at < clock_timestamp() - $2 * interval '1 millisecond' "
        "order by j.priority, coalesce(a.checkpointed_at, a.accepted_at) desc, a.job_id limit $3",
        &rows, err, CYX_DB_INT(policy->preemptions_limit), CYX_DB_INT(policy->heartbeat_ms),
        CYX_DB_INT(VICTIMS_LIMIT));
    *ret_count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < *ret_count; i++) {
        ret_victims[i] = (struct victim){.token = cyx_db_int(rows, i, 1)};
        cyx_text_copy(ret_victims[i].job_id, CYX_ID_BYTES, cyx_db_text(rows, i, 0));
        cyx_text_copy(ret_victims[i].node_id, CYX_ID_BYTES, cyx_db_text(rows, i, 2));
    }
    return status;
}

/* The first that runs where the job fits. */
static struct victim *choose(const struct cyx_sched_need *need, struct victim *victims,
                             size_t n_victims, const struct cyx_sched_node *nodes, size_t n_nodes)
{
    for (size_t v = 0; v < n_victims; v++)
        for (size_t n = 0; n < n_nodes && !victims[v].taken; n++)
            if (strcmp(nodes[n].id, victims[v].node_id) == 0 &&
                cyx_sched_fit(need, &nodes[n]) == CYX_SCHED_FITS)
                return &victims[v];
    return NULL;
}

struct preempting {
    struct cyx_sched_store *self;
    const struct cyx_sched_lanes *lanes;
    const struct cyx_sched_node *nodes;
    size_t n_nodes;
    struct victim victims[VICTIMS_LIMIT];
    size_t n_victims;
};

/* As many victims as it lacks nodes at most, however many passes come by before they have made way. */
static enum cyx_status mark(struct cyx_db_conn *conn, const struct victim *victim,
                            const char *for_job_id, struct cyx_error *err)
{
    return cyx_db_query(
        conn,
        "update assignment set preempt_for = $3, preempt_at = clock_timestamp() where job_id = $1 "
        "and token = $2 and ended_at is null and preempt_for is null",
        NULL, err, CYX_DB_TEXT(victim->job_id), CYX_DB_INT(victim->token), CYX_DB_TEXT(for_job_id));
}

/* Nodes that will be free for the job once what was asked has made way. */
static enum cyx_status count_promised(struct cyx_db_conn *conn, const char *job_id,
                                      int64_t *ret_promised, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query_one(
        conn,
        "select count(distinct o.node_id) from assignment a join assignment o on o.job_id = "
        "a.job_id and o.ended_at is null where a.preempt_for = $1 and a.ended_at is null",
        &rows, err, CYX_DB_TEXT(job_id));
    *ret_promised = status == CYX_OK ? cyx_db_int(rows, 0, 0) : 0;
    return status;
}

/* Nodes that the job lacks: those that are free and fit it has already. */
static int64_t count_lacking(const struct preempting *self, const struct cyx_sched_need *need)
{
    int64_t lacking = need->nodes > 1 ? need->nodes : 1;
    for (size_t i = 0; need->nodes > 1 && i < self->n_nodes; i++)
        lacking -= !self->nodes[i].busy && cyx_sched_fit(need, &self->nodes[i]) == CYX_SCHED_FITS;
    return lacking;
}

/* Asks jobs to make way until this one has its nodes; a job of several gives all of its own. */
static enum cyx_status make_way(struct preempting *self, struct cyx_db_conn *conn,
                                const struct cyx_sched_candidate *job, struct cyx_error *err)
{
    int64_t promised = 0, lacking = count_lacking(self, &job->need);
    enum cyx_status status = count_promised(conn, job->id, &promised, err);
    struct victim *victim = NULL;
    while (
        status == CYX_OK && promised < lacking &&
        (victim = choose(&job->need, self->victims, self->n_victims, self->nodes, self->n_nodes))) {
        for (size_t i = 0; i < self->n_victims; i++) {
            if (strcmp(self->victims[i].job_id, victim->job_id) != 0)
                continue;
            self->victims[i].taken = true;
            promised++;
        }
        status = mark(conn, victim, job->id, err);
    }
    return status;
}

static enum cyx_status preempt_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct preempting *self = ctx;
    /* One replica at a time: two would make two jobs give way for one. */
    enum cyx_status status = cyx_db_query(
        conn, "select pg_advisory_xact_lock(hashtext('scheduler-preempt'))", NULL, err);
    if (status == CYX_OK)
        status = read_victims(conn, &self->self->policy, self->victims, &self->n_victims, err);
    for (size_t i = 0; status == CYX_OK && i < self->lanes->n_lanes; i++) {
        const struct cyx_sched_lane *lane = &self->lanes->lanes[i];
        for (size_t k = lane->next; status == CYX_OK && lane->starved && k < lane->count &&
                                    k < lane->next + JOBS_OF_A_LANE;
             k++) {
            status = make_way(self, conn, &lane->jobs[k], err);
        }
    }
    return status;
}

enum cyx_status cyx_sched_store_preempt(struct cyx_sched_store *self,
                                        const struct cyx_sched_lanes *lanes,
                                        struct cyx_arena *arena, struct cyx_error *err)
{
    struct preempting *preempting = cyx_arena_calloc(arena, 1, sizeof(*preempting));
    struct cyx_sched_node *nodes = NULL;
    bool starved = false;
    if (!preempting)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    for (size_t i = 0; i < lanes->n_lanes; i++)
        starved |= lanes->lanes[i].starved;
    if (!starved)
        return CYX_OK;
    preempting->self = self;
    preempting->lanes = lanes;
    enum cyx_status status = cyx_sched_store_nodes(self, arena, &nodes, &preempting->n_nodes, err);
    preempting->nodes = nodes;
    return status == CYX_OK ? cyx_db_transaction(self->db, preempt_body, preempting, err) : status;
}
