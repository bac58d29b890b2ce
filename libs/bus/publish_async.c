/*
 * Asynchronous publishing into a stream. Each publish names a reply subject of this connection's
 * own that holds a slot's number; the acknowledgement that comes back there ends the slot. A thread
 * ends those whose acknowledgement never comes.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "bus/bus_internal.h"

#include "base/banned.h"

#define ACK_WAIT_NS (10 * INT64_C(1000000000))
#define SCAN_NS INT64_C(500000000)

/* What remains to be told once the lock is given back. */
struct outcome {
    cyx_bus_published done;
    void *ctx;
};

/* Frees a slot; the lock is held. */
static struct outcome slot_free(struct cyx_bus *self, uint32_t index)
{
    struct cyx_bus_slot *slot = &self->slots[index];
    struct outcome outcome = {.done = slot->done, .ctx = slot->ctx};
    slot->used = false;
    slot->generation++;
    self->free_slots[self->free_slot_count++] = index;
    pthread_cond_broadcast(&self->changed);
    return outcome;
}

static void tell(const struct outcome *outcome, enum cyx_status status, uint64_t sequence)
{
    if (outcome->done)
        outcome->done(outcome->ctx, status, sequence);
}

/* {"stream":"S","seq":5} or {"error":{"code":503,"description":"…"}} */
static enum cyx_status read_ack(natsMsg *msg, uint64_t *ret_sequence)
{
    if (natsMsg_IsNoResponders(msg))
        return CYX_ERR_UNAVAILABLE;
    const char *data = natsMsg_GetData(msg);
    json_t *root = data ? json_loadb(data, (size_t)natsMsg_GetDataLength(msg), 0, NULL) : NULL;
    json_t *error = json_object_get(root, "error");
    json_int_t code = json_integer_value(json_object_get(error, "code"));
    json_int_t sequence = json_integer_value(json_object_get(root, "seq"));
    json_decref(root);
    if (error)
        return code == 503 ? CYX_ERR_UNAVAILABLE : CYX_ERR_INTERNAL;
    if (sequence < 1)
        return CYX_ERR_CORRUPT;
    *ret_sequence = (uint64_t)sequence;
    return CYX_OK;
}

static void on_ack(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *ctx)
{
    (void)nc;
    (void)sub;
    struct cyx_bus *self = ctx;
    const char *token = strrchr(natsMsg_GetSubject(msg), '.');
    unsigned index = 0, generation = 0;
    uint64_t sequence = 0;
    enum cyx_status status = read_ack(msg, &sequence);
    bool known = token && sscanf(token + 1, "%x-%x", &index, &generation) == 2 &&
                 index < CYX_BUS_ASYNC_SLOTS;
    natsMsg_Destroy(msg);
    if (!known)
        return;
    struct outcome outcome = {0};
    pthread_mutex_lock(&self->lock);
    known = self->slots[index].used && self->slots[index].generation == generation;
    if (known)
        outcome = slot_free(self, index);
    pthread_mutex_unlock(&self->lock);
    if (known)
        tell(&outcome, status, sequence);
}

/* Ends what is overdue, or everything when the bus closes. The lock is held, and let go for each
 * callback. */
static void end_slots(struct cyx_bus *self, enum cyx_status status, bool all)
{
    int64_t now = cyx_clock_monotonic_ns();
    for (uint32_t i = 0; i < CYX_BUS_ASYNC_SLOTS; i++) {
        if (!self->slots[i].used || (!all && now < self->slots[i].deadline_ns))
            continue;
        struct outcome outcome = slot_free(self, i);
        pthread_mutex_unlock(&self->lock);
        tell(&outcome, status, 0);
        pthread_mutex_lock(&self->lock);
    }
}

