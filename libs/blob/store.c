#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/buf.h"
#include "base/id.h"
#include "blob/private.h"

static const uint64_t default_max_bytes = UINT64_C(4) << 30;

enum cyx_status cyx_blob_check(const char *sha256, struct cyx_error *ret_error)
{
    if (cyx_sha256_valid(sha256))
        return CYX_OK;
    return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                         "an artifact's name is its SHA-256: 64 lower-case hexadecimal digits");
}

void cyx_blob_object_name(const char *sha256, char ret_name[CYX_BLOB_NAME_BYTES])
{
    snprintf(ret_name, CYX_BLOB_NAME_BYTES, "objects/%.2s/%.64s", sha256, sha256);
}

void cyx_blob_link_name(const char *sha256, char ret_name[CYX_BLOB_NAME_BYTES])
{
    snprintf(ret_name, CYX_BLOB_NAME_BYTES, "links/%.64s", sha256);
}

enum cyx_status cyx_blob_errno(struct cyx_error *ret_error, const char *what, const char *name)
{
    if (errno == ENOSPC || errno == EDQUOT)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "the artifact store's disk is full; make room and try again");
    return cyx_error_errno(ret_error, "artifact store: %s %s", what, name);
}

static enum cyx_status make_folder_at(int fd, const char *name, struct cyx_error *ret_error)
{
    if (mkdirat(fd, name, 0700) == 0 || errno == EEXIST)
        return CYX_OK;
    return cyx_blob_errno(ret_error, "cannot make", name);
}

enum cyx_status cyx_blob_make_folder(struct cyx_blob_store *self, const char *sha256,
                                     struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES];
    snprintf(name, sizeof(name), "objects/%.2s", sha256);
    return make_folder_at(self->root_fd, name, ret_error);
}

