/* The client against the real server, where need be through a relay that cuts connections. */
#include "http/testing.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client.h"
#include "http/sse.h"

enum { FILE_BYTES = 3000000 };

/* ---- a relay that cuts ---- */

struct relay {
    uint16_t port, to;
    int listener;
    pthread_t thread;
    atomic_int cuts; /* connections that will be cut yet */
    size_t down, up; /* after so many bytes down, or up; 0: not for that */
};

static bool pass_on(int from, int to, size_t *passed)
{
    char chunk[16384];
    ssize_t n = recv(from, chunk, sizeof(chunk), 0);
    for (ssize_t sent = 0; sent < n;) {
        ssize_t m = send(to, chunk + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (m <= 0)
            return false;
        sent += m;
    }
    *passed += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void relay_one(struct relay *self, int client)
{
    int server = raw_connect(self->to);
    struct pollfd ends[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    size_t up = 0, down = 0;
    bool open = true;
    while (open && poll(ends, 2, 10000) > 0) {
        if (ends[0].revents)
            open = pass_on(client, server, &up);
        if (open && ends[1].revents)
            open = pass_on(server, client, &down);
        if (atomic_load(&self->cuts) > 0 &&
            ((self->down && down >= self->down) || (self->up && up >= self->up))) {
            atomic_fetch_sub(&self->cuts, 1);
            open = false;
        }
    }
    struct linger reset = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(client);
    close(server);
}

static void *relay_all(void *arg)
{
    struct relay *self = arg;
    for (int fd; (fd = accept(self->listener, NULL, NULL)) >= 0;)
        relay_one(self, fd);
    return NULL;
}

static void relay_start(struct relay *self, uint16_t to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    self->to = to;
    self->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(self->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(self->listener, 16), 0);
    getsockname(self->listener, (struct sockaddr *)&address, &length);
    self->port = ntohs(address.sin_port);
    pthread_create(&self->thread, NULL, relay_all, self);
}

static void relay_stop(struct relay *self)
{
    shutdown(self->listener, SHUT_RDWR);
    pthread_join(self->thread, NULL);
    close(self->listener);
}

/* ---- the server's side ---- */

static struct {
    atomic_int calls, fail_first;
    struct cyx_buf store; /* the upload so far */
    atomic_size_t resumed_at;
    atomic_bool held; /* by one upload at a time, as the artifact store does */
    atomic_bool whole;
    char file[64], range[64];
    const char *etag;
} seen;

static enum cyx_status hello(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    const char *given = cyx_http_header(request, "Authorization");
    char *text =
        cyx_arena_printf(request->arena, "%s|%s|%s|%s", request->method, given ? given : "-",
                         cyx_http_header(request, "X-A"), request->body);
    cyx_http_response_header(response, "X-Answer", "forty two");
    return cyx_http_respond(response, 200, "text/plain", text, strlen(text));
}

static enum cyx_status flaky(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    if (atomic_fetch_add(&seen.calls, 1) < atomic_load(&seen.fail_first))
        return cyx_http_respond_json(response, 503, "{}", 2);
    return cyx_http_respond_json(response, 200, "{}", 2);
}

static enum cyx_status wrong(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_error_set(&response->error, CYX_ERR_CONFLICT, "/epochs", "it was \"five\"");
}

static enum cyx_status slow(void *ctx, const struct cyx_http_request *request,
                            struct cyx_http_response *response)
{
    gate_wait();
    return hello(ctx, request, response);
}

static enum cyx_status file(void *ctx, const struct cyx_http_request *request,
                            struct cyx_http_response *response)
{
    (void)ctx;
    const char *range = cyx_http_header(request, "Range");
    snprintf(seen.range, sizeof(seen.range), "%s", range ? range : "");
    struct cyx_http_file options = {.etag = seen.etag};
    return cyx_http_respond_file(response, request, seen.file, &options);
}

static enum cyx_status upload_begin(void *ctx, const struct cyx_http_request *request,
                                    struct cyx_http_response *response, void **ret_state)
{
    (void)ctx;
    (void)ret_state;
    const char *range = cyx_http_header(request, "Content-Range");
    unsigned long long first = 0, last = 0, total = 0;
    if (cyx_http_query(request, "refuse"))
        return cyx_error_set(&response->error, CYX_ERR_UNAUTHENTICATED, NULL, "no grant");
    if (range && sscanf(range, "bytes %llu-%llu/%llu", &first, &last, &total) != 3)
        return cyx_error_set(&response->error, CYX_ERR_INVALID, NULL, "bad Content-Range");
    if (atomic_exchange(&seen.held, true))
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL, "another has it");
    if (first == 0)
        cyx_buf_clear(&seen.store);
    if (first != seen.store.length || (range && (last + 1 != total || total != FILE_BYTES))) {
        atomic_store(&seen.held, false);
        return cyx_error_set(&response->error, CYX_ERR_CONFLICT, NULL, "not there");
    }
    if (first)
        atomic_store(&seen.resumed_at, (size_t)first);
    return CYX_OK;
}

static enum cyx_status upload_chunk(void *state, const void *bytes, size_t length,
                                    struct cyx_error *ret_error)
{
    (void)state;
    (void)ret_error;
    cyx_buf_append(&seen.store, bytes, length);
    return CYX_OK;
}

static void upload_finish(void *state, bool complete)
{
    (void)state;
    atomic_store(&seen.whole, complete);
    atomic_store(&seen.held, false);
}

static enum cyx_status upload_end(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_json(response, 201, "{}", 2);
}

static enum cyx_status upload_head(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response)
{
    (void)ctx;
    if (atomic_load(&seen.whole))
        return cyx_http_respond_empty(response, 200);
    if (seen.store.length)
        cyx_http_response_header(response, "Upload-Offset",
                                 cyx_arena_printf(request->arena, "%zu", seen.store.length));
    return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL, "not whole");
}

static enum cyx_status events(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    (void)ctx;
    struct cyx_http_stream *stream = NULL;
    enum cyx_status status = cyx_http_respond_stream(response, NULL, &stream);
    const char *last = cyx_http_header(request, "Last-Event-ID");
    cyx_http_stream_event(stream, "metrics", "7", "{\"loss\":1}");
    cyx_http_stream_event(stream, NULL, "8", last ? last : "none");
    if (cyx_http_query(request, "end"))
        cyx_http_stream_end(stream);
    cyx_http_stream_unref(stream);
    return status;
}

static const struct cyx_http_sink sink = {upload_begin, upload_chunk, upload_finish};
static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/hello", .handler = hello},
    {.method = "POST", .path = "/hello", .handler = hello, .flags = CYX_ROUTE_ANY_TYPE},
    {.method = "GET", .path = "/flaky", .handler = flaky},
    {.method = "POST", .path = "/flaky", .handler = flaky},
    {.method = "GET", .path = "/wrong", .handler = wrong},
    {.method = "GET", .path = "/slow", .handler = slow},
    {.method = "GET", .path = "/file", .handler = file},
    {.method = "PUT", .path = "/upload", .handler = upload_end, .sink = &sink},
    {.method = "HEAD", .path = "/upload", .handler = upload_head},
    {.method = "GET", .path = "/events", .handler = events},
};