static void *janitor_main(void *ctx)
{
    struct cyx_bus *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->closing) {
        int64_t next_ns = cyx_clock_monotonic_ns() + SCAN_NS;
        while (!self->closing && cyx_bus_wait_until(self, next_ns))
            ;
        if (!self->closing && self->free_slot_count < CYX_BUS_ASYNC_SLOTS)
            end_slots(self, CYX_ERR_TIMEOUT, false);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* What the first asynchronous publish needs; the lock is held. */
static enum cyx_status prepare(struct cyx_bus *self, struct cyx_error *err)
{
    if (self->ack_sub)
        return CYX_OK;
    if (!self->slots) {
        self->slots = calloc(CYX_BUS_ASYNC_SLOTS, sizeof(*self->slots));
        self->free_slots = calloc(CYX_BUS_ASYNC_SLOTS, sizeof(*self->free_slots));
        if (!self->slots || !self->free_slots)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
        for (uint32_t i = 0; i < CYX_BUS_ASYNC_SLOTS; i++)
            self->free_slots[self->free_slot_count++] = CYX_BUS_ASYNC_SLOTS - 1 - i;
    }
    if (!self->janitor_started) {
        if (pthread_create(&self->janitor, NULL, janitor_main, self) != 0)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: cannot start a thread");
        self->janitor_started = true;
    }
    unsigned char random[11];
    char hex[2 * sizeof(random) + 1], wildcard[CYX_BUS_INBOX_BYTES + 2];
    cyx_random_bytes(random, sizeof(random));
    cyx_hex_encode(random, sizeof(random), hex);
    snprintf(self->ack_prefix, sizeof(self->ack_prefix), "%s.%s", self->inbox_prefix, hex);
    snprintf(wildcard, sizeof(wildcard), "%s.*", self->ack_prefix);
    natsStatus code = natsConnection_Subscribe(&self->ack_sub, self->nc, wildcard, on_ack, self);
    if (code != NATS_OK)
        return cyx_bus_fail(code, "acknowledgements", err);
    natsSubscription_SetPendingLimits(self->ack_sub, -1, -1);
    return CYX_OK;
}

static enum cyx_status slot_take(struct cyx_bus *self, cyx_bus_published done, void *ctx,
                                 uint32_t *ret_index, char *ret_reply, size_t size,
                                 struct cyx_error *err)
{
    pthread_mutex_lock(&self->lock);
    enum cyx_status status = prepare(self, err);
    if (status == CYX_OK && self->closing)
        status = cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "bus: closing");
    if (status == CYX_OK && self->free_slot_count == 0)
        status = cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                               "bus: %d messages wait for their acknowledgement already",
                               CYX_BUS_ASYNC_SLOTS);
    if (status == CYX_OK) {
        uint32_t index = self->free_slots[--self->free_slot_count];
        struct cyx_bus_slot *slot = &self->slots[index];
        slot->used = true;
        slot->done = done;
        slot->ctx = ctx;
        slot->deadline_ns = cyx_clock_monotonic_ns() + ACK_WAIT_NS;
        snprintf(ret_reply, size, "%s.%x-%x", self->ack_prefix, index, slot->generation);
        *ret_index = index;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum cyx_status cyx_bus_publish_async(struct cyx_bus *self, const char *subject,
                                      const char *message_id, const struct cyx_bus_meta *meta,
                                      const char *json, size_t length, cyx_bus_published done,
                                      void *ctx, struct cyx_error *err)
{
    uint32_t index = 0;
    char reply[CYX_BUS_INBOX_BYTES + 24];
    enum cyx_status status = cyx_bus_need_server(self, err);
    if (status == CYX_OK)
        status = slot_take(self, done, ctx, &index, reply, sizeof(reply), err);
    if (status != CYX_OK)
        return status;
    natsMsg *msg = NULL;
    status = cyx_bus_msg_new(subject, reply, message_id, meta, json, length, &msg, err);
    if (status == CYX_OK) {
        natsStatus code = natsConnection_PublishMsg(self->nc, msg);
        natsMsg_Destroy(msg);
        if (code != NATS_OK)
            status = cyx_bus_fail(code, subject, err);
    }
    if (status != CYX_OK) {
        pthread_mutex_lock(&self->lock);
        slot_free(self, index);
        pthread_mutex_unlock(&self->lock);
    }
    return status;
}

/* ---- several at once ---- */

struct journey {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t under_way;
};

struct traveller {
    struct journey *journey;
    struct cyx_bus_event *event;
};

static void arrive(void *ctx, enum cyx_status status, uint64_t sequence)
{
    struct traveller *self = ctx;
    struct journey *journey = self->journey;
    (void)sequence;
    pthread_mutex_lock(&journey->lock);
    self->event->status = status;
    if (--journey->under_way == 0)
        pthread_cond_signal(&journey->changed);
    pthread_mutex_unlock(&journey->lock);
}

static void send_all(struct cyx_bus *self, struct journey *journey, struct traveller *travellers,
                     size_t count, struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; i < count; i++) {
        struct cyx_bus_event *event = travellers[i].event;
        if (status != CYX_OK) { /* those behind one that could not be sent wait for it */
            event->status = status;
            continue;
        }
        pthread_mutex_lock(&journey->lock);
        journey->under_way++;
        pthread_mutex_unlock(&journey->lock);
        status = cyx_bus_publish_async(self, event->subject, event->message_id, &event->meta,
                                       event->json, event->length, arrive, &travellers[i], err);
        if (status == CYX_OK)
            continue;
        pthread_mutex_lock(&journey->lock);
        journey->under_way--;
        event->status = status;
        pthread_mutex_unlock(&journey->lock);
    }
    pthread_mutex_lock(&journey->lock);
    while (journey->under_way > 0)
        pthread_cond_wait(&journey->changed, &journey->lock);
    pthread_mutex_unlock(&journey->lock);
}

