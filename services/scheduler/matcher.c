/*
 * The matcher: a thread that takes back what is lost and assigns what waits, whenever it is woken and once a
 * second besides (another replica's submit wakes that replica's matcher alone).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "contract/message.h"
#include "contract/subjects.h"

#include "base/banned.h"

struct cyx_sched_matcher {
    struct cyx_sched_app *app;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken, stop;
    bool started;      /* main's thread alone reads and writes it */
    bool failing;      /* the last pass failed: it is logged once, not every second */
    int64_t tidied_ns; /* when it last looked for what is lost */
    int64_t folded_ns; /* when what was used was last added to the accounts */
    size_t standing;   /* offers that nobody had answered when it last looked */
    int64_t
        able_since_ns; /* since when database and bus have been there without a gap that we saw */
};

void cyx_sched_tell(struct cyx_sched_app *app, const char *node_id, const char *what,
                    const char *job_id, int64_t token)
{
    char subject[CYX_SUBJECT_BYTES];
    struct cyx_error err = {0};
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    enum cyx_status status = cyx_message_write(
        json_pack("{s:s, s:I}", "job_id", job_id, "token", (json_int_t)token), &text, &err);
    if (status == CYX_OK)
        status = cyx_subject_node(subject, node_id, what);
    if (status == CYX_OK)
        status = cyx_bus_publish(app->bus, subject, NULL, text.data, text.length, &err);
    if (status != CYX_OK)
        cyx_log(CYX_LOG_WARN, "node not told", CYX_STR("node_id", node_id), CYX_STR("what", what),
                CYX_STR("job_id", job_id), CYX_STR("error", err.message));
}

static void offer(void *ctx, const struct cyx_sched_offer *made)
{
    struct cyx_sched_app *app = ctx;
    cyx_sched_tell(app, made->node_id, CYX_NODE_OFFER, made->job_id, made->token);
    cyx_metric_add(app->assigned, 1);
    cyx_log(CYX_LOG_INFO, "job offered", CYX_STR("job_id", made->job_id),
            CYX_STR("node_id", made->node_id), CYX_INT("token", made->token));
}

static void offer_again(void *ctx, const struct cyx_sched_offer *made)
{
    cyx_sched_tell(ctx, made->node_id, CYX_NODE_OFFER, made->job_id, made->token);
}

static enum cyx_status count_jobs(struct cyx_sched_app *app, struct cyx_error *err)
{
    int64_t counts[CYX_SCHED_STATE_COUNT];
    enum cyx_status status = cyx_sched_store_counts(&app->store, counts, err);
    for (int i = CYX_SCHED_QUEUED; status == CYX_OK && i <= CYX_SCHED_RUNNING; i++)
        cyx_metric_set(app->jobs, (double)counts[i], cyx_sched_state_name((enum cyx_sched_state)i));
    return status;
}

/*
 * A lease that ran out while we could not hear its renewals proves nothing: leases end by time only once we have
 * been able to hear for as long as one lasts. Nodes that the registry gave up are taken at its word.
 */
static bool may_end_leases(struct cyx_sched_matcher *self, int64_t now_ns)
{
    if (self->failing || !cyx_bus_connected(self->app->bus))
        self->able_since_ns = now_ns;
    return now_ns - self->able_since_ns >= self->app->store.policy.lease_ms * 1000000;
}

/* Takes back what is lost, tells standing offers again and adds up what was used: at most every CYX_SCHED_REAP_MS,
 * since a busy scheduler is woken for each job that ends. */
