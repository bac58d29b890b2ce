/*
 * Files that come from the gateway and go to it, by their hash: data sets, checkpoints, models. A transfer is resumed where
 * it broke, by a later process too, and verified; what came or went stays in the cache. One thread at a time a struct.
 */
#ifndef CYX_WORKER_ARTIFACTS_H
#define CYX_WORKER_ARTIFACTS_H

#include "base/status.h"
#include "blob/sha256.h"
#include "cache.h"
#include "contract/dataset.h"
#include "http/client.h"

enum { ARTIFACTS_PATH_BYTES = 4096 };

/* All borrowed. `beat` is called now and then while bytes move, so that a lease can be kept; not CYX_OK ends the transfer. */
struct artifacts {
    struct cyx_http_client *http;
    struct cache *cache;
    const char *grant; /* the job's capability */
    enum cyx_status (*beat)(void *ctx);
    void *ctx;
};

/*
 * Where the trainer finds the data set: `data_dir` when its files lie there in their right sizes (the trainer verifies),
 * else `folder`, which is filled with what the cache has and the gateway gives.
 */
enum cyx_status artifacts_fetch_dataset(const struct artifacts *self,
                                        const struct cyx_dataset *dataset, const char *data_dir,
                                        const char *folder, const char **ret_dir,
                                        struct cyx_error *err);

/* One artifact as a file; `path` and the cache are on one file system. CYX_ERR_CORRUPT when the bytes are not its hash's. */
enum cyx_status artifacts_fetch(const struct artifacts *self, const char *sha256, const char *path,
                                struct cyx_error *err);

/* Hashes and uploads a file of the cache's file system; it must not change meanwhile. */
enum cyx_status artifacts_push(const struct artifacts *self, const char *path,
                               char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_bytes,
                               struct cyx_error *err);

#endif
