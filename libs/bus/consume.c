/*
 * Durable consumers: a thread that pulls, hands messages to the handler one by one, and tells the
 * server what became of each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/bus_internal.h"

#include "base/banned.h"

#define SECOND_NS INT64_C(1000000000)

enum { FETCH_MS = 500, RETRY_MS = 500, CHECK_EVERY = 20, RETRY_DELAY_MAX_S = 60 };

struct consumer {
    struct cyx_bus_puller puller;
    struct cyx_bus_consumer options; /* its strings are the copies below */
    char *stream, *durable, *subject;
    natsSubscription *sub;
    unsigned idle_fetches;
};

/* ---- pullers in general ---- */

bool cyx_bus_puller_stopped(struct cyx_bus_puller *self)
{
    pthread_mutex_lock(&self->bus->lock);
    bool stopped = self->stop;
    pthread_mutex_unlock(&self->bus->lock);
    return stopped;
}

void cyx_bus_puller_pause(struct cyx_bus_puller *self, int64_t ms)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + ms * 1000000;
    pthread_mutex_lock(&self->bus->lock);
    while (!self->stop && cyx_bus_wait_until(self->bus, end_ns))
        ;
    pthread_mutex_unlock(&self->bus->lock);
}

void cyx_bus_puller_ended(struct cyx_bus_puller *self)
{
    nats_ReleaseThreadMemory();
    pthread_mutex_lock(&self->bus->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->bus->changed);
    pthread_mutex_unlock(&self->bus->lock);
}

enum cyx_status cyx_bus_puller_start(struct cyx_bus_puller *self, void *(*main)(void *),
                                     struct cyx_error *err)
{
    struct cyx_bus *bus = self->bus;
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&bus->lock);
    if (bus->quiet)
        status = cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "bus: closing");
    else if (pthread_create(&self->thread, NULL, main, self) != 0)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: cannot start a thread");
    if (status == CYX_OK) {
        self->next = bus->pullers;
        bus->pullers = self;
    }
    pthread_mutex_unlock(&bus->lock);
    return status;
}

/* ---- the durable consumer on the server ---- */

static void server_config(const struct consumer *self, jsConsumerConfig *ret_config)
{
    jsConsumerConfig_Init(ret_config);
    ret_config->Durable = self->durable;
    ret_config->FilterSubject = self->subject;
    ret_config->DeliverPolicy = js_DeliverAll;
    ret_config->AckPolicy = js_AckExplicit;
    ret_config->AckWait = self->options.ack_wait_ns;
    ret_config->MaxDeliver = -1; /* counted here, so that giving up is logged */
    ret_config->MaxAckPending = 1000;
}

/* Creates or updates it and binds a subscription to it. */
static enum cyx_status attach(struct consumer *self, struct cyx_error *err)
{
    struct cyx_bus *bus = self->puller.bus;
    char what[200];
    snprintf(what, sizeof(what), "consumer %s of stream %s", self->durable, self->stream);
    natsSubscription_Destroy(self->sub);
    self->sub = NULL;
    enum cyx_status status = cyx_bus_need_server(bus, err);
    if (status != CYX_OK)
        return status;
    jsConsumerConfig config;
    server_config(self, &config);
    jsErrCode js_code = 0;
    natsStatus code = js_AddConsumer(NULL, bus->js, self->stream, &config, NULL, &js_code);
    if (code != NATS_OK && js_code == JSConsumerNameExistErr) {
        js_code = 0;
        code = js_UpdateConsumer(NULL, bus->js, self->stream, &config, NULL, &js_code);
    }
    if (code != NATS_OK)
        return cyx_bus_fail_js(code, js_code, what, err);
    jsSubOptions bind;
    jsSubOptions_Init(&bind);
    bind.Stream = self->stream;
    bind.Consumer = self->durable;
    code =
        js_PullSubscribe(&self->sub, bus->js, self->subject, self->durable, NULL, &bind, &js_code);
    return code == NATS_OK ? CYX_OK : cyx_bus_fail_js(code, js_code, what, err);
}

/* ---- messages ---- */

