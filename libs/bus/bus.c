#include "bus/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "bus/bus_internal.h"

#include "base/banned.h"

enum { SERVERS_MAX = 16, RETRY_MS = 100, CONNECT_MS = 2000, WORKERS_MAX = 64, REFUSALS = 3 };

bool cyx_bus_wait_until(struct cyx_bus *self, int64_t monotonic_ns)
{
    const struct timespec end = {.tv_sec = monotonic_ns / 1000000000,
                                 .tv_nsec = monotonic_ns % 1000000000};
    return pthread_cond_timedwait(&self->changed, &self->lock, &end) != ETIMEDOUT;
}

static void on_reconnected(natsConnection *nc, void *ctx)
{
    (void)nc;
    struct cyx_bus *self = ctx;
    atomic_fetch_add(&self->reconnects, 1);
    cyx_log(CYX_LOG_DEBUG, "bus: connected again");
}

static void on_disconnected(natsConnection *nc, void *ctx)
{
    (void)nc;
    (void)ctx;
    cyx_log(CYX_LOG_DEBUG, "bus: connection lost");
}

/* The last callback of a connection. */
static void on_closed(natsConnection *nc, void *ctx)
{
    (void)nc;
    struct cyx_bus *self = ctx;
    pthread_mutex_lock(&self->lock);
    bool lost = !self->ended;
    pthread_mutex_unlock(&self->lock);
    if (lost) {
        cyx_log(CYX_LOG_ERROR, "bus: the connection is lost for good: the server refuses it");
        if (self->lost)
            self->lost(self->lost_ctx);
    }
    pthread_mutex_lock(&self->lock);
    self->closed = true; /* from here on `self` may go away */
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* Nobody above can handle these: the server refuses a subject, or a subscriber is too slow. */
static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus code, void *ctx)
{
    (void)ctx;
    const char *detail = NULL;
    natsConnection_GetLastError(nc, &detail);
    cyx_log(CYX_LOG_WARN, "bus: the server or the client complains",
            CYX_STR("problem", natsStatus_GetText(code)),
            CYX_STR("subject", sub ? natsSubscription_GetSubject(sub) : NULL),
            CYX_STR("detail", detail));
}

/* Splits "a,b,c" in place. */
static int split(char *text, const char *ret_parts[SERVERS_MAX])
{
    int count = 0;
    char *rest = text, *part;
    while (count < SERVERS_MAX && (part = strsep(&rest, ",")))
        if (*part)
            ret_parts[count++] = part;
    return count;
}

static natsStatus set_security(natsOptions *opts, const struct cyx_bus_options *options)
{
    natsStatus code = NATS_OK;
    if (options->creds_file && *options->creds_file)
        code = natsOptions_SetUserCredentialsFromFiles(opts, options->creds_file, NULL);
    else if (options->user && *options->user)
        code = natsOptions_SetUserInfo(opts, options->user,
                                       options->password ? options->password : "");
    if (code == NATS_OK && options->ca_file && *options->ca_file)
        code = natsOptions_LoadCATrustedCertificates(opts, options->ca_file);
    if (code == NATS_OK && options->cert_file && *options->cert_file)
        code = natsOptions_LoadCertificatesChain(opts, options->cert_file, options->key_file);
    bool tls = (options->ca_file && *options->ca_file) || strncmp(options->url, "tls://", 6) == 0;
    if (code == NATS_OK && tls)
        code = natsOptions_SetSecure(opts, true);
    return code;
}

static natsStatus set_behaviour(natsOptions *opts, struct cyx_bus *self,
                                const struct cyx_bus_options *options)
{
    natsStatus code = natsOptions_SetName(opts, options->name ? options->name : "cyxwiz");
    if (code == NATS_OK)
        code = natsOptions_SetMaxReconnect(opts, -1);
    if (code == NATS_OK)
        code = natsOptions_SetReconnectWait(opts, 200);
    if (code == NATS_OK)
        code = natsOptions_SetTimeout(opts, CONNECT_MS);
    if (code == NATS_OK)
        code = natsOptions_SetPingInterval(opts, 10000);
    if (code == NATS_OK)
        code = natsOptions_SetFailRequestsOnDisconnect(opts, true);
    if (code == NATS_OK)
        code = natsOptions_SetReconnectBufSize(opts, 8 * 1024 * 1024);
    if (code == NATS_OK) /* replies go out at once instead of up to 1 ms later */
        code = natsOptions_SetSendAsap(opts, true);
    if (code == NATS_OK)
        code = natsOptions_SetCustomInboxPrefix(opts, self->inbox_prefix);
    if (code == NATS_OK)
        code = natsOptions_SetReconnectedCB(opts, on_reconnected, self);
    if (code == NATS_OK)
        code = natsOptions_SetDisconnectedCB(opts, on_disconnected, self);
    if (code == NATS_OK)
        code = natsOptions_SetClosedCB(opts, on_closed, self);
    if (code == NATS_OK)
        code = natsOptions_SetErrorHandler(opts, on_error, self);
    return code;
}

