/*
 * The audit log's end: entries older than a number of days are deleted, at start and once an hour, a few thousand at a
 * time so that nobody waits for it. Several replicas do it side by side.
 *
 * Ownership: create/destroy; the store is borrowed. One thread of its own.
 *
 *     status = prune_create(store, 365, &prune, &err);
 */
#ifndef CYX_GATEWAY_PRUNE_H
#define CYX_GATEWAY_PRUNE_H

#include "store.h"

struct prune;

enum cyx_status prune_create(struct store *store, int64_t audit_days, struct prune **ret_prune,
                             struct cyx_error *err);
void prune_destroy(struct prune *self);

#endif
