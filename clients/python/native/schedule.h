/*
 * The learning rates of a run, as the trainer computes them (nn/train/trainer.h): one rate for each parameter group,
 * advanced after each step and after each epoch.
 *
 * Ownership: py_schedule_destroy() frees it, takes NULL; it keeps its spec. Thread rule: one thread at a time.
 *
 *     py_schedule_create(spec, steps_of_an_epoch, &schedule, &error);
 *     n = py_schedule_rates(schedule, rates);   …a step with them…   py_schedule_after_step(schedule);
 *     py_schedule_after_epoch(schedule, evaluation_loss, evaluation_accuracy);
 */
#ifndef CYX_PYTHON_SCHEDULE_H
#define CYX_PYTHON_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "spec.h"

struct py_schedule;

enum cyx_status py_schedule_create(struct py_spec *spec, int64_t steps_per_epoch,
                                   struct py_schedule **ret_schedule, struct cyx_error *ret_error);
void py_schedule_destroy(struct py_schedule *self);

/* Fills `ret_rates`, which has room for eight; gives how many groups there are. */
size_t py_schedule_rates(const struct py_schedule *self, double *ret_rates);
void py_schedule_after_step(struct py_schedule *self);
void py_schedule_after_epoch(struct py_schedule *self, double loss, double accuracy);

#endif
