#include "http/client.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <jansson.h>

#include "base/banned.h"
#include "base/clock.h"
#include "base/id.h"
#include "http/client_private.h"

enum {
    DEFAULT_CONNECT_MS = 5000,
    DEFAULT_TIMEOUT_MS = 30000,
    DEFAULT_STALL_MS = 60000,
    DEFAULT_ATTEMPTS = 4,
    DEFAULT_BODY_BYTES = 16 << 20,
    MAX_HEAD_BYTES = 64 * 1024,
    MAX_PAUSE_MS = 5000,
    MAX_RETRY_AFTER_S = 30,
};

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool copy(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

enum cyx_status cyx_http_client_create(const struct cyx_http_client_options *options,
                                       struct cyx_http_client **ret_client,
                                       struct cyx_error *ret_error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const struct cyx_http_client_options none = {0};
    const struct cyx_http_client_options *given = options ? options : &none;
    pthread_once(&once, start_curl);
    struct cyx_http_client *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a client");
    self->options = *given;
    self->curl = curl_easy_init();
    if (!self->curl || !copy(&self->base_url, given->base_url) ||
        !copy(&self->bearer, given->bearer) || !copy(&self->ca_file, given->ca_file) ||
        !copy(&self->unix_socket, given->unix_socket) ||
        !copy(&self->user_agent, given->user_agent ? given->user_agent : "cyxwiz")) {
        cyx_http_client_destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a client");
    }
    for (size_t n = self->base_url ? strlen(self->base_url) : 0; n && self->base_url[n - 1] == '/';
         n--)
        self->base_url[n - 1] = '\0';
    *ret_client = self;
    return CYX_OK;
}

void cyx_http_client_destroy(struct cyx_http_client *self)
{
    if (!self)
        return;
    if (self->curl)
        curl_easy_cleanup(self->curl);
    free(self->base_url);
    free(self->bearer);
    free(self->user_agent);
    free(self->ca_file);
    free(self->unix_socket);
    free(self);
}

enum cyx_status cyx_http_client_set_bearer(struct cyx_http_client *self, const char *bearer)
{
    char *made = NULL;
    if (!copy(&made, bearer))
        return CYX_ERR_NO_MEMORY;
    free(self->bearer);
    self->bearer = made;
    return CYX_OK;
}

int cyx_client_max_attempts(const struct cyx_http_client *self)
{
    return self->options.max_attempts > 0 ? self->options.max_attempts : DEFAULT_ATTEMPTS;
}

int cyx_client_stall_ms(const struct cyx_http_client *self)
{
    return self->options.stall_timeout_ms > 0 ? self->options.stall_timeout_ms : DEFAULT_STALL_MS;
}

/* ---- results ---- */

void cyx_http_result_finish(struct cyx_http_result *self)
{
    cyx_buf_finish(&self->body);
    cyx_buf_finish(&self->head);
    *self = (struct cyx_http_result){0};
}

bool cyx_http_result_header(const struct cyx_http_result *self, const char *name, char *ret_value,
                            size_t size)
{
    size_t length = strlen(name);
    for (const char *at = self->head.data; at && *at;) {
        const char *end = strchrnul(at, '\n');
        if (strncmp(at, name, length) == 0 && at[length] == ':') {
            at += length + 2;
            size_t value = (size_t)(end - at);
            if (value >= size)
                return false;
            memcpy(ret_value, at, value);
            ret_value[value] = '\0';
            return true;
        }
        at = *end ? end + 1 : end;
    }
    return false;
}

static enum cyx_status status_of_http(int http)
{
    switch (http) {
    case 401:
        return CYX_ERR_UNAUTHENTICATED;
    case 403:
        return CYX_ERR_DENIED;
    case 404:
    case 410:
        return CYX_ERR_NOT_FOUND;
    case 409:
    case 412:
        return CYX_ERR_CONFLICT;
    case 413:
    case 414:
    case 431:
        return CYX_ERR_TOO_LARGE;
    case 405:
    case 415:
    case 501:
        return CYX_ERR_UNSUPPORTED;
    case 429:
        return CYX_ERR_RATE_LIMITED;
    case 408:
    case 504:
        return CYX_ERR_TIMEOUT;
    case 502:
    case 503:
        return CYX_ERR_UNAVAILABLE;
    default:
        return http < 500 ? CYX_ERR_INVALID : CYX_ERR_INTERNAL;
    }
}

enum cyx_status cyx_http_result_check(const struct cyx_http_result *self,
                                      struct cyx_error *ret_error)
{
    static const char prefix[] = "urn:cyxwiz:problem:";
    if (self->status < 400)
        return CYX_OK;
    enum cyx_status status = status_of_http(self->status);
    char type[128] = "";
    cyx_http_result_header(self, "content-type", type, sizeof(type));
    json_t *problem = strncmp(type, "application/problem+json", 24) == 0 && self->body.data
                          ? json_loadb(self->body.data, self->body.length, 0, NULL)
                          : NULL;
    const char *urn = json_string_value(json_object_get(problem, "type"));
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const char *pointer = json_string_value(json_object_get(problem, "pointer"));
    if (urn && strncmp(urn, prefix, sizeof(prefix) - 1) == 0 &&
        cyx_status_from_name(urn + sizeof(prefix) - 1) != CYX_OK)
        status = cyx_status_from_name(urn + sizeof(prefix) - 1);
    if (detail)
        cyx_error_set(ret_error, status, pointer, "%s", detail);
    else
        cyx_error_set(ret_error, status, NULL, "the server answered with status %d", self->status);
    json_decref(problem);
    return status;
}

/* ---- one attempt ---- */

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct cyx_attempt *self = user;
    struct cyx_buf *head = &self->result->head;
    size_t length = size * count, end = length;
    while (end && (line[end - 1] == '\r' || line[end - 1] == '\n'))
        end--;
    if (end > 5 && strncmp(line, "HTTP/", 5) == 0) {
        cyx_buf_clear(head); /* a new block: the one of 100 Continue does not count */
        return length;
    }
    const char *colon = memchr(line, ':', end);
    if (!colon)
        return length;
    if (head->length + end + 3 > MAX_HEAD_BYTES) {
        self->stopped = cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL,
                                      "the answer's headers are over the limit");
        return 0;
    }
    size_t name = (size_t)(colon - line), from = name + 1;
    while (from < end && (line[from] == ' ' || line[from] == '\t'))
        from++;
    for (size_t i = 0; i < name; i++) {
        char c = line[i] >= 'A' && line[i] <= 'Z' ? (char)(line[i] | 0x20) : line[i];
        cyx_buf_append(head, &c, 1);
    }
    cyx_buf_puts(head, ": ");
    cyx_buf_append(head, line + from, end - from);
    cyx_buf_puts(head, "\n");
    return length;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct cyx_attempt *self = user;
    size_t length = size * count, limit = self->client->options.max_body_bytes;
    long http = 0;
    curl_easy_getinfo(self->client->curl, CURLINFO_RESPONSE_CODE, &http);
    self->result->status = (int)http;
    if (self->sink && http < 400) {
        self->stopped = self->sink(self, bytes, length);
        return self->stopped == CYX_OK ? length : 0;
    }
    if (!limit)
        limit = DEFAULT_BODY_BYTES;
    if (length > limit - self->result->body.length) {
        self->stopped = cyx_error_set(self->error, CYX_ERR_TOO_LARGE, NULL,
                                      "the answer is over the limit of %zu bytes", limit);
        return 0;
    }
    cyx_buf_append(&self->result->body, bytes, length);
    return length;
}

