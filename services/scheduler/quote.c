#include "quote.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* A node at that speed widens the ranges. */
static void add_speed(const struct cyx_sched_need *need, const struct cyx_sched_node *node,
                      double speed, struct cyx_sched_quote *quote)
{
    double members = need->nodes > 1 ? (double)need->nodes : 1; /* all like this one */
    double run_s = need->total_flops / speed / members;
    double exact = ceil((double)node->price_per_hour_base_units * members * run_s / 3600);
    int64_t price = exact < 9e18 ? (int64_t)exact : INT64_MAX;
    bool first = quote->run_low_s < 0;
    if (first || run_s < quote->run_low_s)
        quote->run_low_s = run_s;
    if (first || run_s > quote->run_high_s)
        quote->run_high_s = run_s;
    if (first || price < quote->price_low_base_units)
        quote->price_low_base_units = price;
    if (first || price > quote->price_high_base_units)
        quote->price_high_base_units = price;
}

/*
 * By what jobs reached there; else by its benchmark and the part of theirs that jobs reach on nodes of its kind; and
 * where no job ever ran on such, between all of its benchmark and a tenth.
 */
static void add_node(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                     size_t count, const struct cyx_sched_node *node, struct cyx_sched_quote *quote)
{
    double speed = cyx_sched_speed(need, node);
    double benchmark = cyx_sched_benchmark(need, node);
    double share = cyx_sched_share(need, nodes, count, node);
    if (!(need->total_flops > 0))
        return;
    if (speed > 0) {
        quote->measured++;
        add_speed(need, node, speed, quote);
    } else if (benchmark > 0) {
        quote->benchmarked++;
        add_speed(need, node, benchmark * (share > 0 ? share : 1), quote);
        add_speed(need, node, benchmark * (share > 0 ? share : 0.1), quote);
    }
}

static const struct cyx_sched_busy *find(const struct cyx_sched_busy *busy, size_t count,
                                         const char *node_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(busy[i].node_id, node_id) == 0)
            return &busy[i];
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Seconds until as many of the nodes that fit are free as are wanted before us; -1 when that is not known. */
static double start_after(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                          size_t n_nodes, const struct cyx_sched_busy *busy, size_t n_busy,
                          int64_t before)
{
    double *left = calloc(n_nodes + 1, sizeof(*left)), answer = -1;
    size_t n_left = 0;
    for (size_t i = 0; left && i < n_nodes; i++) {
        const struct cyx_sched_busy *held =
            nodes[i].busy && cyx_sched_fit(need, &nodes[i]) == CYX_SCHED_FITS
                ? find(busy, n_busy, nodes[i].id)
                : NULL;
        if (held && held->left_s >= 0)
            left[n_left++] = held->left_s;
    }
    if (left && before >= 0 && (size_t)before < n_left) {
        qsort(left, n_left, sizeof(*left), by_size);
        answer = left[before];
    }
    free(left);
    return answer;
}

int64_t cyx_sched_count_ahead(const struct cyx_sched_ahead *lanes, size_t n_lanes,
                              const struct cyx_sched_node *nodes, size_t n_nodes)
{
    int64_t count = 0;
    for (size_t i = 0; i < n_lanes; i++) {
        size_t n = 0;
        while (n < n_nodes && cyx_sched_fit(&lanes[i].need, &nodes[n]) != CYX_SCHED_FITS)
            n++;
        count += n < n_nodes ? lanes[i].jobs : 0;
    }
    return count;
}

void cyx_sched_quote(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                     size_t n_nodes, const struct cyx_sched_busy *busy, size_t n_busy,
                     int64_t ahead, struct cyx_sched_quote *ret_quote)
{
    struct cyx_sched_quote quote = {.online = n_nodes,
                                    .run_low_s = -1,
                                    .run_high_s = -1,
                                    .price_low_base_units = -1,
                                    .price_high_base_units = -1,
                                    .start_s = -1,
                                    .ahead = ahead};
    for (size_t i = 0; i < n_nodes; i++) {
        if (cyx_sched_fit(need, &nodes[i]) != CYX_SCHED_FITS)
            continue;
        quote.fit++;
        quote.free += !nodes[i].busy;
        add_node(need, nodes, n_nodes, &nodes[i], &quote);
    }
    int64_t last = ahead + (need->nodes > 1 ? need->nodes : 1) - 1; /* the last that it waits for */
    if (last < (int64_t)quote.free)
        quote.start_s = 0;
    else
        quote.start_s = start_after(need, nodes, n_nodes, busy, n_busy, last - (int64_t)quote.free);
    const struct cyx_sched_hold hold = {.funded = true};
    cyx_sched_pending(need, &hold, nodes, n_nodes, &quote.pending);
    *ret_quote = quote;
}
