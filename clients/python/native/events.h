/*
 * TensorBoard event files (nn/format/tfevents.h).
 *
 * Ownership: py_events_close() frees, takes NULL. One thread at a time.
 */
#ifndef CYX_PYTHON_EVENTS_H
#define CYX_PYTHON_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct py_events;

/* `folder` exists; readers forget what its older files say of `first_step` and later. */
enum cyx_status py_events_open(const char *folder, int64_t first_step,
                               struct py_events **ret_events, struct cyx_error *ret_error);
enum cyx_status py_events_scalar(struct py_events *self, int64_t step, const char *tag,
                                 double value, struct cyx_error *ret_error);
enum cyx_status py_events_text(struct py_events *self, int64_t step, const char *tag,
                               const char *markdown, struct cyx_error *ret_error);
void py_events_close(struct py_events *self);

#endif
