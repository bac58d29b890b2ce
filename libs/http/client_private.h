/*
 * Private to libs/http: one exchange over curl, without tries again; used by client.c and
 * transfer.c.
 */
#ifndef CYX_HTTP_CLIENT_PRIVATE_H
#define CYX_HTTP_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "http/client.h"

struct cyx_http_client {
    CURL *curl;
    char *base_url, *bearer, *user_agent, *ca_file, *unix_socket;
    struct cyx_http_client_options options; /* its strings are not used: those above are */
};

/* What one attempt sends and where its answer goes. */
struct cyx_attempt {
    struct cyx_http_client *client;
    struct cyx_http_result *result;
    struct cyx_error *error;
    const char *method, *url, *content_type;
    const char *const *headers, *const *more_headers; /* each ends with NULL; may be NULL */
    const void *body;
    size_t body_length;
    int upload_fd; /* -1: none; else read from upload_from on, upload_length bytes */
    uint64_t upload_from, upload_length, upload_sent;
    int timeout_ms, stall_ms; /* 0: without */
    /* Below 400 the body goes there, else and where it is NULL into result->body. */
    enum cyx_status (*sink)(struct cyx_attempt *attempt, const void *bytes, size_t length);
    enum cyx_status (*on_progress)(struct cyx_attempt *attempt, uint64_t down, uint64_t up);
    void *user;
    enum cyx_status stopped; /* why a callback ended it */
    bool stalled;
    int64_t moved_ns; /* when bytes last moved */
    uint64_t moved;
    CURLcode code;
};

/*
 * Runs it. CYX_OK with result->status set when an answer came whole. `*ret_again` tells whether the
 * failure or the status (429, 502, 503, 504) may go away by itself.
 */
enum cyx_status cyx_attempt_run(struct cyx_attempt *attempt, bool *ret_again);

/* Waits before try `n` (from 1), as Retry-After says or longer each time; CYX_ERR_CANCELLED. */
enum cyx_status cyx_attempt_pause(struct cyx_attempt *attempt, int n);

int cyx_client_max_attempts(const struct cyx_http_client *self);
int cyx_client_stall_ms(const struct cyx_http_client *self);

#endif
