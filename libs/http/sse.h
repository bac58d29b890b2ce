/*
 * Reads Server-Sent Events (HTML Living Standard, 9.2) from bytes as they come.
 *
 * Ownership: the parser is the caller's (zero-initialise, set on_event and user), its buffers are
 * freed by cyx_sse_finish(). An event's strings live during the callback. Not thread-safe. Limit:
 * one event at most CYX_SSE_MAX_BYTES, else CYX_ERR_TOO_LARGE.
 *
 *     struct cyx_sse sse = {.on_event = print_event, .user = app};
 *     cyx_http_client_stream(http, &call, cyx_sse_feed, &sse, &result, &err);
 *     cyx_sse_finish(&sse);
 */
#ifndef CYX_HTTP_SSE_H
#define CYX_HTTP_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

enum { CYX_SSE_MAX_BYTES = 1 << 20 };

struct cyx_sse_event {
    const char *event; /* "message" where none was named */
    const char *data;
    const char
        *id; /* the last id seen, "" before the first: send it as Last-Event-ID on reconnecting */
};

struct cyx_sse {
    /* Not CYX_OK ends the stream with that status. */
    enum cyx_status (*on_event)(void *user, const struct cyx_sse_event *event);
    void *user;
    struct cyx_buf line, event, data, id; /* private */
    bool has_data, after_cr, started;     /* private */
};

/* Fits cyx_http_chunk; `sse` is the struct cyx_sse. */
enum cyx_status cyx_sse_feed(void *sse, const void *bytes, size_t length);

void cyx_sse_finish(struct cyx_sse *self);

#endif
