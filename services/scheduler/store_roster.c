/*
 * The nodes as the matcher remembers them. To read a thousand nodes anew for every job costs more than all else of
 * a pass, and few have changed since the last one. So a pass reads those alone that were written by transactions that
 * the pass before could not see, which PostgreSQL tells by a row's xmin; and which slots are taken.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store_match.h"

#include "base/banned.h"

enum { SLOTS_LIMIT = 32, XID_BYTES = 24, TEXTS = 4 };
/* Read whole so often, whatever may have been missed: a server that was set back in time, say. */
#define READ_WHOLE_NS INT64_C(60000000000)

struct known {
    struct cyx_sched_node node;
    char *texts[TEXTS]; /* the node's */
    bool online;
    int64_t rests_until_ns; /* monotonic */
    uint32_t taken;         /* slots, a bit each */
};

struct cyx_sched_roster {
    struct known *nodes; /* by id */
    size_t count, capacity;
    /* Rows written by this transaction or later ones may be news; "": all are. */
    char horizon[XID_BYTES];
    int64_t read_whole_ns;
};

/* ---- one node ---- */

static void free_texts(struct known *known)
{
    for (int i = 0; i < TEXTS; i++) {
        free(known->texts[i]);
        known->texts[i] = NULL;
    }
}

/* Takes the node over with copies of its texts; what was known before is gone also when it fails. */
static bool take_over(struct known *known, const struct cyx_sched_node *node)
{
    const char *const texts[TEXTS] = {node->closed, node->labels, node->region, node->datasets};
    free_texts(known);
    known->node = *node;
    for (int i = 0; i < TEXTS; i++) {
        known->texts[i] = strdup(texts[i]);
        if (!known->texts[i])
            return false;
    }
    known->node.closed = known->texts[0];
    known->node.labels = known->texts[1];
    known->node.region = known->texts[2];
    known->node.datasets = known->texts[3];
    return true;
}

