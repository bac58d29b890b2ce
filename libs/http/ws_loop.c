#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/ws_private.h"

enum { TICK_MS = 100, EVENTS = 64, OUT_BYTES = 64 * 1024, READ_BUDGET = 64 * 1024 };

static const int64_t close_wait_ns = 2000000000;

struct cyx_ws_loop {
    struct cyx_http_server *server;
    int epoll, wake;
    pthread_t thread;
    bool joined;
    pthread_mutex_t lock;
    pthread_cond_t emptied;
    struct cyx_ws *waking, *arrived; /* lists, each member with a reference */
    atomic_bool closing, cutting, stopping;
    atomic_uint count;
    struct cyx_ws *all; /* the thread's own */
};

static void ring(struct cyx_ws_loop *self)
{
    uint64_t one = 1;
    if (write(self->wake, &one, sizeof(one)) < 0)
        return; /* it rings already */
}

void cyx_ws_loop_wake(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    cyx_ws_ref(ws);
    pthread_mutex_lock(&self->lock);
    bool first = !self->waking;
    ws->wake_next = self->waking;
    self->waking = ws;
    pthread_mutex_unlock(&self->lock);
    if (first)
        ring(self);
}

void cyx_ws_loop_adopt(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    atomic_fetch_add(&self->count, 1);
    pthread_mutex_lock(&self->lock);
    ws->next = self->arrived;
    self->arrived = ws;
    pthread_mutex_unlock(&self->lock);
    ring(self);
}

unsigned cyx_ws_loop_count(struct cyx_ws_loop *self)
{
    return atomic_load(&self->count);
}

