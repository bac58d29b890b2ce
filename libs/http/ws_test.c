/* WebSockets of a real server, spoken to by a client made by hand, frame by frame. */
#include "http/testing.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/ws.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* of RFC 6455, 1.3 */
#define UPGRADE "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
#define HANDSHAKE(path)                                                                            \
    "GET " path " HTTP/1.1\r\nHost: localhost\r\n" UPGRADE                                         \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n"

enum { FIN = 0x80, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, MASK = 0x80 };

/* ---- the server's side ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cyx_ws *ws; /* a reference, of the last that opened */
    int opened, closed;
    unsigned code;
    bool without_ws;
    uint64_t lost;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static char user_ctx[] = "user";

static void on_open(void *user, struct cyx_ws *ws)
{
    assert_ptr_equal(user, user_ctx);
    pthread_mutex_lock(&seen.lock);
    cyx_ws_unref(seen.ws);
    seen.ws = cyx_ws_ref(ws);
    seen.opened++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_message(void *user, struct cyx_ws *ws, bool text, const char *bytes, size_t length)
{
    (void)user;
    if (text && strcmp(bytes, "close me") == 0)
        cyx_ws_close(ws, 4000, "as you wish");
    else if (text && strcmp(bytes, "who") == 0)
        cyx_ws_send(ws, cyx_ws_request_id(ws), strlen(cyx_ws_request_id(ws)), 0);
    else
        cyx_ws_send(ws, bytes, length, text ? CYX_WS_TEXT : CYX_WS_BINARY);
}

static void on_drained(void *user, struct cyx_ws *ws, uint64_t dropped)
{
    (void)user;
    (void)ws;
    pthread_mutex_lock(&seen.lock);
    seen.lost += dropped;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_close(void *user, struct cyx_ws *ws, unsigned code, const char *reason)
{
    (void)reason;
    assert_ptr_equal(user, user_ctx);
    pthread_mutex_lock(&seen.lock);
    seen.closed++;
    seen.code = code;
    seen.without_ws = ws == NULL;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static enum cyx_status accept_some(void *ctx, const struct cyx_http_request *request,
                                   struct cyx_http_response *response, void **ret_user)
{
    assert_string_equal(ctx, "ctx");
    if (cyx_http_query(request, "refuse"))
        return cyx_error_set(&response->error, CYX_ERR_UNAUTHENTICATED, NULL, "sign in first");
    *ret_user = user_ctx;
    return CYX_OK;
}

static enum cyx_status hello(void *ctx, const struct cyx_http_request *request,
                             struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_json(response, 200, "{}", 2);
}

static const struct cyx_ws_handlers echo = {.accept = accept_some,
                                            .on_open = on_open,
                                            .on_message = on_message,
                                            .on_drained = on_drained,
                                            .on_close = on_close,
                                            .max_message_bytes = 70000,
                                            .max_queued_bytes = 100000,
                                            .protocol = "cyxwiz.v1"};
static const struct cyx_ws_handlers brisk = {.accept = accept_some,
                                             .on_open = on_open,
                                             .on_message = on_message,
                                             .on_close = on_close,
                                             .ping_interval_ms = 150};
static const struct cyx_ws_handlers plain = {.on_message = on_message};
static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/ws", .websocket = &echo},
    {.method = "GET", .path = "/brisk", .websocket = &brisk},
    {.method = "GET", .path = "/plain", .websocket = &plain},
    {.method = "GET", .path = "/hello", .handler = hello},
};

static int setup(void **state)
{
    static char ctx[] = "ctx";
    seen.opened = seen.closed = 0;
    seen.lost = 0;
    return fixture_start(state, NULL, routes, sizeof(routes) / sizeof(routes[0]), ctx, NULL);
}

static int teardown(void **state)
{
    fixture_stop(state);
    cyx_ws_unref(seen.ws);
    seen.ws = NULL;
    return 0;
}

static void await_count(const int *counter, int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    int rc = 0;
    pthread_mutex_lock(&seen.lock);
    while (*counter < count && rc == 0)
        rc = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(rc, 0);
}

static void assert_closed_with(unsigned code)
{
    await_count(&seen.closed, seen.opened);
    assert_int_equal(seen.code, code);
}

/* ---- the client's side ---- */

static int open_ws(struct fixture *f, const char *handshake)
{
    int fd = raw_connect(f->port);
    raw_send(fd, handshake);
    raw_send(fd, "\r\n");
    raw_answer(fd, false, &f->answer);
    assert_int_equal(f->answer.status, 101);
    return fd;
}

/* Puts a frame together; `masked` as clients must. */
static void append_frame(struct cyx_buf *to, unsigned first, const void *bytes, size_t length,
                         bool masked)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    const uint8_t *from = bytes;
    uint8_t head[14] = {(uint8_t)first};
    size_t used = 2;
    if (length < 126) {
        head[1] = (uint8_t)length;
    } else {
        size_t width = length < 65536 ? 2 : 8;
        head[1] = width == 2 ? 126 : 127;
        for (size_t i = 0; i < width; i++)
            head[used++] = (uint8_t)((uint64_t)length >> (8 * (width - 1 - i)));
    }
    if (masked) {
        head[1] |= MASK;
        memcpy(head + used, mask, 4);
        used += 4;
    }
    cyx_buf_append(to, head, used);
    for (size_t i = 0; i < length; i++) {
        char c = (char)(from[i] ^ (masked ? mask[i % 4] : 0));
        cyx_buf_append(to, &c, 1);
    }
}

static void send_frame(int fd, unsigned first, const void *bytes, size_t length)
{
    CYX_CLEANUP_BUF struct cyx_buf frame = {0};
    append_frame(&frame, first, bytes, length, true);
    raw_send_bytes(fd, frame.data, frame.length);
}

static void receive(int fd, void *to, size_t length)
{
    uint8_t *at = to;
    while (length) {
        ssize_t n = recv(fd, at, length, 0);
        assert_true(n > 0);
        at += n;
        length -= (size_t)n;
    }
}

/* One frame from the server, which must not be masked; its first byte comes back. */
static unsigned read_frame(int fd, struct cyx_buf *payload)
{
    uint8_t head[2], more[8];
    receive(fd, head, 2);
    assert_int_equal(head[1] & MASK, 0);
    size_t length = head[1], width = length == 126 ? 2 : length == 127 ? 8 : 0;
    receive(fd, more, width);
    for (size_t i = 0; i < width; i++)
        length = (i ? length << 8 : 0) | more[i];
    char *bytes = malloc(length + 1);
    receive(fd, bytes, length);
    cyx_buf_clear(payload);
    cyx_buf_append(payload, bytes, length);
    free(bytes);
    return head[0];
}

static void assert_frame(int fd, unsigned first, const char *text)
{
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    assert_int_equal(read_frame(fd, &payload), first);
    assert_string_equal(payload.data, text);
}

static void assert_close_frame(int fd, unsigned code)
{
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    assert_int_equal(read_frame(fd, &payload), FIN | CLOSE);
    if (payload.length == 0 && code == 1002)
        return; /* wslay names no code for an error in a frame's head */
    assert_true(payload.length >= 2);
    assert_int_equal((uint8_t)payload.data[0] << 8 | (uint8_t)payload.data[1], code);
}

/* ---- handshake ---- */

static void test_ws__handshake_follows_rfc_6455(void **state)
{
    struct fixture *f = *state;
    int fd = open_ws(f, HANDSHAKE("/ws") "Sec-WebSocket-Protocol: other, cyxwiz.v1\r\n"
                                         "X-Request-Id: r-77\r\n");
    assert_string_equal(answer_header(&f->answer, "Sec-WebSocket-Accept"),
                        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_string_equal(answer_header(&f->answer, "Sec-WebSocket-Protocol"), "cyxwiz.v1");
    assert_string_equal(answer_header(&f->answer, "X-Request-Id"), "r-77");
    send_frame(fd, FIN | TEXT, "who", 3);
    assert_frame(fd, FIN | TEXT, "r-77");
    close(fd);
    assert_closed_with(1006);
}

static void test_ws__refuses_bad_handshakes(void **state)
{
    struct fixture *f = *state;
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define START(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n"
    static const struct {
        const char *text;
        int status;
        const char *name;
    } cases[] = {
        {START("/ws") "\r\n", 426, "invalid"},
        {START("/ws") UPGRADE "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " KEY "\r\n\r\n", 426,
         "invalid"},
        {START("/ws") UPGRADE VERSION "\r\n", 400, "invalid"},
        {START("/ws") UPGRADE VERSION "Sec-WebSocket-Key: short==\r\n\r\n", 400, "invalid"},
        {START("/ws") UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\r\n\r\n", 400,
         "invalid"},
        {HANDSHAKE("/ws?refuse") "\r\n", 401, "unauthenticated"},
        {HANDSHAKE("/plain") "Origin: http://evil.example\r\n\r\n", 403, "denied"},
        {HANDSHAKE("/plain") "Origin: null\r\n\r\n", 403, "denied"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        raw_ask(f->port, cases[i].text, &f->answer);
        assert_problem(&f->answer, cases[i].status, cases[i].name);
        if (cases[i].status == 426)
            assert_string_equal(answer_header(&f->answer, "Sec-WebSocket-Version"), "13");
    }
    assert_int_equal(seen.opened, 0);
    int fd = open_ws(f, HANDSHAKE("/plain") "Origin: http://LOCALHOST\r\n");
    close(fd);
}

static void test_ws__takes_frames_that_come_with_the_handshake(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    int fd = raw_connect(f->port);
    cyx_buf_puts(&text, HANDSHAKE("/ws") "\r\n");
    append_frame(&text, FIN | TEXT, "early", 5, true);
    raw_send_bytes(fd, text.data, text.length);
    raw_answer(fd, false, &f->answer);
    assert_int_equal(f->answer.status, 101);
    assert_frame(fd, FIN | TEXT, "early");
    close(fd);
}

/* ---- messages ---- */

static void test_ws__echoes_every_length(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};
    char *bytes = malloc(70000);
    for (size_t i = 0; i < 70000; i++)
        bytes[i] = (char)(i * 7);
    int fd = open_ws(f, HANDSHAKE("/ws"));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        send_frame(fd, FIN | BINARY, bytes, lengths[i]);
        assert_int_equal(read_frame(fd, &payload), FIN | BINARY);
        assert_int_equal(payload.length, lengths[i]);
        assert_memory_equal(payload.data, bytes, lengths[i]);
    }
    free(bytes);
    close(fd);
}

static void test_ws__joins_fragments_around_a_ping(void **state)
{
    struct fixture *f = *state;
    int fd = open_ws(f, HANDSHAKE("/ws"));
    send_frame(fd, TEXT, "one \xC3", 5); /* a character is cut in two */
    send_frame(fd, FIN | PING, "p", 1);
    send_frame(fd, 0, "\xA9 two ", 6);
    send_frame(fd, FIN, "three", 5);
    assert_frame(fd, FIN | PONG, "p");
    assert_frame(fd, FIN | TEXT, "one \xC3\xA9 two three");
    /* And however the bytes of a frame are cut. */
    CYX_CLEANUP_BUF struct cyx_buf frame = {0};
    append_frame(&frame, FIN | TEXT, "drop by drop", 12, true);
    for (size_t i = 0; i < frame.length; i++)
        raw_send_bytes(fd, frame.data + i, 1);
    assert_frame(fd, FIN | TEXT, "drop by drop");
    close(fd);
}

static void test_ws__closes_on_what_is_forbidden(void **state)
{
    struct fixture *f = *state;
    static char huge[70001];
    memset(huge, 'h', sizeof(huge));
    static const struct {
        unsigned first;
        const char *bytes;
        size_t length;
        bool masked;
        unsigned code;
    } cases[] = {
        {FIN | TEXT, "unmasked", 8, false, 1002},
        {FIN | TEXT, "\xC3\x28", 2, true, 1007},
        {FIN | TEXT, huge, sizeof(huge), true, 1009},
        {FIN | 3, "x", 1, true, 1002},
        {FIN | 0x40 | TEXT, "x", 1, true, 1002},
        {FIN, "no begin", 8, true, 1002},
        {PING, "cut ping", 8, true, 1002},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CYX_CLEANUP_BUF struct cyx_buf frame = {0};
        int fd = open_ws(f, HANDSHAKE("/ws"));
        append_frame(&frame, cases[i].first, cases[i].bytes, cases[i].length, cases[i].masked);
        raw_send_bytes(fd, frame.data, frame.length);
        assert_close_frame(fd, cases[i].code);
        assert_true(raw_closes(fd));
        assert_closed_with(cases[i].code);
        close(fd);
    }
    int fd = open_ws(f, HANDSHAKE("/ws"));
    for (int i = 0; i < 8; i++) /* too large by fragments */
        send_frame(fd, i ? 0 : TEXT, huge, 10000);
    assert_close_frame(fd, 1009);
    close(fd);
}

/* ---- closing ---- */

static void test_ws__either_side_closes(void **state)
{
    struct fixture *f = *state;
    int fd = open_ws(f, HANDSHAKE("/ws"));
    send_frame(fd, FIN | CLOSE, "\x0F\xA1gone", 6); /* 4001 */
    assert_close_frame(fd, 4001);
    assert_true(raw_closes(fd));
    assert_closed_with(4001);
    close(fd);

    fd = open_ws(f, HANDSHAKE("/ws"));
    send_frame(fd, FIN | TEXT, "close me", 8);
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    assert_int_equal(read_frame(fd, &payload), FIN | CLOSE);
    assert_memory_equal(payload.data,
                        "\x0F\xA0"
                        "as you wish",
                        13); /* 4000 */
    send_frame(fd, FIN | CLOSE, "\x0F\xA0", 2);
    assert_true(raw_closes(fd));
    assert_closed_with(4000);
    assert_int_equal(cyx_ws_send(seen.ws, "x", 1, 0), CYX_ERR_CANCELLED);
    close(fd);
}

static void test_ws__cuts_who_answers_no_close_and_no_ping(void **state)
{
    struct fixture *f = *state;
    int fd = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, 1);
    cyx_ws_close(seen.ws, 1000, NULL);
    assert_close_frame(fd, 1000);
    assert_true(raw_closes(fd)); /* after two seconds */
    assert_closed_with(1000);
    close(fd);

    fd = open_ws(f, HANDSHAKE("/brisk"));
    assert_frame(fd, FIN | PING, "");
    send_frame(fd, FIN | PONG, "", 0);
    assert_frame(fd, FIN | PING, "");
    assert_true(raw_closes(fd)); /* no pong: cut */
    assert_closed_with(1006);
    close(fd);
}

static void *stop_server(void *arg)
{
    static enum cyx_status status;
    status = cyx_http_server_stop(arg, 5000);
    return &status;
}

static void test_ws__stop_closes_all_with_1001(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *status = NULL;
    int first = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, 1); /* so that the second one's handle is kept */
    int second = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, 2);
    cyx_ws_send(seen.ws, "queued before", 13, 0);
    pthread_create(&thread, NULL, stop_server, f->server);
    assert_frame(second, FIN | TEXT, "queued before");
    assert_close_frame(first, 1001);
    assert_close_frame(second, 1001);
    send_frame(first, FIN | CLOSE, "\x03\xE9", 2);
    send_frame(second, FIN | CLOSE, "\x03\xE9", 2);
    pthread_join(thread, &status);
    assert_int_equal(*(enum cyx_status *)status, CYX_OK);
    assert_closed_with(1001);
    assert_int_equal(cyx_ws_send(seen.ws, "x", 1, 0), CYX_ERR_CANCELLED);
    close(first);
    close(second);
}

