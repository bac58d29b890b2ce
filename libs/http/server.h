/*
 * An HTTP/1.1 server: routes, request, response, streams, static files. WebSocket routes: see
 * http/ws.h.
 *
 * How it runs: libmicrohttpd's epoll threads read and write sockets and never run a handler. When a
 * request is complete its connection is set aside and the handler runs on a pool of `workers`
 * threads, so a handler may block (a NATS request, a query, a disk) without stopping anybody else.
 * Only a route with CYX_ROUTE_INLINE runs on the event thread itself and must return at once. When
 * all workers are busy and `max_queued` requests wait, further ones are answered 503 with
 * Retry-After.
 *
 * What is refused before any handler: a request that is ambiguous (two Content-Length,
 * Content-Length with Transfer-Encoding, no Host or two), headers over `max_header_bytes` (431), a
 * target over `max_target_bytes` (414), a body over its limit (413, at once where Content-Length
 * tells it), a request that did not arrive whole by its deadline (408), no such path (404), a
 * method that the path does not have (405 with Allow), a body of a type that the route does not
 * take (415). All of them are application/problem+json (RFC 9457). Only what libmicrohttpd cannot
 * read at all (a broken request line or chunk, headers over twice the limit or hundreds of them) is answered by
 * itself: right status, short HTML body.
 *
 * With a certificate and key it speaks HTTPS (TLS 1.2 and 1.3, by GnuTLS) and nothing else. A
 * client that misses its deadline is then cut without the 408, which another thread may not write
 * into the TLS stream.
 *
 * Ownership: the server owns its threads and routes' copies; `ctx` pointers stay the caller's and
 * must outlive cyx_http_server_destroy(). Request and response live until the handler returns;
 * strings from the request live as long. Thread rule: add routes before start; start, stop and
 * destroy from one thread. Errors: a handler that returns other than CYX_OK is answered by
 * problem+json made from response->error. Units: bytes, milliseconds (`_ms`).
 *
 *     static enum cyx_status get_job(void *ctx, const struct cyx_http_request *req,
 *                                    struct cyx_http_response *res)
 *     {
 *         const char *id = cyx_http_param(req, "id");
 *         if (!cyx_id_valid(id))
 *             return cyx_error_set(&res->error, CYX_ERR_NOT_FOUND, NULL, "no job %s", id);
 *         return cyx_http_respond_json(res, 200, text, strlen(text));
 *     }
 *     static const struct cyx_http_route routes[] = {
 *         {.method = "GET", .path = "/api/v1/jobs/{id}", .handler = get_job},
 *     };
 *     struct cyx_http_options options = {.host = "127.0.0.1", .port = 0};
 *     cyx_http_server_create(&options, &server, &err);
 *     cyx_http_server_add_routes(server, routes, 1, app, &err);
 *     cyx_http_server_start(server, &err);
 *     printf("%u\n", cyx_http_server_port(server));
 *     cyx_http_server_stop(server, 10000);
 *     cyx_http_server_destroy(server);
 */
#ifndef CYX_HTTP_SERVER_H
#define CYX_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/status.h"

struct cyx_http_server;
struct cyx_http_stream;
struct cyx_ws_handlers; /* http/ws.h */

/* ---- request ----------------------------------------------------------------------------------
 */

struct cyx_http_pair {
    const char *name, *value; /* value is "" where none was given */
};

struct cyx_forward; /* forward.h */

struct cyx_http_request {
    const char *method;
    const char *path;                   /* percent-decoded; never with a NUL, "." or ".." segment */
    const char *target;                 /* as it came: path and query, for logs */
    const struct cyx_http_pair *params; /* the route's {names} */
    size_t param_count;
    const struct cyx_http_pair *query; /* decoded, in order, names may repeat */
    size_t query_count;
    const struct cyx_http_pair *headers; /* names may repeat */
    size_t header_count;
    const struct cyx_http_pair *cookies;
    size_t cookie_count;
    const char *body; /* NUL-terminated behind body_length; NULL for sink routes */
    size_t body_length;
    void *sink_state;        /* what the route's sink made in begin */
    const char *peer;        /* numeric address of the client, as options.forward sees it */
    char request_id[128];    /* X-Request-Id where it is [A-Za-z0-9._-]{1,64}, else a new UUIDv7 */
    char traceparent[56];    /* a valid W3C traceparent that came, else a new one */
    int64_t received_ns;     /* monotonic clock at the end of the headers */
    struct cyx_arena *arena; /* lives as long as the request; the handler may allocate from it */
    void *user; /* for the before hook: an authenticated session, say; from the arena */
};

