#include "nn/infer/evaluate.h"

#include <stdlib.h>

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
