/* What is ordered of nodes, and what became of them. Ownership and threads as store.h says. */
#ifndef CYX_REGISTRY_STORE_HEALTH_H
#define CYX_REGISTRY_STORE_HEALTH_H

#include <jansson.h>

#include "store.h"

/*
 * An order that nothing new is placed on the node, or again (`drain` false). A node's own leaves an operator's as it is,
 * and takes back only its own: else CYX_ERR_DENIED. CYX_ERR_NOT_FOUND.
 */
struct cyx_registry_drain {
    const char *node_id, *reason; /* `reason` may be NULL */
    bool drain, by_node;
};
enum cyx_status cyx_registry_store_drain(struct cyx_registry_store *self,
                                         const struct cyx_registry_drain *order,
                                         struct cyx_error *err);

struct cyx_registry_window {
    char id[CYX_ID_BYTES]; /* filled */
    int64_t starts_at_ms, ends_at_ms;
    const char *reason;
};
/* Adds a maintenance window; windows that have ended are thrown away with it. CYX_ERR_NOT_FOUND. */
enum cyx_status cyx_registry_store_add_window(struct cyx_registry_store *self, const char *node_id,
                                              struct cyx_registry_window *window,
                                              struct cyx_error *err);
/* Ends a window early, or takes back one that has not begun. CYX_ERR_NOT_FOUND. */
enum cyx_status cyx_registry_store_end_window(struct cyx_registry_store *self, const char *node_id,
                                              const char *window_id, struct cyx_error *err);

/*
 * Compares what was told of each node (`closed`) with what holds now, orders and windows that began or ended, and
 * tells what changed, in one transaction with it. Any replica may do it; `ret_changed` counts.
 */
enum cyx_status cyx_registry_store_settle(struct cyx_registry_store *self, size_t *ret_changed,
                                          struct cyx_error *err);

/*
 * {status_since, drain, maintenance, silent, revoked, key, uptime, events}: what `get` tells besides the node. The
 * caller drops the reference.
 */
enum cyx_status cyx_registry_store_health(struct cyx_registry_store *self, const char *node_id,
                                          json_t **ret_health, struct cyx_error *err);

#endif
