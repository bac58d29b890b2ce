/* Tar archives, read: nothing in them is trusted. zlib's gzread reads plain files and gzip'ed ones alike. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/text.h"
#include "blob/tar.h"
#include "blob/tar_header.h"

#include "base/banned.h"

enum { EXTENSION_BYTES = 16 * 1024, CHUNK_BYTES = 64 * 1024 };

struct reader {
    gzFile in;
    const struct cyx_tar_limits *limits;
    const struct cyx_tar_sink *sink;
    struct cyx_error *error;
    int64_t used_bytes, entries;
    /* Of the next entry, by the headers before it: */
    char path[CYX_TAR_PATH_BYTES];
    bool has_path, has_size;
    uint64_t size;
    char chunk[CHUNK_BYTES];
};

static enum cyx_status corrupt(const struct reader *self, const char *what)
{
    return cyx_error_set(self->error, CYX_ERR_CORRUPT, NULL, "not a tar archive: %s", what);
}

/* All of `length`, or as many as there are. */
static enum cyx_status take(struct reader *self, void *to, size_t length, size_t *ret_got)
{
    int got = gzread(self->in, to, (unsigned)length), code = 0;
    const char *why = gzerror(self->in, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR))
        return cyx_error_set(self->error, CYX_ERR_CORRUPT, NULL,
                             "the archive cannot be unpacked: %s", why);
    *ret_got = (size_t)got;
    return CYX_OK;
}

static enum cyx_status take_all(struct reader *self, void *to, size_t length)
{
    size_t got = 0;
    enum cyx_status status = take(self, to, length, &got);
    return status == CYX_OK && got < length ? corrupt(self, "it breaks off") : status;
}

/* Octal digits, or GNU's binary numbers. */
static bool parse_number(const char *field, size_t size, uint64_t *ret_value)
{
    uint64_t value = 0;
    if ((unsigned char)field[0] & 0x80) {
        for (size_t i = 0; i < size; i++) {
            if (value >> 55)
                return false;
            value = value << 8 | (i == 0 ? field[i] & 0x7f : (unsigned char)field[i]);
        }
        *ret_value = value;
        return true;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] != '\0' && field[i] != ' '; i++) {
        if (field[i] < '0' || field[i] > '7' || value >> 60)
            return false;
        value = value << 3 | (uint64_t)(field[i] - '0');
    }
    *ret_value = value;
    return true;
}

/* ---- names ---- */

/* Cleans a path of "./", doubled slashes and a last one; false for one that leaves the folder, or is none. */
static bool clean_path(char *path)
{
    char *to = path;
    if (*path == '/')
        return false;
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && memcmp(part, "..", 2) == 0)
            return false;
        if (length > 0 && !(length == 1 && *part == '.')) {
            if (to > path)
                *to++ = '/';
            memmove(to, part, length);
            to += length;
        }
        part += length;
        part += strspn(part, "/");
    }
    *to = '\0';
    return true;
}

static enum cyx_status take_name(struct reader *self, const struct tar_header *header)
{
    if (!self->has_path) {
        bool ustar = memcmp(header->magic, "ustar\0", 6) == 0 && header->prefix[0];
        snprintf(self->path, sizeof(self->path), "%.*s%s%.*s",
                 ustar ? (int)sizeof(header->prefix) : 0, header->prefix, ustar ? "/" : "",
                 (int)sizeof(header->name), header->name);
    }
    self->has_path = false;
    char shown[120];
    cyx_text_copy(shown, sizeof(shown), self->path);
    cyx_text_clean(shown);
    if (!clean_path(self->path))
        return cyx_error_set(self->error, CYX_ERR_DENIED, NULL,
                             "the archive's entry \"%s\" would leave its folder", shown);
    if (!cyx_text_is_plain(self->path))
        return cyx_error_set(self->error, CYX_ERR_DENIED, NULL,
                             "the name \"%s\" in the archive is not plain UTF-8 text", shown);
    return CYX_OK;
}

/* ---- limits ---- */

static enum cyx_status count(struct reader *self, uint64_t bytes)
{
    const struct cyx_tar_limits *limits = self->limits;
    if (++self->entries > limits->entries)
        return cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL,
                             "the archive holds more than %lld files and folders",
                             (long long)limits->entries);
    int64_t left = limits->bytes - self->used_bytes - CYX_TAR_ENTRY_BYTES;
    if (left < 0 || bytes > (uint64_t)left)
        return cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL,
                             "the archive unpacks to more than the %lld bytes that this node gives "
                             "a job",
                             (long long)limits->bytes);
    self->used_bytes += (int64_t)bytes + CYX_TAR_ENTRY_BYTES;
    return CYX_OK;
}

/* ---- headers before a header ---- */

static enum cyx_status take_pax_member(struct reader *self, const char *key, const char *value)
{
    if (strcmp(key, "path") == 0) {
        if (strlen(value) >= sizeof(self->path))
            return cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL,
                                 "a name in the archive is longer than %zu bytes",
                                 sizeof(self->path) - 1);
        snprintf(self->path, sizeof(self->path), "%s", value);
        self->has_path = true;
    } else if (strcmp(key, "size") == 0) {
        char *end = NULL;
        errno = 0;
        self->size = strtoull(value, &end, 10);
        self->has_size = true;
        if (errno != 0 || end == value || *end || *value == '-')
            return corrupt(self, "a size that is no number");
    } else if (strncmp(key, "GNU.sparse.", 11) == 0) {
        return cyx_error_set(self->error, CYX_ERR_DENIED, NULL,
                             "the archive holds a sparse file: pack it without --sparse");
    }
    return CYX_OK;
}

