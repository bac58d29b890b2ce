/*
 * A client for gateway_bench.py, one thread: keep-alive GETs as fast as they are answered, or many WebSockets that
 * watch one job.
 *
 *   gateway_load http PORT PATH CONNECTIONS SECONDS [TOKEN]     prints answers a second and their mean size
 *   gateway_load ws PORT JOB SUBSCRIBERS TOKEN UPDATES          prints "ready", then the latency of UPDATES updates
 *
 * An update carries "sent_ns": the monotonic clock of the machine when it was published. Ends with 1 and a sentence
 * for anything that is not as it should be: a benchmark of errors is none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024, EVENTS = 512, WS_BUFFER_BYTES = 4096 };

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t number(const char *text)
{
    char *end = NULL;
    int64_t value = strtoll(text, &end, 10);
    if (end == text || *end)
        die("\"%s\" is no number", text);
    return value;
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("cannot connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void send_all(int fd, const void *bytes, size_t length)
{
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("cannot send: %s", strerror(errno));
}

static void watch(int epoll, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll: %s", strerror(errno));
}

/* ---- GETs -------------------------------------------------------------------------------------- */

struct getter {
    int fd;
    size_t filled;
    char bytes[BUFFER_BYTES];
};

/* The length of the whole answer at the start of the buffer; 0 while its head is not all there. */
static size_t answer_length(const struct getter *self)
{
    const char *end = memmem(self->bytes, self->filled, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (strncmp(self->bytes, "HTTP/1.1 200 ", 13) != 0)
        die("not 200: %.200s", self->bytes);
    const char *length = memmem(self->bytes, (size_t)(end - self->bytes), "Content-Length: ", 16);
    if (!length)
        die("no Content-Length");
    return (size_t)(end - self->bytes) + 4 + strtoul(length + 16, NULL, 10);
}

/* Whether the answer is whole. */
static bool get_more(struct getter *self)
{
    ssize_t n =
        recv(self->fd, self->bytes + self->filled, sizeof(self->bytes) - 1 - self->filled, 0);
    if (n <= 0)
        die("the server closed: %s", n < 0 ? strerror(errno) : "end");
    self->filled += (size_t)n;
    self->bytes[self->filled] = '\0';
    size_t length = answer_length(self);
    if (length >= sizeof(self->bytes))
        die("the answer is too large");
    return length > 0 && self->filled >= length;
}

static int run_http(int port, const char *path, int connections, int seconds, const char *token)
{
    char request[2048];
    int size = snprintf(
        request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", path, port,
        token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
    struct getter *getters = calloc((size_t)connections, sizeof(*getters));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!getters || size >= (int)sizeof(request))
        die("no memory");
    for (int i = 0; i < connections; i++) {
        getters[i].fd = dial(port);
        watch(epoll, getters[i].fd, &getters[i]);
        send_all(getters[i].fd, request, (size_t)size);
    }
    int64_t warm_ns = now_ns() + 500000000, end_ns = warm_ns + seconds * INT64_C(1000000000);
    uint64_t answers = 0, bytes = 0;
    for (int64_t at = now_ns(); at < end_ns; at = now_ns()) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            struct getter *getter = events[i].data.ptr;
            if (!get_more(getter))
                continue;
            answers += at >= warm_ns;
            bytes += at >= warm_ns ? getter->filled : 0;
            getter->filled = 0;
            send_all(getter->fd, request, (size_t)size);
        }
    }
    for (int i = 0; i < connections; i++)
        close(getters[i].fd);
    free(getters);
    close(epoll);
    if (answers == 0)
        die("no answers");
    printf("%.0f %.0f\n", (double)answers / seconds, (double)bytes / (double)answers);
    return 0;
}

/* ---- WebSockets -------------------------------------------------------------------------------- */

struct reader {
    int fd;
    size_t filled;
    bool subscribed;
    char bytes[WS_BUFFER_BYTES];
};

struct tally {
    int ready;
    size_t updates, wanted;
    double *ms;
};

/* At most 125 bytes; the mask is 0. */
static void send_text(int fd, const char *text)
{
    uint8_t frame[6 + 125] = {0x81};
    size_t length = strlen(text);
    if (length > 125)
        die("the message is too long");
    frame[1] = (uint8_t)(0x80 | length);
    for (size_t i = 0; i < length; i++)
        frame[6 + i] = (uint8_t)text[i];
    send_all(fd, frame, length + 6);
}

/* What came behind the handshake stays in the reader. */
static void open_ws(struct reader *self, int port, const char *token)
{
    char text[512];
    const char *end = NULL;
    self->fd = dial(port);
    snprintf(text, sizeof(text),
             "GET /api/v1/ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
             port, token);
    send_all(self->fd, text, strlen(text));
    while (!(end = memmem(self->bytes, self->filled, "\r\n\r\n", 4))) {
        ssize_t n =
            recv(self->fd, self->bytes + self->filled, sizeof(self->bytes) - self->filled, 0);
        if (n <= 0)
            die("no handshake: %s", n < 0 ? strerror(errno) : "end");
        self->filled += (size_t)n;
    }
    if (strncmp(self->bytes, "HTTP/1.1 101 ", 13) != 0)
        die("no WebSocket: %.200s", self->bytes);
    size_t head = (size_t)(end - self->bytes) + 4;
    self->filled -= head;
    memmove(self->bytes, self->bytes + head, self->filled);
}

