#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"
#include "http/client_private.h"

enum { ETAG_BYTES = 256, READ_BYTES = 1 << 18 };

/* ---- download ---- */

struct download {
    const struct cyx_http_download *asked;
    uint64_t offset;     /* bytes handed on so far */
    uint64_t asked_from; /* where this attempt's range begins */
    uint64_t total;      /* 0: not known */
    bool looked;         /* at this attempt's headers */
    char etag[ETAG_BYTES];
};

/* "bytes a-b/total" of a 206, or the total of a 416's "bytes * /total". */
static bool read_content_range(const struct cyx_http_result *result, uint64_t *ret_first,
                               uint64_t *ret_total)
{
    char text[96];
    uint64_t last = 0;
    *ret_first = 0;
    if (!cyx_http_result_header(result, "content-range", text, sizeof(text)))
        return false;
    return sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, ret_first, &last, ret_total) ==
               3 ||
           sscanf(text, "bytes */%" SCNu64, ret_total) == 1;
}

/* Before the first byte of an answer: is it the part that was asked for? */
static enum cyx_status look(struct cyx_attempt *attempt)
{
    struct download *self = attempt->user;
    struct cyx_http_result *result = attempt->result;
    uint64_t first = 0, total = 0;
    char text[32];
    self->looked = true;
    if (result->status == 206) {
        if (!read_content_range(result, &first, &total) || first != self->asked_from)
            return cyx_error_set(attempt->error, CYX_ERR_CORRUPT, NULL,
                                 "the server sent another part than was asked for");
    } else if (self->asked_from > 0) {
        if (!self->asked->on_restart)
            return cyx_error_set(attempt->error, CYX_ERR_CONFLICT, NULL,
                                 "the file has changed on the server since it was begun");
        enum cyx_status status = self->asked->on_restart(self->asked->user);
        if (status != CYX_OK)
            return cyx_error_set(attempt->error, status, NULL, "cannot begin the file anew");
        self->offset = 0;
    }
    if (result->status != 206 &&
        cyx_http_result_header(result, "content-length", text, sizeof(text)))
        total = strtoull(text, NULL, 10);
    self->total = total;
    if (self->asked->max_bytes && total > self->asked->max_bytes)
        return cyx_error_set(attempt->error, CYX_ERR_TOO_LARGE, NULL,
                             "the file has %" PRIu64 " bytes, over the limit of %" PRIu64, total,
                             self->asked->max_bytes);
    if (!cyx_http_result_header(result, "etag", self->etag, sizeof(self->etag)) ||
        self->etag[0] != '"')
        self->etag[0] = '\0'; /* a weak one does not vouch for bytes */
    return CYX_OK;
}

static enum cyx_status take(struct cyx_attempt *attempt, const void *bytes, size_t length)
{
    struct download *self = attempt->user;
    enum cyx_status status = self->looked ? CYX_OK : look(attempt);
    if (status != CYX_OK)
        return status;
    if (self->asked->max_bytes && length > self->asked->max_bytes - self->offset)
        return cyx_error_set(attempt->error, CYX_ERR_TOO_LARGE, NULL,
                             "the file is over the limit of %" PRIu64 " bytes",
                             self->asked->max_bytes);
    status = self->asked->on_chunk(self->asked->user, bytes, length);
    if (status != CYX_OK)
        return cyx_error_set(attempt->error, status, NULL, "the download was ended by its reader");
    self->offset += length;
    return CYX_OK;
}

static enum cyx_status tell_download(struct cyx_attempt *attempt, uint64_t down, uint64_t up)
{
    struct download *self = attempt->user;
    (void)down;
    (void)up;
    if (!self->looked || !self->asked->on_progress)
        return CYX_OK;
    enum cyx_status status = self->asked->on_progress(self->asked->user, self->offset, self->total);
    if (status != CYX_OK)
        cyx_error_set(attempt->error, status, NULL, "the download was ended");
    return status;
}

