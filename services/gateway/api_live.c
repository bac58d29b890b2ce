/* What is seen while a job runs: WebSocket and Server-Sent Events. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/text.h"
#include "contract/message.h"
#include "contract/subjects.h"
#include "readers.h"

#include "base/banned.h"

enum {
    WATCHES_LIMIT = 64, /* subscriptions of a connection */
    WATCH_ID_LIMIT = 64,
    WS_MESSAGE_LIMIT = 4096,
    WS_QUEUE_BYTES = 256 * 1024,
    WS_REPLAY_BYTES = 128 * 1024, /* a replay waits while so much is queued */
};

/* ---- WebSocket --------------------------------------------------------------------------------- */

struct watch;

struct connection {
    atomic_uint refs; /* the socket's, and one a watch */
    struct app *app;
    struct cyx_ws *ws; /* from on_open on */
    struct reader reader;
    char account_id[CYX_ID_BYTES], request_id[128];
    pthread_mutex_t lock;
    struct watch *watches[WATCHES_LIMIT]; /* with the lock */
};

struct watch {
    struct connection *connection;
    struct live_subscription *subscription; /* connection->lock */
    char id[WATCH_ID_LIMIT + 1];
    char *head;         /* {"type":"event","id":"…", */
    atomic_ullong lost; /* not yet told */
};

