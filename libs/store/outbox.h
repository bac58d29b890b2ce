/*
 * The outbox: a state change and the event that tells of it are written in one transaction, and a
 * relay thread publishes the event afterwards, at least once, with its id as message id so that the
 * stream keeps it once. And the inbox: a consumer notes in its own transaction which messages it
 * has dealt with.
 *
 * Every service that publishes or consumes has this in its first migration:
 *
 *     create table outbox (
 *         id          bigint generated always as identity primary key,
 *         subject     text not null check (length(subject) between 1 and 255),
 *         message_id  text not null unique check (length(message_id) between 1 and 128),
 *         request_id  text,
 *         traceparent text,
 *         payload     text not null check (octet_length(payload) <= 1000000),
 *         created_at  timestamptz not null default now()
 *     );
 *     create table inbox (
 *         consumer   text not null,
 *         message_id text not null,
 *         seen_at    timestamptz not null default now(),
 *         primary key (consumer, message_id)
 *     );
 *     create index inbox_seen_at on inbox (seen_at);
 *
 * Rows leave the outbox once the stream has acknowledged them; rows of the inbox after 7 days.
 * An event that was published but not yet deleted when its process died is published again at the
 * next start; the stream drops it when that is within its dedup window, else consumers see it twice.
 * Order: one relay publishes in the order of `id`, but one that failed comes after those that did not. With several replicas the order between events
 * of different transactions is not kept (each replica takes rows that the others hold no lock on),
 * so a consumer compares versions or states within the payload rather than arrival.
 *
 * Threads: cyx_outbox_add and cyx_inbox_seen as their connection; the relay's functions from any
 * thread.
 */
#ifndef CYX_STORE_OUTBOX_H
#define CYX_STORE_OUTBOX_H

#include "store/db.h"

/* An event on its way out. `message_id` makes it unique for ever: "job-<id>-<transition number>",
 * or a UUID. */
struct cyx_outbox_event {
    const char *subject, *message_id;
    const char *request_id, *traceparent; /* may be NULL */
    const char *json;
};

/* Adds it within the caller's transaction; CYX_ERR_CONFLICT when the message id is waiting there
 * already. */
enum cyx_status cyx_outbox_add_event(struct cyx_db_conn *conn, const struct cyx_outbox_event *event,
                                     struct cyx_error *err);

/* The same for several, in their order, by one statement. */
enum cyx_status cyx_outbox_add_events(struct cyx_db_conn *conn,
                                      const struct cyx_outbox_event *events, size_t count,
                                      struct cyx_error *err);

/* One without a trace. */
enum cyx_status cyx_outbox_add(struct cyx_db_conn *conn, const char *subject,
                               const char *message_id, const char *json, struct cyx_error *err);

/*
 * Notes that `consumer` deals with `message_id` in this transaction. `ret_seen` becomes true when
 * it had done so before: then do nothing and return CYX_OK, so that the message is acknowledged.
 */
enum cyx_status cyx_inbox_seen(struct cyx_db_conn *conn, const char *consumer,
                               const char *message_id, bool *ret_seen, struct cyx_error *err);

struct cyx_outbox_relay;

/*
 * Publishes events in their order and waits until each is stored or failed; `ret_stored` tells of each. CYX_OK when all
 * are, else a failure after which the others are tried again later.
 */
typedef enum cyx_status (*cyx_outbox_publish)(void *ctx, const struct cyx_outbox_event *events,
                                              size_t count, bool *ret_stored,
                                              struct cyx_error *err);

/*
 * Starts the relay's thread on `db`, of which it uses one connection while it works. It wakes at
 * cyx_outbox_wake(), and every second by itself as a safety net; after a failure it pauses up to 5
 * s. An event that the bus refuses is logged as a warning once a minute, and holds back those behind its batch of
 * 64.
 */
enum cyx_status cyx_outbox_relay_start(struct cyx_db *db, cyx_outbox_publish publish, void *ctx,
                                       struct cyx_outbox_relay **ret_relay, struct cyx_error *err);

/* Call right after a commit that added events. Cheap; from any thread; NULL is fine. */
void cyx_outbox_wake(struct cyx_outbox_relay *relay);

/* Events published since the start; for metrics. */
uint64_t cyx_outbox_relay_published(struct cyx_outbox_relay *relay);

/* Publishes what still waits, for at most `deadline_ms`, then stops and frees. NULL is fine. */
void cyx_outbox_relay_stop(struct cyx_outbox_relay *relay, int64_t deadline_ms);

#endif
