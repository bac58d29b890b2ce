/*
 * Files that come from the gateway and go to it, by their hash: data sets, checkpoints, models. Each transfer is
 * resumed where it broke and verified; `grant` is the job's capability. One thread at a time a client.
 */
#ifndef CYX_WORKER_ARTIFACTS_H
#define CYX_WORKER_ARTIFACTS_H

#include "base/status.h"
#include "blob/sha256.h"
#include "contract/dataset.h"
#include "http/client.h"

/* Called now and then while bytes move, so that a lease can be kept; not CYX_OK ends the transfer. */
struct artifacts_pulse {
    enum cyx_status (*beat)(void *ctx);
    void *ctx;
};

/* Downloads what is missing of the data set into DATA_DIR/<name>/; a file of the right size is taken as it is (the trainer verifies). */
enum cyx_status artifacts_fetch_dataset(struct cyx_http_client *http, const char *grant,
                                        const struct cyx_dataset *dataset, const char *data_dir,
                                        const struct artifacts_pulse *pulse, struct cyx_error *err);

/* One artifact into a file. CYX_ERR_CORRUPT when the bytes are not those of the hash. */
enum cyx_status artifacts_fetch(struct cyx_http_client *http, const char *grant, const char *sha256,
                                const char *path, const struct artifacts_pulse *pulse,
                                struct cyx_error *err);

/* Hashes and uploads a file; it must not change meanwhile. */
enum cyx_status artifacts_push(struct cyx_http_client *http, const char *grant, const char *path,
                               const struct artifacts_pulse *pulse, char ret_sha256[CYX_SHA256_HEX],
                               uint64_t *ret_bytes, struct cyx_error *err);

#endif