static void connection_unref(struct connection *self)
{
    if (atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    if (self->ws)
        cyx_ws_unref(self->ws);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* Sends one message and drops the reference. */
static enum cyx_status send_json(struct connection *self, json_t *json)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if (cyx_message_write(json, &text, NULL) != CYX_OK)
        return CYX_ERR_NO_MEMORY;
    return cyx_ws_send(self->ws, text.data, text.length, CYX_WS_TEXT);
}

static void send_error(struct connection *self, const char *id, const struct cyx_error *error)
{
    send_json(self, json_pack("{s:s,s:o,s:o}", "type", "error", "id", cyx_message_new_text(id),
                              "problem", api_problem(error, "/api/v1/ws", self->request_id)));
}

static void tell_lost(struct watch *watch)
{
    unsigned long long lost = atomic_exchange(&watch->lost, 0);
    if (lost == 0)
        return;
    enum cyx_status status =
        send_json(watch->connection, json_pack("{s:s,s:s,s:I}", "type", "lost", "id", watch->id,
                                               "count", (json_int_t)lost));
    if (status != CYX_OK)
        atomic_fetch_add(&watch->lost, lost);
}

static enum cyx_status watch_event(void *ctx, const struct live_event *event)
{
    struct watch *watch = ctx;
    struct cyx_ws *ws = watch->connection->ws;
    size_t queued = 0;
    uint64_t dropped = 0;
    if (event->replayed) {
        cyx_ws_queue(ws, &queued, &dropped);
        if (queued > WS_REPLAY_BYTES)
            return CYX_ERR_TOO_LARGE;
    }
    tell_lost(watch);
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_puts(&text, watch->head);
    cyx_buf_printf(&text, "\"event\":\"%s\",\"job_id\":\"%s\",\"cursor\":%" PRIu64 ",\"data\":",
                   event->kind, event->job_id, event->cursor);
    cyx_buf_append(&text, event->data, event->length);
    cyx_buf_puts(&text, "}");
    if (text.failed)
        return CYX_ERR_NO_MEMORY;
    bool detail = strcmp(event->kind, CYX_JOB_METRICS) == 0 && !event->replayed;
    enum cyx_status status = cyx_ws_send(ws, text.data, text.length, detail ? CYX_WS_DROPPABLE : 0);
    if (status == CYX_ERR_TOO_LARGE && !event->replayed)
        atomic_fetch_add(&watch->lost, 1);
    return status;
}

static void watch_subscribed(void *ctx)
{
    struct watch *watch = ctx;
    send_json(watch->connection, json_pack("{s:s,s:s}", "type", "subscribed", "id", watch->id));
}

/* Takes a watch out of the table; NULL when it is not there (any more). */
static struct live_subscription *take_watch(struct connection *self, const char *id)
{
    struct live_subscription *subscription = NULL;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < WATCHES_LIMIT; i++) {
        if (self->watches[i] && strcmp(self->watches[i]->id, id) == 0) {
            subscription = self->watches[i]->subscription;
            self->watches[i] = NULL;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return subscription;
}

static void watch_failed(void *ctx, const struct cyx_error *error)
{
    struct watch *watch = ctx;
    send_error(watch->connection, watch->id, error);
    live_unsubscribe(take_watch(watch->connection, watch->id));
}

static void watch_release(void *ctx)
{
    struct watch *watch = ctx;
    struct connection *connection = watch->connection;
    free(watch->head);
    free(watch);
    connection_unref(connection);
}

static const struct live_sink watch_sink = {.event = watch_event,
                                            .subscribed = watch_subscribed,
                                            .failed = watch_failed,
                                            .release = watch_release};

static struct watch *watch_new(struct connection *connection, const char *id)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    CYX_CLEANUP_BUF struct cyx_buf head = {0};
    cyx_buf_puts(&head, "{\"type\":\"event\",\"id\":");
    cyx_buf_json_string(&head, id);
    cyx_buf_puts(&head, ",");
    if (watch)
        watch->head = cyx_buf_steal(&head);
    if (!watch || !watch->head) {
        free(watch);
        return NULL;
    }
    snprintf(watch->id, sizeof(watch->id), "%s", id);
    watch->connection = connection;
    atomic_fetch_add(&connection->refs, 1);
    return watch;
}

/* A free place for `id`, with the lock held. */
static enum cyx_status find_place(struct connection *self, const char *id, size_t *ret_place,
                                  struct cyx_error *err)
{
    size_t place = WATCHES_LIMIT;
    for (size_t i = WATCHES_LIMIT; i-- > 0;) {
        if (!self->watches[i])
            place = i;
        else if (strcmp(self->watches[i]->id, id) == 0)
            return cyx_error_set(err, CYX_ERR_CONFLICT, "/id", "this id is in use");
    }
    if (place == WATCHES_LIMIT)
        return cyx_error_set(err, CYX_ERR_TOO_LARGE, NULL,
                             "expected at most %d subscriptions a connection", WATCHES_LIMIT);
    *ret_place = place;
    return CYX_OK;
}

static enum cyx_status begin_watch(struct connection *self, const char *id,
                                   struct live_request *request, struct cyx_error *err)
{
    size_t place = 0;
    pthread_mutex_lock(&self->lock);
    enum cyx_status status = find_place(self, id, &place, err);
    struct watch *watch = status == CYX_OK ? watch_new(self, id) : NULL;
    if (status == CYX_OK && !watch)
        status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory");
    if (status == CYX_OK) {
        request->sink = &watch_sink;
        request->ctx = watch;
        request->account_id = self->account_id;
        request->request_id = self->request_id;
        status = live_subscribe(self->app->live, request, &watch->subscription, err);
        if (status == CYX_OK)
            self->watches[place] = watch;
    }
    pthread_mutex_unlock(&self->lock);
    if (status != CYX_OK && watch)
        watch_release(watch);
    return status;
}

static enum cyx_status subscribe(struct connection *self, const json_t *message, const char *id,
                                 struct cyx_error *err)
{
    const char *topic = NULL;
    int64_t cursor = -1;
    struct live_request request = {0};
    enum cyx_status status = cyx_message_maybe_text(message, "topic", &topic, err);
    if (status == CYX_OK && topic)
        status = strcmp(topic, "jobs") == 0
                     ? CYX_OK
                     : cyx_error_set(err, CYX_ERR_INVALID, "/topic", "expected \"jobs\"");
    else if (status == CYX_OK)
        status = cyx_message_id(message, "job_id", &request.job_id, err);
    if (status == CYX_OK)
        status = cyx_message_maybe_int(message, "cursor", 0, INT64_MAX, &cursor, err);
    if (status != CYX_OK)
        return status;
    request.replay = cursor >= 0;
    request.cursor = cursor >= 0 ? (uint64_t)cursor : 0;
    return begin_watch(self, id, &request, err);
}

static enum cyx_status unsubscribe(struct connection *self, const char *id, struct cyx_error *err)
{
    struct live_subscription *subscription = take_watch(self, id);
    if (!subscription)
        return cyx_error_set(err, CYX_ERR_NOT_FOUND, "/id", "there is no such subscription");
    live_unsubscribe(subscription);
    return send_json(self, json_pack("{s:s,s:s}", "type", "unsubscribed", "id", id));
}

static enum cyx_status dispatch(struct connection *self, const json_t *message, const char **ret_id,
                                struct cyx_error *err)
{
    const char *type = NULL, *id = NULL;
    enum cyx_status status = cyx_message_text(message, "type", &type, err);
    if (status != CYX_OK)
        return status;
    if (strcmp(type, "ping") == 0)
        return send_json(self, json_pack("{s:s}", "type", "pong"));
    bool subscribes = strcmp(type, "subscribe") == 0;
    if (!subscribes && strcmp(type, "unsubscribe") != 0)
        return cyx_error_set(err, CYX_ERR_INVALID, "/type",
                             "expected \"subscribe\", \"unsubscribe\" or \"ping\"");
    if ((status = cyx_message_text(message, "id", &id, err)) != CYX_OK)
        return status;
    if (strlen(id) > WATCH_ID_LIMIT)
        return cyx_error_set(err, CYX_ERR_INVALID, "/id", "expected at most %d bytes",
                             WATCH_ID_LIMIT);
    *ret_id = id;
    return subscribes ? subscribe(self, message, id, err) : unsubscribe(self, id, err);
}

static void ws_message(void *user, struct cyx_ws *ws, bool text, const char *bytes, size_t length)
{
    struct connection *self = user;
    (void)ws;
    struct cyx_error err = {0};
    const char *id = NULL;
    CYX_CLEANUP_JSON json_t *message = NULL;
    enum cyx_status status = text ? cyx_message_parse(bytes, length, &message, &err)
                                  : cyx_error_set(&err, CYX_ERR_INVALID, NULL,
                                                  "expected a text message with a JSON object");
    if (status == CYX_OK)
        status = dispatch(self, message, &id, &err);
    if (status != CYX_OK && err.status != CYX_OK)
        send_error(self, id, &err);
}

/* By what a stream is opened. */
static struct store_credential credential_of(const struct api_caller *caller)
{
    struct store_credential credential = {.session = caller->kind == API_CALLER_SESSION};
    cyx_text_copy(credential.name, sizeof(credential.name),
                  credential.session ? caller->session_hash : caller->key_id);
    return credential;
}

static enum cyx_status ws_accept(void *ctx, const struct cyx_http_request *request,
                                 struct cyx_http_response *response, void **ret_user)
{
    const struct api_caller *caller = api_caller(request);
    if (caller->kind == API_CALLER_SESSION &&
        (!cyx_http_header(request, "Origin") || !api_origin_own(ctx, request)))
        return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL,
                             "a session opens WebSockets from the gateway's own pages only; others "
                             "send an API key as Authorization");
    struct connection *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    atomic_store(&self->refs, 1);
    self->app = ctx;
    self->reader.credential = credential_of(caller);
    memcpy(self->account_id, caller->account.id, sizeof(self->account_id));
    snprintf(self->request_id, sizeof(self->request_id), "%s", request->request_id);
    pthread_mutex_init(&self->lock, NULL);
    *ret_user = self;
    return CYX_OK;
}

