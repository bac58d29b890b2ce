#include "http/sse.h"

#include <string.h>

#include "base/banned.h"

static enum cyx_status dispatch(struct cyx_sse *self)
{
    enum cyx_status status = CYX_OK;
    if (self->has_data) {
        struct cyx_sse_event event = {
            .event = self->event.length ? self->event.data : "message",
            .data = self->data.data ? self->data.data : "",
            .id = self->id.data ? self->id.data : "",
        };
        status = self->on_event(self->user, &event);
    }
    cyx_buf_clear(&self->event);
    cyx_buf_clear(&self->data);
    self->has_data = false;
    return status;
}

static enum cyx_status take_line(struct cyx_sse *self)
{
    const char *line = self->line.data ? self->line.data : "";
    size_t length = self->line.length;
    if (length == 0)
        return dispatch(self);
    const char *colon = memchr(line, ':', length);
    size_t name = colon ? (size_t)(colon - line) : length;
    const char *value = colon ? colon + 1 : "";
    size_t size = colon ? length - name - 1 : 0;
    if (size && value[0] == ' ') {
        value++;
        size--;
    }
    if (name == 5 && memcmp(line, "event", 5) == 0) {
        cyx_buf_clear(&self->event);
        cyx_buf_append(&self->event, value, size);
    } else if (name == 4 && memcmp(line, "data", 4) == 0) {
        if (self->has_data)
            cyx_buf_append(&self->data, "\n", 1);
        cyx_buf_append(&self->data, value, size);
        self->has_data = true;
    } else if (name == 2 && memcmp(line, "id", 2) == 0 && !memchr(value, '\0', size)) {
        cyx_buf_clear(&self->id);
        cyx_buf_append(&self->id, value, size);
    } /* "retry", comments and unknown fields are ignored */
    return CYX_OK;
}

enum cyx_status cyx_sse_feed(void *sse, const void *bytes, size_t length)
{
    struct cyx_sse *self = sse;
    const char *at = bytes, *end = at + length;
    enum cyx_status status = CYX_OK;
    while (at < end && status == CYX_OK) {
        if (self->after_cr && *at == '\n') {
            self->after_cr = false;
            at++;
            continue;
        }
        self->after_cr = false;
        const char *stop = at;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (self->line.length + self->data.length + (size_t)(stop - at) > CYX_SSE_MAX_BYTES)
            return CYX_ERR_TOO_LARGE;
        cyx_buf_append(&self->line, at, (size_t)(stop - at));
        if (self->line.failed)
            return CYX_ERR_NO_MEMORY;
        at = stop;
        if (stop == end)
            break;
        self->after_cr = *stop == '\r';
        at++;
        if (!self->started && self->line.length >= 3 &&
            memcmp(self->line.data, "\xEF\xBB\xBF", 3) == 0) { /* byte order mark */
            self->line.length -= 3;
            memmove(self->line.data, self->line.data + 3, self->line.length + 1);
        }
        self->started = true;
        status = take_line(self);
        cyx_buf_clear(&self->line);
    }
    bool failed = self->data.failed || self->event.failed || self->id.failed;
    return failed ? CYX_ERR_NO_MEMORY : status;
}

void cyx_sse_finish(struct cyx_sse *self)
{
    cyx_buf_finish(&self->line);
    cyx_buf_finish(&self->event);
    cyx_buf_finish(&self->data);
    cyx_buf_finish(&self->id);
}