/* 416: all of it was here already, or what is here is longer than the file has become. */
static enum cyx_status past_the_end(struct cyx_attempt *attempt, bool *ret_again)
{
    struct download *self = attempt->user;
    uint64_t first = 0, total = 0;
    if (read_content_range(attempt->result, &first, &total) && total == self->offset) {
        attempt->result->status = 206;
        self->total = total;
        return CYX_OK;
    }
    if (!self->asked->on_restart)
        return CYX_OK; /* the caller sees the 416 */
    enum cyx_status status = self->asked->on_restart(self->asked->user);
    if (status != CYX_OK)
        return cyx_error_set(attempt->error, status, NULL, "cannot begin the file anew");
    self->offset = 0;
    self->etag[0] = '\0';
    *ret_again = true;
    return CYX_OK;
}

static enum cyx_status download_once(struct cyx_attempt *attempt, bool *ret_again)
{
    struct download *self = attempt->user;
    char range[64], condition[ETAG_BYTES + 16];
    const char *more[3] = {NULL};
    self->looked = false;
    self->asked_from = self->offset;
    if (self->offset) {
        snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", self->offset);
        snprintf(condition, sizeof(condition), "If-Range: %s", self->etag);
        more[0] = range;
        more[1] = self->etag[0] ? condition : NULL;
    }
    attempt->more_headers = more;
    enum cyx_status status = cyx_attempt_run(attempt, ret_again);
    attempt->more_headers = NULL;
    if (status != CYX_OK)
        return status;
    if (attempt->result->status == 416 && self->offset)
        return past_the_end(attempt, ret_again);
    if (attempt->result->status < 300 && !self->looked)
        return look(attempt); /* an empty body */
    return CYX_OK;
}

enum cyx_status cyx_http_client_download(struct cyx_http_client *self,
                                         const struct cyx_http_download *asked,
                                         struct cyx_http_result *result,
                                         struct cyx_error *ret_error)
{
    struct download state = {.asked = asked, .offset = asked->offset};
    struct cyx_attempt attempt = {.client = self,
                                  .result = result,
                                  .error = ret_error,
                                  .method = "GET",
                                  .url = asked->url,
                                  .headers = asked->headers,
                                  .upload_fd = -1,
                                  .stall_ms = cyx_client_stall_ms(self),
                                  .sink = take,
                                  .on_progress = tell_download,
                                  .user = &state};
    snprintf(state.etag, sizeof(state.etag), "%s", asked->etag ? asked->etag : "");
    result->attempts = 0;
    for (int n = 1;; n++) {
        bool again = false;
        uint64_t before = state.offset;
        enum cyx_status status = download_once(&attempt, &again);
        if (status == CYX_OK && !again && asked->on_progress && result->status < 300)
            return asked->on_progress(asked->user, state.offset, state.offset);
        if (!again)
            return status;
        if (state.offset > before)
            n = 1; /* it goes on: only tries without a byte count */
        if (n >= cyx_client_max_attempts(self))
            return status;
        status = cyx_attempt_pause(&attempt, n);
        if (status != CYX_OK)
            return status;
    }
}

/* ---- download to a file ---- */

struct file_download {
    const struct cyx_http_download *asked;
    int fd;
    char *part; /* PATH.part */
    struct cyx_error *error;
};

static enum cyx_status write_all(struct file_download *self, const char *bytes, size_t length)
{
    while (length) {
        ssize_t n = write(self->fd, bytes, length);
        if (n < 0)
            return cyx_error_errno(self->error, "cannot write %s", self->part);
        bytes += n;
        length -= (size_t)n;
    }
    return CYX_OK;
}

static enum cyx_status to_file(void *user, const void *bytes, size_t length)
{
    struct file_download *self = user;
    enum cyx_status status = write_all(self, bytes, length);
    if (status == CYX_OK && self->asked->on_chunk)
        status = self->asked->on_chunk(self->asked->user, bytes, length);
    return status;
}

static enum cyx_status restart_file(void *user)
{
    struct file_download *self = user;
    if (ftruncate(self->fd, 0) != 0 || lseek(self->fd, 0, SEEK_SET) != 0)
        return cyx_error_errno(self->error, "cannot empty %s", self->part);
    return self->asked->on_restart ? self->asked->on_restart(self->asked->user) : CYX_OK;
}

