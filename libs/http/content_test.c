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
