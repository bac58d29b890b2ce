#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/private.h"

enum { SINK_CHUNK_BYTES = 256 * 1024 };

static int64_t deadline_in(int ms)
{
    return cyx_clock_monotonic_ns() + ms * INT64_C(1000000);
}

/* ---- connections
 * ---------------------------------------------------------------------------------- */

static struct cyx_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void open_conn(struct cyx_http_server *server, struct MHD_Connection *mhd,
                      void **socket_context)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct cyx_conn *conn = calloc(1, sizeof(*conn));
    *socket_context = conn;
    if (!conn || !fd)
        return; /* its first request is refused */
    conn->server = server;
    conn->mhd = mhd;
    conn->fd = fd->connect_fd;
    socklen_t length = address && address->client_addr->sa_family == AF_INET6
                           ? sizeof(struct sockaddr_in6)
                           : sizeof(struct sockaddr_in);
    if (!address || getnameinfo(address->client_addr, length, conn->peer, sizeof(conn->peer), NULL,
                                0, NI_NUMERICHOST) != 0)
        snprintf(conn->peer, sizeof(conn->peer), "unknown");
    atomic_init(&conn->phase, CYX_PHASE_IDLE);
    atomic_init(&conn->deadline_ns, deadline_in(500));
    atomic_fetch_add(&server->connections, 1);
    pthread_mutex_lock(&server->conns_lock);
    conn->next = server->conns;
    if (conn->next)
        conn->next->prev = conn;
    server->conns = conn;
    pthread_mutex_unlock(&server->conns_lock);
}

/* MHD closes the socket right after this. */
static void close_conn(struct cyx_http_server *server, struct cyx_conn *conn)
{
    if (!conn)
        return;
    int copy = conn->linger ? dup(conn->fd) : -1;
    if (copy >= 0)
        cyx_watch_linger(server->watch, copy);
    atomic_fetch_sub(&server->connections, 1);
    pthread_mutex_lock(&server->conns_lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->next = server->graveyard;
    server->graveyard = conn;
    pthread_mutex_unlock(&server->conns_lock);
}

void cyx_conn_on_socket(void *cls, struct MHD_Connection *mhd, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        open_conn(cls, mhd, socket_context);
    else
        close_conn(cls, *socket_context);
}

/* ---- the request's line
 * ---------------------------------------------------------------------------- */

void *cyx_conn_on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct cyx_http_server *server = cls;
    struct cyx_conn *conn = conn_of(mhd);
    struct cyx_exchange *made = conn ? calloc(1, sizeof(*made)) : NULL;
    if (!made)
        return NULL;
    made->server = server;
    made->conn = conn;
    made->raw_target = target;
    cyx_response_init(&made->response, &made->arena, &made->body);
    made->request.arena = &made->arena;
    made->request.peer = conn->peer;
    made->request.target = cyx_arena_strdup(&made->arena, target);
    if (!made->request.target) {
        cyx_exchange_destroy(made);
        return NULL;
    }
    conn->exchange = made;
    atomic_fetch_add(&server->in_flight, 1);
    atomic_fetch_add(&server->requests, 1);
    int idle = CYX_PHASE_IDLE;
    if (atomic_compare_exchange_strong(&conn->phase, &idle, CYX_PHASE_READING))
        atomic_store(&conn->deadline_ns, deadline_in(server->options.header_deadline_ms));
    return made;
}

void cyx_in_flight_done(struct cyx_http_server *server)
{
    if (atomic_fetch_sub(&server->in_flight, 1) != 1)
        return;
    pthread_mutex_lock(&server->conns_lock);
    pthread_cond_broadcast(&server->drained);
    pthread_mutex_unlock(&server->conns_lock);
}

/* ---- answers
 * ---------------------------------------------------------------------------------------- */

static void attach_stream(struct cyx_exchange *self)
{
    struct cyx_http_stream *stream = self->body.stream;
    struct cyx_http_server *server = self->server;
    if (!stream || self->body.kind != CYX_BODY_STREAM)
        return;
    atomic_fetch_add(&server->streams, 1);
    cyx_stream_attach(stream, self->conn->mhd);
    pthread_mutex_lock(&server->conns_lock);
    self->conn->stream = stream;
    pthread_mutex_unlock(&server->conns_lock);
    cyx_watch_hangup(server->watch, self->conn);
    if (atomic_load(&server->draining))
        cyx_http_stream_end(stream);
}

static void detach_stream(struct cyx_exchange *self)
{
    struct cyx_conn *conn = self->conn;
    struct cyx_http_server *server = self->server;
    cyx_watch_forget(server->watch, conn);
    if (!conn->stream)
        return;
    pthread_mutex_lock(&server->conns_lock);
    conn->stream = NULL;
    pthread_mutex_unlock(&server->conns_lock);
    atomic_fetch_sub(&server->streams, 1);
}

