/*
 * What the environment says (docs/contracts/platform.md section 1), the sandbox that works here, the devices found in it.
 * Ownership: settings_finish() after the agent's end; texts belong to the service's configuration. One thread.
 */
#ifndef CYX_WORKER_SETTINGS_H
#define CYX_WORKER_SETTINGS_H

#include "agent.h"
#include "page.h"
#include "svc/svc.h"

enum cyx_status settings_read(struct cyx_svc *svc, struct agent_settings *ret_settings,
                              struct cyx_error *err);
enum cyx_status settings_read_page(struct cyx_svc *svc, struct page_settings *ret_page,
                                   struct cyx_error *err);
void settings_finish(struct agent_settings *settings);

#endif
