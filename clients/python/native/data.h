/*
 * A spec's data and its batches, as Python iterates them, through the engine's own loader: the same order and the same
 * bits as in `cyxwiz train`.
 *
 * Ownership: data and loaders are freed by their close functions, which take NULL; a loader keeps its data. A batch's
 * memory is the loader's and valid until its next call of next, start or close. Thread rule: a loader has one caller at
 * a time, data any.
 *
 *     py_data_open(spec, data_dir, &data, &error);
 *     py_loader_open(data, PY_TRAIN, &options, &loader, &error);
 *     py_loader_start(loader, epoch);
 *     while (py_loader_next(loader, &batch)) …
 */
#ifndef CYX_PYTHON_DATA_H
#define CYX_PYTHON_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec.h"

enum py_part { PY_TRAIN, PY_VALIDATION, PY_TEST };

struct py_data;
struct py_loader;

struct py_loader_options {
    int64_t batch;
    bool shuffle, drop_last;
    uint64_t seed;
};

struct py_loaded {
    const float *input; /* (rows, …) */
    const void *target; /* int32 (rows) or float (rows, n_targets) */
    int64_t rows;
};

enum cyx_status py_data_open(struct py_spec *spec, const char *data_dir, struct py_data **ret_data,
                             struct cyx_error *ret_error);
void py_data_close(struct py_data *self);
void py_data_sample(const struct py_data *self, struct py_sample *ret_sample);

/* Rows of a part; 0: there is no such part. */
int64_t py_data_rows(const struct py_data *self, enum py_part part);

/* CYX_ERR_NOT_FOUND when there is no such part. */
enum cyx_status py_loader_open(struct py_data *data, enum py_part part,
                               const struct py_loader_options *options,
                               struct py_loader **ret_loader, struct cyx_error *ret_error);
void py_loader_close(struct py_loader *self);
int64_t py_loader_batches(const struct py_loader *self);
int64_t py_loader_rows(const struct py_loader *self);
void py_loader_start(struct py_loader *self, uint32_t epoch);
bool py_loader_next(struct py_loader *self, struct py_loaded *ret_batch);

#endif