static void give_up(const struct consumer *self, natsMsg *msg,
                    const struct cyx_bus_message *message, const struct cyx_error *why)
{
    natsMsg_Term(msg, NULL);
    cyx_log(CYX_LOG_ERROR, "a message is given up and stays in its stream",
            CYX_STR("stream", self->stream), CYX_STR("consumer", self->durable),
            CYX_INT("sequence", message->sequence), CYX_STR("subject", message->subject),
            CYX_STR("message_id", message->message_id), CYX_INT("deliveries", message->deliveries),
            CYX_STR("request_id", message->meta.request_id),
            CYX_STR("status", cyx_status_name(why->status)), CYX_STR("reason", why->message));
}

static int64_t retry_delay_ms(const struct consumer *self, uint64_t deliveries)
{
    int64_t delay_ns = self->options.retry_delay_ns;
    for (uint64_t i = 1; i < deliveries && delay_ns < RETRY_DELAY_MAX_S * SECOND_NS; i++)
        delay_ns *= 2;
    if (delay_ns > RETRY_DELAY_MAX_S * SECOND_NS)
        delay_ns = RETRY_DELAY_MAX_S * SECOND_NS;
    return delay_ns / 1000000 > 0 ? delay_ns / 1000000 : 1;
}

static void handle(struct consumer *self, natsMsg *msg)
{
    struct cyx_bus_message message;
    struct cyx_error err = {0};
    if (!cyx_bus_msg_view_stream(msg, &message, NULL))
        return;
    uint64_t limit = (uint64_t)self->options.max_deliver;
    if (message.deliveries > limit) { /* it was never answered for: it may have crashed us */
        cyx_error_set(&err, CYX_ERR_INTERNAL, NULL, "delivered too often without an answer");
        give_up(self, msg, &message, &err);
        return;
    }
    enum cyx_status status = self->options.handler(self->options.ctx, &message, &err);
    if (status == CYX_OK) {
        natsMsg_Ack(msg, NULL);
        return;
    }
    err.status = status;
    if (status == CYX_ERR_INVALID || status == CYX_ERR_CORRUPT || message.deliveries >= limit) {
        give_up(self, msg, &message, &err);
        return;
    }
    int64_t delay_ms = retry_delay_ms(self, message.deliveries);
    natsMsg_NakWithDelay(msg, delay_ms, NULL);
    cyx_log(CYX_LOG_WARN, "a message is tried again later", CYX_STR("stream", self->stream),
            CYX_STR("consumer", self->durable), CYX_INT("sequence", message.sequence),
            CYX_STR("subject", message.subject), CYX_INT("deliveries", message.deliveries),
            CYX_INT("delay_ms", delay_ms), CYX_STR("request_id", message.meta.request_id),
            CYX_STR("status", cyx_status_name(status)), CYX_STR("reason", err.message));
}

/* Handles a batch. Messages that still wait are kept from coming again while those before them take
 * their time. */
static void handle_batch(struct consumer *self, natsMsgList *batch)
{
    int64_t renewed_ns = cyx_clock_monotonic_ns();
    for (int i = 0; i < batch->Count; i++) {
        if (cyx_bus_puller_stopped(&self->puller)) {
            natsMsg_Nak(batch->Msgs[i], NULL); /* for a replica, or for the next start */
            continue;
        }
        int64_t now_ns = cyx_clock_monotonic_ns();
        if (now_ns - renewed_ns > self->options.ack_wait_ns / 3) {
            for (int k = i; k < batch->Count; k++)
                natsMsg_InProgress(batch->Msgs[k], NULL);
            renewed_ns = now_ns;
        }
        handle(self, batch->Msgs[i]);
    }
    natsMsgList_Destroy(batch);
}

/* Nothing came for a while: make sure that the server still knows the consumer. */
static bool still_there(struct consumer *self)
{
    if (++self->idle_fetches < CHECK_EVERY)
        return true;
    self->idle_fetches = 0;
    jsConsumerInfo *info = NULL;
    jsErrCode js_code = 0;
    natsStatus code = natsSubscription_GetConsumerInfo(&info, self->sub, NULL, &js_code);
    jsConsumerInfo_Destroy(info);
    return code == NATS_OK || (code != NATS_NOT_FOUND && js_code != JSConsumerNotFoundErr &&
                               js_code != JSStreamNotFoundErr);
}

