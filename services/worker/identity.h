/*
 * Who this node is: its key, the id that it joined under, the token that NATS lets it in with. They lie in a folder of
 * their own (mode 0700): `node.seed`, `node.id`, `node.creds`. The first time it joins with a one-time token; from then
 * on it signs for new tokens, at half of each one's life, on a thread of its own. A new key is made when the registry
 * asks for one. All by HTTP to the gateway, since NATS wants a token first.
 *
 * Ownership: open/close. Errors: CYX_ERR_DENIED the registry does not know the key any more and there is no token to
 * enrol anew with. Any thread.
 *
 *     identity_open(&settings, &identity, &err);
 *     cyx_svc_open_bus_as(svc, identity_creds_file(identity), identity_inbox(identity), &bus, &err);
 *     identity_start(identity, &err);
 */
#ifndef CYX_WORKER_IDENTITY_H
#define CYX_WORKER_IDENTITY_H

#include "base/status.h"
#include "bus/bus.h"

struct identity;

struct identity_settings {
    const char *folder, *gateway_url, *gateway_ca;
    const char *enrol_token; /* NULL: it has joined before */
};

/* Joins or renews as need be, waiting for a gateway that is away. */
enum cyx_status identity_open(const struct identity_settings *settings,
                              struct identity **ret_identity, struct cyx_error *err);
void identity_close(struct identity *self); /* NULL is fine */

const char *identity_node_id(const struct identity *self);
const char *identity_creds_file(const struct identity *self);
const char *identity_inbox(const struct identity *self);

/* Keeps the token fresh from here on. */
/* A credentials file of this node's key with another token, for a connection of slot `slot`; any thread. */
enum cyx_status identity_write_member(const struct identity *self, int slot, const char *token,
                                      char ret_path[4096], struct cyx_error *err);

enum cyx_status identity_start(struct identity *self, struct cyx_error *err);

/* Callback of the bus for cyx.node.<id>.rotate: a new key, now. */
void identity_on_rotate(void *ctx, const struct cyx_bus_message *message);

#endif
