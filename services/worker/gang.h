/*
 * What the agents of a job of several nodes do for their trainers: at each meeting the first member (rank 0) fetches every
 * member's values, takes the mean in the order of the ranks, and the others fetch that.
 *
 * The members speak over a connection of their own, which the registry lets in for this attempt of this job alone
 * (decision 0021), on cyx.gang.<job>.<attempt>.<from>.<to>. A message is a line of JSON, then bytes: {kind: "have", bytes,
 * sha256} offers values, {kind: "want", offset} asks for a part, {kind: "part", offset} carries one; each names its round
 * and the sender's token. Who fetches asks for what is missing until it is there, so that a lost message costs a
 * moment; what was fetched is held against its hash.
 *
 * Ownership: create/destroy; what the settings point to outlives it. Thread rule: the runner's thread alone; callbacks of
 * the connection answer others on its own.
 *
 *     gang_create(&settings, &gang, &err);
 *     gang_meet(gang, values, count, &err);
 */
#ifndef CYX_WORKER_GANG_H
#define CYX_WORKER_GANG_H

#include "api.h"
#include "identity.h"

struct gang;

struct gang_settings {
    const struct cyx_bus_options *server; /* how NATS is reached */
    struct identity *identity;            /* NULL: NATS has users of its own */
    struct cyx_bus *bus;                  /* the node's, to ask the scheduler */
    const struct api_node *node;
    const struct api_job *job;
    struct api_seat seat;
    int slot;            /* among the agent's: names a file */
    int64_t patience_ms; /* without a word of the others; 0: for ever */
    /* Called while it waits, a few times a second: any failure ends the waiting with it. */
    enum cyx_status (*pulse)(void *ctx);
    void *ctx;
};

/* Waits for the scheduler and NATS, as far as the pulse lets it. */
enum cyx_status gang_create(const struct gang_settings *settings, struct gang **ret_gang,
                            struct cyx_error *err);
void gang_destroy(struct gang *self); /* NULL is fine */

/*
 * Puts the mean of all members' values in the place of ours; all have the same bits. CYX_ERR_TIMEOUT: one was not heard for
 * the patience; CYX_ERR_CORRUPT: one offers values of another model, or not those of its hash.
 */
enum cyx_status gang_meet(struct gang *self, float *values, size_t count, struct cyx_error *err);

/* Of the first member, at its end: waits until the others have the last mean, a few seconds at most. */
void gang_wait_taken(struct gang *self);

#endif
