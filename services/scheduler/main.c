/*
 * The scheduler: which job runs where. Any number of replicas.
 * Owns: schema scheduler (jobs, assignments, transitions, its own picture of the nodes).
 * Listens: cyx.svc.scheduler.{submit,quote,quota,node,get,list,cancel,accept,progress,finish,gang}, cyx.node.*.heartbeat,
 *          cyx.evt.payment.*, cyx.evt.node.*.
 * Publishes: cyx.evt.job.*, cyx.job.<id>.state (outbox); cyx.node.<id>.{offer,cancel}.
 */
#include "api.h"
#include "contract/subjects.h"

#include "base/banned.h"

static const struct cyx_bus_route routes[] = {
    {CYX_SVC_SCHEDULER_SUBMIT, cyx_sched_api_submit},
    {CYX_SVC_SCHEDULER_GET, cyx_sched_api_get},
    {CYX_SVC_SCHEDULER_LIST, cyx_sched_api_list},
    {CYX_SVC_SCHEDULER_QUOTE, cyx_sched_api_quote},
    {CYX_SVC_SCHEDULER_QUOTA, cyx_sched_api_quota},
    {CYX_SVC_SCHEDULER_NODE, cyx_sched_api_node},
    {CYX_SVC_SCHEDULER_USES, cyx_sched_api_uses},
    {CYX_SVC_SCHEDULER_CANCEL, cyx_sched_api_cancel},
    {CYX_SVC_SCHEDULER_ACCEPT CYX_FROM_NODE, cyx_sched_api_accept},
    {CYX_SVC_SCHEDULER_PROGRESS CYX_FROM_NODE, cyx_sched_api_progress},
    {CYX_SVC_SCHEDULER_FINISH CYX_FROM_NODE, cyx_sched_api_finish},
    {CYX_SVC_SCHEDULER_GANG CYX_FROM_NODE, cyx_sched_api_gang},
};

int main(void)
{
    struct cyx_sched_app app = {0};
    struct cyx_error err = {0};
    struct cyx_svc *svc = NULL;
    if (cyx_svc_create(CYX_SVC_SCHEDULER, &svc, &err) != CYX_OK ||
        cyx_sched_configure(&app, svc, &err) != CYX_OK ||
        cyx_svc_open_database(svc, &app.store.db, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &app.bus, &err) != CYX_OK ||
        cyx_bus_ensure_stream(app.bus, &cyx_bus_stream_jobs, &err) != CYX_OK ||
        cyx_svc_open_outbox(svc, &app.store.outbox, &err) != CYX_OK ||
        cyx_svc_serve(svc, routes, CYX_COUNT_OF(routes), &app, &err) != CYX_OK ||
        cyx_sched_start(&app, svc, &err) != CYX_OK) {
        int failed = cyx_svc_fail(svc, &err);
        cyx_sched_finish(&app);
        return failed;
    }
    int code = cyx_svc_run(svc);
    cyx_sched_finish(&app);
    cyx_svc_destroy(svc);
    return code;
}