static void ws_open(void *user, struct cyx_ws *ws)
{
    struct connection *self = user;
    self->ws = cyx_ws_ref(ws);
    self->reader.ws = self->ws;
    readers_add(self->app->readers, &self->reader);
}

/* The reader is at speed again: every watch is told how much detail its connection lost. */
static void ws_drained(void *user, struct cyx_ws *ws, uint64_t dropped)
{
    struct connection *self = user;
    (void)ws;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < WATCHES_LIMIT; i++) {
        if (self->watches[i]) {
            atomic_fetch_add(&self->watches[i]->lost, dropped);
            tell_lost(self->watches[i]);
        }
    }
    pthread_mutex_unlock(&self->lock);
}

static void ws_close(void *user, struct cyx_ws *ws, unsigned code, const char *reason)
{
    struct connection *self = user;
    (void)ws;
    (void)code;
    (void)reason;
    readers_remove(self->app->readers, &self->reader);
    for (size_t i = 0; i < WATCHES_LIMIT; i++) {
        pthread_mutex_lock(&self->lock);
        struct live_subscription *subscription =
            self->watches[i] ? self->watches[i]->subscription : NULL;
        self->watches[i] = NULL;
        pthread_mutex_unlock(&self->lock);
        live_unsubscribe(subscription);
    }
    connection_unref(self);
}

const struct cyx_ws_handlers api_websocket = {
    .accept = ws_accept,
    .on_open = ws_open,
    .on_message = ws_message,
    .on_drained = ws_drained,
    .on_close = ws_close,
    .max_message_bytes = WS_MESSAGE_LIMIT,
    .max_queued_bytes = WS_QUEUE_BYTES,
};

/* ---- Server-Sent Events ------------------------------------------------------------------------ */

struct listener {
    atomic_uint refs; /* the stream's end and the subscription's */
    struct app *app;
    struct cyx_http_stream *stream;
    struct reader reader;
    pthread_mutex_t lock;
    struct live_subscription *subscription;
    bool closed;
    atomic_ullong lost;
};

