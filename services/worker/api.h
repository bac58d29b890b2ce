/*
 * The worker's messages: docs/contracts/platform.md sections 2.1, 2.2, 2.6. Thin: builds a request, reads the reply.
 * Any thread.
 */
#ifndef CYX_WORKER_API_H
#define CYX_WORKER_API_H

#include "bus/stream.h"
#include "monitor.h"
#include "sandbox.h"
#include "worker.h"

/* Who this node is and what it offers; texts live as long as the process. */
struct api_node {
    const char *id, *name, *price_per_hour;
    const char *labels, *region; /* "disk=ssd,lab"; "eu/west"; "" for none */
    char boot_id[37];
    int64_t host_memory_bytes;           /* that a job may use */
    const struct sandbox_state *sandbox; /* told with each heartbeat */
    json_t *devices;
};

/* A held job; `token` fences it. */
struct api_job {
    char id[37];
    int64_t token;
};

/* A device of this node is to prove itself. */
struct api_challenge {
    char id[37], backend[8];
    int64_t index;
};

/* A place in a job of several nodes. */
struct api_seat {
    int rank, nodes; /* nodes 1: alone */
    int64_t attempt; /* the first member's token; ours is less by our rank */
};

struct api_accepted {
    json_t *body; /* the caller drops it; the rest points into it */
    const json_t *spec;
    const char *grant;
    const char *checkpoint_sha256; /* NULL: start anew */
    struct api_seat seat;
};

struct api_progress {
    int64_t epoch, epochs, step, total_steps;
    double loss, accuracy, images_per_second;
    const char *checkpoint_sha256; /* NULL: none new */
    uint64_t checkpoint_bytes;
    int64_t checkpoint_step;
};

struct api_finish {
    enum worker_outcome outcome;
    const struct cyx_error *error; /* FAILED */
    json_t *result;                /* COMPLETED; borrowed */
    const char *model_sha256;
    uint64_t model_bytes;
};

/* What the registry says of this node, the caller's reference, in `ret_node`, here and below. */
enum cyx_status api_enrol(struct cyx_bus *bus, const struct api_node *node, json_t **ret_node,
                          struct cyx_error *err);
enum cyx_status api_ask_node(struct cyx_bus *bus, const struct api_node *node, json_t **ret_node,
                             struct cyx_error *err);
/* Nothing new is to come here (`reason` may be NULL), or again. CYX_ERR_DENIED: an operator's drain is not ours to end. */
enum cyx_status api_drain(struct cyx_bus *bus, const struct api_node *node, bool drain,
                          const char *reason, json_t **ret_node, struct cyx_error *err);

enum cyx_status api_heartbeat(struct cyx_bus *bus, const struct api_node *node, uint64_t seq,
                              const struct api_job *jobs, size_t n_jobs,
                              const struct monitor_reading *reading, double images_per_second,
                              struct cyx_error *err);

/* The process ends as it should. */
enum cyx_status api_leave(struct cyx_bus *bus, const struct api_node *node, struct cyx_error *err);

/* {challenge_id, backend, index}. */
enum cyx_status api_read_challenge(const struct cyx_bus_message *message,
                                   struct api_challenge *ret_challenge, struct cyx_error *err);
/* `told` is the child's own object. The reply, {seed, width, depth, rows}, is the caller's. */
enum cyx_status api_prove_ready(struct cyx_bus *bus, const struct api_node *node,
                                const struct api_challenge *challenge, const json_t *told,
                                json_t **ret_task, struct cyx_error *err);
/* `ret_message` says what the registry does not take, "" when it takes all. */
enum cyx_status api_prove_answer(struct cyx_bus *bus, const struct api_node *node,
                                 const struct api_challenge *challenge, const json_t *outputs,
                                 bool *ret_proved, char *ret_message, size_t size,
                                 struct cyx_error *err);
/* Ends it without an answer: step "busy", or "failed" with a message. */
enum cyx_status api_prove(struct cyx_bus *bus, const struct api_node *node,
                          const struct api_challenge *challenge, const char *step,
                          const char *message, struct cyx_error *err);

/* {job_id, token} of an offer or a cancel. */
enum cyx_status api_read_job(const struct cyx_bus_message *message, struct api_job *ret_job,
                             struct cyx_error *err);

enum cyx_status api_accept(struct cyx_bus *bus, const struct api_node *node,
                           const struct api_job *job, struct api_accepted *ret_accepted,
                           struct cyx_error *err);
/* Of a job of several nodes: {nats_token}, with which we may speak with the others; null where NATS has users of its own. */
enum cyx_status api_gang(struct cyx_bus *bus, const struct api_node *node,
                         const struct api_job *job, json_t **ret_reply, struct cyx_error *err);
/* Renews the lease. CYX_ERR_CONFLICT: the job is no longer ours. */
enum cyx_status api_progress(struct cyx_bus *bus, const struct api_node *node,
                             const struct api_job *job, const struct api_progress *progress,
                             bool *ret_cancel, struct cyx_error *err);
enum cyx_status api_finish(struct cyx_bus *bus, const struct api_node *node,
                           const struct api_job *job, const struct api_finish *finish,
                           struct cyx_error *err);

/* Telemetry: a step or an epoch on cyx.job.<id>.metrics.<node>; a line on cyx.job.<id>.log.<node>. Does not wait. */
enum cyx_status api_tell_metrics(struct cyx_bus *bus, const struct api_node *node,
                                 const struct api_job *job, const struct worker_event *event,
                                 struct cyx_error *err);
enum cyx_status api_tell_log(struct cyx_bus *bus, const struct api_node *node,
                             const struct api_job *job, int64_t number, const char *level,
                             const char *message, struct cyx_error *err);

#endif
