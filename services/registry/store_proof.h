/* Challenges, and what came of them. Ownership and threads as store.h says. */
#ifndef CYX_REGISTRY_STORE_PROOF_H
#define CYX_REGISTRY_STORE_PROOF_H

#include "store.h"

struct cyx_challenge {
    char id[CYX_ID_BYTES], node_id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    char backend[8];
    int64_t device_index;
    struct cyx_proof_told told; /* once it is ready */
    struct cyx_proof_task task;
    int64_t elapsed_ms; /* from the seed until now, -1: it was not told the seed */
};

/* Nodes on record are challenged where proofs are required, and open where they are not: called once, at start. */
enum cyx_status cyx_registry_store_require(struct cyx_registry_store *self, struct cyx_error *err);

/*
 * Opens a challenge for a node that is online, due, and at none: `node_id`, or with NULL whichever waits longest.
 * CYX_ERR_NOT_FOUND when there is none. Of several replicas one opens it.
 */
enum cyx_status cyx_registry_store_challenge(struct cyx_registry_store *self, const char *node_id,
                                             struct cyx_challenge *ret_challenge,
                                             struct cyx_error *err);

/* The node is ready: writes down what it told and its task, and starts the clock. CYX_ERR_CONFLICT when it runs already. */
enum cyx_status cyx_registry_store_ready(struct cyx_registry_store *self, const char *node_id,
                                         const char *challenge_id,
                                         const struct cyx_proof_told *told,
                                         const struct cyx_proof_task *task, struct cyx_error *err);

/* Ends the challenge and stops its clock; it can end once. CYX_ERR_NOT_FOUND. */
enum cyx_status cyx_registry_store_end_challenge(struct cyx_registry_store *self,
                                                 const char *node_id, const char *challenge_id,
                                                 struct cyx_challenge *ret_challenge,
                                                 struct cyx_error *err);

/* The same for one that is too old. CYX_ERR_NOT_FOUND when none is. */
enum cyx_status cyx_registry_store_expire_challenge(struct cyx_registry_store *self,
                                                    struct cyx_challenge *ret_challenge,
                                                    struct cyx_error *err);

/*
 * Judges the device by the outcome and tells what changed, in one transaction. A node that is of another boot by now, or
 * offline, is left as it is. `ret_node` is the node afterwards; id "" when it was left.
 */
enum cyx_status cyx_registry_store_prove(struct cyx_registry_store *self,
                                         const struct cyx_challenge *challenge,
                                         const struct cyx_proof_outcome *outcome, double random,
                                         struct cyx_registry_node *ret_node, struct cyx_error *err);

#endif
