#include "schedule.h"

#include <stdlib.h>

#include "nn/optim/lr.h"

#include "base/banned.h"

struct py_schedule {
    struct py_spec *spec;
    struct cyx_lr lr;
};

enum cyx_status py_schedule_create(struct py_spec *spec, int64_t steps_per_epoch,
                                   struct py_schedule **ret_schedule, struct cyx_error *ret_error)
{
    struct py_schedule *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a schedule");
    self->spec = py_spec_ref(spec);
    cyx_lr_init(&self->lr, py_spec_of(spec), steps_per_epoch);
    *ret_schedule = self;
    return CYX_OK;
}

void py_schedule_destroy(struct py_schedule *self)
{
    if (!self)
        return;
    py_spec_release(self->spec);
    free(self);
}

size_t py_schedule_rates(const struct py_schedule *self, double *ret_rates)
{
    for (int g = 0; g < self->lr.n_groups; g++)
        ret_rates[g] = self->lr.state.rate[g];
    return (size_t)self->lr.n_groups;
}

void py_schedule_after_step(struct py_schedule *self)
{
    cyx_lr_after_step(&self->lr);
}

void py_schedule_after_epoch(struct py_schedule *self, double loss, double accuracy)
{
    cyx_lr_after_epoch(&self->lr, loss, accuracy);
}
