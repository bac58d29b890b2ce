#include "prune.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"

#include "base/banned.h"

enum { EVERY_S = 3600, AT_ONCE = 5000 };

struct prune {
    struct store *store;
    int64_t audit_days;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
};

static bool stopped(struct prune *self)
{
    pthread_mutex_lock(&self->lock);
    bool stop = self->stop;
    pthread_mutex_unlock(&self->lock);
    return stop;
}

static void prune(struct prune *self)
{
    struct cyx_error err = {0};
    int64_t gone = 0, all = 0;
    enum cyx_status status = CYX_OK;
    do {
        status = store_audit_prune(self->store, self->audit_days, AT_ONCE, &gone, &err);
        all += status == CYX_OK ? gone : 0;
    } while (status == CYX_OK && gone == AT_ONCE && !stopped(self));
    if (status != CYX_OK)
        cyx_log(CYX_LOG_WARN, "the audit log was not pruned; tried again in an hour",
                CYX_STR("error", err.message));
    if (all > 0)
        cyx_log(CYX_LOG_INFO, "the audit log was pruned", CYX_INT("entries", all),
                CYX_INT("older_than_days", self->audit_days));
}

static void *run(void *ctx)
{
    struct prune *self = ctx;
    while (!stopped(self)) {
        prune(self);
        int64_t until_s = cyx_clock_monotonic_ns() / 1000000000 + EVERY_S;
        const struct timespec until = {.tv_sec = until_s};
        int waited = 0;
        pthread_mutex_lock(&self->lock);
        while (!self->stop && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&self->wake, &self->lock, &until);
        pthread_mutex_unlock(&self->lock);
    }
    return NULL;
}

enum cyx_status prune_create(struct store *store, int64_t audit_days, struct prune **ret_prune,
                             struct cyx_error *err)
{
    struct prune *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the gateway");
    self->store = store;
    self->audit_days = audit_days;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->wake);
    if (pthread_create(&self->thread, NULL, run, self) != 0) {
        free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "cannot start a thread");
    }
    *ret_prune = self;
    return CYX_OK;
}

void prune_destroy(struct prune *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stop = true;
    pthread_cond_signal(&self->wake);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