static natsStatus make_options(struct cyx_bus *self, const struct cyx_bus_options *options,
                               natsOptions **ret_opts)
{
    natsOptions *opts = NULL;
    char *urls = strdup(options->url);
    natsStatus code = urls ? natsOptions_Create(&opts) : NATS_NO_MEMORY;
    if (code == NATS_OK) {
        const char *servers[SERVERS_MAX];
        int count = split(urls, servers);
        code = natsOptions_SetServers(opts, servers, count);
    }
    if (code == NATS_OK)
        code = set_security(opts, options);
    if (code == NATS_OK)
        code = set_behaviour(opts, self, options);
    free(urls);
    if (code == NATS_OK)
        *ret_opts = opts;
    else
        natsOptions_Destroy(opts);
    return code;
}

/* The URL without "user:password@", for messages. */
static const char *shown_url(const char *url)
{
    const char *at = strrchr(url, '@');
    return at ? at + 1 : url;
}

static enum cyx_status connect_until(struct cyx_bus *self, natsOptions *opts, const char *url,
                                     int64_t wait_ms, struct cyx_error *err)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + wait_ms * 1000000;
    int refusals = 0;
    for (;;) {
        natsStatus code = natsConnection_Connect(&self->nc, opts);
        if (code == NATS_OK)
            return CYX_OK;
        bool away = code == NATS_NO_SERVER || code == NATS_TIMEOUT || code == NATS_IO_ERROR ||
                    code == NATS_CONNECTION_CLOSED;
        /* A server that is just taking in an account's new claims refuses for an instant. */
        if (code == NATS_CONNECTION_AUTH_FAILED && refusals++ < REFUSALS)
            away = true;
        if (!away || cyx_clock_monotonic_ns() >= end_ns) {
            char what[256];
            snprintf(what, sizeof(what), "cannot connect to %s", shown_url(url));
            return cyx_bus_fail(code, what, err);
        }
        const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
        nanosleep(&pause, NULL);
    }
}

static struct cyx_bus *bus_new(const struct cyx_bus_options *options)
{
    struct cyx_bus *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    const char *prefix = options->inbox_prefix;
    snprintf(self->inbox_prefix, sizeof(self->inbox_prefix), "%s",
             prefix && *prefix ? prefix : "_INBOX");
    self->queue_limit = options->queue_limit ? options->queue_limit : 1024;
    self->observe = options->observe;
    self->observe_ctx = options->observe_ctx;
    self->lost = options->lost;
    self->lost_ctx = options->lost_ctx;
    self->tasks_tail = &self->tasks;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    pthread_cond_init(&self->task, NULL);
    return self;
}

static enum cyx_status check_options(const struct cyx_bus_options *options, struct cyx_error *err)
{
    if (!options->url || !*options->url)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "bus: no URL given");
    if (options->workers > WORKERS_MAX)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "bus: %u workers are over the limit of %d",
                             options->workers, WORKERS_MAX);
    if (options->inbox_prefix && strlen(options->inbox_prefix) > 60)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL,
                             "bus: the inbox prefix is longer than 60 characters");
    return CYX_OK;
}

enum cyx_status cyx_bus_connect(const struct cyx_bus_options *options, struct cyx_bus **ret_bus,
                                struct cyx_error *err)
{
    enum cyx_status status = check_options(options, err);
    if (status != CYX_OK)
        return status;
    struct cyx_bus *self = bus_new(options);
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "bus: out of memory");
    natsOptions *opts = NULL;
    natsStatus code = make_options(self, options, &opts);
    if (code != NATS_OK)
        status = cyx_bus_fail(code, "its settings were refused", err);
    if (status == CYX_OK)
        status = connect_until(self, opts, options->url,
                               options->wait_ms ? options->wait_ms : 10000, err);
    natsOptions_Destroy(opts);
    if (status == CYX_OK && (code = natsConnection_JetStream(&self->js, self->nc, NULL)) != NATS_OK)
        status = cyx_bus_fail(code, "JetStream context", err);
    if (status == CYX_OK)
        status = cyx_bus_workers_start(self, options->workers ? options->workers : 4, err);
    if (status != CYX_OK) {
        cyx_bus_destroy(self);
        return status;
    }
    *ret_bus = self;
    return CYX_OK;
}

