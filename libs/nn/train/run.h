/*
 * What a run of the trainer stands on: data, device, session, and one compiled program for each batch size and
 * kind of pass, made when first needed. Private to train/.
 *
 * Ownership: run_finish() frees all, also a half-built one. One thread.
 */
#ifndef CYX_NN_TRAIN_RUN_H
#define CYX_NN_TRAIN_RUN_H

#include "nn/data/loader.h"
#include "nn/optim/lr.h"
#include "nn/train/checkpoint.h"
#include "nn/train/gang.h"
#include "nn/train/trainer.h"

/* Training and evaluation, each with a whole and a last batch, for up to three parts of the data. */
enum { RUN_PROGRAMS = 8 };

struct run_program {
    struct cyx_graph *graph;
    struct cyx_program *program;
    int64_t batch;
    bool training;
};

/* A step whose result was not waited for. */
struct run_open_step {
    struct cyx_program *program;
    uint64_t ticket;
    int64_t rows;
    double lr;
};

struct run {
    const struct cyx_train_options *options;
    const struct cyx_job_spec *spec;

    struct cyx_job_spec resolved; /* the caller's, with what the data told: `spec` is this */
    const struct cyx_data *data;
    struct cyx_data *opened; /* NULL: data are the caller's */
    struct cyx_pipeline *training_rows, *evaluation_rows;
    uint32_t *rows;                               /* with a validation part: training rows first */
    struct cyx_loader *train, *validation, *test; /* one of the last two may be NULL */

    const struct cyx_backend *backend;
    struct cyx_device *device;
    struct cyx_device_info info;
    int64_t looked_ns; /* when `info` was read, 0: at the opening */
    struct cyx_session *session;
    struct run_program programs[RUN_PROGRAMS];
    size_t n_programs;

    struct run_open_step open[CYX_STEPS_IN_FLIGHT];
    size_t n_open;

    int64_t total_steps;
    struct cyx_progress progress;
    struct cyx_lr lr;
};

enum cyx_status run_open(struct run *self, const struct cyx_train_options *options,
                         struct cyx_error *error);
void run_finish(struct run *self);

/* Data, pipelines and loaders, and the resolved spec. */
enum cyx_status run_open_data(struct run *self, struct cyx_error *error);
void run_close_data(struct run *self);

/* The program for this many rows; compiled when it is the first time. */
enum cyx_status run_program(struct run *self, bool training, int64_t rows,
                            struct cyx_program **ret_program, struct cyx_error *error);

/* Reads `info` again, once a second at most; a device that does not tell its use of memory has that of our largest program. */
void run_look_at_device(struct run *self);

/* Of a gang: replaces what a checkpoint holds by its mean over the members; no step may be open. */
enum cyx_status run_meet(struct run *self, struct cyx_error *error);

/* Of a gang: gives every member what the first one evaluated. */
enum cyx_status run_share(struct run *self, double *loss, double *accuracy,
                          struct cyx_error *error);

/* The training graph of a whole batch: whose values the session holds. */
const struct cyx_graph *run_graph(const struct run *self);

/* Share of correct rows; NaN where there are no classes. */
double run_accuracy(const struct run *self, double correct, double count);

/* Mean loss and share of correct rows over every batch of `loader`. */
enum cyx_status run_evaluate(struct run *self, struct cyx_loader *loader, double *ret_loss,
                             double *ret_accuracy, struct cyx_error *error);

#endif
