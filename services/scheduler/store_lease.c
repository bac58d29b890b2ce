/*
 * Who holds which job: matching, offers, leases, what workers report. See store.h for the rules of locking.
 */
#include <stdlib.h>
#include <string.h>

#include "store.h"
#include "store_row.h"

#include "base/banned.h"

enum {
    BATCH = 128
}; /* queued jobs looked at, or lost leases freed, between two questions to the database */

static void copy_id(char target[CYX_ID_BYTES], const char *id)
{
    size_t length = strnlen(id, CYX_ID_BYTES - 1);
    memcpy(target, id, length);
    target[length] = '\0';
}

static void read_node(const struct cyx_db_result *rows, size_t row, struct cyx_sched_node *node)
{
    copy_id(node->id, cyx_db_text(rows, row, 0));
    copy_id(node->boot_id, cyx_db_text(rows, row, 1));
    node->cpus = cyx_db_int(rows, row, 2);
    node->cpu_memory_bytes = cyx_db_int(rows, row, 3);
    node->gpu_memory_bytes = cyx_db_int(rows, row, 4);
    node->soft_memory_bytes = cyx_db_int(rows, row, 5);
    node->price_per_hour_base_units = cyx_db_int(rows, row, 6);
    node->busy = cyx_db_bool(rows, row, 7);
}

enum cyx_status cyx_sched_store_nodes(struct cyx_sched_store *self,
                                      struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                      struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(
        conn,
        "select id, boot_id, cpus, cpu_memory_bytes, gpu_memory_bytes, soft_memory_bytes, "
        "price_per_hour, rests_until > clock_timestamp() or exists "
        "(select from assignment a where a.node_id = node.id and a.ended_at is null) "
        "from node where online order by id",
        &rows, err);
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    struct cyx_sched_node *nodes = status == CYX_OK ? calloc(count + 1, sizeof(*nodes)) : NULL;
    if (status == CYX_OK && !nodes)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    for (size_t i = 0; nodes && i < count; i++)
        read_node(rows, i, &nodes[i]);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    if (status != CYX_OK)
        return status;
    *ret_nodes = nodes;
    *ret_count = count;
    return CYX_OK;
}

/* A queued job as matching sees it, and its place in the queue. */
struct candidate {
    char id[CYX_ID_BYTES];
    char created_at[40]; /* with all its microseconds: it is a cursor */
    int priority;
    struct cyx_sched_need need;
};

/* The next jobs of the queue behind `after` (NULL: from its head), priority then age. */
static enum cyx_status read_queue(struct cyx_sched_store *self, const struct candidate *after,
                                  struct candidate *ret_jobs, size_t *ret_count,
                                  struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(
        conn,
        "select id, created_at::text, priority, backend, memory_bytes, threads, budget, node_id "
        "from job where state = 'queued' and funded and not_before <= clock_timestamp() "
        "and ($1::int is null or priority < $1 or (priority = $1 and (created_at, id) > "
        "($2::timestamptz, $3::uuid))) order by priority desc, created_at, id limit $4",
        &rows, err, after ? CYX_DB_INT(after->priority) : CYX_DB_NULL,
        CYX_DB_TEXT(after ? after->created_at : NULL), CYX_DB_TEXT(after ? after->id : NULL),
        CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++) {
        struct candidate *job = &ret_jobs[i];
        *job = (struct candidate){.priority = (int)cyx_db_int(rows, i, 2)};
        copy_id(job->id, cyx_db_text(rows, i, 0));
        memcpy(job->created_at, cyx_db_text(rows, i, 1),
               strnlen(cyx_db_text(rows, i, 1), sizeof(job->created_at) - 1));
        (void)cyx_sched_backend_parse(cyx_db_text(rows, i, 3), &job->need.backend);
        job->need.memory_bytes = cyx_db_int(rows, i, 4);
        job->need.threads = cyx_db_int(rows, i, 5);
        job->need.budget_base_units = cyx_db_int(rows, i, 6);
        copy_id(job->need.last_node_id, cyx_db_text(rows, i, 7));
    }
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    *ret_count = count;
    return status;
}

