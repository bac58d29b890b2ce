/*
 * The monitor: samples the machine and its GPUs on a thread of its own, so that a GPU's library that hangs silences the
 * numbers and not the heartbeats, which take the newest sample.
 *
 * Ownership: create/destroy. Any thread.
 */
#ifndef CYX_WORKER_MONITOR_H
#define CYX_WORKER_MONITOR_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "gpu.h"
#include "system.h"

enum { MONITOR_STALE_MS = 10000 }; /* what is older is not told */

struct monitor;

struct monitor_reading {
    struct system_sample system;
    struct gpu_sample gpus[GPUS_LIMIT];
    size_t n_gpus;
};

/* `disk_path` (the scratch, whose space is told) must outlive it. */
enum cyx_status monitor_create(const char *disk_path, int64_t interval_ms,
                               struct monitor **ret_monitor, struct cyx_error *err);
/* Waits a second for the thread; one that hangs is left behind. */
void monitor_destroy(struct monitor *self);

/* What the trainer of a slot (below GPUS_LIMIT) says of its device, until `used_bytes` is 0; for GPUs that nothing else speaks of. */
void monitor_note_device(struct monitor *self, size_t slot, const char *name, int64_t used_bytes,
                         int64_t budget_bytes);

/* The newest; false before the first, and when it is stale. */
bool monitor_read(struct monitor *self, struct monitor_reading *ret_reading);

/* `system` of a heartbeat, docs/contracts/platform.md section 2.1; what is not known is left out. */
json_t *monitor_json(const struct monitor_reading *reading);

#endif
