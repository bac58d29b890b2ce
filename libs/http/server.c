#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/private.h"
#include "http/tls.h"

enum { LISTEN_BACKLOG = 1024, POOL_BYTES = 32 * 1024 };

static void fill_defaults(struct cyx_http_options *options)
{
#define CYX_DEFAULT(field, value)                                                                  \
    if (!options->field)                                                                           \
    options->field = (value)
    CYX_DEFAULT(event_threads, 2);
    CYX_DEFAULT(workers, 8);
    CYX_DEFAULT(max_queued, 1024);
    CYX_DEFAULT(max_connections, 4096);
    CYX_DEFAULT(max_header_bytes, 16 * 1024);
    CYX_DEFAULT(max_target_bytes, 8 * 1024);
    CYX_DEFAULT(max_body_bytes, 1024 * 1024);
    CYX_DEFAULT(header_deadline_ms, 10000);
    CYX_DEFAULT(request_deadline_ms, 30000);
    CYX_DEFAULT(idle_timeout_ms, 60000);
#undef CYX_DEFAULT
}

enum cyx_status cyx_http_server_create(const struct cyx_http_options *options,
                                       struct cyx_http_server **ret_server,
                                       struct cyx_error *ret_error)
{
    struct cyx_http_server *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a server");
    if (options)
        self->options = *options;
    fill_defaults(&self->options);
    pthread_mutex_init(&self->conns_lock, NULL);
    pthread_cond_init(&self->drained, NULL);
    self->host = strdup(self->options.host ? self->options.host : "127.0.0.1");
    self->options.host = self->host;
    if (!self->host) {
        cyx_http_server_destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a server");
    }
    *ret_server = self;
    return CYX_OK;
}

enum cyx_status cyx_http_server_add_routes(struct cyx_http_server *self,
                                           const struct cyx_http_route *routes, size_t count,
                                           void *ctx, struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < count; i++)
        status = cyx_router_add(&self->router, &routes[i], ctx, ret_error);
    return status;
}

/* ---- start
 * ---------------------------------------------------------------------------------------- */

static int bind_first(const struct addrinfo *found)
{
    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static enum cyx_status open_socket(struct cyx_http_server *self, int *ret_fd, bool *ret_v6,
                                   struct cyx_error *ret_error)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", self->options.port);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM},
                    *found = NULL;
    if (getaddrinfo(self->host, service, &hints, &found) != 0)
        return cyx_error_set(
            ret_error, CYX_ERR_INVALID, NULL,
            "\"%s\" is no address to listen on; give one such as 127.0.0.1 or ::", self->host);
    int fd = bind_first(found);
    int code = errno;
    bool v6 = found->ai_family == AF_INET6;
    freeaddrinfo(found);
    errno = code;
    if (fd < 0 && code == EADDRINUSE)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "port %u of %s is in use; choose another or stop who has it",
                             self->options.port, self->host);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot listen on %s:%u", self->host, self->options.port);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    memset(&bound, 0, sizeof(bound));
    socklen_t length = sizeof(bound);
    if (getsockname(fd, &bound.any, &length) == 0)
        self->port = ntohs(v6 ? bound.v6.sin6_port : bound.v4.sin_port);
    *ret_fd = fd;
    *ret_v6 = v6;
    return CYX_OK;
}

/* New connections while the server drains are closed at once. (MHD_quiesce_daemon() of 0.9.75 can
 * abort.) */
static enum MHD_Result admit_socket(void *cls, const struct sockaddr *address, socklen_t length)
{
    struct cyx_http_server *self = cls;
    (void)address;
    (void)length;
    cyx_tls_enter(self->tls);
    return atomic_load(&self->draining) ? MHD_NO : MHD_YES;
}

/* The target is decoded by target.c, from a copy. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static const char tls_priorities[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

static struct MHD_Daemon *start_daemon(struct cyx_http_server *self, int fd, bool v6)
{
    const struct cyx_http_options *o = &self->options;
    size_t pool = 2 * o->max_header_bytes > POOL_BYTES ? 2 * o->max_header_bytes : POOL_BYTES;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE |
                     MHD_USE_ITC | (v6 ? MHD_USE_IPv6 : 0);
    flags |= self->tls ? MHD_USE_TLS : 0;
    struct MHD_OptionItem more[5] = {{.option = MHD_OPTION_END}};
    size_t count = 0;
    if (o->event_threads > 1)
        more[count++] =
            (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)o->event_threads, NULL};
    if (self->tls) { /* libmicrohttpd takes options as pointers to what it only reads or calls */
        more[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                                (void *)(uintptr_t)cyx_tls_retrieve};
        more[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                                (void *)(uintptr_t)tls_priorities};
    }
    more[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return MHD_start_daemon(
        flags, self->port, admit_socket, self, cyx_conn_on_request, self, MHD_OPTION_LISTEN_SOCKET,
        (MHD_socket)fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool, MHD_OPTION_CONNECTION_LIMIT,
        o->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((o->idle_timeout_ms + 999) / 1000), MHD_OPTION_NOTIFY_CONNECTION,
        cyx_conn_on_socket, self, MHD_OPTION_NOTIFY_COMPLETED, cyx_conn_on_completed, self,
        MHD_OPTION_URI_LOG_CALLBACK, cyx_conn_on_target, self, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

enum cyx_status cyx_http_server_start(struct cyx_http_server *self, struct cyx_error *ret_error)
{
    int fd = -1;
    bool v6 = false;
    enum cyx_status status = CYX_OK;
    if (self->options.tls_certificate)
        status = cyx_tls_create(self->options.tls_certificate, self->options.tls_key, &self->tls,
                                ret_error);
    if (status == CYX_OK)
        status = open_socket(self, &fd, &v6, ret_error);
    if (status == CYX_OK)
        status = cyx_workers_create(self->options.workers, self->options.max_queued, &self->workers,
                                    ret_error);
    if (status == CYX_OK)
        status = cyx_watch_create(self, &self->watch, ret_error);
    if (status == CYX_OK)
        status = cyx_ws_loop_create(self, &self->ws_loop, ret_error);
    if (status == CYX_OK) {
        self->daemon = start_daemon(self, fd, v6);
        if (!self->daemon)
            status = cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                                   "cannot start the HTTP server's threads");
    }
    if (status != CYX_OK && fd >= 0)
        close(fd);
    return status;
}

enum cyx_status cyx_http_server_renew_tls(struct cyx_http_server *self, const char *certificate,
                                          const char *key, struct cyx_error *ret_error)
{
    if (!self->tls)
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "the server was started without a certificate; start it with one");
    return cyx_tls_renew(self->tls, certificate, key, ret_error);
}

