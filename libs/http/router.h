/*
 * Private to libs/http: finds the route of a path. A tree of segments; literal children win over
 * {names}, {names} over a last {name*}, with a way back when a branch ends nowhere.
 *
 * Ownership: the router is the caller's (zero-initialise, cyx_router_finish()); routes are kept by
 * pointer. Built by one thread, then read by all.
 */
#ifndef CYX_HTTP_ROUTER_H
#define CYX_HTTP_ROUTER_H

#include <stddef.h>

#include "base/status.h"
#include "http/server.h"

enum { CYX_ROUTER_MAX_SEGMENTS = 32, CYX_ROUTER_ALLOW_BYTES = 128 };

struct cyx_router_node;

struct cyx_router {
    struct cyx_router_node *root;
};

struct cyx_router_match {
    const struct cyx_http_route *route; /* NULL: the path is known, the method is not */
    void *ctx;
    struct cyx_http_pair params[CYX_ROUTER_MAX_SEGMENTS];
    size_t param_count;
    char allow[CYX_ROUTER_ALLOW_BYTES]; /* for 405 */
};

enum cyx_status cyx_router_add(struct cyx_router *self, const struct cyx_http_route *route,
                               void *ctx, struct cyx_error *ret_error);

/*
 * `segments` are the decoded parts between the slashes; `rests[i]` is the path from segment i on,
 * without its slash. CYX_ERR_NOT_FOUND when no route has the path. HEAD falls back to GET.
 */
enum cyx_status cyx_router_find(const struct cyx_router *self, const char *method,
                                const char *const *segments, const char *const *rests, size_t count,
                                struct cyx_router_match *ret_match);

void cyx_router_finish(struct cyx_router *self);

#endif
