/*
 * Greedy by size, best fit: the largest value first, each into the smallest gap between the values that are
 * alive with it and already placed (Y. Pisarchyk and J. Lee, "Efficient memory management for deep neural net
 * inference", 2020, arXiv:2001.03288, section 5; as TensorFlow Lite's arena planner does).
 */
#include "model/plan.h"

#include <stdlib.h>
#include <string.h>

#include "model/private.h"

#include "base/banned.h"

struct item {
    int64_t bytes, offset;
    int32_t first, last; /* nodes between which it is alive, both included */
    int32_t scratch;     /* node whose scratch it is, -1 for a value */
};

struct planner {
    const struct cyx_graph *graph;
    const int64_t *size_bytes, *scratch_bytes;
    int64_t align_bytes;
    bool apart;
    struct item *items;   /* values by root first, then scratch */
    struct item **order;  /* by size */
    struct item **placed; /* by offset */
    size_t n_items;
    int64_t arena_bytes, unshared_bytes;
};

/* The value whose bytes `value` shares. */
static int32_t root_of(const struct cyx_graph *graph, int32_t value)
{
    while (graph->values[value].alias_of != CYX_NO_VALUE)
        value = graph->values[value].alias_of;
    return value;
}

static bool in_arena(const struct cyx_graph *graph, int32_t value)
{
    return graph->values[root_of(graph, value)].kind == CYX_VALUE_TRANSIENT;
}

static void touch(struct item *item, int32_t node)
{
    if (item->first < 0 || node < item->first)
        item->first = node;
    if (node > item->last)
        item->last = node;
}

static bool round_up(int64_t *bytes, int64_t align)
{
    int64_t sum;
    if (*bytes < 0 || __builtin_add_overflow(*bytes, align - 1, &sum))
        return false;
    *bytes = sum & -align;
    return true;
}

/* The lives of the values: item v is value v's, used by roots only. */
static void find_lives(struct planner *p)
{
    const struct cyx_graph *graph = p->graph;
    int32_t last_node = (int32_t)graph->n_nodes - 1;
    for (size_t n = 0; n < graph->n_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] != CYX_NO_VALUE)
                touch(&p->items[root_of(graph, node->in[i])], (int32_t)n);
        for (int i = 0; i < node->n_out; i++)
            if (node->out[i] != CYX_NO_VALUE)
                touch(&p->items[root_of(graph, node->out[i])], (int32_t)n);
    }
    touch(&p->items[root_of(graph, graph->output)], last_node);
    for (size_t v = 0; v < graph->n_values && p->apart; v++) {
        p->items[v].first = 0;
        p->items[v].last = last_node;
    }
}

static bool find_sizes(struct planner *p)
{
    const struct cyx_graph *graph = p->graph;
    for (size_t v = 0; v < graph->n_values; v++) {
        struct item *item = &p->items[root_of(graph, (int32_t)v)];
        int64_t bytes = p->size_bytes ? p->size_bytes[v] : 0;
        if (bytes == 0)
            bytes = graph_value_bytes(&graph->values[v]);
        if (!round_up(&bytes, p->align_bytes))
            return false;
        if (bytes > item->bytes)
            item->bytes = bytes;
    }
    return true;
}

static int by_size(const void *a, const void *b)
{
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x < y ? -1 : x > y; /* the same plan for the same graph, whatever qsort does */
}

/* Collects what needs a place, and sums it up. */
static bool collect(struct planner *p)
{
    const struct cyx_graph *graph = p->graph;
    size_t n = 0;
    for (size_t v = 0; v < graph->n_values; v++)
        if (root_of(graph, (int32_t)v) == (int32_t)v && in_arena(graph, (int32_t)v) &&
            p->items[v].first >= 0)
            p->order[n++] = &p->items[v];
    for (size_t i = 0; i < graph->n_nodes && p->scratch_bytes; i++) {
        struct item *item = &p->items[graph->n_values + i];
        *item = (struct item){p->scratch_bytes[i], 0, (int32_t)i, (int32_t)i, (int32_t)i};
        if (!round_up(&item->bytes, p->align_bytes))
            return false;
        if (item->bytes > 0)
            p->order[n++] = item;
    }
    p->n_items = n;
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(p->unshared_bytes, p->order[i]->bytes, &p->unshared_bytes))
            return false;
    qsort(p->order, n, sizeof(struct item *), by_size);
    return true;
}

