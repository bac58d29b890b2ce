/*
 * The registry's messages as JSON: nodes, enrolments, heartbeats, events. docs/contracts/platform.md 2.1 names
 * the fields. Ownership: returned JSON is the caller's. Pure: any thread.
 *
 *     json_t *json = cyx_registry_node_json(&node);
 */
#ifndef CYX_REGISTRY_WIRE_H
#define CYX_REGISTRY_WIRE_H

#include <jansson.h>

#include "proof.h"
#include "registry.h"

/* {node_id, name, …} into a node, checked. */
enum cyx_status cyx_registry_enrolment_parse(const json_t *message,
                                             struct cyx_registry_node *ret_node,
                                             struct cyx_error *err);

/* {boot_id, seq, jobs, cpu_percent, memory_used_bytes, images_per_second}. */
enum cyx_status cyx_registry_heartbeat_parse(const json_t *message, const char **ret_boot_id,
                                             struct cyx_registry_load *ret_load,
                                             struct cyx_error *err);

/*
 * The array of devices both ways; reading gives CYX_ERR_INVALID with the pointer to what is wrong. What is `stored`
 * holds more of their proofs than others may know, and only from there are they read.
 */
json_t *cyx_registry_devices_json(const struct cyx_registry_node *node, bool stored);
void cyx_registry_proofs_parse(const json_t *stored_array, struct cyx_registry_node *node);
enum cyx_status cyx_registry_devices_parse(const json_t *array, struct cyx_registry_node *node,
                                           struct cyx_error *err);

/* A node as replies and events tell of it; NULL when memory ran out. */
json_t *cyx_registry_node_json(const struct cyx_registry_node *node);

/* Payloads of cyx.evt.node.{online,offline}. */
json_t *cyx_registry_online_json(const char *event_id, const struct cyx_registry_node *node);
json_t *cyx_registry_offline_json(const char *event_id, const struct cyx_registry_node *node,
                                  const char *reason);

/* Payload of cyx.evt.node.silent. */
json_t *cyx_registry_silent_json(const char *event_id, const struct cyx_registry_node *node,
                                 const struct cyx_registry_why *why);

/* A load as text for the cache, and back; false for a text that is none. */
json_t *cyx_registry_load_json(const char *boot_id, const struct cyx_registry_load *load);
bool cyx_registry_load_parse(const json_t *json, const char *boot_id,
                             struct cyx_registry_load *ret_load);

/*
 * What a node says to cyx.svc.registry.prove.<node>: {challenge_id, step: "ready"|"answer"|"busy"|"failed"}, with
 * `told` when it is ready, `outputs` (float32, little-endian, base64url) when it answers, `message` when it failed.
 */
enum cyx_registry_step { CYX_STEP_READY, CYX_STEP_ANSWER, CYX_STEP_BUSY, CYX_STEP_FAILED };
struct cyx_registry_said {
    const char *challenge_id;
    enum cyx_registry_step step;
    struct cyx_proof_told told;
    const char *outputs, *message; /* belong to the message */
};
enum cyx_status cyx_registry_said_parse(const json_t *message, struct cyx_registry_said *ret_said,
                                        struct cyx_error *err);
json_t *cyx_registry_told_json(const struct cyx_proof_told *told);
enum cyx_status cyx_registry_told_parse(const json_t *json, struct cyx_proof_told *ret_told,
                                        struct cyx_error *err);
/* CYX_ERR_INVALID unless there are exactly `count`. */
enum cyx_status cyx_registry_outputs_read(const char *text, float *ret_outputs, size_t count,
                                          struct cyx_error *err);

#endif
