#include "base/every.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"

#include "base/banned.h"

struct cyx_every {
    cyx_every_fn *work;
    void *ctx;
    int64_t interval_ms;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* with the lock */
};

bool cyx_every_stopping(struct cyx_every *self)
{
    pthread_mutex_lock(&self->lock);
    bool stop = self->stop;
    pthread_mutex_unlock(&self->lock);
    return stop;
}

static void *run(void *ctx)
{
    struct cyx_every *self = ctx;
    while (!cyx_every_stopping(self)) {
        self->work(self->ctx, self);
        int64_t until_ns = cyx_clock_monotonic_ns() + self->interval_ms * INT64_C(1000000);
        const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                       .tv_nsec = until_ns % 1000000000};
        int waited = 0;
        pthread_mutex_lock(&self->lock);
        while (!self->stop && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&self->wake, &self->lock, &until);
        pthread_mutex_unlock(&self->lock);
    }
    return NULL;
}

static void destroy(struct cyx_every *self)
{
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

enum cyx_status cyx_every_start(cyx_every_fn *work, void *ctx, int64_t interval_ms,
                                struct cyx_every **ret_every, struct cyx_error *ret_error)
{
    struct cyx_every *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a thread");
    self->work = work;
    self->ctx = ctx;
    self->interval_ms = interval_ms;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->wake);
    if (pthread_create(&self->thread, NULL, run, self) != 0) {
        destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "cannot start a thread");
    }
    *ret_every = self;
    return CYX_OK;
}

void cyx_every_stop(struct cyx_every *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stop = true;
    pthread_cond_signal(&self->wake);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    destroy(self);
}
