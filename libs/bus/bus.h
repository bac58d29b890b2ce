/*
 * The message bus: NATS for requests and plain messages. Events and streams stand in bus/stream.h.
 *
 * One connection a process. It reconnects for ever; while it is away, requests fail with
 * CYX_ERR_UNAVAILABLE and subscriptions come back by themselves. Payloads are JSON text of at most
 * CYX_BUS_PAYLOAD_BYTES; larger things travel over HTTP. Every message carries a request id and a
 * W3C traceparent: given ones are passed on, missing ones are made.
 *
 * Ownership: the bus is the caller's from cyx_bus_connect() to cyx_bus_destroy(). What a callback
 * is handed (subject, data, meta) lives until it returns. Strings given to functions are copied.
 *
 * Threads: every function may be called from any thread, callbacks included, except cyx_bus_drain()
 * and cyx_bus_destroy(), which belong to the thread that connected and must not run inside a
 * callback. Request handlers (cyx_bus_serve) run on the bus's worker threads, several at once: what
 * they share needs a lock. Callbacks of cyx_bus_subscribe() run on a thread of their own, one
 * message at a time and in order. No callback runs on the thread that reads the socket, so
 * callbacks may block (SQL, requests).
 *
 * Errors: CYX_ERR_UNAVAILABLE no connection, or nobody answers the subject; CYX_ERR_TIMEOUT no
 * answer in time; CYX_ERR_DENIED the server refused the credential; CYX_ERR_TOO_LARGE over the
 * payload limit; for a request any status that the other side answered, with its pointer and
 * message. A subject that the credential may not touch is refused by the server afterwards: a
 * request then ends by its time-out, and the bus logs a warning that names the subject.
 *
 *     static enum cyx_status get_job(void *ctx, const struct cyx_bus_message *request,
 *                                    struct cyx_buf *reply, struct cyx_error *err)
 *     {
 *         struct app *app = ctx;
 *         ...
 *         return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/job_id", "no job %s", id);
 *     }
 *
 *     struct cyx_bus_options options = {.url = "nats://127.0.0.1:4222", .name = "scheduler"};
 *     cyx_bus_connect(&options, &bus, &err);
 *     cyx_bus_serve(bus, "cyx.svc.scheduler.get_job", "scheduler", get_job, app, &err);
 *     ...
 *     CYX_CLEANUP_BUF struct cyx_buf reply = {0};
 *     status = cyx_bus_request(bus, "cyx.svc.scheduler.get_job", &meta, json, strlen(json), 2000,
 *                              &reply, &err);
 */
#ifndef CYX_BUS_BUS_H
#define CYX_BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

enum { CYX_BUS_PAYLOAD_BYTES = 1024 * 1024 - 4096 }; /* NATS allows 1 MiB, headers included */

struct cyx_bus;

struct cyx_bus_options {
    const char *url;  /* "nats://host:port" or "tls://host:port"; several separated by commas */
    const char *name; /* shown by the server; the service or node */
    const char *user, *password; /* or a credentials file, or a URL that holds them, or neither */
    const char *creds_file;
    const char *ca_file, *cert_file, *key_file; /* TLS: own authority; client certificate */
    const char *inbox_prefix; /* where replies come to, default "_INBOX"; a node's credential may
                                 demand its own */
    unsigned workers;         /* threads for request handlers; 0 means 4 */
    size_t queue_limit; /* requests waiting for a worker before callers get "busy"; 0 means 1024 */
    int64_t wait_ms;    /* how long connect waits for a server to appear; 0 means 10,000 */
    /* Called behind each request answered, on the worker's thread, for metrics; may be NULL. `subject` is as given to
     * cyx_bus_serve(). */
    void (*observe)(void *ctx, const char *subject, enum cyx_status status, double seconds);
    void *observe_ctx;
    /* Called once when the connection is lost for good, which takes a server that refuses the credential
     * when it comes back; the process should end and be started anew. On a thread of the bus; may be NULL. */
    void (*lost)(void *ctx);
    void *lost_ctx;
};