enum assigning_result { ASSIGNED, JOB_GONE, NODE_GONE };

struct assigning {
    struct cyx_sched_store *self;
    const char *job_id;
    const struct cyx_sched_node *node;
    enum assigning_result result;
    int64_t token;
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

static enum cyx_status insert_assignment(struct cyx_db_conn *conn, struct assigning *assigning,
                                         bool *ret_inserted, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query(
        conn,
        "insert into assignment (job_id, token, node_id, boot_id, offered_at, lease_until) "
        "values ($1, $2, $3, $4, clock_timestamp(), "
        "clock_timestamp() + $5 * interval '1 millisecond') on conflict do nothing returning token",
        &rows, err, CYX_DB_TEXT(assigning->job_id), CYX_DB_INT(assigning->token),
        CYX_DB_TEXT(assigning->node->id), CYX_DB_TEXT(assigning->node->boot_id),
        CYX_DB_INT(assigning->self->policy.offer_ms));
    *ret_inserted = status == CYX_OK && cyx_db_rows(rows) == 1;
    return status;
}

static enum cyx_status assign_locked(struct assigning *assigning, struct cyx_db_conn *conn,
                                     struct cyx_arena *arena, struct cyx_error *err)
{
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    bool ok = false;
    enum cyx_status status = cyx_sched_row_lock(conn, assigning->job_id, true, arena, &job, err);
    if (status == CYX_ERR_NOT_FOUND ||
        (status == CYX_OK && (job.facts.state != CYX_SCHED_QUEUED || job.wait_ms > 0))) {
        assigning->result = JOB_GONE; /* another replica has it, or it was cancelled */
        return CYX_OK;
    }
    if (status == CYX_OK)
        status = lock_node(conn, assigning->node, &ok, err);
    assigning->token = job.token + 1;
    if (status == CYX_OK && ok)
        status = insert_assignment(conn, assigning, &ok, err);
    if (status != CYX_OK || !ok) {
        assigning->result = NODE_GONE;
        return status;
    }
    assigning->result = ASSIGNED;
    const struct cyx_sched_details details = {.node = assigning->node};
    return cyx_sched_row_apply(conn, &assigning->self->policy, arena, &job, CYX_SCHED_ASSIGN,
                               &details, &change, err);
}

static enum cyx_status assign_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct cyx_arena arena = {0};
    enum cyx_status status = assign_locked(ctx, conn, &arena, err);
    cyx_arena_finish(&arena);
    return status;
}

/* A pass of matching in progress. */
struct pass {
    struct cyx_sched_store *self;
    struct cyx_sched_node *nodes;
    size_t n_nodes, n_free, assigned;
    cyx_sched_offered offered;
    void *ctx;
};

/* Finds a node for one job, trying the next best while others are quicker. */
static enum cyx_status place(struct pass *pass, const struct candidate *job, struct cyx_error *err)
{
    for (;;) {
        const struct cyx_sched_node *node =
            pass->n_free ? cyx_sched_match(&job->need, pass->nodes, pass->n_nodes) : NULL;
        if (!node)
            return CYX_OK;
        struct assigning assigning = {.self = pass->self, .job_id = job->id, .node = node};
        enum cyx_status status = cyx_db_transaction(pass->self->db, assign_body, &assigning, err);
        if (status != CYX_OK || assigning.result == JOB_GONE)
            return status;
        pass->nodes[node - pass->nodes].busy = true;
        pass->n_free--;
        if (assigning.result == NODE_GONE)
            continue;
        cyx_outbox_wake(pass->self->outbox);
        pass->assigned++;
        struct cyx_sched_offer offer = {.token = assigning.token};
        copy_id(offer.job_id, job->id);
        copy_id(offer.node_id, node->id);
        pass->offered(pass->ctx, &offer);
        return CYX_OK;
    }
}

static enum cyx_status run_pass(struct pass *pass, struct candidate *batch, struct cyx_error *err)
{
    struct candidate last;
    size_t count = BATCH;
    for (bool first = true; count == BATCH && pass->n_free > 0; first = false) {
        enum cyx_status status = read_queue(pass->self, first ? NULL : &last, batch, &count, err);
        for (size_t i = 0; status == CYX_OK && i < count; i++)
            status = place(pass, &batch[i], err);
        if (status != CYX_OK)
            return status;
        if (count > 0)
            last = batch[count - 1];
    }
    return CYX_OK;
}

