/*
 * A graph run in double precision by naive loops: what the backends are measured against. Slow and plain on
 * purpose; shares no code with them but Philox.
 *
 * Ownership: values belong to the reference. One thread at a time. Running out of memory aborts the test.
 *
 *     struct reference *reference = reference_create(graph);
 *     memcpy(reference_value(reference, w), …);        // parameters, state and input, as doubles
 *     reference_run(reference, &feed);
 *     double loss = reference_value(reference, graph->result)[CYX_RESULT_LOSS];
 *     reference_destroy(reference);
 */
#ifndef CYX_TESTS_SUPPORT_REFERENCE_H
#define CYX_TESTS_SUPPORT_REFERENCE_H

#include "model/graph.h"

struct reference;

struct reference_step {
    uint64_t seed, step;
    double lr;
};

struct reference *reference_create(const struct cyx_graph *graph);
void reference_destroy(struct reference *self);

/* The value's elements, row-major; int32 values (targets, pooling's index) as doubles too. */
double *reference_value(struct reference *self, int32_t value);

/* All nodes in order, optimizer included. */
void reference_run(struct reference *self, const struct reference_step *step);

#endif
