/*
 * A spec's data and its batches, as Python iterates them, through the engine's own loader: the same order and the same
 * bits as in `cyxwiz train`.
 *
 * Opening also tells the spec what one sample is, where that was not known before (spec.h, py_spec_sample()).
 *
 * Ownership: data and loaders are freed by their close functions, which take NULL; a loader keeps its data. Arrays are
 * the caller's and must live as long as the data. A batch's memory is the loader's and valid until its next call of
 * next, start or close. Thread rule: a loader has one caller at a time, data any.
 *
 *     py_data_open(spec, data_dir, base_dir, &data, &error);
 *     py_loader_open(data, PY_TRAIN, &options, &loader, &error);
 *     py_loader_start(loader, epoch);
 *     while (py_loader_next(loader, &batch)) …
 *     py_loader_failure(loader, &error);
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

/* Arrays of the caller, row-major: nn/data/data.h, struct cyx_data_arrays. */
struct py_arrays {
    int64_t count;
    int rank; /* of one row */
    int64_t shape[3];
    bool channels_last;
    const uint8_t *bytes;
    const float *floats;
    const int32_t *labels;
    const float *numbers;
    int64_t n_classes, n_targets;
};

struct py_loader_options {
    int64_t batch;
    bool shuffle, drop_last;
    bool evaluation; /* PY_TRAIN: without what transforms draw */
    uint64_t seed;
    int64_t workers; /* threads that make batches; 0: as the data and the machine want it */
};

struct py_loaded {
    const float *input; /* (rows, …) */
    const void *target; /* int32 (rows) or float (rows, n_targets); NULL without targets */
    int64_t rows;
};

/* The data that the spec names: `data_dir` holds the catalogue's sets, at `base_dir` begin relative paths; either NULL. */
enum cyx_status py_data_open(struct py_spec *spec, const char *data_dir, const char *base_dir,
                             struct py_data **ret_data, struct cyx_error *ret_error);
/* Arrays for a spec whose data set is {"format": "memory"}; `test` may be NULL. */
enum cyx_status py_data_open_arrays(struct py_spec *spec, const struct py_arrays *train,
                                    const struct py_arrays *test, struct py_data **ret_data,
                                    struct cyx_error *ret_error);
void py_data_close(struct py_data *self);

/* Rows of a part; 0: there is no such part. */
int64_t py_data_rows(const struct py_data *self, enum py_part part);
/* The name of class `index`; NULL where there is none. */
const char *py_data_class(const struct py_data *self, int64_t index);
/* How many files or rows could not be read so far, and a sentence about them, up to 640 bytes with its end. */
int64_t py_data_faults(const struct py_data *self, char *ret_text);

/* CYX_ERR_NOT_FOUND when there is no such part. */
enum cyx_status py_loader_open(struct py_data *data, enum py_part part,
                               const struct py_loader_options *options,
                               struct py_loader **ret_loader, struct cyx_error *ret_error);
void py_loader_close(struct py_loader *self);
int64_t py_loader_batches(const struct py_loader *self);
int64_t py_loader_rows(const struct py_loader *self);
void py_loader_start(struct py_loader *self, uint32_t epoch, int64_t first_batch);
bool py_loader_next(struct py_loader *self, struct py_loaded *ret_batch);
/* CYX_OK, or why there were no more batches. */
enum cyx_status py_loader_failure(struct py_loader *self, struct cyx_error *ret_error);

#endif
