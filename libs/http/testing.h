/*
 * For the tests of libs/http: raw sockets to a server on the loopback, and its answers taken apart
 * by hand.
 * Every wait has a limit of ten seconds and fails the test.
 */
#ifndef CYX_HTTP_TESTING_H
#define CYX_HTTP_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/server.h"

struct answer {
    int status;
    struct cyx_buf head; /* as it came, status line included */
    struct cyx_buf body; /* chunks joined */
    bool closed;         /* the server closed behind it */
};

int raw_connect(uint16_t port);
void raw_send(int fd, const char *text);
void raw_send_bytes(int fd, const void *bytes, size_t length);

/* One whole answer; `head` for an answer to HEAD, which has no body. 100 Continue is skipped. */
void raw_answer(int fd, bool head, struct answer *answer);

/* Connects, sends, reads one answer and closes. */
void raw_ask(uint16_t port, const char *request, struct answer *answer);

/* The value of a header, or NULL. Lives until the next call. */
const char *answer_header(const struct answer *answer, const char *name);

/* Asserts status, problem+json, its "status" and "type", and that it has a request id. */
void assert_problem(const struct answer *answer, int status, const char *name);

void answer_finish(struct answer *answer);

/*
 * Sends 50 MB behind `head` for as long as the server takes it, then reads the answer.
 * `chunk_head` (or NULL) stands before each 64 KiB. Gives back how many bytes the server took.
 */
size_t raw_push_fifty_megabytes(uint16_t port, const char *head, const char *chunk_head,
                                struct answer *answer);

/* True when the server closes within ten seconds; what it sends before is dropped. */
bool raw_closes(int fd);

/* A gate that handlers wait at, so that tests say when they go on. */
void gate_reset(void);
void gate_wait(void);           /* in the handler */
void gate_await_entered(int n); /* in the test: until n handlers wait */
void gate_open(void);

/* ---- one server for a test ---- */

struct fixture {
    struct cyx_http_server *server;
    uint16_t port;
    struct answer answer;
};

/* For setup functions: serves `routes`, and `mount` where it is not NULL. */
int fixture_start(void **state, const struct cyx_http_options *options,
                  const struct cyx_http_route *routes, size_t count, void *ctx,
                  const struct cyx_http_static *mount);

/* For teardown: opens the gate and stops the server. */
int fixture_stop(void **state);

#endif
