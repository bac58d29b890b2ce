#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"
#include "http/private.h"

enum { ETAG_BYTES = 96, DATE_BYTES = 40 };

static const struct {
    const char *extension, *type;
} types[] = {
    {"html", "text/html; charset=utf-8"},
    {"js", "text/javascript; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"json", "application/json"},
    {"map", "application/json"},
    {"svg", "image/svg+xml"},
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"gif", "image/gif"},
    {"webp", "image/webp"},
    {"avif", "image/avif"},
    {"ico", "image/x-icon"},
    {"woff2", "font/woff2"},
    {"woff", "font/woff"},
    {"ttf", "font/ttf"},
    {"wasm", "application/wasm"},
    {"txt", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"xml", "application/xml"},
    {"pdf", "application/pdf"},
    {"yaml", "application/yaml"},
    {"webmanifest", "application/manifest+json"},
    {"safetensors", "application/octet-stream"},
    {"onnx", "application/octet-stream"},
    {"gz", "application/gzip"},
};

const char *cyx_mime_type(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
        if (strcasecmp(types[i].extension, dot + 1) == 0)
            return types[i].type;
    return "application/octet-stream";
}

static bool read_number(const char **at, uint64_t *ret_value)
{
    if (**at < '0' || **at > '9')
        return false;
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
            value = UINT64_MAX / 10; /* past any file: clamped, and kept from overflowing again */
    }
    *ret_value = value;
    return true;
}

enum cyx_range cyx_range_parse(const char *text, uint64_t size, uint64_t *ret_first,
                               uint64_t *ret_length)
{
    if (!text || strncasecmp(text, "bytes=", 6) != 0)
        return CYX_RANGE_NONE;
    const char *at = text + 6 + strspn(text + 6, " \t");
    uint64_t first = 0, last = 0;
    bool has_first = read_number(&at, &first);
    if (*at++ != '-')
        return CYX_RANGE_NONE;
    bool has_last = read_number(&at, &last);
    at += strspn(at, " \t");
    if (*at || (!has_first && !has_last) || (has_first && has_last && last < first))
        return CYX_RANGE_NONE; /* RFC 9110, 14.2: what is not understood is ignored */
    if (!has_first) {          /* the last N bytes */
        if (last == 0 || size == 0)
            return CYX_RANGE_UNSATISFIABLE;
        first = last < size ? size - last : 0;
        last = size - 1;
    } else if (!has_last || last >= size) {
        last = size - 1;
    }
    if (first >= size)
        return CYX_RANGE_UNSATISFIABLE;
    *ret_first = first;
    *ret_length = last - first + 1;
    return CYX_RANGE_ONE;
}

bool cyx_etag_matches(const char *list, const char *etag)
{
    if (!list)
        return false;
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    size_t length = strlen(etag);
    for (const char *at = list; *at;) {
        at += strspn(at, " \t,");
        if (*at == '*')
            return true;
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        size_t size = 0;
        if (*at == '"') {
            const char *end = strchr(at + 1, '"');
            if (!end)
                return false;
            size = (size_t)(end - at) + 1;
        } else {
            size = strcspn(at, ",");
        }
        if (size && size == length && memcmp(at, etag, size) == 0)
            return true;
        at += size;
    }
    return false;
}

static void http_date(time_t at, char ret_text[DATE_BYTES])
{
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(ret_text, DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &utc);
}

static enum cyx_status open_regular(const char *path, int *ret_fd, struct stat *ret_stat,
                                    struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP))
        errno = ENOENT;
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot open the file");
    if (fstat(fd, ret_stat) != 0 || !S_ISREG(ret_stat->st_mode)) {
        close(fd);
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "there is no such file");
    }
    *ret_fd = fd;
    return CYX_OK;
}

/* A quoted file name for Content-Disposition: what is not plain ASCII becomes "_". */
static const char *disposition(struct cyx_arena *arena, const char *name)
{
    char *safe = cyx_arena_strdup(arena, name);
    for (char *c = safe; safe && *c; c++)
        if (*c < ' ' || *c > '~' || strchr("\"\\/;%", *c))
            *c = '_';
    return safe ? cyx_arena_printf(arena, "attachment; filename=\"%s\"", safe) : NULL;
}