static enum cyx_status tidy(struct cyx_sched_matcher *self, int64_t now_ns, struct cyx_error *err)
{
    struct cyx_sched_app *app = self->app;
    size_t freed = 0;
    if (now_ns - self->tidied_ns < CYX_SCHED_REAP_MS * INT64_C(1000000))
        return CYX_OK;
    self->tidied_ns = now_ns;
    enum cyx_status status =
        cyx_sched_store_reap(&app->store, may_end_leases(self, now_ns), &freed, err);
    if (status == CYX_OK)
        status = cyx_sched_store_standing(&app->store, CYX_SCHED_RESEND_MS * 4 / 5, offer_again,
                                          app, &self->standing, err);
    if (status == CYX_OK && now_ns - self->folded_ns > CYX_SCHED_POLL_MS * INT64_C(1000000)) {
        status = cyx_sched_store_fold(&app->store, err);
        if (status == CYX_OK)
            status = cyx_sched_store_mend_times(&app->store, err);
        self->folded_ns = now_ns;
    }
    cyx_metric_add(app->freed, (double)freed);
    return status;
}

/* Takes back, assigns; gives how long to sleep when nobody wakes us. */
static int64_t look(struct cyx_sched_matcher *self, bool polled)
{
    struct cyx_sched_app *app = self->app;
    struct cyx_error err = {0};
    size_t assigned = 0;
    int64_t start_ns = cyx_clock_monotonic_ns();
    enum cyx_status status = tidy(self, start_ns, &err);
    bool tidied = self->tidied_ns == start_ns;
    if (status == CYX_OK)
        status = cyx_sched_store_match(&app->store, offer, app, &assigned, &err);
    cyx_metric_observe(app->match_time, (double)(cyx_clock_monotonic_ns() - start_ns) / 1e9);
    if (status == CYX_OK && polled)
        status = count_jobs(app, &err);
    if (status != CYX_OK && !self->failing)
        cyx_log(CYX_LOG_WARN, "matching failed; tried again every second",
                CYX_STR("error", err.message));
    self->failing = status != CYX_OK;
    if (status != CYX_OK)
        return CYX_SCHED_POLL_MS;
    if (!tidied)
        return CYX_SCHED_REAP_MS; /* what woke us may have been a lost node */
    return self->standing + assigned > 0 ? CYX_SCHED_RESEND_MS : CYX_SCHED_POLL_MS;
}

static void *run(void *ctx)
{
    struct cyx_sched_matcher *self = ctx;
    bool polled = true;
    self->able_since_ns = cyx_clock_monotonic_ns();
    pthread_mutex_lock(&self->lock);
    while (!self->stop) {
        self->woken = false;
        pthread_mutex_unlock(&self->lock);
        int64_t sleep_ms = look(self, polled);
        pthread_mutex_lock(&self->lock);
        int64_t until_ns = cyx_clock_monotonic_ns() + sleep_ms * 1000000;
        const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
        polled = false;
        while (!self->stop && !self->woken && !polled)
            polled = pthread_cond_timedwait(&self->changed, &self->lock, &until) == ETIMEDOUT;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

struct cyx_sched_matcher *cyx_sched_matcher_create(struct cyx_sched_app *app)
{
    struct cyx_sched_matcher *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->app = app;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    return self;
}

enum cyx_status cyx_sched_matcher_start(struct cyx_sched_matcher *matcher, struct cyx_error *err)
{
    if (pthread_create(&matcher->thread, NULL, run, matcher) != 0)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread for the matcher");
    matcher->started = true;
    return CYX_OK;
}

void cyx_sched_matcher_wake(struct cyx_sched_matcher *matcher)
{
    pthread_mutex_lock(&matcher->lock);
    matcher->woken = true;
    pthread_cond_signal(&matcher->changed);
    pthread_mutex_unlock(&matcher->lock);
}

void cyx_sched_matcher_stop(struct cyx_sched_matcher *matcher)
{
    if (!matcher->started)
        return;
    pthread_mutex_lock(&matcher->lock);
    matcher->stop = true;
    pthread_cond_signal(&matcher->changed);
    pthread_mutex_unlock(&matcher->lock);
    pthread_join(matcher->thread, NULL);
    matcher->started = false;
}

void cyx_sched_matcher_destroy(struct cyx_sched_matcher *matcher)
{
    if (!matcher)
        return;
    cyx_sched_matcher_stop(matcher);
    pthread_cond_destroy(&matcher->changed);
    pthread_mutex_destroy(&matcher->lock);
    free(matcher);
}