/* First value by name, or NULL. Header names are compared without case. */
const char *cyx_http_param(const struct cyx_http_request *self, const char *name);
const char *cyx_http_query(const struct cyx_http_request *self, const char *name);
const char *cyx_http_header(const struct cyx_http_request *self, const char *name);
const char *cyx_http_cookie(const struct cyx_http_request *self, const char *name);

/* The token of "Authorization: Bearer TOKEN", or NULL. */
const char *cyx_http_bearer(const struct cyx_http_request *self);

/* A whole number from the query within [minimum, maximum], `fallback` where it is absent;
 * CYX_ERR_INVALID with a sentence otherwise. */
enum cyx_status cyx_http_query_int(const struct cyx_http_request *self, const char *name,
                                   int64_t minimum, int64_t maximum, int64_t fallback,
                                   int64_t *ret_value, struct cyx_error *ret_error);

/* ---- response ---------------------------------------------------------------------------------
 */

struct cyx_http_response_body; /* private */

struct cyx_http_response {
    struct cyx_error error; /* why the handler failed; becomes problem+json */
    int error_http;         /* HTTP status for that problem; 0: cyx_status_http(error.status) */
    int status;             /* 0 until a cyx_http_respond_… was called */
    struct cyx_http_pair *headers; /* use cyx_http_response_header() */
    size_t header_count, header_capacity;
    struct cyx_arena *arena;
    struct cyx_http_response_body *body;
};

/* Adds a header; CYX_ERR_INVALID for control characters in it. Content-Length, Transfer-Encoding
 * and Connection are the server's. Strings are copied. */
enum cyx_status cyx_http_response_header(struct cyx_http_response *self, const char *name,
                                         const char *value);

/* Adds Set-Cookie with Path=/, HttpOnly, SameSite=Lax; `secure` adds Secure; max_age_s 0 deletes
 * it, below 0 makes it a session cookie. */
enum cyx_status cyx_http_response_cookie(struct cyx_http_response *self, const char *name,
                                         const char *value, long max_age_s, bool secure);

/* Bytes are copied. `type` is the Content-Type; NULL for none. */
enum cyx_status cyx_http_respond(struct cyx_http_response *self, int status, const char *type,
                                 const void *bytes, size_t length);
enum cyx_status cyx_http_respond_json(struct cyx_http_response *self, int status, const char *text,
                                      size_t length);
/* Takes the buffer's bytes, without a copy; `body` is empty afterwards, also on failure. */
enum cyx_status cyx_http_respond_buf(struct cyx_http_response *self, int status, const char *type,
                                     struct cyx_buf *body);
/* No body: 204, or a redirect together with a Location header. */
enum cyx_status cyx_http_respond_empty(struct cyx_http_response *self, int status);

/* Answers by problem+json; `status` 0 takes cyx_status_http(error->status). Gives error->status
 * back, for the handler to return. */
enum cyx_status cyx_http_respond_problem(struct cyx_http_response *self, int status,
                                         const struct cyx_error *error);

struct cyx_http_file {
    const char *content_type;  /* NULL: by the path's extension */
    const char *etag;          /* with its quotes; NULL: from size and modification time */
    const char *cache_control; /* NULL: none */
    const char *download_name; /* NULL: no Content-Disposition */
};

/*
 * A regular file with Range (one range: 206, none that fits: 416), If-Range, ETag, If-None-Match
 * (304), Accept-Ranges and Last-Modified, sent by sendfile. CYX_ERR_NOT_FOUND when it is none
 * (which a handler may simply return). `options` may be NULL.
 */
enum cyx_status cyx_http_respond_file(struct cyx_http_response *self,
                                      const struct cyx_http_request *request, const char *path,
                                      const struct cyx_http_file *options);

/* ---- streamed responses (Server-Sent Events) ---------------------------------------------------
 */

struct cyx_http_stream_options {
    const char *content_type; /* NULL: text/event-stream, with Cache-Control: no-store */
    size_t max_queued_bytes;  /* not yet taken by the client; 0: 256 KiB */
    int heartbeat_ms;         /* an SSE comment after so much silence; 0: 15 s; -1: none */
    /* Once, when the client has gone or the stream ended, on a thread of the server's; may be NULL.
     * The stream's handle stays valid until it is unreferenced. */
    void (*on_close)(void *user, struct cyx_http_stream *stream);
    void *user;
};

