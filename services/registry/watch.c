/*
 * The watch: once a heartbeat it judges every node by what this replica heard and what PostgreSQL knows, and
 * carries the verdicts out; and it asks for the benchmarks that are due. Several replicas may come to the same verdict; the store lets one carry it out.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "api.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "store_health.h"

#include "base/banned.h"

enum { PUSH_MS = 5000, FORGET_PERIODS = 100 };

struct cyx_registry_watch {
    struct cyx_registry_app *app;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    int64_t listening_since_ns;
    bool failing;      /* the last look failed: it is logged once, not at every beat */
    int64_t pushed_ns; /* when NATS was last told of revocations */
};

static void log_verdict(struct cyx_registry_app *app, const struct cyx_registry_sight *sight,
                        enum cyx_registry_verdict verdict, int64_t heard_age_ms,
                        const struct cyx_registry_why *why)
{
    bool back = verdict == CYX_VERDICT_ONLINE;
    cyx_metric_add(app->changes, 1, back ? "returned" : "lost");
    cyx_log(back ? CYX_LOG_INFO : CYX_LOG_WARN, back ? "node is back" : "node fell silent",
            CYX_STR("node_id", sight->id), CYX_STR("boot_id", sight->boot_id),
            CYX_INT("heard_ms_ago", heard_age_ms), CYX_STR("why", back ? NULL : why->message));
}

/* Judges one node; counts it by the status that it then has. */
static enum cyx_status judge(struct cyx_registry_watch *self,
                             const struct cyx_registry_sight *sight, int64_t now_ns,
                             size_t counts[3], struct cyx_error *err)
{
    struct cyx_registry_app *app = self->app;
    enum cyx_status status = cyx_presence_enrolled(app->presence, sight->id, sight->boot_id);
    if (status != CYX_OK)
        return status;
    const struct cyx_registry_evidence evidence = {
        .status = sight->status,
        .stored_age_ms = sight->stored_age_ms,
        .heard_age_ms = cyx_presence_age_ms(app->presence, sight->id, sight->boot_id, now_ns, NULL),
        .listening_ms = (now_ns - self->listening_since_ns) / 1000000,
    };
    enum cyx_registry_verdict verdict =
        cyx_registry_judge(&evidence, cyx_presence_deadline_ms(app->presence, sight->id, NULL));
    enum cyx_registry_status after = verdict == CYX_VERDICT_ONLINE    ? CYX_NODE_ONLINE
                                     : verdict == CYX_VERDICT_OFFLINE ? CYX_NODE_OFFLINE
                                                                      : sight->status;
    counts[after]++;
    if (verdict == CYX_VERDICT_KEEP)
        return CYX_OK;
    bool done = false;
    struct cyx_registry_why why;
    cyx_registry_explain_silence(app, sight->id, sight->boot_id, sight->host_memory_bytes, now_ns,
                                 &why);
    status =
        cyx_registry_store_judge(&app->store, sight->id, sight->boot_id, verdict, &why, &done, err);
    if (status == CYX_OK && done)
        log_verdict(app, sight, verdict, evidence.heard_age_ms, &why);
    return status;
}

static void look(struct cyx_registry_watch *self)
{
    struct cyx_registry_app *app = self->app;
    struct cyx_error err = {0};
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (!cyx_bus_connected(app->bus)) /* deaf: what is not heard now says nothing */
        self->listening_since_ns = now_ns;
    struct cyx_registry_sight *sights = NULL;
    size_t count = 0, changed = 0, counts[3] = {0};
    enum cyx_status status = cyx_registry_store_sights(&app->store, &sights, &count, &err);
    for (size_t i = 0; status == CYX_OK && i < count; i++)
        status = judge(self, &sights[i], now_ns, counts, &err);
    free(sights);
    if (status != CYX_OK) {
        if (!self->failing)
            cyx_log(CYX_LOG_WARN, "nodes cannot be judged", CYX_STR("error", err.message));
        self->failing = true;
        return;
    }
    self->failing = false;
    if (cyx_registry_store_settle(&app->store, &changed, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "maintenance windows were not looked at",
                CYX_STR("error", err.message));
    for (int i = CYX_NODE_ONLINE; i <= CYX_NODE_DRAINING; i++)
        cyx_metric_set(app->nodes, (double)counts[i],
                       cyx_registry_status_name((enum cyx_registry_status)i));
    (void)cyx_presence_sweep(app->presence, app->heartbeat_ms * FORGET_PERIODS, now_ns);
}

/* A NATS server that was started anew knows of no revocation. */
static void push(struct cyx_registry_watch *self)
{
    struct cyx_error err = {0};
    int64_t now_ns = cyx_clock_monotonic_ns();
    if (now_ns - self->pushed_ns < PUSH_MS * INT64_C(1000000))
        return;
    self->pushed_ns = now_ns;
    if (cyx_registry_push_revocations(self->app, &err) != CYX_OK)
        cyx_log(CYX_LOG_WARN, "NATS was not told which keys are revoked",
                CYX_STR("error", err.message));
}

static void *run(void *ctx)
{
    struct cyx_registry_watch *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->stop) {
        pthread_mutex_unlock(&self->lock);
        look(self);
        push(self);
        cyx_registry_expire_proofs(self->app);
        cyx_registry_ask_proofs(self->app, NULL);
        pthread_mutex_lock(&self->lock);
        int64_t until_ns = cyx_clock_monotonic_ns() + self->app->heartbeat_ms * 1000000;
        const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
        while (!self->stop && pthread_cond_timedwait(&self->wake, &self->lock, &until) != ETIMEDOUT)
            continue;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

enum cyx_status cyx_registry_watch_start(struct cyx_registry_app *app, struct cyx_error *err)
{
    struct cyx_registry_watch *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the watch");
    self->app = app;
    self->listening_since_ns = cyx_clock_monotonic_ns();
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->wake);
    if (pthread_create(&self->thread, NULL, run, self) != 0) {
        pthread_cond_destroy(&self->wake);
        pthread_mutex_destroy(&self->lock);
        free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread for the watch");
    }
    app->watch = self;
    return CYX_OK;
}

void cyx_registry_watch_stop(struct cyx_registry_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}
