#include "live.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

enum {
    THREADS = 4,
    FEEDS_LIMIT = 512, /* watched jobs at once: a thread each */
    CHUNK = 256,       /* events of a replay before others get their turn */
    AGAIN_MS = 5,      /* another thread is starting the tail */
    SLOW_MS = 25,      /* a reader that takes its time */
    AWAY_MS = 1000,    /* the bus or the scheduler does not answer */
    LINGER_MS = 3000,  /* a tail without readers is kept so long: pages are reloaded */
    PAYLOAD_LIMIT = 128 * 1024,
    REQUEST_ID_BYTES = 128,
    STRANGER_MS =
        1000, /* the scheduler is asked so often at most about a node that is not known to hold a job */
};

#define MS_NS INT64_C(1000000)

/* The nodes whose word on a job is taken, as the scheduler said when it was asked last. */
struct believed {
    struct holders holders;
    int64_t asked_ns; /* 0: never */
};

enum stage { STAGE_ASK, STAGE_JOIN, STAGE_REPLAY, STAGE_ENDED };

struct feed {
    struct live *live;
    char job_id[CYX_ID_BYTES]; /* "" for the state changes of all jobs */
    struct cyx_bus_tail *tail;
    struct feed *next;
    size_t users; /* these three: live->lock */
    bool starting;
    int64_t idle_ns; /* since when nobody uses it */
    pthread_mutex_t lock;
    struct believed believed;        /* the tail's thread */
    struct live_subscription *first; /* these two: feed->lock */
    uint64_t last_sequence;
};

struct live_subscription {
    struct live *live;
    atomic_uint refs;
    atomic_bool closed;
    char job_id[CYX_ID_BYTES], account_id[CYX_ID_BYTES], request_id[REQUEST_ID_BYTES];
    const struct live_sink *sink;
    void *ctx;
    bool replay;
    struct believed believed; /* the hub thread that runs it, as the next three */
    enum stage stage;
    uint64_t position;    /* read up to here */
    uint64_t delivered;   /* by the replay; the tail's older ones are repeats */
    struct feed *feed;    /* live->lock; once set, until the subscription is freed */
    bool linked, is_live; /* feed->lock, as the two links */
    struct live_subscription *previous, *next;
    int64_t due_ns; /* live->lock, as the next one */
    struct live_subscription *next_task;
};

struct live {
    struct cyx_bus *bus;
    void (*on_change)(void *ctx, const char *job_id);
    void *change_ctx;
    pthread_t threads[THREADS];
    size_t n_threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct feed *feeds;
    size_t n_feeds;
    struct live_subscription *tasks, **last_task;
    atomic_size_t n_subscriptions;
    bool stopping;
};

/* ---- references -------------------------------------------------------------------------------- */

static void unref(struct live_subscription *sub)
{
    if (atomic_fetch_sub(&sub->refs, 1) != 1)
        return;
    struct live *live = sub->live;
    pthread_mutex_lock(&live->lock);
    if (sub->feed && --sub->feed->users == 0) {
        sub->feed->idle_ns = cyx_clock_monotonic_ns();
        pthread_cond_signal(&live->changed);
    }
    pthread_mutex_unlock(&live->lock);
    sub->sink->release(sub->ctx);
    atomic_fetch_sub(&live->n_subscriptions, 1);
    free(sub);
}

/* Hands the runner's reference to the queue. */
static void enqueue(struct live_subscription *sub, int64_t delay_ms)
{
    struct live *live = sub->live;
    pthread_mutex_lock(&live->lock);
    sub->due_ns = delay_ms ? cyx_clock_monotonic_ns() + delay_ms * MS_NS : 0;
    sub->next_task = NULL;
    *live->last_task = sub;
    live->last_task = &sub->next_task;
    pthread_cond_signal(&live->changed);
    pthread_mutex_unlock(&live->lock);
}

static void fail(struct live_subscription *sub, const struct cyx_error *error)
{
    if (!atomic_exchange(&sub->closed, true))
        sub->sink->failed(sub->ctx, error);
    unref(sub);
}