/*
 * Answers 200 and keeps the connection open: any thread may then push. `*ret_stream` comes with one
 * reference that the caller gives back by cyx_http_stream_unref().
 */
enum cyx_status cyx_http_respond_stream(struct cyx_http_response *self,
                                        const struct cyx_http_stream_options *options,
                                        struct cyx_http_stream **ret_stream);

/* Queues bytes. CYX_ERR_TOO_LARGE when the client is too slow and the queue is full (nothing of it
 * is queued), CYX_ERR_CANCELLED once the client has gone or the stream has ended. Thread-safe,
 * never blocks. */
enum cyx_status cyx_http_stream_push(struct cyx_http_stream *self, const void *bytes,
                                     size_t length);

/* One Server-Sent Event; `event` and `id` may be NULL, `data` may hold newlines. */
enum cyx_status cyx_http_stream_event(struct cyx_http_stream *self, const char *event,
                                      const char *id, const char *data);

/* Ends the response after what is queued. */
void cyx_http_stream_end(struct cyx_http_stream *self);

struct cyx_http_stream *cyx_http_stream_ref(struct cyx_http_stream *self);
void cyx_http_stream_unref(struct cyx_http_stream *self);

/* ---- routes ------------------------------------------------------------------------------------
 */

/* CYX_OK with a response made, or another status with response->error set. */
typedef enum cyx_status cyx_http_handler(void *ctx, const struct cyx_http_request *request,
                                         struct cyx_http_response *response);

/*
 * Takes a body as it comes, for uploads larger than memory. All of it runs on the workers, one call
 * at a time for a request. begin sees the whole request but its body: it authenticates, and refuses
 * before any byte is taken by returning other than CYX_OK with response->error set (or error_http).
 * When the body was complete, the route's handler runs with request->sink_state. finish runs last,
 * always when begin had succeeded: `complete` tells whether the handler ran (false: the client went
 * away, was too slow or sent too much, or chunk had failed).
 */
struct cyx_http_sink {
    enum cyx_status (*begin)(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response, void **ret_state);
    enum cyx_status (*chunk)(void *state, const void *bytes, size_t length,
                             struct cyx_error *ret_error);
    void (*finish)(void *state, bool complete);
};

enum cyx_http_route_flags {
    CYX_ROUTE_INLINE = 1 << 0,   /* on the event thread: must not block */
    CYX_ROUTE_NO_HOOK = 1 << 1,  /* the before hook is not run for it */
    CYX_ROUTE_ANY_TYPE = 1 << 2, /* takes a body of any Content-Type */
    CYX_ROUTE_USER_1 = 1 << 16,  /* free for the program's hooks, see cyx_http_route_of() */
    CYX_ROUTE_USER_2 = 1 << 17,
    CYX_ROUTE_USER_3 = 1 << 18,
    CYX_ROUTE_USER_4 = 1 << 19,
};

/*
 * `path` is literal segments and {names}, each a whole segment ("/api/v1/jobs/{id}"); a last
 * "{name*}" takes the rest, slashes too. Literal segments win over names. HEAD is answered by the
 * GET route. A request with a body must be application/json (else 415) unless `content_type` says
 * otherwise, or the route has a sink or CYX_ROUTE_ANY_TYPE.
 */
struct cyx_http_route {
    const char *method, *path;
    cyx_http_handler *handler;
    unsigned flags;
    int deadline_ms; /* for headers and body to arrive; 0: the server's; -1: idle time-out only */
    uint64_t
        max_body_bytes; /* 0: the server's; for sinks 0 is without limit (the sink may refuse) */
    const char *content_type; /* of request bodies; NULL: application/json */
    const struct cyx_http_sink *sink;
    const struct cyx_ws_handlers *websocket; /* then method is GET and handler may be NULL */
    /*
     * Tried first, on the event thread, where the request has no body: may answer at once from memory,
     * and must not block. It authenticates by itself, since the before hook has not run. What it does
     * not answer with CYX_OK goes to the workers as if nothing had happened. May be NULL.
     */
    cyx_http_handler *quick;
};

