/*
 * A model judged over a part of a data set: loss and accuracy as training reports them, and for classes who is taken
 * for whom.
 *
 * Ownership: cyx_evaluation_finish() frees; a zeroed struct is valid and empty. One thread.
 *
 *     struct cyx_evaluation evaluation = {0};
 *     const struct cyx_data_options where = {.data_dir = data_dir, .base_dir = folder};
 *     status = cyx_evaluate_data(predictor, &spec->data, &where, &cancel, &evaluation, &err);
 */
#ifndef CYX_NN_INFER_EVALUATE_H
#define CYX_NN_INFER_EVALUATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "nn/data/loader.h"
#include "nn/infer/predictor.h"

struct cyx_evaluation {
    double loss;     /* mean over the rows that count */
    double accuracy; /* share of correct rows; NaN where there are no classes */
    int64_t count, correct;
    int64_t n_classes; /* 0 where there are none */
    const char *part;  /* "test", "validation", "training": which was judged */
    int64_t faults;    /* files or rows of the data that could not be read */
    /* [truth * n_classes + predicted]: rows of class `truth` whose largest output is `predicted`'s */
    int64_t *confusion;
};

/* Over all batches of the loader; batches are at most the predictor's. `cancel` may be NULL: CYX_ERR_CANCELLED. */
enum cyx_status cyx_evaluate(struct cyx_predictor *predictor, struct cyx_loader *loader,
                             const atomic_bool *cancel, struct cyx_evaluation *ret_evaluation,
                             struct cyx_error *ret_error);

/*
 * Over the test part of `data` with its transforms: the model's own (spec->data), or other data of the same shape and
 * the same classes. Without a test part its validation part judges (the rows that training held back, by the model's
 * seed), without both the training part. CYX_ERR_INVALID at /data/dataset where the data do not fit.
 */
enum cyx_status cyx_evaluate_data(struct cyx_predictor *predictor, const struct cyx_data_spec *data,
                                  const struct cyx_data_options *where, const atomic_bool *cancel,
                                  struct cyx_evaluation *ret_evaluation,
                                  struct cyx_error *ret_error);

void cyx_evaluation_finish(struct cyx_evaluation *self);

/* Rows of class `truth`, and those taken for `predicted`. */
int64_t cyx_evaluation_of_class(const struct cyx_evaluation *self, int64_t truth);
int64_t cyx_evaluation_taken_for(const struct cyx_evaluation *self, int64_t predicted);

#endif
