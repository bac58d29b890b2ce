#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"
#include "base/id.h"
#include "blob/private.h"

enum { COPY_BYTES = 1 << 18 };

struct cyx_blob_writer {
    struct cyx_blob_store *store;
    char sha256[CYX_SHA256_HEX];
    char name[CYX_BLOB_NAME_BYTES]; /* of the partial file */
    int fd;                         /* -1: the object is there already, bytes are dropped */
    uint64_t written, total_bytes;
    struct cyx_sha256 *hash; /* of all bytes so far; NULL: not to be verified */
    bool ended, one_shot;
};

static void partial_name(const char *sha256, char ret_name[CYX_BLOB_NAME_BYTES])
{
    snprintf(ret_name, CYX_BLOB_NAME_BYTES, "partial/%.64s", sha256);
}

enum cyx_status cyx_blob_offset(struct cyx_blob_store *self, const char *sha256,
                                uint64_t *ret_offset, struct cyx_error *ret_error)
{
    char name[CYX_BLOB_NAME_BYTES];
    struct stat found;
    enum cyx_status status = cyx_blob_stat(self, sha256, ret_offset, ret_error);
    if (status != CYX_ERR_NOT_FOUND)
        return status;
    partial_name(sha256, name);
    if (fstatat(self->root_fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0)
        *ret_offset = (uint64_t)found.st_size;
    else if (errno == ENOENT)
        *ret_offset = 0;
    else
        return cyx_blob_errno(ret_error, "cannot look at", name);
    return CYX_OK;
}

/* ---- begin ---- */

/* Opens and locks the partial file; another writer may have renamed or removed it in between. */
static enum cyx_status open_locked(struct cyx_blob_writer *self, struct cyx_error *ret_error)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        struct stat mine, there;
        int fd = openat(self->store->root_fd, self->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                        0600);
        if (fd < 0)
            return cyx_blob_errno(ret_error, "cannot open", self->name);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            bool busy = errno == EWOULDBLOCK;
            enum cyx_status status =
                busy ? cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                                     "somebody else uploads this artifact now; try again later")
                     : cyx_blob_errno(ret_error, "cannot lock", self->name);
            close(fd);
            return status;
        }
        if (fstat(fd, &mine) == 0 &&
            fstatat(self->store->root_fd, self->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
            mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
            self->fd = fd;
            return CYX_OK;
        }
        close(fd);
    }
    return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                         "this artifact is being uploaded and finished by others; try again");
}

/* What lies there already goes into the hash: a torn end of a crash shows at commit. */
static enum cyx_status hash_prefix(struct cyx_blob_writer *self, uint64_t length,
                                   struct cyx_error *ret_error)
{
    unsigned char *chunk = malloc(COPY_BYTES);
    if (!chunk)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    enum cyx_status status = CYX_OK;
    for (uint64_t at = 0; status == CYX_OK && at < length;) {
        size_t want = length - at < COPY_BYTES ? (size_t)(length - at) : COPY_BYTES;
        ssize_t n = pread(self->fd, chunk, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            status = cyx_blob_errno(ret_error, "cannot read", self->name);
            break;
        }
        status = cyx_sha256_update(self->hash, chunk, (size_t)n);
        at += (uint64_t)n;
    }
    free(chunk);
    return status;
}

static enum cyx_status go_to_offset(struct cyx_blob_writer *self, uint64_t offset,
                                    struct cyx_error *ret_error)
{
    struct stat found;
    if (fstat(self->fd, &found) != 0)
        return cyx_blob_errno(ret_error, "cannot look at", self->name);
    if (offset == 0 && found.st_size > 0 && ftruncate(self->fd, 0) != 0)
        return cyx_blob_errno(ret_error, "cannot empty", self->name);
    if (offset > 0 && offset != (uint64_t)found.st_size)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "the upload goes on at byte %" PRIu64 ", not at %" PRIu64,
                             (uint64_t)found.st_size, offset);
    self->written = offset;
    return hash_prefix(self, offset, ret_error);
}

