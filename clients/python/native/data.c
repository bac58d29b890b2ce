#include "data.h"

#include <stdatomic.h>
#include <stdlib.h>

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

enum cyx_status py_data_open(struct py_spec *spec, const char *data_dir, struct py_data **ret_data,
                             struct cyx_error *ret_error)
{
    const struct cyx_data_spec *wanted = &py_spec_of(spec)->data;
    const struct cyx_data_options where = {.data_dir = data_dir};
    uint64_t seed = py_spec_of(spec)->seed;
    struct py_data *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a data set");
    atomic_init(&self->references, 1);
    self->spec = py_spec_ref(spec);
    enum cyx_status status = cyx_data_open(wanted, &where, &self->data, ret_error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(self->data, wanted, true, seed, &self->training, ret_error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(self->data, wanted, false, seed, &self->evaluation, ret_error);
    if (status == CYX_OK)
        status = split(self, ret_error);
    if (status != CYX_OK) {
        py_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
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

void py_data_sample(const struct py_data *self, struct py_sample *ret_sample)
{
    py_spec_sample(self->spec, ret_sample);
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
        .pipeline = part == PY_TRAIN ? data->training : data->evaluation,
        .rows = part == PY_TEST ? NULL : data->rows,
        .n_rows = (size_t)py_data_rows(data, part),
        .batch = options->batch,
        .shuffle = options->shuffle,
        .drop_last = options->drop_last,
        .seed = options->seed,
        .workers = py_spec_of(data->spec)->data.workers,
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

void py_loader_start(struct py_loader *self, uint32_t epoch)
{
    cyx_loader_start(self->loader, epoch, 0);
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
