/*
 * Learning-rate schedules, as torch.optim.lr_scheduler 1.13 computes them: the recursive
 * ("chainable") form, in double, so that a run's rates are PyTorch's to the last bit and a resumed
 * run goes on from two numbers.
 * https://pytorch.org/docs/1.13/optim.html#how-to-adjust-learning-rate
 *
 * Plain value: nothing to free; one thread at a time.
 *
 *     struct cyx_lr lr;
 *     cyx_lr_init(&lr, &spec->scheduler, spec->optimizer.lr, calls);
 *     … use lr.rate for the epoch (or step) …
 *     cyx_lr_step(&lr);   // as scheduler.step(): after each epoch, or each step when per_step
 */
#ifndef CYX_NN_OPTIM_LR_H
#define CYX_NN_OPTIM_LR_H

#include <stdint.h>

#include "contract/job_spec.h"

struct cyx_lr {
    struct cyx_scheduler_spec spec;
    double base;   /* the optimizer's lr */
    double rate;   /* the rate now; with `calls`, the whole state that a checkpoint must keep */
    int64_t calls; /* how often cyx_lr_step() was called: PyTorch's last_epoch */
};

/* `total_calls`, at least 1, stands for T_max where the spec gives none: every epoch, or every
 * step. */
void cyx_lr_init(struct cyx_lr *self, const struct cyx_scheduler_spec *spec, double base,
                 int64_t total_calls);

void cyx_lr_step(struct cyx_lr *self);

#endif
