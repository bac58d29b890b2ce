/*
 * The scheduler's messages as JSON text: jobs, events, telemetry, and reading what workers and other services
 * send. docs/contracts/platform.md 2.2 names the fields. Specs and results are embedded as the text that they are
 * stored as, so that numbers keep their digits.
 *
 * Writers append to a buffer, whose `failed` is checked once at the end. Pure: any thread.
 */
#ifndef CYX_SCHEDULER_WIRE_H
#define CYX_SCHEDULER_WIRE_H

#include <jansson.h>

#include "quote.h"
#include "store.h"

/* A job. `pending` NULL: null. `transitions` are left out when NULL. */
struct cyx_sched_job_view {
    const struct cyx_sched_job *job;
    const struct cyx_sched_pending *pending;
    const struct cyx_sched_transition *transitions;
    size_t n_transitions;
};
void cyx_sched_write_job(struct cyx_buf *text, const struct cyx_sched_job_view *view);

/* {quote: {…}} of docs/contracts/platform.md; the submission is what it was made for. */
void cyx_sched_write_quote(struct cyx_buf *text, const struct cyx_sched_quote *quote,
                           const struct cyx_sched_submission *submission);

/* {event_id, transition, job_id, account_id, from, to, cause, at, job}; `from` NULL for the first. */
struct cyx_sched_event_view {
    const char *event_id, *from, *to, *cause;
    int64_t transition, at_ms;
    const struct cyx_sched_job *job;
};
void cyx_sched_write_event(struct cyx_buf *text, const struct cyx_sched_event_view *view);

/* {from, to, cause, at}: cyx.job.<id>.state */
void cyx_sched_write_state(struct cyx_buf *text, const struct cyx_sched_event_view *view);

/* {status, pointer, message} */
void cyx_sched_write_error(struct cyx_buf *text, enum cyx_status status, const char *pointer,
                           const char *message);

/* `{"sha256", "bytes", "step"?}` below `key`, absent: `ret_artifact->sha256` "". */
enum cyx_status cyx_sched_artifact_parse(const json_t *object, const char *key, bool with_step,
                                         struct cyx_sched_artifact *ret_artifact,
                                         struct cyx_error *err);

/* Selected fields of a JSON object as compact text for the database: numbers with 9 digits, strings, null. */
enum cyx_status cyx_sched_pick(const json_t *object, const char *const *keys, struct cyx_buf *text,
                               struct cyx_error *err);

/* The texts of `ret_news` live in the event and the arena. {event_id, revision, node} and {event_id, revision, node_id, boot_id, reason} of the registry. */
enum cyx_status cyx_sched_node_online_parse(const json_t *event, struct cyx_arena *arena,
                                            struct cyx_sched_node_news *ret_news,
                                            struct cyx_error *err);
enum cyx_status cyx_sched_node_offline_parse(const json_t *event,
                                             struct cyx_sched_node_news *ret_news,
                                             struct cyx_error *err);

#endif