static char *file_bytes;

static int setup(void **state)
{
    file_bytes = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        file_bytes[i] = (char)(i * 2654435761u >> 13);
    atomic_store(&seen.calls, 0);
    atomic_store(&seen.resumed_at, 0);
    atomic_store(&seen.whole, false);
    seen.etag = "\"one\"";
    snprintf(seen.file, sizeof(seen.file), "/tmp/cyx-client-XXXXXX");
    int fd = mkstemp(seen.file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file_bytes, FILE_BYTES), FILE_BYTES);
    close(fd);
    return fixture_start(state, NULL, routes, sizeof(routes) / sizeof(routes[0]), NULL, NULL);
}

static int teardown(void **state)
{
    char path[128];
    fixture_stop(state);
    unlink(seen.file);
    snprintf(path, sizeof(path), "%s.got", seen.file);
    unlink(path);
    cyx_buf_finish(&seen.store);
    free(file_bytes);
    return 0;
}

static struct cyx_http_client *client_for(uint16_t port,
                                          const struct cyx_http_client_options *options)
{
    char url[64];
    struct cyx_http_client_options made = options ? *options : (struct cyx_http_client_options){0};
    struct cyx_http_client *client = NULL;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    made.base_url = url;
    assert_int_equal(cyx_http_client_create(&made, &client, NULL), CYX_OK);
    return client;
}

