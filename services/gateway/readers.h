/*
 * Who reads live, and by what they were let in: when a key is revoked, a session ends, a password is changed or either
 * expires, the streams that it opened end within a few seconds, on whichever replica they are.
 *
 * Ownership: a reader lies within what has the stream and is removed before that is freed; the store is borrowed. Any
 * thread may add and remove. One thread of its own asks the store.
 *
 *     readers_add(readers, &connection->reader);
 *     …
 *     readers_remove(readers, &connection->reader);
 */
#ifndef CYX_GATEWAY_READERS_H
#define CYX_GATEWAY_READERS_H

#include "http/server.h"
#include "http/ws.h"
#include "store.h"

struct readers;

struct reader {
    struct reader *next, **link; /* link NULL: not added */
    struct store_credential credential;
    struct cyx_ws *ws; /* one of the two; the owner's reference */
    struct cyx_http_stream *stream;
    bool ended;
};

enum cyx_status readers_create(struct store *store, struct readers **ret_readers,
                               struct cyx_error *err);
/* Asks no more and ends nobody's stream; before the HTTP server goes. */
void readers_stop(struct readers *self);
void readers_destroy(struct readers *self);

void readers_add(struct readers *self, struct reader *reader);
void readers_remove(struct readers *self, struct reader *reader); /* no-op when not added */

#endif
