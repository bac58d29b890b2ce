/*
 * The agent: takes offers, keeps the lease while the trainer works, moves checkpoints and the model, says how it
 * ended. One job at a time a slot, each slot on a thread of its own; another sends the heartbeats.
 *
 * Ownership: create/destroy; bus and settings outlive it. agent_drain() makes it hand its job back.
 */
#ifndef CYX_WORKER_AGENT_H
#define CYX_WORKER_AGENT_H

#include "api.h"
#include "sandbox.h"
#include "svc/metrics.h"

struct agent;
struct board;
struct identity;

enum { AGENT_SLOTS_LIMIT = 16 };

struct agent_settings {
    struct cyx_bus *bus;
    struct cyx_bus_options
        server;                /* how NATS is reached, for connections of jobs of several nodes */
    struct identity *identity; /* NULL: NATS has users of its own */
    struct api_node node;
    const char *gateway_url, *gateway_ca; /* gateway_ca NULL: the system's authorities */
    const char *backend;
    const char *data_dir, *work_dir, *cache_dir; /* absolute */
    const char *sandbox_wanted;                  /* CYXWIZ_SANDBOX */
    struct sandbox *sandbox;
    struct worker_limits limits;         /* of one job */
    size_t n_slots;                      /* jobs at once */
    int slot_devices[AGENT_SLOTS_LIMIT]; /* which of Vulkan's devices each has */
    int slot_threads;                    /* of a job that asks for no number; 0: all */
    int64_t cache_bytes;                 /* of artifacts that are kept */
    int64_t heartbeat_ms;
    struct cyx_metrics *metrics;
};

/* Makes the folders and throws away what a killed run left. Offers may come from here on. */
enum cyx_status agent_create(const struct agent_settings *settings, struct agent **ret_agent,
                             struct cyx_error *err);
/* Enrols, waiting for the registry, and starts; subscribe before, or the first offer may be missed. */
enum cyx_status agent_start(struct agent *self, struct cyx_error *err);
void agent_destroy(struct agent *self);

/* For the page: what the agent does (board.h); whether it ends; the bytes of its artifacts, which walks their folder. */
struct board *agent_board(struct agent *self);
bool agent_is_draining(const struct agent *self);
int64_t agent_cache_bytes(const struct agent *self);

/* Callbacks of the bus: cyx.node.<id>.offer and cyx.node.<id>.cancel. */
void agent_on_offer(void *ctx, const struct cyx_bus_message *message);
void agent_on_cancel(void *ctx, const struct cyx_bus_message *message);
/* cyx.node.<id>.challenge: a free slot proves its device; the registry hears "busy" where there is none. */
void agent_on_challenge(void *ctx, const struct cyx_bus_message *message);

/* Checkpoints, uploads and hands the job back; further offers are declined. Returns at the deadline at the latest. */
void agent_drain(void *ctx, int64_t deadline_ms);

#endif