/* ---- calls ---- */

static void test_client__calls_and_gets_answers(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_error error = {0};
    char value[32];
    struct cyx_http_client *http =
        client_for(f->port, &(struct cyx_http_client_options){.bearer = "tok"});
    const char *const headers[] = {"X-A: b", NULL};
    struct cyx_http_call call = {
        .method = "POST", .url = "/hello", .headers = headers, .body = "{}", .body_length = 2};
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_OK);
    assert_int_equal(result.status, 200);
    assert_string_equal(result.body.data, "POST|Bearer tok|b|{}");
    assert_true(cyx_http_result_header(&result, "x-answer", value, sizeof(value)));
    assert_string_equal(value, "forty two");
    assert_false(cyx_http_result_header(&result, "x-ans", value, sizeof(value)));
    assert_int_equal(cyx_http_result_check(&result, &error), CYX_OK);
    call = (struct cyx_http_call){.method = "GET", .url = "/wrong"};
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_OK);
    assert_int_equal(cyx_http_result_check(&result, &error), CYX_ERR_CONFLICT);
    assert_string_equal(error.pointer, "/epochs");
    assert_string_equal(error.message, "it was \"five\"");
    cyx_http_client_destroy(http);
}

static void test_client__token_stays_at_its_origin(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    char url[64];
    struct cyx_http_client *http =
        client_for(f->port, &(struct cyx_http_client_options){.bearer = "tok"});
    snprintf(url, sizeof(url), "http://localhost:%u/hello", f->port);
    struct cyx_http_call call = {.method = "GET", .url = url};
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_string_equal(result.body.data, "GET|-|(null)|");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/hello", f->port);
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_string_equal(result.body.data, "GET|Bearer tok|(null)|");
    const char *const headers[] = {"Authorization: Bearer grant", NULL};
    call.headers = headers;
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_string_equal(result.body.data, "GET|Bearer grant|(null)|");
    call.headers = NULL;
    cyx_http_client_set_bearer(http, NULL);
    cyx_http_client_call(http, &call, &result, NULL);
    assert_string_equal(result.body.data, "GET|-|(null)|");
    cyx_http_client_destroy(http);
}

static void test_client__tries_again_what_may_be_tried_again(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_http_client *http = client_for(f->port, NULL);
    struct cyx_http_call call = {.method = "GET", .url = "/flaky"};
    atomic_store(&seen.fail_first, 2);
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_int_equal(result.status, 200);
    assert_int_equal(result.attempts, 3);
    atomic_store(&seen.calls, 0);
    call = (struct cyx_http_call){.method = "POST", .url = "/flaky"};
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_int_equal(result.status, 503);
    assert_int_equal(atomic_load(&seen.calls), 1);
    atomic_store(&seen.calls, 0);
    call.idempotent = true;
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_OK);
    assert_int_equal(result.status, 200);
    cyx_http_client_destroy(http);
}

