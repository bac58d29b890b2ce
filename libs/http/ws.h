/*
 * WebSocket (RFC 6455) routes of the HTTP server: text and binary messages, keep-alive, a bounded
 * queue for each connection.
 *
 * A route with `.websocket = &handlers` answers the handshake (Upgrade, version 13, key, Origin by
 * `accept`); the socket then belongs to one thread of the server with its own epoll loop, where
 * on_open, on_message, on_drained and on_close run, one at a time. They must not block: hand long
 * work to another thread with a reference to the connection, and answer from there by
 * cyx_ws_send().
 *
 * Slow readers: each connection may have `max_queued_bytes` waiting. A message marked
 * CYX_WS_DROPPABLE is detail (a metric point): when the queue is full, the oldest droppable ones
 * are dropped to make room for a newer message, and cyx_ws_send() gives CYX_ERR_TOO_LARGE only when
 * that does not help. After a drop, on_drained runs once the queue is empty again and tells how
 * many were lost, so that the program can send a fresh snapshot. Memory is bounded, detail is lost.
 *
 * Ownership: handles are counted. The library holds one reference until on_close has returned;
 * whoever keeps a handle longer, or hands it to another thread, takes one. All functions here are
 * thread-safe.
 *
 *     static void on_message(void *user, struct cyx_ws *ws, bool text, const char *bytes,
 *                            size_t length)
 *     {
 *         cyx_ws_send(ws, bytes, length, 0);
 *     }
 *     static const struct cyx_ws_handlers echo = {.on_message = on_message};
 *     {.method = "GET", .path = "/api/v1/ws", .websocket = &echo},
 */
#ifndef CYX_HTTP_WS_H
#define CYX_HTTP_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "http/server.h"

struct cyx_ws;

enum cyx_ws_flags {
    CYX_WS_TEXT = 0, /* the bytes are UTF-8 */
    CYX_WS_BINARY = 1 << 0,
    CYX_WS_DROPPABLE = 1 << 1, /* may be dropped when the client reads too slowly */
};

struct cyx_ws_handlers {
    /*
     * On a worker (may block), before the switch: authenticate, check the Origin. Not CYX_OK
     * refuses by problem+json from response->error. `*ret_user` is given to the other callbacks
     * (default: the route's ctx). NULL: accepts same-origin only.
     */
    enum cyx_status (*accept)(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response, void **ret_user);
    void (*on_open)(void *user, struct cyx_ws *ws);
    /* A whole message, NUL behind it, valid UTF-8 where `text`. */
    void (*on_message)(void *user, struct cyx_ws *ws, bool text, const char *bytes, size_t length);
    void (*on_drained)(void *user, struct cyx_ws *ws, uint64_t dropped);
    /* Exactly once for each accept that succeeded, last of all, also when the client never came to
     * finish the handshake (then on_open did not run and `ws` is NULL). Code as in RFC 6455 7.4;
     * 1006: cut. */
    void (*on_close)(void *user, struct cyx_ws *ws, unsigned code, const char *reason);
    size_t max_message_bytes; /* 0: 64 KiB; a larger one closes with 1009 */
    size_t max_queued_bytes;  /* 0: 256 KiB */
    int ping_interval_ms;     /* 0: 20 s; a client silent for twice that is cut */
    const char *protocol;     /* sub-protocol answered when the client offers it; NULL: none */
};

/* Whether the request's Origin (where there is one) names the same host as its Host header. */
bool cyx_ws_same_origin(const struct cyx_http_request *request);

/* Queues one message; never blocks. CYX_ERR_TOO_LARGE: queue full, not queued. CYX_ERR_CANCELLED:
 * closed. */
enum cyx_status cyx_ws_send(struct cyx_ws *self, const void *bytes, size_t length, unsigned flags);

/* Sends what is queued, then a close frame, and waits a little for the answer. `reason` up to 123
 * bytes. */
void cyx_ws_close(struct cyx_ws *self, unsigned code, const char *reason);

/* Bytes that wait, and messages dropped so far. */
void cyx_ws_queue(struct cyx_ws *self, size_t *ret_queued_bytes, uint64_t *ret_dropped);

/* The request id of the handshake, for logs. */
const char *cyx_ws_request_id(const struct cyx_ws *self);

struct cyx_ws *cyx_ws_ref(struct cyx_ws *self);
void cyx_ws_unref(struct cyx_ws *self);

#endif