/* ---- events ------------------------------------------------------------------------------------ */

bool live_parse(const struct cyx_bus_message *message, const char **ret_kind, json_t **ret_data)
{
    static const char *const kinds[] = {CYX_JOB_METRICS, CYX_JOB_LOG, CYX_JOB_STATE};
    char job_id[CYX_ID_BYTES];
    const char *kind = NULL;
    if (!cyx_subject_id(message->subject, job_id))
        return false;
    const char *word = message->subject + strlen("cyx.job.") + strlen(job_id) + 1;
    size_t length = strcspn(word, ".");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strlen(kinds[i]) == length && strncmp(word, kinds[i], length) == 0)
            kind = kinds[i];
    if (!kind || message->length > PAYLOAD_LIMIT)
        return false;
    json_t *data = json_loadb(message->data, message->length, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(data)) {
        json_decref(data);
        return false;
    }
    *ret_kind = kind;
    *ret_data = data;
    return true;
}

enum cyx_status live_ask_holders(struct cyx_bus *bus, const char *job_id,
                                 struct holders *ret_holders, struct cyx_error *err)
{
    char body[64];
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    CYX_CLEANUP_JSON json_t *json = NULL;
    int length = snprintf(body, sizeof(body), "{\"job_id\":\"%s\"}", job_id);
    enum cyx_status status = cyx_bus_request(bus, CYX_SVC_SCHEDULER_GET, NULL, body, (size_t)length,
                                             CYX_REQUEST_TIMEOUT_MS, &reply, err);
    if (status == CYX_OK)
        status = cyx_message_parse(reply.data, reply.length, &json, err);
    if (status == CYX_OK)
        holders_take(ret_holders, json_object_get(json, "job"));
    return status;
}

/* Whether a message comes from who may tell of the job. A node that is not known yet may have just been given it. */
static bool is_believed(struct live *live, const char *job_id, struct believed *believed,
                        const char *subject)
{
    if (holders_may_tell(&believed->holders, subject))
        return true;
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (believed->asked_ns && now_ns - believed->asked_ns < STRANGER_MS * MS_NS)
        return false;
    believed->asked_ns = now_ns;
    (void)live_ask_holders(live->bus, job_id, &believed->holders,
                           NULL); /* else it is asked again later */
    return holders_may_tell(&believed->holders, subject);
}

/* cyx.evt.job.<state> as the jobs topic shows it: whose it is, and without what only services need. */
static bool parse_transition(const struct cyx_bus_message *message, struct live_event *event,
                             char ret_account_id[CYX_ID_BYTES], json_t **ret_data)
{
    json_t *data = json_loadb(message->data, message->length, JSON_REJECT_DUPLICATES, NULL);
    const char *account_id = json_string_value(json_object_get(data, "account_id"));
    const char *job_id = json_string_value(json_object_get(data, "job_id"));
    if (!account_id || !cyx_id_valid(account_id) || !job_id || !cyx_id_valid(job_id)) {
        json_decref(data);
        return false;
    }
    snprintf(ret_account_id, CYX_ID_BYTES, "%s", account_id);
    event->kind = CYX_JOB_STATE;
    event->job_id = job_id;
    json_object_del(data, "event_id");
    json_object_del(data, "account_id");
    *ret_data = data;
    return true;
}

static void deliver(struct feed *feed, const struct live_event *event, const char *account_id)
{
    for (struct live_subscription *sub = feed->first, *next; sub; sub = next) {
        next = sub->next;
        if (!sub->is_live || event->cursor <= sub->delivered || atomic_load(&sub->closed) ||
            (account_id && strcmp(account_id, sub->account_id) != 0))
            continue;
        sub->sink->event(sub->ctx, event);
    }
}

