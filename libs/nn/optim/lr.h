/*
 * Learning rates: warm-up and schedule of every parameter group, as torch.optim.lr_scheduler 1.13 computes them:
 * the recursive ("chainable") form, in double, so that a run's rates are PyTorch's to the last bit.
 * https://pytorch.org/docs/1.13/optim.html#how-to-adjust-learning-rate
 *
 * Warm-up is SequentialLR([LinearLR(start_factor, total_iters), the scheduler], milestones=[total_iters]): while
 * it runs, the schedule stands still; with its end the rates are the optimizer's own. ReduceLROnPlateau, which
 * SequentialLR does not take, likewise begins to look after it.
 *
 * Plain value: nothing to free; one thread at a time.
 *
 *     struct cyx_lr lr;
 *     cyx_lr_init(&lr, spec, steps_per_epoch);
 *     … feed lr.state.rate[group] …
 *     cyx_lr_after_step(&lr);                      // behind each optimizer step
 *     cyx_lr_after_epoch(&lr, loss, accuracy);     // behind each epoch's evaluation
 */
#ifndef CYX_NN_OPTIM_LR_H
#define CYX_NN_OPTIM_LR_H

#include <stdint.h>

#include "contract/job_spec.h"

/* What changes: a checkpoint keeps it whole. */
struct cyx_lr_state {
    double rate[CYX_PARAM_GROUPS_LIMIT];
    int64_t calls;        /* of the schedule: PyTorch's last_epoch */
    int64_t warmup_calls; /* of the warm-up, until its total_iters */
    double best;          /* ReduceLROnPlateau; its counters below */
    int64_t bad_epochs, cooldown_left;
};

struct cyx_lr {
    struct cyx_scheduler_spec spec;
    struct cyx_warmup_spec warmup;
    double base[CYX_PARAM_GROUPS_LIMIT]; /* each group's lr */
    int n_groups;
    struct cyx_lr_state state;
};

/* CosineAnnealingLR without T_max takes what the job has of its intervals, without the warm-up's. */
void cyx_lr_init(struct cyx_lr *self, const struct cyx_job_spec *spec, int64_t steps_per_epoch);

/* What advances by steps goes on. */
void cyx_lr_after_step(struct cyx_lr *self);

/* What advances by epochs goes on; `loss` and `accuracy` are the evaluation's, for ReduceLROnPlateau. */
void cyx_lr_after_epoch(struct cyx_lr *self, double loss, double accuracy);

#endif
