/*
 * Who may tell of a job: the nodes that it was ever assigned to. NATS lets a node publish under its own name alone, but
 * for any job; so readers of telemetry pass over what comes from a node that never held the job. Services tell under a
 * word that no node may use.
 *
 * Ownership: a plain value, zero-initialised is "nobody". One thread at a time.
 *
 *     holders_take(&holders, job);
 *     if (!holders_may_tell(&holders, message->subject)) …
 */
#ifndef CYX_GATEWAY_HOLDERS_H
#define CYX_GATEWAY_HOLDERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/id.h"
#include "contract/subjects.h"

enum {
    HOLDERS_LIMIT = 128
}; /* a job is queued again at most ten times, and tried again some more */

struct holders {
    char ids[HOLDERS_LIMIT][CYX_ID_BYTES];
    size_t count;
};

/* Adds the nodes that a job's `transitions` name. */
void holders_take(struct holders *self, const json_t *job);

/* cyx.job.<id>.<kind>.*: what anybody tells of a job. */
enum cyx_status holders_subject(char ret_subject[CYX_SUBJECT_BYTES], const char *job_id,
                                const char *kind);

/* Whether what came on cyx.job.<id>.<kind>[.<who>] is to be believed; states come from the scheduler alone. */
bool holders_may_tell(const struct holders *self, const char *subject);

#endif