/* ---- wslay's callbacks
 * ------------------------------------------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr context, uint8_t *to, size_t size, int flags,
                       void *user)
{
    struct cyx_ws *ws = user;
    (void)flags;
    size_t extra = ws->extra.length - ws->extra_used;
    if (extra) {
        size_t n = extra < size ? extra : size;
        memcpy(to, ws->extra.data + ws->extra_used, n);
        ws->extra_used += n;
        return (ssize_t)n;
    }
    if (ws->read_budget == 0) {
        wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK); /* the others' turn */
        return -1;
    }
    ssize_t n = recv(ws->fd, to, size < ws->read_budget ? size : ws->read_budget, MSG_DONTWAIT);
    if (n > 0) {
        ws->read_budget -= (size_t)n;
        ws->heard_ns = cyx_clock_monotonic_ns();
        return n;
    }
    bool wait = n < 0 && (errno == EAGAIN || errno == EINTR);
    ws->peer_gone = ws->peer_gone || !wait;
    wslay_event_set_error(context, wait ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

/* Frames are gathered, so that many small messages go out by one write. */
static ssize_t on_send(wslay_event_context_ptr context, const uint8_t *bytes, size_t length,
                       int flags, void *user)
{
    struct cyx_ws *ws = user;
    (void)flags;
    cyx_buf_append(&ws->out, bytes, length);
    if (!ws->out.failed)
        return (ssize_t)length;
    wslay_event_set_error(context, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void on_message(wslay_event_context_ptr context,
                       const struct wslay_event_on_msg_recv_arg *message, void *user)
{
    struct cyx_ws *ws = user;
    (void)context;
    bool text = message->opcode == WSLAY_TEXT_FRAME;
    if ((!text && message->opcode != WSLAY_BINARY_FRAME) || !ws->handlers->on_message)
        return;
    cyx_buf_clear(&ws->scratch);
    cyx_buf_append(&ws->scratch, message->msg, message->msg_length);
    if (!ws->scratch.failed)
        ws->handlers->on_message(ws->user, ws, text, ws->scratch.data, ws->scratch.length);
}

/* ---- one connection
 * ------------------------------------------------------------------------------------ */

static unsigned final_code(struct cyx_ws *ws)
{
    if (!ws->context)
        return 1006;
    if (wslay_event_get_close_received(ws->context))
        return wslay_event_get_status_code_received(ws->context);
    if (!wslay_event_get_close_sent(ws->context) || ws->peer_gone)
        return 1006;
    unsigned sent = wslay_event_get_status_code_sent(ws->context);
    return sent == WSLAY_CODE_NO_STATUS_RCVD ? 1002 : sent; /* wslay's close for a broken frame */
}

static void finish(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    if (ws->finished)
        return;
    ws->finished = true;
    unsigned code = final_code(ws);
    char reason[sizeof(ws->reason)];
    pthread_mutex_lock(&ws->lock);
    ws->shut = true;
    memcpy(reason, ws->wants_close ? ws->reason : "", ws->wants_close ? sizeof(reason) : 1);
    pthread_mutex_unlock(&ws->lock);
    epoll_ctl(self->epoll, EPOLL_CTL_DEL, ws->fd, NULL);
    int copy = ws->peer_gone ? -1 : dup(ws->fd);
    if (copy >= 0)
        cyx_watch_linger(self->server->watch, copy);
    MHD_upgrade_action(ws->handle, MHD_UPGRADE_ACTION_CLOSE);
    if (ws->handlers->on_close)
        ws->handlers->on_close(ws->user, ws, code, reason);
    if (ws->context)
        wslay_event_context_free(ws->context);
    ws->context = NULL;
    if (ws->prev)
        ws->prev->next = ws->next;
    else if (self->all == ws)
        self->all = ws->next;
    if (ws->next)
        ws->next->prev = ws->prev;
    ws->next = ws->prev = NULL;
    cyx_ws_unref(ws);
    if (atomic_fetch_sub(&self->count, 1) == 1) {
        pthread_mutex_lock(&self->lock);
        pthread_cond_broadcast(&self->emptied);
        pthread_mutex_unlock(&self->lock);
    }
}

/* Writes what is framed; false when the peer is gone. */
static bool flush(struct cyx_ws *ws)
{
    while (ws->out_sent < ws->out.length) {
        ssize_t n = send(ws->fd, ws->out.data + ws->out_sent, ws->out.length - ws->out_sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            ws->peer_gone = true;
            return false;
        }
        ws->out_sent += (size_t)n;
    }
    cyx_buf_clear(&ws->out);
    ws->out_sent = 0;
    return true;
}

/* Frames one waiting message, or the close that was asked for. False when there is nothing to do.
 */
static bool frame_next(struct cyx_ws *ws)
{
    struct cyx_ws_message *message = ws->closing ? NULL : cyx_ws_take(ws);
    if (message) {
        struct wslay_event_msg frame = {.opcode =
                                            message->binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME,
                                        .msg = message->bytes,
                                        .msg_length = message->length};
        wslay_event_queue_msg(ws->context, &frame);
        free(message);
        return true;
    }
    pthread_mutex_lock(&ws->lock);
    bool close_now = ws->wants_close && !ws->closing;
    unsigned code = ws->code;
    pthread_mutex_unlock(&ws->lock);
    if (!close_now)
        return false;
    ws->closing = true; /* reason is not written any more */
    ws->close_by_ns = cyx_clock_monotonic_ns() + close_wait_ns;
    wslay_event_queue_close(ws->context, (uint16_t)code, (const uint8_t *)ws->reason,
                            strlen(ws->reason));
    return true;
}

static void tell_drained(struct cyx_ws *ws)
{
    pthread_mutex_lock(&ws->lock);
    uint64_t lost = ws->first || ws->shut ? 0 : ws->dropped - ws->reported;
    ws->reported += lost;
    pthread_mutex_unlock(&ws->lock);
    if (lost && ws->handlers->on_drained)
        ws->handlers->on_drained(ws->user, ws, lost);
}

/* A peer that does not read is not read either, or its pings would fill memory with our pongs. */
static bool update_events(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    bool want_out = ws->out.length > 0, behind = ws->out.length - ws->out_sent >= OUT_BYTES;
    uint32_t wanted = (behind ? 0u : (uint32_t)EPOLLIN) | (want_out ? (uint32_t)EPOLLOUT : 0u);
    if (wanted == ws->events)
        return true;
    struct epoll_event event = {.events = wanted, .data.ptr = ws};
    ws->events = wanted;
    return epoll_ctl(self->epoll, EPOLL_CTL_MOD, ws->fd, &event) == 0;
}

/* Frames and writes as much as the socket takes. False when the connection is over. */
static bool pump(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    bool more = true;
    while (more) {
        while (ws->out.length - ws->out_sent < OUT_BYTES &&
               (wslay_event_want_write(ws->context) || frame_next(ws)))
            if (wslay_event_send(ws->context) != 0)
                return false;
        bool full = ws->out.length - ws->out_sent >= OUT_BYTES;
        if (!flush(ws))
            return false;
        more = full && ws->out.length == 0;
    }
    bool want_out = ws->out.length > 0;
    if (!update_events(self, ws))
        return false;
    if (!want_out)
        tell_drained(ws);
    bool over = !wslay_event_want_read(ws->context) && !wslay_event_want_write(ws->context);
    if (over && !ws->close_by_ns)
        ws->close_by_ns = cyx_clock_monotonic_ns() + close_wait_ns;
    return want_out || !over;
}

static void serve(struct cyx_ws_loop *self, struct cyx_ws *ws, bool readable)
{
    if (ws->finished)
        return;
    bool alive = true;
    ws->read_budget = READ_BUDGET;
    if (readable && wslay_event_want_read(ws->context))
        alive = wslay_event_recv(ws->context) == 0;
    if (!pump(self, ws) || !alive)
        finish(self, ws);
}

static bool begin(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv, .send_callback = on_send, .on_msg_recv_callback = on_message};
    int one = 1, flags = fcntl(ws->fd, F_GETFL);
    fcntl(ws->fd, F_SETFL, flags | O_NONBLOCK);
    setsockopt(ws->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    ws->heard_ns = ws->pinged_ns = cyx_clock_monotonic_ns();
    if (wslay_event_context_server_init(&ws->context, &callbacks, ws) != 0) {
        ws->context = NULL;
        return false;
    }
    wslay_event_config_set_max_recv_msg_length(ws->context, ws->max_message_bytes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = ws};
    ws->events = EPOLLIN;
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, ws->fd, &event) == 0;
}

static void welcome(struct cyx_ws_loop *self, struct cyx_ws *ws)
{
    ws->next = self->all;
    ws->prev = NULL;
    if (ws->next)
        ws->next->prev = ws;
    self->all = ws;
    if (!begin(self, ws)) {
        finish(self, ws);
        return;
    }
    if (ws->handlers->on_open)
        ws->handlers->on_open(ws->user, ws);
    serve(self, ws, true); /* bytes may have come with the handshake */
}

/* ---- the thread
 * ------------------------------------------------------------------------------------------ */

static struct cyx_ws *take_list(struct cyx_ws_loop *self, struct cyx_ws **list)
{
    pthread_mutex_lock(&self->lock);
    struct cyx_ws *taken = *list;
    *list = NULL;
    pthread_mutex_unlock(&self->lock);
    return taken;
}

static void serve_lists(struct cyx_ws_loop *self)
{
    for (struct cyx_ws *ws = take_list(self, &self->arrived), *next; ws; ws = next) {
        next = ws->next;
        welcome(self, ws);
    }
    for (struct cyx_ws *ws = take_list(self, &self->waking), *next; ws; ws = next) {
        next = ws->wake_next;
        pthread_mutex_lock(&ws->lock);
        ws->waking = false;
        pthread_mutex_unlock(&ws->lock);
        if (ws->context)
            serve(self, ws, false);
        cyx_ws_unref(ws);
    }
}

/* Pings, and ends what is silent or does not answer a close. */
static void tick(struct cyx_ws_loop *self, struct cyx_ws *ws, int64_t now_ns)
{
    if (atomic_load(&self->closing))
        cyx_ws_close(ws, 1001, "the server is stopping");
    if (atomic_load(&self->cutting) || (ws->close_by_ns && now_ns >= ws->close_by_ns)) {
        finish(self, ws);
        return;
    }
    if (now_ns - ws->heard_ns >= 2 * ws->ping_ns) {
        ws->peer_gone = true;
        finish(self, ws);
        return;
    }
    if (now_ns - ws->pinged_ns < ws->ping_ns || ws->closing)
        return;
    ws->pinged_ns = now_ns;
    struct wslay_event_msg ping = {
        .opcode = WSLAY_PING, .msg = (const uint8_t *)"", .msg_length = 0};
    wslay_event_queue_msg(ws->context, &ping);
    serve(self, ws, false);
}

static void *loop(void *arg)
{
    struct cyx_ws_loop *self = arg;
    struct epoll_event events[EVENTS];
    int64_t next_tick_ns = 0;
    pthread_setname_np(pthread_self(), "http-ws");
    while (!atomic_load(&self->stopping)) {
        int count = epoll_wait(self->epoll, events, EVENTS, TICK_MS);
        for (int i = 0; i < count; i++) {
            uint64_t drop = 0;
            if (events[i].data.ptr)
                serve(self, events[i].data.ptr, events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR));
            else if (read(self->wake, &drop, sizeof(drop)) < 0)
                continue;
        }
        serve_lists(self);
        int64_t now_ns = cyx_clock_monotonic_ns();
        bool hurry = atomic_load(&self->closing);
        if (now_ns < next_tick_ns && !hurry)
            continue;
        next_tick_ns = now_ns + TICK_MS * INT64_C(1000000);
        for (struct cyx_ws *ws = self->all, *next; ws; ws = next) {
            next = ws->next;
            tick(self, ws, now_ns);
        }
    }
    return NULL;
}

/* ---- life
 * -------------------------------------------------------------------------------------------------
 */

enum cyx_status cyx_ws_loop_create(struct cyx_http_server *server, struct cyx_ws_loop **ret_loop,
                                   struct cyx_error *ret_error)
{
    struct cyx_ws_loop *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for WebSockets");
    self->server = server;
    self->joined = true;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->emptied, NULL);
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (self->epoll < 0 || self->wake < 0 ||
        epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &event) != 0 ||
        pthread_create(&self->thread, NULL, loop, self) != 0) {
        enum cyx_status status = cyx_error_errno(ret_error, "cannot start the WebSocket loop");
        cyx_ws_loop_destroy(self);
        return status;
    }
    self->joined = false;
    *ret_loop = self;
    return CYX_OK;
}