static void listener_unref(struct listener *self)
{
    if (atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    if (self->stream)
        cyx_http_stream_unref(self->stream);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static void listener_lost(struct listener *self)
{
    unsigned long long lost = atomic_exchange(&self->lost, 0);
    char data[48];
    snprintf(data, sizeof(data), "{\"count\":%llu}", lost);
    if (lost > 0 && cyx_http_stream_event(self->stream, "lost", NULL, data) == CYX_ERR_TOO_LARGE)
        atomic_fetch_add(&self->lost, lost);
}

static enum cyx_status listener_event(void *ctx, const struct live_event *event)
{
    struct listener *self = ctx;
    char id[24];
    snprintf(id, sizeof(id), "%" PRIu64, event->cursor);
    listener_lost(self);
    enum cyx_status status = cyx_http_stream_event(self->stream, event->kind, id, event->data);
    if (status == CYX_ERR_TOO_LARGE && !event->replayed)
        atomic_fetch_add(&self->lost, 1);
    return status;
}

static void listener_subscribed(void *ctx)
{
    static const char hello[] = ": subscribed\n\n";
    struct listener *self = ctx;
    cyx_http_stream_push(self->stream, hello, sizeof(hello) - 1);
}

/* Who waits for the end of a job that has ended would wait for ever. */
static void listener_ended(void *ctx)
{
    struct listener *self = ctx;
    cyx_http_stream_end(self->stream);
}

static void listener_failed(void *ctx, const struct cyx_error *error)
{
    struct listener *self = ctx;
    json_t *problem = api_problem(error, "/api/v1/jobs", "");
    char *text = problem ? json_dumps(problem, JSON_COMPACT) : NULL;
    if (text)
        cyx_http_stream_event(self->stream, "error", NULL, text);
    free(text);
    json_decref(problem);
    cyx_http_stream_end(self->stream);
}

static void listener_release(void *ctx)
{
    listener_unref(ctx);
}

static const struct live_sink listener_sink = {.event = listener_event,
                                               .subscribed = listener_subscribed,
                                               .ended = listener_ended,
                                               .failed = listener_failed,
                                               .release = listener_release};

static void stream_closed(void *user, struct cyx_http_stream *stream)
{
    struct listener *self = user;
    (void)stream;
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    struct live_subscription *subscription = self->subscription;
    self->subscription = NULL;
    pthread_mutex_unlock(&self->lock);
    readers_remove(self->app->readers, &self->reader);
    live_unsubscribe(subscription);
    listener_unref(self);
}

/* "Last-Event-ID: 17": CYX_ERR_INVALID for what is no number. */
static enum cyx_status last_event(const struct cyx_http_request *request,
                                  struct live_request *ret_request, struct cyx_error *err)
{
    const char *text = cyx_http_header(request, "Last-Event-ID");
    if (!text || !*text)
        return CYX_OK;
    char *end = NULL;
    ret_request->cursor = strtoull(text, &end, 10);
    ret_request->replay = true;
    if (*text < '0' || *text > '9' || *end != '\0' || ret_request->cursor > INT64_MAX)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "Last-Event-ID: expected the id of an event of this stream");
    return CYX_OK;
}

static enum cyx_status listen(struct app *app, const struct api_caller *caller,
                              struct cyx_http_response *response, struct live_request *request)
{
    struct listener *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(&response->error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    atomic_store(&self->refs, 2);
    self->app = app;
    self->reader.credential = credential_of(caller);
    pthread_mutex_init(&self->lock, NULL);
    struct cyx_http_stream_options options = {.on_close = stream_closed, .user = self};
    enum cyx_status status = cyx_http_respond_stream(response, &options, &self->stream);
    if (status != CYX_OK) {
        atomic_store(&self->refs, 1); /* there will be no end of a stream */
        listener_unref(self);
        return status;
    }
    self->reader.stream = self->stream;
    pthread_mutex_lock(&self->lock);
    if (!self->closed)
        readers_add(app->readers, &self->reader);
    pthread_mutex_unlock(&self->lock);
    request->sink = &listener_sink;
    request->ctx = self;
    struct live_subscription *subscription = NULL;
    if (live_subscribe(app->live, request, &subscription, NULL) != CYX_OK) {
        cyx_http_stream_end(self->stream); /* the browser comes again */
        listener_unref(self);
        return CYX_OK;
    }
    pthread_mutex_lock(&self->lock);
    bool closed = self->closed;
    if (!closed)
        self->subscription = subscription;
    pthread_mutex_unlock(&self->lock);
    if (closed)
        live_unsubscribe(subscription);
    return CYX_OK;
}

enum cyx_status api_jobs_events(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    struct live_request live_request = {.account_id = api_caller(request)->account.id,
                                        .request_id = request->request_id,
                                        .job_id = cyx_http_param(request, "id"),
                                        .authorized = true};
    CYX_CLEANUP_JSON json_t *job = NULL;
    enum cyx_status status = last_event(request, &live_request, &response->error);
    if (status == CYX_OK)
        status = api_own_job(ctx, request, response, &job);
    return status == CYX_OK ? listen(ctx, api_caller(request), response, &live_request) : status;
}