bool cyx_bus_connected(const struct cyx_bus *self)
{
    return natsConnection_Status(self->nc) == NATS_CONN_STATUS_CONNECTED;
}

enum cyx_status cyx_bus_need_server(struct cyx_bus *self, struct cyx_error *err)
{
    if (cyx_bus_connected(self))
        return CYX_OK;
    return cyx_error_set(err, CYX_ERR_UNAVAILABLE, NULL, "bus: the NATS server is away");
}

static bool pullers_ended(const struct cyx_bus *self)
{
    for (const struct cyx_bus_puller *puller = self->pullers; puller; puller = puller->next)
        if (!puller->ended)
            return false;
    return true;
}

static bool all_quiet(const struct cyx_bus *self)
{
    return self->live_listeners == 0 && self->waiting == 0 && self->running == 0 &&
           pullers_ended(self);
}

enum cyx_status cyx_bus_quiet(struct cyx_bus *self, int64_t deadline_ms)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + deadline_ms * 1000000;
    pthread_mutex_lock(&self->lock);
    bool first = !self->quiet;
    self->quiet = true;
    for (struct cyx_bus_puller *puller = self->pullers; puller; puller = puller->next)
        puller->stop = true;
    pthread_cond_broadcast(&self->changed);
    struct cyx_bus_listener *listeners = self->listeners;
    pthread_mutex_unlock(&self->lock);
    for (struct cyx_bus_listener *l = listeners; first && l; l = l->next)
        natsSubscription_DrainTimeout(l->sub, deadline_ms);
    pthread_mutex_lock(&self->lock);
    while (!all_quiet(self) && cyx_bus_wait_until(self, end_ns))
        ;
    bool quiet = all_quiet(self);
    pthread_mutex_unlock(&self->lock);
    return quiet ? CYX_OK : CYX_ERR_TIMEOUT;
}

enum cyx_status cyx_bus_drain(struct cyx_bus *self, int64_t deadline_ms)
{
    int64_t end_ns = cyx_clock_monotonic_ns() + deadline_ms * 1000000;
    enum cyx_status status = cyx_bus_quiet(self, deadline_ms);
    int64_t left_ms = (end_ns - cyx_clock_monotonic_ns()) / 1000000;
    if (left_ms > 0 && cyx_bus_publish_wait(self, left_ms) != CYX_OK)
        status = CYX_ERR_TIMEOUT;
    left_ms = (end_ns - cyx_clock_monotonic_ns()) / 1000000;
    if (left_ms > 0 && natsConnection_FlushTimeout(self->nc, left_ms) != NATS_OK)
        status = CYX_ERR_TIMEOUT;
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_mutex_unlock(&self->lock);
    natsConnection_Close(self->nc);
    return status;
}

static void listeners_free(struct cyx_bus *self)
{
    for (struct cyx_bus_listener *next, *l = self->listeners; l; l = next) {
        next = l->next;
        natsSubscription_Destroy(l->sub);
        free(l->subject);
        free(l);
    }
}

static void pullers_free(struct cyx_bus *self)
{
    for (struct cyx_bus_puller *next, *puller = self->pullers; puller; puller = next) {
        next = puller->next;
        pthread_join(puller->thread, NULL);
        puller->destroy(puller);
    }
}

void cyx_bus_destroy(struct cyx_bus *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->quiet = self->closing = self->ended = true;
    for (struct cyx_bus_puller *puller = self->pullers; puller; puller = puller->next)
        puller->stop = true;
    pthread_cond_broadcast(&self->changed);
    pthread_cond_broadcast(&self->task);
    pthread_mutex_unlock(&self->lock);
    if (self->nc)
        natsConnection_Close(self->nc);
    pthread_mutex_lock(&self->lock);
    while (self->live_listeners > 0 || (self->nc && !self->closed))
        pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
    cyx_bus_workers_join(self);
    pullers_free(self);
    cyx_bus_async_finish(self);
    listeners_free(self);
    jsCtx_Destroy(self->js);
    natsConnection_Destroy(self->nc);
    pthread_cond_destroy(&self->task);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