static enum cyx_status begin(struct cyx_blob_writer *self, uint64_t offset,
                             struct cyx_error *ret_error)
{
    uint64_t size = 0;
    uint64_t limit = self->store->max_object_bytes;
    if (self->total_bytes != UINT64_MAX && self->total_bytes > limit)
        return cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                             "an artifact may have %" PRIu64 " bytes at most", limit);
    if (offset > self->total_bytes)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "the upload's offset lies behind its end");
    bool there = cyx_blob_stat(self->store, self->sha256, &size, NULL) == CYX_OK;
    if (!there || offset == 0) {
        self->hash = cyx_sha256_create();
        if (!self->hash)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    }
    if (there) {
        self->written = offset;
        return CYX_OK;
    }
    enum cyx_status status = open_locked(self, ret_error);
    return status == CYX_OK ? go_to_offset(self, offset, ret_error) : status;
}

static enum cyx_status begin_named(struct cyx_blob_store *store, const char *sha256,
                                   const char *suffix, uint64_t offset, uint64_t total_bytes,
                                   struct cyx_blob_writer **ret_writer, struct cyx_error *ret_error)
{
    enum cyx_status status = cyx_blob_check(sha256, ret_error);
    if (status != CYX_OK)
        return status;
    struct cyx_blob_writer *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    self->store = store;
    self->fd = -1;
    self->total_bytes = total_bytes;
    self->one_shot = suffix[0] != '\0';
    memcpy(self->sha256, sha256, sizeof(self->sha256));
    snprintf(self->name, sizeof(self->name), "partial/%.64s%s", sha256, suffix);
    status = begin(self, offset, ret_error);
    if (status != CYX_OK) {
        cyx_blob_writer_destroy(self);
        return status;
    }
    *ret_writer = self;
    return CYX_OK;
}

enum cyx_status cyx_blob_begin(struct cyx_blob_store *self, const char *sha256, uint64_t offset,
                               uint64_t total_bytes, struct cyx_blob_writer **ret_writer,
                               struct cyx_error *ret_error)
{
    return begin_named(self, sha256, "", offset, total_bytes, ret_writer, ret_error);
}

/* ---- append, commit ---- */

uint64_t cyx_blob_written(const struct cyx_blob_writer *self)
{
    return self->written;
}

enum cyx_status cyx_blob_append(struct cyx_blob_writer *self, const void *bytes, size_t length,
                                struct cyx_error *ret_error)
{
    uint64_t limit =
        self->total_bytes != UINT64_MAX ? self->total_bytes : self->store->max_object_bytes;
    if (length > limit || self->written > limit - length)
        return cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                             "more bytes came than the %" PRIu64 " of the artifact", limit);
    const unsigned char *at = bytes;
    for (size_t left = self->fd >= 0 ? length : 0; left;) {
        ssize_t n = pwrite(self->fd, at, left, (off_t)(self->written + (length - left)));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cyx_blob_errno(ret_error, "cannot write", self->name);
        at += n;
        left -= (size_t)n;
    }
    if (self->hash && cyx_sha256_update(self->hash, bytes, length) != CYX_OK)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "cannot hash the artifact");
    self->written += length;
    return CYX_OK;
}

static enum cyx_status verify(struct cyx_blob_writer *self, struct cyx_error *ret_error)
{
    char hex[CYX_SHA256_HEX];
    if (self->total_bytes != UINT64_MAX && self->written < self->total_bytes)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "the upload has %" PRIu64 " of %" PRIu64 " bytes; go on from there",
                             self->written, self->total_bytes);
    if (!self->hash)
        return CYX_OK;
    if (cyx_sha256_final(self->hash, hex) != CYX_OK)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "cannot hash the artifact");
    if (strcmp(hex, self->sha256) == 0)
        return CYX_OK;
    if (self->fd >= 0)
        unlinkat(self->store->root_fd, self->name, 0);
    self->ended = true;
    return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                         "the bytes have the SHA-256 %s, not %s; upload them again from the start",
                         hex, self->sha256);
}

static enum cyx_status publish(struct cyx_blob_writer *self, struct cyx_error *ret_error)
{
    char object[CYX_BLOB_NAME_BYTES], record[CYX_BLOB_NAME_BYTES];
    cyx_blob_object_name(self->sha256, object);
    cyx_blob_link_name(self->sha256, record);
    enum cyx_status status = cyx_blob_make_folder(self->store, self->sha256, ret_error);
    if (status != CYX_OK)
        return status;
    if (fchmod(self->fd, 0400) != 0 || fsync(self->fd) != 0)
        return cyx_blob_errno(ret_error, "cannot sync", self->name);
    int root = self->store->root_fd;
    if (renameat(root, self->name, root, object) != 0)
        return cyx_blob_errno(ret_error, "cannot rename", self->name);
    self->ended = true;
    unlinkat(root, record, 0); /* of a stale link that this object replaces, if there was one */
    cyx_blob_sync_folder(self->store, self->sha256);
    return CYX_OK;
}