uint16_t cyx_http_server_port(const struct cyx_http_server *self)
{
    return self->port;
}

void cyx_http_server_stats(struct cyx_http_server *self, struct cyx_http_stats *ret_stats)
{
    *ret_stats = (struct cyx_http_stats){
        .requests = atomic_load(&self->requests),
        .refused = atomic_load(&self->refused),
        .timed_out = atomic_load(&self->timed_out),
        .connections = atomic_load(&self->connections),
        .in_flight = atomic_load(&self->in_flight),
        .queued = self->workers ? cyx_workers_queued(self->workers) : 0,
        .websockets = self->ws_loop ? cyx_ws_loop_count(self->ws_loop) : 0,
        .streams = atomic_load(&self->streams),
    };
    for (int i = 0; i < 6; i++)
        ret_stats->responses_by_class[i] = atomic_load(&self->classes[i]);
}

/* ---- stop
 * ------------------------------------------------------------------------------------------ */

/* With conns_lock held. */
static void end_streams(struct cyx_http_server *self)
{
    for (struct cyx_conn *conn = self->conns; conn; conn = conn->next)
        if (conn->stream)
            cyx_http_stream_end(conn->stream);
}

/* With conns_lock held: whoever has not finished is cut; handlers still run to their end. */
static void cut_all(struct cyx_http_server *self)
{
    for (struct cyx_conn *conn = self->conns; conn; conn = conn->next) {
        if (conn->stream)
            cyx_stream_abort(conn->stream);
        shutdown(conn->fd, SHUT_RDWR);
    }
}

static bool wait_drained(struct cyx_http_server *self, int drain_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t nanoseconds = until.tv_nsec + (int64_t)drain_ms * 1000000;
    until.tv_sec += nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    bool in_time = true;
    pthread_mutex_lock(&self->conns_lock);
    end_streams(self);
    while (in_time && atomic_load(&self->in_flight))
        in_time = pthread_cond_timedwait(&self->drained, &self->conns_lock, &until) == 0;
    atomic_store(&self->refusing, true);
    if (atomic_load(&self->in_flight))
        cut_all(self);
    while (atomic_load(&self->in_flight))
        pthread_cond_wait(&self->drained, &self->conns_lock);
    pthread_mutex_unlock(&self->conns_lock);
    return in_time;
}

enum cyx_status cyx_http_server_stop(struct cyx_http_server *self, int drain_ms)
{
    if (self->stopped)
        return CYX_OK;
    self->stopped = true;
    bool clean = true;
    int64_t until_ns = cyx_clock_monotonic_ns() + drain_ms * INT64_C(1000000);
    atomic_store(&self->draining, true);
    if (self->daemon) {
        cyx_ws_loop_close_all(self->ws_loop);
        clean = wait_drained(self, drain_ms);
        int64_t left_ns = until_ns - cyx_clock_monotonic_ns();
        clean =
            cyx_ws_loop_stop(self->ws_loop, left_ns > 0 ? (int)(left_ns / 1000000) : 0) && clean;
        MHD_stop_daemon(self->daemon);
        self->daemon = NULL;
    }
    cyx_workers_destroy(self->workers);
    self->workers = NULL;
    cyx_ws_loop_destroy(self->ws_loop);
    self->ws_loop = NULL;
    cyx_watch_destroy(self->watch);
    self->watch = NULL;
    return clean ? CYX_OK : CYX_ERR_TIMEOUT;
}

void cyx_http_server_destroy(struct cyx_http_server *self)
{
    if (!self)
        return;
    cyx_http_server_stop(self, 0);
    cyx_router_finish(&self->router);
    cyx_mounts_destroy(self->mounts);
    cyx_tls_destroy(self->tls);
    pthread_cond_destroy(&self->drained);
    pthread_mutex_destroy(&self->conns_lock);
    free(self->host);
    free(self);
}
