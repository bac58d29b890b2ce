/*
 * Redis as a cache: values with an expiry, counters for rate limits. Never the only copy of
 * anything.
 *
 * With Redis gone the product is slower and nothing else: after a failure the circuit opens and
 * calls return CYX_ERR_UNAVAILABLE at once; every second one call is let through to try again. So
 * callers treat any failure of this header as "not cached" and go on; a rate limit that cannot be
 * counted is not enforced.
 *
 * Ownership: the cache is the caller's from cyx_cache_open() to cyx_cache_close(). Any thread; up
 * to `size` calls run at once on connections of their own, others wait a moment. A call takes at
 * most `timeout_ms`.
 *
 * The process must ignore SIGPIPE (cyx_svc_create() does), since hiredis writes into closed sockets.
 *
 *     if (cyx_cache_get(cache, key, &text) != CYX_OK) {
 *         ...ask PostgreSQL...
 *         cyx_cache_set(cache, key, json, length, 30000);
 *     }
 */
#ifndef CYX_STORE_CACHE_H
#define CYX_STORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct cyx_cache;

struct cyx_cache_options {
    const char *url; /* "redis://[:password@]host:port[/db]", "unix:///path/to.sock[?db=n]"; NULL or
                        "": no cache at all */
    const char *prefix; /* put before every key, such as "gateway:"; NULL for none */
    unsigned size;      /* connections; 0 means 4 */
    int64_t timeout_ms; /* connect and each call; 0 means 250 */
};

/* Never fails for a server that is away, only for a URL that makes no sense (CYX_ERR_INVALID). */
enum cyx_status cyx_cache_open(const struct cyx_cache_options *options,
                               struct cyx_cache **ret_cache, struct cyx_error *err);
void cyx_cache_close(struct cyx_cache *self);

/* Whether the last call came through; for metrics. A service is ready without it. */
bool cyx_cache_up(struct cyx_cache *self);

/* Appends the value to `ret_value`; CYX_ERR_NOT_FOUND when there is none. */
enum cyx_status cyx_cache_get(struct cyx_cache *self, const char *key, struct cyx_buf *ret_value);

/* Sets it for `ttl_ms` (at least 1). Keys are at most 512 bytes, values 1 MiB. */
enum cyx_status cyx_cache_set(struct cyx_cache *self, const char *key, const void *value,
                              size_t length, int64_t ttl_ms);

enum cyx_status cyx_cache_delete(struct cyx_cache *self, const char *key);

/*
 * Adds `by` and gives the new count; the first addition starts an expiry of `window_ms`, after
 * which it begins at 0 again. Also gives how long the window still lasts (for Retry-After; may be
 * NULL). For a rate limit: refuse when the count is over the limit.
 */
enum cyx_status cyx_cache_count(struct cyx_cache *self, const char *key, int64_t by,
                                int64_t window_ms, int64_t *ret_count, int64_t *ret_remaining_ms);

#endif
