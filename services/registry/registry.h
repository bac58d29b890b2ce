/*
 * The registry's rules: what an enrolment must say, who is online, what the last heartbeats told.
 * No SQL, no HTTP, no NATS, no clock: callers hand in the time.
 *
 * Every replica hears every heartbeat and keeps the newest of each node in a presence table;
 * PostgreSQL keeps it at most every 10 s. A node is offline when neither has heard of it within its
 * deadline, which follows how regularly it beats (contract/heartbeat.h), and only a replica that has itself listened for so long may say so (one that was cut
 * off has simply not heard).
 *
 * Units: ms and ns as named, money in base units, memory in bytes. Ownership: cyx_registry_node is
 * a plain value; a presence table is the caller's from cyx_presence_create() to
 * cyx_presence_destroy(). Threads: values any; a table has a lock of its own.
 *
 *     status = cyx_registry_check(&node, &err);
 *     bool news = cyx_registry_enrol_is_news(existing, &node);
 */
#ifndef CYX_REGISTRY_H
#define CYX_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/status.h"
#include "contract/heartbeat.h"

enum {
    CYX_REGISTRY_DEVICES_LIMIT = 32,
    CYX_REGISTRY_NAME_BYTES = 101,
    CYX_REGISTRY_VERSION_BYTES = 65,
    CYX_REGISTRY_LABELS_LIMIT = 16,
    CYX_REGISTRY_REGION_BYTES = 65,
    CYX_REGISTRY_LABELS_BYTES = CYX_REGISTRY_LABELS_LIMIT * CYX_REGISTRY_REGION_BYTES + 1,
    CYX_REGISTRY_SYSTEM_BYTES = 2048,
    CYX_REGISTRY_REASON_BYTES = 64,
    CYX_REGISTRY_PROOF_MESSAGE = 200,
    CYX_REGISTRY_STORE_MS = 10000, /* PostgreSQL hears of a node's heartbeats at most so often */
};

enum cyx_registry_status { CYX_NODE_ONLINE, CYX_NODE_OFFLINE, CYX_NODE_DRAINING };
const char *cyx_registry_status_name(enum cyx_registry_status status);
bool cyx_registry_status_parse(const char *name, enum cyx_registry_status *ret_status);

enum cyx_registry_proof_state { CYX_UNPROVED, CYX_PROVED, CYX_REFUTED };

/* What the benchmarks of a device gave (proof.h). */
struct cyx_registry_proof {
    enum cyx_registry_proof_state state;
    int64_t at_ms;           /* of the last, 0: none */
    int64_t due_ms;          /* of the next; nobody outside is told */
    int64_t failures;        /* in a row */
    double flops_per_second; /* that the time of its answer bears out */
    /* what the node's own clock says: */
    double products_flops_per_second, convolutions_flops_per_second, bandwidth_bytes_per_second;
    int64_t memory_bytes, memory_tried_bytes; /* held together, and how far it was tried */
    char code[24], message[CYX_REGISTRY_PROOF_MESSAGE]; /* REFUTED: why */
};

struct cyx_registry_device {
    int64_t index;
    char backend[8]; /* "cpu" or "vulkan" */
    char name[CYX_REGISTRY_NAME_BYTES];
    int64_t memory_bytes;
    bool is_software;
    int64_t threads;
    struct cyx_registry_proof proof; /* no part of what an enrolment says */
};

/* What a heartbeat tells. */
struct cyx_registry_load {
    int64_t running_jobs;
    double cpu_percent;
    int64_t memory_used_bytes;
    double images_per_second;
    char system[CYX_REGISTRY_SYSTEM_BYTES]; /* of system.h, "" for nothing; not in PostgreSQL */
};

struct cyx_registry_node {
    char id[CYX_ID_BYTES], boot_id[CYX_ID_BYTES];
    char name[CYX_REGISTRY_NAME_BYTES], version[CYX_REGISTRY_VERSION_BYTES];
    enum cyx_registry_status status;
    struct cyx_registry_device devices[CYX_REGISTRY_DEVICES_LIMIT];
    size_t n_devices;
    int64_t host_memory_bytes, cpus;
    int64_t price_per_hour_base_units;
    /* What its operator says of it: labels joined by commas, and where it stands; "" for nothing. */
    char labels[CYX_REGISTRY_LABELS_BYTES], region[CYX_REGISTRY_REGION_BYTES];
    int64_t revision; /* rises with every event that tells of this node */
    /* "": open to new jobs; else "draining", "maintenance", "proving" or "unproven" */
    char closed[16];
    int64_t enrolled_at_ms, last_heartbeat_at_ms;
    struct cyx_registry_load load;
};