static enum MHD_Result answer(struct cyx_exchange *self)
{
    struct cyx_conn *conn = self->conn;
    int reading = CYX_PHASE_READING;
    atomic_compare_exchange_strong(&conn->phase, &reading, CYX_PHASE_BUSY);
    if (!self->ready)
        return MHD_NO;
    self->step = CYX_STEP_ANSWERED;
    attach_stream(self);
    enum MHD_Result queued =
        MHD_queue_response(conn->mhd, (unsigned)self->ready_status, self->ready);
    MHD_destroy_response(self->ready);
    self->ready = NULL;
    return queued;
}

/* Answers before the body has come: MHD closes behind it, gently by the watcher's lingering. */
static enum MHD_Result answer_early(struct cyx_exchange *self)
{
    self->conn->linger = true;
    if (!self->ready)
        cyx_exchange_finish_response(self, true);
    return answer(self);
}

/* On MHD's event thread, where its TLS session may be used. */
static bool send_raw(struct cyx_conn *conn, const struct cyx_buf *text)
{
    if (!conn->server->options.tls_certificate)
        return send(conn->fd, text->data, text->length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    const union MHD_ConnectionInfo *tls =
        MHD_get_connection_info(conn->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return tls && gnutls_record_send(tls->tls_session, text->data, text->length) >= 0;
}

/*
 * In the middle of a body MHD takes no response. Nothing was sent on this connection since the
 * request began (or at most a whole "100 Continue"), so the refusal is written here and MHD closes.
 */
static enum MHD_Result answer_raw(struct cyx_exchange *self)
{
    struct cyx_conn *conn = self->conn;
    struct cyx_http_response *response = &self->response;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    int reading = CYX_PHASE_READING;
    if (!atomic_compare_exchange_strong(&conn->phase, &reading, CYX_PHASE_BUSY))
        return MHD_NO;
    cyx_exchange_seal(self);
    cyx_buf_printf(&text, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                   response->status, cyx_http_reason(response->status), self->body.bytes.length);
    struct cyx_http_pair *headers = response->headers;
    for (size_t i = 0; i < response->header_count; i++)
        cyx_buf_printf(&text, "%s: %s\r\n", headers[i].name, headers[i].value);
    cyx_buf_puts(&text, "\r\n");
    cyx_buf_append(&text, self->body.bytes.data, self->body.bytes.length);
    conn->linger = true;
    if (!text.failed && !send_raw(conn, &text))
        conn->linger = false; /* gone already */
    return MHD_NO;
}

/* ---- work for the pool
 * -------------------------------------------------------------------------------- */

static void run_job(void *arg)
{
    struct cyx_exchange *self = arg;
    if (self->step == CYX_STEP_BEGIN)
        cyx_exchange_begin(self);
    else if (self->step == CYX_STEP_CHUNK)
        cyx_exchange_chunk(self);
    else
        cyx_exchange_run(self);
    MHD_resume_connection(self->conn->mhd);
}

/* Sets the connection aside and lets a worker go on; false when all are busy and the queue is full.
 */
static bool hand_over(struct cyx_exchange *self, enum cyx_step step, bool forced)
{
    enum cyx_step before = self->step;
    self->step = step;
    self->job = (struct cyx_job){.run = run_job, .arg = self};
    MHD_suspend_connection(self->conn->mhd);
    if (cyx_workers_submit(self->server->workers, &self->job, forced))
        return true;
    self->step = before;
    MHD_resume_connection(self->conn->mhd);
    return false;
}

static void refuse_busy(struct cyx_exchange *self)
{
    self->refused = true;
    cyx_exchange_refuse(self, 503, CYX_ERR_UNAVAILABLE,
                        "the server is busy; try again in a moment");
}

/* The whole request is here. */
static enum MHD_Result dispatch(struct cyx_exchange *self)
{
    int reading = CYX_PHASE_READING;
    if (!atomic_compare_exchange_strong(&self->conn->phase, &reading, CYX_PHASE_BUSY))
        return MHD_NO; /* the watcher was quicker */
    cyx_watch_forget(self->server->watch, self->conn);
    self->request.body = self->match.route->sink ? NULL : self->input.data ? self->input.data : "";
    self->request.body_length = self->match.route->sink ? 0 : self->input.length;
    if (self->match.route->flags & CYX_ROUTE_INLINE) {
        cyx_exchange_run(self);
        return answer(self);
    }
    if (cyx_exchange_quick(self))
        return answer(self);
    if (hand_over(self, CYX_STEP_HANDLER, false))
        return MHD_YES;
    refuse_busy(self);
    self->step = CYX_STEP_REFUSED;
    return MHD_YES; /* resumed at once: comes again */
}

/* ---- steps
 * --------------------------------------------------------------------------------------------- */

static void start_body_deadline(struct cyx_exchange *self)
{
    const struct cyx_http_route *route = self->match.route;
    int ms = route->deadline_ms ? route->deadline_ms : self->server->options.request_deadline_ms;
    atomic_store(&self->conn->deadline_ns, ms < 0 ? 0 : deadline_in(ms));
}

static enum MHD_Result on_headers(struct cyx_exchange *self, const char *method,
                                  const char *version)
{
    if (atomic_load(&self->conn->phase) == CYX_PHASE_CUT || atomic_load(&self->server->refusing))
        return MHD_NO;
    cyx_admit(self, method, version);
    if (self->refused && self->has_body)
        return answer_early(self);
    self->step = self->refused ? CYX_STEP_REFUSED : CYX_STEP_BODY;
    if (self->refused)
        return MHD_YES;
    start_body_deadline(self);
    if (!self->match.route->sink)
        return MHD_YES;
    if (hand_over(self, CYX_STEP_BEGIN, false))
        return MHD_YES;
    refuse_busy(self);
    self->step = CYX_STEP_BEGIN; /* resumed at once: refused when it comes again */
    return MHD_YES;
}

static enum MHD_Result on_body(struct cyx_exchange *self, const char *data, size_t *size)
{
    size_t room = self->match.route->sink ? SINK_CHUNK_BYTES - self->input.length : SIZE_MAX;
    size_t taken = *size < room ? *size : room;
    self->received += taken;
    if (self->received > self->max_body_bytes) {
        self->refused = true;
        atomic_fetch_add(&self->server->refused, 1);
        cyx_exchange_refuse(self, 413, CYX_ERR_TOO_LARGE, "the body is over the limit");
        return answer_raw(self);
    }
    cyx_buf_append(&self->input, data, taken);
    *size -= taken;
    if (self->input.failed)
        return MHD_NO;
    /*
     * The connection is set aside when, and only when, something is left over: MHD forgets what is
     * left when it is not, and calls again at once, in spite of it, when a chunk was taken whole.
     * The upload holds its place already, so it is never turned away.
     */
    if (*size)
        hand_over(self, CYX_STEP_CHUNK, true);
    return MHD_YES;
}

/* A worker has begun the upload, or refused it. */
static enum MHD_Result on_begun(struct cyx_exchange *self)
{
    if (!self->refused) {
        self->step = CYX_STEP_BODY;
        start_body_deadline(self);
        cyx_watch_hangup(self->server->watch, self->conn);
        return MHD_YES;
    }
    if (self->has_body)
        return answer_early(self);
    self->step = CYX_STEP_REFUSED;
    return MHD_YES;
}

/* A worker has taken a chunk, or refused it. */
static enum MHD_Result on_chunk_done(struct cyx_exchange *self, const char *data, size_t *size)
{
    if (!self->refused) {
        self->step = CYX_STEP_BODY;
        return *size ? on_body(self, data, size) : dispatch(self);
    }
    if (*size)
        return answer_raw(self);
    cyx_exchange_finish_response(self, true);
    return answer(self);
}

enum MHD_Result cyx_conn_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                    const char *method, const char *version, const char *data,
                                    size_t *size, void **context)
{
    struct cyx_exchange *self = *context;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!self)
        return MHD_NO; /* no memory for it */
    switch (self->step) {
    case CYX_STEP_HEADERS:
        return on_headers(self, method, version);
    case CYX_STEP_BEGIN:
        return on_begun(self);
    case CYX_STEP_CHUNK:
        return on_chunk_done(self, data, size);
    case CYX_STEP_BODY:
        return *size ? on_body(self, data, size) : dispatch(self);
    case CYX_STEP_REFUSED:
        if (!self->ready)
            cyx_exchange_finish_response(self, false);
        return answer(self);
    case CYX_STEP_HANDLER:
        return answer(self);
    case CYX_STEP_ANSWERED:
        break;
    }
    return MHD_NO;
}