enum cyx_status cyx_sched_store_match(struct cyx_sched_store *self, cyx_sched_offered offered,
                                      void *ctx, size_t *ret_assigned, struct cyx_error *err)
{
    struct pass pass = {.self = self, .offered = offered, .ctx = ctx};
    struct candidate *batch = calloc(BATCH, sizeof(*batch));
    if (!batch)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for matching");
    enum cyx_status status = cyx_sched_store_nodes(self, &pass.nodes, &pass.n_nodes, err);
    for (size_t i = 0; status == CYX_OK && i < pass.n_nodes; i++)
        pass.n_free += !pass.nodes[i].busy;
    if (status == CYX_OK)
        status = run_pass(&pass, batch, err);
    free(pass.nodes);
    free(batch);
    *ret_assigned = pass.assigned;
    return status;
}

/* Open assignments that are lost, and by what. Asked again for one job once its row is locked. */
#define LOST_SQL                                                                                   \
    "select a.job_id, a.token, a.node_id, a.accepted_at is not null, "                             \
    "coalesce(not n.online, false), coalesce(n.boot_id <> a.boot_id, false), "                     \
    "coalesce(n.offers_missed, 0) "                                                                \
    "from assignment a left join node n on n.id = a.node_id where a.ended_at is null and "         \
    "(($1::boolean and a.lease_until < clock_timestamp()) or not n.online or "                     \
    "n.boot_id <> a.boot_id) "

static enum cyx_sched_event lost_by(const struct cyx_db_result *rows, size_t row)
{
    if (cyx_db_bool(rows, row, 5))
        return CYX_SCHED_NODE_RESTARTED;
    if (cyx_db_bool(rows, row, 4))
        return CYX_SCHED_NODE_OFFLINE;
    return cyx_db_bool(rows, row, 3) ? CYX_SCHED_LEASE_EXPIRED : CYX_SCHED_OFFER_EXPIRED;
}

/* Leaves a node alone for a while that lets offers pass (`missed` in a row before this one). */
static enum cyx_status rest_node(struct cyx_db_conn *conn, const struct cyx_sched_policy *policy,
                                 const char *node_id, int64_t missed, struct cyx_error *err)
{
    int in_a_row = missed < 30 ? (int)missed + 1 : 30;
    return cyx_db_query(
        conn,
        "update node set offers_missed = $2, "
        "rests_until = clock_timestamp() + $3 * interval '1 millisecond' where id = $1",
        NULL, err, CYX_DB_TEXT(node_id), CYX_DB_INT(in_a_row),
        CYX_DB_INT(cyx_sched_offer_rest_ms(policy, in_a_row)));
}

struct reaping {
    struct cyx_sched_store *self;
    char job_id[CYX_ID_BYTES];
    bool by_time, freed;
};

static enum cyx_status reap_locked(struct reaping *reaping, struct cyx_db_conn *conn,
                                   struct cyx_arena *arena, struct cyx_error *err)
{
    struct cyx_sched_job job;
    struct cyx_sched_change change;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    reaping->freed = false;
    enum cyx_status status = cyx_sched_row_lock(conn, reaping->job_id, true, arena, &job, err);
    if (status == CYX_ERR_NOT_FOUND)
        return CYX_OK; /* somebody is at it */
    if (status == CYX_OK)
        status = cyx_db_query(conn, LOST_SQL "and a.job_id = $2", &rows, err,
                              CYX_DB_BOOL(reaping->by_time), CYX_DB_TEXT(job.id));
    if (status != CYX_OK || cyx_db_rows(rows) == 0)
        return status; /* renewed, or ended, in the meantime */
    enum cyx_sched_event event = lost_by(rows, 0);
    const struct cyx_sched_details details = {0};
    status = cyx_sched_row_apply(conn, &reaping->self->policy, arena, &job, event, &details,
                                 &change, err);
    if (status == CYX_OK && event == CYX_SCHED_OFFER_EXPIRED)
        status = rest_node(conn, &reaping->self->policy, cyx_db_text(rows, 0, 2),
                           cyx_db_int(rows, 0, 6), err);
    reaping->freed = status == CYX_OK;
    return status;
}

