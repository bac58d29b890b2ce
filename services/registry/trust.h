/*
 * The registry's power over NATS: it signs the users' tokens of nodes with the account's signing key, and tells the
 * server which keys are revoked with the operator's. Both lie in the folder that `cyxwiz trust init` made
 * (CYXWIZ_NATS_TRUST); without one NATS has users of its own, and the registry hands out no credentials.
 *
 * Ownership: create/destroy; the connection to the system account is its own. Any thread.
 *
 *     cyx_trust_open(folder, url, ttl_s, &trust, &err);
 *     cyx_trust_admit(trust, node_id, public_key, &token, &expires_s, &err);
 *     cyx_trust_revoke(trust, revocations, count, &err);
 */
#ifndef CYX_REGISTRY_TRUST_H
#define CYX_REGISTRY_TRUST_H

#include "bus/bus.h"
#include "identity/jwt.h"

struct cyx_trust;

enum cyx_status cyx_trust_open(const char *folder, const struct cyx_bus_options *server,
                               int64_t token_life_s, struct cyx_trust **ret_trust,
                               struct cyx_error *err);
void cyx_trust_close(struct cyx_trust *self); /* NULL is fine */

/* A token for a node's key: it may publish and read what is the node's, and nothing else. */
enum cyx_status cyx_trust_admit(const struct cyx_trust *self, const char *node_id,
                                const char *public_key, struct cyx_buf *ret_token,
                                int64_t *ret_expires_s, struct cyx_error *err);

/*
 * A token for a node's key that is good for one attempt of one job of several nodes, and for nothing else: member `rank`
 * publishes as itself, cyx.gang.<job>.<attempt>.<rank>.*, and hears what is for it, ….*.<rank>.
 */
struct cyx_trust_member {
    const char *job_id, *public_key;
    int64_t attempt;
    int rank;
};
enum cyx_status cyx_trust_admit_member(const struct cyx_trust *self,
                                       const struct cyx_trust_member *member,
                                       struct cyx_buf *ret_token, int64_t *ret_expires_s,
                                       struct cyx_error *err);

/*
 * Gives the server the account with these revocations, all that still matter: whoever is connected with such a key is
 * cut off at once. The same list again costs the server nothing, so it is told now and then, since a server that was
 * started anew has only what its configuration says.
 */
enum cyx_status cyx_trust_revoke(const struct cyx_trust *self,
                                 const struct cyx_jwt_revocation *revocations, size_t count,
                                 struct cyx_error *err);

/* The server's system account tells of each connection of ours that ends: {client: {user}, reason}. */
enum cyx_status cyx_trust_watch_connections(const struct cyx_trust *self, cyx_bus_callback callback,
                                            void *ctx, struct cyx_error *err);

int64_t cyx_trust_token_life_s(const struct cyx_trust *self);

#endif