static void test_client__failures_name_the_cause(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_error error = {0};
    struct cyx_http_client *http = client_for(
        f->port, &(struct cyx_http_client_options){.max_attempts = 1, .max_body_bytes = 5});
    struct cyx_http_call call = {.method = "GET", .url = "/hello"};
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_ERR_TOO_LARGE);
    call.url = "ftp://127.0.0.1/x";
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_ERR_INVALID);
    call.url = "http://127.0.0.1:1/x"; /* nobody listens there */
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.message, "127.0.0.1:1"));
    char url[64];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/hello", f->port);
    call.url = url;
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_ERR_DENIED);
    call = (struct cyx_http_call){.method = "GET", .url = "/slow", .timeout_ms = 100};
    assert_int_equal(cyx_http_client_call(http, &call, &result, &error), CYX_ERR_TIMEOUT);
    cyx_http_client_destroy(http);
}

static volatile sig_atomic_t cancelled;

static void *cancel_soon(void *arg)
{
    (void)arg;
    gate_await_entered(1);
    __atomic_store_n(&cancelled, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void test_client__is_cancelled_while_it_waits(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    pthread_t thread;
    struct cyx_http_client *http =
        client_for(f->port, &(struct cyx_http_client_options){.cancel = &cancelled});
    struct cyx_http_call call = {.method = "GET", .url = "/slow"};
    pthread_create(&thread, NULL, cancel_soon, NULL);
    assert_int_equal(cyx_http_client_call(http, &call, &result, NULL), CYX_ERR_CANCELLED);
    pthread_join(thread, NULL);
    cancelled = 0;
    cyx_http_client_destroy(http);
}

/* ---- downloads ---- */

struct got {
    struct cyx_buf bytes;
    uint64_t last_done, last_total;
    int restarts;
    enum cyx_status verdict;
};

static enum cyx_status take(void *user, const void *bytes, size_t length)
{
    struct got *self = user;
    cyx_buf_append(&self->bytes, bytes, length);
    return CYX_OK;
}

static enum cyx_status restart(void *user)
{
    struct got *self = user;
    cyx_buf_clear(&self->bytes);
    self->restarts++;
    return CYX_OK;
}

static enum cyx_status progress(void *user, uint64_t done, uint64_t total)
{
    struct got *self = user;
    self->last_done = done;
    self->last_total = total;
    return CYX_OK;
}

static enum cyx_status verdict(void *user)
{
    struct got *self = user;
    return self->verdict;
}

static void assert_got_all(struct got *got)
{
    assert_int_equal(got->bytes.length, FILE_BYTES);
    assert_memory_equal(got->bytes.data, file_bytes, FILE_BYTES);
}

static void test_client__download_goes_on_after_each_cut(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct relay relay = {.cuts = 3, .down = 700000};
    struct got got = {0};
    relay_start(&relay, f->port);
    struct cyx_http_client *http = client_for(relay.port, NULL);
    struct cyx_http_download download = {
        .url = "/file", .on_chunk = take, .on_progress = progress, .user = &got};
    assert_int_equal(cyx_http_client_download(http, &download, &result, NULL), CYX_OK);
    assert_int_equal(result.status, 206);
    assert_int_equal(result.attempts, 4);
    assert_got_all(&got);
    assert_int_equal(got.last_done, FILE_BYTES);
    assert_int_equal(got.last_total, FILE_BYTES);
    cyx_http_client_destroy(http);
    relay_stop(&relay);
    cyx_buf_finish(&got.bytes);
}

static void test_client__download_of_a_changed_file_begins_anew(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct got got = {0};
    struct cyx_error error = {0};
    struct cyx_http_client *http = client_for(f->port, NULL);
    struct cyx_http_download download = {
        .url = "/file", .offset = 1000, .etag = "\"zero\"", .on_chunk = take, .user = &got};
    assert_int_equal(cyx_http_client_download(http, &download, &result, &error), CYX_ERR_CONFLICT);
    download.on_restart = restart;
    assert_int_equal(cyx_http_client_download(http, &download, &result, &error), CYX_OK);
    assert_int_equal(got.restarts, 1);
    assert_got_all(&got);
    cyx_buf_clear(&got.bytes);
    download.offset = FILE_BYTES + 5; /* longer than the file has become */
    download.etag = NULL;
    assert_int_equal(cyx_http_client_download(http, &download, &result, &error), CYX_OK);
    assert_got_all(&got);
    download.max_bytes = FILE_BYTES - 1;
    download.offset = 0;
    assert_int_equal(cyx_http_client_download(http, &download, &result, &error), CYX_ERR_TOO_LARGE);
    download = (struct cyx_http_download){.url = "/nothing", .on_chunk = take, .user = &got};
    assert_int_equal(cyx_http_client_download(http, &download, &result, &error), CYX_OK);
    assert_int_equal(cyx_http_result_check(&result, &error), CYX_ERR_NOT_FOUND);
    cyx_http_client_destroy(http);
    cyx_buf_finish(&got.bytes);
}

static void assert_file(const char *path, bool there)
{
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    assert_int_equal(access(path, F_OK) == 0, there);
    if (!there)
        return;
    assert_int_equal(cyx_buf_read_file(&bytes, path, FILE_BYTES, NULL), CYX_OK);
    assert_int_equal(bytes.length, FILE_BYTES);
    assert_memory_equal(bytes.data, file_bytes, FILE_BYTES);
}

static void test_client__file_download_keeps_and_continues_its_part(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct got got = {0};
    char path[96], part[128];
    snprintf(path, sizeof(path), "%s.got", seen.file);
    snprintf(part, sizeof(part), "%s.part", path);
    struct cyx_http_client *http = client_for(f->port, NULL);
    struct cyx_http_download download = {.url = "/file", .on_chunk = take, .user = &got};
    assert_int_equal(cyx_file_write_atomic(part, file_bytes, 1234567, 0644, NULL), CYX_OK);
    assert_int_equal(cyx_http_client_download_file(http, &download, path, verdict, &result, NULL),
                     CYX_OK);
    assert_string_equal(seen.range, "bytes=1234567-");
    assert_got_all(&got); /* the part of before was shown, too */
    assert_file(path, true);
    assert_file(part, false);
    unlink(path);
    cyx_buf_clear(&got.bytes);
    /* A part that turns out wrong. */
    got.verdict = CYX_ERR_CORRUPT;
    assert_int_equal(cyx_http_client_download_file(http, &download, path, verdict, &result, NULL),
                     CYX_ERR_CORRUPT);
    assert_file(path, false);
    assert_file(part, false);
    /* Without a way to verify, a part of before is of no use. */
    assert_int_equal(cyx_file_write_atomic(part, "rubbish", 7, 0644, NULL), CYX_OK);
    assert_int_equal(cyx_http_client_download_file(http, &download, path, NULL, &result, NULL),
                     CYX_OK);
    assert_string_equal(seen.range, "");
    assert_file(path, true);
    unlink(path);
    download.url = "/nothing";
    assert_int_equal(cyx_http_client_download_file(http, &download, path, verdict, &result, NULL),
                     CYX_OK);
    assert_int_equal(result.status, 404);
    assert_file(path, false);
    assert_file(part, false);
    cyx_http_client_destroy(http);
    cyx_buf_finish(&got.bytes);
}

/* ---- uploads ---- */

static void test_client__upload_goes_on_after_a_cut(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_error error = {0};
    struct relay relay = {.cuts = 2, .up = 1000000};
    struct got got = {0};
    relay_start(&relay, f->port);
    struct cyx_http_client *http =
        client_for(relay.port, &(struct cyx_http_client_options){.max_attempts = 20});
    struct cyx_http_upload upload = {.url = "/upload",
                                     .path = seen.file,
                                     .resumable = true,
                                     .on_progress = progress,
                                     .user = &got};
    if (cyx_http_client_upload(http, &upload, &result, &error) != CYX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(result.status, 201);
    assert_int_equal(seen.store.length, FILE_BYTES);
    assert_memory_equal(seen.store.data, file_bytes, FILE_BYTES);
    assert_true(atomic_load(&seen.resumed_at) > 0);
    assert_int_equal(got.last_total, FILE_BYTES);
    assert_int_equal(cyx_http_client_upload(http, &upload, &result, &error), CYX_OK);
    assert_int_equal(result.status, 200); /* it is there: nothing is sent */
    cyx_http_client_destroy(http);
    relay_stop(&relay);
}

static void test_client__refused_upload_is_an_answer(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    struct cyx_error error = {0};
    struct cyx_http_client *http = client_for(f->port, NULL);
    struct cyx_http_upload upload = {.url = "/upload?refuse", .path = seen.file};
    assert_int_equal(cyx_http_client_upload(http, &upload, &result, &error), CYX_OK);
    assert_int_equal(cyx_http_result_check(&result, &error), CYX_ERR_UNAUTHENTICATED);
    assert_string_equal(error.message, "no grant");
    upload.path = "/nowhere";
    assert_int_equal(cyx_http_client_upload(http, &upload, &result, &error), CYX_ERR_NOT_FOUND);
    cyx_http_client_destroy(http);
}

/* ---- streams ---- */

static enum cyx_status note_event(void *user, const struct cyx_sse_event *event)
{
    struct cyx_buf *log = user;
    cyx_buf_printf(log, "[%s|%s|%s]", event->event, event->data, event->id);
    return strcmp(event->data, "stop") == 0 ? CYX_ERR_CANCELLED : CYX_OK;
}

static void test_client__reads_event_streams(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_HTTP_RESULT struct cyx_http_result result = {0};
    CYX_CLEANUP_BUF struct cyx_buf log = {0};
    struct cyx_sse sse = {.on_event = note_event, .user = &log};
    struct cyx_http_client *http =
        client_for(f->port, &(struct cyx_http_client_options){.stall_timeout_ms = 1000});
    struct cyx_http_call call = {.url = "/events?end"};
    assert_int_equal(cyx_http_client_stream(http, &call, cyx_sse_feed, &sse, &result, NULL),
                     CYX_OK);
    assert_string_equal(log.data, "[metrics|{\"loss\":1}|7][message|none|8]");
    /* The reader ends a stream that would go on. */
    const char *const headers[] = {"Last-Event-ID: stop", NULL};
    call = (struct cyx_http_call){.url = "/events", .headers = headers};
    assert_int_equal(cyx_http_client_stream(http, &call, cyx_sse_feed, &sse, &result, NULL),
                     CYX_ERR_CANCELLED);
    /* A stream that falls silent is given up. */
    call.headers = NULL;
    assert_int_equal(cyx_http_client_stream(http, &call, cyx_sse_feed, &sse, &result, NULL),
                     CYX_ERR_TIMEOUT);
    call.url = "/nothing";
    assert_int_equal(cyx_http_client_stream(http, &call, cyx_sse_feed, &sse, &result, NULL),
                     CYX_OK);
    assert_int_equal(result.status, 404);
    cyx_sse_finish(&sse);
    cyx_http_client_destroy(http);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_client__calls_and_gets_answers),
        T(test_client__token_stays_at_its_origin),
        T(test_client__tries_again_what_may_be_tried_again),
        T(test_client__failures_name_the_cause),
        T(test_client__is_cancelled_while_it_waits),
        T(test_client__download_goes_on_after_each_cut),
        T(test_client__download_of_a_changed_file_begins_anew),
        T(test_client__file_download_keeps_and_continues_its_part),
        T(test_client__upload_goes_on_after_a_cut),
        T(test_client__refused_upload_is_an_answer),
        T(test_client__reads_event_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
