/*
 * Who a request is from, where proxies stand before the server: their word (X-Forwarded-For, or Forwarded of RFC 7239) is
 * taken only where the connection comes from one that was named, and of what it says only as much as named ones added.
 * Whoever else writes such a header is somebody who would like to be another.
 *
 * The chain is read from its end: the connection's own address, then what each proxy appended. The first address that is no
 * named proxy is the client. Something that is no address (RFC 7239's "unknown", "_hidden") ends the reading: then it is
 * the last proxy's address. One header alone is read, since a proxy passes on the other as the client sent it.
 *
 * Ownership: create/destroy; immutable between, so any thread.
 *
 *     struct cyx_forward *forward = NULL;
 *     status = cyx_forward_create("10.0.0.0/8 ::1", false, &forward, &err);
 *     const char *client = cyx_forward_client(forward, request, text);
 */
#ifndef CYX_HTTP_FORWARD_H
#define CYX_HTTP_FORWARD_H

#include <stdbool.h>

#include "base/status.h"
#include "http/server.h"

enum { CYX_FORWARD_BYTES = 64 };

struct cyx_forward;

/* `proxies`: addresses and networks (10.0.0.0/8, 2001:db8::/32), spaces or commas between; NULL or "": none, and no header is
 * ever read. `rfc7239`: Forwarded instead of X-Forwarded-For. CYX_ERR_INVALID names what is no address. */
enum cyx_status cyx_forward_create(const char *proxies, bool rfc7239,
                                   struct cyx_forward **ret_forward, struct cyx_error *ret_error);
void cyx_forward_destroy(struct cyx_forward *self);

/* The client's numeric address: request->peer, or what was written to `ret_text`. `self` NULL: request->peer. */
const char *cyx_forward_client(const struct cyx_forward *self,
                               const struct cyx_http_request *request,
                               char ret_text[CYX_FORWARD_BYTES]);

#endif
