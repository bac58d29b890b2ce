/*
 * Live events: one JetStream tail for each watched job, shared by all who watch it, and the replay from a cursor that
 * brings a newcomer up to it without gap or repeat.
 *
 * How it goes: a subscription is begun without blocking. A hub thread asks the scheduler whether the job is the
 * account's, joins (or starts) the job's tail, then replays what the stream holds behind the cursor, a bounded
 * chunk at a time and only as fast as the reader takes it, until it has caught up with the tail; from there on
 * events come from the tail's thread. What is not a JSON object on a job's subjects is dropped.
 *
 * Memory: a subscription holds no events. A reader that is slow during a replay is waited for, one that is slow
 * afterwards loses events; its sink counts them.
 *
 * Ownership: a subscription is counted; live_unsubscribe() gives the caller's reference back. The sink's context
 * must live until `release`, which is called exactly once, last. Callbacks come from hub and tail threads, one at a
 * time a subscription, must not block; only `failed` may call live_unsubscribe().
 */
#ifndef CYX_GATEWAY_LIVE_H
#define CYX_GATEWAY_LIVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/status.h"
#include "bus/bus.h"
#include "bus/stream.h"
#include "holders.h"

struct live;
struct live_subscription;

struct live_event {
    const char *kind; /* "metrics", "log" or "state" */
    const char *job_id;
    uint64_t cursor;  /* sequence in the stream */
    const char *data; /* compact JSON object */
    size_t length;
    bool replayed;
};

struct live_sink {
    /* CYX_ERR_TOO_LARGE for a replayed event: the reader is slow, it comes again later. */
    enum cyx_status (*event)(void *ctx, const struct live_event *event);
    void (*subscribed)(void *ctx); /* before the first event; may be NULL */
    /* The job had ended before: what was kept has been replayed, and nothing more will come. May be NULL. */
    void (*ended)(void *ctx);
    void (*failed)(void *ctx, const struct cyx_error *error); /* the last but release */
    void (*release)(void *ctx);
};

struct live_request {
    const char *job_id; /* NULL: state changes of all jobs of the account */
    const char *account_id;
    const char *request_id; /* for the scheduler's log */
    bool authorized;        /* the caller has asked the scheduler already */
    bool replay;            /* what is kept behind `cursor` first */
    uint64_t cursor;
    const struct live_sink *sink;
    void *ctx;
};

/* `on_change` (may be NULL) is told of each watched job's state change, before its readers are; it must not block. */
enum cyx_status live_create(struct cyx_bus *bus, void (*on_change)(void *ctx, const char *job_id),
                            void *ctx, struct live **ret_live, struct cyx_error *err);

/* All subscriptions must have been ended. NULL is fine. */
void live_destroy(struct live *self);

/* Never blocks. CYX_ERR_NO_MEMORY (then release is not called). */
enum cyx_status live_subscribe(struct live *self, const struct live_request *request,
                               struct live_subscription **ret_subscription, struct cyx_error *err);

/* Never blocks for long. Events that a thread is just delivering may still come. NULL is fine. */
void live_unsubscribe(struct live_subscription *subscription);

/* Watched jobs and subscriptions, for metrics. */
void live_counts(struct live *self, size_t *ret_feeds, size_t *ret_subscriptions);

/* Asks the scheduler who has held the job, so that what they tell is believed. */
enum cyx_status live_ask_holders(struct cyx_bus *bus, const char *job_id,
                                 struct holders *ret_holders, struct cyx_error *err);

/* A telemetry message's kind ("metrics", "log", "state") and its object, which the caller drops. False for what is none. */
bool live_parse(const struct cyx_bus_message *message, const char **ret_kind, json_t **ret_data);

#endif
