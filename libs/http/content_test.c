/* A real server on the loopback: files, a static folder, uploads, streams. */
#include "http/testing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What handlers saw; guarded by running one request at a time. */
static struct {
    struct cyx_buf sink;
    int begun, finished, completed;
} record;

static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t record_changed = PTHREAD_COND_INITIALIZER;

static enum cyx_status hello(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_json(response, 200, "{\"ok\":true}", 11);
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
    char *path = cyx_arena_printf(request->arena, "%s/%s", (const char *)ctx,
                                  cyx_http_param(request, "name"));
    struct cyx_http_file options = {.etag = "\"tag\"", .download_name = "a \"b\".bin"};
    return cyx_http_respond_file(response, request, path, &options);
}

/* ---- a sink ---- */

static enum cyx_status sink_begin(void *ctx, const struct cyx_http_request *request,
                                  struct cyx_http_response *response, void **ret_state)
{
    (void)ctx;
    if (cyx_http_query(request, "refuse"))
        return cyx_error_set(&response->error, CYX_ERR_UNAUTHENTICATED, NULL, "no grant");
    cyx_buf_clear(&record.sink);
    record.begun++;
    *ret_state = (void *)(uintptr_t)cyx_http_query(request, "fail");
    return CYX_OK;
}

static enum cyx_status sink_chunk(void *state, const void *bytes, size_t length,
                                  struct cyx_error *ret_error)
{
    cyx_buf_append(&record.sink, bytes, length);
    if (state)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL, "the disk is full");
    return CYX_OK;
}

static void sink_finish(void *state, bool complete)
{
    (void)state;
    pthread_mutex_lock(&record_lock);
    record.finished++;
    record.completed += complete;
    pthread_cond_broadcast(&record_changed);
    pthread_mutex_unlock(&record_lock);
}

static enum cyx_status sink_end(void *ctx, const struct cyx_http_request *request,
                                struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    char text[64];
    int length = snprintf(text, sizeof(text), "{\"bytes\":%zu}", record.sink.length);
    return cyx_http_respond_json(response, 201, text, (size_t)length);
}

static void await_finished(int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    int rc = 0;
    pthread_mutex_lock(&record_lock);
    while (record.finished < count && rc == 0)
        rc = pthread_cond_timedwait(&record_changed, &record_lock, &until);
    pthread_mutex_unlock(&record_lock);
    assert_int_equal(rc, 0);
}

/* ---- streams ---- */

static struct cyx_http_stream *kept_stream;

static void stream_closed(void *user, struct cyx_http_stream *stream)
{
    (void)user;
    (void)stream;
    sink_finish(NULL, true);
}

static enum cyx_status stream(void *ctx, const struct cyx_http_request *request,
                              struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    struct cyx_http_stream_options options = {
        .max_queued_bytes = 4000, .heartbeat_ms = 150, .on_close = stream_closed};
    return cyx_http_respond_stream(response, &options, &kept_stream);
}

static void after(void *ctx, const struct cyx_http_route *route,
                  const struct cyx_http_request *request, struct cyx_http_response *response)
{
    (void)ctx;
    (void)route;
    (void)request;
    cyx_http_response_header(response, "X-Content-Type-Options", "nosniff");
}

static const struct cyx_http_sink sink = {sink_begin, sink_chunk, sink_finish};
static char folder[64];
static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/hello", .handler = hello},
    {.method = "GET", .path = "/slow", .handler = slow},
    {.method = "GET", .path = "/files/{name}", .handler = file},
    {.method = "PUT", .path = "/sink", .handler = sink_end, .sink = &sink},
    {.method = "PUT",
     .path = "/small-sink",
     .handler = sink_end,
     .sink = &sink,
     .max_body_bytes = 5000},
    {.method = "GET", .path = "/stream", .handler = stream},
};

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(cyx_file_write_atomic(path, text, strlen(text), 0644, NULL), CYX_OK);
}