static enum cyx_status reap_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct cyx_arena arena = {0};
    enum cyx_status status = reap_locked(ctx, conn, &arena, err);
    cyx_arena_finish(&arena);
    return status;
}

/* Ids of jobs whose assignment is lost; at most BATCH. */
static enum cyx_status read_lost(struct cyx_sched_store *self, bool by_time,
                                 char (*ret_ids)[CYX_ID_BYTES], size_t *ret_count,
                                 struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn, LOST_SQL "order by a.lease_until limit $2", &rows, err,
                          CYX_DB_BOOL(by_time), CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++)
        copy_id(ret_ids[i], cyx_db_text(rows, i, 0));
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    *ret_count = count;
    return status;
}

enum cyx_status cyx_sched_store_reap(struct cyx_sched_store *self, bool by_time, size_t *ret_freed,
                                     struct cyx_error *err)
{
    char ids[BATCH][CYX_ID_BYTES];
    size_t count = 0, freed = 0;
    enum cyx_status status = read_lost(self, by_time, ids, &count, err);
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        struct reaping reaping = {.self = self, .by_time = by_time};
        copy_id(reaping.job_id, ids[i]);
        status = cyx_db_transaction(self->db, reap_body, &reaping, err);
        freed += status == CYX_OK && reaping.freed;
    }
    if (freed > 0)
        cyx_outbox_wake(self->outbox);
    *ret_freed = freed;
    return status;
}

/* What a worker's word about its assignment meets. */
struct claiming {
    struct cyx_sched_store *self;
    const struct cyx_sched_claim *claim;
    const struct cyx_sched_report *report;
    const struct cyx_trace *trace;
    struct cyx_arena *arena;
    struct cyx_sched_job job;
    bool moved;
};

struct held {
    bool accepted, ended;
    char boot_id[CYX_ID_BYTES];
    const char *ended_cause, *outcome; /* outcome NULL: it did not end by finish */
};

/* Locks the job and looks up the assignment; CYX_ERR_CONFLICT for a token that was never this node's. */
static enum cyx_status look_up(struct cyx_db_conn *conn, struct claiming *claiming,
                               struct held *ret_held, struct cyx_error *err)
{
    const struct cyx_sched_claim *claim = claiming->claim;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status =
        cyx_sched_row_lock(conn, claim->job_id, false, claiming->arena, &claiming->job, err);
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "select accepted_at is not null, ended_at is not null, boot_id, ended_cause, outcome "
            "from assignment where job_id = $1 and token = $2 and node_id = $3",
            &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
            CYX_DB_TEXT(claim->node_id));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                             "node %s was never given job %s with token %lld", claim->node_id,
                             claim->job_id, (long long)claim->token);
    *ret_held = (struct held){
        .accepted = cyx_db_bool(rows, 0, 0),
        .ended = cyx_db_bool(rows, 0, 1),
        .ended_cause = cyx_arena_strdup(claiming->arena, cyx_db_text(rows, 0, 3)),
        .outcome = cyx_db_null(rows, 0, 4)
                       ? NULL
                       : cyx_arena_strdup(claiming->arena, cyx_db_text(rows, 0, 4)),
    };
    copy_id(ret_held->boot_id, cyx_db_text(rows, 0, 2));
    return CYX_OK;
}

static enum cyx_status too_late(const struct claiming *claiming, const struct held *held,
                                struct cyx_error *err)
{
    return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                         "token %lld of job %s is no longer valid (%s)",
                         (long long)claiming->claim->token, claiming->claim->job_id,
                         held->ended_cause ? held->ended_cause : "ended");
}

