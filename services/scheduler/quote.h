/*
 * What a job would cost, how long it would run and when it would start, before it is submitted. Pure.
 *
 * Run time: the plan's FLOPs over what jobs of about this size reached on a node, else over the part of its benchmark that
 * jobs reach on its like; a node without both is left out. Start: at once where a node that fits is free, else when as many jobs have ended as
 * stand before it and fit some node, by what their progress says is left of them.
 */
#ifndef CYX_SCHEDULER_QUOTE_H
#define CYX_SCHEDULER_QUOTE_H

#include "store.h"

struct cyx_sched_quote {
    size_t online, fit, free,
        measured,    /* nodes: all, that fit, and of those free, and of known speed */
        benchmarked; /* of known benchmark alone: their part of the range is a wide one */
    double run_low_s, run_high_s; /* -1: no node that fits has been measured */
    int64_t price_low_base_units, price_high_base_units; /* of the whole job; -1 likewise */
    double start_s;                                      /* -1: not known */
    int64_t ahead;                                       /* jobs before it that some node fits */
    struct cyx_sched_pending pending;                    /* why it would wait */
};

/* Of those before a new job, they that some node online fits: the others hold nobody up. */
int64_t cyx_sched_count_ahead(const struct cyx_sched_ahead *lanes, size_t n_lanes,
                              const struct cyx_sched_node *nodes, size_t n_nodes);

void cyx_sched_quote(const struct cyx_sched_need *need, const struct cyx_sched_node *nodes,
                     size_t n_nodes, const struct cyx_sched_busy *busy, size_t n_busy,
                     int64_t ahead, struct cyx_sched_quote *ret_quote);

#endif