struct cyx_http_options {
    const char *host;            /* numeric address to bind; NULL: 127.0.0.1 */
    uint16_t port;               /* 0: a free one, see cyx_http_server_port() */
    unsigned event_threads;      /* 0: 2 */
    unsigned workers;            /* 0: 8 */
    unsigned max_queued;         /* requests waiting for a worker; 0: 1024 */
    unsigned max_connections;    /* 0: 4096 */
    size_t max_header_bytes;     /* 0: 16 KiB */
    size_t max_target_bytes;     /* 0: 8 KiB */
    size_t max_body_bytes;       /* 0: 1 MiB */
    int header_deadline_ms;      /* from the first byte to the end of the headers; 0: 10 s */
    int request_deadline_ms;     /* from there to the end of the body; 0: 30 s */
    int idle_timeout_ms;         /* a connection without traffic; rounded up to seconds; 0: 60 s */
    const char *tls_certificate; /* PEM text, the chain behind it; NULL: plain HTTP */
    const char *tls_key;         /* PEM text; both are used by start and may go afterwards */
    const struct cyx_forward *forward; /* the proxies before it (forward.h), borrowed; NULL: none */
    /* Runs before each handler (and before a sink's begin and a WebSocket's accept) on the worker:
     * to authenticate, to limit rates. Not CYX_OK: answered from response->error. May be NULL. */
    enum cyx_status (*before)(void *hook_ctx, const struct cyx_http_route *route,
                              struct cyx_http_request *request, struct cyx_http_response *response);
    /* Runs for every response, refusals too, before it goes out: security headers, metrics, access
     * log. Must not block. `route` is NULL where none matched. May be NULL. */
    void (*after)(void *hook_ctx, const struct cyx_http_route *route,
                  const struct cyx_http_request *request, struct cyx_http_response *response);
    void *hook_ctx;
};

/* Does not listen yet. `options` may be NULL. */
enum cyx_status cyx_http_server_create(const struct cyx_http_options *options,
                                       struct cyx_http_server **ret_server,
                                       struct cyx_error *ret_error);

/* Routes are kept by pointer and must outlive the server. CYX_ERR_CONFLICT for two that are the
 * same. */
enum cyx_status cyx_http_server_add_routes(struct cyx_http_server *self,
                                           const struct cyx_http_route *routes, size_t count,
                                           void *ctx, struct cyx_error *ret_error);

struct cyx_http_static {
    const char *prefix; /* "/" or "/assets": where it hangs; routes win over it */
    const char *folder;
    const char *fallback; /* file for paths that name none and have no extension, "index.html" for a
                             single-page application; NULL: 404 */
    const char *except;   /* prefix that is never served by the fallback, "/api/"; NULL: none */
};

/*
 * Files of a folder for GET and HEAD: types by extension, ETag and ranges, a .br or .gz beside the
 * file where the client takes it, names with a hash in them (name-0a1b2c3d.js) cached for a year
 * and immutable, all others revalidated. Never outside the folder, no dot files, no listing.
 * Strings are copied.
 */
enum cyx_status cyx_http_server_mount(struct cyx_http_server *self,
                                      const struct cyx_http_static *mount,
                                      struct cyx_error *ret_error);

/* Binds, listens and serves. CYX_ERR_CONFLICT when the port is taken, CYX_ERR_INVALID for a
 * certificate and key that do not fit. */
enum cyx_status cyx_http_server_start(struct cyx_http_server *self, struct cyx_error *ret_error);

/* Another certificate and key for the connections to come; those that are open go on. CYX_ERR_INVALID when they do not go
 * together, CYX_ERR_UNSUPPORTED when it was started without. Any thread. */
enum cyx_status cyx_http_server_renew_tls(struct cyx_http_server *self, const char *certificate,
                                          const char *key, struct cyx_error *ret_error);

/* The port it listens on; 0 before start. */
uint16_t cyx_http_server_port(const struct cyx_http_server *self);

struct cyx_http_stats {
    uint64_t requests, responses_by_class[6]; /* [2] counts 2xx … */
    uint64_t refused, timed_out;              /* before any handler; by deadline */
    unsigned connections, in_flight, queued, websockets, streams; /* now */
};

void cyx_http_server_stats(struct cyx_http_server *self, struct cyx_http_stats *ret_stats);

/*
 * Stops listening, closes WebSockets with 1001 and streams, lets requests in flight finish for at
 * most `drain_ms` (those that still arrive are cut then; a handler that runs is always waited for),
 * closes the rest and joins all threads. CYX_ERR_TIMEOUT when something had to be cut. Call once.
 */
enum cyx_status cyx_http_server_stop(struct cyx_http_server *self, int drain_ms);

/* Stops it first where that was not done. NULL is fine. */
void cyx_http_server_destroy(struct cyx_http_server *self);

#endif
