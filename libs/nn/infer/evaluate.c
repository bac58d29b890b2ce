#include "nn/infer/evaluate.h"

#include <math.h>
#include <stdlib.h>

#include "contract/dataset.h"

#include "base/banned.h"

/* The first of the largest; NaN is larger than any number, as in the loss kernels. */
static int64_t largest(const float *x, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (x[i] > x[best] || (x[i] != x[i] && x[best] == x[best]))
            best = i;
    return best;
}

static void take_rows(struct cyx_evaluation *self, const struct cyx_batch *batch,
                      const float *output)
{
    for (int64_t row = 0; row < batch->count && self->confusion; row++) {
        int64_t truth = batch->target[row];
        if (truth < 0 || truth >= self->n_classes)
            continue;
        int64_t predicted = largest(output + row * self->n_classes, self->n_classes);
        self->confusion[truth * self->n_classes + predicted]++;
    }
}

static enum cyx_status take_batches(struct cyx_evaluation *self, struct cyx_predictor *predictor,
                                    struct cyx_loader *loader, const atomic_bool *cancel,
                                    float *output, struct cyx_error *error)
{
    struct cyx_batch batch;
    double loss = 0, correct = 0, count = 0;
    enum cyx_status status = CYX_OK;
    cyx_loader_start(loader, 0, 0);
    while (status == CYX_OK && cyx_loader_next(loader, &batch)) {
        struct cyx_step_result result = {0};
        if (cancel && atomic_load(cancel))
            return cyx_error_set(error, CYX_ERR_CANCELLED, NULL, "evaluation was cancelled");
        status = cyx_predictor_step(predictor, batch.input, batch.target, batch.count, output,
                                    &result, error);
        loss += (double)result.loss * (double)result.count;
        correct += (double)result.correct;
        count += (double)result.count;
        if (status == CYX_OK)
            take_rows(self, &batch, output);
    }
    self->loss = count > 0 ? loss / count : 0;
    self->accuracy = count > 0 ? correct / count : 0;
    if (!cyx_predictor_counts_correct(predictor))
        self->accuracy = NAN;
    self->count = (int64_t)count;
    self->correct = (int64_t)correct;
    return status;
}

enum cyx_status cyx_evaluate(struct cyx_predictor *predictor, struct cyx_loader *loader,
                             const atomic_bool *cancel, struct cyx_evaluation *ret_evaluation,
                             struct cyx_error *ret_error)
{
    struct cyx_evaluation self = {0};
    size_t columns = (size_t)cyx_shape_count(cyx_predictor_output_shape(predictor));
    size_t batch = (size_t)cyx_predictor_batch(predictor);
    bool classes = cyx_predictor_counts_correct(predictor);
    float *output = calloc(batch * columns, sizeof(*output));
    if (classes) {
        self.n_classes = (int64_t)columns;
        self.confusion = calloc(columns * columns, sizeof(*self.confusion));
    }
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (!output || (classes && !self.confusion))
        cyx_error_set(ret_error, status, NULL, "no memory to evaluate a model");
    else
        status = take_batches(&self, predictor, loader, cancel, output, ret_error);
    free(output);
    if (status == CYX_OK)
        *ret_evaluation = self;
    else
        cyx_evaluation_finish(&self);
    return status;
}

/* ---- data ---- */

static enum cyx_status check_data(const struct cyx_predictor *predictor,
                                  const struct cyx_dataset *set, struct cyx_error *error)
{
    const struct cyx_shape *input = cyx_predictor_input_shape(predictor);
    int64_t outputs = cyx_shape_count(cyx_predictor_output_shape(predictor));
    if (input->rank != 3 || input->dim[0] != set->channels || input->dim[1] != set->height ||
        input->dim[2] != set->width)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "the model does not take images of %lldx%lldx%lld, which %s has",
                             (long long)set->channels, (long long)set->height,
                             (long long)set->width, set->name);
    if (cyx_predictor_counts_correct(predictor) && (size_t)outputs != set->n_classes)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "the model tells %lld classes apart, %s has %zu", (long long)outputs,
                             set->name, set->n_classes);
    return CYX_OK;
}

static enum cyx_status evaluate_part(struct cyx_predictor *predictor,
                                     const struct cyx_data_spec *spec, const struct cyx_data *data,
                                     const atomic_bool *cancel, struct cyx_evaluation *evaluation,
                                     struct cyx_error *error)
{
    const struct cyx_dataset *set = data->dataset;
    struct cyx_transform transform;
    struct cyx_loader *loader = NULL;
    const struct cyx_loader_options options = {
        .part = &data->test, .transform = &transform, .batch = cyx_predictor_batch(predictor)};
    cyx_transform_init(&transform, spec->transforms, spec->n_transforms, set->channels,
                       set->height * set->width);
    enum cyx_status status = cyx_loader_create(&options, &loader, error);
    if (status == CYX_OK)
        status = cyx_evaluate(predictor, loader, cancel, evaluation, error);
    cyx_loader_destroy(loader);
    return status;
}

enum cyx_status cyx_evaluate_data(struct cyx_predictor *predictor, const struct cyx_data_spec *data,
                                  const char *data_dir, const atomic_bool *cancel,
                                  struct cyx_evaluation *ret_evaluation,
                                  struct cyx_error *ret_error)
{
    const struct cyx_dataset *set = cyx_dataset_find(data->dataset);
    struct cyx_data *opened = NULL;
    if (!set)
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, "/data/dataset",
                             "there is no data set \"%s\"", data->dataset);
    enum cyx_status status = check_data(predictor, set, ret_error);
    if (status == CYX_OK)
        status = cyx_data_open(set, data_dir, &opened, ret_error);
    if (status == CYX_OK)
        status = evaluate_part(predictor, data, opened, cancel, ret_evaluation, ret_error);
    cyx_data_close(opened);
    return status;
}

/* ---- results ---- */

void cyx_evaluation_finish(struct cyx_evaluation *self)
{
    free(self->confusion);
    *self = (struct cyx_evaluation){0};
}

int64_t cyx_evaluation_of_class(const struct cyx_evaluation *self, int64_t truth)
{
    int64_t sum = 0;
    for (int64_t p = 0; p < self->n_classes; p++)
        sum += self->confusion[truth * self->n_classes + p];
    return sum;
}

int64_t cyx_evaluation_taken_for(const struct cyx_evaluation *self, int64_t predicted)
{
    int64_t sum = 0;
    for (int64_t t = 0; t < self->n_classes; t++)
        sum += self->confusion[t * self->n_classes + predicted];
    return sum;
}
