/*
 * What workers say of their assignments: accept and finish. Words that come at the same time are heard together, since
 * most of a transaction's cost does not depend on how many jobs it changes.
 */
#include <string.h>

#include "store.h"
#include "store_row.h"

#include "base/banned.h"

/* The assignment that a word speaks of. */
struct held {
    bool exists; /* this node was given this job with this token */
    bool accepted, ended;
    bool alone;  /* what it said moved no job */
    bool member; /* of a job of several nodes */
    int64_t rank, others_to_accept;
    bool missed_offers; /* the node let offers pass before */
    char boot_id[CYX_ID_BYTES];
    const char *ended_cause, *outcome; /* outcome NULL: it did not end by finish */
};

struct hearing {
    struct cyx_sched_store *self;
    struct cyx_sched_word *const *words;
    size_t count;
    struct held held[CYX_SCHED_TXN_JOBS];
    struct cyx_sched_happening happenings[CYX_SCHED_TXN_JOBS];
    size_t of[CYX_SCHED_TXN_JOBS]; /* the word that a happening came from */
    size_t n_happenings;
};

enum { C_WORD = CYX_SCHED_JOB_COLUMN_COUNT, C_NODE, C_BOOT, C_CAUSE, C_OUTCOME, C_MISSED };

static enum cyx_status refuse(struct cyx_sched_word *word, enum cyx_status status)
{
    word->status = status;
    return status;
}

/* Locks the jobs, in the order of their ids, and looks up the assignments. */
static enum cyx_status lock_all(struct hearing *hearing, struct cyx_db_conn *conn,
                                struct cyx_db_result **ret_rows, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < hearing->count; i++) {
        const struct cyx_sched_claim *claim = &hearing->words[i]->claim;
        cyx_buf_printf(&text, "%c[\"%s\",%lld,\"%s\"]", i ? ',' : '[', claim->job_id,
                       (long long)claim->token, claim->node_id);
    }
    cyx_buf_puts(&text, "]");
    if (text.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for what workers say");
    return cyx_db_query(
        conn,
        "with said as (select (x ->> 0)::uuid as job_id, (x ->> 1)::bigint as token, "
        "(x ->> 2)::uuid as node_id, nth - 1 as nth "
        "from json_array_elements($1::json) with ordinality as t(x, nth) " CYX_SCHED_FEW ") "
        "select " CYX_SCHED_JOB_COLUMNS ", s.nth, c.node_id, c.boot_id, c.ended_cause, c.outcome, "
        "n.offers_missed > 0 from said s join job j on j.id = s.job_id " CYX_SCHED_LAST_ASSIGNMENT
        "left join lateral (select x.node_id, x.boot_id, x.ended_cause, x.outcome from "
        "assignment x where x.job_id = s.job_id and x.token = s.token and x.node_id = s.node_id "
        "limit 1) c on true "
        "left join node n on n.id = s.node_id "
        "order by j.id for update of j",
        ret_rows, err, CYX_DB_TEXT(text.data));
}

static const char *keep(const struct cyx_db_result *rows, size_t row, size_t column,
                        struct cyx_arena *arena)
{
    return cyx_db_null(rows, row, column) ? NULL
                                          : cyx_arena_strdup(arena, cyx_db_text(rows, row, column));
}

/*
 * The job's row is as it is now that it is locked; the assignment's may be as it was before that was waited for. So
 * whether it is open is told by the job: its last assignment is, while it is assigned or running.
 */
static void read_held(const struct cyx_db_result *rows, size_t row, struct cyx_sched_word *word,
                      struct held *held)
{
    const struct cyx_sched_job *job = &word->job;
    bool last = job->token == word->claim.token;
    held->exists = !cyx_db_null(rows, row, C_NODE);
    held->accepted = last && job->facts.state == CYX_SCHED_RUNNING;
    held->ended = !held->accepted && !(last && job->facts.state == CYX_SCHED_ASSIGNED);
    held->missed_offers = cyx_db_bool(rows, row, C_MISSED);
    held->ended_cause = keep(rows, row, C_CAUSE, word->arena);
    held->outcome = keep(rows, row, C_OUTCOME, word->arena);
    memcpy(held->boot_id, cyx_db_text(rows, row, C_BOOT),
           strnlen(cyx_db_text(rows, row, C_BOOT), CYX_ID_BYTES - 1));
}

