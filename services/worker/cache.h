/*
 * Artifacts that came from the gateway or went to it, by their hash, in one folder with a limit: what was used longest ago
 * goes first. A file is FOLDER/<sha256>; one that has not come whole is FOLDER/<sha256>.part and is continued by the next
 * download, of another process too. Users hold hard links, so that what goes while it is used stays for them.
 *
 * Ownership: create/destroy; the folder's path is copied. Any thread; one at a time has a hash (cache_take).
 *
 *     cache_take(cache, sha256, beat, ctx);
 *     if (!cache_link(cache, sha256, false, path))
 *         … download into cache_path(…), then cache_link …
 *     cache_give(cache, sha256);
 */
#ifndef CYX_WORKER_CACHE_H
#define CYX_WORKER_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { CACHE_PATH_BYTES = 1200, CACHE_USERS_LIMIT = 64 };

struct cache;

/* `folder` is made when it is not there. */
enum cyx_status cache_create(const char *folder, int64_t limit_bytes, struct cache **ret_cache,
                             struct cyx_error *err);
void cache_destroy(struct cache *self);

/*
 * Waits until nobody else has this hash, calling `beat` (may be NULL) every 100 ms, and has it. Not CYX_OK of `beat`
 * ends the wait with that.
 */
enum cyx_status cache_take(struct cache *self, const char *sha256, enum cyx_status (*beat)(void *),
                           void *ctx);
void cache_give(struct cache *self, const char *sha256);

/* Where the artifact lies or is to be put. */
void cache_path(const struct cache *self, const char *sha256, char ret_path[CACHE_PATH_BYTES]);

/*
 * Links the artifact to `path` (which is replaced) and counts it as used now. False when it is not there. Unless it was
 * `verified` just now, its bytes are: what is no longer its hash's is removed.
 */
bool cache_link(struct cache *self, const char *sha256, bool verified, const char *path);

/* Keeps a file that is known to have this hash, by a link; one that cannot be kept is not. */
void cache_add(struct cache *self, const char *sha256, const char *path);

/* What lies there now, in bytes; walks the folder. */
int64_t cache_used_bytes(const struct cache *self);

/* Removes what was used longest ago, parts too, until the limit holds. */
void cache_trim(struct cache *self);

#endif
