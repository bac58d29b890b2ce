/*
 * What tests against real servers share: the environment that tests/support/servers made, taking a server
 * away and bringing it back, and waiting for an event that another thread reports.
 */
#ifndef CYX_TESTS_SERVERS_H
#define CYX_TESTS_SERVERS_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The variable's value; without it the program says SKIP and why, and ends with 77. */
const char *servers_env(const char *name);

/* servers_command("kill", "nats"), servers_command("start", "nats"): fails the test when it does not work. */
void servers_command(const char *verb, const char *name);

/* Events that threads report and the test waits for. Zero-initialise with LATCH_INIT. */
struct latch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t count;
};
#define LATCH_INIT                                                                                 \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                     \
    }

enum { LATCH_TIMEOUT_S = 30 };

void latch_add(struct latch *self, int64_t by);
int64_t latch_count(struct latch *self);

/* Waits until the count is at least `count`; false after LATCH_TIMEOUT_S. */
bool latch_wait(struct latch *self, int64_t count);

/* Asks `ready` again and again, since nobody reports its event, for at most LATCH_TIMEOUT_S. */
bool wait_for(bool (*ready)(void *ctx), void *ctx);

#endif
