/*
 * Events and telemetry that are kept: JetStream streams, publishing with a message id, durable
 * consumers and live tails. Goes with bus/bus.h, whose rules on threads, ownership and errors hold
 * here too.
 *
 * Delivery is at least once: a publish repeated with the same message id within the stream's window
 * is stored once, and a consumer may still see a message twice (a lost ack), so handlers are
 * idempotent; in a service that keeps state, cyx_inbox_seen() of store/outbox.h does it within the
 * transaction.
 *
 *     cyx_bus_ensure_stream(bus, &cyx_bus_stream_events, &err);
 *     cyx_bus_publish_event(bus, "cyx.evt.job.queued", event_id, &meta, json, length, NULL, &err);
 *
 *     struct cyx_bus_consumer consumer = {.stream = "CYX_EVT",
 *                                         .durable = "payments-jobs",
 *                                         .subject = "cyx.evt.job.*",
 *                                         .handler = on_job_event,
 *                                         .ctx = app};
 *     cyx_bus_consume(bus, &consumer, &err);
 */
#ifndef CYX_BUS_STREAM_H
#define CYX_BUS_STREAM_H

#include "bus/bus.h"

enum { CYX_BUS_STREAM_SUBJECTS = 8 };

/* What a stream should be. Zero means: no limit, or NATS's default (dedup window 2 minutes). */
struct cyx_bus_stream {
    const char *name;                              /* A-Z a-z 0-9 _ - */
    const char *subjects[CYX_BUS_STREAM_SUBJECTS]; /* up to the first NULL */
    int64_t max_age_ns;
    int64_t max_bytes;
    int64_t max_messages_per_subject;
    int64_t dedup_window_ns; /* at most max_age_ns */
};

/* The product's two streams as docs/contracts/platform.md has them: CYX_EVT (cyx.evt.>) and CYX_JOB
 * (cyx.job.>). */
extern const struct cyx_bus_stream cyx_bus_stream_events, cyx_bus_stream_jobs;

/* Creates the stream on file storage, or updates one that differs. Any number of processes may do
 * it at once. */
enum cyx_status cyx_bus_ensure_stream(struct cyx_bus *self, const struct cyx_bus_stream *stream,
                                      struct cyx_error *err);

/*
 * Publishes and waits for the stream's acknowledgement: after CYX_OK the message is on disk.
 * `message_id` (may be NULL) makes a repetition harmless. `ret_sequence` may be NULL.
 * CYX_ERR_UNAVAILABLE when no stream takes the subject or no server is there.
 */
enum cyx_status cyx_bus_publish_event(struct cyx_bus *self, const char *subject,
                                      const char *message_id, const struct cyx_bus_meta *meta,
                                      const char *json, size_t length, uint64_t *ret_sequence,
                                      struct cyx_error *err);

/* How an asynchronous publish ended; `sequence` is 0 on failure. Runs on the bus's thread: be
 * quick. */
typedef void (*cyx_bus_published)(void *ctx, enum cyx_status status, uint64_t sequence);

/*
 * Publishes without waiting. `done` (may be NULL) is called exactly once for each CYX_OK, also when
 * no acknowledgement comes within 10 s (CYX_ERR_TIMEOUT) or the bus closes (CYX_ERR_CANCELLED). At
 * most 4,096 wait for their acknowledgement: over that, or while the server is away,
 * CYX_ERR_UNAVAILABLE at once.
 */
enum cyx_status cyx_bus_publish_async(struct cyx_bus *self, const char *subject,
                                      const char *message_id, const struct cyx_bus_meta *meta,
                                      const char *json, size_t length, cyx_bus_published done,
                                      void *ctx, struct cyx_error *err);

/* One of several events. */
struct cyx_bus_event {
    const char *subject, *message_id;
    struct cyx_bus_meta meta;
    const char *json;
    size_t length;
    enum cyx_status status; /* what came of it */
};

/*
 * Publishes all in their order and waits until each is stored or failed: one journey for all of them. CYX_OK when all
 * are stored; else `err` tells of the first that is not, while later ones may be (each event's status tells).
 */
enum cyx_status cyx_bus_publish_events(struct cyx_bus *self, struct cyx_bus_event *events,
                                       size_t count, struct cyx_error *err);

/* Waits until no asynchronous publish is unacknowledged; CYX_ERR_TIMEOUT after `timeout_ms`. */
enum cyx_status cyx_bus_publish_wait(struct cyx_bus *self, int64_t timeout_ms);

/*
 * Handles one message of a durable consumer. CYX_OK acknowledges it. CYX_ERR_INVALID and
 * CYX_ERR_CORRUPT mean that it will never do: it is given up at once. Any other status asks for it
 * again later.
 */
typedef enum cyx_status (*cyx_bus_consume_handler)(void *ctx, const struct cyx_bus_message *message,
                                                   struct cyx_error *err);

/*
 * A durable consumer: it remembers its place on the server, and processes that consume the same
 * `durable` share the messages. A message that is given up (see above, or after `max_deliver`) is
 * logged as an error with its stream, sequence, subject and id, and stays in the stream.
 */
struct cyx_bus_consumer {
    const char *stream, *durable; /* durable: A-Z a-z 0-9 _ - */
    const char *subject;          /* filter; NULL for all of the stream */
    cyx_bus_consume_handler handler;
    void *ctx;
    int64_t ack_wait_ns;    /* a handler that takes longer sees its message again; 0 means 30 s */
    int64_t retry_delay_ns; /* before the second try, doubled for each further, at most 60 s; 0
                               means 1 s */
    int max_deliver;        /* 0 means 10 */
    int batch;              /* messages fetched at once; 0 means 32 */
};

/* Starts a thread that handles messages one after another until drain. Survives the server's
 * restart. */
enum cyx_status cyx_bus_consume(struct cyx_bus *self, const struct cyx_bus_consumer *consumer,
                                struct cyx_error *err);

/*
 * Reads what a stream holds now of `subject` (wildcards allowed) from `start_sequence` on (0 as 1),
 * in order, at most `limit` messages, calling back on this thread; then returns. CYX_ERR_TIMEOUT
 * when the server stops answering.
 */
enum cyx_status cyx_bus_read(struct cyx_bus *self, const char *stream, const char *subject,
                             uint64_t start_sequence, size_t limit, cyx_bus_callback callback,
                             void *ctx, struct cyx_error *err);

struct cyx_bus_tail;

/*
 * Follows a stream live and in order without leaving a trace on the server: every message of
 * `subject` (wildcards allowed) from `start_sequence` on (0: only what comes from now on), then new
 * ones as they come. Restarts by itself behind a lost connection, a restarted server or a missed
 * message, so the callback sees each message once and in order; `gap` is set on the first one
 * behind messages that the stream's limits had already dropped. One thread a tail: a gateway keeps
 * one a watched job, not one a viewer.
 */
enum cyx_status cyx_bus_tail(struct cyx_bus *self, const char *stream, const char *subject,
                             uint64_t start_sequence, cyx_bus_callback callback, void *ctx,
                             struct cyx_bus_tail **ret_tail, struct cyx_error *err);

/* Ends the tail; when it returns the callback runs no more. Not from within the callback. NULL is
 * fine. */
void cyx_bus_tail_stop(struct cyx_bus_tail *tail);

#endif
