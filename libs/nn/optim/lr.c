#include "nn/optim/lr.h"

#include <math.h>

#include "base/banned.h"

void cyx_lr_init(struct cyx_lr *self, const struct cyx_scheduler_spec *spec, double base,
                 int64_t total_calls)
{
    *self = (struct cyx_lr){.spec = *spec, .base = base, .rate = base};
    if (self->spec.t_max <= 0)
        self->spec.t_max = total_calls > 0 ? total_calls : 1;
}

/* Loshchilov and Hutter, "SGDR" (ICLR 2017), without restarts, chained as
 * CosineAnnealingLR.get_lr(). */
static double cosine(const struct cyx_lr *self)
{
    double t_max = (double)self->spec.t_max, t = (double)self->calls, low = self->spec.eta_min;
    if ((self->calls - 1 - self->spec.t_max) % (2 * self->spec.t_max) == 0)
        return self->rate + (self->base - low) * (1 - cos(M_PI / t_max)) / 2;
    return (1 + cos(M_PI * t / t_max)) / (1 + cos(M_PI * (t - 1) / t_max)) * (self->rate - low) +
           low;
}

void cyx_lr_step(struct cyx_lr *self)
{
    self->calls++;
    switch (self->spec.type) {
    case CYX_SCHEDULER_NONE:
    case CYX_SCHEDULER_REDUCE_LR_ON_PLATEAU: /* by its metric */
        break;
    case CYX_SCHEDULER_STEP_LR:
        if (self->calls % self->spec.step_size == 0)
            self->rate *= self->spec.gamma;
        break;
    case CYX_SCHEDULER_EXPONENTIAL_LR:
        self->rate *= self->spec.gamma;
        break;
    case CYX_SCHEDULER_COSINE_ANNEALING_LR:
        self->rate = cosine(self);
        break;
    }
}
