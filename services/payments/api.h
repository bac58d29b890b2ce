/*
 * Messages of the payments service: docs/contracts/platform.md section 2.3. Handlers for the tables in main.c.
 */
#ifndef CYX_PAYMENTS_API_H
#define CYX_PAYMENTS_API_H

#include "bus/stream.h"
#include "store/db.h"
#include "store/outbox.h"

struct api {
    struct cyx_db *db;
    struct cyx_outbox_relay *outbox;
};

enum cyx_status api_balance(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                            struct cyx_error *err);
enum cyx_status api_statement(void *ctx, const struct cyx_bus_message *request,
                              struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status api_job(void *ctx, const struct cyx_bus_message *request, struct cyx_buf *reply,
                        struct cyx_error *err);

/* cyx.evt.account.created: opens the ledger account. */
enum cyx_status api_account_created(void *ctx, const struct cyx_bus_message *event,
                                    struct cyx_error *err);
/* cyx.evt.job.*: holds when a job is submitted, settles when it has ended. */
enum cyx_status api_job_event(void *ctx, const struct cyx_bus_message *event,
                              struct cyx_error *err);

#endif