static size_t on_upload(char *to, size_t size, size_t count, void *user)
{
    struct cyx_attempt *self = user;
    uint64_t left = self->upload_length - self->upload_sent;
    size_t want = size * count < left ? size * count : (size_t)left;
    ssize_t n =
        want ? pread(self->upload_fd, to, want, (off_t)(self->upload_from + self->upload_sent)) : 0;
    if (n < 0 || (n == 0 && want)) {
        self->stopped = n < 0 ? cyx_error_errno(self->error, "cannot read the file to upload")
                              : cyx_error_set(self->error, CYX_ERR_CONFLICT, NULL,
                                              "the file became shorter while it was uploaded");
        return CURL_READFUNC_ABORT;
    }
    self->upload_sent += (uint64_t)n;
    return (size_t)n;
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
    struct cyx_attempt *self = user;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > self->upload_length)
        return CURL_SEEKFUNC_FAIL;
    self->upload_sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* Some times a second: cancelled, silent for too long, or the caller's progress. */
static int on_transfer(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    struct cyx_attempt *self = user;
    (void)down_total;
    (void)up_total;
    const volatile sig_atomic_t *cancel = self->client->options.cancel;
    uint64_t moved = (uint64_t)down + (uint64_t)up;
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) {
        self->stopped = cyx_error_set(self->error, CYX_ERR_CANCELLED, NULL, "cancelled");
        return 1;
    }
    if (moved != self->moved) {
        self->moved = moved;
        self->moved_ns = now_ns;
    }
    if (self->stall_ms && now_ns - self->moved_ns > self->stall_ms * INT64_C(1000000)) {
        self->stalled = true;
        return 1;
    }
    if (self->on_progress && self->stopped == CYX_OK)
        self->stopped = self->on_progress(self, (uint64_t)down, (uint64_t)up);
    return self->stopped != CYX_OK;
}

