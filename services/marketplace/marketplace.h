/*
 * The marketplace's rules, first cut: what a completed job's event must hold to become a private model version.
 * No SQL and no messages sent here. Any thread.
 */
#ifndef CYX_MARKETPLACE_MARKETPLACE_H
#define CYX_MARKETPLACE_MARKETPLACE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"

/* A version about to be stored; texts belong to the event that it was read from. */
struct cyx_model_draft {
    const char *account_id, *job_id, *node_id; /* node_id may be NULL */
    const char *name, *dataset, *sha256;
    int64_t bytes;
    const json_t *spec, *metrics_source; /* metrics_source: the job's result */
};

/*
 * Reads `cyx.evt.job.completed`. CYX_ERR_INVALID names the field that is missing or wrong: a hash that is not 64
 * lower-case hexadecimal digits, no bytes, no result.
 */
enum cyx_status cyx_model_draft_read(const json_t *event, struct cyx_model_draft *ret_draft,
                                     struct cyx_error *err);

#endif
