/*
 * The desk: a thread that speaks to the registry for the page, so that no thread of the page's server does. While somebody
 * looks it asks now and then what the registry says of this node and counts the artifacts; it carries out orders to drain.
 *
 * Ownership: create/destroy; settings and agent outlive it. Any thread.
 */
#ifndef CYX_WORKER_DESK_H
#define CYX_WORKER_DESK_H

#include "agent.h"

enum { DESK_REASON_BYTES = 201 }; /* as the registry takes them, and the NUL */

struct desk;

enum cyx_status desk_create(const struct agent_settings *settings, struct agent *agent,
                            struct desk **ret_desk, struct cyx_error *err);
/* Gives up orders and questions: who waits for one is answered. */
void desk_stop(struct desk *self);
void desk_destroy(struct desk *self);

/* Somebody looks at the page. */
void desk_look(struct desk *self);

/*
 * Drains the node (`reason` may be NULL) or opens it again, and waits for the registry's answer, 11 s at most. One at a time:
 * CYX_ERR_CONFLICT. CYX_ERR_DENIED: an operator of the platform drains it.
 */
enum cyx_status desk_drain(struct desk *self, bool drain, const char *reason,
                           struct cyx_error *err);

#endif
