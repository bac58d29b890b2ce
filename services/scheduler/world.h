/*
 * What the tests of the running scheduler share: it, a real registry, the bus, the database, and the steps of a job.
 * One world a program; every function belongs to the test's own thread.
 */
#ifndef CYX_SCHEDULER_TEST_WORLD_H
#define CYX_SCHEDULER_TEST_WORLD_H

#include "contract/subjects.h"
#include "fleet.h"
#include "store/db.h"

enum { HEARTBEAT_MS = 800, LEASE_MS = HEARTBEAT_MS * CYX_HEARTBEATS_MISSED };

extern const char *const environment[]; /* of a scheduler */
extern const char *const account, *const stranger, *const sha;
extern struct cyx_bus *bus;
extern struct cyx_db *db;
extern struct watch *events; /* all of CYX_EVT */

/* Group set-up and tear-down; the tear-down fails when a service did not end in good order. */
int start_all(void **state);
int start_proving(void **state); /* nodes take nothing until a benchmark bears them out */
int stop_all(void **state);
/* One number out of the scheduler's database; `parameter` NULL: the statement has none. */
int64_t number(const char *sql, const char *parameter);
/* An event of another service; takes `event` over and gives it an id. */
void publish(const char *subject, json_t *event);
/* What payments publishes once the budget is held. */
void hold(const char *job_id);
struct worker *new_worker(const char *name, bool works_by_itself);
/* Takes a node out for good, at once, so that the next test starts with none. */
void retire(struct worker *worker);
/* docs/examples/mnist-mlp.json under another name, and what is made of it. */
json_t *spec(const char *name);
json_t *submit_json(json_t *body_spec, const char *key);
void submit(json_t *body_spec, char ret_id[CYX_ID_BYTES]);
void submit_funded(const char *name, char ret_id[CYX_ID_BYTES]);
json_t *target(const char *job_id);
json_t *get_job(const char *job_id);
/* Each fails the test when it is not so. */
void expect_text(const json_t *object, const char *key, const char *expected);
void expect_state(const char *job_id, const char *state);
void expect_pending(const char *job_id, const char *code);
void expect_pending_for(const char *job_id, const char *code, const char *words);
/* Waits for the nth transition of a job to a state by this cause. */
void wait_event(const char *job_id, int nth, const char *to, const char *cause);
/* What workers say. */
struct claim accept_offer(struct worker *worker, const char *job_id);
json_t *progress_json(struct worker *worker, const struct claim *claim, int step);
void finish(struct worker *worker, const struct claim *claim, const char *outcome,
            const char *error);
void expect_outcome(const char *job_id, const char *outcome);

#endif