/* One of a tail's messages, on its thread. */
static void on_message(void *ctx, const struct cyx_bus_message *message)
{
    struct feed *feed = ctx;
    char account_id[CYX_ID_BYTES] = "";
    CYX_CLEANUP_JSON json_t *data = NULL;
    bool topic = feed->job_id[0] == '\0';
    struct live_event event = {.job_id = feed->job_id, .cursor = message->sequence};
    char *text = NULL;
    if (topic ? parse_transition(message, &event, account_id, &data)
              : live_parse(message, &event.kind, &data) &&
                    is_believed(feed->live, feed->job_id, &feed->believed, message->subject)) {
        text = json_dumps(data, JSON_COMPACT);
        event.data = text;
        event.length = text ? strlen(text) : 0;
    }
    const struct live *live = feed->live;
    if (text && live->on_change && strcmp(event.kind, CYX_JOB_STATE) == 0)
        live->on_change(live->change_ctx, event.job_id);
    pthread_mutex_lock(&feed->lock);
    feed->last_sequence = message->sequence;
    if (text)
        deliver(feed, &event, topic ? account_id : NULL);
    pthread_mutex_unlock(&feed->lock);
    free(text);
}

/* ---- feeds ------------------------------------------------------------------------------------- */

static void feed_free(struct feed *feed)
{
    cyx_bus_tail_stop(feed->tail);
    pthread_mutex_destroy(&feed->lock);
    free(feed);
}

static struct feed *feed_find(struct live *live, const char *job_id)
{
    struct feed *feed = live->feeds;
    while (feed && strcmp(feed->job_id, job_id) != 0)
        feed = feed->next;
    return feed;
}

/* A new feed, in the table and not yet started. With the lock held. */
static struct feed *feed_add(struct live *live, const char *job_id)
{
    struct feed *feed = live->n_feeds < FEEDS_LIMIT ? calloc(1, sizeof(*feed)) : NULL;
    if (!feed)
        return NULL;
    feed->live = live;
    snprintf(feed->job_id, sizeof(feed->job_id), "%s", job_id);
    pthread_mutex_init(&feed->lock, NULL);
    feed->starting = true;
    feed->next = live->feeds;
    live->feeds = feed;
    live->n_feeds++;
    return feed;
}

static void feed_remove(struct live *live, struct feed *feed)
{
    struct feed **link = &live->feeds;
    while (*link != feed)
        link = &(*link)->next;
    *link = feed->next;
    live->n_feeds--;
}

static enum cyx_status feed_start(struct feed *feed, struct cyx_error *err)
{
    struct live *live = feed->live;
    char subject[CYX_SUBJECT_BYTES] = CYX_EVT_JOB_ALL;
    const char *stream = CYX_STREAM_EVENTS;
    enum cyx_status status = CYX_OK;
    if (feed->job_id[0]) {
        stream = CYX_STREAM_JOBS;
        status = cyx_subject_job(subject, feed->job_id, ">");
    }
    if (status == CYX_OK)
        status = cyx_bus_tail(live->bus, stream, subject, 0, on_message, feed, &feed->tail, err);
    pthread_mutex_lock(&live->lock);
    feed->starting = false;
    if (status != CYX_OK)
        feed_remove(live, feed);
    pthread_mutex_unlock(&live->lock);
    if (status != CYX_OK)
        feed_free(feed);
    return status;
}

/* CYX_ERR_CONFLICT: another thread is starting the tail, ask again soon. */
static enum cyx_status join(struct live_subscription *sub, struct cyx_error *err)
{
    struct live *live = sub->live;
    pthread_mutex_lock(&live->lock);
    struct feed *feed = feed_find(live, sub->job_id);
    bool wait = feed && feed->starting, start = !feed;
    if (start)
        feed = feed_add(live, sub->job_id);
    if (feed && !wait)
        feed->users++;
    if (feed && !wait && !start)
        sub->feed = feed;
    pthread_mutex_unlock(&live->lock);
    if (!feed)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                             "too many jobs are watched at this moment; try again later");
    if (wait)
        return CYX_ERR_CONFLICT;
    enum cyx_status status = start ? feed_start(feed, err) : CYX_OK;
    if (start && status == CYX_OK) {
        pthread_mutex_lock(&live->lock);
        sub->feed = feed;
        pthread_mutex_unlock(&live->lock);
    }
    return status;
}

