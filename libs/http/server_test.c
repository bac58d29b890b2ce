/* A real server on the loopback, spoken to by raw sockets. */
#include "http/testing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { BODY_LIMIT = 1000 };

static char ctx_text[] = "ctx";

static enum cyx_status hello(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_json(response, 200, "{\"ok\":true}", 11);
}

static enum cyx_status echo(void *ctx, const struct cyx_http_request *request,
                            struct cyx_http_response *response)
{
    (void)ctx;
    return cyx_http_respond(response, 200, "application/json", request->body, request->body_length);
}

static enum cyx_status look(void *ctx, const struct cyx_http_request *request,
                            struct cyx_http_response *response)
{
    int64_t limit = 0;
    enum cyx_status status =
        cyx_http_query_int(request, "limit", 1, 100, 20, &limit, &response->error);
    if (status != CYX_OK)
        return status;
    char *text = cyx_arena_printf(request->arena, "%s|%s|%s|%s|%s|%d|%s|%s", (const char *)ctx,
                                  request->method, request->path, cyx_http_param(request, "id"),
                                  cyx_http_cookie(request, "c"), (int)limit,
                                  cyx_http_bearer(request), request->peer);
    cyx_http_response_header(response, "X-Trace", request->traceparent);
    cyx_http_response_cookie(response, "s", "1", 60, false);
    return cyx_http_respond(response, 200, "text/plain", text, strlen(text));
}

/* Answers what it knows, and leaves no trace of what it does not. */
static enum cyx_status quick(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    cyx_http_response_header(response, "X-Quick", "1");
    if (!cyx_http_query(request, "known"))
        return cyx_error_set(&response->error, CYX_ERR_NOT_FOUND, NULL, "not known");
    return cyx_http_respond_json(response, 200, "{\"quick\":true}", 14);
}

static enum cyx_status slow(void *ctx, const struct cyx_http_request *request,
                            struct cyx_http_response *response)
{
    gate_wait();
    return hello(ctx, request, response);
}

static enum cyx_status fails(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    if (cyx_http_query(request, "nothing"))
        return CYX_OK; /* a bug: no answer made */
    if (cyx_http_query(request, "bare"))
        return CYX_ERR_CONFLICT;
    cyx_http_respond_json(response, 200, "{}", 2); /* taken back by the failure */
    return cyx_error_set(&response->error, CYX_ERR_INVALID, "/model/layers/4",
                         "Linear expects 1568 inputs, got 1600");
}

static enum cyx_status before(void *ctx, const struct cyx_http_route *route,
                              struct cyx_http_request *request, struct cyx_http_response *response)
{
    (void)ctx;
    (void)route;
    request->user = request->arena;
    if (!cyx_http_header(request, "X-Deny"))
        return CYX_OK;
    return cyx_error_set(&response->error, CYX_ERR_DENIED, NULL, "not you");
}

static void after(void *ctx, const struct cyx_http_route *route,
                  const struct cyx_http_request *request, struct cyx_http_response *response)
{
    (void)ctx;
    (void)route;
    (void)request;
    cyx_http_response_header(response, "X-Content-Type-Options", "nosniff");
}

static enum cyx_status never(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response, void **ret_state)
{
    (void)ctx;
    (void)request;
    (void)response;
    (void)ret_state;
    abort(); /* no worker is free for it */
}

static const struct cyx_http_sink sink = {.begin = never};
static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/hello", .handler = hello},
    {.method = "GET", .path = "/inline", .handler = hello, .flags = CYX_ROUTE_INLINE},
    {.method = "GET", .path = "/quick", .handler = hello, .quick = quick},
    {.method = "POST", .path = "/echo", .handler = echo},
    {.method = "POST", .path = "/any", .handler = echo, .flags = CYX_ROUTE_ANY_TYPE},
    {.method = "POST", .path = "/big", .handler = echo, .max_body_bytes = 8 << 20},
    {.method = "GET", .path = "/slow", .handler = slow},
    {.method = "GET", .path = "/fails", .handler = fails},
    {.method = "GET", .path = "/look/{id}", .handler = look},
    {.method = "PUT", .path = "/sink", .handler = hello, .sink = &sink},
};

static int setup_with(void **state, const struct cyx_http_options *options)
{
    return fixture_start(state, options, routes, sizeof(routes) / sizeof(routes[0]), ctx_text,
                         NULL);
}

