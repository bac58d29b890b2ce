#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bus/bus_internal.h"

#include "base/banned.h"

/* ---- the answering side ---- */

static void append_error(struct cyx_buf *reply, const struct cyx_error *error)
{
    cyx_buf_puts(reply, "{\"error\":{\"status\":");
    cyx_buf_json_string(reply, cyx_status_name(error->status));
    cyx_buf_puts(reply, ",\"pointer\":");
    cyx_buf_json_string(reply, error->pointer);
    cyx_buf_puts(reply, ",\"message\":");
    cyx_buf_json_string(reply, error->message);
    cyx_buf_puts(reply, "}}");
}

static void send_reply(struct cyx_bus *self, natsMsg *request, const struct cyx_bus_meta *meta,
                       const struct cyx_buf *reply)
{
    const char *to = natsMsg_GetReply(request);
    natsMsg *msg = NULL;
    if (!to)
        return; /* somebody published instead of asking */
    const char *json = reply->length ? reply->data : "{}";
    struct cyx_bus_meta back = {.request_id = meta->request_id, .traceparent = meta->traceparent};
    if (cyx_bus_msg_new(to, NULL, NULL, &back, json, reply->length ? reply->length : 2, &msg,
                        NULL) != CYX_OK)
        return;
    natsConnection_PublishMsg(self->nc, msg); /* without a server the asker's time runs out */
    natsMsg_Destroy(msg);
}

static void reply_error(struct cyx_bus *self, natsMsg *request, const struct cyx_bus_meta *meta,
                        const struct cyx_error *error)
{
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    append_error(&reply, error);
    if (!reply.failed)
        send_reply(self, request, meta, &reply);
}

static enum cyx_status answer(struct cyx_bus *self, struct cyx_bus_listener *listener, natsMsg *msg)
{
    struct cyx_bus_message request;
    cyx_bus_msg_view(msg, &request);
    struct cyx_trace trace; /* so that a handler always has ids to log and to pass on */
    cyx_trace_start(&trace, request.meta.request_id, request.meta.traceparent);
    request.meta.request_id = trace.request_id;
    request.meta.traceparent = trace.traceparent;
    CYX_CLEANUP_BUF struct cyx_buf reply = {0};
    struct cyx_error err = {0};
    enum cyx_status status = listener->handler(listener->ctx, &request, &reply, &err);
    if (status == CYX_OK && reply.failed)
        status = cyx_error_set(&err, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    if (status == CYX_OK && reply.length > CYX_BUS_PAYLOAD_BYTES)
        status = cyx_error_set(&err, CYX_ERR_TOO_LARGE, NULL,
                               "the answer of %zu bytes is over the limit of %d; ask for less",
                               reply.length, CYX_BUS_PAYLOAD_BYTES);
    if (status == CYX_OK) {
        send_reply(self, msg, &request.meta, &reply);
        return CYX_OK;
    }
    err.status = status;
    reply_error(self, msg, &request.meta, &err);
    return status;
}

static struct cyx_bus_task *task_pop(struct cyx_bus *self)
{
    struct cyx_bus_task *task = self->tasks;
    if (task) {
        self->tasks = task->next;
        if (!self->tasks)
            self->tasks_tail = &self->tasks;
        self->waiting--;
    }
    return task;
}

static void *worker_main(void *ctx)
{
    struct cyx_bus *self = ctx;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        struct cyx_bus_task *task = self->closing ? NULL : task_pop(self);
        if (!task) {
            if (self->closing)
                break;
            pthread_cond_wait(&self->task, &self->lock);
            continue;
        }
        self->running++;
        pthread_mutex_unlock(&self->lock);
        int64_t start_ns = cyx_clock_monotonic_ns();
        enum cyx_status status = answer(self, task->listener, task->msg);
        if (self->observe)
            self->observe(self->observe_ctx, task->listener->subject, status,
                          (double)(cyx_clock_monotonic_ns() - start_ns) / 1e9);
        natsMsg_Destroy(task->msg);
        free(task);
        pthread_mutex_lock(&self->lock);
        self->running--;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    nats_ReleaseThreadMemory();
    return NULL;
}

enum cyx_status cyx_bus_workers_start(struct cyx_bus *self, unsigned count, struct cyx_error *err)
{
    self->workers = calloc(count, sizeof(*self->workers));
    if (!self->workers)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    for (; self->worker_count < count; self->worker_count++)
        if (pthread_create(&self->workers[self->worker_count], NULL, worker_main, self) != 0)
            return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: cannot start a thread");
    return CYX_OK;
}

void cyx_bus_workers_join(struct cyx_bus *self)
{
    for (unsigned i = 0; i < self->worker_count; i++)
        pthread_join(self->workers[i], NULL);
    free(self->workers);
    for (struct cyx_bus_task *task; (task = task_pop(self));) {
        natsMsg_Destroy(task->msg);
        free(task);
    }
}

/* Runs on the subscription's thread: hands over to a worker, or says at once that all are busy. */
static void on_request(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *ctx)
{
    (void)nc;
    (void)sub;
    struct cyx_bus_listener *listener = ctx;
    struct cyx_bus *self = listener->bus;
    struct cyx_bus_task *task = calloc(1, sizeof(*task));
    pthread_mutex_lock(&self->lock);
    bool room = task && !self->closing && self->waiting < self->queue_limit;
    if (room) {
        *task = (struct cyx_bus_task){.listener = listener, .msg = msg};
        *self->tasks_tail = task;
        self->tasks_tail = &task->next;
        self->waiting++;
        pthread_cond_signal(&self->task);
    }
    pthread_mutex_unlock(&self->lock);
    if (room)
        return;
    free(task);
    struct cyx_bus_message view;
    cyx_bus_msg_view(msg, &view);
    struct cyx_error busy = {0};
    cyx_error_set(&busy, CYX_ERR_UNAVAILABLE, NULL, "busy: %zu requests wait already; try again",
                  self->queue_limit);
    reply_error(self, msg, &view.meta, &busy);
    natsMsg_Destroy(msg);
}

/* ---- plain subscriptions ---- */

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *ctx)
{
    (void)nc;
    (void)sub;
    struct cyx_bus_listener *listener = ctx;
    struct cyx_bus_message message;
    cyx_bus_msg_view(msg, &message);
    listener->callback(listener->ctx, &message);
    natsMsg_Destroy(msg);
}

