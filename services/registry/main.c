/*
 * The registry: which nodes there are, who they are by their keys, and which of them are online.
 * Owns: schema registry (nodes, keys, enrolment tokens, challenges), Redis registry:node:<id> (their newest load), the account's
 *       signing key of NATS.
 * Listens: cyx.svc.registry.{enrol.<node>,prove.<node>,token,join,renew,revoke,rotate,gang,drain,maintenance,list,get}, drain and
 *          get of a node's own as ….<node>,
 *          cyx.node.*.{heartbeat,leaving}.
 * Publishes: cyx.evt.node.{online,offline,silent} (outbox), cyx.node.<id>.{rotate,challenge}.
 */
#include "api.h"
#include "contract/subjects.h"

#include "base/banned.h"

static const struct cyx_bus_route routes[] = {
    {CYX_SVC_REGISTRY_ENROL CYX_FROM_NODE, cyx_registry_api_enrol},
    {CYX_SVC_REGISTRY_TOKEN, cyx_registry_api_token},
    {CYX_SVC_REGISTRY_JOIN, cyx_registry_api_join},
    {CYX_SVC_REGISTRY_RENEW, cyx_registry_api_renew},
    {CYX_SVC_REGISTRY_REVOKE, cyx_registry_api_revoke},
    {CYX_SVC_REGISTRY_ROTATE, cyx_registry_api_rotate},
    {CYX_SVC_REGISTRY_DRAIN, cyx_registry_api_drain},
    {CYX_SVC_REGISTRY_DRAIN CYX_FROM_NODE, cyx_registry_api_drain_self},
    {CYX_SVC_REGISTRY_MAINTENANCE, cyx_registry_api_maintenance},
    {CYX_SVC_REGISTRY_PROVE CYX_FROM_NODE, cyx_registry_api_prove},
    {CYX_SVC_REGISTRY_GANG, cyx_registry_api_gang},
    {CYX_SVC_REGISTRY_LIST, cyx_registry_api_list},
    {CYX_SVC_REGISTRY_GET, cyx_registry_api_get},
    {CYX_SVC_REGISTRY_GET CYX_FROM_NODE, cyx_registry_api_get_self},
};

int main(void)
{
    struct cyx_registry_app app = {0};
    struct cyx_error err = {0};
    struct cyx_svc *svc = NULL;
    if (cyx_svc_create(CYX_SVC_REGISTRY, &svc, &err) != CYX_OK ||
        cyx_registry_configure(&app, svc, &err) != CYX_OK ||
        cyx_svc_open_database(svc, &app.store.db, &err) != CYX_OK ||
        cyx_svc_open_cache(svc, &app.store.cache, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &app.bus, &err) != CYX_OK ||
        cyx_svc_open_outbox(svc, &app.store.outbox, &err) != CYX_OK ||
        cyx_registry_open_trust(&app, svc, &err) != CYX_OK ||
        cyx_svc_serve(svc, routes, CYX_COUNT_OF(routes), &app, &err) != CYX_OK ||
        cyx_registry_start(&app, svc, &err) != CYX_OK) {
        int failed = cyx_svc_fail(svc, &err);
        cyx_registry_finish(&app);
        return failed;
    }
    int code = cyx_svc_run(svc);
    cyx_registry_finish(&app);
    cyx_svc_destroy(svc);
    return code;
}