static enum cyx_status file_progress(void *user, uint64_t done, uint64_t total)
{
    struct file_download *self = user;
    return self->asked->on_progress ? self->asked->on_progress(self->asked->user, done, total)
                                    : CYX_OK;
}

/* Shows the caller what is there already, so that its hash covers the whole. */
static enum cyx_status replay(struct file_download *self, uint64_t *ret_offset)
{
    char *chunk = malloc(READ_BYTES);
    enum cyx_status status = chunk ? CYX_OK : CYX_ERR_NO_MEMORY;
    uint64_t offset = 0;
    while (status == CYX_OK) {
        ssize_t n = read(self->fd, chunk, READ_BYTES);
        if (n == 0)
            break;
        if (n < 0)
            status = cyx_error_errno(self->error, "cannot read %s", self->part);
        else if (self->asked->on_chunk)
            status = self->asked->on_chunk(self->asked->user, chunk, (size_t)n);
        offset += n > 0 ? (uint64_t)n : 0;
    }
    free(chunk);
    *ret_offset = offset;
    return status;
}

static enum cyx_status publish(struct file_download *self, const char *path,
                               enum cyx_status (*before_rename)(void *user))
{
    if (fsync(self->fd) != 0)
        return cyx_error_errno(self->error, "cannot sync %s", self->part);
    enum cyx_status status = before_rename ? before_rename(self->asked->user) : CYX_OK;
    if (status != CYX_OK) {
        unlink(self->part);
        return cyx_error_set(self->error, status, NULL, "%s does not hold what was expected: %s",
                             path, cyx_status_name(status));
    }
    if (rename(self->part, path) != 0)
        return cyx_error_errno(self->error, "cannot rename %s", self->part);
    return CYX_OK;
}

static enum cyx_status download_into(struct cyx_http_client *client, struct file_download *self,
                                     bool keep, struct cyx_http_result *result)
{
    struct cyx_http_download inner = *self->asked;
    inner.on_chunk = to_file;
    inner.on_restart = restart_file;
    inner.on_progress = file_progress;
    inner.user = self;
    inner.offset = 0;
    enum cyx_status status = CYX_OK;
    if (keep)
        status = replay(self, &inner.offset);
    else if (ftruncate(self->fd, 0) != 0)
        status = cyx_error_errno(self->error, "cannot empty %s", self->part);
    return status == CYX_OK ? cyx_http_client_download(client, &inner, result, self->error)
                            : status;
}