void cyx_ws_loop_close_all(struct cyx_ws_loop *self)
{
    atomic_store(&self->closing, true);
    ring(self);
}

bool cyx_ws_loop_stop(struct cyx_ws_loop *self, int drain_ms)
{
    cyx_ws_loop_close_all(self);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += drain_ms / 1000;
    until.tv_nsec += drain_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&self->lock);
    bool gone = true;
    while (gone && atomic_load(&self->count))
        gone = pthread_cond_timedwait(&self->emptied, &self->lock, &until) == 0;
    atomic_store(&self->cutting, true);
    ring(self);
    while (atomic_load(&self->count))
        pthread_cond_wait(&self->emptied, &self->lock);
    pthread_mutex_unlock(&self->lock);
    atomic_store(&self->stopping, true);
    ring(self);
    pthread_join(self->thread, NULL);
    self->joined = true;
    return gone;
}

void cyx_ws_loop_destroy(struct cyx_ws_loop *self)
{
    if (!self)
        return;
    if (!self->joined)
        cyx_ws_loop_stop(self, 0);
    for (struct cyx_ws *ws = take_list(self, &self->waking), *next; ws; ws = next) {
        next = ws->wake_next;
        cyx_ws_unref(ws);
    }
    if (self->epoll >= 0)
        close(self->epoll);
    if (self->wake >= 0)
        close(self->wake);
    pthread_cond_destroy(&self->emptied);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
