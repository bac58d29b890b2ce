#include "base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#include "base/banned.h"

static bool reserve(struct cyx_buf *self, size_t more)
{
    if (self->failed || more > SIZE_MAX / 4 || self->length > SIZE_MAX / 4) {
        self->failed = true;
        return false;
    }
    size_t need = self->length + more + 1;
    if (need <= self->capacity)
        return true;
    size_t capacity = self->capacity ? self->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    char *data = realloc(self->data, capacity);
    if (!data) {
        self->failed = true;
        return false;
    }
    self->data = data;
    self->capacity = capacity;
    return true;
}

void cyx_buf_append(struct cyx_buf *self, const void *bytes, size_t length)
{
    if (!reserve(self, length))
        return;
    if (length)
        memcpy(self->data + self->length, bytes, length);
    self->length += length;
    self->data[self->length] = '\0';
}

void cyx_buf_puts(struct cyx_buf *self, const char *text)
{
    cyx_buf_append(self, text, strlen(text));
}

void cyx_buf_printf(struct cyx_buf *self, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        self->failed = true;
    } else if (reserve(self, (size_t)length)) {
        vsnprintf(self->data + self->length, (size_t)length + 1, format, again);
        self->length += (size_t)length;
    }
    va_end(again);
}

void cyx_buf_json_string(struct cyx_buf *self, const char *text)
{
    cyx_buf_append(self, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = cyx_text_utf8_length(s);
        if (*s == '"' || *s == '\\') {
            cyx_buf_append(self, (char[]){'\\', (char)*s}, 2);
        } else if (*s == '\n') {
            cyx_buf_append(self, "\\n", 2);
        } else if (*s < 0x20) {
            cyx_buf_printf(self, "\\u%04x", *s);
        } else if (n == 0) {
            cyx_buf_append(self, "\xEF\xBF\xBD", 3);
        } else {
            cyx_buf_append(self, s, n);
        }
        s += n ? n : 1;
    }
    cyx_buf_append(self, "\"", 1);
}

void cyx_buf_clear(struct cyx_buf *self)
{
    self->length = 0;
    self->failed = false;
    if (self->data)
        self->data[0] = '\0';
}

char *cyx_buf_steal(struct cyx_buf *self)
{
    if (!self->data)
        cyx_buf_append(self, "", 0);
    char *data = self->failed ? NULL : self->data;
    if (self->failed)
        free(self->data);
    *self = (struct cyx_buf){0};
    return data;
}

void cyx_buf_finish(struct cyx_buf *self)
{
    free(self->data);
    *self = (struct cyx_buf){0};
}

enum cyx_status cyx_buf_read_file(struct cyx_buf *self, const char *path, size_t limit_bytes,
                                  struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    char chunk[16384];
    size_t total = 0;
    enum cyx_status status = CYX_OK;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = cyx_error_errno(ret_error, "cannot read %s", path);
            break;
        }
        total += (size_t)n;
        if (total > limit_bytes) {
            status = cyx_error_set(ret_error, CYX_ERR_TOO_LARGE, NULL,
                                   "%s is larger than the limit of %zu bytes", path, limit_bytes);
            break;
        }
        cyx_buf_append(self, chunk, (size_t)n);
    }
    close(fd);
    if (status == CYX_OK && self->failed)
        status = cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to read %s", path);
    return status;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* -1 where it cannot be opened. */
static int open_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct cyx_buf folder = {0};
    cyx_buf_append(&folder, slash ? path : ".",
                   slash ? (size_t)(slash - path) + (slash == path) : 1);
    int fd = folder.failed ? -1 : open(folder.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cyx_buf_finish(&folder);
    return fd;
}

static void fsync_folder_of(const char *path)
{
    int fd = open_folder_of(path);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

#define TEMPORARY ".tmp-"
#define TEMPORARY_RANDOM "XXXXXX"

void cyx_file_sweep_temporaries(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name), whole = length + strlen(TEMPORARY TEMPORARY_RANDOM);
    int fd = open_folder_of(path);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder));) {
        const char *found = entry->d_name;
        if (strlen(found) == whole && strncmp(found, name, length) == 0 &&
            strncmp(found + length, TEMPORARY, strlen(TEMPORARY)) == 0)
            unlinkat(fd, found, 0);
    }
    closedir(folder);
}

enum cyx_status cyx_file_write_atomic(const char *path, const void *bytes, size_t length,
                                      unsigned mode, struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf temporary = {0};
    cyx_buf_printf(&temporary, "%s" TEMPORARY TEMPORARY_RANDOM, path);
    if (temporary.failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to write %s", path);
    int fd = mkostemp(temporary.data, O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot write %s", path);
    int failed = fchmod(fd, mode) != 0 || write_all(fd, bytes, length) != 0 || fsync(fd) != 0;
    int code = errno;
    if (close(fd) != 0 && !failed) {
        failed = 1;
        code = errno;
    }
    if (!failed && rename(temporary.data, path) != 0) {
        failed = 1;
        code = errno;
    }
    if (failed) {
        unlink(temporary.data);
        errno = code;
        return cyx_error_errno(ret_error, "cannot write %s", path);
    }
    fsync_folder_of(path);
    return CYX_OK;
}
