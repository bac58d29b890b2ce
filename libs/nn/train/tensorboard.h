/*
 * A run's curves for TensorBoard: takes the trainer's events and writes them as event files
 * (nn/format/tfevents.h), so that `tensorboard --logdir` shows the run while it goes.
 *
 * Tags: train/loss, train/accuracy, train/lr, train/images_per_second and, where the spec clips by norm,
 * train/grad_norm by step; eval/loss, eval/accuracy after each epoch, at its last step; the spec as text. Steps are thinned to about CYX_TENSORBOARD_POINTS a run, always the
 * same ones, so that a run that goes on continues the same curve.
 *
 * Ownership: the spec is borrowed; cyx_tensorboard_close() takes NULL. One thread at a time.
 *
 *     status = cyx_tensorboard_open("runs/demo", spec, &board, &err);
 *     … in on_event: status = cyx_tensorboard_event(board, event, &err);
 */
#ifndef CYX_NN_TRAIN_TENSORBOARD_H
#define CYX_NN_TRAIN_TENSORBOARD_H

#include "nn/train/trainer.h"

enum { CYX_TENSORBOARD_POINTS = 2000 };

struct cyx_tensorboard;

/* `folder` exists; the file is made when training starts (CYX_TRAIN_STARTED). */
enum cyx_status cyx_tensorboard_open(const char *folder, const struct cyx_job_spec *spec,
                                     struct cyx_tensorboard **ret_board,
                                     struct cyx_error *ret_error);

/* Events before CYX_TRAIN_STARTED are not written. */
enum cyx_status cyx_tensorboard_event(struct cyx_tensorboard *self,
                                      const struct cyx_train_event *event,
                                      struct cyx_error *ret_error);

/* NULL before training started. */
const char *cyx_tensorboard_path(const struct cyx_tensorboard *self);

void cyx_tensorboard_close(struct cyx_tensorboard *self);

#endif
