#include "nn/optim/lr.h"

#include <math.h>

#include "base/banned.h"

/* Intervals of the schedule in the whole job. */
static int64_t total_calls(const struct cyx_job_spec *spec, int64_t steps_per_epoch)
{
    const struct cyx_warmup_spec *warmup = &spec->warmup;
    bool per_step = spec->scheduler.per_step;
    int64_t total = per_step ? spec->epochs * steps_per_epoch : spec->epochs;
    if (per_step == !warmup->per_epoch)
        total -= warmup->total_iters;
    else if (per_step)
        total -= warmup->total_iters * steps_per_epoch;
    else if (steps_per_epoch > 0)
        total -= warmup->total_iters / steps_per_epoch;
    return total > 0 ? total : 1;
}

void cyx_lr_init(struct cyx_lr *self, const struct cyx_job_spec *spec, int64_t steps_per_epoch)
{
    const struct cyx_optimizer_spec *optimizer = &spec->optimizer;
    *self = (struct cyx_lr){
        .spec = spec->scheduler, .warmup = spec->warmup, .n_groups = (int)optimizer->n_groups + 1};
    if (self->spec.t_max <= 0)
        self->spec.t_max = total_calls(spec, steps_per_epoch);
    self->state.best = self->spec.monitor_accuracy ? -INFINITY : INFINITY;
    for (int g = 0; g < self->n_groups; g++) {
        self->base[g] = g == 0 ? optimizer->lr : optimizer->groups[g - 1].lr;
        self->state.rate[g] = self->base[g];
        if (self->warmup.total_iters > 0)
            self->state.rate[g] *= self->warmup.start_factor;
    }
}

/* Loshchilov and Hutter, "SGDR" (ICLR 2017), without restarts, chained as CosineAnnealingLR.get_lr(). */
static double cosine(const struct cyx_lr *self, double rate, double base)
{
    double t_max = (double)self->spec.t_max, t = (double)self->state.calls;
    double low = self->spec.eta_min;
    if ((self->state.calls - 1 - self->spec.t_max) % (2 * self->spec.t_max) == 0)
        return rate + (base - low) * (1 - cos(M_PI / t_max)) / 2;
    return (1 + cos(M_PI * t / t_max)) / (1 + cos(M_PI * (t - 1) / t_max)) * (rate - low) + low;
}

/* One call of the scheduler's step(). */
static void step_schedule(struct cyx_lr *self)
{
    struct cyx_lr_state *state = &self->state;
    state->calls++;
    for (int g = 0; g < self->n_groups; g++) {
        double *rate = &state->rate[g];
        switch (self->spec.type) {
        case CYX_SCHEDULER_NONE:
        case CYX_SCHEDULER_REDUCE_LR_ON_PLATEAU: /* by its metric, see below */
            break;
        case CYX_SCHEDULER_STEP_LR:
            if (state->calls % self->spec.step_size == 0)
                *rate *= self->spec.gamma;
            break;
        case CYX_SCHEDULER_EXPONENTIAL_LR:
            *rate *= self->spec.gamma;
            break;
        case CYX_SCHEDULER_COSINE_ANNEALING_LR:
            *rate = cosine(self, *rate, self->base[g]);
            break;
        }
    }
}

static bool warming(const struct cyx_lr *self)
{
    return self->state.warmup_calls < self->warmup.total_iters;
}

/* LinearLR.get_lr() with end_factor 1; the last call hands over at the full rate. */
static void step_warmup(struct cyx_lr *self)
{
    struct cyx_lr_state *state = &self->state;
    double total = (double)self->warmup.total_iters, start = self->warmup.start_factor;
    double t = (double)++state->warmup_calls;
    for (int g = 0; g < self->n_groups; g++) {
        if (warming(self))
            state->rate[g] *= 1 + (1 - start) / (total * start + (t - 1) * (1 - start));
        else
            state->rate[g] = self->base[g];
    }
}

void cyx_lr_after_step(struct cyx_lr *self)
{
    if (!warming(self) && self->spec.per_step)
        step_schedule(self);
    else if (warming(self) && !self->warmup.per_epoch)
        step_warmup(self);
}

static bool is_better(const struct cyx_lr *self, double metric)
{
    double best = self->state.best, threshold = self->spec.threshold;
    bool rises = self->spec.monitor_accuracy;
    double sign = rises ? 1 : -1;
    double bar =
        self->spec.threshold_absolute ? best + sign * threshold : best * (1 + sign * threshold);
    return rises ? metric > bar : metric < bar;
}

/* ReduceLROnPlateau.step(metric) */
static void step_plateau(struct cyx_lr *self, double metric)
{
    struct cyx_lr_state *state = &self->state;
    if (is_better(self, metric)) {
        state->best = metric;
        state->bad_epochs = 0;
    } else {
        state->bad_epochs++;
    }
    if (state->cooldown_left > 0) {
        state->cooldown_left--;
        state->bad_epochs = 0;
    }
    if (state->bad_epochs <= self->spec.patience)
        return;
    for (int g = 0; g < self->n_groups; g++) {
        double next = fmax(state->rate[g] * self->spec.factor, self->spec.min_lr);
        if (state->rate[g] - next > self->spec.plateau_eps)
            state->rate[g] = next;
    }
    state->cooldown_left = self->spec.cooldown;
    state->bad_epochs = 0;
}

void cyx_lr_after_epoch(struct cyx_lr *self, double loss, double accuracy)
{
    if (warming(self)) {
        if (self->warmup.per_epoch)
            step_warmup(self);
    } else if (self->spec.type == CYX_SCHEDULER_REDUCE_LR_ON_PLATEAU) {
        step_plateau(self, self->spec.monitor_accuracy ? accuracy : loss);
    } else if (!self->spec.per_step) {
        step_schedule(self);
    }
}
