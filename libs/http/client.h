/*
 * An HTTP client (libcurl): calls with limits, uploads and downloads that resume, streamed answers.
 *
 * TLS is verified against the system's authorities unless `ca_file` names others; it cannot be
 * turned off. Redirects are not followed (a 3xx is returned), credentials never leave for another
 * host. A GET, HEAD, PUT or DELETE (or a call marked `idempotent`) is tried again, with growing
 * pauses and jitter, when the server could not be reached, the connection broke, or it answered
 * 429, 502, 503 or 504 (Retry-After is heeded up to 30 s).
 *
 * A status of 400 and above is not a failure of the call: look at result->status, or let
 * cyx_http_result_check() turn it into a cyx_error made from problem+json.
 *
 * Ownership: the client owns its connections; a result is the caller's, zero-initialised before the
 * first call, emptied by cyx_http_result_finish(); a result may be reused. Thread rule: one thread
 * at a time for a client; as many clients as you like. `cancel` ends
 * whatever runs.
 *
 *     struct cyx_http_client *http;
 *     struct cyx_http_client_options options = {.base_url = url, .bearer = token};
 *     cyx_http_client_create(&options, &http, &err);
 *     CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
 *     struct cyx_http_call call = {.method = "GET", .url = "/api/v1/jobs"};
 *     if (cyx_http_client_call(http, &call, &result, &err) != CYX_OK ||
 *         cyx_http_result_check(&result, &err) != CYX_OK)
 *         fprintf(stderr, "%s\n", err.message);
 */
#ifndef CYX_HTTP_CLIENT_H
#define CYX_HTTP_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct cyx_http_client;

struct cyx_http_client_options {
    const char *base_url;    /* put before urls that begin with "/"; NULL: urls are whole */
    const char *bearer;      /* sent as Authorization to base_url's origin; NULL: none */
    const char *user_agent;  /* NULL: cyxwiz */
    const char *ca_file;     /* PEM; NULL: the system's */
    const char *unix_socket; /* path of a unix socket to connect to; NULL: TCP */
    int connect_timeout_ms;  /* 0: 5 s */
    int timeout_ms;          /* a whole call; 0: 30 s. Transfers: see stall_timeout_ms */
    int stall_timeout_ms;    /* transfers and streams: longest silence; 0: 60 s */
    int max_attempts;        /* 0: 4 */
    size_t max_body_bytes;   /* of answers kept in memory; 0: 16 MiB */
    /* Not 0: calls end with CYX_ERR_CANCELLED. Set by a signal handler, or by __atomic_store_n()
     * elsewhere. May be NULL. */
    const volatile sig_atomic_t *cancel;
};

enum cyx_status cyx_http_client_create(const struct cyx_http_client_options *options,
                                       struct cyx_http_client **ret_client,
                                       struct cyx_error *ret_error);
void cyx_http_client_destroy(struct cyx_http_client *self);

/* Replaces the token sent as Authorization: Bearer (copied); NULL sends none. */
enum cyx_status cyx_http_client_set_bearer(struct cyx_http_client *self, const char *bearer);

struct cyx_http_result {
    int status;
    struct cyx_buf body;
    struct cyx_buf head; /* header lines "name: value\n", names in lower case */
    int attempts;
};

/* The value of a header (lower-case name), copied to `ret_value`; false where there is none. */
bool cyx_http_result_header(const struct cyx_http_result *self, const char *name, char *ret_value,
                            size_t size);

/* CYX_OK below 400; else a status and error from problem+json, or from the bare status. */
enum cyx_status cyx_http_result_check(const struct cyx_http_result *self,
                                      struct cyx_error *ret_error);

void cyx_http_result_finish(struct cyx_http_result *self);
#define CYX_CLEANUP_HTTP_RESULT __attribute__((cleanup(cyx_http_result_finish)))

struct cyx_http_call {
    const char *method, *url;
    const char *const *headers; /* "Name: value", ends with NULL; may be NULL */
    const char *content_type;   /* of body; NULL: application/json */
    const void *body;
    size_t body_length;
    bool idempotent; /* may be tried again although it is a POST or PATCH (Idempotency-Key, say) */
    int timeout_ms;  /* 0: the client's */
};

/* One call, its answer in memory. */
enum cyx_status cyx_http_client_call(struct cyx_http_client *self, const struct cyx_http_call *call,
                                     struct cyx_http_result *result, struct cyx_error *ret_error);

/* Bytes done and in all (0: not known); not CYX_OK ends the transfer with that status. */
typedef enum cyx_status cyx_http_progress(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* The next bytes; not CYX_OK ends the transfer with that status. */
typedef enum cyx_status cyx_http_chunk(void *user, const void *bytes, size_t length);

struct cyx_http_download {
    const char *url;
    const char *const *headers;
    uint64_t offset;    /* bytes there already: asked for as a Range */
    const char *etag;   /* of those bytes (If-Range); NULL: asked for without */
    uint64_t max_bytes; /* of the whole; 0: no limit */
    cyx_http_chunk *on_chunk;
    /* The server sends the whole again (200 instead of 206): forget what is there. NULL: that
     * fails. */
    enum cyx_status (*on_restart)(void *user);
    cyx_http_progress *on_progress; /* may be NULL */
    void *user;
};

/*
 * A GET whose body goes to on_chunk. A connection that breaks is resumed where it stopped, by Range
 * and If-Range. Below 400 the body went to on_chunk, from 400 on (a problem) it lies in
 * result->body.
 */
enum cyx_status cyx_http_client_download(struct cyx_http_client *self,
                                         const struct cyx_http_download *download,
                                         struct cyx_http_result *result,
                                         struct cyx_error *ret_error);

/*
 * As cyx_http_client_download, into a file: bytes go to PATH.part (kept and continued by a later
 * call), which is synced and renamed to `path` when complete. on_chunk, where given, sees all bytes
 * in order, those already in PATH.part too, so that a hash covers the whole; it starts again after
 * on_restart. `before_rename` (may be NULL) decides at the end: not CYX_OK removes the partial file
 * and fails with that status.
 */
enum cyx_status cyx_http_client_download_file(struct cyx_http_client *self,
                                              const struct cyx_http_download *download,
                                              const char *path,
                                              enum cyx_status (*before_rename)(void *user),
                                              struct cyx_http_result *result,
                                              struct cyx_error *ret_error);

struct cyx_http_upload {
    const char *url;
    const char *const *headers;
    const char *content_type; /* NULL: application/octet-stream */
    const char *path;         /* the file */
    bool resumable; /* asks by HEAD for Upload-Offset, goes on from there with Content-Range */
    cyx_http_progress *on_progress;
    void *user;
};

/* PUTs a file. Resumed after a broken connection when `resumable` (docs/contracts/platform.md,
 * artifacts). */
enum cyx_status cyx_http_client_upload(struct cyx_http_client *self,
                                       const struct cyx_http_upload *upload,
                                       struct cyx_http_result *result, struct cyx_error *ret_error);

/*
 * A GET whose body is handed on as it comes and may last for ever (Server-Sent Events: feed it to
 * http/sse.h). Returns when the server ends it, on_chunk ends it, or after stall_timeout_ms of
 * silence (CYX_ERR_TIMEOUT). Not tried again: the caller reconnects with Last-Event-ID.
 */
enum cyx_status cyx_http_client_stream(struct cyx_http_client *self,
                                       const struct cyx_http_call *call, cyx_http_chunk *on_chunk,
                                       void *user, struct cyx_http_result *result,
                                       struct cyx_error *ret_error);

#endif
