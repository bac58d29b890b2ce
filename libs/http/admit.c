#include <string.h>
#include <strings.h>

#include "base/banned.h"
#include "base/clock.h"
#include "http/forward.h"
#include "http/private.h"

/*
 * libmicrohttpd 0.9.75 lets through what a proxy in front may read otherwise: two Content-Length,
 * Content-Length with Transfer-Encoding, folded lines (which it even joins to the wrong place), NUL
 * bytes, bare LF, blanks before a colon. Its header strings lie in the order and at the places
 * where they came, only their ends overwritten by NUL, so looking at the gaps between them finds
 * every hidden byte.
 */
struct headers {
    struct cyx_exchange *exchange;
    const char *end; /* behind the last string seen, where its CR was */
    size_t capacity;
    unsigned hosts, lengths, encodings;
    bool hidden, bad_name, no_memory;
};

static void look_at_gaps(struct headers *self, const char *name, const char *value)
{
    if (name != self->end + 2)
        self->hidden = true;
    const char *colon = name + strlen(name);
    if (value <= colon)
        self->hidden = true;
    else
        for (const char *c = colon + 1; c < value; c++)
            if (*c != ' ' && *c != '\t')
                self->hidden = true;
    self->end = value + strlen(value);
}

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct headers *self = cls;
    struct cyx_http_request *request = &self->exchange->request;
    (void)kind;
    value = value ? value : "";
    look_at_gaps(self, name, value);
    self->bad_name = self->bad_name || !cyx_is_token(name);
    self->hosts += strcasecmp(name, "Host") == 0;
    self->lengths += strcasecmp(name, "Content-Length") == 0;
    self->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
    if (request->header_count == self->capacity) {
        size_t capacity = self->capacity ? self->capacity * 2 : 16;
        struct cyx_http_pair *grown =
            cyx_arena_calloc(&self->exchange->arena, capacity, sizeof(*grown));
        if (!grown) {
            self->no_memory = true;
            return MHD_NO;
        }
        if (request->header_count)
            memcpy(grown, request->headers, request->header_count * sizeof(*grown));
        request->headers = grown;
        self->capacity = capacity;
    }
    /* The array is the arena's own: only the handlers see it as const. */
    ((struct cyx_http_pair *)(uintptr_t)request->headers)[request->header_count++] =
        (struct cyx_http_pair){name, value};
    return MHD_YES;
}

static void refuse(struct cyx_exchange *self, int http, enum cyx_status status, const char *message)
{
    self->refused = true;
    atomic_fetch_add(&self->server->refused, 1);
    cyx_exchange_refuse(self, http, status, message);
}

static bool valid_host(const char *host)
{
    return *host && cyx_span(host, "-._~:[]%") == strlen(host);
}

