/*
 * Private to libs/http: takes a request's target, query and cookies apart.
 * All results are allocated from the arena. CYX_ERR_INVALID for a target that is malformed: a bad
 * %xx, a NUL, a control character, a "." or ".." segment.
 */
#ifndef CYX_HTTP_TARGET_H
#define CYX_HTTP_TARGET_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"
#include "http/router.h"
#include "http/server.h"

struct cyx_target {
    const char *path; /* decoded */
    const char *segments[CYX_ROUTER_MAX_SEGMENTS + 1];
    const char *rests[CYX_ROUTER_MAX_SEGMENTS + 1];
    size_t count; /* more than CYX_ROUTER_MAX_SEGMENTS: too deep for any route */
    struct cyx_http_pair *query;
    size_t query_count;
};

enum cyx_status cyx_target_parse(const char *text, struct cyx_arena *arena,
                                 struct cyx_target *ret_target, struct cyx_error *ret_error);

/* The pairs of one Cookie header; what is malformed is skipped, as browsers' servers do. */
enum cyx_status cyx_cookies_parse(const char *text, struct cyx_arena *arena,
                                  struct cyx_http_pair **ret_pairs, size_t *ret_count);

#endif
