/*
 * Messages of the marketplace: docs/contracts/platform.md section 2.4. Handlers for the tables in main.c.
 */
#ifndef CYX_MARKETPLACE_API_H
#define CYX_MARKETPLACE_API_H

#include "bus/stream.h"
#include "store/db.h"

struct api {
    struct cyx_db *db;
};

enum cyx_status api_list(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                         struct cyx_error *err);
enum cyx_status api_get(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                        struct cyx_error *err);

/* cyx.evt.job.completed: stores the model as a private version. */
enum cyx_status api_job_completed(void *ctx, const struct cyx_bus_message *event,
                                  struct cyx_error *err);

#endif
