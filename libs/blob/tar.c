/* Tar archives, packed. What is written follows POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block". */
#include "blob/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob/tar_header.h"

#include "base/banned.h"

/* ---- headers ---- */

static void put_octal(char *field, size_t size, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%0*llo", (int)size - 1, (unsigned long long)value);
    memcpy(field, text, size);
}

unsigned tar_checksum(const struct tar_header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    const size_t from = offsetof(struct tar_header, checksum);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(*header); i++)
        sum += i >= from && i < from + sizeof(header->checksum) ? ' ' : bytes[i];
    return sum;
}

static void make_header(struct tar_header *header, const char *name, char type, uint64_t bytes)
{
    memset(header, 0, sizeof(*header));
    memcpy(header->name, name, strnlen(name, sizeof(header->name)));
    put_octal(header->mode, sizeof(header->mode), type == TAR_FOLDER ? 0755 : 0644);
    put_octal(header->uid, sizeof(header->uid), 0);
    put_octal(header->gid, sizeof(header->gid), 0);
    put_octal(header->size, sizeof(header->size), bytes);
    put_octal(header->mtime, sizeof(header->mtime), 0);
    header->type = type;
    memcpy(header->magic, "ustar", 6);
    memcpy(header->version, "00", 2);
    put_octal(header->checksum, sizeof(header->checksum) - 1, tar_checksum(header));
    header->checksum[sizeof(header->checksum) - 1] = ' ';
}

/* ---- packing ---- */

struct packer {
    FILE *file;
    const char *archive;
    size_t skip; /* bytes of a path before what the archive calls it */
    int64_t files;
    struct cyx_error *error;
};

static enum cyx_status put(struct packer *self, const void *bytes, size_t length)
{
    if (fwrite(bytes, 1, length, self->file) == length)
        return CYX_OK;
    return cyx_error_errno(self->error, "cannot write %s", self->archive);
}

static enum cyx_status pad(struct packer *self, uint64_t bytes)
{
    static const char zeros[TAR_BLOCK_BYTES];
    size_t over = (size_t)(bytes % TAR_BLOCK_BYTES);
    return over ? put(self, zeros, TAR_BLOCK_BYTES - over) : CYX_OK;
}

/* "<length> <key>=<value>\n", where the length counts itself. */
static size_t pax_record(char *to, size_t size, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;
    char digits[24];
    while (true) {
        size_t n = (size_t)snprintf(digits, sizeof(digits), "%zu", length);
        if (n + rest == length)
            break;
        length = n + rest;
    }
    int made = snprintf(to, size, "%s %s=%s\n", digits, key, value);
    return made > 0 && (size_t)made < size ? (size_t)made : 0;
}

/* What the plain header has no room for goes before it. */
static enum cyx_status put_header(struct packer *self, const char *name, char type, uint64_t bytes)
{
    struct tar_header header;
    char records[CYX_TAR_PATH_BYTES + 128], number[32];
    size_t length = 0;
    enum cyx_status status = CYX_OK;
    if (strlen(name) > sizeof(header.name))
        length += pax_record(records, sizeof(records), "path", name);
    if (bytes > TAR_SIZE_LIMIT) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)bytes);
        length += pax_record(records + length, sizeof(records) - length, "size", number);
    }
    if (length > 0) {
        make_header(&header, "pax", TAR_PAX, length);
        if ((status = put(self, &header, sizeof(header))) != CYX_OK ||
            (status = put(self, records, length)) != CYX_OK ||
            (status = pad(self, length)) != CYX_OK)
            return status;
    }
    make_header(&header, name, type, bytes > TAR_SIZE_LIMIT ? 0 : bytes);
    return put(self, &header, sizeof(header));
}

static enum cyx_status put_file(struct packer *self, const char *path, uint64_t bytes)
{
    char chunk[65536];
    uint64_t left = bytes;
    enum cyx_status status = put_header(self, path + self->skip, TAR_FILE, bytes);
    int fd = status == CYX_OK ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (status == CYX_OK && fd < 0)
        return cyx_error_errno(self->error, "cannot read %s", path);
    while (status == CYX_OK && left > 0) {
        ssize_t got = read(fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            status = got < 0 ? cyx_error_errno(self->error, "cannot read %s", path)
                             : cyx_error_set(self->error, CYX_ERR_CONFLICT, NULL,
                                             "%s became shorter while it was packed", path);
        else if ((status = put(self, chunk, (size_t)got)) == CYX_OK)
            left -= (uint64_t)got;
    }
    if (fd >= 0)
        close(fd);
    return status == CYX_OK ? pad(self, bytes) : status;
}

static enum cyx_status put_entry(struct packer *self, FTS *walk, FTSENT *entry)
{
    if (entry->fts_info == FTS_DC)
        return cyx_error_set(self->error, CYX_ERR_INVALID, NULL, "%s leads back to itself",
                             entry->fts_path);
    if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) {
        errno = entry->fts_errno;
        return cyx_error_errno(self->error, "cannot read %s", entry->fts_path);
    }
    if (entry->fts_level > 0 && entry->fts_name[0] == '.') {
        fts_set(walk, entry, FTS_SKIP);
        return CYX_OK;
    }
    if (entry->fts_info != FTS_F)
        return CYX_OK;
    if (strlen(entry->fts_path + self->skip) >= CYX_TAR_PATH_BYTES)
        return cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL, "the path %s is too long",
                             entry->fts_path);
    self->files++;
    return put_file(self, entry->fts_path, (uint64_t)entry->fts_statp->st_size);
}