/* Fetches and handles until stopped (true) or until the consumer has to be attached anew. A connection
 * that broke is no reason for that: the client subscribes again by itself, and what the server sends
 * to the old subscription meanwhile would be lost with it until its time to answer is over. */
static bool pull(struct consumer *self)
{
    while (!cyx_bus_puller_stopped(&self->puller)) {
        if (!cyx_bus_connected(self->puller.bus)) {
            self->idle_fetches = CHECK_EVERY; /* the server may come back without the consumer */
            cyx_bus_puller_pause(&self->puller, RETRY_MS / 5);
            continue;
        }
        natsMsgList batch = {0};
        jsErrCode js_code = 0;
        natsStatus code =
            natsSubscription_Fetch(&batch, self->sub, self->options.batch, FETCH_MS, &js_code);
        if (code == NATS_OK) {
            self->idle_fetches = 0;
            handle_batch(self, &batch);
        } else if (cyx_bus_connected(self->puller.bus) &&
                   (code != NATS_TIMEOUT || !still_there(self))) {
            return false;
        }
    }
    return true;
}

static void *consumer_main(void *ctx)
{
    struct consumer *self = ctx;
    while (!cyx_bus_puller_stopped(&self->puller)) {
        struct cyx_error err = {0};
        if (!self->sub && attach(self, &err) != CYX_OK) {
            cyx_log(CYX_LOG_DEBUG, "bus: consumer waits", CYX_STR("reason", err.message));
            cyx_bus_puller_pause(&self->puller, RETRY_MS);
            continue;
        }
        if (pull(self))
            break;
        natsSubscription_Destroy(self->sub);
        self->sub = NULL;
        cyx_bus_puller_pause(&self->puller, RETRY_MS / 5);
    }
    /* Acks and naks of the last batch must reach the server before the connection closes. */
    natsConnection_FlushTimeout(self->puller.bus->nc, 1000);
    cyx_bus_puller_ended(&self->puller);
    return NULL;
}

static void consumer_destroy(struct cyx_bus_puller *puller)
{
    struct consumer *self = (struct consumer *)puller;
    natsSubscription_Destroy(self->sub);
    free(self->stream);
    free(self->durable);
    free(self->subject);
    free(self);
}

/* NULL when memory ran out. */
static struct consumer *consumer_new(struct cyx_bus *bus, const struct cyx_bus_consumer *options)
{
    struct consumer *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->puller.bus = bus;
    self->puller.destroy = consumer_destroy;
    self->options = *options;
    if (self->options.ack_wait_ns <= 0)
        self->options.ack_wait_ns = 30 * SECOND_NS;
    if (self->options.retry_delay_ns <= 0)
        self->options.retry_delay_ns = SECOND_NS;
    if (self->options.max_deliver <= 0)
        self->options.max_deliver = 10;
    if (self->options.batch <= 0)
        self->options.batch = 32;
    self->stream = strdup(options->stream);
    self->durable = strdup(options->durable);
    self->subject = strdup(options->subject ? options->subject : ">");
    if (!self->stream || !self->durable || !self->subject) {
        consumer_destroy(&self->puller);
        return NULL;
    }
    return self;
}

enum cyx_status cyx_bus_consume(struct cyx_bus *bus, const struct cyx_bus_consumer *options,
                                struct cyx_error *err)
{
    struct consumer *self = consumer_new(bus, options);
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    /* What is wrong for good is told now; a stream or server that is still missing is waited for.
     */
    struct cyx_error why = {0};
    enum cyx_status status = attach(self, &why);
    if (status == CYX_OK || status == CYX_ERR_NOT_FOUND || status == CYX_ERR_UNAVAILABLE ||
        status == CYX_ERR_TIMEOUT)
        status = cyx_bus_puller_start(&self->puller, consumer_main, &why);
    if (status != CYX_OK) {
        consumer_destroy(&self->puller);
        return cyx_error_set(err, status, NULL, "%s", why.message);
    }
    return CYX_OK;
}
