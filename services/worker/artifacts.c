#include "artifacts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

enum { URL_BYTES = 128, GRANT_HEADER_BYTES = 640 };

struct transfer {
    const struct artifacts *artifacts;
    struct cyx_sha256 *hash;
    const char *expected;
};

static enum cyx_status on_chunk(void *user, const void *bytes, size_t length)
{
    struct transfer *transfer = user;
    return cyx_sha256_update(transfer->hash, bytes, length);
}

static enum cyx_status on_restart(void *user)
{
    struct transfer *transfer = user;
    char dropped[CYX_SHA256_HEX];
    return cyx_sha256_final(transfer->hash, dropped);
}

static enum cyx_status on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)done_bytes;
    (void)total_bytes;
    const struct transfer *transfer = user;
    return transfer->artifacts->beat(transfer->artifacts->ctx);
}

static enum cyx_status verify(void *user)
{
    struct transfer *transfer = user;
    char hex[CYX_SHA256_HEX];
    enum cyx_status status = cyx_sha256_final(transfer->hash, hex);
    if (status == CYX_OK && strcmp(hex, transfer->expected) != 0)
        status = CYX_ERR_CORRUPT;
    return status;
}

/* The whole into `path`, going on from what lies in PATH.part. */
static enum cyx_status download(const struct artifacts *self, const char *sha256, const char *path,
                                struct cyx_error *err)
{
    char url[URL_BYTES], authorization[GRANT_HEADER_BYTES];
    struct transfer transfer = {.artifacts = self, .hash = cyx_sha256_create(), .expected = sha256};
    if (!transfer.hash)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory to hash %s", path);
    snprintf(url, sizeof(url), "/api/v1/artifacts/%s", sha256);
    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", self->grant);
    const char *const headers[] = {authorization, NULL};
    const struct cyx_http_download asked = {.url = url,
                                            .headers = headers,
                                            .on_chunk = on_chunk,
                                            .on_restart = on_restart,
                                            .on_progress = on_progress,
                                            .user = &transfer};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    enum cyx_status status =
        cyx_http_client_download_file(self->http, &asked, path, verify, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_CORRUPT)
        cyx_error_set(err, status, NULL, "the bytes of artifact %s are not those of its hash",
                      sha256);
    cyx_sha256_destroy(transfer.hash);
    return status;
}

enum cyx_status artifacts_fetch(const struct artifacts *self, const char *sha256, const char *path,
                                struct cyx_error *err)
{
    char own[CACHE_PATH_BYTES];
    if (!cyx_sha256_valid(sha256))
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "%.80s is no SHA-256", sha256);
    enum cyx_status status = cache_take(self->cache, sha256, self->beat, self->ctx);
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "the wait for artifact %s was ended", sha256);
    if (!cache_link(self->cache, sha256, false, path)) {
        cache_path(self->cache, sha256, own);
        status = download(self, sha256, own, err);
        if (status == CYX_OK && !cache_link(self->cache, sha256, true, path))
            status = cyx_error_errno(err, "cannot link %s to %s", own, path);
    }
    cache_give(self->cache, sha256);
    cache_trim(self->cache);
    return status;
}

static bool has_all(const struct cyx_dataset *dataset, const char *data_dir)
{
    char path[ARTIFACTS_PATH_BYTES];
    struct stat info;
    for (size_t i = 0; i < dataset->n_files; i++) {
        const struct cyx_dataset_file *file = &dataset->files[i];
        int length = snprintf(path, sizeof(path), "%s/%s/%s", data_dir, dataset->name, file->name);
        if (length < 0 || (size_t)length >= sizeof(path) || stat(path, &info) != 0 ||
            info.st_size != file->bytes)
            return false;
    }
    return true;
}

enum cyx_status artifacts_fetch_dataset(const struct artifacts *self,
                                        const struct cyx_dataset *dataset, const char *data_dir,
                                        const char *folder, const char **ret_dir,
                                        struct cyx_error *err)
{
    char path[ARTIFACTS_PATH_BYTES];
    if (has_all(dataset, data_dir)) {
        *ret_dir = data_dir;
        return CYX_OK;
    }
    snprintf(path, sizeof(path), "%s/%s", folder, dataset->name);
    if ((mkdir(folder, 0700) != 0 && errno != EEXIST) ||
        (mkdir(path, 0700) != 0 && errno != EEXIST))
        return cyx_error_errno(err, "cannot make the folder %s", path);
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < dataset->n_files; i++) {
        const struct cyx_dataset_file *file = &dataset->files[i];
        int length = snprintf(path, sizeof(path), "%s/%s/%s", folder, dataset->name, file->name);
        if (length < 0 || (size_t)length >= sizeof(path))
            return cyx_error_set(err, CYX_ERR_INVALID, NULL, "the path %s is too long", folder);
        status = artifacts_fetch(self, file->sha256, path, err);
    }
    if (status == CYX_OK)
        *ret_dir = folder;
    return status;
}

enum cyx_status artifacts_push(const struct artifacts *self, const char *path,
                               char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_bytes,
                               struct cyx_error *err)
{
    char url[URL_BYTES], authorization[GRANT_HEADER_BYTES];
    enum cyx_status status = cyx_sha256_file(path, ret_sha256, ret_bytes, err);
    if (status != CYX_OK)
        return status;
    snprintf(url, sizeof(url), "/api/v1/artifacts/%s", ret_sha256);
    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", self->grant);
    const char *const headers[] = {authorization, NULL};
    struct transfer transfer = {.artifacts = self};
    const struct cyx_http_upload upload = {.url = url,
                                           .headers = headers,
                                           .path = path,
                                           .resumable = true,
                                           .on_progress = on_progress,
                                           .user = &transfer};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    status = cyx_http_client_upload(self->http, &upload, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_OK)
        cache_add(self->cache, ret_sha256, path);
    return status;
}