static void on_complete(void *ctx)
{
    struct cyx_bus_listener *listener = ctx;
    struct cyx_bus *self = listener->bus;
    pthread_mutex_lock(&self->lock);
    self->live_listeners--;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static enum cyx_status listen_on(struct cyx_bus *self, const char *subject, const char *queue_group,
                                 const struct cyx_bus_listener *what, struct cyx_error *err)
{
    struct cyx_bus_listener *listener = malloc(sizeof(*listener));
    if (!listener)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    *listener = *what;
    listener->bus = self;
    listener->subject = strdup(subject);
    if (!listener->subject) {
        free(listener);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    }
    natsMsgHandler handler = listener->handler ? on_request : on_message;
    natsStatus code = queue_group ? natsConnection_QueueSubscribe(&listener->sub, self->nc, subject,
                                                                  queue_group, handler, listener)
                                  : natsConnection_Subscribe(&listener->sub, self->nc, subject,
                                                             handler, listener);
    if (code != NATS_OK) {
        free(listener->subject);
        free(listener);
        return cyx_bus_fail(code, subject, err);
    }
    pthread_mutex_lock(&self->lock);
    self->live_listeners++;
    listener->next = self->listeners;
    self->listeners = listener;
    pthread_mutex_unlock(&self->lock);
    if (natsSubscription_SetOnCompleteCB(listener->sub, on_complete, listener) != NATS_OK)
        on_complete(listener); /* closed already: it will not call back */
    return CYX_OK;
}

/* Waits until the server knows the subscriptions, so that whoever is asked next can be answered. */
static enum cyx_status settle(struct cyx_bus *self, struct cyx_error *err)
{
    natsStatus code = natsConnection_FlushTimeout(self->nc, 5000);
    return code == NATS_OK || !cyx_bus_connected(self) ? CYX_OK
                                                       : cyx_bus_fail(code, "subscribing", err);
}

enum cyx_status cyx_bus_serve(struct cyx_bus *self, const char *subject, const char *queue_group,
                              cyx_bus_handler handler, void *ctx, struct cyx_error *err)
{
    const struct cyx_bus_route route = {.subject = subject, .handler = handler};
    return cyx_bus_serve_table(self, &route, 1, queue_group, ctx, err);
}

enum cyx_status cyx_bus_serve_table(struct cyx_bus *self, const struct cyx_bus_route *routes,
                                    size_t count, const char *queue_group, void *ctx,
                                    struct cyx_error *err)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < count; i++) {
        const struct cyx_bus_listener what = {.handler = routes[i].handler, .ctx = ctx};
        status = listen_on(self, routes[i].subject, queue_group, &what, err);
    }
    return status == CYX_OK ? settle(self, err) : status;
}

