#include <stdlib.h>
#include <string.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/private.h"

enum { DEFAULT_QUEUE_BYTES = 256 * 1024, DEFAULT_HEARTBEAT_MS = 15000, BLOCK_BYTES = 16 * 1024 };

struct cyx_http_stream {
    _Atomic unsigned refs;
    struct cyx_http_stream_options options;
    pthread_mutex_t lock;
    struct cyx_buf queue; /* bytes [sent, length) wait */
    size_t sent;
    struct MHD_Connection *mhd; /* while it is being sent */
    bool suspended, ended, gone;
    _Atomic int64_t last_ns; /* of the last push */
    atomic_bool closed;      /* on_close has run or will not run */
};

struct cyx_http_stream *cyx_http_stream_ref(struct cyx_http_stream *self)
{
    atomic_fetch_add(&self->refs, 1);
    return self;
}

void cyx_http_stream_unref(struct cyx_http_stream *self)
{
    if (!self || atomic_fetch_sub(&self->refs, 1) != 1)
        return;
    cyx_buf_finish(&self->queue);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

enum cyx_status cyx_http_respond_stream(struct cyx_http_response *self,
                                        const struct cyx_http_stream_options *options,
                                        struct cyx_http_stream **ret_stream)
{
    struct cyx_http_stream *made = calloc(1, sizeof(*made));
    if (!made)
        return cyx_error_set(&self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for a stream");
    if (options)
        made->options = *options;
    if (!made->options.max_queued_bytes)
        made->options.max_queued_bytes = DEFAULT_QUEUE_BYTES;
    if (!made->options.heartbeat_ms)
        made->options.heartbeat_ms = DEFAULT_HEARTBEAT_MS;
    const char *type = made->options.content_type;
    if (type)
        made->options.heartbeat_ms = -1; /* a comment would spoil any other format */
    atomic_init(&made->refs, 2);         /* the response's and the caller's */
    atomic_init(&made->last_ns, cyx_clock_monotonic_ns());
    pthread_mutex_init(&made->lock, NULL);
    cyx_http_respond_empty(self, 200);
    self->body->kind = CYX_BODY_STREAM;
    self->body->stream = made;
    *ret_stream = made;
    enum cyx_status status =
        cyx_http_response_header(self, "Content-Type", type ? type : "text/event-stream");
    if (status == CYX_OK && !type)
        status = cyx_http_response_header(self, "Cache-Control", "no-store");
    if (status == CYX_OK && !type)
        status = cyx_http_response_header(self, "X-Accel-Buffering", "no");
    return status;
}

/* With the lock held. */
static void wake(struct cyx_http_stream *self)
{
    if (self->suspended && self->mhd) {
        self->suspended = false;
        MHD_resume_connection(self->mhd);
    }
}

enum cyx_status cyx_http_stream_push(struct cyx_http_stream *self, const void *bytes, size_t length)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->lock);
    if (self->ended || self->gone) {
        status = CYX_ERR_CANCELLED;
    } else if (length > self->options.max_queued_bytes - (self->queue.length - self->sent)) {
        status = CYX_ERR_TOO_LARGE;
    } else {
        cyx_buf_append(&self->queue, bytes, length);
        if (self->queue.failed) {
            self->queue.failed = false; /* what was queued before is whole */
            status = CYX_ERR_NO_MEMORY;
        }
        atomic_store(&self->last_ns, cyx_clock_monotonic_ns());
        wake(self);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum cyx_status cyx_http_stream_event(struct cyx_http_stream *self, const char *event,
                                      const char *id, const char *data)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    if ((event && strpbrk(event, "\r\n")) || (id && strpbrk(id, "\r\n")))
        return CYX_ERR_INVALID;
    if (event)
        cyx_buf_printf(&text, "event: %s\n", event);
    if (id)
        cyx_buf_printf(&text, "id: %s\n", id);
    for (const char *at = data;; at++) {
        size_t length = strcspn(at, "\r\n");
        cyx_buf_puts(&text, "data: ");
        cyx_buf_append(&text, at, length);
        cyx_buf_puts(&text, "\n");
        at += length;
        if (at[0] == '\r' && at[1] == '\n')
            at++;
        if (!*at)
            break;
    }
    cyx_buf_puts(&text, "\n");
    if (text.failed)
        return CYX_ERR_NO_MEMORY;
    return cyx_http_stream_push(self, text.data, text.length);
}

void cyx_http_stream_end(struct cyx_http_stream *self)
{
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    wake(self);
    pthread_mutex_unlock(&self->lock);
}

void cyx_stream_abort(struct cyx_http_stream *self)
{
    pthread_mutex_lock(&self->lock);
    self->gone = true;
    wake(self);
    pthread_mutex_unlock(&self->lock);
}

void cyx_stream_attach(struct cyx_http_stream *self, struct MHD_Connection *mhd)
{
    pthread_mutex_lock(&self->lock);
    self->mhd = mhd;
    pthread_mutex_unlock(&self->lock);
}

void cyx_stream_detach(struct cyx_http_stream *self)
{
    pthread_mutex_lock(&self->lock);
    self->gone = true;
    self->mhd = NULL;
    pthread_mutex_unlock(&self->lock);
    if (!atomic_exchange(&self->closed, true) && self->options.on_close)
        self->options.on_close(self->options.user, self);
}

void cyx_stream_heartbeat(struct cyx_http_stream *self, int64_t now_ns)
{
    int64_t after_ns = (int64_t)self->options.heartbeat_ms * 1000000;
    if (after_ns > 0 && now_ns - atomic_load(&self->last_ns) >= after_ns)
        cyx_http_stream_push(self, ":\n\n", 3);
}

/* MHD asks for the next bytes, on its event thread: nothing there suspends the connection until a
 * push. */
static ssize_t read_stream(void *cls, uint64_t position, char *to, size_t size)
{
    struct cyx_http_stream *self = cls;
    (void)position;
    ssize_t given = 0;
    pthread_mutex_lock(&self->lock);
    size_t waiting = self->queue.length - self->sent;
    if (self->gone) {
        given = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (waiting) {
        given = (ssize_t)(waiting < size ? waiting : size);
        memcpy(to, self->queue.data + self->sent, (size_t)given);
        self->sent += (size_t)given;
        if (self->sent == self->queue.length) {
            cyx_buf_clear(&self->queue);
            self->sent = 0;
        } else if (self->sent > self->options.max_queued_bytes) {
            self->queue.length -= self->sent;
            memmove(self->queue.data, self->queue.data + self->sent, self->queue.length);
            self->sent = 0;
        }
    } else if (self->ended) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (self->mhd) {
        self->suspended = true;
        MHD_suspend_connection(self->mhd);
    }
    pthread_mutex_unlock(&self->lock);
    return given;
}

static void free_stream(void *cls)
{
    cyx_http_stream_unref(cls);
}

struct MHD_Response *cyx_stream_response(struct cyx_http_stream *self)
{
    cyx_http_stream_ref(self);
    struct MHD_Response *made = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                                                  read_stream, self, free_stream);
    if (!made)
        cyx_http_stream_unref(self);
    return made;
}