static bool add_header(struct curl_slist **list, const char *format, const char *value)
{
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    cyx_buf_puts(&line, format);
    cyx_buf_puts(&line, value);
    struct curl_slist *grown = line.failed ? NULL : curl_slist_append(*list, line.data);
    if (grown)
        *list = grown;
    return grown != NULL;
}

/* Whether the token may go along: to the base URL's own origin, and the caller names no other. */
static bool takes_bearer(const struct cyx_attempt *self)
{
    const struct cyx_http_client *client = self->client;
    size_t length = client->base_url ? strlen(client->base_url) : 0;
    for (const char *const *h = self->headers; h && *h; h++)
        if (strncasecmp(*h, "Authorization:", 14) == 0)
            return false;
    return client->bearer &&
           (self->url[0] == '/' || (length && strncmp(self->url, client->base_url, length) == 0 &&
                                    (self->url[length] == '/' || !self->url[length])));
}

static bool collect_headers(const struct cyx_attempt *self, struct curl_slist **list)
{
    bool good = true;
    for (const char *const *h = self->headers; good && h && *h; h++)
        good = add_header(list, "", *h);
    for (const char *const *h = self->more_headers; good && h && *h; h++)
        good = add_header(list, "", *h);
    if (good && takes_bearer(self))
        good = add_header(list, "Authorization: Bearer ", self->client->bearer);
    if (good && (self->body || self->upload_fd >= 0))
        good = add_header(
            list, "Content-Type: ", self->content_type ? self->content_type : "application/json");
    if (good && self->upload_fd < 0)
        good = add_header(list, "Expect:", "");
    return good;
}

static void set_body(struct cyx_attempt *self)
{
    CURL *curl = self->client->curl;
    if (self->upload_fd >= 0) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(curl, CURLOPT_READDATA, self);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(curl, CURLOPT_SEEKDATA, self);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)self->upload_length);
    } else if (self->body || strcmp(self->method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)self->body_length);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, self->body ? self->body : "");
    }
    if (strcmp(self->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, self->method);
}

