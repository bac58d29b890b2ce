/*
 * One model on one device, as Python steps it: the session with its persistent values, and a compiled program for
 * each batch size and kind of pass, made when first needed and forgotten when too many others were used since.
 *
 * Up to CYX_STEPS_IN_FLIGHT steps may be open: py_engine_submit() starts one, py_engine_take() waits for the oldest
 * and gives its result. Every other call first finishes what is open and keeps the results for py_engine_take(), so
 * that an exception between two calls leaves nothing undone.
 *
 * Input is float32 in PyTorch's layout, (rows, …); a target is int32 (rows) or float32 (rows, n). Both are only
 * read, in place, and are the caller's again when the call returns.
 *
 * Ownership: py_engine_close() frees all, takes NULL; an engine keeps its spec. Thread rule: any thread; calls
 * wait for one another.
 */
#ifndef CYX_PYTHON_ENGINE_H
#define CYX_PYTHON_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/backend.h"
#include "spec.h"

struct py_engine;

struct py_engine_options {
    const char *backend; /* NULL: the spec's */
    int device, threads; /* threads 0: the spec's, or all cores */
    const char *cache_dir;
    bool validation;
    int64_t rows;  /* of the first program; the device's layouts are chosen for it */
    bool training; /* false: no optimizer state is kept, and no training step is possible */
};

enum py_value_kind { PY_PARAM, PY_BUFFER, PY_STATE, PY_INPUT, PY_TARGET, PY_OUTPUT };

struct py_value {
    const char *name; /* the engine's */
    enum py_value_kind kind;
    int rank;
    int64_t shape[4]; /* PY_INPUT, PY_TARGET and PY_OUTPUT: of a program of `rows` rows */
    bool whole;       /* PY_TARGET: classes, int32 */
};

struct py_batch {
    const float *input;
    size_t input_count; /* elements */
    const void *target; /* NULL where the loss compares with the input */
    size_t target_count;
    int64_t rows;
};

enum cyx_status py_engine_open(struct py_spec *spec, const struct py_engine_options *options,
                               struct py_engine **ret_engine, struct cyx_error *ret_error);
void py_engine_close(struct py_engine *self);

void py_engine_info(const struct py_engine *self, struct cyx_device_info *ret_info);
int64_t py_engine_memory_bytes(struct py_engine *self);

/* Parameters, buffers, optimizer state in the order of the layers, then input, target and output. */
size_t py_engine_n_values(const struct py_engine *self);
void py_engine_value(const struct py_engine *self, size_t index, struct py_value *ret_value);
bool py_engine_counts_correct(const struct py_engine *self);
int64_t py_engine_n_classes(const struct py_engine *self); /* 0: the target is no class */

/* First values from the spec's seed; optimizer state and the count of steps are zero again. */
enum cyx_status py_engine_reset(struct py_engine *self, struct cyx_error *ret_error);

/* Persistent values by name, `count` elements in host layout. */
enum cyx_status py_engine_read(struct py_engine *self, const char *name, float *ret_data,
                               size_t count, struct cyx_error *ret_error);
enum cyx_status py_engine_write(struct py_engine *self, const char *name, const float *data,
                                size_t count, struct cyx_error *ret_error);
/* The value's own bytes, NULL where the device keeps it otherwise (backend.h, value_host). */
float *py_engine_host(struct py_engine *self, const char *name);

uint64_t py_engine_steps(const struct py_engine *self); /* training steps submitted */
void py_engine_set_steps(struct py_engine *self, uint64_t steps);

/* A training step; `lr` has one rate for each parameter group, group 0 is what no pattern names. */
enum cyx_status py_engine_submit(struct py_engine *self, const struct py_batch *batch,
                                 const double *lr, size_t n_lr, struct cyx_error *ret_error);
/* CYX_ERR_NOT_FOUND when no step is open. */
enum cyx_status py_engine_take(struct py_engine *self, struct cyx_step_result *ret_result,
                               struct cyx_error *ret_error);
int py_engine_open_steps(struct py_engine *self);
/* Finishes what is open and forgets all results. */
void py_engine_drop_results(struct py_engine *self);

enum cyx_status py_engine_evaluate(struct py_engine *self, const struct py_batch *batch,
                                   struct cyx_step_result *ret_result, struct cyx_error *ret_error);
/* The model's output, `count` elements, without a target; `input_count` elements in. NULL: it stays where it is. */
enum cyx_status py_engine_predict(struct py_engine *self, const float *input, size_t input_count,
                                  int64_t rows, float *ret_output, size_t count,
                                  struct cyx_error *ret_error);
/* Copies it out, of the last pass of so many rows. CYX_ERR_NOT_FOUND when there was none. */
enum cyx_status py_engine_read_output(struct py_engine *self, int64_t rows, float *ret_output,
                                      size_t count, struct cyx_error *ret_error);
/*
 * The bytes of the last output of `rows` rows in inference, NULL where the device keeps it otherwise (backend.h,
 * transient_host) or too many were asked for. The next pass of as many rows writes over them; valid as long as the
 * engine.
 */
const float *py_engine_output_host(struct py_engine *self, int64_t rows);

/* The state_dict as a safetensors file that PyTorch opens, the spec in its metadata. */
enum cyx_status py_engine_save(struct py_engine *self, const char *path, int64_t *ret_bytes,
                               struct cyx_error *ret_error);

#endif