static enum cyx_status accept_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct claiming *claiming = ctx;
    struct held held = {0};
    struct cyx_sched_change change;
    claiming->moved = false;
    enum cyx_status status = look_up(conn, claiming, &held, err);
    if (status != CYX_OK)
        return status;
    if (held.ended)
        return too_late(claiming, &held, err);
    if (strcmp(held.boot_id, claiming->claim->boot_id) != 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/boot_id",
                             "the offer was for another run of this worker");
    if (held.accepted)
        return CYX_OK; /* its answer was lost: given again */
    status = cyx_db_query(conn,
                          "update assignment set accepted_at = clock_timestamp(), lease_until = "
                          "clock_timestamp() + $3 * interval '1 millisecond' "
                          "where job_id = $1 and token = $2",
                          NULL, err, CYX_DB_TEXT(claiming->claim->job_id),
                          CYX_DB_INT(claiming->claim->token),
                          CYX_DB_INT(claiming->self->policy.lease_ms));
    const struct cyx_sched_details details = {.trace = claiming->trace};
    if (status == CYX_OK)
        status = cyx_sched_row_apply(conn, &claiming->self->policy, claiming->arena, &claiming->job,
                                     CYX_SCHED_ACCEPT, &details, &change, err);
    if (status == CYX_OK)
        status = cyx_db_query(conn, "update node set offers_missed = 0 where id = $1", NULL, err,
                              CYX_DB_TEXT(claiming->claim->node_id));
    claiming->moved = true;
    return status;
}

enum cyx_status cyx_sched_store_accept(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    struct claiming claiming = {.self = self, .claim = claim, .trace = trace, .arena = arena};
    enum cyx_status status = cyx_db_transaction(self->db, accept_body, &claiming, err);
    if (status != CYX_OK)
        return status;
    if (claiming.moved)
        cyx_outbox_wake(self->outbox);
    *ret_job = claiming.job;
    return CYX_OK;
}

static enum cyx_status finish_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct claiming *claiming = ctx;
    const struct cyx_sched_report *report = claiming->report;
    struct held held = {0};
    struct cyx_sched_change change;
    claiming->moved = false;
    enum cyx_status status = look_up(conn, claiming, &held, err);
    if (status != CYX_OK)
        return status;
    if (held.ended && held.outcome && strcmp(held.outcome, report->outcome) == 0)
        return CYX_OK; /* said before */
    if (held.ended)
        return too_late(claiming, &held, err);
    claiming->job.facts.failure = report->failure;
    const struct cyx_sched_details details = {
        .error = report->error,
        .result = report->result,
        .outcome = report->outcome,
        .model = report->model,
        .counts_device_time =
            report->event == CYX_SCHED_COMPLETE || report->event == CYX_SCHED_HAND_BACK,
        .trace = claiming->trace,
    };
    status = cyx_sched_row_apply(conn, &claiming->self->policy, claiming->arena, &claiming->job,
                                 report->event, &details, &change, err);
    if (status == CYX_OK && report->event == CYX_SCHED_HAND_BACK) /* it is on its way out */
        status = rest_node(conn, &claiming->self->policy, claiming->claim->node_id, 0, err);
    claiming->moved = true;
    return status;
}

enum cyx_status cyx_sched_store_finish(struct cyx_sched_store *self,
                                       const struct cyx_sched_claim *claim,
                                       const struct cyx_sched_report *report,
                                       const struct cyx_trace *trace, struct cyx_arena *arena,
                                       struct cyx_sched_job *ret_job, struct cyx_error *err)
{
    struct claiming claiming = {
        .self = self, .claim = claim, .report = report, .trace = trace, .arena = arena};
    enum cyx_status status = cyx_db_transaction(self->db, finish_body, &claiming, err);
    if (status != CYX_OK)
        return status;
    if (claiming.moved)
        cyx_outbox_wake(self->outbox);
    *ret_job = claiming.job;
    return CYX_OK;
}

struct progressing {
    struct cyx_sched_store *self;
    const struct cyx_sched_claim *claim;
    const char *progress;
    const struct cyx_sched_artifact *checkpoint;
    bool cancel;
};

