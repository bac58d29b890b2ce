/*
 * Private to libs/http: what the parts of the server share.
 *
 * Threads: MHD's event threads call conn.c; workers run handlers (workers.c); one watcher (watch.c)
 * keeps deadlines, finds clients that went away from a stream, and lingers on refused connections;
 * one WebSocket loop (ws_loop.c). A connection is suspended in MHD while a worker has its exchange,
 * so exactly one thread touches an exchange at any time. A conn is freed by the watcher alone,
 * after it has left the list.
 *
 * Locks: server->conns_lock guards the list of connections and streams' membership; a stream's and
 * a WebSocket's own lock guards its queue. Order: stream -> MHD's own. Nothing of the program's is
 * called with a lock held.
 */
#ifndef CYX_HTTP_PRIVATE_H
#define CYX_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "http/router.h"
#include "http/server.h"
#include "http/target.h"
#include "http/ws.h"

/* ---- workers.c ---------------------------------------------------------------------------------
 */

struct cyx_workers;

struct cyx_job {
    struct cyx_job *next;
    void (*run)(void *arg);
    void *arg;
};

enum cyx_status cyx_workers_create(unsigned threads, unsigned max_queued,
                                   struct cyx_workers **ret_workers, struct cyx_error *ret_error);
/* False when `max_queued` jobs wait already; never when `forced`. The job's memory is the caller's.
 */
bool cyx_workers_submit(struct cyx_workers *self, struct cyx_job *job, bool forced);
unsigned cyx_workers_queued(struct cyx_workers *self);
/* Runs what is queued, then joins. */
void cyx_workers_destroy(struct cyx_workers *self);

/* ---- response.c, file.c, stream.c ---------------------------------------------------------------
 */

enum cyx_body_kind { CYX_BODY_NONE, CYX_BODY_BYTES, CYX_BODY_FILE, CYX_BODY_STREAM };

struct cyx_http_response_body {
    enum cyx_body_kind kind;
    struct cyx_buf bytes;
    int fd;
    uint64_t offset, length;
    struct cyx_http_stream *stream; /* one reference */
};

void cyx_response_init(struct cyx_http_response *self, struct cyx_arena *arena,
                       struct cyx_http_response_body *body);
/* Forgets status, headers and body, closing what they hold. */
void cyx_response_reset(struct cyx_http_response *self);
/* Replaces what is there by a problem, made for this request. */
void cyx_response_problem(struct cyx_http_response *self, int status, const struct cyx_error *error,
                          const char *instance, const char *request_id);
/* Moves the body into an MHD response; NULL when memory ran out. `close` adds Connection: close. */
struct MHD_Response *cyx_response_build(struct cyx_http_response *self, bool close_connection);

/* The text of a problem+json. `instance` and `request_id` may be NULL. */
void cyx_problem_format(struct cyx_buf *to, int status, const struct cyx_error *error,
                        const char *instance, const char *request_id);
const char *cyx_http_reason(int status);

/* Content-Type by extension, application/octet-stream where it is unknown. */
const char *cyx_mime_type(const char *path);

enum cyx_range { CYX_RANGE_NONE, CYX_RANGE_ONE, CYX_RANGE_UNSATISFIABLE };

/* Reads a Range header for a file of `size` bytes. What is malformed or asks for several ranges is
 * NONE. */
enum cyx_range cyx_range_parse(const char *text, uint64_t size, uint64_t *ret_first,
                               uint64_t *ret_length);

/* Whether an If-None-Match list names `etag` (weak comparison). */
bool cyx_etag_matches(const char *list, const char *etag);

/* ---- exchange: one request and its response
 * ------------------------------------------------------ */

struct cyx_conn;