/* Where the id is, or belongs. */
static size_t find(const struct cyx_sched_roster *self, const char *id)
{
    size_t low = 0, high = self->count;
    if (high > 0 && strcmp(self->nodes[high - 1].node.id, id) < 0)
        return high; /* read whole, they come in order */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(self->nodes[middle].node.id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The node of that id, made when it is new; NULL when memory runs out. */
static struct known *need_known(struct cyx_sched_roster *self, const char *id)
{
    size_t at = find(self, id);
    if (at < self->count && strcmp(self->nodes[at].node.id, id) == 0)
        return &self->nodes[at];
    if (self->count == self->capacity) {
        size_t capacity = self->capacity ? 2 * self->capacity : 64;
        struct known *nodes = realloc(self->nodes, capacity * sizeof(*nodes));
        if (!nodes)
            return NULL;
        self->nodes = nodes;
        self->capacity = capacity;
    }
    memmove(&self->nodes[at + 1], &self->nodes[at], (self->count - at) * sizeof(*self->nodes));
    self->count++;
    self->nodes[at] = (struct known){0};
    return &self->nodes[at];
}

static void forget_all(struct cyx_sched_roster *self)
{
    for (size_t i = 0; i < self->count; i++)
        free_texts(&self->nodes[i]);
    self->count = 0;
    self->horizon[0] = '\0';
}

/* ---- reading ---- */

/* One row more than there is news, or as many: the horizon comes also when there is none. */
static const char *const news_sql = "select " CYX_SCHED_NODE_COLUMNS(
    "false",
    "0") ", h.horizon, online, "
         "(extract(epoch from greatest(rests_until, clock_timestamp()) - clock_timestamp()) * "
         "1000)::bigint from (select pg_snapshot_xmin(pg_current_snapshot())::xid::text as "
         "horizon) h "
         "left join node on $1::xid is null or age(node.xmin) <= age($1::xid) order by id";
enum { C_HORIZON = CYX_SCHED_NODE_COLUMN_COUNT, C_ONLINE, C_RESTS_MS };

static enum cyx_status read_news(struct cyx_sched_store *self, struct cyx_arena *arena,
                                 struct cyx_error *err)
{
    struct cyx_sched_roster *roster = self->roster;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (now_ns - roster->read_whole_ns > READ_WHOLE_NS) {
        forget_all(roster);
        roster->read_whole_ns = now_ns;
    }
    enum cyx_status status = cyx_db_run(self->db, news_sql, &rows, err,
                                        CYX_DB_TEXT(roster->horizon[0] ? roster->horizon : NULL));
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        struct cyx_sched_node node = {0};
        if (cyx_db_null(rows, i, 0))
            continue;
        status = cyx_sched_read_node(rows, i, arena, &node, err);
        struct known *known = status == CYX_OK ? need_known(roster, node.id) : NULL;
        if (status == CYX_OK && (!known || !take_over(known, &node)))
            status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
        if (status == CYX_OK) {
            known->online = cyx_db_bool(rows, i, C_ONLINE);
            known->rests_until_ns = now_ns + cyx_db_int(rows, i, C_RESTS_MS) * 1000000;
        }
    }
    if (status == CYX_OK)
        snprintf(roster->horizon, sizeof(roster->horizon), "%s", cyx_db_text(rows, 0, C_HORIZON));
    else
        forget_all(roster); /* some of it may have been taken over */
    return status;
}

static enum cyx_status read_taken(struct cyx_sched_store *self, struct cyx_error *err)
{
    struct cyx_sched_roster *roster = self->roster;
    CYX_CLEANUP_RESULT struct cyx_db_result *rows = NULL;
    enum cyx_status status = cyx_db_run(
        self->db, "select node_id, slot from assignment where ended_at is null", &rows, err);
    for (size_t i = 0; status == CYX_OK && i < roster->count; i++)
        roster->nodes[i].taken = 0;
    for (size_t i = 0; status == CYX_OK && i < cyx_db_rows(rows); i++) {
        const char *id = cyx_db_text(rows, i, 0);
        size_t at = find(roster, id);
        if (at < roster->count && strcmp(roster->nodes[at].node.id, id) == 0)
            roster->nodes[at].taken |= 1U << (unsigned)cyx_db_int(rows, i, 1) % SLOTS_LIMIT;
    }
    return status;
}

/* ---- what is free ---- */

static bool takes_jobs(const struct known *known, int64_t now_ns)
{
    return known->online && !*known->node.closed && known->rests_until_ns <= now_ns;
}

static bool is_free(const struct known *known, int64_t slot)
{
    return slot < known->node.slots && !(known->taken >> (unsigned)slot & 1U);
}

/* A node's second slot comes behind every node's first. With NULL it counts. */
static size_t list_free(const struct cyx_sched_roster *self, int64_t now_ns,
                        struct cyx_sched_node *ret_nodes)
{
    int64_t slots = 1;
    size_t count = 0;
    for (int64_t slot = 0; slot < slots && slot < SLOTS_LIMIT; slot++) {
        for (size_t i = 0; i < self->count; i++) {
            const struct known *known = &self->nodes[i];
            if (!takes_jobs(known, now_ns))
                continue;
            slots = known->node.slots > slots ? known->node.slots : slots;
            if (!is_free(known, slot))
                continue;
            if (ret_nodes) {
                ret_nodes[count] = known->node;
                ret_nodes[count].slot = slot;
            }
            count++;
        }
    }
    return count;
}

enum cyx_status cyx_sched_store_free_slots(struct cyx_sched_store *self, struct cyx_arena *arena,
                                           struct cyx_sched_node **ret_nodes, size_t *ret_count,
                                           struct cyx_error *err)
{
    if (!self->roster)
        self->roster = calloc(1, sizeof(*self->roster));
    if (!self->roster)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    enum cyx_status status = read_news(self, arena, err);
    if (status == CYX_OK)
        status = read_taken(self, err);
    if (status != CYX_OK)
        return status;
    int64_t now_ns = cyx_clock_monotonic_ns();
    size_t count = list_free(self->roster, now_ns, NULL);
    struct cyx_sched_node *nodes = cyx_arena_calloc(arena, count + 1, sizeof(*nodes));
    if (!nodes)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the nodes");
    *ret_nodes = nodes;
    *ret_count = list_free(self->roster, now_ns, nodes);
    return CYX_OK;
}

void cyx_sched_roster_destroy(struct cyx_sched_roster *self)
{
    if (!self)
        return;
    forget_all(self);
    free(self->nodes);
    free(self);
}

size_t cyx_sched_roster_fits(const struct cyx_sched_roster *self, const struct cyx_sched_need *need)
{
    size_t count = 0;
    for (size_t i = 0; self && i < self->count; i++)
        count +=
            self->nodes[i].online && cyx_sched_fit(need, &self->nodes[i].node) == CYX_SCHED_FITS;
    return count;
}