static void set_options(struct cyx_attempt *self, const char *url, struct curl_slist *headers,
                        char *message)
{
    struct cyx_http_client *client = self->client;
    CURL *curl = client->curl;
    int connect_ms = client->options.connect_timeout_ms;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, client->user_agent);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(connect_ms > 0 ? connect_ms : DEFAULT_CONNECT_MS));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)self->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, self);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, self);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_transfer);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, self);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    if (client->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    if (client->unix_socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->unix_socket);
    set_body(self);
}

/* A curl failure in our words. */
static enum cyx_status explain(struct cyx_attempt *self, const char *url, const char *message)
{
    const char *why = message[0] ? message : curl_easy_strerror(self->code);
    switch (self->code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return cyx_error_set(self->error, CYX_ERR_INVALID, NULL,
                             "\"%s\" is no http:// or https:// URL: %s", url, why);
    case CURLE_OPERATION_TIMEDOUT:
        return cyx_error_set(self->error, CYX_ERR_TIMEOUT, NULL, "%s gave no answer in time: %s",
                             url, why);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
        return cyx_error_set(self->error, CYX_ERR_DENIED, NULL,
                             "%s cannot be trusted: %s; check the address or name its "
                             "authority's certificate",
                             url, why);
    case CURLE_OUT_OF_MEMORY:
        return cyx_error_set(self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for %s", url);
    default:
        return cyx_error_set(self->error, CYX_ERR_UNAVAILABLE, NULL, "cannot reach %s: %s", url,
                             why);
    }
}

static bool status_goes_away(int http)
{
    return http == 429 || http == 502 || http == 503 || http == 504;
}

static enum cyx_status perform(struct cyx_attempt *self, const char *url,
                               struct curl_slist *headers, bool *ret_again)
{
    char message[CURL_ERROR_SIZE] = "";
    set_options(self, url, headers, message);
    self->moved_ns = cyx_clock_monotonic_ns();
    self->moved = 0;
    self->code = curl_easy_perform(self->client->curl);
    long http = 0;
    curl_easy_getinfo(self->client->curl, CURLINFO_RESPONSE_CODE, &http);
    self->result->status = (int)http;
    if (self->stopped != CYX_OK)
        return self->stopped;
    if (self->stalled) {
        *ret_again = true;
        return cyx_error_set(self->error, CYX_ERR_TIMEOUT, NULL,
                             "%s was silent for %d ms; the connection was given up", url,
                             self->stall_ms);
    }
    bool refused_upload = self->upload_fd >= 0 && self->code == CURLE_SEND_ERROR && http >= 400;
    if (self->code != CURLE_OK && !refused_upload) {
        enum cyx_status status = explain(self, url, message);
        *ret_again = status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT;
        return status;
    }
    if (self->result->body.failed || self->result->head.failed)
        return cyx_error_set(self->error, CYX_ERR_NO_MEMORY, NULL, "no memory for the answer");
    *ret_again = status_goes_away((int)http);
    return CYX_OK;
}

enum cyx_status cyx_attempt_run(struct cyx_attempt *self, bool *ret_again)
{
    CYX_CLEANUP_BUF struct cyx_buf url = {0};
    struct curl_slist *headers = NULL;
    *ret_again = false;
    cyx_buf_clear(&self->result->body);
    cyx_buf_clear(&self->result->head);
    self->result->status = 0;
    self->stopped = CYX_OK;
    self->stalled = false;
    self->upload_sent = 0;
    if (self->url[0] == '/' && self->client->base_url)
        cyx_buf_puts(&url, self->client->base_url);
    cyx_buf_puts(&url, self->url);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (url.failed || !collect_headers(self, &headers))
        cyx_error_set(self->error, status, NULL, "no memory for a call");
    else
        status = perform(self, url.data, headers, ret_again);
    curl_slist_free_all(headers);
    self->result->attempts++;
    return status;
}

enum cyx_status cyx_attempt_pause(struct cyx_attempt *self, int n)
{
    char after[32];
    uint32_t random = 0;
    cyx_random_bytes(&random, sizeof(random));
    int64_t wait_ms = INT64_C(200) << (n < 6 ? n - 1 : 5);
    wait_ms = wait_ms < MAX_PAUSE_MS ? wait_ms : MAX_PAUSE_MS;
    wait_ms = wait_ms / 2 + (int64_t)(random % (uint32_t)(wait_ms / 2 + 1)); /* jitter */
    if (cyx_http_result_header(self->result, "retry-after", after, sizeof(after))) {
        long seconds = strtol(after, NULL, 10);
        seconds = seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S;
        wait_ms = seconds > 0 && seconds * 1000 > wait_ms ? seconds * 1000 : wait_ms;
    }
    const volatile sig_atomic_t *cancel = self->client->options.cancel;
    for (int64_t until_ns = cyx_clock_monotonic_ns() + wait_ms * 1000000;;) {
        int64_t left_ms = (until_ns - cyx_clock_monotonic_ns()) / 1000000;
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return cyx_error_set(self->error, CYX_ERR_CANCELLED, NULL, "cancelled");
        if (left_ms <= 0)
            return CYX_OK;
        poll(NULL, 0, left_ms < 100 ? (int)left_ms : 100);
    }
}

/* ---- calls ---- */

static bool may_repeat(const struct cyx_http_call *call)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(call->method, methods[i]) == 0)
            return true;
    return call->idempotent;
}