/* ---- queues ---- */

static void test_ws__a_slow_reader_loses_detail_not_memory(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    static char point[2000];
    size_t queued = 0;
    uint64_t dropped = 0;
    int fd = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, 1);
    memset(point, '.', sizeof(point));
    while (dropped < 500) { /* some megabytes lie in the sockets first */
        assert_int_equal(cyx_ws_send(seen.ws, point, sizeof(point), CYX_WS_DROPPABLE), CYX_OK);
        cyx_ws_queue(seen.ws, &queued, &dropped);
        assert_true(queued <= 100000);
    }
    /* What must not be lost pushes detail out, until there is none left. */
    enum cyx_status status = CYX_OK;
    int kept = 0;
    for (; status == CYX_OK && kept < 5000; kept += status == CYX_OK)
        status = cyx_ws_send(seen.ws, "important", 9, CYX_WS_TEXT);
    assert_int_equal(status, CYX_ERR_TOO_LARGE);
    assert_true(kept > 100);
    assert_int_equal(cyx_ws_send(seen.ws, point, sizeof(point), CYX_WS_DROPPABLE),
                     CYX_ERR_TOO_LARGE);
    cyx_ws_queue(seen.ws, &queued, &dropped);
    int important = 0;
    while (important < kept) {
        assert_int_equal(read_frame(fd, &payload), FIN | TEXT);
        important += payload.length == 9;
    }
    pthread_mutex_lock(&seen.lock);
    while (seen.lost < dropped)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(seen.lost, dropped);
    assert_int_equal(cyx_ws_send(seen.ws, payload.data, 200000, 0), CYX_ERR_TOO_LARGE);
    close(fd);
}