/* Says that it is subscribed and lets events come, with none lost or told in between. */
static void link_to_feed(struct live_subscription *sub)
{
    struct feed *feed = sub->feed;
    pthread_mutex_lock(&feed->lock);
    if (!atomic_load(&sub->closed)) {
        if (sub->sink->subscribed)
            sub->sink->subscribed(sub->ctx);
        sub->linked = true;
        sub->is_live = !sub->replay;
        sub->next = feed->first;
        if (feed->first)
            feed->first->previous = sub;
        feed->first = sub;
    }
    pthread_mutex_unlock(&feed->lock);
}

/* ---- a subscription's steps, on a hub thread ----------------------------------------------------- */

/* The scheduler gives the job only to its account: anybody else's is "not-found". Its reply is added to `reply`. */
static enum cyx_status ask_scheduler(struct live_subscription *sub, struct cyx_buf *reply,
                                     struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf body = {0};
    enum cyx_status status = cyx_message_write(
        json_pack("{s:s,s:s}", "job_id", sub->job_id, "account_id", sub->account_id), &body, err);
    if (status != CYX_OK)
        return status;
    struct cyx_bus_meta meta = {.request_id = sub->request_id, .account = sub->account_id};
    status = cyx_bus_request(sub->live->bus, CYX_SVC_SCHEDULER_GET, &meta, body.data, body.length,
                             CYX_REQUEST_TIMEOUT_MS, reply, err);
    if (status == CYX_OK || status == CYX_ERR_NOT_FOUND)
        return status;
    cyx_log(CYX_LOG_WARN, "subscription not authorized", CYX_STR("error", err->message),
            CYX_STR("request_id", sub->request_id));
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL,
                         "the scheduler does not answer; try again in a few seconds");
}

struct chunk {
    struct live_subscription *sub;
    size_t seen;
    bool full; /* the reader is slow: what follows is read again later */
};

static void on_replayed(void *ctx, const struct cyx_bus_message *message)
{
    struct chunk *chunk = ctx;
    struct live_subscription *sub = chunk->sub;
    CYX_CLEANUP_JSON json_t *data = NULL;
    struct live_event event = {
        .job_id = sub->job_id, .cursor = message->sequence, .replayed = true};
    if (chunk->full || atomic_load(&sub->closed))
        return;
    if (live_parse(message, &event.kind, &data) &&
        is_believed(sub->live, sub->job_id, &sub->believed, message->subject)) {
        char *text = json_dumps(data, JSON_COMPACT);
        event.data = text;
        event.length = text ? strlen(text) : 0;
        chunk->full = text && sub->sink->event(sub->ctx, &event) == CYX_ERR_TOO_LARGE;
        free(text);
    }
    if (chunk->full)
        return;
    chunk->seen++;
    sub->position = sub->delivered = message->sequence;
}

/* From here on the tail delivers, if nothing came between. */
static bool go_live(struct live_subscription *sub)
{
    pthread_mutex_lock(&sub->feed->lock);
    bool caught_up = sub->feed->last_sequence <= sub->position;
    sub->is_live = caught_up;
    pthread_mutex_unlock(&sub->feed->lock);
    return caught_up;
}

/* One chunk; true when there is more to do, after `*ret_delay_ms`. */
static bool replay(struct live_subscription *sub, int64_t *ret_delay_ms, struct cyx_error *err)
{
    char subject[CYX_SUBJECT_BYTES];
    struct chunk chunk = {.sub = sub};
    *ret_delay_ms = 0;
    enum cyx_status status = cyx_subject_job(subject, sub->job_id, ">");
    if (status == CYX_OK)
        status = cyx_bus_read(sub->live->bus, CYX_STREAM_JOBS, subject, sub->position + 1, CHUNK,
                              on_replayed, &chunk, err);
    if (status != CYX_OK) { /* the bus is away: go on when it is back */
        cyx_log(CYX_LOG_DEBUG, "replay waits", CYX_STR("error", err->message));
        *ret_delay_ms = AWAY_MS;
        return true;
    }
    if (chunk.full)
        *ret_delay_ms = SLOW_MS;
    return chunk.full || chunk.seen == CHUNK || !go_live(sub);
}