static int by_name(const FTSENT **left, const FTSENT **right)
{
    return strcmp((*left)->fts_name, (*right)->fts_name);
}

static enum cyx_status put_folder(struct packer *self, char *folder)
{
    char *const roots[] = {folder, NULL};
    FTS *walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    enum cyx_status status =
        walk ? CYX_OK : cyx_error_errno(self->error, "cannot read the folder %s", folder);
    for (FTSENT *entry; status == CYX_OK && (entry = fts_read(walk));)
        status = put_entry(self, walk, entry);
    if (walk)
        fts_close(walk);
    static const char zeros[2 * TAR_BLOCK_BYTES];
    if (status == CYX_OK && self->files == 0)
        status =
            cyx_error_set(self->error, CYX_ERR_NOT_FOUND, NULL, "there is no file in %s", folder);
    return status == CYX_OK ? put(self, zeros, sizeof(zeros)) : status;
}

enum cyx_status cyx_tar_pack(const char *folder, const char *archive, struct cyx_error *ret_error)
{
    struct cyx_error unread;
    struct packer self = {.archive = archive, .error = ret_error ? ret_error : &unread};
    char *root = strdup(folder);
    if (!root)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to pack %s", folder);
    for (size_t length = strlen(root); length > 1 && root[length - 1] == '/';)
        root[--length] = '\0';
    self.skip = strcmp(root, "/") == 0 ? 1 : strlen(root) + 1;
    self.file = fopen(archive, "wbe");
    enum cyx_status status = self.file ? put_folder(&self, root)
                                       : cyx_error_errno(ret_error, "cannot write %s", archive);
    if (self.file && fclose(self.file) != 0 && status == CYX_OK)
        status = cyx_error_errno(ret_error, "cannot write %s", archive);
    free(root);
    return status;
}

/* ---- unpacking into a folder ---- */

struct unpacker {
    int root, file; /* descriptors; file -1: none open */
    const char *folder;
    char path[CYX_TAR_PATH_BYTES]; /* of the open file */
};

/* The folders before the last part; links cannot be among them, since none are made. */
static enum cyx_status make_parents(const struct unpacker *self, const char *path,
                                    struct cyx_error *error)
{
    char parent[CYX_TAR_PATH_BYTES];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
        if (mkdirat(self->root, parent, 0700) != 0 && errno != EEXIST)
            return cyx_error_errno(error, "cannot make the folder %s/%s", self->folder, parent);
    }
    return CYX_OK;
}

static enum cyx_status on_folder(void *ctx, const char *path, struct cyx_error *error)
{
    struct unpacker *self = ctx;
    enum cyx_status status = make_parents(self, path, error);
    if (status == CYX_OK && mkdirat(self->root, path, 0700) != 0 && errno != EEXIST)
        status = cyx_error_errno(error, "cannot make the folder %s/%s", self->folder, path);
    return status;
}

static enum cyx_status on_begin(void *ctx, const char *path, struct cyx_error *error)
{
    struct unpacker *self = ctx;
    enum cyx_status status = make_parents(self, path, error);
    if (status != CYX_OK)
        return status;
    snprintf(self->path, sizeof(self->path), "%s", path);
    self->file =
        openat(self->root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (self->file >= 0)
        return CYX_OK;
    if (errno == EEXIST)
        return cyx_error_set(error, CYX_ERR_DENIED, NULL, "the archive holds %s twice", path);
    return cyx_error_errno(error, "cannot write %s/%s", self->folder, path);
}

static enum cyx_status on_bytes(void *ctx, const void *bytes, size_t length,
                                struct cyx_error *error)
{
    const struct unpacker *self = ctx;
    for (const char *from = bytes; length > 0;) {
        ssize_t n = write(self->file, from, length);
        if (n < 0 && errno != EINTR)
            return cyx_error_errno(error, "cannot write %s/%s", self->folder, self->path);
        if (n > 0) {
            from += n;
            length -= (size_t)n;
        }
    }
    return CYX_OK;
}

static enum cyx_status on_end(void *ctx, struct cyx_error *error)
{
    struct unpacker *self = ctx;
    int failed = close(self->file);
    self->file = -1;
    return failed ? cyx_error_errno(error, "cannot write %s/%s", self->folder, self->path) : CYX_OK;
}

enum cyx_status cyx_tar_unpack(const char *archive, const char *folder,
                               const struct cyx_tar_limits *limits, struct cyx_error *ret_error)
{
    struct unpacker self = {.file = -1, .folder = folder};
    const struct cyx_tar_sink sink = {on_folder, on_begin, on_bytes, on_end, &self};
    int fd = open(archive, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot read %s", archive);
    self.root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum cyx_status status = self.root < 0
                                 ? cyx_error_errno(ret_error, "cannot open the folder %s", folder)
                                 : cyx_tar_read(fd, limits, &sink, ret_error);
    if (self.file >= 0)
        close(self.file);
    if (self.root >= 0)
        close(self.root);
    close(fd);
    return status;
}

bool cyx_tar_is_archive(const char *path)
{
    struct tar_header header = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, &header, sizeof(header), 0);
    if (fd >= 0)
        close(fd);
    const unsigned char *bytes = (const unsigned char *)&header;
    if (got >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
        return true;
    return got == (ssize_t)sizeof(header) && memcmp(header.magic, "ustar", 5) == 0 &&
           strtoul(header.checksum, NULL, 8) == tar_checksum(&header);
}
