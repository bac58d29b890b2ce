/*
 * A small fleet for tests of services: real processes, real servers (tests/support/servers gives them by
 * environment), and workers that speak the real protocol but train nothing.
 *
 * Everything waits on an event with a deadline and fails the test by cmocka when it passes, so these functions
 * belong to the test's own thread; what other threads do is inside.
 *
 *     struct service *scheduler = service_start("cyxwiz-scheduler", env);
 *     struct worker *worker = worker_create(bus, worker_options);
 *     struct claim offer = worker_wait_offer(worker, 5000);
 *     json_t *reply = ask(bus, CYX_SVC_SCHEDULER_ACCEPT, claim_json(worker, &offer), CYX_OK);
 */
#ifndef CYX_TESTS_FLEET_H
#define CYX_TESTS_FLEET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/id.h"
#include "bus/bus.h"
#include "bus/stream.h"
#include "contract/subjects.h"

enum { WAIT_MS = 30000 };

/* A service's process. `env`: "NAME=value" besides our own, NULL at the end. Returns once it says READY. */
struct service;
struct service *service_start(const char *binary, const char *const *env);
/* Sends the signal, waits for the end, frees; gives waitpid's status. NULL is fine. */
int service_stop(struct service *self, int signal_number);

struct cyx_bus *fleet_bus(const char *name);

/* What a node asks goes to the node's own subject, which ends with the id in the body; any other as it is. */
void own_subject(const char *subject, const json_t *body, char ret_subject[CYX_SUBJECT_BYTES]);
/* A request with `body` (taken over); fails the test unless it answers `expected`. NULL when it failed as told. */
json_t *ask(struct cyx_bus *bus, const char *subject, json_t *body, enum cyx_status expected);
/* The same, and the error that came back. */
json_t *ask_error(struct cyx_bus *bus, const char *subject, json_t *body, enum cyx_status expected,
                  struct cyx_error *ret_error);

/* Every message of a stream's subject from the beginning, as it comes. */
struct watch;
struct watch *watch_create(struct cyx_bus *bus, const char *stream, const char *subject);
void watch_destroy(struct watch *self);
/*
 * Waits for the `nth` (from 1) message whose fields have these values: pairs of key and value, NULL at the end. The
 * result is borrowed. `watch_count` does not wait.
 */
const json_t *watch_wait(struct watch *self, int nth, int64_t wait_ms, const char *const *fields);
int watch_count(struct watch *self, const char *const *fields);
#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct claim {
    char job_id[CYX_ID_BYTES];
    int64_t token;
};

struct worker_options {
    const char *name;
    const char *price;          /* "1 CYX" when NULL */
    int64_t memory_bytes;       /* of its CPU device; 8 GiB when 0 */
    int64_t gpu_memory_bytes;   /* of a hardware Vulkan device; none when 0 */
    const char *label, *region; /* NULL: none */
    int64_t heartbeat_ms;
    bool works_by_itself; /* takes every offer and finishes it */
    /* A challenge of the registry's, on a thread of the bus; NULL: it never answers. */
    void (*on_challenge)(struct cyx_bus *bus, const char *node_id, const json_t *challenge);
};
struct worker;
/* Enrols, and beats from then on. */
struct worker *worker_create(const struct worker_options *options);
/* What the worker enrols with; for tests that change it. */
json_t *worker_enrolment(const struct worker *self);
/* Stops beating and listening; the node stays as the registry and the scheduler know it. */
void worker_destroy(struct worker *self);
const char *worker_id(const struct worker *self);
/* Enrols again under a new boot id, as a process that was restarted. */
void worker_restart(struct worker *self);
/* Heartbeats on or off. */
void worker_beat(struct worker *self, bool on);
/* What the heartbeats say that it holds; token 0: nothing. */
void worker_holds(struct worker *self, const struct claim *claim);
/* The next offer (or cancel) that has come and was not waited for yet; the same one told again is passed over. */
struct claim worker_wait_offer(struct worker *self, int64_t wait_ms);
struct claim worker_wait_cancel(struct worker *self, int64_t wait_ms);
int worker_finished(struct worker *self); /* jobs that it finished by itself */
/* Messages of a worker. */
json_t *claim_json(const struct worker *self, const struct claim *claim);
json_t *finish_json(const struct worker *self, const struct claim *claim, const char *outcome,
                    const char *error_status);

#endif