enum cyx_status cyx_http_client_call(struct cyx_http_client *self, const struct cyx_http_call *call,
                                     struct cyx_http_result *result, struct cyx_error *ret_error)
{
    int usual_ms = self->options.timeout_ms > 0 ? self->options.timeout_ms : DEFAULT_TIMEOUT_MS;
    struct cyx_attempt attempt = {.client = self,
                                  .result = result,
                                  .error = ret_error,
                                  .method = call->method,
                                  .url = call->url,
                                  .headers = call->headers,
                                  .content_type = call->content_type,
                                  .body = call->body,
                                  .body_length = call->body_length,
                                  .upload_fd = -1,
                                  .timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : usual_ms};
    int limit = may_repeat(call) ? cyx_client_max_attempts(self) : 1;
    bool again = false;
    result->attempts = 0;
    for (int n = 1;; n++) {
        enum cyx_status status = cyx_attempt_run(&attempt, &again);
        if (!again || n >= limit)
            return status;
        status = cyx_attempt_pause(&attempt, n);
        if (status != CYX_OK)
            return status;
    }
}

struct stream_user {
    cyx_http_chunk *on_chunk;
    void *user;
};

static enum cyx_status to_stream(struct cyx_attempt *attempt, const void *bytes, size_t length)
{
    struct stream_user *stream = attempt->user;
    enum cyx_status status = stream->on_chunk(stream->user, bytes, length);
    if (status != CYX_OK)
        cyx_error_set(attempt->error, status, NULL, "the stream was ended by its reader");
    return status;
}

enum cyx_status cyx_http_client_stream(struct cyx_http_client *self,
                                       const struct cyx_http_call *call, cyx_http_chunk *on_chunk,
                                       void *user, struct cyx_http_result *result,
                                       struct cyx_error *ret_error)
{
    struct stream_user stream = {on_chunk, user};
    struct cyx_attempt attempt = {.client = self,
                                  .result = result,
                                  .error = ret_error,
                                  .method = call->method ? call->method : "GET",
                                  .url = call->url,
                                  .headers = call->headers,
                                  .content_type = call->content_type,
                                  .body = call->body,
                                  .body_length = call->body_length,
                                  .upload_fd = -1,
                                  .stall_ms = cyx_client_stall_ms(self),
                                  .sink = to_stream,
                                  .user = &stream};
    bool again = false;
    result->attempts = 0;
    return cyx_attempt_run(&attempt, &again);
}
