/*
 * Worker. Owns nothing but scratch files: takes jobs for one node, trains them in a child process, streams what happens.
 * Listens on cyx.node.<id>.{offer,cancel}; speaks HTTP to the gateway for artifacts. Only connects outwards.
 * Publishes cyx.node.<id>.heartbeat and cyx.job.<id>.{metrics,log}.
 * Settings: docs/contracts/platform.md section 1. On SIGTERM it checkpoints, uploads and hands its job back.
 */
#include "agent.h"
#include "contract/subjects.h"
#include "settings.h"
#include "svc/svc.h"
#include "trainer.h"

static enum cyx_status listen(struct cyx_bus *bus, const char *node_id, struct agent *agent,
                              struct cyx_error *err)
{
    char offer[CYX_SUBJECT_BYTES], cancel[CYX_SUBJECT_BYTES];
    cyx_subject_node(offer, node_id, CYX_NODE_OFFER);
    cyx_subject_node(cancel, node_id, CYX_NODE_CANCEL);
    enum cyx_status status = cyx_bus_subscribe(bus, offer, NULL, agent_on_offer, agent, err);
    if (status == CYX_OK)
        status = cyx_bus_subscribe(bus, cancel, NULL, agent_on_cancel, agent, err);
    return status;
}

int main(int argc, char **argv)
{
    int trained = trainer_main(argc, argv);
    if (trained >= 0)
        return trained;
    struct agent_settings settings = {0};
    struct agent *agent = NULL;
    struct cyx_svc *svc = NULL;
    struct cyx_error err = {0};
    if (cyx_svc_create("worker", &svc, &err) != CYX_OK ||
        settings_read(svc, &settings, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &settings.bus, &err) != CYX_OK ||
        agent_create(&settings, &agent, &err) != CYX_OK ||
        cyx_svc_on_drain(svc, agent_drain, agent, &err) != CYX_OK ||
        listen(settings.bus, settings.node.id, agent, &err) != CYX_OK ||
        agent_start(agent, &err) != CYX_OK)
        return cyx_svc_fail(svc, &err);
    int code = cyx_svc_run(svc);
    agent_destroy(agent);
    settings_finish(&settings);
    cyx_svc_destroy(svc);
    return code;
}
