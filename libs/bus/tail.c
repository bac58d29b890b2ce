/*
 * Live tails and one-time reads: an ephemeral pull consumer without acknowledgements. Every message
 * carries the consumer's own sequence, which rises by one; where it does not, or where the
 * connection or the server changed, the consumer is made anew behind the last message seen.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bus/bus_internal.h"

#include "base/banned.h"

#define SECOND_NS INT64_C(1000000000)

enum { FETCH_MS = 1000, RETRY_MS = 250, BATCH = 256, CHECK_EVERY = 5, KEEP_S = 30, READ_MS = 5000 };

/* One ephemeral consumer and how far it has come. */
struct cursor {
    struct cyx_bus *bus;
    const char *stream, *subject;
    natsSubscription *sub;
    char consumer[64];
    uint64_t next;       /* stream sequence wanted next; 0: not known yet, from now on */
    uint64_t delivered;  /* consumer sequence seen last */
    uint64_t pending;    /* messages behind the last one seen */
    unsigned reconnects; /* of the bus when the consumer was made */
    bool gap;            /* to be told with the next message */
};

struct cyx_bus_tail {
    struct cyx_bus_puller puller;
    struct cursor cursor;
    cyx_bus_callback callback;
    void *ctx;
    natsSubscription *shared_sub; /* guarded by bus->lock: what tail_stop may interrupt */
    char *stream, *subject;
};

static void cursor_close(struct cursor *self)
{
    if (self->sub && cyx_bus_connected(self->bus))
        js_DeleteConsumer(self->bus->js, self->stream, self->consumer, NULL, NULL);
    natsSubscription_Destroy(self->sub);
    self->sub = NULL;
}

/* Settles where to start, given what the stream holds now. */
static enum cyx_status place(struct cursor *self, struct cyx_error *err)
{
    jsStreamInfo *info = NULL;
    jsErrCode js_code = 0;
    natsStatus code = js_GetStreamInfo(&info, self->bus->js, self->stream, NULL, &js_code);
    if (code != NATS_OK) {
        char what[128];
        snprintf(what, sizeof(what), "stream %s", self->stream);
        return cyx_bus_fail_js(code, js_code, what, err);
    }
    uint64_t first = info->State.FirstSeq ? info->State.FirstSeq : 1, last = info->State.LastSeq;
    jsStreamInfo_Destroy(info);
    if (self->next == 0)
        self->next = last + 1;
    bool dropped = self->next > 1 && self->next < first;
    bool made_anew = self->next > last + 1; /* somebody deleted the stream */
    if (dropped || made_anew) {
        self->next = first;
        self->gap = true;
    }
    return CYX_OK;
}

static enum cyx_status cursor_open(struct cursor *self, struct cyx_error *err)
{
    enum cyx_status status = cyx_bus_need_server(self->bus, err);
    self->reconnects = atomic_load(&self->bus->reconnects);
    if (status == CYX_OK)
        status = place(self, err);
    if (status != CYX_OK)
        return status;
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.AckPolicy = js_AckNone;
    config.DeliverPolicy = js_DeliverByStartSequence;
    config.OptStartSeq = self->next ? self->next : 1;
    config.FilterSubject = self->subject;
    config.InactiveThreshold = KEEP_S * SECOND_NS;
    config.MemoryStorage = true;
    config.Replicas = 1;
    jsConsumerInfo *info = NULL;
    jsErrCode js_code = 0;
    natsStatus code = js_AddConsumer(&info, self->bus->js, self->stream, &config, NULL, &js_code);
    if (code == NATS_OK) {
        snprintf(self->consumer, sizeof(self->consumer), "%s", info->Name);
        self->pending = info->NumPending;
        jsConsumerInfo_Destroy(info);
        jsSubOptions bind;
        jsSubOptions_Init(&bind);
        bind.Stream = self->stream;
        bind.Consumer = self->consumer;
        bind.Config = config;
        code =
            js_PullSubscribe(&self->sub, self->bus->js, self->subject, NULL, NULL, &bind, &js_code);
    }
    if (code != NATS_OK)
        return cyx_bus_fail_js(code, js_code, self->subject, err);
    self->delivered = 0;
    return CYX_OK;
}

/* Shows one message. false: a message before it was lost on the way, the consumer must be made
 * anew. */
static bool show(struct cursor *self, natsMsg *msg, cyx_bus_callback callback, void *ctx)
{
    struct cyx_bus_message message;
    uint64_t consumer_sequence = 0;
    if (!cyx_bus_msg_view_stream(msg, &message, &consumer_sequence))
        return true;
    if (consumer_sequence != self->delivered + 1)
        return false;
    self->delivered = consumer_sequence;
    self->next = message.sequence + 1;
    message.gap = self->gap;
    self->gap = false;
    self->pending = message.pending;
    callback(ctx, &message);
    return true;
}

static bool consumer_gone(struct cursor *self)
{
    jsConsumerInfo *info = NULL;
    natsStatus code =
        js_GetConsumerInfo(&info, self->bus->js, self->stream, self->consumer, NULL, NULL);
    jsConsumerInfo_Destroy(info);
    return code != NATS_OK;
}

/* ---- tail ---- */

static void share_sub(struct cyx_bus_tail *self, natsSubscription *sub)
{
    pthread_mutex_lock(&self->puller.bus->lock);
    self->shared_sub = sub;
    pthread_mutex_unlock(&self->puller.bus->lock);
}