enum cyx_status cyx_blob_commit(struct cyx_blob_writer *self, uint64_t *ret_size,
                                struct cyx_error *ret_error)
{
    enum cyx_status status = verify(self, ret_error);
    if (status == CYX_OK && self->fd >= 0)
        status = publish(self, ret_error);
    if (status == CYX_OK && ret_size && self->fd < 0)
        return cyx_blob_stat(self->store, self->sha256, ret_size, ret_error);
    if (status == CYX_OK && ret_size)
        *ret_size = self->written;
    return status;
}

void cyx_blob_writer_destroy(struct cyx_blob_writer *self)
{
    if (!self)
        return;
    if (self->fd >= 0) {
        if (!self->ended && self->one_shot)
            unlinkat(self->store->root_fd, self->name, 0);
        else if (!self->ended)
            fdatasync(self->fd);
        close(self->fd); /* gives the lock back */
    }
    cyx_sha256_destroy(self->hash);
    free(self);
}

/* ---- whole objects ---- */

/* Under a name of its own, so that it does not disturb an upload of the same object. */
static enum cyx_status begin_one_shot(struct cyx_blob_store *self, const char *sha256,
                                      uint64_t size, struct cyx_blob_writer **ret_writer,
                                      struct cyx_error *ret_error)
{
    char suffix[CYX_ID_BYTES + 1], id[CYX_ID_BYTES];
    cyx_id_new(id);
    snprintf(suffix, sizeof(suffix), ".%s", id);
    return begin_named(self, sha256, suffix, 0, size, ret_writer, ret_error);
}

enum cyx_status cyx_blob_put_bytes(struct cyx_blob_store *self, const void *bytes, size_t length,
                                   char ret_sha256[CYX_SHA256_HEX], struct cyx_error *ret_error)
{
    char hex[CYX_SHA256_HEX];
    struct cyx_blob_writer *writer = NULL;
    if (cyx_sha256_bytes(bytes, length, hex) != CYX_OK)
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "cannot hash the artifact");
    enum cyx_status status = begin_one_shot(self, hex, length, &writer, ret_error);
    if (status == CYX_OK && writer)
        status = cyx_blob_append(writer, bytes, length, ret_error);
    if (status == CYX_OK && writer)
        status = cyx_blob_commit(writer, NULL, ret_error);
    cyx_blob_writer_destroy(writer);
    if (status == CYX_OK)
        memcpy(ret_sha256, hex, sizeof(hex));
    return status;
}

static enum cyx_status copy_file(struct cyx_blob_writer *writer, const char *path,
                                 struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    unsigned char *chunk = malloc(COPY_BYTES);
    enum cyx_status status =
        chunk ? CYX_OK : cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory");
    while (status == CYX_OK) {
        ssize_t n = read(fd, chunk, COPY_BYTES);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        status = n < 0 ? cyx_error_errno(ret_error, "cannot read %s", path)
                       : cyx_blob_append(writer, chunk, (size_t)n, ret_error);
    }
    free(chunk);
    close(fd);
    return status;
}

enum cyx_status cyx_blob_put_file(struct cyx_blob_store *self, const char *path,
                                  char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_size,
                                  struct cyx_error *ret_error)
{
    char hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    struct cyx_blob_writer *writer = NULL;
    enum cyx_status status = cyx_sha256_file(path, hex, &size, ret_error);
    if (status == CYX_OK)
        status = begin_one_shot(self, hex, size, &writer, ret_error);
    if (status == CYX_OK && writer)
        status = copy_file(writer, path, ret_error);
    if (status == CYX_OK && writer)
        status = cyx_blob_commit(writer, &size, ret_error);
    cyx_blob_writer_destroy(writer);
    if (status != CYX_OK)
        return status;
    memcpy(ret_sha256, hex, sizeof(hex));
    if (ret_size)
        *ret_size = size;
    return CYX_OK;
}
