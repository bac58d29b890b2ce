/* What the files of libs/bus share behind its public headers. Not for others. */
#ifndef CYX_BUS_BUS_INTERNAL_H
#define CYX_BUS_BUS_INTERNAL_H

#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/trace.h"
#include "bus/stream.h"

enum { CYX_BUS_ASYNC_SLOTS = 4096, CYX_BUS_INBOX_BYTES = 160 };

#define CYX_BUS_HEADER_REQUEST_ID "Cyx-Request-Id"
#define CYX_BUS_HEADER_TRACEPARENT "traceparent"
#define CYX_BUS_HEADER_ACCOUNT "Cyx-Account"
#define CYX_BUS_HEADER_MESSAGE_ID "Nats-Msg-Id"

/* A served subject or a plain subscription; lives as long as the bus. */
struct cyx_bus_listener {
    struct cyx_bus *bus;
    natsSubscription *sub;
    char *subject;
    cyx_bus_handler handler;   /* served subject */
    cyx_bus_callback callback; /* plain subscription */
    void *ctx;
    struct cyx_bus_listener *next;
};

/* A request that waits for a worker. */
struct cyx_bus_task {
    struct cyx_bus_listener *listener;
    natsMsg *msg;
    struct cyx_bus_task *next;
};

/* A thread that pulls from a stream: a durable consumer or a tail. */
struct cyx_bus_puller {
    struct cyx_bus *bus;
    pthread_t thread;
    struct cyx_bus_puller *next;
    void (*destroy)(struct cyx_bus_puller *self);
    bool stop, ended; /* guarded by bus->lock */
};

/* An asynchronous publish that waits for its acknowledgement; its index stands in the reply
 * subject. */
struct cyx_bus_slot {
    bool used;
    uint32_t generation; /* tells a late acknowledgement of the slot's former use */
    cyx_bus_published done;
    void *ctx;
    int64_t deadline_ns;
};

struct cyx_bus {
    natsConnection *nc;
    jsCtx *js;
    char inbox_prefix[64];
    _Atomic unsigned reconnects;
    void (*observe)(void *ctx, const char *subject, enum cyx_status status, double seconds);
    void *observe_ctx;
    void (*lost)(void *ctx);
    void *lost_ctx;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* broadcast at every change that somebody may wait for */
    pthread_cond_t task;    /* signalled for each request to answer; idle workers wait here */
    bool quiet;             /* takes no more messages */
    bool closing;
    bool ended;  /* closed on purpose, or about to be */
    bool closed; /* libnats has made its last callback on the connection */
    struct cyx_bus_listener *listeners;
    size_t live_listeners; /* libnats may still call back */
    struct cyx_bus_puller *pullers;

    struct cyx_bus_task *tasks, **tasks_tail;
    size_t waiting, queue_limit;
    unsigned running; /* handlers in progress */
    unsigned worker_count;
    pthread_t *workers;
    bool janitor_started;
    pthread_t janitor; /* ends asynchronous publishes that nobody acknowledges */

    natsSubscription *ack_sub;
    char ack_prefix[CYX_BUS_INBOX_BYTES];
    struct cyx_bus_slot *slots; /* CYX_BUS_ASYNC_SLOTS of them */
    uint32_t *free_slots;
    size_t free_slot_count;
};

/* Fills `err` from libnats' status: what was tried stands in `what`. */
enum cyx_status cyx_bus_fail(natsStatus code, const char *what, struct cyx_error *err);

/* The same for a JetStream call with its own error code. */
enum cyx_status cyx_bus_fail_no_stream(const char *subject, struct cyx_error *err);
enum cyx_status cyx_bus_fail_js(natsStatus code, jsErrCode js_code, const char *what,
                                struct cyx_error *err);

/* CYX_ERR_UNAVAILABLE with the reason unless the server can be reached now. */
enum cyx_status cyx_bus_need_server(struct cyx_bus *self, struct cyx_error *err);

/* A message with the envelope's headers. `reply` and `message_id` may be NULL. */
enum cyx_status cyx_bus_msg_new(const char *subject, const char *reply, const char *message_id,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                natsMsg **ret_msg, struct cyx_error *err);

/* What callbacks are shown of a message. */
void cyx_bus_msg_view(natsMsg *msg, struct cyx_bus_message *ret_message);

/* The stream's side of it; false for a message that is not out of a stream. */
bool cyx_bus_msg_view_stream(natsMsg *msg, struct cyx_bus_message *ret_message,
                             uint64_t *ret_consumer_sequence);

/* Waits on `changed` until then; the lock is held. false when the time is over. */
bool cyx_bus_wait_until(struct cyx_bus *self, int64_t monotonic_ns);

/* Starts a puller's thread and hangs it in. */
enum cyx_status cyx_bus_puller_start(struct cyx_bus_puller *self, void *(*main)(void *),
                                     struct cyx_error *err);

/* Whether the puller must end; and a pause that ends early when it must. */
bool cyx_bus_puller_stopped(struct cyx_bus_puller *self);
void cyx_bus_puller_pause(struct cyx_bus_puller *self, int64_t ms);

/* The last thing that a puller's thread does. */
void cyx_bus_puller_ended(struct cyx_bus_puller *self);

/* Ends what is asynchronous: every waiting publish is told CYX_ERR_CANCELLED. */
void cyx_bus_async_finish(struct cyx_bus *self);

/* The worker threads behind cyx_bus_serve(). */
enum cyx_status cyx_bus_workers_start(struct cyx_bus *self, unsigned count, struct cyx_error *err);
void cyx_bus_workers_join(struct cyx_bus *self);

#endif
