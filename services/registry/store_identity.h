/* Identities, their keys and enrolment tokens in PostgreSQL. Ownership and threads as store.h says. */
#ifndef CYX_REGISTRY_STORE_IDENTITY_H
#define CYX_REGISTRY_STORE_IDENTITY_H

#include "identity.h"
#include "identity/jwt.h"
#include "store.h"

struct cyx_enrol_token {
    const char *hash, *made_by;
    const char *node_id; /* NULL: lets a new node in */
    int64_t life_s;
    int64_t expires_at_ms; /* filled */
};
/* CYX_ERR_NOT_FOUND when it is for a node that nobody knows. */
enum cyx_status cyx_registry_store_token(struct cyx_registry_store *self,
                                         struct cyx_enrol_token *token, struct cyx_error *err);

/*
 * Uses the token up and makes the key the node's only one; a node that was revoked is let in again, since an operator
 * made the token for it. CYX_ERR_UNAUTHENTICATED for a token that is wrong, used or too old; CYX_ERR_CONFLICT for a
 * key that was some node's before.
 */
enum cyx_status cyx_registry_store_join(struct cyx_registry_store *self, const char *token_hash,
                                        const char *public_key, char ret_node_id[CYX_ID_BYTES],
                                        struct cyx_error *err);

/* Whether the key is the node's; puts the new one in its place when there is one. CYX_ERR_DENIED else. */
enum cyx_status cyx_registry_store_renew(struct cyx_registry_store *self,
                                         const struct cyx_renewal *renewal, bool *ret_rotate_wanted,
                                         struct cyx_error *err);

/* Ends a node's keys; it goes offline, with its event. Done again it changes nothing. */
enum cyx_status cyx_registry_store_revoke(struct cyx_registry_store *self, const char *node_id,
                                          const char *why, struct cyx_error *err);
enum cyx_status cyx_registry_store_want_rotation(struct cyx_registry_store *self,
                                                 const char *node_id, struct cyx_error *err);

/* Whether the node may enrol: CYX_ERR_DENIED when it is revoked, or `need_key` and it never joined. */
enum cyx_status cyx_registry_store_may_work(struct cyx_registry_store *self, const char *node_id,
                                            bool need_key, struct cyx_error *err);

/* The node's key as it is now; CYX_ERR_DENIED when it has none. */
enum cyx_status cyx_registry_store_key_of(struct cyx_registry_store *self, const char *node_id,
                                          char ret_public_key[CYX_NKEY_TEXT_BYTES],
                                          struct cyx_error *err);

/* Whose key it is or was; CYX_ERR_NOT_FOUND. */
enum cyx_status cyx_registry_store_key_owner(struct cyx_registry_store *self,
                                             const char *public_key, char ret_node_id[CYX_ID_BYTES],
                                             struct cyx_error *err);

/* Keys revoked within `life_s`: older ones have no token left that is good. malloc'ed. */
enum cyx_status cyx_registry_store_revocations(struct cyx_registry_store *self, int64_t life_s,
                                               struct cyx_jwt_revocation **ret_list,
                                               size_t *ret_count, struct cyx_error *err);

#endif
