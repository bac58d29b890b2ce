/*
 * Test support: runs a graph by the plainest loops in double precision, in an arena laid out by a buffer plan.
 * It judges the graph and the plan (a value that the plan lets another overwrite too early gives wrong numbers),
 * and is no engine: those are libs/nn's backends.
 *
 * Every value takes 8 bytes an element; the arena is filled with NaN first. Integers (targets, pooling's index)
 * are doubles too. Shares no code with the backends but Philox.
 */
#ifndef CYX_TESTS_SUPPORT_REFERENCE_H
#define CYX_TESTS_SUPPORT_REFERENCE_H

#include "model/plan.h"

struct reference {
    const struct cyx_graph *graph;
    struct cyx_plan *plan;
    double **data;  /* per value */
    double **owned; /* per value that is not in the arena, NULL else */
    double *arena;
    double lr[CYX_PARAM_GROUPS_LIMIT]; /* of each parameter group */
    double step;
    uint64_t seed; /* for Dropout */
};

/* Plans (apart: without sharing) and allocates; persistent values, input and target are zero, constants filled. */
void reference_init(struct reference *self, const struct cyx_graph *graph, bool apart);
void reference_finish(struct reference *self);

/* Where value `name` lies; the test fails when there is none. */
double *reference_data(const struct reference *self, const char *name);

/* Runs the first `n_nodes` nodes. */
void reference_run(struct reference *self, size_t n_nodes);

#endif
