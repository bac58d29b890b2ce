#include <errno.h>
#include <linux/tcp.h> /* the C library's lacks tcpi_bytes_received */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/private.h"

enum { TICK_MS = 100, EVENTS = 64, MAX_LINGERS = 256, LINGER_BYTES = 8 << 20 };

static const int64_t linger_ns = 2000000000, idle_check_ns = 500000000;

struct lingering {
    int fd;
    int64_t until_ns;
    size_t bytes;
};

struct cyx_watch {
    struct cyx_http_server *server;
    int epoll, wake;
    pthread_t thread;
    atomic_bool stopping;
    pthread_mutex_t lock; /* of the lingers */
    struct lingering lingers[MAX_LINGERS];
    size_t linger_count;
};

uint64_t cyx_socket_bytes_received(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof(info);
    memset(&info, 0, sizeof(info));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
        length < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
        return UINT64_MAX; /* not to be known: any silence then counts as a slow request */
    return info.tcpi_bytes_received;
}

/* ---- deadlines ----------------------------------------------------------------------------------
 */

static void send_timeout(int fd)
{
    CYX_CLEANUP_BUF struct cyx_buf body = {0}, text = {0};
    struct cyx_error error = {.status = CYX_ERR_TIMEOUT};
    cyx_error_set(&error, CYX_ERR_TIMEOUT, NULL, "the request did not arrive whole in time");
    char id[CYX_ID_BYTES];
    cyx_id_new(id);
    cyx_problem_format(&body, 408, &error, NULL, id);
    cyx_buf_printf(&text,
                   "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
                   "X-Request-Id: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                   id, body.length);
    cyx_buf_append(&text, body.data, body.length);
    if (!text.failed && send(fd, text.data, text.length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return; /* the client does not read either */
}

/* A connection's deadline has passed. With conns_lock held, so that its socket is open still. */
static void expire(struct cyx_conn *conn, int64_t now_ns)
{
    struct cyx_http_server *server = conn->server;
    int phase = atomic_load(&conn->phase);
    int64_t expected = atomic_load(&conn->deadline_ns);
    if (phase ==
        CYX_PHASE_IDLE) { /* silent is for MHD's idle time-out; the first byte starts the clock */
        bool silent = cyx_socket_bytes_received(conn->fd) == atomic_load(&conn->bytes_seen);
        int64_t next_ns =
            silent ? idle_check_ns : server->options.header_deadline_ms * INT64_C(1000000);
        if (silent || atomic_compare_exchange_strong(&conn->phase, &phase, CYX_PHASE_READING))
            atomic_compare_exchange_strong(&conn->deadline_ns, &expected, now_ns + next_ns);
        return;
    }
    if (phase != CYX_PHASE_READING || now_ns < atomic_load(&conn->deadline_ns))
        return;
    if (!atomic_compare_exchange_strong(&conn->phase, &phase, CYX_PHASE_CUT))
        return; /* it has just arrived */
    atomic_fetch_add(&server->timed_out, 1);
    if (!server->options.tls_certificate)
        send_timeout(conn->fd);
    shutdown(conn->fd, SHUT_RDWR);
}

static void scan(struct cyx_watch *self, int64_t now_ns)
{
    struct cyx_http_server *server = self->server;
    pthread_mutex_lock(&server->conns_lock);
    for (struct cyx_conn *conn = server->conns; conn; conn = conn->next) {
        if (conn->stream)
            cyx_stream_heartbeat(conn->stream, now_ns);
        /* Wakes MHD to read on to the end. The FIN is here: nothing can come, nothing is lost. */
        if (conn->hung_up && atomic_load(&conn->phase) == CYX_PHASE_READING)
            shutdown(conn->fd, SHUT_RD);
        int64_t deadline_ns = atomic_load(&conn->deadline_ns);
        if (deadline_ns && now_ns >= deadline_ns)
            expire(conn, now_ns);
    }
    pthread_mutex_unlock(&server->conns_lock);
}

/* ---- hang-ups
 * --------------------------------------------------------------- */

void cyx_watch_hangup(struct cyx_watch *self, struct cyx_conn *conn)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = conn};
    conn->watched = epoll_ctl(self->epoll, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

void cyx_watch_forget(struct cyx_watch *self, struct cyx_conn *conn)
{
    if (conn->watched)
        epoll_ctl(self->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    conn->watched = false;
}

static void hung_up(struct cyx_watch *self, struct cyx_conn *conn)
{
    pthread_mutex_lock(&self->server->conns_lock);
    conn->hung_up = true; /* scan() does the rest for an upload */
    struct cyx_http_stream *stream = conn->stream ? cyx_http_stream_ref(conn->stream) : NULL;
    pthread_mutex_unlock(&self->server->conns_lock);
    if (stream)
        cyx_stream_abort(stream);
    cyx_http_stream_unref(stream);
}

/* Conns are freed here and only here: no event of the batch before can name one any more. */
static void bury(struct cyx_http_server *server)
{
    pthread_mutex_lock(&server->conns_lock);
    struct cyx_conn *dead = server->graveyard;
    server->graveyard = NULL;
    pthread_mutex_unlock(&server->conns_lock);
    while (dead) {
        struct cyx_conn *next = dead->next;
        free(dead);
        dead = next;
    }
}

/* ---- lingering
 * ----------------------------------------------------------------------------------- */

void cyx_watch_linger(struct cyx_watch *self, int fd)
{
    pthread_mutex_lock(&self->lock);
    bool room = self->linger_count < MAX_LINGERS;
    if (room)
        self->lingers[self->linger_count++] =
            (struct lingering){.fd = fd, .until_ns = cyx_clock_monotonic_ns() + linger_ns};
    pthread_mutex_unlock(&self->lock);
    if (!room) {
        close(fd);
        return;
    }
    shutdown(fd, SHUT_WR);
    uint64_t one = 1;
    if (write(self->wake, &one, sizeof(one)) < 0)
        return; /* the next tick sees it too */
}

/* Takes what the client still sends, so that the answer is not lost to a reset. True when done with
 * it. */
static bool drain(struct lingering *linger, int64_t now_ns)
{
    char sink[65536];
    while (linger->bytes < LINGER_BYTES) {
        ssize_t n = recv(linger->fd, sink, sizeof(sink), MSG_DONTWAIT);
        if (n == 0)
            return true;
        if (n < 0)
            return now_ns >= linger->until_ns || (errno != EAGAIN && errno != EINTR);
        linger->bytes += (size_t)n;
    }
    return true;
}

/* Whether any are left. */
static bool drain_all(struct cyx_watch *self, int64_t now_ns)
{
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->linger_count;) {
        if (drain(&self->lingers[i], now_ns)) {
            close(self->lingers[i].fd);
            self->lingers[i] = self->lingers[--self->linger_count];
        } else {
            i++;
        }
    }
    bool left = self->linger_count > 0;
    pthread_mutex_unlock(&self->lock);
    return left;
}

/* ---- the thread
 * ----------------------------------------------------------------------------------- */

static void *watch(void *arg)
{
    struct cyx_watch *self = arg;
    struct epoll_event events[EVENTS];
    int64_t next_scan_ns = 0;
    bool lingering = false;
    pthread_setname_np(pthread_self(), "http-watch");
    while (!atomic_load(&self->stopping)) {
        bury(self->server);
        int count = epoll_wait(self->epoll, events, EVENTS, lingering ? TICK_MS / 10 : TICK_MS);
        for (int i = 0; i < count; i++) {
            uint64_t drop = 0;
            if (events[i].data.ptr)
                hung_up(self, events[i].data.ptr);
            else if (read(self->wake, &drop, sizeof(drop)) < 0)
                continue;
        }
        int64_t now_ns = cyx_clock_monotonic_ns();
        lingering = drain_all(self, now_ns);
        if (now_ns >= next_scan_ns) {
            scan(self, now_ns);
            next_scan_ns = now_ns + TICK_MS * INT64_C(1000000);
        }
    }
    return NULL;
}

enum cyx_status cyx_watch_create(struct cyx_http_server *server, struct cyx_watch **ret_watch,
                                 struct cyx_error *ret_error)
{
    struct cyx_watch *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for the watcher");
    self->server = server;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&self->lock, NULL);
    struct epoll_event event = {.events = EPOLLIN};
    if (self->epoll < 0 || self->wake < 0 ||
        epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &event) != 0 ||
        pthread_create(&self->thread, NULL, watch, self) != 0) {
        enum cyx_status status = cyx_error_errno(ret_error, "cannot start the watcher");
        if (self->epoll >= 0)
            close(self->epoll);
        if (self->wake >= 0)
            close(self->wake);
        pthread_mutex_destroy(&self->lock);
        free(self);
        return status;
    }
    *ret_watch = self;
    return CYX_OK;
}

void cyx_watch_destroy(struct cyx_watch *self)
{
    if (!self)
        return;
    atomic_store(&self->stopping, true);
    uint64_t one = 1;
    if (write(self->wake, &one, sizeof(one)) < 0)
        one = 0; /* it wakes by its tick then */
    pthread_join(self->thread, NULL);
    for (size_t i = 0; i < self->linger_count; i++)
        close(self->lingers[i].fd);
    bury(self->server);
    close(self->epoll);
    close(self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