/* Whether the job had ended before the tail began to deliver: then nothing that tells of it will come. */
static enum cyx_status ask_ended(struct live_subscription *sub, bool *ret_ended,
                                 struct cyx_error *err)
{
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    CYX_CLEANUP_JSON json_t *body = NULL;
    enum cyx_status status = ask_scheduler(sub, &reply, err);
    if (status == CYX_OK)
        status = cyx_message_parse(reply.data, reply.length, &body, err);
    const json_t *ended_at = json_object_get(json_object_get(body, "job"), "ended_at");
    if (status == CYX_OK)
        *ret_ended = json_is_string(ended_at);
    return status;
}

/* The last step, for sinks that want to know of the end. True when it is to be tried again. */
static bool tell_ended(struct live_subscription *sub, struct cyx_error *err)
{
    bool ended = false;
    if (!sub->sink->ended || !sub->job_id[0])
        return false;
    enum cyx_status status = ask_ended(sub, &ended, err);
    if (ended)
        sub->sink->ended(sub->ctx);
    return status == CYX_ERR_UNAVAILABLE;
}

/* Asks, joins: what comes before the first event. False when the runner's reference has been handed on. */
static bool begin(struct live_subscription *sub, struct cyx_error *err)
{
    if (sub->stage == STAGE_ASK) {
        CYX_CLEANUP_BUF struct cyx_buf reply = {0};
        if (ask_scheduler(sub, &reply, err) != CYX_OK) {
            fail(sub, err);
            return false;
        }
        sub->stage = STAGE_JOIN;
    }
    if (sub->stage == STAGE_JOIN) {
        enum cyx_status status = join(sub, err);
        if (status == CYX_ERR_CONFLICT) {
            enqueue(sub, AGAIN_MS);
            return false;
        }
        if (status != CYX_OK) {
            fail(sub, err);
            return false;
        }
        sub->stage = STAGE_REPLAY;
        link_to_feed(sub);
    }
    return true;
}

static void run(struct live_subscription *sub)
{
    struct cyx_error err = {0};
    int64_t delay_ms = 0;
    if (atomic_load(&sub->closed)) {
        unref(sub);
        return;
    }
    if (!begin(sub, &err))
        return;
    if (sub->stage == STAGE_REPLAY && sub->replay && replay(sub, &delay_ms, &err)) {
        enqueue(sub, delay_ms);
        return;
    }
    sub->stage = STAGE_ENDED;
    if (tell_ended(sub, &err))
        enqueue(sub, AWAY_MS);
    else
        unref(sub);
}

/* ---- the hub's threads ------------------------------------------------------------------------- */

/* The first that is due; else when the next one is, in *ret_due_ns. With the lock held. */
static struct live_subscription *take_task(struct live *live, int64_t now_ns, int64_t *ret_due_ns)
{
    for (struct live_subscription **link = &live->tasks; *link; link = &(*link)->next_task) {
        struct live_subscription *sub = *link;
        if (sub->due_ns <= now_ns || live->stopping) {
            *link = sub->next_task;
            if (live->last_task == &sub->next_task)
                live->last_task = link;
            return sub;
        }
        *ret_due_ns = sub->due_ns < *ret_due_ns ? sub->due_ns : *ret_due_ns;
    }
    return NULL;
}

static struct feed *take_idle_feed(struct live *live, int64_t now_ns, int64_t *ret_due_ns)
{
    for (struct feed *feed = live->feeds; feed; feed = feed->next) {
        int64_t due_ns = feed->idle_ns + LINGER_MS * MS_NS;
        if (feed->users > 0 || feed->starting)
            continue;
        if (due_ns <= now_ns) {
            feed_remove(live, feed);
            return feed;
        }
        *ret_due_ns = due_ns < *ret_due_ns ? due_ns : *ret_due_ns;
    }
    return NULL;
}