/* ---- the end
 * --------------------------------------------------------------------------------------------- */

static void run_abandon(void *arg)
{
    struct cyx_exchange *self = arg;
    if (self->sink_live && self->match.route->sink->finish)
        self->match.route->sink->finish(self->request.sink_state, false);
    cyx_exchange_destroy(self);
}

void cyx_conn_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                           enum MHD_RequestTerminationCode code)
{
    struct cyx_http_server *server = cls;
    struct cyx_exchange *self = *context;
    struct cyx_conn *conn = conn_of(mhd);
    (void)code;
    *context = NULL;
    if (!self || !conn || conn->exchange != self)
        return; /* upgraded: it ended at the switch */
    conn->exchange = NULL;
    detach_stream(self);
    if (self->ws)
        cyx_ws_abandon(self->ws);
    atomic_store(&conn->bytes_seen, cyx_socket_bytes_received(conn->fd));
    int busy = CYX_PHASE_BUSY;
    if (atomic_compare_exchange_strong(&conn->phase, &busy, CYX_PHASE_IDLE))
        atomic_store(&conn->deadline_ns, deadline_in(500));
    if (self->sink_live) {
        self->job = (struct cyx_job){.run = run_abandon, .arg = self};
        cyx_workers_submit(server->workers, &self->job, true);
    } else {
        cyx_exchange_destroy(self);
    }
    cyx_in_flight_done(server);
}