static enum cyx_status add_headers(struct cyx_http_response *self, const struct cyx_http_file *file,
                                   const char *path, const char *etag, const char *modified,
                                   bool with_type)
{
    const char *type = file->content_type ? file->content_type : cyx_mime_type(path);
    enum cyx_status status =
        with_type ? cyx_http_response_header(self, "Content-Type", type) : CYX_OK;
    if (status == CYX_OK)
        status = cyx_http_response_header(self, "ETag", etag);
    if (status == CYX_OK)
        status = cyx_http_response_header(self, "Last-Modified", modified);
    if (status == CYX_OK)
        status = cyx_http_response_header(self, "Accept-Ranges", "bytes");
    if (status == CYX_OK && file->cache_control)
        status = cyx_http_response_header(self, "Cache-Control", file->cache_control);
    if (status == CYX_OK && file->download_name && with_type) {
        const char *text = disposition(self->arena, file->download_name);
        status =
            text ? cyx_http_response_header(self, "Content-Disposition", text) : CYX_ERR_NO_MEMORY;
    }
    return status;
}

static bool not_modified(const struct cyx_http_request *request, const char *etag,
                         const char *modified)
{
    const char *none_match = cyx_http_header(request, "If-None-Match");
    if (none_match)
        return cyx_etag_matches(none_match, etag);
    const char *since = cyx_http_header(request, "If-Modified-Since");
    return since && strcmp(since, modified) == 0;
}

/* The part that the request asks for; a stale If-Range asks for the whole. */
static enum cyx_range wanted_range(const struct cyx_http_request *request, uint64_t size,
                                   const char *etag, const char *modified, uint64_t *ret_first,
                                   uint64_t *ret_length)
{
    const char *condition = cyx_http_header(request, "If-Range");
    *ret_first = 0;
    *ret_length = size;
    if (condition && strcmp(condition, etag) != 0 && strcmp(condition, modified) != 0)
        return CYX_RANGE_NONE;
    return cyx_range_parse(cyx_http_header(request, "Range"), size, ret_first, ret_length);
}

static enum cyx_status answer_range(struct cyx_http_response *self, enum cyx_range range,
                                    uint64_t first, uint64_t length, uint64_t size)
{
    if (range == CYX_RANGE_NONE) {
        self->status = 200;
        return CYX_OK;
    }
    const char *text =
        range == CYX_RANGE_ONE
            ? cyx_arena_printf(self->arena, "bytes %llu-%llu/%llu", (unsigned long long)first,
                               (unsigned long long)(first + length - 1), (unsigned long long)size)
            : cyx_arena_printf(self->arena, "bytes */%llu", (unsigned long long)size);
    enum cyx_status status =
        text ? cyx_http_response_header(self, "Content-Range", text) : CYX_ERR_NO_MEMORY;
    if (status == CYX_OK && range == CYX_RANGE_UNSATISFIABLE) {
        self->error_http = 416;
        return cyx_error_set(&self->error, CYX_ERR_INVALID, NULL,
                             "the range lies outside the file's %llu bytes",
                             (unsigned long long)size);
    }
    self->status = 206;
    return status;
}

enum cyx_status cyx_http_respond_file(struct cyx_http_response *self,
                                      const struct cyx_http_request *request, const char *path,
                                      const struct cyx_http_file *options)
{
    static const struct cyx_http_file defaults = {0};
    const struct cyx_http_file *file = options ? options : &defaults;
    struct stat found = {0};
    int fd = -1;
    enum cyx_status status = open_regular(path, &fd, &found, &self->error);
    if (status != CYX_OK)
        return status;
    cyx_http_respond_empty(self, 0);
    char modified[DATE_BYTES], made_etag[ETAG_BYTES];
    http_date(found.st_mtime, modified);
    snprintf(made_etag, sizeof(made_etag), "\"%llx-%llx\"", (unsigned long long)found.st_size,
             (unsigned long long)found.st_mtim.tv_sec * 1000000000ull +
                 (unsigned long long)found.st_mtim.tv_nsec);
    const char *etag = file->etag ? file->etag : made_etag;
    bool unchanged = not_modified(request, etag, modified);
    uint64_t first = 0, length = 0, size = (uint64_t)found.st_size;
    enum cyx_range range = wanted_range(request, size, etag, modified, &first, &length);
    if (unchanged || range == CYX_RANGE_UNSATISFIABLE || length == 0) {
        close(fd);
        fd = -1;
    }
    if (range != CYX_RANGE_UNSATISFIABLE || unchanged)
        status = add_headers(self, file, path, etag, modified, !unchanged);
    if (status == CYX_OK && unchanged)
        self->status = 304;
    else if (status == CYX_OK)
        status = answer_range(self, range, first, length, size);
    if (status != CYX_OK || fd < 0) {
        if (fd >= 0)
            close(fd);
        return status;
    }
    *self->body = (struct cyx_http_response_body){
        .kind = CYX_BODY_FILE, .fd = fd, .offset = first, .length = length};
    return CYX_OK;
}
