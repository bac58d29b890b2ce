/*
 * What a benchmark says of a device: whether it bears out what the node claims, and when it is asked again. Pure rules,
 * as registry.h: callers hand in the time and the random numbers.
 *
 * A node's devices are challenged one after the other, real ones before software. Until all real ones are proved the node
 * takes nothing ("proving"); one that is refuted closes it ("unproven") until a later challenge goes well. A proof holds
 * for what was claimed: another name, memory or number of threads is another device.
 *
 * A wrong product or missing memory refutes at once. No answer, or one too late, may be a moment's trouble: what was
 * proved before is asked once more.
 *
 * Units: ms of Unix time, bytes, FLOP/s. Threads: any.
 */
#ifndef CYX_REGISTRY_PROOF_H
#define CYX_REGISTRY_PROOF_H

#include "contract/proof.h"
#include "registry.h"

enum {
    CYX_PROOF_LATENESS =
        4, /* an answer may take so many times what the node's own speed makes of it, */
    CYX_PROOF_GRACE_MS = 1000, /* and this, for the way and for making and sending the matrices */
    CYX_PROOF_STALE = 8,       /* a proof so many intervals old, always put off, holds no more */
};

struct cyx_proof_settings {
    bool required; /* CYXWIZ_PROOF */
    int64_t interval_ms, retry_ms, deadline_ms;
};

/* What a node says of its device before it knows the seed. */
struct cyx_proof_told {
    double products_flops_per_second, convolutions_flops_per_second, bandwidth_bytes_per_second;
    int64_t memory_bytes, memory_tried_bytes;
};

/* How a challenge ended. */
enum cyx_proof_end { CYX_PROOF_ANSWERED, CYX_PROOF_BUSY, CYX_PROOF_NO_ANSWER, CYX_PROOF_FAILED };
struct cyx_proof_outcome {
    enum cyx_proof_end end;
    struct cyx_proof_told told; /* ANSWERED */
    struct cyx_proof_task task;
    int64_t elapsed_ms; /* from the seed to the answer, by our clock */
    const char *wrong;  /* what is wrong with the product; NULL: nothing */
    const char *reason; /* FAILED: what the node says */
    const char
        *outdated; /* of the node, for NO_ANSWER: it may not know what it is asked; NULL or "" */
};

/* When it is asked next: in the mean after `interval_ms`, at no time more likely than another (`random` in [0, 1)). */
int64_t cyx_proof_next_ms(const struct cyx_proof_settings *settings, double random, int64_t now_ms);

/* Writes the outcome into device->proof. */
void cyx_proof_judge(const struct cyx_proof_settings *settings,
                     const struct cyx_proof_outcome *outcome, double random, int64_t now_ms,
                     struct cyx_registry_device *device);

/* Proofs of the same devices go over; what is new is due at once. `before` NULL: all is new. */
void cyx_proof_carry(const struct cyx_registry_node *before, int64_t now_ms,
                     struct cyx_registry_node *after);

/* The device to challenge now, NULL when none is due. */
const struct cyx_registry_device *cyx_proof_due(const struct cyx_registry_node *node,
                                                int64_t now_ms);
/* When the next one is. */
int64_t cyx_proof_due_ms(const struct cyx_registry_node *node);

/* "", "proving" or "unproven"; why, where it is not "". */
const char *cyx_proof_closes(const struct cyx_registry_node *node,
                             struct cyx_registry_why *ret_why);

#endif