struct sender {
    struct cyx_ws *ws;
    char name;
};

static void *send_many(void *arg)
{
    struct sender *self = arg;
    char text[32];
    for (int i = 0; i < 1000; i++) {
        int length = snprintf(text, sizeof(text), "%c%04d", self->name, i);
        while (cyx_ws_send(self->ws, text, (size_t)length, 0) == CYX_ERR_TOO_LARGE)
            sched_yield();
    }
    return NULL;
}

static void test_ws__many_threads_send_whole_messages_in_their_order(void **state)
{
    struct fixture *f = *state;
    CYX_CLEANUP_BUF struct cyx_buf payload = {0};
    struct sender senders[4];
    pthread_t threads[4];
    int next[4] = {0};
    int fd = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, 1);
    for (int i = 0; i < 4; i++) {
        senders[i] = (struct sender){seen.ws, (char)('a' + i)};
        pthread_create(&threads[i], NULL, send_many, &senders[i]);
    }
    for (int i = 0; i < 4000; i++) {
        assert_int_equal(read_frame(fd, &payload), FIN | TEXT);
        assert_int_equal(payload.length, 5);
        int who = payload.data[0] - 'a';
        assert_in_range(who, 0, 3);
        assert_int_equal(strtol(payload.data + 1, NULL, 10), next[who]++);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    close(fd);
}