enum cyx_step {
    CYX_STEP_HEADERS,  /* not looked at yet */
    CYX_STEP_REFUSED,  /* no body comes: `response` is queued at the end of the request */
    CYX_STEP_BEGIN,    /* a worker runs the before hook and the sink's begin */
    CYX_STEP_BODY,     /* taking the body */
    CYX_STEP_CHUNK,    /* a worker has a chunk */
    CYX_STEP_HANDLER,  /* a worker runs the handler */
    CYX_STEP_ANSWERED, /* queued in MHD */
};

struct cyx_exchange {
    struct cyx_http_server *server;
    struct cyx_conn *conn;
    struct cyx_arena arena;
    struct cyx_http_request request;
    struct cyx_http_response response;
    struct cyx_http_response_body body;
    struct cyx_target target;
    struct cyx_router_match match;
    const char *raw_target; /* in MHD's memory, mangled later: only its address is used */
    enum cyx_step step;
    bool has_body, chunked, refused, sink_live, finished;
    uint64_t content_length, max_body_bytes, received;
    struct cyx_buf input;
    struct cyx_job job;
    struct MHD_Response *ready; /* built by the worker */
    int ready_status;
    struct cyx_ws *ws; /* an accepted handshake; one reference */
};

void cyx_exchange_destroy(struct cyx_exchange *self);

/* Runs on a worker or, for inline routes, on the event thread: the before hook, the handler, the
 * after hook and the building of the response. */
void cyx_exchange_run(struct cyx_exchange *self);
/* On the event thread: true when the route's quick handler has answered. */
bool cyx_exchange_quick(struct cyx_exchange *self);
void cyx_exchange_begin(struct cyx_exchange *self);
void cyx_exchange_chunk(struct cyx_exchange *self);
/* A refusal or failure of the server's own. `http` 0 takes the status's. */
void cyx_exchange_refuse(struct cyx_exchange *self, int http, enum cyx_status status,
                         const char *message);
/* The response is made: last headers, after hook, counting. */
void cyx_exchange_seal(struct cyx_exchange *self);
/* Seals it, then makes MHD's response of it. */
void cyx_exchange_finish_response(struct cyx_exchange *self, bool close_connection);

/* ---- connection
 * ----------------------------------------------------------------------------------- */

enum cyx_phase {
    CYX_PHASE_IDLE,    /* nothing of a request has come */
    CYX_PHASE_READING, /* headers or body are coming: a deadline runs */
    CYX_PHASE_BUSY,    /* the request is here; a handler runs or the answer goes out */
    CYX_PHASE_CUT,     /* the watcher has shut it down */
};

struct cyx_conn {
    struct cyx_conn *next, *prev; /* server->conns, or the graveyard */
    struct cyx_http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    _Atomic int phase;
    _Atomic int64_t deadline_ns;
    _Atomic uint64_t bytes_seen; /* of the socket, when the last request ended */
    bool linger;                 /* close gently: a refused body may be in flight */
    bool watched;                /* by cyx_watch_hangup(): an upload or a stream */
    bool hung_up;                /* the client has sent its FIN; guarded by conns_lock */
    struct cyx_exchange *exchange;
    struct cyx_http_stream *stream; /* while one is being sent; guarded by conns_lock */
    char peer[64];
};

/* server.c: the table of static mounts */
struct cyx_mount {
    struct cyx_mount *next;
    char *prefix, *folder, *fallback, *except;
};

struct cyx_watch;
struct cyx_ws_loop;

struct cyx_http_server {
    struct cyx_http_options options; /* with defaults filled in */
    char *host;
    struct MHD_Daemon *daemon;
    struct cyx_router router;
    struct cyx_mount *mounts;
    struct cyx_workers *workers;
    struct cyx_watch *watch;
    struct cyx_ws_loop *ws_loop;
    struct cyx_tls *tls; /* NULL: plain HTTP */
    uint16_t port;
    bool stopped;
    atomic_bool draining, refusing;