/*
 * Who asks, on whose behalf: the headers Cyx-Request-Id, traceparent and Cyx-Account. Members may
 * be NULL; in an outgoing message a NULL `request_id` or `traceparent` is made. Pass an incoming
 * message's meta on to whatever is sent because of it.
 */
struct cyx_bus_meta {
    const char *request_id;
    const char *traceparent;
    const char *account; /* the account id that the gateway authenticated */
};

struct cyx_bus_message {
    const char *subject;
    const char *data; /* NUL-terminated */
    size_t length;
    struct cyx_bus_meta meta;
    /* Of messages out of a stream (bus/stream.h), else 0, NULL or false: */
    const char *message_id; /* "" when it was published without one */
    uint64_t sequence;      /* in the stream, from 1 */
    uint64_t deliveries;    /* 1 the first time */
    uint64_t pending;       /* messages of this consumer behind this one; 0 when caught up */
    int64_t time_unix_ms;   /* when the stream stored it */
    bool gap; /* tail alone: messages before this one were dropped by the stream's limits */
};

/*
 * Answers a request: CYX_OK with JSON in `reply`, or a failure with its reason in `err`, which
 * travels as
 * {"error":{"status":"not-found","pointer":"/job_id","message":"no job 17"}}. An empty reply is
 * sent as {}.
 */
typedef enum cyx_status (*cyx_bus_handler)(void *ctx, const struct cyx_bus_message *request,
                                           struct cyx_buf *reply, struct cyx_error *err);

typedef void (*cyx_bus_callback)(void *ctx, const struct cyx_bus_message *message);

/* One row of a service's table of subjects. */
struct cyx_bus_route {
    const char *subject;
    cyx_bus_handler handler;
};

/* Waits up to `wait_ms` for the server, CYX_ERR_UNAVAILABLE with the URL (without its password)
 * after that. */
enum cyx_status cyx_bus_connect(const struct cyx_bus_options *options, struct cyx_bus **ret_bus,
                                struct cyx_error *err);

/* Whether the server can be reached now; for readiness. */
bool cyx_bus_connected(const struct cyx_bus *self);

/*
 * Stops taking messages (served requests, subscriptions, consumers, tails) and waits for callbacks
 * in progress; publishing and requests still work. CYX_ERR_TIMEOUT when something was still
 * running.
 */
enum cyx_status cyx_bus_quiet(struct cyx_bus *self, int64_t deadline_ms);

/*
 * cyx_bus_quiet(), then sends what waits, then closes. Returns at the deadline at the latest:
 * CYX_ERR_TIMEOUT when something was still running. Use before cyx_bus_destroy().
 */
enum cyx_status cyx_bus_drain(struct cyx_bus *self, int64_t deadline_ms);

/* Closes and frees; waits for callbacks in progress. NULL is fine. */
void cyx_bus_destroy(struct cyx_bus *self);

/* Answers `subject` (may hold wildcards). Processes of one `queue_group` share the requests. */
enum cyx_status cyx_bus_serve(struct cyx_bus *self, const char *subject, const char *queue_group,
                              cyx_bus_handler handler, void *ctx, struct cyx_error *err);

/* cyx_bus_serve() for each row of a table. */
enum cyx_status cyx_bus_serve_table(struct cyx_bus *self, const struct cyx_bus_route *routes,
                                    size_t count, const char *queue_group, void *ctx,
                                    struct cyx_error *err);

/* Sends a request and waits for the answer, which is appended to `ret_reply` (may be NULL). `meta`
 * may be NULL. */
enum cyx_status cyx_bus_request(struct cyx_bus *self, const char *subject,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                int64_t timeout_ms, struct cyx_buf *ret_reply,
                                struct cyx_error *err);

/* At most once, to whoever listens now: heartbeats, offers. While the server is away up to 8 MiB
 * wait for it. */
enum cyx_status cyx_bus_publish(struct cyx_bus *self, const char *subject,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                struct cyx_error *err);

/* Calls back for each message of `subject` until drain; `queue_group` NULL: every subscriber gets
 * each one. */
enum cyx_status cyx_bus_subscribe(struct cyx_bus *self, const char *subject,
                                  const char *queue_group, cyx_bus_callback callback, void *ctx,
                                  struct cyx_error *err);

#endif
