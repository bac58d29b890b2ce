/* A run's data: opened, or the caller's, divided into parts, each with its loader. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/train/run.h"

#include "base/banned.h"

static enum cyx_status open_loader(const struct run *self, const struct cyx_data_part *part,
                                   const uint32_t *rows, size_t n_rows, bool training,
                                   struct cyx_loader **ret_loader, struct cyx_error *error)
{
    const struct cyx_data_spec *data = &self->spec->data;
    struct cyx_loader_options options = {
        .data = self->data,
        .part = part,
        .pipeline = training ? self->training_rows : self->evaluation_rows,
        .rows = rows,
        .n_rows = n_rows,
        .batch = data->batch_size,
        .shuffle = training && data->shuffle,
        .drop_last = training && data->drop_last,
        .shard = training && self->options->gang ? self->options->gang->rank : 0,
        .shards = training && self->options->gang ? self->options->gang->nodes : 0,
        .seed = self->spec->seed,
        .workers = data->workers,
    };
    return cyx_loader_create(&options, ret_loader, error);
}

static enum cyx_status open_training_part(struct run *self, struct cyx_error *error)
{
    const struct cyx_data_part *part = &self->data->train;
    double validation = self->spec->data.validation_part;
    if (validation <= 0)
        return open_loader(self, part, NULL, 0, true, &self->train, error);
    uint32_t count = (uint32_t)part->count, n_validation = 0;
    self->rows = malloc(count * sizeof(*self->rows));
    if (!self->rows)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to split the data");
    cyx_loader_split(self->spec->seed, count, validation, self->rows, &n_validation);
    size_t n_train = count - n_validation;
    if (n_train == 0 || (n_validation == 0 && self->data->test.count == 0))
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/split/validation",
                             "%g of %u samples leaves none to %s: more samples are needed",
                             validation, count, n_train == 0 ? "train on" : "judge by");
    enum cyx_status status =
        open_loader(self, part, self->rows, n_train, true, &self->train, error);
    if (status == CYX_OK && n_validation > 0)
        status = open_loader(self, part, self->rows + n_train, n_validation, false,
                             &self->validation, error);
    return status;
}

/* Of an upload the platform judged the job by the shape that its spec states. */
static enum cyx_status compare_stated(const struct cyx_data_spec *spec,
                                      const struct cyx_sample_shape *found, struct cyx_error *error)
{
    const struct cyx_sample_shape *stated = &spec->sample;
    if (!spec->source.upload || stated->rank == 0)
        return CYX_OK;
    bool same = stated->rank == found->rank;
    for (int i = 0; same && i < found->rank; i++)
        same = stated->dim[i] == found->dim[i];
    char text[2][80] = {"", ""};
    for (int t = 0; t < 2; t++) {
        const struct cyx_sample_shape *sample = t == 0 ? stated : found;
        size_t used = 0;
        for (int i = 0; i < sample->rank; i++)
            used += (size_t)snprintf(text[t] + used, sizeof(text[t]) - used, "%s%lld",
                                     i ? ", " : "", (long long)sample->dim[i]);
    }
    if (!same)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset/shape",
                             "the spec says that a sample behind the transforms is [%s], in %s it "
                             "is [%s]: correct the shape",
                             text[0], spec->source.upload, text[1]);
    if (stated->target != found->target)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset/task",
                             "the targets in %s are %s: say so by \"task\", or bring others",
                             spec->source.upload,
                             found->target == CYX_TARGET_CLASSES ? "classes" : "numbers");
    return CYX_OK;
}

/* The spec with what only the data could tell. */
static enum cyx_status resolve(struct run *self, struct cyx_error *error)
{
    const struct cyx_job_spec *given = self->spec;
    self->resolved = *given;
    self->spec = &self->resolved;
    if (!given->data.dataset || self->options->data)
        self->resolved.dataset_hash = self->data->fingerprint;
    enum cyx_status status = cyx_pipeline_create(self->data, &given->data, true, given->seed,
                                                 &self->training_rows, error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(self->data, &given->data, false, given->seed,
                                     &self->evaluation_rows, error);
    if (status == CYX_OK)
        status = compare_stated(&given->data, cyx_pipeline_sample(self->training_rows), error);
    if (status == CYX_OK)
        self->resolved.data.sample = *cyx_pipeline_sample(self->training_rows);
    return status;
}

static enum cyx_status open_parts(struct run *self, struct cyx_error *error)
{
    enum cyx_status status = open_training_part(self, error);
    if (status == CYX_OK && self->data->test.count > 0)
        status = open_loader(self, &self->data->test, NULL, 0, false, &self->test, error);
    if (status != CYX_OK)
        return status;
    if (!self->test && !self->validation)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "nothing judges the model: give the data a test part, or "
                             "\"split\": {\"validation\": 0.1}");
    int64_t held_back = self->validation ? cyx_loader_samples(self->validation) : 0;
    if (cyx_loader_batches(self->train) == 0)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/batch_size",
                             "expected at most the %lld training samples, got %lld with drop_last",
                             (long long)(self->data->train.count - held_back),
                             (long long)self->spec->data.batch_size);
    return CYX_OK;
}

enum cyx_status run_open_data(struct run *self, struct cyx_error *error)
{
    const struct cyx_train_options *options = self->options;
    struct cyx_data_options where = {.data_dir = options->data_dir, .base_dir = options->base_dir};
    enum cyx_status status = CYX_OK;
    if (options->data)
        self->data = options->data;
    else
        status = cyx_data_open(&self->spec->data, &where, &self->opened, error);
    if (status != CYX_OK)
        return status;
    if (self->opened)
        self->data = self->opened;
    status = resolve(self, error);
    return status == CYX_OK ? open_parts(self, error) : status;
}

void run_close_data(struct run *self)
{
    cyx_loader_destroy(self->train);
    cyx_loader_destroy(self->validation);
    cyx_loader_destroy(self->test);
    cyx_pipeline_destroy(self->training_rows);
    cyx_pipeline_destroy(self->evaluation_rows);
    free(self->rows);
    cyx_data_close(self->opened);
}