/* The smallest gap that holds `item` among those placed that live with it; behind them when there is none. */
static int64_t best_gap(const struct planner *p, size_t n_placed, const struct item *item)
{
    int64_t best = -1, best_bytes = INT64_MAX, end = 0;
    for (size_t i = 0; i < n_placed; i++) {
        const struct item *other = p->placed[i];
        if (other->last < item->first || other->first > item->last)
            continue;
        int64_t gap = other->offset - end;
        if (gap >= item->bytes && gap < best_bytes) {
            best = end;
            best_bytes = gap;
        }
        if (other->offset + other->bytes > end)
            end = other->offset + other->bytes;
    }
    return best >= 0 ? best : end;
}

static void place_all(struct planner *p)
{
    for (size_t i = 0; i < p->n_items; i++) {
        struct item *item = p->order[i];
        item->offset = best_gap(p, i, item);
        size_t at = i;
        for (; at > 0 && p->placed[at - 1]->offset > item->offset; at--)
            p->placed[at] = p->placed[at - 1];
        p->placed[at] = item;
        if (item->offset + item->bytes > p->arena_bytes)
            p->arena_bytes = item->offset + item->bytes;
    }
}

static void hand_over(const struct planner *p, int64_t *ret_scratch_offset, struct cyx_plan *plan)
{
    const struct cyx_graph *graph = p->graph;
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct item *item = &p->items[root_of(graph, (int32_t)v)];
        bool placed = in_arena(graph, (int32_t)v) && item->first >= 0;
        plan->offset_bytes[v] = placed ? item->offset : -1;
    }
    for (size_t n = 0; n < graph->n_nodes && p->scratch_bytes && ret_scratch_offset; n++)
        ret_scratch_offset[n] = p->scratch_bytes[n] > 0 ? p->items[graph->n_values + n].offset : -1;
    plan->arena_bytes = p->arena_bytes;
    plan->unshared_bytes = p->unshared_bytes;
}

static enum cyx_status run(struct planner *p, int64_t *ret_scratch_offset, struct cyx_plan *plan,
                           struct cyx_error *error)
{
    size_t n_all = p->graph->n_values + p->graph->n_nodes;
    for (size_t i = 0; i < n_all; i++)
        p->items[i] = (struct item){0, 0, -1, -1, -1};
    find_lives(p);
    if (!find_sizes(p) || !collect(p))
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "the sizes of the model's buffers do not fit 64 bits");
    place_all(p);
    hand_over(p, ret_scratch_offset, plan);
    return CYX_OK;
}

static enum cyx_status create(struct planner *p, int64_t *ret_scratch_offset,
                              struct cyx_plan **ret_plan, struct cyx_error *error)
{
    if (p->align_bytes < 1 || (p->align_bytes & (p->align_bytes - 1)) != 0)
        return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                             "expected an alignment that is a power of two, got %lld",
                             (long long)p->align_bytes);
    size_t n_all = p->graph->n_values + p->graph->n_nodes;
    struct cyx_plan *plan = calloc(1, sizeof(*plan));
    if (plan)
        plan->offset_bytes = calloc(p->graph->n_values, sizeof(*plan->offset_bytes));
    p->items = calloc(n_all, sizeof(*p->items));
    p->order = calloc(n_all, sizeof(struct item *));
    p->placed = calloc(n_all, sizeof(struct item *));
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (plan && plan->offset_bytes && p->items && p->order && p->placed)
        status = run(p, ret_scratch_offset, plan, error);
    else
        cyx_error_set(error, status, NULL, "memory ran out while planning buffers");
    free(p->items);
    free(p->order);
    free(p->placed);
    if (status != CYX_OK) {
        cyx_plan_destroy(plan);
        return status;
    }
    *ret_plan = plan;
    return CYX_OK;
}

enum cyx_status cyx_plan_create(const struct cyx_graph *graph, const int64_t *size_bytes,
                                const int64_t *scratch_bytes, int64_t align_bytes,
                                int64_t *ret_scratch_offset, struct cyx_plan **ret_plan,
                                struct cyx_error *ret_error)
{
    struct planner p = {.graph = graph,
                        .size_bytes = size_bytes,
                        .scratch_bytes = scratch_bytes,
                        .align_bytes = align_bytes};
    return create(&p, ret_scratch_offset, ret_plan, ret_error);
}

enum cyx_status cyx_plan_create_apart(const struct cyx_graph *graph, const int64_t *size_bytes,
                                      const int64_t *scratch_bytes, int64_t align_bytes,
                                      int64_t *ret_scratch_offset, struct cyx_plan **ret_plan,
                                      struct cyx_error *ret_error)
{
    struct planner p = {.graph = graph,
                        .size_bytes = size_bytes,
                        .scratch_bytes = scratch_bytes,
                        .align_bytes = align_bytes,
                        .apart = true};
    return create(&p, ret_scratch_offset, ret_plan, ret_error);
}

void cyx_plan_destroy(struct cyx_plan *self)
{
    if (!self)
        return;
    free(self->offset_bytes);
    free(self);
}
