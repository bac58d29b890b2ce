/*
 * A thread that does something at once and then at intervals, until it is stopped; CLOCK_MONOTONIC counts.
 *
 * Ownership: start/stop; `ctx` is borrowed until stop has returned.
 *
 *     static void prune(void *ctx, struct cyx_every *every) { … }
 *     status = cyx_every_start(prune, self, 3600000, &self->every, err);
 *     cyx_every_stop(self->every);
 */
#ifndef CYX_BASE_EVERY_H
#define CYX_BASE_EVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct cyx_every;

typedef void cyx_every_fn(void *ctx, struct cyx_every *every);

enum cyx_status cyx_every_start(cyx_every_fn *work, void *ctx, int64_t interval_ms,
                                struct cyx_every **ret_every, struct cyx_error *ret_error);

/* For work that takes long: whether it is to end. */
bool cyx_every_stopping(struct cyx_every *self);

/* Waits for the work that goes on; NULL is fine. */
void cyx_every_stop(struct cyx_every *self);

#endif
