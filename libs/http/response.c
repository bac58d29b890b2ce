#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/banned.h"
#include "http/private.h"

void cyx_response_init(struct cyx_http_response *self, struct cyx_arena *arena,
                       struct cyx_http_response_body *body)
{
    *self = (struct cyx_http_response){.arena = arena, .body = body};
    *body = (struct cyx_http_response_body){.fd = -1};
}

static void drop_body(struct cyx_http_response *self)
{
    struct cyx_http_response_body *body = self->body;
    cyx_buf_finish(&body->bytes);
    if (body->fd >= 0)
        close(body->fd);
    if (body->stream) {
        cyx_stream_detach(body->stream);
        cyx_http_stream_unref(body->stream);
    }
    *body = (struct cyx_http_response_body){.fd = -1};
}

void cyx_response_reset(struct cyx_http_response *self)
{
    drop_body(self);
    self->status = 0;
    self->header_count = 0;
}

static bool is_value(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7F)
            return false;
    return true;
}

static bool is_ours(const char *name)
{
    return strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0 ||
           strcasecmp(name, "Connection") == 0;
}

enum cyx_status cyx_http_response_header(struct cyx_http_response *self, const char *name,
                                         const char *value)
{
    if (!name || !value || !cyx_is_token(name) || !is_value(value) || is_ours(name))
        return cyx_error_set(&self->error, CYX_ERR_INVALID, NULL,
                             "the header \"%s\" cannot be sent so", name ? name : "");
    if (self->header_count == self->header_capacity) {
        size_t capacity = self->header_capacity ? self->header_capacity * 2 : 16;
        struct cyx_http_pair *grown = cyx_arena_calloc(self->arena, capacity, sizeof(*grown));
        if (!grown)
            return cyx_error_set(&self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for a header");
        if (self->header_count)
            memcpy(grown, self->headers, self->header_count * sizeof(*grown));
        self->headers = grown;
        self->header_capacity = capacity;
    }
    struct cyx_http_pair pair = {cyx_arena_strdup(self->arena, name),
                                 cyx_arena_strdup(self->arena, value)};
    if (!pair.name || !pair.value)
        return cyx_error_set(&self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for a header");
    self->headers[self->header_count++] = pair;
    return CYX_OK;
}

enum cyx_status cyx_http_response_cookie(struct cyx_http_response *self, const char *name,
                                         const char *value, long max_age_s, bool secure)
{
    if (!cyx_is_token(name) || strpbrk(value, "\";,\\ \t"))
        return cyx_error_set(&self->error, CYX_ERR_INVALID, NULL,
                             "the cookie \"%s\" cannot be sent so", name);
    const char *age =
        max_age_s < 0 ? "" : cyx_arena_printf(self->arena, "; Max-Age=%ld", max_age_s);
    char *text = age ? cyx_arena_printf(self->arena, "%s=%s; Path=/; HttpOnly; SameSite=Lax%s%s",
                                        name, value, secure ? "; Secure" : "", age)
                     : NULL;
    if (!text)
        return cyx_error_set(&self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for a cookie");
    return cyx_http_response_header(self, "Set-Cookie", text);
}

static void drop_header(struct cyx_http_response *self, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->header_count; i++)
        if (strcasecmp(self->headers[i].name, name) != 0)
            self->headers[kept++] = self->headers[i];
    self->header_count = kept;
}

/* Replaces a body of before; other headers that the handler had added stay. */
static enum cyx_status begin(struct cyx_http_response *self, int status, const char *type)
{
    drop_body(self);
    drop_header(self, "Content-Type");
    self->status = status;
    return type ? cyx_http_response_header(self, "Content-Type", type) : CYX_OK;
}

enum cyx_status cyx_http_respond_buf(struct cyx_http_response *self, int status, const char *type,
                                     struct cyx_buf *body)
{
    bool failed = body->failed;
    enum cyx_status made = begin(self, status, type);
    if (failed || made != CYX_OK) {
        cyx_buf_finish(body);
        self->status = 0;
        return cyx_error_set(&self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer");
    }
    self->body->kind = CYX_BODY_BYTES;
    self->body->bytes = *body;
    *body = (struct cyx_buf){0};
    return CYX_OK;
}

enum cyx_status cyx_http_respond(struct cyx_http_response *self, int status, const char *type,
                                 const void *bytes, size_t length)
{
    struct cyx_buf copy = {0};
    cyx_buf_append(&copy, bytes, length);
    return cyx_http_respond_buf(self, status, type, &copy);
}

enum cyx_status cyx_http_respond_json(struct cyx_http_response *self, int status, const char *text,
                                      size_t length)
{
    return cyx_http_respond(self, status, "application/json", text, length);
}

enum cyx_status cyx_http_respond_empty(struct cyx_http_response *self, int status)
{
    return begin(self, status, NULL);
}

enum cyx_status cyx_http_respond_problem(struct cyx_http_response *self, int status,
                                         const struct cyx_error *error)
{
    self->error = *error;
    self->error_http = status;
    return error->status != CYX_OK ? error->status : CYX_ERR_INTERNAL;
}

void cyx_response_problem(struct cyx_http_response *self, int status, const struct cyx_error *error,
                          const char *instance, const char *request_id)
{
    static const char *const of_a_body[] = {
        "Content-Type", "Content-Encoding", "Content-Disposition", "Cache-Control",
        "ETag",         "Last-Modified"};
    struct cyx_buf text = {0};
    cyx_problem_format(&text, status, error, instance, request_id);
    drop_body(self);
    for (size_t i = 0; i < sizeof(of_a_body) / sizeof(of_a_body[0]); i++)
        drop_header(self, of_a_body[i]);
    self->status = status;
    cyx_http_response_header(self, "Content-Type", "application/problem+json");
    cyx_http_response_header(self, "Cache-Control", "no-store");
    if (!text.failed) {
        self->body->kind = CYX_BODY_BYTES;
        self->body->bytes = text;
    } else {
        cyx_buf_finish(&text);
    }
}

static struct MHD_Response *build_body(struct cyx_http_response_body *body)
{
    struct MHD_Response *made = NULL;
    switch (body->kind) {
    case CYX_BODY_NONE:
        return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    case CYX_BODY_BYTES:
        if (!body->bytes.length)
            return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
        made = MHD_create_response_from_buffer(body->bytes.length, body->bytes.data,
                                               MHD_RESPMEM_MUST_FREE);
        if (made)
            body->bytes = (struct cyx_buf){0};
        return made;
    case CYX_BODY_FILE:
        made = MHD_create_response_from_fd_at_offset64(body->length, body->fd, body->offset);
        if (made)
            body->fd = -1;
        return made;
    case CYX_BODY_STREAM:
        return cyx_stream_response(body->stream);
    }
    return NULL;
}

struct MHD_Response *cyx_response_build(struct cyx_http_response *self, bool close_connection)
{
    struct MHD_Response *made = build_body(self->body);
    bool added = made != NULL;
    for (size_t i = 0; added && i < self->header_count; i++)
        added =
            MHD_add_response_header(made, self->headers[i].name, self->headers[i].value) == MHD_YES;
    if (added && close_connection)
        added = MHD_add_response_header(made, "Connection", "close") == MHD_YES;
    if (!added && made) {
        MHD_destroy_response(made);
        made = NULL;
    }
    return made;
}