static enum cyx_status say_first_failure(const struct cyx_bus_event *events, size_t count,
                                         struct cyx_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct cyx_bus_event *event = &events[i];
        if (event->status == CYX_OK)
            continue;
        if (err && err->status == event->status)
            return event->status; /* it could not be sent, and has said so */
        if (event->status == CYX_ERR_UNAVAILABLE)
            return cyx_bus_fail_no_stream(event->subject, err);
        return cyx_error_set(err, event->status, NULL, "bus: %s was not stored (%s)",
                             event->subject, cyx_status_name(event->status));
    }
    return CYX_OK;
}

enum cyx_status cyx_bus_publish_events(struct cyx_bus *self, struct cyx_bus_event *events,
                                       size_t count, struct cyx_error *err)
{
    struct traveller *travellers = calloc(count ? count : 1, sizeof(*travellers));
    struct journey journey = {0};
    struct cyx_error why = {0};
    if (!travellers)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    for (size_t i = 0; i < count; i++)
        travellers[i] = (struct traveller){&journey, &events[i]};
    pthread_mutex_init(&journey.lock, NULL);
    pthread_cond_init(&journey.changed, NULL);
    send_all(self, &journey, travellers, count, &why);
    pthread_cond_destroy(&journey.changed);
    pthread_mutex_destroy(&journey.lock);
    free(travellers);
    enum cyx_status status = say_first_failure(events, count, &why);
    if (status != CYX_OK && err)
        *err = why;
    return status;
}

enum cyx_status cyx_bus_publish_wait(struct cyx_bus *self, int64_t timeout_ms)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + timeout_ms * 1000000;
    pthread_mutex_lock(&self->lock);
    while (self->slots && self->free_slot_count < CYX_BUS_ASYNC_SLOTS &&
           cyx_bus_wait_until(self, end_ns))
        ;
    bool all = !self->slots || self->free_slot_count == CYX_BUS_ASYNC_SLOTS;
    pthread_mutex_unlock(&self->lock);
    return all ? CYX_OK : CYX_ERR_TIMEOUT;
}

void cyx_bus_async_finish(struct cyx_bus *self)
{
    if (self->janitor_started)
        pthread_join(self->janitor, NULL);
    natsSubscription_Destroy(self->ack_sub);
    pthread_mutex_lock(&self->lock);
    if (self->slots)
        end_slots(self, CYX_ERR_CANCELLED, true);
    pthread_mutex_unlock(&self->lock);
    free(self->slots);
    free(self->free_slots);
}