static enum cyx_status progress_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct progressing *progressing = ctx;
    const struct cyx_sched_claim *claim = progressing->claim;
    const struct cyx_sched_artifact *checkpoint = progressing->checkpoint;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = CYX_OK;
    if (checkpoint) /* the job's row before the assignment's: one order of locks */
        status =
            cyx_db_query(conn,
                         "update job set checkpoint_sha256 = $3, checkpoint_bytes = $4, "
                         "checkpoint_step = $5 where id = $1 and token = $2 and state = 'running'",
                         NULL, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
                         CYX_DB_TEXT(checkpoint->sha256), CYX_DB_INT(checkpoint->bytes),
                         CYX_DB_INT(checkpoint->step));
    if (status == CYX_OK)
        status = cyx_db_query(
            conn,
            "update assignment a set progress = $4, lease_until = clock_timestamp() + "
            "$5 * interval '1 millisecond' from job j where a.job_id = $1 and a.token = $2 "
            "and a.node_id = $3 and a.ended_at is null and a.accepted_at is not null "
            "and j.id = a.job_id returning j.cancel_requested",
            &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
            CYX_DB_TEXT(claim->node_id), CYX_DB_TEXT(progressing->progress),
            CYX_DB_INT(progressing->self->policy.lease_ms));
    if (status != CYX_OK)
        return status;
    if (cyx_db_rows(rows) == 0)
        return cyx_error_set(err, CYX_ERR_CONFLICT, "/token",
                             "node %s does not hold job %s with token %lld: stop it",
                             claim->node_id, claim->job_id, (long long)claim->token);
    progressing->cancel = cyx_db_bool(rows, 0, 0);
    return CYX_OK;
}

enum cyx_status cyx_sched_store_progress(struct cyx_sched_store *self,
                                         const struct cyx_sched_claim *claim, const char *progress,
                                         const struct cyx_sched_artifact *checkpoint,
                                         bool *ret_cancel, struct cyx_error *err)
{
    struct progressing progressing = {self, claim, progress, checkpoint, false};
    enum cyx_status status = cyx_db_transaction(self->db, progress_body, &progressing, err);
    if (status == CYX_OK)
        *ret_cancel = progressing.cancel;
    return status;
}

enum cyx_status cyx_sched_store_renew(struct cyx_sched_store *self,
                                      const struct cyx_sched_claim *claim, bool *ret_gone,
                                      struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query_one(
        conn,
        "with renewed as (update assignment set lease_until = greatest(lease_until, "
        "clock_timestamp() + $5 * interval '1 millisecond') where job_id = $1 and token = $2 "
        "and node_id = $3 and boot_id = $4 and accepted_at is not null and ended_at is null) "
        "select not exists (select from assignment where job_id = $1 and token = $2 "
        "and node_id = $3 and ended_at is null)",
        &rows, err, CYX_DB_TEXT(claim->job_id), CYX_DB_INT(claim->token),
        CYX_DB_TEXT(claim->node_id), CYX_DB_TEXT(claim->boot_id),
        CYX_DB_INT(self->policy.lease_ms));
    if (status == CYX_OK)
        *ret_gone = cyx_db_bool(rows, 0, 0);
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    return status;
}

enum cyx_status cyx_sched_store_standing(struct cyx_sched_store *self, int64_t older_ms,
                                         cyx_sched_offered offered, void *ctx, size_t *ret_count,
                                         struct cyx_error *err)
{
    struct cyx_db_conn *conn = NULL;
    struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_take(self->db, &conn, err);
    if (status != CYX_OK)
        return status;
    status = cyx_db_query(conn,
                          "select job_id, node_id, token, "
                          "offered_at < clock_timestamp() - $1 * interval '1 millisecond' "
                          "from assignment where ended_at is null and accepted_at is null limit $2",
                          &rows, err, CYX_DB_INT(older_ms), CYX_DB_INT(BATCH));
    size_t count = status == CYX_OK ? cyx_db_rows(rows) : 0;
    for (size_t i = 0; i < count; i++) {
        struct cyx_sched_offer offer = {.token = cyx_db_int(rows, i, 2)};
        copy_id(offer.job_id, cyx_db_text(rows, i, 0));
        copy_id(offer.node_id, cyx_db_text(rows, i, 1));
        if (cyx_db_bool(rows, i, 3))
            offered(ctx, &offer);
    }
    cyx_db_result_free(rows);
    cyx_db_give(conn);
    *ret_count = count;
    return status;
}