static void make_folder(void)
{
    char path[128];
    snprintf(folder, sizeof(folder), "/tmp/cyx-http-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/assets", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    write_file("index.html", "<title>home</title>");
    write_file("plain.txt", "0123456789");
    write_file("empty.txt", "");
    write_file("assets/app-DiwrgTda.js", "let x");
    write_file("assets/app-DiwrgTda.js.br", "br");
    write_file("assets/app-DiwrgTda.js.gz", "gz");
    write_file("assets/my-component.js", "let y");
    write_file(".secret", "secret");
}

static int setup(void **state)
{
    make_folder();
    cyx_buf_finish(&record.sink);
    record.begun = record.finished = record.completed = 0;
    struct cyx_http_static mount = {
        .prefix = "/", .folder = folder, .fallback = "index.html", .except = "/api/"};
    return fixture_start(state, &(struct cyx_http_options){.workers = 3, .after = after}, routes,
                         sizeof(routes) / sizeof(routes[0]), folder, &mount);
}

static int teardown(void **state)
{
    char command[128];
    fixture_stop(state);
    cyx_buf_finish(&record.sink);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

/* ---- files ---- */

static void test_server__files_have_ranges_and_conditions(void **state)
{
    struct fixture *f = *state;
#define GET_FILE(rest) "GET /files/plain.txt HTTP/1.1\r\nHost: x\r\n" rest "\r\n"
    raw_ask(f->port, GET_FILE(""), &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_string_equal(f->answer.body.data, "0123456789");
    assert_string_equal(answer_header(&f->answer, "ETag"), "\"tag\"");
    assert_string_equal(answer_header(&f->answer, "Accept-Ranges"), "bytes");
    assert_string_equal(answer_header(&f->answer, "Content-Disposition"),
                        "attachment; filename=\"a _b_.bin\"");
    raw_ask(f->port, GET_FILE("Range: bytes=2-4\r\n"), &f->answer);
    assert_int_equal(f->answer.status, 206);
    assert_string_equal(f->answer.body.data, "234");
    assert_string_equal(answer_header(&f->answer, "Content-Range"), "bytes 2-4/10");
    raw_ask(f->port, GET_FILE("Range: bytes=-3\r\nIf-Range: \"tag\"\r\n"), &f->answer);
    assert_string_equal(f->answer.body.data, "789");
    raw_ask(f->port, GET_FILE("Range: bytes=-3\r\nIf-Range: \"old\"\r\n"), &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_string_equal(f->answer.body.data, "0123456789");
    raw_ask(f->port, GET_FILE("Range: bytes=10-\r\n"), &f->answer);
    assert_problem(&f->answer, 416, "invalid");
    assert_string_equal(answer_header(&f->answer, "Content-Range"), "bytes */10");
    raw_ask(f->port, GET_FILE("If-None-Match: \"a\", \"tag\"\r\n"), &f->answer);
    assert_int_equal(f->answer.status, 304);
    raw_ask(f->port, "HEAD /files/plain.txt HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_string_equal(answer_header(&f->answer, "Content-Length"), "10");
    raw_ask(f->port, "GET /files/empty.txt HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_int_equal(f->answer.body.length, 0);
    raw_ask(f->port, "GET /files/none HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 404, "not-found");
    raw_ask(f->port, "GET /files/assets HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 404, "not-found"); /* a folder */
}

static void test_server__serves_a_folder_and_nothing_else(void **state)
{
    struct fixture *f = *state;
#define GET_PATH(path, rest) "GET " path " HTTP/1.1\r\nHost: x\r\n" rest "\r\n"
    raw_ask(f->port, GET_PATH("/", ""), &f->answer);
    assert_string_equal(f->answer.body.data, "<title>home</title>");
    assert_string_equal(answer_header(&f->answer, "Content-Type"), "text/html; charset=utf-8");
    assert_string_equal(answer_header(&f->answer, "Cache-Control"), "no-cache");
    raw_ask(f->port, GET_PATH("/jobs/17", ""), &f->answer);
    assert_string_equal(f->answer.body.data, "<title>home</title>");
    raw_ask(f->port, GET_PATH("/jobs/17.js", ""), &f->answer);
    assert_problem(&f->answer, 404, "not-found");
    raw_ask(f->port, GET_PATH("/assets/app-DiwrgTda.js", ""), &f->answer);
    assert_string_equal(f->answer.body.data, "let x");
    assert_string_equal(answer_header(&f->answer, "Cache-Control"),
                        "public, max-age=31536000, immutable");
    raw_ask(f->port, GET_PATH("/assets/app-DiwrgTda.js", "Accept-Encoding: gzip, br\r\n"),
            &f->answer);
    assert_string_equal(f->answer.body.data, "br");
    assert_string_equal(answer_header(&f->answer, "Content-Encoding"), "br");
    assert_string_equal(answer_header(&f->answer, "Vary"), "Accept-Encoding");
    assert_string_equal(answer_header(&f->answer, "Content-Type"),
                        "text/javascript; charset=utf-8");
    raw_ask(f->port, GET_PATH("/assets/app-DiwrgTda.js", "Accept-Encoding: br;q=0, gzip\r\n"),
            &f->answer);
    assert_string_equal(f->answer.body.data, "gz");
    raw_ask(f->port, GET_PATH("/assets/my-component.js", ""), &f->answer);
    assert_string_equal(answer_header(&f->answer, "Cache-Control"), "no-cache");
    raw_ask(f->port, GET_PATH("/.secret", ""), &f->answer);
    assert_problem(&f->answer, 404, "not-found");
    raw_ask(f->port, GET_PATH("/assets%2f..%2f.secret", ""), &f->answer);
    assert_problem(&f->answer, 404, "not-found");
    raw_ask(f->port, "POST /plain.txt HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 405, "unsupported");
    raw_ask(f->port, "HEAD /plain.txt HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_string_equal(answer_header(&f->answer, "Content-Length"), "10");
}

/* ---- uploads ---- */

static void read_until(int fd, struct cyx_buf *text, const char *wanted)
{
    char c = 0;
    while (!text->data || !strstr(text->data, wanted)) {
        assert_int_equal(recv(fd, &c, 1, 0), 1);
        cyx_buf_append(text, &c, 1);
    }
}

static void test_server__sinks_take_more_than_memory_would(void **state)
{
    struct fixture *f = *state;
    enum { TOTAL = 5000003 };
    char *bytes = malloc(TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        bytes[i] = (char)(i * 31 + i / 257);
    for (int chunked = 0; chunked < 2; chunked++) {
        char text[256];
        int fd = raw_connect(f->port);
        snprintf(text, sizeof(text), "PUT /sink HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n");
        raw_send(fd, text);
        snprintf(text, sizeof(text),
                 chunked ? "Transfer-Encoding: chunked\r\n\r\n%x\r\n"
                         : "Content-Length: %d\r\n\r\n",
                 TOTAL);
        raw_send(fd, text);
        raw_send_bytes(fd, bytes, TOTAL);
        raw_send(fd, chunked ? "\r\n0\r\n\r\n" : "");
        raw_answer(fd, false, &f->answer);
        assert_int_equal(f->answer.status, 201);
        assert_string_equal(f->answer.body.data, "{\"bytes\":5000003}");
        assert_int_equal(record.sink.length, TOTAL);
        assert_memory_equal(record.sink.data, bytes, TOTAL);
        await_finished(chunked + 1);
        assert_int_equal(record.completed, chunked + 1);
        close(fd);
    }
    free(bytes);
}

/* Around the size of the buffer that is handed to the sink, in pieces that end beside it. */
static void test_server__sinks_take_every_length(void **state)
{
    struct fixture *f = *state;
    static const int beside[] = {-1, 0, 1, 5};
    char *bytes = calloc(1, 3 << 18), text[160];
    for (int i = 0; i < 48; i++) {
        int total = (i % 2 + 1) * (1 << 18) + beside[i / 2 % 4];
        int fd = raw_connect(f->port);
        bool chunked = i >= 24;
        snprintf(text, sizeof(text), "PUT /sink HTTP/1.1\r\nHost: x\r\n%s%x\r\n",
                 chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "X: ", total);
        raw_send(fd, text);
        if (!chunked) {
            snprintf(text, sizeof(text), "Content-Length: %d\r\n\r\n", total);
            raw_send(fd, text);
        }
        raw_send_bytes(fd, bytes, (1 << 18) - 2);
        raw_send_bytes(fd, bytes, (size_t)total - ((1 << 18) - 2));
        raw_send(fd, chunked ? "\r\n0\r\n\r\n" : "");
        raw_answer(fd, false, &f->answer);
        assert_int_equal(f->answer.status, 201);
        assert_int_equal(record.sink.length, total);
        close(fd);
    }
    free(bytes);
}

static void test_server__many_tiny_chunks_reach_the_sink(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_puts(&text, "PUT /sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 60000; i++)
        cyx_buf_printf(&text, "a\r\n%010d\r\n", i);
    cyx_buf_puts(&text, "0\r\n\r\n");
    raw_ask(f->port, text.data, &f->answer);
    assert_int_equal(f->answer.status, 201);
    assert_int_equal(record.sink.length, 600000);
    for (int i = 0; i < 60000; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%010d", i);
        assert_memory_equal(record.sink.data + i * 10, number, 10);
    }
}

static void test_server__sinks_refuse_and_fail(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(f->port);
    raw_send(fd, "PUT /sink?refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n");
    raw_answer(fd, false, &f->answer); /* before a byte of it was sent */
    assert_problem(&f->answer, 401, "unauthenticated");
    assert_true(raw_closes(fd));
    close(fd);
    assert_int_equal(record.finished, 0);
    /* A chunk fails in the middle of the body, then at its end. */
    size_t sent = raw_push_fifty_megabytes(
        f->port, "PUT /sink?fail HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n", NULL,
        &f->answer);
    assert_problem(&f->answer, 503, "unavailable");
    assert_true(sent < 40000000);
    await_finished(1);
    raw_ask(f->port, "PUT /sink?fail HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            &f->answer);
    assert_problem(&f->answer, 503, "unavailable");
    await_finished(2);
    /* Over the route's limit, known and unknown. */
    raw_ask(f->port, "PUT /small-sink HTTP/1.1\r\nHost: x\r\nContent-Length: 5001\r\n\r\n",
            &f->answer);
    assert_problem(&f->answer, 413, "too-large");
    raw_push_fifty_megabytes(
        f->port, "PUT /small-sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "10000\r\n", &f->answer);
    assert_problem(&f->answer, 413, "too-large");
    assert_string_equal(answer_header(&f->answer, "X-Content-Type-Options"), "nosniff");
    await_finished(3);
    /* The client goes away in the middle. */
    fd = raw_connect(f->port);
    raw_send(fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    close(fd);
    await_finished(4);
    assert_int_equal(record.completed, 0);
}

/* The FIN may come together with the last bytes, which libmicrohttpd alone would not see. */
static void test_server__an_upload_that_is_broken_off_is_given_up(void **state)
{
    struct fixture *f = *state;
    for (int i = 1; i <= 40; i++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        int fd = raw_connect(f->port);
        raw_send(fd, "PUT /sink HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                     "Content-Length: 10\r\n\r\n");
        read_until(fd, &text, "100 Continue\r\n\r\n");
        raw_send(fd, "abc");
        close(fd);
        await_finished(i);
    }
    assert_int_equal(record.completed, 0);
}

/* ---- streams ---- */

static void test_stream__pushes_as_it_comes_and_ends(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    int fd = raw_connect(f->port);
    raw_send(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &text, "\r\n\r\n"); /* the head comes before any event */
    assert_non_null(strstr(text.data, "text/event-stream"));
    assert_int_equal(cyx_http_stream_event(kept_stream, "metrics", "1", "a\nb"), CYX_OK);
    read_until(fd, &text, "event: metrics\nid: 1\ndata: a\ndata: b\n\n");
    read_until(fd, &text, ":\n\n"); /* a heartbeat, by itself */
    assert_int_equal(cyx_http_stream_event(kept_stream, "a\nb", NULL, "x"), CYX_ERR_INVALID);
    assert_int_equal(cyx_http_stream_push(kept_stream, "last", 4), CYX_OK);
    cyx_http_stream_end(kept_stream);
    read_until(fd, &text, "last\r\n0\r\n\r\n");
    await_finished(1);
    assert_int_equal(cyx_http_stream_push(kept_stream, "x", 1), CYX_ERR_CANCELLED);
    cyx_http_stream_unref(kept_stream);
    raw_send(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection was kept */
    raw_answer(fd, false, &f->answer);
    assert_int_equal(f->answer.status, 200);
    close(fd);
}

static void test_stream__tells_when_the_client_has_gone(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_http_stats stats;
    int fd = raw_connect(f->port);
    raw_send(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &text, "\r\n\r\n");
    cyx_http_server_stats(f->server, &stats);
    assert_int_equal(stats.streams, 1);
    close(fd);
    await_finished(1);
    assert_int_equal(cyx_http_stream_push(kept_stream, "x", 1), CYX_ERR_CANCELLED);
    cyx_http_stream_unref(kept_stream);
}

static void test_stream__a_slow_reader_is_bounded(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    static char block[1000];
    memset(block, 'z', sizeof(block));
    int fd = raw_connect(f->port);
    raw_send(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(fd, &text, "\r\n\r\n");
    enum cyx_status status = CYX_OK;
    size_t pushed = 0;
    int full = 0; /* the sockets' buffers fill first, some megabytes */
    while (full < 1000 && pushed < 200000000) {
        status = cyx_http_stream_push(kept_stream, block, sizeof(block));
        pushed += status == CYX_OK ? sizeof(block) : 0;
        full = status == CYX_ERR_TOO_LARGE ? full + 1 : 0;
        if (status == CYX_ERR_TOO_LARGE)
            sched_yield();
    }
    assert_int_equal(status, CYX_ERR_TOO_LARGE);
    cyx_http_stream_unref(kept_stream);
    close(fd);
    await_finished(1);
}

/* ---- stop ---- */

static void *stop_server(void *arg)
{
    static enum cyx_status status;
    status = cyx_http_server_stop(arg, 5000);
    return &status;
}

static void test_stop__waits_for_what_runs(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *status = NULL;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    int idle = raw_connect(f->port), fd = raw_connect(f->port), events = raw_connect(f->port);
    raw_send(events, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(events, &text, "\r\n\r\n");
    raw_send(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    gate_await_entered(1);
    pthread_create(&thread, NULL, stop_server, f->server);
    read_until(events, &text, "0\r\n\r\n"); /* streams are ended at once */
    gate_open();
    raw_answer(fd, false, &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_string_equal(answer_header(&f->answer, "Connection"), "close");
    pthread_join(thread, &status);
    assert_int_equal(*(enum cyx_status *)status, CYX_OK);
    assert_true(raw_closes(idle));
    cyx_http_stream_unref(kept_stream);
    close(idle);
    close(fd);
    close(events);
}

int main(void)
{
#define T(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
    const struct CMUnitTest tests[] = {
        T(test_server__files_have_ranges_and_conditions, setup),
        T(test_server__serves_a_folder_and_nothing_else, setup),
        T(test_server__sinks_take_more_than_memory_would, setup),
        T(test_server__sinks_take_every_length, setup),
        T(test_server__many_tiny_chunks_reach_the_sink, setup),
        T(test_server__sinks_refuse_and_fail, setup),
        T(test_server__an_upload_that_is_broken_off_is_given_up, setup),
        T(test_stream__pushes_as_it_comes_and_ends, setup),
        T(test_stream__tells_when_the_client_has_gone, setup),
        T(test_stream__a_slow_reader_is_bounded, setup),
        T(test_stop__waits_for_what_runs, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