/* Whether an enrolment's description makes sense; errors carry the pointer to the field. */
enum cyx_status cyx_registry_check(const struct cyx_registry_node *node, struct cyx_error *err);

/*
 * Whether others must hear of an enrolment: a new node, one that was not online, a new boot id, or
 * a changed description. `before` is NULL for a node that was never enrolled.
 */
bool cyx_registry_enrol_is_news(const struct cyx_registry_node *before,
                                const struct cyx_registry_node *after);

/* Whether two describe the same device, proofs apart. */
bool cyx_registry_same_device(const struct cyx_registry_device *a,
                              const struct cyx_registry_device *b);

/*
 * What is wrong with a node's version beside the platform's, as a sentence; "" when nothing is. Versions are numbers
 * joined by dots; what stands behind them ("-rc1") is not looked at, and one that begins with no number is nobody's.
 */
void cyx_registry_outdated(const char *version, const char *platform, char ret_text[160]);

enum cyx_registry_verdict { CYX_VERDICT_KEEP, CYX_VERDICT_ONLINE, CYX_VERDICT_OFFLINE };

/* What is known of one node when it is judged; ages in ms, negative for never. */
struct cyx_registry_evidence {
    enum cyx_registry_status status; /* as PostgreSQL has it */
    int64_t stored_age_ms;           /* of the last heartbeat that PostgreSQL knows */
    int64_t heard_age_ms;            /* of the last one heard here, from the enrolled boot id */
    int64_t listening_ms;            /* how long this replica has heard heartbeats without a gap */
};

enum cyx_registry_verdict cyx_registry_judge(const struct cyx_registry_evidence *evidence,
                                             int64_t lost_ms);

/* What is known of a node that went silent, for the operator who wonders. */
struct cyx_registry_silence {
    bool watches_connections; /* NATS tells of connections that end */
    const char *disconnected; /* NATS's reason, "" when it is still connected as far as is known */
    int64_t heard_age_ms, deadline_ms;
    int64_t memory_used_bytes, host_memory_bytes; /* as the last heartbeat said */
};
struct cyx_registry_why {
    char code
        [32]; /* connection-closed, unreachable, connection-broken, refused, hangs, no-heartbeats */
    char message[320];
};
void cyx_registry_explain(const struct cyx_registry_silence *silence,
                          struct cyx_registry_why *ret_why);

struct cyx_presence;

/* `period_ms`: the heartbeat agreed upon. NULL when memory ran out. */
struct cyx_presence *cyx_presence_create(int64_t period_ms);
void cyx_presence_destroy(struct cyx_presence *self);

/*
 * Notes a heartbeat. One from a boot id other than the enrolled one (where that is known here) is
 * ignored: the process that sent it has been replaced. `ret_store` becomes true when PostgreSQL is
 * to hear of it. CYX_ERR_CONFLICT when ignored, CYX_ERR_NO_MEMORY.
 */
enum cyx_status cyx_presence_beat(struct cyx_presence *self, const char *node_id,
                                  const char *boot_id, const struct cyx_registry_load *load,
                                  int64_t now_ns, bool *ret_store);

/* How long heartbeats are apart, in the table's periods; `ret_gaps` may be NULL. */
int64_t cyx_presence_deadline_ms(struct cyx_presence *self, const char *node_id,
                                 struct cyx_heartbeat_gaps *ret_gaps);

/* That boot of the node has said good-bye: no heartbeat of it counts any more, nor one that comes behind it. */
void cyx_presence_left(struct cyx_presence *self, const char *node_id, const char *boot_id);

/* NATS saw the node's connection end, for that reason; forgotten with its next heartbeat. */
void cyx_presence_disconnected(struct cyx_presence *self, const char *node_id, const char *reason,
                               int64_t now_ns);
/* The reason, "" when it is connected as far as is known. */
void cyx_presence_disconnect_reason(struct cyx_presence *self, const char *node_id,
                                    char ret_reason[CYX_REGISTRY_REASON_BYTES]);

/* Tells the table which boot id is the enrolled one. */
enum cyx_status cyx_presence_enrolled(struct cyx_presence *self, const char *node_id,
                                      const char *boot_id);

/* Age in ms of the newest heartbeat of this node and boot, -1 for none; `ret_load` may be NULL. */
int64_t cyx_presence_age_ms(struct cyx_presence *self, const char *node_id, const char *boot_id,
                            int64_t now_ns, struct cyx_registry_load *ret_load);

/* Forgets nodes not heard for `older_than_ms`; returns how many are left. */
size_t cyx_presence_sweep(struct cyx_presence *self, int64_t older_than_ms, int64_t now_ns);

#endif