enum cyx_status
cyx_http_client_download_file(struct cyx_http_client *self, const struct cyx_http_download *asked,
                              const char *path, enum cyx_status (*before_rename)(void *user),
                              struct cyx_http_result *result, struct cyx_error *ret_error)
{
    struct cyx_buf name = {0};
    cyx_buf_printf(&name, "%s.part", path);
    struct file_download state = {.asked = asked, .error = ret_error, .part = name.data};
    state.fd = name.failed ? -1 : open(name.data, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (state.fd < 0) {
        enum cyx_status status = cyx_error_errno(ret_error, "cannot write %s.part", path);
        cyx_buf_finish(&name);
        return status;
    }
    /* A part of an earlier call is of use only where somebody will see whether it fits. */
    enum cyx_status status = download_into(self, &state, asked->etag || before_rename, result);
    if (status == CYX_OK && result->status < 300)
        status = publish(&state, path, before_rename);
    struct stat found;
    if (fstat(state.fd, &found) == 0 && found.st_size == 0 && found.st_nlink > 0 &&
        (status != CYX_OK || result->status >= 300))
        unlink(name.data);
    if (close(state.fd) != 0 && status == CYX_OK)
        status = cyx_error_errno(ret_error, "cannot write %s", path);
    cyx_buf_finish(&name);
    return status;
}

/* ---- upload ---- */

struct upload {
    const struct cyx_http_upload *asked;
    uint64_t size;
};

static enum cyx_status tell_upload(struct cyx_attempt *attempt, uint64_t down, uint64_t up)
{
    struct upload *self = attempt->user;
    (void)down;
    if (!self->asked->on_progress)
        return CYX_OK;
    enum cyx_status status =
        self->asked->on_progress(self->asked->user, attempt->upload_from + up, self->size);
    if (status != CYX_OK)
        cyx_error_set(attempt->error, status, NULL, "the upload was ended");
    return status;
}

/* How much the server has. `*ret_done`: all of it, nothing is to be sent. */
static enum cyx_status ask_offset(struct cyx_attempt *put, uint64_t size, uint64_t *ret_offset,
                                  bool *ret_done, bool *ret_again)
{
    struct cyx_attempt head = {.client = put->client,
                               .result = put->result,
                               .error = put->error,
                               .method = "HEAD",
                               .url = put->url,
                               .headers = put->headers,
                               .upload_fd = -1,
                               .timeout_ms = cyx_client_stall_ms(put->client)};
    char text[32];
    *ret_offset = 0;
    enum cyx_status status = cyx_attempt_run(&head, ret_again);
    if (status != CYX_OK || *ret_again)
        return status;
    *ret_done = put->result->status < 300;
    if (put->result->status == 404 &&
        cyx_http_result_header(put->result, "upload-offset", text, sizeof(text)))
        *ret_offset = strtoull(text, NULL, 10);
    if (*ret_offset >= size)
        *ret_offset = 0; /* nothing could be sent behind it: begin anew */
    return CYX_OK;
}

static enum cyx_status upload_once(struct cyx_attempt *attempt, bool *ret_again)
{
    struct upload *self = attempt->user;
    char range[96];
    const char *more[2] = {NULL};
    uint64_t offset = 0;
    bool done = false;
    *ret_again = false;
    if (self->asked->resumable) {
        enum cyx_status status = ask_offset(attempt, self->size, &offset, &done, ret_again);
        bool refused = attempt->result->status >= 400 && attempt->result->status != 404;
        if (status != CYX_OK || done || *ret_again || refused)
            return status;
    }
    if (offset) {
        snprintf(range, sizeof(range), "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                 offset, self->size - 1, self->size);
        more[0] = range;
    }
    attempt->more_headers = more;
    attempt->upload_from = offset;
    attempt->upload_length = self->size - offset;
    enum cyx_status status = cyx_attempt_run(attempt, ret_again);
    attempt->more_headers = NULL;
    if (status == CYX_OK && attempt->result->status == 409 && self->asked->resumable)
        *ret_again = true; /* another connection of ours may hold it still */
    return status;
}

enum cyx_status cyx_http_client_upload(struct cyx_http_client *self,
                                       const struct cyx_http_upload *asked,
                                       struct cyx_http_result *result, struct cyx_error *ret_error)
{
    struct stat found;
    int fd = open(asked->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) != 0) {
        enum cyx_status status = cyx_error_errno(ret_error, "cannot upload %s", asked->path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    struct upload state = {.asked = asked, .size = (uint64_t)found.st_size};
    struct cyx_attempt attempt = {.client = self,
                                  .result = result,
                                  .error = ret_error,
                                  .method = "PUT",
                                  .url = asked->url,
                                  .headers = asked->headers,
                                  .content_type = asked->content_type ? asked->content_type
                                                                      : "application/octet-stream",
                                  .upload_fd = fd,
                                  .stall_ms = cyx_client_stall_ms(self),
                                  .on_progress = tell_upload,
                                  .user = &state};
    enum cyx_status status = CYX_OK;
    bool again = true;
    result->attempts = 0;
    for (int n = 1; again; n++) {
        status = upload_once(&attempt, &again);
        if (!again || n >= cyx_client_max_attempts(self))
            break;
        enum cyx_status paused = cyx_attempt_pause(&attempt, n);
        if (paused != CYX_OK) {
            status = paused;
            break;
        }
    }
    close(fd);
    return status;
}