    pthread_mutex_t conns_lock;
    pthread_cond_t drained; /* in_flight fell to 0 */
    struct cyx_conn *conns, *graveyard;
    atomic_uint connections, in_flight, streams;
    atomic_uint_fast64_t requests, refused, timed_out, classes[6];
};

/* conn.c: MHD's callbacks */
void *cyx_conn_on_target(void *cls, const char *target, struct MHD_Connection *mhd);
void cyx_conn_on_socket(void *cls, struct MHD_Connection *mhd, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);
enum MHD_Result cyx_conn_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                    const char *method, const char *version, const char *data,
                                    size_t *size, void **context);
void cyx_conn_on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                           enum MHD_RequestTerminationCode code);
void cyx_in_flight_done(struct cyx_http_server *server);

/* request.c: the length of the start of `text` that is ASCII letters, digits and characters of `others`. (strspn() of so
 * many characters makes a table anew for each call.) */
size_t cyx_span(const char *text, const char *others);
/* Whether it is a token (RFC 9110, 5.6.2). */
bool cyx_is_token(const char *text);

/* admit.c: looks at the headers, refuses what is ambiguous, finds the route. */
void cyx_admit(struct cyx_exchange *self, const char *method, const char *version);

/* static.c: answers from a mount; false when none has the path. */
bool cyx_static_answer(struct cyx_exchange *self);
void cyx_mounts_destroy(struct cyx_mount *mounts);

/* watch.c */
enum cyx_status cyx_watch_create(struct cyx_http_server *server, struct cyx_watch **ret_watch,
                                 struct cyx_error *ret_error);
/* Takes over a duplicate of a socket, reads what still comes and closes it after a moment. */
void cyx_watch_linger(struct cyx_watch *self, int fd);
/*
 * Looks out for the client hanging up, which MHD does not see by itself while a stream has its
 * connection suspended, and which it misses when the FIN comes together with the last bytes of an
 * unfinished upload (its edge-triggered epoll takes a short read for the end of what there is).
 */
void cyx_watch_hangup(struct cyx_watch *self, struct cyx_conn *conn);
void cyx_watch_forget(struct cyx_watch *self, struct cyx_conn *conn);
void cyx_watch_destroy(struct cyx_watch *self);
uint64_t cyx_socket_bytes_received(int fd);

/* stream.c */
struct MHD_Response *cyx_stream_response(struct cyx_http_stream *self);
/* Before the response is queued: `mhd` is suspended while nothing waits to be sent. */
void cyx_stream_attach(struct cyx_http_stream *self, struct MHD_Connection *mhd);
/* The client has gone, or the server stops: ends it and wakes its connection. */
void cyx_stream_abort(struct cyx_http_stream *self);
/* The connection has ended: runs on_close. */
void cyx_stream_detach(struct cyx_http_stream *self);
void cyx_stream_heartbeat(struct cyx_http_stream *self, int64_t now_ns);

/* ws.c, ws_loop.c */
/* On a worker: checks the handshake, runs accept, sets exchange->ws or refuses. */
void cyx_ws_handshake(struct cyx_exchange *exchange);
struct MHD_Response *cyx_ws_response(struct cyx_ws *self, struct cyx_http_response *response);
/* The handshake's connection ended without the switch. */
void cyx_ws_abandon(struct cyx_ws *self);
enum cyx_status cyx_ws_loop_create(struct cyx_http_server *server, struct cyx_ws_loop **ret_loop,
                                   struct cyx_error *ret_error);
unsigned cyx_ws_loop_count(struct cyx_ws_loop *self);
/* Begins to close all with 1001; those that come later too. Returns at once. */
void cyx_ws_loop_close_all(struct cyx_ws_loop *self);
/* Waits at most `drain_ms` for the closes, then cuts the rest; false when it had to. Joins the
 * thread. */
bool cyx_ws_loop_stop(struct cyx_ws_loop *self, int drain_ms);
void cyx_ws_loop_destroy(struct cyx_ws_loop *self);

#endif
