/*
 * The trainer's side of a meeting (in the child, which has no network): it leaves its values in a file, says so on
 * standard output, and reads their mean from another once the agent says on standard input that it is there. The same
 * thread hears that it is to stop: by the line "stop" behind the next meeting, by the end of the input at once.
 *
 * Ownership: what is handed over outlives the process. `meeting_meet` is struct cyx_gang's, on the trainer's thread.
 */
#ifndef CYX_WORKER_MEETING_H
#define CYX_WORKER_MEETING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Names in the trainer's own folder and in the one that it reads. */
#define MEETING_VALUES "meeting.values"
#define MEETING_MEAN "meeting.mean"

struct meeting {
    const char *output_dir, *mean_path; /* NULL: it trains alone */
    atomic_bool *stop;
    int64_t round; /* of the trainer's thread */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t met; /* under the lock: rounds whose mean is there */
    bool closed; /* the input has ended */
};

/* Hears standard input from here on. */
bool meeting_watch_input(struct meeting *self);

enum cyx_status meeting_meet(void *ctx, float *values, size_t count, struct cyx_error *err);

/* Of both sides: all of a file of exactly so many bytes, which is no link. */
enum cyx_status meeting_read(const char *path, void *ret_bytes, size_t length,
                             struct cyx_error *err);
/* Not made durable: it is read at once, and worth nothing later. */
enum cyx_status meeting_write(const char *path, const void *bytes, size_t length,
                              struct cyx_error *err);

#endif