static enum cyx_status read_all(struct hearing *hearing, const struct cyx_db_result *rows,
                                struct cyx_error *err)
{
    for (size_t i = 0; i < cyx_db_rows(rows); i++) {
        size_t nth = (size_t)cyx_db_int(rows, i, C_WORD);
        struct cyx_sched_word *word = hearing->words[nth];
        enum cyx_status status = cyx_sched_row_read(rows, i, word->arena, &word->job, err);
        if (status != CYX_OK)
            return status;
        read_held(rows, i, word, &hearing->held[nth]);
        word->status = CYX_OK;
    }
    return CYX_OK;
}

/* How an assignment ended that was still open when the row was read, before the lock was had. */
static enum cyx_status read_end(struct cyx_db_conn *conn, struct cyx_sched_word *word,
                                struct held *held, struct cyx_error *err)
{
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_query_one(
        conn, "select ended_cause, outcome from assignment where job_id = $1 and token = $2", &rows,
        err, CYX_DB_TEXT(word->claim.job_id), CYX_DB_INT(word->claim.token));
    if (status != CYX_OK)
        return status;
    held->ended_cause = keep(rows, 0, 0, word->arena);
    held->outcome = keep(rows, 0, 1, word->arena);
    return CYX_OK;
}

/* Of a job of several nodes each assignment has a life of its own: it is read as it is, behind the job's lock. */
static enum cyx_status read_member(struct cyx_db_conn *conn, struct cyx_sched_word *word,
                                   struct held *held, struct cyx_error *err)
{
    struct cyx_sched_member member;
    enum cyx_status status = cyx_sched_member_read(conn, &word->claim, word->arena, &member, err);
    if (status != CYX_OK)
        return status;
    held->member = true;
    held->accepted = member.accepted && !member.ended;
    held->ended = member.ended;
    held->rank = member.rank;
    held->others_to_accept = member.others_to_accept;
    held->ended_cause = member.ended_cause;
    held->outcome = member.outcome;
    return CYX_OK;
}

/* Whether it is this member's to say: the first one gives the result, the others say that they are done. */
static bool may_report(struct cyx_sched_word *word, const struct held *held)
{
    const struct cyx_sched_report *report = word->report;
    bool first = held->rank == 0;
    if (report->done && (first || !held->accepted))
        refuse(word, cyx_error_set(&word->error, CYX_ERR_CONFLICT, "/outcome",
                                   "only a member behind the first that has accepted can be done"));
    else if (!report->done && report->event == CYX_SCHED_COMPLETE && !first)
        refuse(word, cyx_error_set(&word->error, CYX_ERR_CONFLICT, "/outcome",
                                   "the first member alone gives the result; say done"));
    else
        return true;
    return false;
}

/* Whether a word about an assignment that stands asks for a change. */
static bool asks_for_change(struct cyx_sched_word *word, const struct held *held)
{
    const struct cyx_sched_claim *claim = &word->claim;
    if (!held->exists) {
        refuse(word, cyx_error_set(&word->error, CYX_ERR_CONFLICT, "/token",
                                   "node %s was never given job %s with token %lld", claim->node_id,
                                   claim->job_id, (long long)claim->token));
        return false;
    }
    if (held->ended && word->report && held->outcome &&
        strcmp(held->outcome, word->report->outcome) == 0)
        return false; /* said before */
    if (held->ended && word->report && word->report->done && held->ended_cause &&
        strcmp(held->ended_cause, "worker-completed") == 0)
        return false; /* the first member was quicker: all are done */
    if (held->ended) {
        refuse(word, cyx_error_set(&word->error, CYX_ERR_CONFLICT, "/token",
                                   "token %lld of job %s is no longer valid (%s)",
                                   (long long)claim->token, claim->job_id,
                                   held->ended_cause ? held->ended_cause : "ended"));
        return false;
    }
    if (word->report)
        return may_report(word, held);
    if (strcmp(held->boot_id, claim->boot_id) != 0) {
        refuse(word, cyx_error_set(&word->error, CYX_ERR_CONFLICT, "/boot_id",
                                   "the offer was for another run of this worker"));
        return false;
    }
    return !held->accepted; /* accepted: its answer was lost, and is given again */
}

