#include "upload.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "blob/tar.h"
#include "trainer.h"
#include "worker.h"

#include "base/banned.h"

enum {
    ENTRIES_LIMIT = 4 * 1024 * 1024,
    LINE_BYTES = 16 * 1024,
    BEAT_MS = 200,
    END_MS = 10000,
    UNPACK_MEMORY_BYTES = 512 * 1024 * 1024,
};

static const char place[] = "/data/dataset/upload";

/* ---- the child ---------------------------------------------------------------------------------- */

int upload_unpack_main(char **arguments)
{
    struct cyx_error err = {0};
    const struct cyx_tar_limits limits = {.bytes = strtoll(arguments[2], NULL, 10),
                                          .entries = ENTRIES_LIMIT};
    if (cyx_tar_unpack(arguments[0], arguments[1], &limits, &err) == CYX_OK)
        return 0;
    trainer_say_error(&err);
    return 1;
}

/* ---- the agent ---------------------------------------------------------------------------------- */

/* Its words, until it closes its output; not CYX_OK of the beat kills it. */
static enum cyx_status follow(const struct artifacts *artifacts, struct sandbox_process *process,
                              struct cyx_buf *words)
{
    char chunk[4096];
    enum cyx_status status = CYX_OK;
    while (true) {
        struct pollfd ready = {.fd = process->output, .events = POLLIN};
        int n = poll(&ready, 1, BEAT_MS);
        ssize_t got = n > 0 ? read(process->output, chunk, sizeof(chunk)) : 1;
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            return status;
        if (n > 0 && got > 0 && words->length < LINE_BYTES)
            cyx_buf_append(words, chunk, (size_t)got);
        if (status == CYX_OK && (status = artifacts->beat(artifacts->ctx)) != CYX_OK)
            sandbox_kill(process);
    }
}

static enum cyx_status judge(const struct cyx_buf *words, int wait_status, struct cyx_error *err)
{
    struct worker_event event;
    size_t length = words->data ? strcspn(words->data, "\n") : 0;
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return CYX_OK;
    if (length == 0 || worker_event_parse(words->data, length, &event, err) != CYX_OK ||
        event.kind != WORKER_EVENT_ERROR)
        return cyx_error_set(err, CYX_ERR_INTERNAL, place,
                             "unpacking the upload ended with status %d", wait_status);
    enum cyx_status status = event.error.status;
    if (status == CYX_ERR_CORRUPT || status == CYX_ERR_DENIED || status == CYX_ERR_TOO_LARGE)
        status = CYX_ERR_INVALID;
    cyx_error_set(err, status, place, "%s", event.error.message);
    worker_event_finish(&event);
    return status;
}

static enum cyx_status unpack(const struct artifacts *artifacts, const struct sandbox *sandbox,
                              const char *archive, const char *folder, const char *data,
                              int64_t limit_bytes, struct cyx_error *err)
{
    char limit[24];
    CYX_CLEANUP_BUF struct cyx_buf words = {0};
    struct sandbox_process process;
    const char *const read_only[] = {folder, NULL}, *const writable[] = {data, NULL};
    const struct sandbox_plan plan = {
        .read_only = read_only,
        .writable = writable,
        .limits = {.memory_bytes = UNPACK_MEMORY_BYTES, .disk_bytes = limit_bytes}};
    snprintf(limit, sizeof(limit), "%lld", (long long)limit_bytes);
    const char *const arguments[] = {
        sandbox_program(sandbox), "--unpack", archive, data, limit, NULL};
    enum cyx_status status = sandbox_spawn(sandbox, &plan, arguments, &process, err);
    if (status != CYX_OK)
        return status;
    int wait_status = 0;
    status = follow(artifacts, &process, &words);
    if (sandbox_wait(&process, END_MS, &wait_status) != CYX_OK && status == CYX_OK)
        status = CYX_ERR_TIMEOUT;
    if (status != CYX_OK)
        return cyx_error_set(err, status, NULL, "unpacking the upload was ended");
    return judge(&words, wait_status, err);
}

/* What the disk has, where the settings set no limit. */
static int64_t limit_of_disk(const char *folder)
{
    struct statvfs info;
    if (statvfs(folder, &info) != 0)
        return INT64_C(1) << 34;
    return (int64_t)(info.f_bavail * info.f_frsize / 10 * 9);
}

/* The one file, called as the spec calls it. */
static enum cyx_status place_file(const char *file, const char *data, const char *name,
                                  struct cyx_error *err)
{
    char path[ARTIFACTS_PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/%s", data, name);
    if (length < 0 || (size_t)length >= sizeof(path))
        return cyx_error_set(err, CYX_ERR_INVALID, "/data/dataset/train", "the path is too long");
    for (char *slash = strchr(path + strlen(data) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return cyx_error_errno(err, "cannot make the folder %s", path);
        *slash = '/';
    }
    if (rename(file, path) != 0)
        return cyx_error_errno(err, "cannot move %s to %s", file, path);
    return CYX_OK;
}

enum cyx_status upload_prepare(const struct artifacts *artifacts, const struct sandbox *sandbox,
                               const struct cyx_source_spec *source, const char *folder,
                               const char *data, int64_t limit_bytes, struct cyx_error *err)
{
    char file[ARTIFACTS_PATH_BYTES];
    snprintf(file, sizeof(file), "%s/upload", folder);
    if (!source->upload || !source->sha256)
        return cyx_error_set(err, CYX_ERR_UNSUPPORTED, "/data/dataset",
                             "a worker trains on the catalogue's data sets and on uploads");
    if (mkdir(data, 0700) != 0)
        return cyx_error_errno(err, "cannot make the folder %s", data);
    enum cyx_status status = artifacts_fetch(artifacts, source->sha256, file, err);
    if (status == CYX_ERR_NOT_FOUND)
        return cyx_error_set(err, status, place, "the upload %s is no longer there",
                             source->upload);
    if (status != CYX_OK)
        return status;
    if (!cyx_tar_is_archive(file))
        return place_file(file, data, source->train, err);
    status = unpack(artifacts, sandbox, file, folder, data,
                    limit_bytes ? limit_bytes : limit_of_disk(folder), err);
    unlink(file); /* the cache has it */
    return status;
}
