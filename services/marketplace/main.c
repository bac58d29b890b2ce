/*
 * Marketplace. Owns models and their versions (schema `marketplace`); first cut: private versions of trained jobs.
 * Listens on cyx.svc.marketplace.{list,get}, cyx.evt.job.completed.
 * Publishes nothing yet.
 * Settings: docs/contracts/platform.md section 1. Stops on SIGTERM once what runs has ended.
 */
#include "api.h"
#include "contract/subjects.h"
#include "svc/svc.h"

#include "base/banned.h"

static const struct cyx_bus_route routes[] = {
    {CYX_SVC_MARKETPLACE_LIST, api_list},
    {CYX_SVC_MARKETPLACE_GET, api_get},
};

int main(void)
{
    struct api api = {0};
    struct cyx_bus *bus = NULL;
    struct cyx_svc *svc = NULL;
    struct cyx_error err = {0};
    struct cyx_bus_consumer completed = {.stream = CYX_STREAM_EVENTS,
                                         .durable = "marketplace-jobs",
                                         .subject = CYX_EVT_JOB_COMPLETED,
                                         .handler = api_job_completed,
                                         .ctx = &api};
    if (cyx_svc_create(CYX_SVC_MARKETPLACE, &svc, &err) != CYX_OK ||
        cyx_svc_open_database(svc, &api.db, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &bus, &err) != CYX_OK ||
        cyx_bus_ensure_stream(bus, &cyx_bus_stream_events, &err) != CYX_OK ||
        cyx_bus_serve_table(bus, routes, CYX_COUNT_OF(routes), CYX_SVC_MARKETPLACE, &api, &err) !=
            CYX_OK ||
        cyx_bus_consume(bus, &completed, &err) != CYX_OK)
        return cyx_svc_fail(svc, &err);
    int code = cyx_svc_run(svc);
    cyx_svc_destroy(svc);
    return code;
}