static void add_happening(struct hearing *hearing, size_t nth)
{
    struct cyx_sched_word *word = hearing->words[nth];
    const struct cyx_sched_report *report = word->report;
    struct cyx_sched_happening *happening = &hearing->happenings[hearing->n_happenings];
    *happening =
        (struct cyx_sched_happening){.job = &word->job,
                                     .event = CYX_SCHED_ACCEPT,
                                     .arena = word->arena,
                                     .details = {.trace = word->trace, .token = word->claim.token}};
    if (report) {
        word->job.facts.failure = report->failure;
        happening->event = report->event;
        happening->details.error = report->error;
        happening->details.result = report->result;
        happening->details.outcome = report->outcome;
        happening->details.model = report->model;
        happening->details.counts_device_time = report->event == CYX_SCHED_COMPLETE ||
                                                report->event == CYX_SCHED_HAND_BACK ||
                                                word->job.facts.preempted;
    }
    hearing->of[hearing->n_happenings++] = nth;
}

static enum cyx_status decide_all(struct hearing *hearing, struct cyx_db_conn *conn,
                                  struct cyx_error *err)
{
    for (size_t i = 0; i < hearing->count; i++) {
        struct cyx_sched_word *word = hearing->words[i];
        struct held *held = &hearing->held[i];
        if (word->status != CYX_OK)
            continue; /* no such job */
        enum cyx_status status = CYX_OK;
        if (held->exists && word->job.need.nodes > 1)
            status = read_member(conn, word, held, err);
        else if (held->exists && held->ended && !held->ended_cause)
            status = read_end(conn, word, held, err);
        if (status != CYX_OK)
            return status;
        if (!asks_for_change(word, held))
            continue;
        if (word->report && word->report->done)
            status = cyx_sched_member_is_done(conn, &hearing->self->policy, &word->claim, err);
        else if (!word->report && held->others_to_accept > 0)
            status = cyx_sched_member_accepts(conn, &hearing->self->policy, &word->claim, err);
        else
            add_happening(hearing, i);
        if (status != CYX_OK)
            return status;
        held->alone = hearing->n_happenings == 0 || hearing->of[hearing->n_happenings - 1] != i;
    }
    return CYX_OK;
}

/* What is kept of a node: how well it did, how fast it was, that the data lies there now, that it takes offers. */
static void write_judgement(struct cyx_buf *text, const struct cyx_sched_word *word,
                            const struct held *held)
{
    const struct cyx_sched_report *report = word->report;
    const struct cyx_sched_job *job = &word->job;
    bool well = report && (report->done || report->event == CYX_SCHED_COMPLETE);
    bool badly =
        report && report->event == CYX_SCHED_FAIL && cyx_sched_failure_may_pass(report->failure);
    bool takes = !report && held->missed_offers;
    if (!well && !badly && !takes) /* or not its fault */
        return;
    /* How fast a member was is how fast they met. */
    double speed =
        well && !held->member ? report->images_per_second * (double)job->flops_per_sample : 0;
    cyx_buf_printf(text,
                   "%s{\"id\":\"%s\",\"takes\":%s,\"good\":%d,\"bad\":%d,\"size\":%d,"
                   "\"speed\":%.17g,\"dataset\":",
                   text->length ? "," : "[", word->claim.node_id, takes ? "true" : "false", well,
                   badly, cyx_sched_size((double)job->flops_per_sample) + 1, speed);
    cyx_buf_json_string(text, well ? job->need.dataset : "");
    cyx_buf_puts(text, "}");
}

/* Of a node the data sets used there last, by name or by hash: its cache forgets the others too. */
#define DATASETS_KEPT "32"

