#include "artifacts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

enum { URL_BYTES = 128, PATH_BYTES = 4096, GRANT_HEADER_BYTES = 640 };

struct transfer {
    struct cyx_sha256 *hash;
    const char *expected;
    const struct artifacts_pulse *pulse;
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
    struct transfer *transfer = user;
    const struct artifacts_pulse *pulse = transfer->pulse;
    return pulse ? pulse->beat(pulse->ctx) : CYX_OK;
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

enum cyx_status artifacts_fetch(struct cyx_http_client *http, const char *grant, const char *sha256,
                                const char *path, const struct artifacts_pulse *pulse,
                                struct cyx_error *err)
{
    char url[URL_BYTES], authorization[GRANT_HEADER_BYTES];
    struct transfer transfer = {.hash = cyx_sha256_create(), .expected = sha256, .pulse = pulse};
    if (!transfer.hash)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory to hash %s", path);
    snprintf(url, sizeof(url), "/api/v1/artifacts/%s", sha256);
    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", grant);
    const char *const headers[] = {authorization, NULL};
    const struct cyx_http_download download = {.url = url,
                                               .headers = headers,
                                               .on_chunk = on_chunk,
                                               .on_restart = on_restart,
                                               .on_progress = on_progress,
                                               .user = &transfer};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    enum cyx_status status =
        cyx_http_client_download_file(http, &download, path, verify, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    if (status == CYX_ERR_CORRUPT)
        cyx_error_set(err, status, NULL, "the bytes of artifact %s are not those of its hash",
                      sha256);
    cyx_sha256_destroy(transfer.hash);
    return status;
}

enum cyx_status artifacts_fetch_dataset(struct cyx_http_client *http, const char *grant,
                                        const struct cyx_dataset *dataset, const char *data_dir,
                                        const struct artifacts_pulse *pulse, struct cyx_error *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", data_dir, dataset->name);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return cyx_error_errno(err, "cannot make the folder %s", path);
    enum cyx_status status = CYX_OK;
    for (size_t i = 0; status == CYX_OK && i < dataset->n_files; i++) {
        const struct cyx_dataset_file *file = &dataset->files[i];
        struct stat info;
        int length = snprintf(path, sizeof(path), "%s/%s/%s", data_dir, dataset->name, file->name);
        if (length < 0 || (size_t)length >= sizeof(path))
            return cyx_error_set(err, CYX_ERR_INVALID, NULL, "the path %s is too long", data_dir);
        if (stat(path, &info) == 0 && info.st_size == file->bytes)
            continue;
        status = artifacts_fetch(http, grant, file->sha256, path, pulse, err);
    }
    return status;
}

enum cyx_status artifacts_push(struct cyx_http_client *http, const char *grant, const char *path,
                               const struct artifacts_pulse *pulse, char ret_sha256[CYX_SHA256_HEX],
                               uint64_t *ret_bytes, struct cyx_error *err)
{
    char url[URL_BYTES], authorization[GRANT_HEADER_BYTES];
    enum cyx_status status = cyx_sha256_file(path, ret_sha256, ret_bytes, err);
    if (status != CYX_OK)
        return status;
    snprintf(url, sizeof(url), "/api/v1/artifacts/%s", ret_sha256);
    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", grant);
    const char *const headers[] = {authorization, NULL};
    struct transfer transfer = {.pulse = pulse};
    const struct cyx_http_upload upload = {.url = url,
                                           .headers = headers,
                                           .path = path,
                                           .resumable = true,
                                           .on_progress = on_progress,
                                           .user = &transfer};
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    status = cyx_http_client_upload(http, &upload, &result, err);
    if (status == CYX_OK)
        status = cyx_http_result_check(&result, err);
    return status;
}
