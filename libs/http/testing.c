#include "http/testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int raw_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void raw_send_bytes(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += n;
        length -= (size_t)n;
    }
}

void raw_send(int fd, const char *text)
{
    raw_send_bytes(fd, text, strlen(text));
}

static bool read_byte(int fd, char *ret_byte)
{
    ssize_t n = recv(fd, ret_byte, 1, 0);
    if (n < 0 && errno != ECONNRESET)
        fail_msg("no answer in ten seconds");
    return n == 1;
}

static bool read_line(int fd, struct cyx_buf *line)
{
    char c = 0;
    cyx_buf_clear(line);
    while (read_byte(fd, &c)) {
        cyx_buf_append(line, &c, 1);
        if (c == '\n')
            return true;
    }
    return false;
}

static void read_bytes(int fd, struct cyx_buf *to, size_t length)
{
    char chunk[65536];
    while (length) {
        ssize_t n = recv(fd, chunk, length < sizeof(chunk) ? length : sizeof(chunk), 0);
        assert_true(n > 0);
        cyx_buf_append(to, chunk, (size_t)n);
        length -= (size_t)n;
    }
}

static void read_chunks(int fd, struct cyx_buf *to)
{
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    for (;;) {
        assert_true(read_line(fd, &line));
        size_t size = strtoul(line.data, NULL, 16);
        read_bytes(fd, to, size);
        assert_true(read_line(fd, &line));
        if (size == 0)
            return;
    }
}

static bool read_head(int fd, struct answer *answer)
{
    CYX_CLEANUP_BUF struct cyx_buf line = {0};
    cyx_buf_clear(&answer->head);
    while (read_line(fd, &line)) {
        if (strcmp(line.data, "\r\n") == 0)
            return true;
        cyx_buf_append(&answer->head, line.data, line.length);
    }
    return false;
}

void raw_answer(int fd, bool head, struct answer *answer)
{
    cyx_buf_clear(&answer->body);
    do {
        if (!read_head(fd, answer))
            fail_msg("the server closed without an answer");
        assert_int_equal(strncmp(answer->head.data, "HTTP/1.1 ", 9), 0);
        answer->status = (int)strtol(answer->head.data + 9, NULL, 10);
    } while (answer->status == 100);
    const char *length = answer_header(answer, "Content-Length");
    const char *coding = answer_header(answer, "Transfer-Encoding");
    if (head || answer->status == 204 || answer->status == 304 || answer->status == 101)
        return;
    if (coding)
        read_chunks(fd, &answer->body);
    else if (length)
        read_bytes(fd, &answer->body, strtoul(length, NULL, 10));
    cyx_buf_append(&answer->body, "", 0);
}

void raw_ask(uint16_t port, const char *request, struct answer *answer)
{
    int fd = raw_connect(port);
    raw_send(fd, request);
    raw_answer(fd, strncmp(request, "HEAD ", 5) == 0, answer);
    close(fd);
}

const char *answer_header(const struct answer *answer, const char *name)
{
    static char value[1024];
    size_t length = strlen(name);
    for (const char *at = answer->head.data; at && *at;) {
        const char *end = strstr(at, "\r\n");
        if (strncasecmp(at, name, length) == 0 && at[length] == ':') {
            at += length + 1 + strspn(at + length + 1, " ");
            size_t size = (size_t)(end - at);
            assert_true(size < sizeof(value));
            memcpy(value, at, size);
            value[size] = '\0';
            return value;
        }
        at = end + 2;
    }
    return NULL;
}

void assert_problem(const struct answer *answer, int status, const char *name)
{
    char text[128];
    if (answer->status != status)
        print_error("expected %d, got %d: %s\n", status, answer->status, answer->body.data);
    assert_int_equal(answer->status, status);
    assert_string_equal(answer_header(answer, "Content-Type"), "application/problem+json");
    snprintf(text, sizeof(text), "\"type\":\"urn:cyxwiz:problem:%s\"", name);
    assert_non_null(strstr(answer->body.data, text));
    snprintf(text, sizeof(text), "\"status\":%d,", status);
    assert_non_null(strstr(answer->body.data, text));
    assert_non_null(strstr(answer->body.data, "\"request_id\":\""));
}

void answer_finish(struct answer *answer)
{
    cyx_buf_finish(&answer->head);
    cyx_buf_finish(&answer->body);
}

bool raw_closes(int fd)
{
    char drop[4096];
    ssize_t n = 0;
    while ((n = recv(fd, drop, sizeof(drop), 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

size_t raw_push_fifty_megabytes(uint16_t port, const char *head, const char *chunk_head,
                                struct answer *answer)
{
    static char block[65536];
    size_t sent = 0;
    int fd = raw_connect(port);
    memset(block, 'x', sizeof(block));
    raw_send(fd, head);
    while (sent < 50000000) {
        if (chunk_head && send(fd, chunk_head, strlen(chunk_head), MSG_NOSIGNAL) < 0)
            break;
        ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (n <= 0 || (chunk_head && send(fd, "\r\n", 2, MSG_NOSIGNAL) < 0))
            break;
        sent += (size_t)n;
    }
    raw_answer(fd, false, answer);
    close(fd);
    return sent;
}

/* ---- gate ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static int gate_entered;
static bool gate_is_open;

void gate_reset(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_entered = 0;
    gate_is_open = false;
    pthread_mutex_unlock(&gate_lock);
}

void gate_wait(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_entered++;
    pthread_cond_broadcast(&gate_changed);
    while (!gate_is_open)
        pthread_cond_wait(&gate_changed, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
}

void gate_await_entered(int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    int rc = 0;
    pthread_mutex_lock(&gate_lock);
    while (gate_entered < n && rc == 0)
        rc = pthread_cond_timedwait(&gate_changed, &gate_lock, &until);
    pthread_mutex_unlock(&gate_lock);
    assert_int_equal(rc, 0);
}

void gate_open(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_is_open = true;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_lock);
}

/* ---- one server for a test ---- */

int fixture_start(void **state, const struct cyx_http_options *options,
                  const struct cyx_http_route *routes, size_t count, void *ctx,
                  const struct cyx_http_static *mount)
{
    struct fixture *self = calloc(1, sizeof(*self));
    struct cyx_error error = {0};
    assert_non_null(self);
    gate_reset();
    assert_int_equal(cyx_http_server_create(options, &self->server, &error), CYX_OK);
    assert_int_equal(cyx_http_server_add_routes(self->server, routes, count, ctx, &error), CYX_OK);
    if (mount)
        assert_int_equal(cyx_http_server_mount(self->server, mount, &error), CYX_OK);
    if (cyx_http_server_start(self->server, &error) != CYX_OK)
        fail_msg("%s", error.message);
    self->port = cyx_http_server_port(self->server);
    *state = self;
    return 0;
}

int fixture_stop(void **state)
{
    struct fixture *self = *state;
    gate_open();
    cyx_http_server_destroy(self->server);
    answer_finish(&self->answer);
    free(self);
    return 0;
}