/* Records "<length> <key>=<value>\n". */
static enum cyx_status take_pax(struct reader *self, char *text, size_t length)
{
    for (char *at = text, *stop = text + length; at < stop;) {
        char *space = memchr(at, ' ', (size_t)(stop - at)), *end = NULL;
        unsigned long record = space ? strtoul(at, &end, 10) : 0;
        if (end != space || record < 5 || record > (size_t)(stop - at) || at[record - 1] != '\n' ||
            space >= at + record)
            return corrupt(self, "a pax header that is none");
        at[record - 1] = '\0';
        char *value = strchr(space + 1, '=');
        if (!value)
            return corrupt(self, "a pax header that is none");
        *value++ = '\0';
        enum cyx_status status = take_pax_member(self, space + 1, value);
        if (status != CYX_OK)
            return status;
        at += record;
    }
    return CYX_OK;
}

static enum cyx_status skip_pad(struct reader *self, uint64_t bytes)
{
    char dropped[TAR_BLOCK_BYTES];
    size_t over = (size_t)(bytes % TAR_BLOCK_BYTES);
    return over ? take_all(self, dropped, TAR_BLOCK_BYTES - over) : CYX_OK;
}

/* One that says something of the entry behind it. */
static enum cyx_status take_extension(struct reader *self, char type, uint64_t bytes)
{
    char text[EXTENSION_BYTES + 1];
    if (bytes > EXTENSION_BYTES)
        return corrupt(self, "a header that is too long");
    enum cyx_status status = count(self, bytes); /* a million of them are not for nothing */
    if (status == CYX_OK)
        status = take_all(self, text, (size_t)bytes);
    if (status == CYX_OK)
        status = skip_pad(self, bytes);
    text[bytes] = '\0';
    if (status != CYX_OK || type == TAR_PAX_GLOBAL || type == TAR_GNU_LINK)
        return status;
    return type == TAR_GNU_NAME ? take_pax_member(self, "path", text)
                                : take_pax(self, text, (size_t)bytes);
}

/* ---- entries ---- */

static enum cyx_status take_file(struct reader *self, uint64_t bytes)
{
    const struct cyx_tar_sink *sink = self->sink;
    enum cyx_status status = sink->begin(sink->ctx, self->path, self->error);
    for (uint64_t left = bytes; status == CYX_OK && left > 0;) {
        size_t part = left < sizeof(self->chunk) ? (size_t)left : sizeof(self->chunk);
        status = take_all(self, self->chunk, part);
        if (status == CYX_OK)
            status = sink->bytes(sink->ctx, self->chunk, part, self->error);
        left -= part;
    }
    if (status == CYX_OK)
        status = sink->end(sink->ctx, self->error);
    return status == CYX_OK ? skip_pad(self, bytes) : status;
}

static enum cyx_status take_entry(struct reader *self, const struct tar_header *header)
{
    uint64_t bytes = 0;
    char type = header->type;
    if (!parse_number(header->size, sizeof(header->size), &bytes))
        return corrupt(self, "a size that is no number");
    if (type == TAR_PAX || type == TAR_PAX_GLOBAL || type == TAR_GNU_NAME || type == TAR_GNU_LINK)
        return take_extension(self, type, bytes);
    if (self->has_size)
        bytes = self->size;
    self->has_size = false;
    enum cyx_status status = take_name(self, header);
    bool named_folder = type == TAR_OLD_FILE && bytes == 0 && header->name[0] &&
                        header->name[strnlen(header->name, sizeof(header->name)) - 1] == '/';
    bool folder = type == TAR_FOLDER || named_folder;
    if (status == CYX_OK && !folder && type != TAR_FILE && type != TAR_OLD_FILE &&
        type != TAR_CONTIGUOUS)
        return cyx_error_set(self->error, CYX_ERR_DENIED, NULL,
                             "the archive's entry \"%.100s\" is a link or a device: pack plain "
                             "files and folders alone",
                             self->path);
    if (status == CYX_OK)
        status = count(self, folder ? 0 : bytes);
    if (status != CYX_OK)
        return status;
    if (!folder && !*self->path)
        return corrupt(self, "a file without a name");
    if (!folder)
        return take_file(self, bytes);
    if (bytes != 0)
        return corrupt(self, "a folder with bytes");
    return *self->path ? self->sink->folder(self->sink->ctx, self->path, self->error) : CYX_OK;
}

static enum cyx_status read_all(struct reader *self)
{
    static const struct tar_header nothing;
    for (bool any = false;; any = true) {
        struct tar_header header;
        size_t got = 0;
        uint64_t checksum = 0;
        enum cyx_status status = take(self, &header, sizeof(header), &got);
        if (status != CYX_OK)
            return status;
        if (any && got == sizeof(header) && memcmp(&header, &nothing, sizeof(header)) == 0)
            return CYX_OK; /* what follows is none of ours */
        if (got < sizeof(header))
            return corrupt(self, any ? "it breaks off" : "it is too short");
        if (!parse_number(header.checksum, sizeof(header.checksum), &checksum) ||
            checksum != tar_checksum(&header))
            return corrupt(self, "a header's checksum is wrong");
        if ((status = take_entry(self, &header)) != CYX_OK)
            return status;
    }
}

enum cyx_status cyx_tar_read(int fd, const struct cyx_tar_limits *limits,
                             const struct cyx_tar_sink *sink, struct cyx_error *ret_error)
{
    struct cyx_error unread;
    int own = dup(fd);
    struct reader *self = calloc(1, sizeof(*self));
    gzFile in = own >= 0 && self ? gzdopen(own, "rb") : NULL;
    if (!in) {
        if (own >= 0)
            close(own);
        free(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to read an archive");
    }
    self->in = in;
    self->limits = limits;
    self->sink = sink;
    self->error = ret_error ? ret_error : &unread;
    enum cyx_status status = read_all(self);
    gzclose(in);
    free(self);
    return status;
}
