/*
 * Worker. Owns nothing but scratch files: takes jobs for one node, trains them in a child process, streams what happens.
 * Listens on cyx.node.<id>.{offer,cancel}; speaks HTTP to the gateway for artifacts. Only connects outwards.
 * Publishes cyx.node.<id>.heartbeat and cyx.job.<id>.{metrics,log}.
 * Settings: docs/contracts/platform.md section 1. On SIGTERM it checkpoints, uploads and hands its job back.
 */
#include <stdio.h>

#include "agent.h"
#include "base/id.h"
#include "base/log.h"
#include "contract/subjects.h"
#include "svc/svc.h"
#include "trainer.h"

static enum cyx_status read_settings(struct cyx_svc *svc, struct agent_settings *settings,
                                     struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    settings->node.id = cyx_config_require(config, "CYXWIZ_NODE_ID", "set it to the node's UUID");
    settings->node.name = cyx_config_text(config, "CYXWIZ_NODE_NAME", "worker");
    settings->node.enrol_token =
        cyx_config_require(config, "CYXWIZ_ENROL_TOKEN", "set it to the registry's token");
    settings->node.price_per_hour = cyx_config_text(config, "CYXWIZ_PRICE_PER_HOUR", "1 CYX");
    settings->gateway_url = cyx_config_text(config, "CYXWIZ_GATEWAY_URL", "http://127.0.0.1:8080");
    settings->data_dir = cyx_config_require(config, "CYXWIZ_DATA_DIR", "set it to a folder");
    settings->work_dir = cyx_config_require(config, "CYXWIZ_WORK_DIR", "set it to a folder");
    settings->backend = cyx_config_choice(config, "CYXWIZ_BACKEND", "auto", "auto cpu vulkan");
    settings->heartbeat_ms =
        cyx_config_int(config, "CYXWIZ_HEARTBEAT_MS", CYX_HEARTBEAT_DEFAULT_MS, 100, 60000);
    settings->metrics = cyx_svc_metrics(svc);
    if (*settings->node.id && !cyx_id_valid(settings->node.id))
        cyx_config_refuse(config, "CYXWIZ_NODE_ID", "it is not a UUID");
    cyx_id_new(settings->node.boot_id);
    return cyx_config_check(config, err);
}

static enum cyx_status find_devices(struct agent_settings *settings, struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = trainer_probe(settings->backend, &text, err);
    if (status != CYX_OK)
        return status;
    settings->node.devices = json_loadb(text.data ? text.data : "", text.length, 0, NULL);
    if (json_array_size(settings->node.devices) == 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "no device for backend %s: set CYXWIZ_BACKEND to auto or cpu",
                             settings->backend);
    return CYX_OK;
}

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
        read_settings(svc, &settings, &err) != CYX_OK || find_devices(&settings, &err) != CYX_OK ||
        cyx_svc_open_bus(svc, &settings.bus, &err) != CYX_OK ||
        agent_create(&settings, &agent, &err) != CYX_OK ||
        cyx_svc_on_drain(svc, agent_drain, agent, &err) != CYX_OK ||
        listen(settings.bus, settings.node.id, agent, &err) != CYX_OK ||
        agent_start(agent, &err) != CYX_OK)
        return cyx_svc_fail(svc, &err);
    int code = cyx_svc_run(svc);
    agent_destroy(agent);
    json_decref(settings.node.devices);
    cyx_svc_destroy(svc);
    return code;
}
