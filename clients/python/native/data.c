#include "data.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "nn/data/loader.h"

#include "base/banned.h"

struct py_data {
    atomic_int references;
    struct py_spec *spec;
    struct cyx_data *data;
    struct cyx_pipeline *training, *evaluation;
    uint32_t *rows; /* with a validation part: training rows first */
    uint32_t n_validation;
};

struct py_loader {
    struct py_data *data;
    struct cyx_loader *loader;
};

/* ---- data ---- */

static enum cyx_status split(struct py_data *self, struct cyx_error *error)
{
    const struct cyx_job_spec *spec = py_spec_of(self->spec);
    if (spec->data.validation_part <= 0)
        return CYX_OK;
    uint32_t count = (uint32_t)self->data->train.count;
    self->rows = malloc(((size_t)count + 1) * sizeof(*self->rows));
    if (!self->rows)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to split the data");
    cyx_loader_split(spec->seed, count, spec->data.validation_part, self->rows,
                     &self->n_validation);
    return CYX_OK;
}

static enum cyx_status open_pipelines(struct py_data *self, struct cyx_error *error)
{
    struct cyx_job_spec *spec = py_spec_of(self->spec);
    enum cyx_status status =
        cyx_pipeline_create(self->data, &spec->data, true, spec->seed, &self->training, error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(self->data, &spec->data, false, spec->seed, &self->evaluation,
                                     error);
    if (status == CYX_OK)
        spec->data.sample = *cyx_pipeline_sample(self->training);
    return status;
}

/* Takes `data` over, NULL when it could not be opened. */
static enum cyx_status finish_open(struct py_spec *spec, struct cyx_data *data,
                                   struct py_data **ret_data, struct cyx_error *error)
{
    struct py_data *self = calloc(1, sizeof(*self));
    if (!self) {
        cyx_data_close(data);
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory for a data set");
    }
    atomic_init(&self->references, 1);
    self->spec = py_spec_ref(spec);
    self->data = data;
    enum cyx_status status = open_pipelines(self, error);
    if (status == CYX_OK)
        status = split(self, error);
    if (status != CYX_OK) {
        py_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
}

enum cyx_status py_data_open(struct py_spec *spec, const char *data_dir, const char *base_dir,
                             struct py_data **ret_data, struct cyx_error *ret_error)
{
    const struct cyx_data_options where = {.data_dir = data_dir, .base_dir = base_dir};
    struct cyx_data *data = NULL;
    enum cyx_status status = cyx_data_open(&py_spec_of(spec)->data, &where, &data, ret_error);
    return status == CYX_OK ? finish_open(spec, data, ret_data, ret_error) : status;
}

static struct cyx_data_arrays arrays_of(const struct py_arrays *given)
{
    struct cyx_data_arrays arrays = {
        .count = given->count,
        .rank = given->rank,
        .channels_last = given->channels_last,
        .bytes = given->bytes,
        .floats = given->floats,
        .labels = given->labels,
        .numbers = given->numbers,
        .n_classes = given->n_classes,
        .n_targets = given->n_targets,
    };
    memcpy(arrays.shape, given->shape, sizeof(arrays.shape));
    return arrays;
}

enum cyx_status py_data_open_arrays(struct py_spec *spec, const struct py_arrays *train,
                                    const struct py_arrays *test, struct py_data **ret_data,
                                    struct cyx_error *ret_error)
{
    struct cyx_data_arrays training = arrays_of(train), testing = {0};
    struct cyx_data *data = NULL;
    if (test)
        testing = arrays_of(test);
    enum cyx_status status =
        cyx_data_from_arrays(&training, test ? &testing : NULL, &data, ret_error);
    return status == CYX_OK ? finish_open(spec, data, ret_data, ret_error) : status;
}

void py_data_close(struct py_data *self)
{
    if (!self || atomic_fetch_sub(&self->references, 1) > 1)
        return;
    cyx_pipeline_destroy(self->training);
    cyx_pipeline_destroy(self->evaluation);
    cyx_data_close(self->data);
    py_spec_release(self->spec);
    free(self->rows);
    free(self);
}

int64_t py_data_rows(const struct py_data *self, enum py_part part)
{
    switch (part) {
    case PY_TRAIN:
        return self->data->train.count - (int64_t)self->n_validation;
    case PY_VALIDATION:
        return self->n_validation;
    case PY_TEST:
        return self->data->test.count;
    }
    return 0;
}

const char *py_data_class(const struct py_data *self, int64_t index)
{
    bool named = self->data->class_names && index >= 0 && index < self->data->n_classes;
    return named ? self->data->class_names[index] : NULL;
}

int64_t py_data_faults(const struct py_data *self, char *ret_text)
{
    cyx_data_faults_text(self->data, ret_text);
    return cyx_data_faults_count(self->data);
}

/* ---- loaders ---- */

enum cyx_status py_loader_open(struct py_data *data, enum py_part part,
                               const struct py_loader_options *options,
                               struct py_loader **ret_loader, struct cyx_error *ret_error)
{
    if (py_data_rows(data, part) == 0)
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "the data have no such part");
    struct py_loader *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a data loader");
    struct cyx_loader_options wanted = {
        .data = data->data,
        .part = part == PY_TEST ? &data->data->test : &data->data->train,
        .pipeline = part == PY_TRAIN && !options->evaluation ? data->training : data->evaluation,
        .rows = part == PY_TEST ? NULL : data->rows,
        .n_rows = (size_t)py_data_rows(data, part),
        .batch = options->batch,
        .shuffle = options->shuffle,
        .drop_last = options->drop_last,
        .seed = options->seed,
        .workers = options->workers,
    };
    if (part == PY_VALIDATION)
        wanted.rows += py_data_rows(data, PY_TRAIN);
    enum cyx_status status = cyx_loader_create(&wanted, &self->loader, ret_error);
    if (status != CYX_OK) {
        free(self);
        return status;
    }
    atomic_fetch_add(&data->references, 1);
    self->data = data;
    *ret_loader = self;
    return CYX_OK;
}

void py_loader_close(struct py_loader *self)
{
    if (!self)
        return;
    cyx_loader_destroy(self->loader);
    py_data_close(self->data);
    free(self);
}

int64_t py_loader_batches(const struct py_loader *self)
{
    return cyx_loader_batches(self->loader);
}

int64_t py_loader_rows(const struct py_loader *self)
{
    return cyx_loader_samples(self->loader);
}

void py_loader_start(struct py_loader *self, uint32_t epoch, int64_t first_batch)
{
    cyx_loader_start(self->loader, epoch, first_batch);
}

bool py_loader_next(struct py_loader *self, struct py_loaded *ret_batch)
{
    struct cyx_batch batch;
    if (!cyx_loader_next(self->loader, &batch))
        return false;
    *ret_batch =
        (struct py_loaded){.input = batch.input, .target = batch.target, .rows = batch.count};
    return true;
}

enum cyx_status py_loader_failure(struct py_loader *self, struct cyx_error *ret_error)
{
    return cyx_loader_failure(self->loader, ret_error);
}