static void test_ws__hundreds_at_once_leave_rest_answering(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 300 };
    struct cyx_http_stats stats;
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = open_ws(f, HANDSHAKE("/ws"));
    await_count(&seen.opened, COUNT);
    do
        cyx_http_server_stats(f->server, &stats);
    while (stats.in_flight > 0); /* the last handshake may be ending still */
    assert_int_equal(stats.websockets, COUNT);
    for (int i = 0; i < COUNT; i++)
        send_frame(fds[i], FIN | TEXT, "hello", 5);
    for (int i = 0; i < COUNT; i++)
        assert_frame(fds[i], FIN | TEXT, "hello");
    raw_ask(f->port, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", &f->answer);
    assert_int_equal(f->answer.status, 200);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    await_count(&seen.closed, COUNT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_ws__handshake_follows_rfc_6455),
        T(test_ws__refuses_bad_handshakes),
        T(test_ws__takes_frames_that_come_with_the_handshake),
        T(test_ws__echoes_every_length),
        T(test_ws__joins_fragments_around_a_ping),
        T(test_ws__closes_on_what_is_forbidden),
        T(test_ws__either_side_closes),
        T(test_ws__cuts_who_answers_no_close_and_no_ping),
        T(test_ws__stop_closes_all_with_1001),
        T(test_ws__a_slow_reader_loses_detail_not_memory),
        T(test_ws__many_threads_send_whole_messages_in_their_order),
        T(test_ws__hundreds_at_once_leave_rest_answering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
