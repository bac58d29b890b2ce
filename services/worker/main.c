/*
 * Worker. Owns nothing but scratch files: takes jobs for one node, trains them in a child process, streams what happens.
 * Listens on cyx.node.<id>.{offer,cancel,rotate,challenge}; speaks HTTP to the gateway for artifacts and for its own credentials.
 * Only connects outwards, but for its own page, on the loopback (page.h).
 * Publishes cyx.node.<id>.heartbeat and cyx.job.<id>.{metrics,log}.<node>.
 * Settings: docs/contracts/platform.md section 1. On SIGTERM it checkpoints, uploads and hands its job back.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent.h"
#include "contract/subjects.h"
#include "identity.h"
#include "page.h"
#include "settings.h"
#include "svc/svc.h"
#include "trainer.h"

#include "base/banned.h"

/* With a node's id given, NATS has a user of that name (CYXWIZ_NATS_USER); else the node has a key of its own. */
static enum cyx_status connect_node(struct cyx_svc *svc, struct agent_settings *settings,
                                    struct identity **ret_identity, struct cyx_error *err)
{
    struct cyx_config *config = cyx_svc_config(svc);
    if (settings->node.id)
        return cyx_svc_open_bus(svc, &settings->bus, err);
    const struct identity_settings who = {
        .folder = cyx_config_require(config, "CYXWIZ_IDENTITY_DIR",
                                     "set it to a private folder for the node's key"),
        .gateway_url = settings->gateway_url,
        .gateway_ca = settings->gateway_ca,
        .enrol_token = cyx_config_text(config, "CYXWIZ_ENROL_TOKEN", NULL)};
    enum cyx_status status = cyx_config_check(config, err);
    if (status == CYX_OK)
        status = identity_open(&who, ret_identity, err);
    if (status != CYX_OK)
        return status;
    settings->node.id = identity_node_id(*ret_identity);
    settings->identity = *ret_identity;
    return cyx_svc_open_bus_as(svc, identity_creds_file(*ret_identity),
                               identity_inbox(*ret_identity), &settings->bus, err);
}

/* Says good-bye, so that nobody waits for heartbeats; on draining, behind the agent. */
static void leave(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    const struct agent_settings *settings = ctx;
    (void)api_leave(settings->bus, &settings->node, NULL);
}

static enum cyx_status listen(struct cyx_bus *bus, const char *node_id, struct agent *agent,
                              struct identity *identity, struct cyx_error *err)
{
    char offer[CYX_SUBJECT_BYTES], cancel[CYX_SUBJECT_BYTES], rotate[CYX_SUBJECT_BYTES];
    char challenge[CYX_SUBJECT_BYTES];
    cyx_subject_node(challenge, node_id, CYX_NODE_CHALLENGE);
    cyx_subject_node(rotate, node_id, CYX_NODE_ROTATE);
    cyx_subject_node(offer, node_id, CYX_NODE_OFFER);
    cyx_subject_node(cancel, node_id, CYX_NODE_CANCEL);
    enum cyx_status status = cyx_bus_subscribe(bus, offer, NULL, agent_on_offer, agent, err);
    if (status == CYX_OK)
        status = cyx_bus_subscribe(bus, cancel, NULL, agent_on_cancel, agent, err);
    if (status == CYX_OK)
        status = cyx_bus_subscribe(bus, challenge, NULL, agent_on_challenge, agent, err);
    if (status == CYX_OK && identity)
        status = cyx_bus_subscribe(bus, rotate, NULL, identity_on_rotate, identity, err);
    if (status == CYX_OK && identity)
        status = identity_start(identity, err);
    return status;
}

/* Flags for settings that are files; they win over the environment. False: wrong usage. */
static bool take_flags(int argc, char **argv)
{
    static const struct option flags[] = {{"gateway-ca", required_argument, NULL, 'g'},
                                          {"nats-ca", required_argument, NULL, 'n'},
                                          {0}};
    int found;
    while ((found = getopt_long(argc, argv, "", flags, NULL)) != -1)
        if (found == '?' ||
            setenv(found == 'g' ? "CYXWIZ_GATEWAY_CA" : "CYXWIZ_NATS_CA", optarg, 1) != 0)
            return false;
    return optind == argc;
}

int main(int argc, char **argv)
{
    int trained = trainer_main(argc, argv);
    if (trained >= 0)
        return trained;
    if (!take_flags(argc, argv)) {
        fprintf(stderr, "usage: cyxwiz-worker [--gateway-ca FILE] [--nats-ca FILE]\n");
        return 2;
    }
    struct agent_settings settings = {0};
    struct page_settings page_settings = {0};
    struct agent *agent = NULL;
    struct page *page = NULL;
    struct identity *identity = NULL;
    struct cyx_svc *svc = NULL;
    struct cyx_error err = {0};
    if (cyx_svc_create("worker", &svc, &err) != CYX_OK ||
        settings_read(svc, &settings, &err) != CYX_OK ||
        settings_read_page(svc, &page_settings, &err) != CYX_OK ||
        cyx_svc_bus_options(svc, &settings.server, &err) != CYX_OK ||
        connect_node(svc, &settings, &identity, &err) != CYX_OK ||
        agent_create(&settings, &agent, &err) != CYX_OK ||
        cyx_svc_on_drain(svc, leave, &settings, &err) != CYX_OK ||
        cyx_svc_on_drain(svc, agent_drain, agent, &err) != CYX_OK)
        return cyx_svc_fail(svc, &err);
    page = page_start(&page_settings, &settings, agent);
    if (listen(settings.bus, settings.node.id, agent, identity, &err) != CYX_OK ||
        agent_start(agent, &err) != CYX_OK) {
        page_stop(page);
        return cyx_svc_fail(svc, &err);
    }
    int code = cyx_svc_run(svc);
    page_stop(page);
    agent_destroy(agent);
    settings_finish(&settings);
    cyx_svc_destroy(svc);
    identity_close(identity);
    return code;
}