/* Follows until stopped or until the consumer has to be made anew. */
static void follow(struct cyx_bus_tail *self)
{
    struct cursor *cursor = &self->cursor;
    bool whole = true;
    unsigned idle = 0;
    while (whole && !cyx_bus_puller_stopped(&self->puller)) {
        natsMsgList batch = {0};
        jsErrCode js_code = 0;
        natsStatus code = natsSubscription_Fetch(&batch, cursor->sub, BATCH, FETCH_MS, &js_code);
        /* Behind a new connection nothing tells whether the last messages were lost: start again.
         */
        whole = cursor->reconnects == atomic_load(&cursor->bus->reconnects) &&
                cyx_bus_connected(cursor->bus);
        if (code == NATS_OK) {
            idle = 0;
            for (int i = 0; whole && i < batch.Count && !cyx_bus_puller_stopped(&self->puller); i++)
                whole = show(cursor, batch.Msgs[i], self->callback, self->ctx);
            natsMsgList_Destroy(&batch);
        } else if (code != NATS_TIMEOUT) {
            whole = false;
        } else if (++idle % CHECK_EVERY == 0 && consumer_gone(cursor)) {
            whole = false;
        }
    }
}

static void *tail_main(void *ctx)
{
    struct cyx_bus_tail *self = ctx;
    while (!cyx_bus_puller_stopped(&self->puller)) {
        struct cyx_error err = {0};
        if (!self->cursor.sub && cursor_open(&self->cursor, &err) != CYX_OK) {
            cyx_log(CYX_LOG_DEBUG, "bus: tail waits", CYX_STR("reason", err.message));
            cyx_bus_puller_pause(&self->puller, RETRY_MS);
            continue;
        }
        share_sub(self, self->cursor.sub);
        follow(self);
        share_sub(self, NULL);
        cursor_close(&self->cursor);
    }
    cyx_bus_puller_ended(&self->puller);
    return NULL;
}

static void tail_destroy(struct cyx_bus_puller *puller)
{
    struct cyx_bus_tail *self = (struct cyx_bus_tail *)puller;
    natsSubscription_Destroy(self->cursor.sub);
    free(self->stream);
    free(self->subject);
    free(self);
}

enum cyx_status cyx_bus_tail(struct cyx_bus *bus, const char *stream, const char *subject,
                             uint64_t start_sequence, cyx_bus_callback callback, void *ctx,
                             struct cyx_bus_tail **ret_tail, struct cyx_error *err)
{
    struct cyx_bus_tail *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    self->puller.bus = bus;
    self->puller.destroy = tail_destroy;
    self->callback = callback;
    self->ctx = ctx;
    self->stream = strdup(stream);
    self->subject = strdup(subject);
    self->cursor = (struct cursor){
        .bus = bus, .stream = self->stream, .subject = self->subject, .next = start_sequence};
    enum cyx_status status = self->stream && self->subject ? CYX_OK : CYX_ERR_NO_MEMORY;
    struct cyx_error why = {.message = "bus: out of memory"};
    /* Opened here already, so that "from now on" means from this call on. */
    if (status == CYX_OK)
        status = cursor_open(&self->cursor, &why);
    if (status == CYX_OK || status == CYX_ERR_NOT_FOUND || status == CYX_ERR_UNAVAILABLE ||
        status == CYX_ERR_TIMEOUT)
        status = cyx_bus_puller_start(&self->puller, tail_main, &why);
    if (status != CYX_OK) {
        tail_destroy(&self->puller);
        return cyx_error_set(err, status, NULL, "%s", why.message);
    }
    *ret_tail = self;
    return CYX_OK;
}

void cyx_bus_tail_stop(struct cyx_bus_tail *self)
{
    if (!self)
        return;
    struct cyx_bus *bus = self->puller.bus;
    pthread_mutex_lock(&bus->lock);
    self->puller.stop = true;
    pthread_cond_broadcast(&bus->changed);
    if (self->shared_sub)
        natsSubscription_Unsubscribe(self->shared_sub); /* ends a fetch that waits */
    pthread_mutex_unlock(&bus->lock);
    pthread_join(self->puller.thread, NULL);
    pthread_mutex_lock(&bus->lock);
    struct cyx_bus_puller **link = &bus->pullers;
    while (*link != &self->puller)
        link = &(*link)->next;
    *link = self->puller.next;
    pthread_mutex_unlock(&bus->lock);
    tail_destroy(&self->puller);
}

/* ---- read ---- */

enum cyx_status cyx_bus_read(struct cyx_bus *bus, const char *stream, const char *subject,
                             uint64_t start_sequence, size_t limit, cyx_bus_callback callback,
                             void *ctx, struct cyx_error *err)
{
    struct cursor cursor = {.bus = bus,
                            .stream = stream,
                            .subject = subject,
                            .next = start_sequence ? start_sequence : 1};
    enum cyx_status status = cursor_open(&cursor, err);
    size_t shown = 0;
    while (status == CYX_OK && cursor.pending > 0 && shown < limit) {
        natsMsgList batch = {0};
        jsErrCode js_code = 0;
        int wanted = limit - shown < BATCH ? (int)(limit - shown) : BATCH;
        natsStatus code = natsSubscription_Fetch(&batch, cursor.sub, wanted, READ_MS, &js_code);
        if (code != NATS_OK) {
            status = cyx_bus_fail(code, subject, err);
            break;
        }
        bool whole = true;
        for (int i = 0; whole && i < batch.Count; i++, shown += whole)
            whole = show(&cursor, batch.Msgs[i], callback, ctx);
        natsMsgList_Destroy(&batch);
        if (!whole) {
            cursor_close(&cursor);
            status = cursor_open(&cursor, err);
        }
    }
    cursor_close(&cursor);
    return status;
}