/* Collects the headers and refuses what is ambiguous. */
static bool check_framing(struct cyx_exchange *self, const char *method, const char *version)
{
    struct headers headers = {.exchange = self, .end = version + strlen(version)};
    bool target_hidden = !self->raw_target ||
                         version != self->raw_target + strlen(self->request.target) + 1 ||
                         self->raw_target != method + strlen(method) + 1;
    MHD_get_connection_values(self->conn->mhd, MHD_HEADER_KIND, take_header, &headers);
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(self->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t bytes = size ? size->header_size : 0;
    const struct cyx_http_request *request = &self->request;
    const char *encoding = cyx_http_header(request, "Transfer-Encoding");
    const char *host = cyx_http_header(request, "Host");
    bool old = strcmp(version, "HTTP/1.0") == 0;
    if (headers.no_memory)
        refuse(self, 503, CYX_ERR_NO_MEMORY, "the server has no memory for this request");
    else if (bytes > self->server->options.max_header_bytes)
        refuse(self, 431, CYX_ERR_TOO_LARGE, "the request's headers are over the limit");
    else if (headers.hidden || target_hidden || method + bytes != headers.end + 4)
        refuse(self, 400, CYX_ERR_INVALID,
               "the request's lines must end in CRLF, and hold no folds, NUL or extra blanks");
    else if (headers.bad_name)
        refuse(self, 400, CYX_ERR_INVALID, "a header's name holds a character it may not");
    else if (headers.lengths > 1)
        refuse(self, 400, CYX_ERR_INVALID, "the request has more than one Content-Length");
    else if (headers.lengths && headers.encodings)
        refuse(self, 400, CYX_ERR_INVALID,
               "the request has both Content-Length and Transfer-Encoding");
    else if (headers.encodings && old)
        refuse(self, 400, CYX_ERR_INVALID, "HTTP/1.0 knows no Transfer-Encoding");
    else if (headers.encodings > 1 || (encoding && strcasecmp(encoding, "chunked") != 0))
        refuse(self, 501, CYX_ERR_UNSUPPORTED, "the only Transfer-Encoding taken is chunked");
    else if (headers.hosts > 1 || (!old && !headers.hosts) || (host && !valid_host(host)))
        refuse(self, 400, CYX_ERR_INVALID, "the request must have one Host header, with one host");
    return !self->refused;
}

static void take_request_id(struct cyx_http_request *request)
{
    const char *given = cyx_http_header(request, "X-Request-Id");
    size_t length = given ? cyx_span(given, "._-") : 0;
    if (given && length && length <= 64 && !given[length])
        memcpy(request->request_id, given, length + 1);
    else
        cyx_id_new(request->request_id);
}

/* version-traceid-spanid-flags (W3C Trace Context), with ids that are not all zero. */
static bool valid_traceparent(const char *text)
{
    static const char zeros[] = "00000000000000000000000000000000";
    static const char hex[] = "0123456789abcdef";
    return text && strlen(text) == 55 && strncmp(text, "ff", 2) != 0 && strspn(text, hex) == 2 &&
           text[2] == '-' && strspn(text + 3, hex) == 32 && text[35] == '-' &&
           strspn(text + 36, hex) == 16 && text[52] == '-' && strspn(text + 53, hex) == 2 &&
           memcmp(text + 3, zeros, 32) != 0 && memcmp(text + 36, zeros, 16) != 0;
}

static void take_traceparent(struct cyx_http_request *request)
{
    const char *given = cyx_http_header(request, "traceparent");
    if (valid_traceparent(given)) {
        memcpy(request->traceparent, given, 56);
        return;
    }
    unsigned char ids[24];
    char hex[49];
    cyx_random_bytes(ids, sizeof(ids));
    cyx_hex_encode(ids, sizeof(ids), hex);
    memcpy(request->traceparent, "00-", 3);
    memcpy(request->traceparent + 3, hex, 32);
    request->traceparent[35] = '-';
    memcpy(request->traceparent + 36, hex + 32, 16);
    memcpy(request->traceparent + 52, "-01", 4);
}

static bool media_type_is(const char *given, const char *wanted)
{
    size_t length = strcspn(given, ";");
    while (length && (given[length - 1] == ' ' || given[length - 1] == '\t'))
        length--;
    return length == strlen(wanted) && strncasecmp(given, wanted, length) == 0;
}

static void read_length(struct cyx_exchange *self)
{
    const char *text = cyx_http_header(&self->request, "Content-Length");
    self->chunked = cyx_http_header(&self->request, "Transfer-Encoding") != NULL;
    for (const char *c = text; c && *c >= '0' && *c <= '9'; c++)
        self->content_length = self->content_length * 10 + (uint64_t)(*c - '0');
    self->has_body = self->chunked || self->content_length > 0;
}

/* What the found route says about the body. */
static void check_body(struct cyx_exchange *self)
{
    const struct cyx_http_route *route = self->match.route;
    uint64_t usual = route->sink ? UINT64_MAX : self->server->options.max_body_bytes;
    self->max_body_bytes = route->max_body_bytes ? route->max_body_bytes : usual;
    if (self->content_length > self->max_body_bytes) {
        refuse(self, 413, CYX_ERR_TOO_LARGE,
               cyx_arena_printf(&self->arena, "the body is over the limit of %llu bytes",
                                (unsigned long long)self->max_body_bytes));
        return;
    }
    const char *type = cyx_http_header(&self->request, "Content-Type");
    const char *wanted = route->content_type ? route->content_type : "application/json";
    bool any = (route->sink && !route->content_type) || (route->flags & CYX_ROUTE_ANY_TYPE);
    if (self->has_body && !any && (!type || !media_type_is(type, wanted)))
        refuse(self, 415, CYX_ERR_UNSUPPORTED,
               cyx_arena_printf(&self->arena, "the body's Content-Type must be %s", wanted));
}

static void find_route(struct cyx_exchange *self)
{
    struct cyx_router_match *match = &self->match;
    enum cyx_status found =
        cyx_router_find(&self->server->router, self->request.method, self->target.segments,
                        self->target.rests, self->target.count, match);
    self->request.params = match->params;
    self->request.param_count = match->param_count;
    if (found == CYX_OK && match->route) {
        check_body(self);
    } else if (found == CYX_OK) {
        cyx_http_response_header(&self->response, "Allow", match->allow);
        refuse(self, 405, CYX_ERR_UNSUPPORTED,
               cyx_arena_printf(&self->arena, "this path takes %s", match->allow));
    } else if (cyx_static_answer(self)) {
        self->refused = true; /* answered without a route */
    } else {
        refuse(self, 404, CYX_ERR_NOT_FOUND, "there is nothing at this path");
    }
}

void cyx_admit(struct cyx_exchange *self, const char *method, const char *version)
{
    struct cyx_http_request *request = &self->request;
    struct cyx_error error = {0};
    request->method = method;
    request->path = request->target;
    request->received_ns = cyx_clock_monotonic_ns();
    bool framed = check_framing(self, method, version);
    read_length(self);
    take_request_id(request);
    take_traceparent(request);
    if (!framed) {
        self->has_body = true; /* where it ends cannot be told: close */
        return;
    }
    if (self->server->options.forward) {
        char *client = cyx_arena_alloc(&self->arena, CYX_FORWARD_BYTES);
        if (client)
            request->peer = cyx_forward_client(self->server->options.forward, request, client);
    }
    if (strlen(request->target) > self->server->options.max_target_bytes) {
        refuse(self, 414, CYX_ERR_TOO_LARGE, "the request's target is over the limit");
        return;
    }
    if (cyx_target_parse(request->target, &self->arena, &self->target, &error) != CYX_OK) {
        refuse(self, 400, CYX_ERR_INVALID, error.message);
        return;
    }
    request->path = self->target.path;
    request->query = self->target.query;
    request->query_count = self->target.query_count;
    const char *cookies = cyx_http_header(request, "Cookie");
    struct cyx_http_pair *pairs = NULL;
    if (cookies &&
        cyx_cookies_parse(cookies, &self->arena, &pairs, &request->cookie_count) == CYX_OK)
        request->cookies = pairs;
    find_route(self);
}
