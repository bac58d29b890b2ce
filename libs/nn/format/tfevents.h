/*
 * TensorBoard event files: scalars and texts by step, appended as they come. A file is a row of TFRecords
 * (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details"): length, masked CRC-32C
 * of it, an Event message (tfevents.proto), masked CRC-32C of that.
 *
 * Each call is one write(2), so a process that is killed leaves whole records but for the last, and readers
 * see the curve grow. A run that goes on makes a new file beside the old ones; its first record tells readers to
 * forget what those say of `first_step` and later.
 *
 * Ownership: cyx_tfevents_close() frees, takes NULL. One thread at a time.
 *
 *     status = cyx_tfevents_create("runs/demo", 0, &events, &err);
 *     status = cyx_tfevents_scalars(events, 1, (struct cyx_tfevents_scalar[]){{"train/loss", 2.3}}, 1, &err);
 */
#ifndef CYX_NN_FORMAT_TFEVENTS_H
#define CYX_NN_FORMAT_TFEVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CYX_TFEVENTS_SCALARS_LIMIT = 16 };

struct cyx_tfevents;

struct cyx_tfevents_scalar {
    const char *tag;
    double value; /* written as float */
};

/* Makes a new file in `folder`, which exists; its name sorts behind those that lie there. */
enum cyx_status cyx_tfevents_create(const char *folder, int64_t first_step,
                                    struct cyx_tfevents **ret_events, struct cyx_error *ret_error);
const char *cyx_tfevents_path(const struct cyx_tfevents *self);

/* All in one record; at most CYX_TFEVENTS_SCALARS_LIMIT. */
enum cyx_status cyx_tfevents_scalars(struct cyx_tfevents *self, int64_t step,
                                     const struct cyx_tfevents_scalar *scalars, size_t count,
                                     struct cyx_error *ret_error);

/* Markdown for TensorBoard's Text page. */
enum cyx_status cyx_tfevents_text(struct cyx_tfevents *self, int64_t step, const char *tag,
                                  const char *markdown, struct cyx_error *ret_error);

/* Until all that was written is on the disk. */
enum cyx_status cyx_tfevents_sync(struct cyx_tfevents *self, struct cyx_error *ret_error);

void cyx_tfevents_close(struct cyx_tfevents *self);

#endif