static enum cyx_status judge_nodes(struct hearing *hearing, struct cyx_db_conn *conn,
                                   struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    for (size_t i = 0; i < hearing->n_happenings; i++)
        if (hearing->happenings[i].status == CYX_OK)
            write_judgement(&text, hearing->words[hearing->of[i]], &hearing->held[hearing->of[i]]);
    for (size_t i = 0; i < hearing->count; i++)
        if (hearing->held[i].alone)
            write_judgement(&text, hearing->words[i], &hearing->held[i]);
    if (text.length == 0)
        return CYX_OK;
    cyx_buf_puts(&text, "]");
    if (text.failed)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for what workers say");
    return cyx_db_query(
        conn,
        "with w as (select * from json_to_recordset($1::json) as w(id uuid, takes boolean, "
        "good int, bad int, size int, speed float8, dataset text) " CYX_SCHED_FEW "), "
        "locked as (select id from node where id in (select id from w) "
        "order by id for no key update) "
        "update node n set offers_missed = case when w.takes then 0 else n.offers_missed end, "
        "good = n.good + w.good, bad = n.bad + w.bad, speed[w.size] = case "
        "when w.speed <= 0 then n.speed[w.size] when n.speed[w.size] = 0 then w.speed "
        "else 0.7 * n.speed[w.size] + 0.3 * w.speed end, "
        "datasets = case when w.dataset = '' or w.dataset = any(string_to_array(n.datasets, ',')) "
        "then n.datasets when n.datasets = '' then w.dataset else array_to_string(("
        "string_to_array(n.datasets || ',' || w.dataset, ','))[greatest(1, cardinality("
        "string_to_array(n.datasets, ',')) + 2 - " DATASETS_KEPT "):], ',') end "
        "from w join locked l on l.id = w.id "
        "where n.id = w.id",
        NULL, err, CYX_DB_TEXT(text.data));
}

/* Nodes that handed a job back are on their way out. */
static enum cyx_status rest_nodes(struct hearing *hearing, struct cyx_db_conn *conn,
                                  struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < hearing->n_happenings; i++)
        if (hearing->happenings[i].status == CYX_OK &&
            hearing->happenings[i].event == CYX_SCHED_HAND_BACK)
            status = cyx_sched_rest_node(conn, &hearing->self->policy,
                                         hearing->words[hearing->of[i]]->claim.node_id, 0, err);
    return status;
}

static enum cyx_status hear_body(void *ctx, struct cyx_db_conn *conn, struct cyx_error *err)
{
    struct hearing *hearing = ctx;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    hearing->n_happenings = 0;
    memset(hearing->held, 0, sizeof(hearing->held));
    for (size_t i = 0; i < hearing->count; i++)
        refuse(hearing->words[i],
               cyx_error_set(&hearing->words[i]->error, CYX_ERR_NOT_FOUND, "/job_id", "no job %s",
                             hearing->words[i]->claim.job_id));
    enum cyx_status status = lock_all(hearing, conn, &rows, err);
    if (status == CYX_OK)
        status = read_all(hearing, rows, err);
    if (status == CYX_OK)
        status = decide_all(hearing, conn, err);
    if (status == CYX_OK && hearing->n_happenings > 0)
        status = cyx_sched_row_apply_all(conn, &hearing->self->policy, hearing->happenings,
                                         hearing->n_happenings, err);
    for (size_t i = 0; status == CYX_OK && i < hearing->n_happenings; i++) {
        const struct cyx_sched_happening *happening = &hearing->happenings[i];
        hearing->words[hearing->of[i]]->status = happening->status;
        hearing->words[hearing->of[i]]->error = happening->error;
    }
    if (status == CYX_OK)
        status = judge_nodes(hearing, conn, err);
    return status == CYX_OK ? rest_nodes(hearing, conn, err) : status;
}

/* The server is there, but what one of them said it will not have. */
static bool one_may_be_to_blame(enum cyx_status status)
{
    return status != CYX_OK && status != CYX_ERR_UNAVAILABLE && status != CYX_ERR_TIMEOUT &&
           status != CYX_ERR_NO_MEMORY;
}

static enum cyx_status hear_together(struct cyx_sched_store *self,
                                     struct cyx_sched_word *const *words, size_t count,
                                     struct cyx_error *err)
{
    struct hearing hearing = {.self = self, .words = words, .count = count};
    enum cyx_status status = cyx_db_transaction(self->db, hear_body, &hearing, err);
    if (status == CYX_OK && hearing.n_happenings > 0)
        cyx_outbox_wake(self->outbox);
    for (size_t i = 0; status != CYX_OK && i < count; i++) {
        words[i]->status = status;
        words[i]->error = *err;
    }
    return status;
}

void cyx_sched_store_hear(struct cyx_sched_store *self, struct cyx_sched_word *const *words,
                          size_t count)
{
    struct cyx_error err = {0};
    enum cyx_status status = hear_together(self, words, count, &err);
    for (size_t i = 0; count > 1 && one_may_be_to_blame(status) && i < count; i++)
        (void)hear_together(self, &words[i], 1, &err);
}