enum cyx_status cyx_bus_subscribe(struct cyx_bus *self, const char *subject,
                                  const char *queue_group, cyx_bus_callback callback, void *ctx,
                                  struct cyx_error *err)
{
    const struct cyx_bus_listener what = {.callback = callback, .ctx = ctx};
    enum cyx_status status = listen_on(self, subject, queue_group, &what, err);
    return status == CYX_OK ? settle(self, err) : status;
}

/* ---- the asking side ---- */

/* The status that an error reply carries, CYX_OK for any other reply. */
static enum cyx_status read_error(const char *data, size_t length, struct cyx_error *err)
{
    size_t start = strspn(data, " \t\r\n");
    if (data[start] != '{')
        return CYX_OK;
    start++;
    start += strspn(data + start, " \t\r\n");
    if (strncmp(data + start, "\"error\"", 7) != 0)
        return CYX_OK;
    json_t *root = json_loadb(data, length, 0, NULL);
    const char *name = NULL, *pointer = NULL, *message = NULL;
    enum cyx_status status = CYX_OK;
    if (json_object_size(root) == 1 &&
        json_unpack(root, "{s:{s:s, s?:s, s?:s}}", "error", "status", &name, "pointer", &pointer,
                    "message", &message) == 0) {
        status = cyx_status_from_name(name);
        if (status == CYX_OK)
            status = CYX_ERR_INTERNAL;
        cyx_error_set(err, status, pointer, "%s", message ? message : name);
    }
    json_decref(root);
    return status;
}

/* "no scheduler answers" for "cyx.svc.scheduler.get". */
static enum cyx_status nobody_answers(const char *subject, struct cyx_error *err)
{
    static const char prefix[] = "cyx.svc.";
    if (strncmp(subject, prefix, sizeof(prefix) - 1) != 0)
        return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "nobody answers %s", subject);
    const char *service = subject + sizeof(prefix) - 1;
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "no %.*s answers",
                         (int)strcspn(service, "."), service);
}

enum cyx_status cyx_bus_request(struct cyx_bus *self, const char *subject,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                int64_t timeout_ms, struct cyx_buf *ret_reply,
                                struct cyx_error *err)
{
    natsMsg *request = NULL, *reply = NULL;
    enum cyx_status status = cyx_bus_need_server(self, err);
    if (status == CYX_OK)
        status = cyx_bus_msg_new(subject, NULL, NULL, meta, json, length, &request, err);
    if (status != CYX_OK)
        return status;
    natsStatus code = natsConnection_RequestMsg(&reply, self->nc, request, timeout_ms);
    natsMsg_Destroy(request);
    if (code == NATS_NO_RESPONDERS)
        return nobody_answers(subject, err);
    if (code != NATS_OK)
        return cyx_bus_fail(code, subject, err);
    const char *data = natsMsg_GetData(reply);
    size_t reply_length = (size_t)natsMsg_GetDataLength(reply);
    status = read_error(data ? data : "", reply_length, err);
    if (status == CYX_OK && ret_reply) {
        cyx_buf_append(ret_reply, data, reply_length);
        if (ret_reply->failed)
            status = cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    }
    natsMsg_Destroy(reply);
    return status;
}

enum cyx_status cyx_bus_publish(struct cyx_bus *self, const char *subject,
                                const struct cyx_bus_meta *meta, const char *json, size_t length,
                                struct cyx_error *err)
{
    natsMsg *msg = NULL;
    enum cyx_status status = cyx_bus_msg_new(subject, NULL, NULL, meta, json, length, &msg, err);
    if (status != CYX_OK)
        return status;
    natsStatus code = natsConnection_PublishMsg(self->nc, msg);
    natsMsg_Destroy(msg);
    return code == NATS_OK ? CYX_OK : cyx_bus_fail(code, subject, err);
}
