/*
 * A training that generate.py recorded, step by step: its batches, learning rates, first parameters and losses. The
 * steps of a layer or a loss (golden_case.h) train the input too, at one rate, by one target that is never another.
 */
#ifndef CYX_TESTS_GOLDEN_GOLDEN_RUN_H
#define CYX_TESTS_GOLDEN_GOLDEN_RUN_H

#include "golden.h"
#include "nn/backend.h"
#include "runners.h"

struct golden_run {
    const struct cyx_safetensors *file;
    const char *name;
    struct cyx_job_spec *spec;
    struct cyx_graph *graph; /* the whole step */
    int64_t steps, batches, batch, n_groups;
    float *
        images; /* (batches, batch, 1, 28, 28), from 0 to 1; of a case the one number that is fed */
    void *targets; /* (batches, batch) int32; of a case as its graph says */
    float *losses; /* (steps) */
    float *norms;  /* (steps), 0 where nothing is clipped by norm */
    double *rates; /* (steps, groups) */
};

void golden_run_open(struct golden_run *self, const struct cyx_safetensors *file, const char *name);
void golden_run_open_case(struct golden_run *self, const struct cyx_safetensors *file,
                          const char *name);
void golden_run_close(struct golden_run *self);

/* What step `step`, from 0, is fed. */
struct cyx_feed golden_run_feed(const struct golden_run *self, int64_t step);

/* What the file holds of a parameter or buffer, `which` "first" or "last"; NULL for other values. */
const struct cyx_safetensors_tensor *
golden_run_tensor(const struct golden_run *self, const char *which, const struct cyx_value *value);

/* Session and program of the step, with the first parameters written. */
void golden_run_start(const struct golden_run *self, const struct runner *runner,
                      struct cyx_session **ret_session, struct cyx_program **ret_program);

#endif