static void *hub_thread(void *ctx)
{
    struct live *live = ctx;
    pthread_mutex_lock(&live->lock);
    while (!live->stopping) {
        int64_t now_ns = cyx_clock_monotonic_ns(), due_ns = now_ns + 60 * 1000 * MS_NS;
        struct feed *idle = take_idle_feed(live, now_ns, &due_ns);
        struct live_subscription *sub = idle ? NULL : take_task(live, now_ns, &due_ns);
        if (idle || sub) {
            pthread_mutex_unlock(&live->lock);
            if (idle)
                feed_free(idle);
            if (sub)
                run(sub);
            pthread_mutex_lock(&live->lock);
            continue;
        }
        struct timespec until = {due_ns / 1000000000, due_ns % 1000000000};
        pthread_cond_clockwait(&live->changed, &live->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&live->lock);
    return NULL;
}

enum cyx_status live_create(struct cyx_bus *bus, void (*on_change)(void *ctx, const char *job_id),
                            void *ctx, struct live **ret_live, struct cyx_error *err)
{
    struct live *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for live events");
    self->on_change = on_change;
    self->change_ctx = ctx;
    self->bus = bus;
    self->last_task = &self->tasks;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    for (; self->n_threads < THREADS; self->n_threads++)
        if (pthread_create(&self->threads[self->n_threads], NULL, hub_thread, self) != 0) {
            live_destroy(self);
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "a thread cannot start");
        }
    *ret_live = self;
    return CYX_OK;
}

void live_destroy(struct live *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    for (size_t i = 0; i < self->n_threads; i++)
        pthread_join(self->threads[i], NULL);
    int64_t never = 0;
    for (struct live_subscription *sub; (sub = take_task(self, 0, &never));)
        unref(sub);
    while (self->feeds) {
        struct feed *feed = self->feeds;
        feed_remove(self, feed);
        feed_free(feed);
    }
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* ---- for the outside --------------------------------------------------------------------------- */

enum cyx_status live_subscribe(struct live *self, const struct live_request *request,
                               struct live_subscription **ret_subscription, struct cyx_error *err)
{
    struct live_subscription *sub = calloc(1, sizeof(*sub));
    if (!sub)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for a subscription");
    sub->live = self;
    atomic_store(&sub->refs, 2); /* the caller's and the queue's */
    snprintf(sub->account_id, sizeof(sub->account_id), "%s", request->account_id);
    snprintf(sub->request_id, sizeof(sub->request_id), "%s", request->request_id);
    for (size_t i = 0; request->job_id && i < CYX_ID_BYTES - 1; i++) {
        char c = request->job_id[i];
        sub->job_id[i] = (char)(c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);
    }
    sub->sink = request->sink;
    sub->ctx = request->ctx;
    sub->replay = request->replay && request->job_id;
    sub->position = request->cursor;
    sub->stage = request->job_id && !request->authorized ? STAGE_ASK : STAGE_JOIN;
    atomic_fetch_add(&self->n_subscriptions, 1);
    *ret_subscription = sub;
    enqueue(sub, 0);
    return CYX_OK;
}

void live_unsubscribe(struct live_subscription *subscription)
{
    struct live_subscription *sub = subscription;
    if (!sub)
        return;
    atomic_store(&sub->closed, true);
    pthread_mutex_lock(&sub->live->lock);
    struct feed *feed = sub->feed;
    pthread_mutex_unlock(&sub->live->lock);
    if (feed) {
        pthread_mutex_lock(&feed->lock);
        if (sub->linked) {
            if (sub->previous)
                sub->previous->next = sub->next;
            else
                feed->first = sub->next;
            if (sub->next)
                sub->next->previous = sub->previous;
            sub->linked = false;
        }
        pthread_mutex_unlock(&feed->lock);
    }
    unref(sub);
}

void live_counts(struct live *self, size_t *ret_feeds, size_t *ret_subscriptions)
{
    pthread_mutex_lock(&self->lock);
    *ret_feeds = self->n_feeds;
    pthread_mutex_unlock(&self->lock);
    *ret_subscriptions = atomic_load(&self->n_subscriptions);
}
