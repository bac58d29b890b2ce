/*
 * The registry's door: NATS messages to rules and store, and back; and the watch that judges who is online.
 *
 * Ownership: `struct cyx_registry_app` is main's and outlives the bus's callbacks; what it points to belongs to
 * the service, but for the presence table and the watch, which cyx_registry_finish() frees once the bus is closed.
 * Handlers run on the bus's threads, several at once.
 */
#ifndef CYX_REGISTRY_API_H
#define CYX_REGISTRY_API_H

#include <jansson.h>
#include <stdatomic.h>

#include "store.h"
#include "svc/svc.h"
#include "trust.h"

struct cyx_registry_watch;

struct cyx_registry_app {
    struct cyx_bus *bus;
    struct cyx_registry_store store;
    struct cyx_presence *presence;
    struct cyx_registry_watch *watch;
    struct cyx_trust *trust; /* NULL: NATS has users of its own */
    atomic_bool has_revoked; /* NATS was told of keys */
    int64_t heartbeat_ms;
    struct cyx_metric *heartbeats; /* by result: taken, ignored, broken */
    struct cyx_metric *nodes;      /* by status */
    struct cyx_metric *changes;    /* by event: enrolled, returned, lost */
    struct cyx_metric *proofs;     /* by end: answered, wrong, busy, no-answer, failed */
};

/* Reads the settings, registers the metrics, makes the presence table. */
enum cyx_status cyx_registry_configure(struct cyx_registry_app *app, struct cyx_svc *svc,
                                       struct cyx_error *err);

/* Reads the keys of CYXWIZ_NATS_TRUST, if that is set. */
enum cyx_status cyx_registry_open_trust(struct cyx_registry_app *app, struct cyx_svc *svc,
                                        struct cyx_error *err);

/* Listens for heartbeats and starts the watch, which ends when the service drains. Comes last in main. */
enum cyx_status cyx_registry_start(struct cyx_registry_app *app, struct cyx_svc *svc,
                                   struct cyx_error *err);
void cyx_registry_finish(struct cyx_registry_app *app);

/* cyx.svc.registry.{enrol.<node>,list,get}; ctx is the app. */
enum cyx_status cyx_registry_api_enrol(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_list(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_get(void *ctx, const struct cyx_bus_message *request,
                                     struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_get_self(void *ctx, const struct cyx_bus_message *request,
                                          struct cyx_buf *reply, struct cyx_error *err);

/* CYX_ERR_DENIED unless the node itself asks: the last word of the subject is its id. */
enum cyx_status cyx_registry_check_speaker(const struct cyx_bus_message *request,
                                           const char *node_id, struct cyx_error *err);

/* cyx.svc.registry.{token,join,renew,revoke,rotate} (api_identity.c) */
enum cyx_status cyx_registry_api_token(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_join(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_renew(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_revoke(void *ctx, const struct cyx_bus_message *request,
                                        struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_rotate(void *ctx, const struct cyx_bus_message *request,
                                        struct cyx_buf *reply, struct cyx_error *err);
/* cyx.svc.registry.gang: for the scheduler, which knows who holds what */
enum cyx_status cyx_registry_api_gang(void *ctx, const struct cyx_bus_message *request,
                                      struct cyx_buf *reply, struct cyx_error *err);

/* cyx.svc.registry.{drain,maintenance}, a node's own drain.<node> (api_health.c) */
enum cyx_status cyx_registry_api_drain(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_drain_self(void *ctx, const struct cyx_bus_message *request,
                                            struct cyx_buf *reply, struct cyx_error *err);
enum cyx_status cyx_registry_api_maintenance(void *ctx, const struct cyx_bus_message *request,
                                             struct cyx_buf *reply, struct cyx_error *err);

/* cyx.svc.registry.prove.<node> (api_proof.c) */
enum cyx_status cyx_registry_api_prove(void *ctx, const struct cyx_bus_message *request,
                                       struct cyx_buf *reply, struct cyx_error *err);
/* Challenges nodes whose devices are due: this one, or with NULL all that are. */
void cyx_registry_ask_proofs(struct cyx_registry_app *app, const char *node_id);
/* Ends challenges that were not answered in time. */
void cyx_registry_expire_proofs(struct cyx_registry_app *app);

/* cyx.node.*.leaving, and what the system account tells of connections that end */
void cyx_registry_api_leaving(void *ctx, const struct cyx_bus_message *message);
void cyx_registry_api_disconnect(void *ctx, const struct cyx_bus_message *message);

/* {period_ms, gap_ms, deviation_ms, deadline_ms, seen} as this replica heard the node. */
json_t *cyx_registry_heartbeat_json(struct cyx_registry_app *app, const char *node_id);

/* Why a node that is missed may be silent, as far as this replica knows. */
void cyx_registry_explain_silence(struct cyx_registry_app *app, const char *node_id,
                                  const char *boot_id, int64_t host_memory_bytes, int64_t now_ns,
                                  struct cyx_registry_why *ret_why);

/* {node: …} as `get` answers. */
enum cyx_status cyx_registry_answer_node(struct cyx_registry_app *app, const char *node_id,
                                         struct cyx_buf *reply, struct cyx_error *err);

/* Tells NATS which keys are revoked, all of them; without trust it does nothing. */
enum cyx_status cyx_registry_push_revocations(struct cyx_registry_app *app, struct cyx_error *err);

/* cyx.node.*.heartbeat */
void cyx_registry_api_heartbeat(void *ctx, const struct cyx_bus_message *message);

/* The watch's thread (watch.c). */
enum cyx_status cyx_registry_watch_start(struct cyx_registry_app *app, struct cyx_error *err);
void cyx_registry_watch_stop(struct cyx_registry_watch *watch); /* NULL is fine */

#endif
