#include "nn/infer/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The rows that the loss counts. */
static void take_rows(struct cyx_evaluation *self, const struct cyx_batch *batch,
                      const struct cyx_loss_spec *loss, const float *output)
{
    const int32_t *classes = batch->target;
    for (int64_t row = 0; row < batch->count && self->confusion; row++) {
        int64_t truth = classes[row];
        bool ignored = loss->type == CYX_LOSS_CROSS_ENTROPY && truth == loss->ignore_index;
        if (ignored || truth < 0 || truth >= self->n_classes)
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
            take_rows(self, &batch, &cyx_predictor_spec(predictor)->loss, output);
    }
    if (status == CYX_OK)
        status = cyx_loader_failure(loader, error);
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

/* "1x28x28" */
static const char *shape_text(int rank, const int64_t *dim, char text[64])
{
    int used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank; i++)
        used += snprintf(text + used, 64 - (size_t)used, "%s%lld", i ? "x" : "", (long long)dim[i]);
    return text;
}

/* The same names in the same order, where both have names: a folder more would shift all that follow. */
static enum cyx_status check_names(const struct cyx_predictor *predictor,
                                   const struct cyx_data *data, struct cyx_error *error)
{
    if (!data->class_names || !cyx_predictor_has_class_names(predictor))
        return CYX_OK;
    for (int64_t c = 0; c < data->n_classes; c++) {
        const char *ours = cyx_predictor_class(predictor, (size_t)c);
        if (strcmp(ours, data->class_names[c]) != 0)
            return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                                 "class %lld is \"%s\" for the model and \"%s\" in %s",
                                 (long long)c, ours, data->class_names[c], data->name);
    }
    return CYX_OK;
}

static enum cyx_status check_data(const struct cyx_predictor *predictor,
                                  const struct cyx_data *data,
                                  const struct cyx_sample_shape *sample, struct cyx_error *error)
{
    const struct cyx_shape *input = cyx_predictor_input_shape(predictor);
    int64_t outputs = cyx_shape_count(cyx_predictor_output_shape(predictor));
    char wanted[64], got[64];
    bool fits = input->rank == sample->rank;
    for (int i = 0; fits && i < sample->rank; i++)
        fits = input->dim[i] == sample->dim[i];
    if (!fits)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "the model takes samples of %s, %s has %s",
                             shape_text(input->rank, input->dim, wanted), data->name,
                             shape_text(sample->rank, sample->dim, got));
    if (cyx_predictor_counts_correct(predictor) && outputs != sample->n_classes)
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "the model tells %lld classes apart, %s has %lld", (long long)outputs,
                             data->name, (long long)sample->n_classes);
    return check_names(predictor, data, error);
}

/* The rows that training held back for validation; none where there are test rows or no such part. */
static enum cyx_status hold_back(const struct cyx_data *data, const struct cyx_data_spec *spec,
                                 uint64_t seed, uint32_t **ret_all, uint32_t *ret_n_train,
                                 uint32_t *ret_n_validation, struct cyx_error *error)
{
    uint32_t count = (uint32_t)data->train.count;
    if (data->test.count > 0 || spec->validation_part <= 0)
        return CYX_OK;
    *ret_all = malloc(count * sizeof(**ret_all));
    if (!*ret_all)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to split the data");
    cyx_loader_split(seed, count, spec->validation_part, *ret_all, ret_n_validation);
    *ret_n_train = count - *ret_n_validation;
    return CYX_OK;
}

static enum cyx_status evaluate_part(struct cyx_predictor *predictor, const struct cyx_data *data,
                                     const struct cyx_pipeline *pipeline,
                                     const struct cyx_data_spec *spec, const atomic_bool *cancel,
                                     struct cyx_evaluation *evaluation, struct cyx_error *error)
{
    struct cyx_loader *loader = NULL;
    uint32_t *all = NULL, n_train = 0, n_validation = 0;
    bool test = data->test.count > 0;
    enum cyx_status status = hold_back(data, spec, cyx_predictor_spec(predictor)->seed, &all,
                                       &n_train, &n_validation, error);
    const struct cyx_loader_options options = {.data = data,
                                               .part = test ? &data->test : &data->train,
                                               .pipeline = pipeline,
                                               .rows = n_validation ? all + n_train : NULL,
                                               .n_rows = n_validation,
                                               .batch = cyx_predictor_batch(predictor),
                                               .workers = spec->workers};
    if (status == CYX_OK)
        status = cyx_loader_create(&options, &loader, error);
    if (status == CYX_OK)
        status = cyx_evaluate(predictor, loader, cancel, evaluation, error);
    cyx_loader_destroy(loader);
    free(all);
    if (status == CYX_OK) {
        evaluation->part = test ? "test" : n_validation ? "validation" : "training";
        evaluation->faults = cyx_data_faults_count(data);
    }
    return status;
}

enum cyx_status cyx_evaluate_data(struct cyx_predictor *predictor, const struct cyx_data_spec *data,
                                  const struct cyx_data_options *where, const atomic_bool *cancel,
                                  struct cyx_evaluation *ret_evaluation,
                                  struct cyx_error *ret_error)
{
    struct cyx_data *opened = NULL;
    struct cyx_pipeline *pipeline = NULL;
    enum cyx_status status = cyx_data_open(data, where, &opened, ret_error);
    if (status == CYX_OK)
        status = cyx_pipeline_create(opened, data, false, 0, &pipeline, ret_error);
    if (status == CYX_OK)
        status = check_data(predictor, opened, cyx_pipeline_sample(pipeline), ret_error);
    if (status == CYX_OK)
        status =
            evaluate_part(predictor, opened, pipeline, data, cancel, ret_evaluation, ret_error);
    cyx_pipeline_destroy(pipeline);
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
