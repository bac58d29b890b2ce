/*
 * Private to libs/http: one WebSocket, shared by ws.c (what any thread may do) and ws_loop.c (the
 * loop's thread).
 */
#ifndef CYX_HTTP_WS_PRIVATE_H
#define CYX_HTTP_WS_PRIVATE_H

#include <wslay/wslay.h>

#include "http/private.h"

struct cyx_ws_message {
    struct cyx_ws_message *next;
    size_t length;
    bool binary, droppable;
    uint8_t bytes[];
};

struct cyx_ws {
    _Atomic unsigned refs;
    struct cyx_ws_loop *loop;
    const struct cyx_ws_handlers *handlers;
    void *user;
    size_t max_message_bytes, max_queued_bytes;
    int64_t ping_ns;
    char request_id[128];

    pthread_mutex_t lock; /* guards from here … */
    struct cyx_ws_message *first, *last;
    size_t queued_bytes;
    uint64_t dropped;
    bool shut;        /* nothing more is taken */
    bool wants_close; /* with code and reason */
    bool waking;      /* stands in the loop's list */
    unsigned code;
    char reason[124];         /* … to here */
    struct cyx_ws *wake_next; /* guarded by the loop's lock */

    /* The loop's thread alone: */
    struct cyx_ws *next, *prev;
    int fd;
    struct MHD_UpgradeResponseHandle *handle;
    wslay_event_context_ptr context;
    struct cyx_buf extra; /* came with the handshake; bytes [extra_used, length) are to be read */
    size_t extra_used;
    struct cyx_buf out; /* framed, to be written; bytes [out_sent, length) wait */
    size_t out_sent;
    struct cyx_buf scratch;
    size_t read_budget;
    uint32_t events; /* epoll waits for */
    bool closing, finished, peer_gone;
    uint64_t reported; /* of dropped */
    int64_t heard_ns, pinged_ns, close_by_ns;
};

/* Wakes the loop for `ws`, which gets one reference while it waits. */
void cyx_ws_loop_wake(struct cyx_ws_loop *self, struct cyx_ws *ws);

/* Takes an upgraded connection over, with the caller's reference. */
void cyx_ws_loop_adopt(struct cyx_ws_loop *self, struct cyx_ws *ws);

/* The next message, which the caller frees, or NULL. */
struct cyx_ws_message *cyx_ws_take(struct cyx_ws *self);

#endif
