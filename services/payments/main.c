/*
 * Payments. Owns the ledger (schema `payments`): accounts, balanced transfers, escrow of jobs.
 * Listens on cyx.svc.payments.{balance,statement,job}, cyx.evt.account.created, cyx.evt.job.*.
 * Publishes cyx.evt.payment.{held,refused,settled} through its outbox.
 * Settings: docs/contracts/platform.md section 1. Stops on SIGTERM once what runs has ended.
 */
#include "api.h"
#include "contract/subjects.h"
#include "svc/svc.h"

#include "base/banned.h"

static const struct cyx_bus_route routes[] = {
    {CYX_SVC_PAYMENTS_BALANCE, api_balance},
    {CYX_SVC_PAYMENTS_STATEMENT, api_statement},
    {CYX_SVC_PAYMENTS_JOB, api_job},
};

static const struct cyx_bus_consumer consumers[] = {
    {.stream = CYX_STREAM_EVENTS,
     .durable = "payments-accounts",
     .subject = CYX_EVT_ACCOUNT_CREATED,
     .handler = api_account_created},
    {.stream = CYX_STREAM_EVENTS,
     .durable = "payments-jobs",
     .subject = CYX_EVT_JOB_ALL,
     .handler = api_job_event},
};

static enum cyx_status consume(struct cyx_bus *bus, struct api *api, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < CYX_COUNT_OF(consumers); i++) {
        struct cyx_bus_consumer consumer = consumers[i];
        consumer.ctx = api;
        status = cyx_bus_consume(bus, &consumer, err);
    }
    return status;
}

int main(void)
{
    struct api api = {0};
    struct cyx_bus *bus = NULL;
    struct cyx_svc *svc = NULL;
    struct cyx_error err = {0};
    if (cyx_svc_create(CYX_SVC_PAYMENTS, &svc, &err) != CYX_OK ||
        cyx_svc_open_database(svc, &api.db, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &bus, &err) != CYX_OK ||
        cyx_svc_open_outbox(svc, &api.outbox, &err) != CYX_OK ||
        cyx_bus_serve_table(bus, routes, CYX_COUNT_OF(routes), CYX_SVC_PAYMENTS, &api, &err) !=
            CYX_OK ||
        consume(bus, &api, &err) != CYX_OK)
        return cyx_svc_fail(svc, &err);
    int code = cyx_svc_run(svc);
    cyx_svc_destroy(svc);
    return code;
}