void cyx_blob_sync_folder(struct cyx_blob_store *self, const char *sha256)
{
    char name[CYX_BLOB_NAME_BYTES];
    snprintf(name, sizeof(name), "objects/%.2s", sha256);
    int fd = openat(self->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* mkdir -p */
static enum cyx_status make_path(const char *path, struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf part = {0};
    for (const char *at = path; *at;) {
        size_t length = strspn(at, "/");
        length += strcspn(at + length, "/");
        cyx_buf_append(&part, at, length);
        if (part.failed)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
        at += length;
        if (mkdir(part.data, 0700) != 0 && errno != EEXIST)
            return cyx_error_errno(ret_error, "cannot make the artifact store %s", part.data);
    }
    return CYX_OK;
}

enum cyx_status cyx_blob_store_create(const struct cyx_blob_options *options,
                                      struct cyx_blob_store **ret_store,
                                      struct cyx_error *ret_error)
{
    if (!options->root || !options->root[0])
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "the artifact store needs a folder; set CYXWIZ_BLOB_DIR");
    enum cyx_status status = make_path(options->root, ret_error);
    if (status != CYX_OK)
        return status;
    struct cyx_blob_store *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    self->max_object_bytes =
        options->max_object_bytes ? options->max_object_bytes : default_max_bytes;
    self->root = realpath(options->root, NULL);
    self->root_fd = self->root ? open(self->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (self->root_fd < 0)
        status = cyx_error_errno(ret_error, "cannot open the artifact store %s", options->root);
    static const char *const folders[] = {"objects", "partial", "links"};
    for (size_t i = 0; status == CYX_OK && i < sizeof(folders) / sizeof(folders[0]); i++)
        status = make_folder_at(self->root_fd, folders[i], ret_error);
    if (status != CYX_OK) {
        cyx_blob_store_destroy(self);
        return status;
    }
    *ret_store = self;
    return CYX_OK;
}

void cyx_blob_store_destroy(struct cyx_blob_store *self)
{
    if (!self)
        return;
    if (self->root_fd >= 0)
        close(self->root_fd);
    free(self->root);
    free(self);
}

/* ---- reading ---- */

/* A linked file counts only while it has the size and time that it had when it was hashed. */
static bool link_holds(struct cyx_blob_store *self, const char *sha256, const struct stat *now)
{
    char name[CYX_BLOB_NAME_BYTES], text[64] = "";
    cyx_blob_link_name(sha256, name);
    int fd = openat(self->root_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    uint64_t size = 0;
    int64_t seconds = 0, nanoseconds = 0;
    return length > 0 &&
           sscanf(text, "%" SCNu64 " %" SCNd64 " %" SCNd64, &size, &seconds, &nanoseconds) == 3 &&
           size == (uint64_t)now->st_size && seconds == now->st_mtim.tv_sec &&
           nanoseconds == now->st_mtim.tv_nsec;
}

static enum cyx_status absent(const char *sha256, struct cyx_error *ret_error)
{
    return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "there is no artifact %s", sha256);
}

enum cyx_status cyx_blob_stat(struct cyx_blob_store *self, const char *sha256, uint64_t *ret_size,
                              struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES];
    struct stat found;
    enum cyx_status status = cyx_blob_check(sha256, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_blob_object_name(sha256, name);
    if (fstatat(self->root_fd, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? absent(sha256, ret_error)
                               : cyx_blob_errno(ret_error, "cannot look at", name);
    if (S_ISLNK(found.st_mode) &&
        (fstatat(self->root_fd, name, &found, 0) != 0 || !link_holds(self, sha256, &found)))
        return absent(sha256, ret_error);
    if (!S_ISREG(found.st_mode))
        return absent(sha256, ret_error);
    if (ret_size)
        *ret_size = (uint64_t)found.st_size;
    return CYX_OK;
}

enum cyx_status cyx_blob_path(struct cyx_blob_store *self, const char *sha256,
                              struct cyx_arena *arena, const char **ret_path,
                              struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES];
    enum cyx_status status = cyx_blob_check(sha256, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_blob_object_name(sha256, name);
    const char *path = cyx_arena_printf(arena, "%s/%s", self->root, name);
    if (!path)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    *ret_path = path;
    return CYX_OK;
}

enum cyx_status cyx_blob_open(struct cyx_blob_store *self, const char *sha256, int *ret_fd,
                              uint64_t *ret_size, struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES];
    uint64_t size = 0;
    enum cyx_status status = cyx_blob_stat(self, sha256, &size, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_blob_object_name(sha256, name);
    int fd = openat(self->root_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? absent(sha256, ret_error)
                               : cyx_blob_errno(ret_error, "cannot open", name);
    *ret_fd = fd;
    if (ret_size)
        *ret_size = size;
    return CYX_OK;
}

/* ---- links ---- */

static enum cyx_status write_record(struct cyx_blob_store *self, const char *sha256,
                                    const struct stat *file, struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES], text[64];
    cyx_blob_link_name(sha256, name);
    CYX_CLEANUP_BUF struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/%s", self->root, name);
    if (path.failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    int length = snprintf(text, sizeof(text), "%" PRIu64 " %" PRId64 " %" PRId64 "\n",
                          (uint64_t)file->st_size, (int64_t)file->st_mtim.tv_sec,
                          (int64_t)file->st_mtim.tv_nsec);
    return cyx_file_write_atomic(path.data, text, (size_t)length, 0600, ret_error);
}

static enum cyx_status make_link(struct cyx_blob_store *self, const char *sha256,
                                 const char *target, struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES], temporary[CYX_BLOB_NAME_BYTES], id[CYX_ID_BYTES];
    cyx_blob_object_name(sha256, name);
    cyx_id_new(id);
    snprintf(temporary, sizeof(temporary), "partial/%s.link", id);
    enum cyx_status status = cyx_blob_make_folder(self, sha256, ret_error);
    if (status != CYX_OK)
        return status;
    if (symlinkat(target, self->root_fd, temporary) != 0)
        return cyx_blob_errno(ret_error, "cannot link", target);
    if (renameat(self->root_fd, temporary, self->root_fd, name) == 0)
        return CYX_OK;
    status = cyx_blob_errno(ret_error, "cannot link", target);
    unlinkat(self->root_fd, temporary, 0);
    return status;
}

enum cyx_status cyx_blob_link(struct cyx_blob_store *self, const char *path,
                              char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_size,
                              struct cyx_error *ret_error)
{
    char hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    struct stat before, after;
    char *target = realpath(path, NULL);
    if (!target || stat(target, &before) != 0) {
        enum cyx_status missing = cyx_error_errno(ret_error, "cannot link %s", path);
        free(target);
        return missing;
    }
    enum cyx_status status = cyx_sha256_file(target, hex, &size, ret_error);
    if (status == CYX_OK &&
        (stat(target, &after) != 0 || after.st_size != before.st_size ||
         (uint64_t)after.st_size != size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
         after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
        status = cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                               "%s changed while it was read; try again when it is whole", path);
    if (status == CYX_OK && size > self->max_object_bytes)
        status = cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                               "%s is over the limit of %" PRIu64 " bytes", path,
                               self->max_object_bytes);
    if (status == CYX_OK && cyx_blob_stat(self, hex, NULL, NULL) != CYX_OK) {
        status = write_record(self, hex, &after, ret_error);
        if (status == CYX_OK)
            status = make_link(self, hex, target, ret_error);
    }
    free(target);
    if (status != CYX_OK)
        return status;
    memcpy(ret_sha256, hex, sizeof(hex));
    if (ret_size)
        *ret_size = size;
    return CYX_OK;
}

/* ---- care ---- */

enum cyx_status cyx_blob_remove(struct cyx_blob_store *self, const char *sha256,
                                struct cyx_error *ret_error)
{
    char object[CYX_BLOB_NAME_BYTES], record[CYX_BLOB_NAME_BYTES];
    enum cyx_status status = cyx_blob_check(sha256, ret_error);
    if (status != CYX_OK)
        return status;
    cyx_blob_object_name(sha256, object);
    cyx_blob_link_name(sha256, record);
    if (unlinkat(self->root_fd, object, 0) != 0 && errno != ENOENT)
        return cyx_blob_errno(ret_error, "cannot remove", object);
    if (unlinkat(self->root_fd, record, 0) != 0 && errno != ENOENT)
        return cyx_blob_errno(ret_error, "cannot remove", record);
    return CYX_OK;
}

/* One partial upload; not while a writer holds its lock. */
static bool sweep_one(int folder, const char *name, int64_t before_s)
{
    struct stat found;
    if (fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || found.st_mtime >= before_s)
        return false;
    if (!S_ISREG(found.st_mode))
        return S_ISLNK(found.st_mode) && unlinkat(folder, name, 0) == 0;
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool removed = flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(folder, name, 0) == 0;
    close(fd);
    return removed;
}

size_t cyx_blob_sweep(struct cyx_blob_store *self, int64_t age_s)
{
    int fd = openat(self->root_fd, "partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    size_t removed = 0;
    int64_t before_s = (int64_t)time(NULL) - age_s + 1;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            removed += sweep_one(fd, entry->d_name, before_s);
    closedir(folder);
    return removed;
}
