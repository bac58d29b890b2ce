/*
 * A model, compiled and ready to be run again and again: what the benchmark measures with. Private to nn/bench.
 *
 * Ownership: bench_rig_finish() takes a zeroed or half-built one. Threads: nn/backend.h's.
 */
#ifndef CYX_NN_BENCH_RIG_H
#define CYX_NN_BENCH_RIG_H

#include "nn/backend.h"

struct bench_rig {
    const struct cyx_backend *backend;
    struct cyx_job_spec *spec;
    struct cyx_graph *graph;
    struct cyx_session *session;
    struct cyx_program *program;
    float *input; /* a batch, numbers in ±1 */
    void *target; /* zeros */
};

struct bench_plan {
    const char *layers; /* JSON, joined by commas */
    const char *loss;   /* JSON */
    struct cyx_sample_shape sample;
    int64_t batch;
    bool training; /* the whole step: forward, gradients, optimizer */
    bool storage;  /* the session alone, and no values drawn: it is there for its bytes */
};

enum cyx_status bench_rig_make(const struct cyx_backend *backend, struct cyx_device *device,
                               const struct bench_plan *plan, struct bench_rig *ret_rig,
                               struct cyx_error *ret_error);
void bench_rig_finish(struct bench_rig *self);

/* Runs one step from `input` (NULL: the rig's own) and waits for it. */
enum cyx_status bench_rig_step(struct bench_rig *self, const float *input,
                               struct cyx_error *ret_error);

/*
 * Seconds of the quickest step of as many as take `spend_ms`: what else the machine does is no part of the device. Two at
 * least, since the first warms up; one where that takes longer by itself.
 */
enum cyx_status bench_rig_time(struct bench_rig *self, int64_t spend_ms, double *ret_seconds,
                               struct cyx_error *ret_error);

#endif