static void take_message(struct reader *self, struct tally *tally, const char *text, size_t length)
{
    const char *sent = memmem(text, length, "\"sent_ns\":", 10);
    if (memmem(text, length, "\"type\":\"subscribed\"", 19)) {
        self->subscribed = true;
        tally->ready++;
    } else if (memmem(text, length, "\"type\":\"lost\"", 13) ||
               memmem(text, length, "\"type\":\"error\"", 14)) {
        die("%.*s", (int)length, text);
    } else if (sent && tally->updates < tally->wanted) {
        tally->ms[tally->updates++] = (double)(now_ns() - strtoll(sent + 10, NULL, 10)) / 1e6;
    }
}

/* Takes whole frames out of the buffer. */
static void take_frames(struct reader *self, struct tally *tally)
{
    size_t at = 0;
    while (self->filled - at >= 4) {
        const uint8_t *frame = (const uint8_t *)self->bytes + at;
        size_t length = frame[1] & 127, head = 2;
        if (length == 126) {
            length = (size_t)(frame[2] << 8 | frame[3]);
            head = 4;
        }
        if (self->filled - at < head + length)
            break;
        if ((frame[0] & 15) == 9) {
            uint8_t pong[] = {0x8a, 0x80, 0, 0, 0, 0};
            send_all(self->fd, pong, sizeof(pong));
        } else if ((frame[0] & 15) == 1) {
            take_message(self, tally, (const char *)frame + head, length);
        }
        at += head + length;
    }
    memmove(self->bytes, self->bytes + at, self->filled - at);
    self->filled -= at;
}

static void read_some(struct reader *self, struct tally *tally)
{
    ssize_t n = recv(self->fd, self->bytes + self->filled, sizeof(self->bytes) - self->filled, 0);
    if (n <= 0)
        die("a WebSocket was closed: %s", n < 0 ? strerror(errno) : "end");
    self->filled += (size_t)n;
    take_frames(self, tally);
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void pump(int epoll, struct tally *tally, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, wait_ms);
    if (count <= 0 && wait_ms)
        die("nothing came for 30 s (%d subscribed, %zu of %zu updates)", tally->ready,
            tally->updates, tally->wanted);
    for (int i = 0; i < count; i++)
        read_some(events[i].data.ptr, tally);
}

static int run_ws(int port, const char *job, int subscribers, const char *token, int updates)
{
    struct tally tally = {.wanted = (size_t)subscribers * (size_t)updates};
    struct reader *readers = calloc((size_t)subscribers, sizeof(*readers));
    char text[128];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    tally.ms = calloc(tally.wanted, sizeof(*tally.ms));
    if (!readers || !tally.ms)
        die("no memory");
    snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"id\":\"1\",\"job_id\":\"%s\"}", job);
    for (int i = 0; i < subscribers; i++) {
        open_ws(&readers[i], port, token);
        watch(epoll, readers[i].fd, &readers[i]);
        send_text(readers[i].fd, text);
        pump(epoll, &tally, 0); /* the pings of the others want their pongs */
    }
    while (tally.ready < subscribers)
        pump(epoll, &tally, 30000);
    printf("ready\n");
    fflush(stdout);
    while (tally.updates < tally.wanted)
        pump(epoll, &tally, 30000);
    qsort(tally.ms, tally.wanted, sizeof(*tally.ms), by_value);
    printf("%zu %.1f %.1f %.1f\n", tally.updates, tally.ms[tally.wanted / 2],
           tally.ms[tally.wanted * 99 / 100], tally.ms[tally.wanted - 1]);
    for (int i = 0; i < subscribers; i++)
        close(readers[i].fd);
    free(readers);
    free(tally.ms);
    close(epoll);
    return 0;
}

int main(int argc, char **argv)
{
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files); /* what is not allowed shows when connecting */
    if ((argc == 6 || argc == 7) && strcmp(argv[1], "http") == 0)
        return run_http((int)number(argv[2]), argv[3], (int)number(argv[4]), (int)number(argv[5]),
                        argc == 7 ? argv[6] : NULL);
    if (argc == 7 && strcmp(argv[1], "ws") == 0)
        return run_ws((int)number(argv[2]), argv[3], (int)number(argv[4]), argv[5],
                      (int)number(argv[6]));
    die("usage: gateway_load http PORT PATH CONNECTIONS SECONDS [TOKEN] | ws PORT JOB N TOKEN "
        "UPDATES");
}