static int setup(void **state)
{
    return setup_with(
        state, &(struct cyx_http_options){
                   .max_body_bytes = BODY_LIMIT, .workers = 3, .before = before, .after = after});
}

static int setup_hasty(void **state)
{
    return setup_with(state, &(struct cyx_http_options){.header_deadline_ms = 300,
                                                        .request_deadline_ms = 300,
                                                        .event_threads = 1});
}

static int setup_narrow(void **state)
{
    return setup_with(state, &(struct cyx_http_options){.workers = 1, .max_queued = 1});
}

/* ---- plain requests ---- */

static void test_server__answers_and_keeps_the_connection(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(f->port);
    for (int i = 0; i < 3; i++) {
        raw_send(fd, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc.1\r\n\r\n");
        raw_answer(fd, false, &f->answer);
        assert_int_equal(f->answer.status, 200);
        assert_string_equal(f->answer.body.data, "{\"ok\":true}");
        assert_string_equal(answer_header(&f->answer, "X-Request-Id"), "abc.1");
        assert_string_equal(answer_header(&f->answer, "X-Content-Type-Options"), "nosniff");
        raw_send(fd, "GET /inline HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_answer(fd, false, &f->answer);
        assert_int_equal(f->answer.status, 200);
        raw_send(fd, "GET /api/nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_answer(fd, false, &f->answer);
        assert_problem(&f->answer, 404, "not-found");
        assert_string_equal(answer_header(&f->answer, "X-Content-Type-Options"), "nosniff");
        raw_send(fd, "DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_answer(fd, false, &f->answer);
        assert_problem(&f->answer, 405, "unsupported");
        assert_string_equal(answer_header(&f->answer, "Allow"), "GET, HEAD");
        raw_send(fd, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_answer(fd, true, &f->answer);
        assert_int_equal(f->answer.status, 200);
        assert_string_equal(answer_header(&f->answer, "Content-Length"), "11");
    }
    close(fd);
}

static void test_server__a_quick_handler_answers_before_the_hook_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    raw_ask(f->port, "GET /quick?known=1 HTTP/1.1\r\nHost: x\r\nX-Deny: 1\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_string_equal(answer_header(&f->answer, "X-Quick"), "1");
    assert_string_equal(answer_header(&f->answer, "X-Content-Type-Options"), "nosniff");
    assert_non_null(answer_header(&f->answer, "X-Request-Id"));
    raw_ask(f->port, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200);
    assert_null(answer_header(&f->answer, "X-Quick"));
    raw_ask(f->port, "GET /quick HTTP/1.1\r\nHost: x\r\nX-Deny: 1\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 403, "denied");
}

static void test_server__pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(f->port);
    raw_send(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 "Content-Length: 2\r\n\r\n{}GET /inline HTTP/1.1\r\nHost: x\r\n\r\n"
                 "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw_answer(fd, false, &f->answer);
    assert_string_equal(f->answer.body.data, "{}");
    for (int i = 0; i < 2; i++) {
        raw_answer(fd, false, &f->answer);
        assert_string_equal(f->answer.body.data, "{\"ok\":true}");
    }
    assert_true(raw_closes(fd));
    close(fd);
}

static void test_server__request_is_taken_apart(void **state)
{
    struct fixture *f = *state;
    raw_ask(f->port,
            "GET /look/a%20b?limit=7 HTTP/1.1\r\nHost: x\r\nCookie: b=1; c=yes\r\n"
            "Authorization: Bearer tok\r\nX-Request-Id: no good\r\n"
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
            &f->answer);
    assert_int_equal(f->answer.status, 200);
    char expected[256];
    snprintf(expected, sizeof(expected), "%s|GET|/look/a b|a b|yes|7|tok|127.0.0.1", ctx_text);
    assert_string_equal(f->answer.body.data, expected);
    assert_string_equal(answer_header(&f->answer, "X-Trace"),
                        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_true(cyx_id_valid(answer_header(&f->answer, "X-Request-Id")));
    assert_string_equal(answer_header(&f->answer, "Set-Cookie"),
                        "s=1; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    raw_ask(f->port,
            "GET /look/1?limit=101 HTTP/1.1\r\nHost: x\r\ntraceparent: 00-"
            "00000000000000000000000000000000-b7ad6b7169203331-01\r\n\r\n",
            &f->answer);
    assert_problem(&f->answer, 422, "invalid");
    assert_non_null(strstr(f->answer.body.data, "from 1 to 100"));
}

static void test_server__failures_become_problems(void **state)
{
    struct fixture *f = *state;
    raw_ask(f->port, "GET /fails HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 422, "invalid");
    assert_non_null(strstr(f->answer.body.data, "\"pointer\":\"/model/layers/4\""));
    assert_non_null(strstr(f->answer.body.data, "\"instance\":\"/fails\""));
    raw_ask(f->port, "GET /fails?bare HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 409, "conflict");
    raw_ask(f->port, "GET /fails?nothing HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 500, "internal");
    raw_ask(f->port, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Deny: 1\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 403, "denied");
}

static void test_server__body_types_are_checked(void **state)
{
    struct fixture *f = *state;
    raw_ask(f->port,
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\n"
            "Content-Length: 4\r\n\r\ntrue",
            &f->answer);
    assert_int_equal(f->answer.status, 200);
    raw_ask(f->port,
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            "Content-Length: 4\r\n\r\ntrue",
            &f->answer);
    assert_problem(&f->answer, 415, "unsupported");
    raw_ask(f->port, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntrue", &f->answer);
    assert_problem(&f->answer, 415, "unsupported");
    raw_ask(f->port, "POST /any HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntrue", &f->answer);
    assert_int_equal(f->answer.status, 200);
    raw_ask(f->port, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200);
}

/* ---- what must be refused ---- */

static void test_server__refuses_ambiguous_requests(void **state)
{
    struct fixture *f = *state;
#define ECHO "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
#define NEXT "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {ECHO "Content-Length: 4\r\nContent-Length: 5\r\n\r\ntrue" NEXT, 400},
        {ECHO "Content-Length: 4\r\nContent-Length: 4\r\n\r\ntrue" NEXT, 400},
        {ECHO "Content-Length: 4\r\ncontent-length: 40\r\n\r\ntrue" NEXT, 400},
        {ECHO "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT, 400},
        {ECHO "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" NEXT, 400},
        {ECHO "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
        {ECHO "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
        {ECHO "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {ECHO "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
        {ECHO "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
        {ECHO "Content-Length : 4\r\n\r\ntrue", 400},
        {ECHO "Content-Length: 4\r\nX: a\r\n b\r\n\r\ntrue", 400},
        {ECHO "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
        {ECHO "Content-Length:\r\n 4\r\n\r\ntrue", 400},
        {ECHO "X: a\nContent-Length: 4\r\n\r\ntrue", 400},
        {"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        {"GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\nHost: a\n\n", 400},
        {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = raw_connect(f->port);
        raw_send(fd, cases[i].text);
        raw_answer(fd, false, &f->answer);
        if (f->answer.status != cases[i].status)
            print_error("case %zu: %s\n", i, cases[i].text);
        assert_problem(&f->answer, cases[i].status,
                       cases[i].status == 501 ? "unsupported" : "invalid");
        /* What follows an ambiguous body is never taken for a request. */
        if (strstr(cases[i].text, NEXT))
            assert_true(raw_closes(fd));
        close(fd);
    }
}

static void test_server__refuses_a_nul_in_the_headers(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "GET /hello HTTP/1.1\r\nHost: a\r\nX: b\0Content-Length: 4\r\n\r\n";
    int fd = raw_connect(f->port);
    raw_send_bytes(fd, text, sizeof(text) - 1);
    raw_answer(fd, false, &f->answer);
    assert_problem(&f->answer, 400, "invalid");
    close(fd);
}

static void test_server__refuses_what_is_too_long(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    cyx_buf_puts(&text, "GET /");
    for (int i = 0; i < 9000; i++)
        cyx_buf_puts(&text, "a");
    cyx_buf_puts(&text, " HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_ask(f->port, text.data, &f->answer);
    assert_problem(&f->answer, 414, "too-large");
    cyx_buf_clear(&text);
    cyx_buf_puts(&text, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 30; i++)
        cyx_buf_printf(&text, "X-Header-%d: %0600d\r\n", i, i);
    cyx_buf_puts(&text, "\r\n");
    raw_ask(f->port, text.data, &f->answer);
    assert_problem(&f->answer, 431, "too-large");
    cyx_buf_clear(&text); /* so many that libmicrohttpd has no room for them: it answers itself */
    cyx_buf_puts(&text, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 600; i++)
        cyx_buf_printf(&text, "X-Header-%d: %030d\r\n", i, i);
    cyx_buf_puts(&text, "\r\n");
    raw_ask(f->port, text.data, &f->answer);
    assert_int_equal(f->answer.status, 431);
}

static void test_server__refuses_fifty_megabytes_at_once(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(f->port);
    raw_send(fd, ECHO "Content-Length: 50000000\r\n\r\n");
    raw_answer(fd, false, &f->answer); /* before a byte of it was sent */
    assert_problem(&f->answer, 413, "too-large");
    assert_true(raw_closes(fd));
    close(fd);
    size_t sent = raw_push_fifty_megabytes(f->port, ECHO "Content-Length: 50000000\r\n\r\n", NULL,
                                           &f->answer);
    assert_problem(&f->answer, 413, "too-large");
    assert_true(sent < 40000000);
    sent = raw_push_fifty_megabytes(f->port, ECHO "Transfer-Encoding: chunked\r\n\r\n", "10000\r\n",
                                    &f->answer);
    assert_problem(&f->answer, 413, "too-large");
    assert_string_equal(answer_header(&f->answer, "X-Content-Type-Options"), "nosniff");
    assert_true(sent < 40000000);
    raw_ask(f->port, ECHO "Expect: 100-continue\r\nContent-Length: 50000000\r\n\r\n", &f->answer);
    assert_problem(&f->answer, 413, "too-large");
    assert_null(strstr(f->answer.head.data, "100"));
}

static void test_server__takes_bodies_up_to_the_limit(void **state)
{
    struct fixture *f = *state;
    for (int length = BODY_LIMIT - 1; length <= BODY_LIMIT + 1; length++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0}, chunked = {0};
        cyx_buf_printf(&text, ECHO "Content-Length: %d\r\n\r\n%0*d", length, length, 7);
        cyx_buf_printf(&chunked,
                       ECHO "Transfer-Encoding: chunked\r\n\r\n%x\r\n%0*d\r\n1\r\nx\r\n"
                            "0\r\n\r\n",
                       length - 1, length - 1, 7);
        for (int i = 0; i < 2; i++) {
            raw_ask(f->port, i ? chunked.data : text.data, &f->answer);
            if (length > BODY_LIMIT)
                assert_problem(&f->answer, 413, "too-large");
            else
                assert_int_equal(f->answer.body.length, length);
        }
    }
}

/* ---- time ---- */

/* Drips `text` for ever, a byte every 20 ms; gives back how long the server stood it. */
static int drip(struct fixture *f, int fd, const char *text)
{
    int64_t began_ns = cyx_clock_monotonic_ns();
    struct timeval pause = {.tv_usec = 20000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof(pause));
    for (size_t i = 0;; i = text[i + 1] ? i + 1 : i) {
        char peek = 0;
        if (send(fd, text + i, 1, MSG_NOSIGNAL) < 0 || recv(fd, &peek, 1, MSG_PEEK) >= 0)
            break;
        assert_true(cyx_clock_monotonic_ns() - began_ns < 10000000000);
    }
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int stood_ms = (int)((cyx_clock_monotonic_ns() - began_ns) / 1000000);
    raw_answer(fd, false, &f->answer);
    assert_problem(&f->answer, 408, "timeout");
    assert_true(raw_closes(fd));
    return stood_ms;
}

static void test_server__cuts_who_drips(void **state)
{
    struct fixture *f = *state;
    struct cyx_http_stats stats;
    static const char *const drips[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(drips) / sizeof(drips[0]); i++) {
        int fd = raw_connect(f->port);
        assert_in_range(drip(f, fd, drips[i]), 250, 3000);
        close(fd);
        /* On a connection that was kept, too. */
        fd = raw_connect(f->port);
        raw_send(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        raw_answer(fd, false, &f->answer);
        assert_in_range(drip(f, fd, drips[i]), 250, 3000);
        close(fd);
    }
    int fd = raw_connect(f->port);
    raw_send(fd, ECHO "Content-Length: 500\r\n\r\n");
    assert_in_range(drip(f, fd, "xxxxxxxxxxxxxxxx"), 250, 3000);
    close(fd);
    cyx_http_server_stats(f->server, &stats);
    assert_int_equal(stats.timed_out, 7);
}

static void test_server__idle_connections_are_not_cut_by_the_deadline(void **state)
{
    struct fixture *f = *state;
    int idle = raw_connect(f->port), fd = raw_connect(f->port);
    /* Three deadlines pass on another connection in the meantime. */
    for (int i = 0; i < 3; i++) {
        int dripping = raw_connect(f->port);
        drip(f, dripping, "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        close(dripping);
    }
    raw_send(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_answer(idle, false, &f->answer);
    assert_int_equal(f->answer.status, 200);
    close(idle);
    close(fd);
}

static void test_server__a_slow_handler_stops_nobody(void **state)
{
    struct fixture *f = *state;
    int waiting[2] = {raw_connect(f->port), raw_connect(f->port)};
    for (int i = 0; i < 2; i++)
        raw_send(waiting[i], "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    gate_await_entered(2); /* two of three workers */
    for (int i = 0; i < 20; i++) {
        raw_ask(f->port, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
        assert_int_equal(f->answer.status, 200);
    }
    gate_open();
    for (int i = 0; i < 2; i++) {
        raw_answer(waiting[i], false, &f->answer);
        assert_int_equal(f->answer.status, 200);
        close(waiting[i]);
    }
}

static void test_server__says_503_when_all_are_busy(void **state)
{
    struct fixture *f = *state;
    struct cyx_http_stats stats;
    int first = raw_connect(f->port), second = raw_connect(f->port);
    raw_send(first, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    gate_await_entered(1);
    raw_send(second, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    do
        cyx_http_server_stats(f->server, &stats);
    while (stats.queued < 1);
    int third = raw_connect(f->port);
    raw_send(third, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_answer(third, false, &f->answer);
    assert_problem(&f->answer, 503, "unavailable");
    assert_string_equal(answer_header(&f->answer, "Retry-After"), "1");
    raw_ask(f->port, "GET /inline HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200); /* health checks still answer */
    raw_ask(f->port, "PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", &f->answer);
    assert_problem(&f->answer, 503, "unavailable");
    gate_open();
    raw_answer(first, false, &f->answer);
    raw_answer(second, false, &f->answer);
    assert_int_equal(f->answer.status, 200);
    raw_send(third, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); /* its connection was kept */
    raw_answer(third, false, &f->answer);
    assert_int_equal(f->answer.status, 200);
    close(first);
    close(second);
    close(third);
}

/* ---- stop ---- */

static void test_stop__cuts_what_does_not_end(void **state)
{
    struct fixture *f = *state;
    int fd = raw_connect(f->port);
    raw_send(fd, ECHO "Content-Length: 100\r\n\r\nabc");
    struct cyx_http_stats stats;
    do
        cyx_http_server_stats(f->server, &stats);
    while (stats.in_flight < 1);
    assert_int_equal(cyx_http_server_stop(f->server, 100), CYX_ERR_TIMEOUT);
    assert_true(raw_closes(fd));
    close(fd);
}

static void test_start__says_when_the_port_is_taken(void **state)
{
    struct fixture *f = *state;
    struct cyx_http_server *other = NULL;
    struct cyx_error error = {0};
    cyx_http_server_create(&(struct cyx_http_options){.port = f->port}, &other, &error);
    assert_int_equal(cyx_http_server_start(other, &error), CYX_ERR_CONFLICT);
    assert_non_null(strstr(error.message, "in use"));
    cyx_http_server_destroy(other);
    cyx_http_server_create(&(struct cyx_http_options){.host = "nonsense"}, &other, &error);
    assert_int_equal(cyx_http_server_start(other, &error), CYX_ERR_INVALID);
    cyx_http_server_destroy(other);
}

int main(void)
{
#define T(name, how) cmocka_unit_test_setup_teardown(name, how, fixture_stop)
    const struct CMUnitTest tests[] = {
        T(test_server__answers_and_keeps_the_connection, setup),
        T(test_server__a_quick_handler_answers_before_the_hook_or_not_at_all, setup),
        T(test_server__pipelined_requests_are_answered_in_order, setup),
        T(test_server__request_is_taken_apart, setup),
        T(test_server__failures_become_problems, setup),
        T(test_server__body_types_are_checked, setup),
        T(test_server__refuses_ambiguous_requests, setup),
        T(test_server__refuses_a_nul_in_the_headers, setup),
        T(test_server__refuses_what_is_too_long, setup),
        T(test_server__refuses_fifty_megabytes_at_once, setup),
        T(test_server__takes_bodies_up_to_the_limit, setup),
        T(test_server__cuts_who_drips, setup_hasty),
        T(test_server__idle_connections_are_not_cut_by_the_deadline, setup_hasty),
        T(test_server__a_slow_handler_stops_nobody, setup),
        T(test_server__says_503_when_all_are_busy, setup_narrow),
        T(test_stop__cuts_what_does_not_end, setup),
        T(test_start__says_when_the_port_is_taken, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
