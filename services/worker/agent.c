#include "agent.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent_internal.h"
#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

static struct timespec monotonic_after(int64_t ms)
{
    int64_t at_ns = cyx_clock_monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}

void agent_on_offer(void *ctx, const struct cyx_bus_message *message)
{
    struct agent *self = ctx;
    struct cyx_error err = {0};
    struct api_job offer;
    if (api_read_job(message, &offer, &err) != CYX_OK) {
        cyx_log(CYX_LOG_WARN, "an offer that cannot be read", CYX_STR("error", err.message));
        return;
    }
    pthread_mutex_lock(&self->lock);
    if (!self->has_job && !self->ended && !atomic_load(&self->draining)) {
        self->offer = offer;
        self->has_offer = true;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
}

void agent_on_cancel(void *ctx, const struct cyx_bus_message *message)
{
    struct agent *self = ctx;
    struct cyx_error err = {0};
    struct api_job job;
    if (api_read_job(message, &job, &err) != CYX_OK)
        return;
    pthread_mutex_lock(&self->lock);
    if (self->has_job && strcmp(self->job.id, job.id) == 0 && self->job.token == job.token)
        atomic_store(&self->cancelled, true);
    pthread_mutex_unlock(&self->lock);
}

static void *runner_main(void *ctx)
{
    struct agent *self = ctx;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        if (!self->has_offer) {
            pthread_cond_wait(&self->changed, &self->lock);
            continue;
        }
        struct api_job job = self->offer;
        self->job = job;
        self->has_offer = false;
        self->has_job = true;
        atomic_store(&self->cancelled, false);
        pthread_mutex_unlock(&self->lock);
        run_job(self, &job);
        pthread_mutex_lock(&self->lock);
        self->has_job = false;
        atomic_store(&self->images_per_second, 0.0);
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* A heartbeat now, and at every change of what is held; what fails is tried again with the next. */
static void *beater_main(void *ctx)
{
    struct agent *self = ctx;
    uint64_t seq = 0;
    bool warned = false;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        struct api_job job = self->job;
        bool has_job = self->has_job;
        pthread_mutex_unlock(&self->lock);
        struct cyx_error err = {0};
        struct monitor_reading reading = {0};
        (void)monitor_read(self->monitor, &reading); /* none: its fields are left out */
        enum cyx_status status =
            api_heartbeat(self->settings.bus, &self->settings.node, ++seq, has_job ? &job : NULL,
                          &reading, atomic_load(&self->images_per_second), &err);
        if (status != CYX_OK && !warned)
            cyx_log(CYX_LOG_WARN, "heartbeats do not go out", CYX_STR("error", err.message));
        warned = status != CYX_OK;
        struct timespec at = monotonic_after(self->settings.heartbeat_ms);
        pthread_mutex_lock(&self->lock);
        while (!self->ended && self->has_job == has_job &&
               pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* The trainer is shown folders by whole paths. */
static enum cyx_status make_folder(const char *path, char ret_whole[WORKER_PATH_BYTES / 4],
                                   struct cyx_error *err)
{
    char whole[PATH_MAX];
    if ((mkdir(path, 0700) != 0 && errno != EEXIST) || !realpath(path, whole))
        return cyx_error_errno(err, "cannot make the folder %s", path);
    if (strlen(whole) >= WORKER_PATH_BYTES / 4)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "the path %s is too long", whole);
    snprintf(ret_whole, WORKER_PATH_BYTES / 4, "%s", whole);
    return CYX_OK;
}

static enum cyx_status make_folders(struct agent *self, struct cyx_error *err)
{
    char path[WORKER_PATH_BYTES], jobs[WORKER_PATH_BYTES / 4];
    enum cyx_status status = make_folder(self->settings.data_dir, self->data_dir, err);
    if (status == CYX_OK)
        status = make_folder(self->settings.work_dir, self->work_dir, err);
    if (status != CYX_OK)
        return status;
    snprintf(path, sizeof(path), "%s/jobs", self->work_dir);
    run_remove_folder(path);
    status = make_folder(path, jobs, err);
    snprintf(path, sizeof(path), "%s/cache", self->work_dir);
    if (status == CYX_OK)
        status = make_folder(path, self->cache_dir, err);
    self->settings.data_dir = self->data_dir;
    self->settings.work_dir = self->work_dir;
    self->settings.cache_dir = self->cache_dir;
    return status;
}

/* The registry may start later than we do: asks again, with growing pauses, unless it refuses. */
static enum cyx_status enrol(const struct agent_settings *settings, struct cyx_error *err)
{
    enum { ATTEMPTS = 60 };
    int64_t pause_ms = 100;
    for (int attempt = 1;; attempt++) {
        enum cyx_status status = api_enrol(settings->bus, &settings->node, err);
        bool away = status == CYX_ERR_UNAVAILABLE || status == CYX_ERR_TIMEOUT;
        if (!away || attempt == ATTEMPTS)
            return status;
        nanosleep(
            &(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000},
            NULL);
        pause_ms = pause_ms < 1000 ? pause_ms * 2 : 1000;
    }
}

enum cyx_status agent_create(const struct agent_settings *settings, struct agent **ret_agent,
                             struct cyx_error *err)
{
    struct agent *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the agent");
    self->settings = *settings;
    enum cyx_status status = make_folders(self, err);
    if (status != CYX_OK) {
        free(self);
        return status;
    }
    char folder[WORKER_PATH_BYTES];
    snprintf(folder, sizeof(folder), "%s/artifacts", self->work_dir);
    status = cache_create(folder, settings->cache_bytes, &self->cache, err);
    if (status == CYX_OK)
        status = monitor_create(self->work_dir, settings->heartbeat_ms, &self->monitor, err);
    if (status != CYX_OK) {
        cache_destroy(self->cache);
        free(self);
        return status;
    }
    self->jobs = cyx_metrics_counter(settings->metrics, "cyx_worker_jobs_total",
                                     "Jobs that ended here.", "outcome");
    self->steps = cyx_metrics_gauge(settings->metrics, "cyx_worker_images_per_second",
                                    "Training speed of the job in progress.", NULL);
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *ret_agent = self;
    return CYX_OK;
}

enum cyx_status agent_start(struct agent *self, struct cyx_error *err)
{
    enum cyx_status status = enrol(&self->settings, err);
    if (status != CYX_OK)
        return status;
    self->runner_started = pthread_create(&self->runner, NULL, runner_main, self) == 0;
    self->beater_started = pthread_create(&self->beater, NULL, beater_main, self) == 0;
    if (!self->runner_started || !self->beater_started)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no threads for the agent");
    return CYX_OK;
}

void agent_drain(void *ctx, int64_t deadline_ms)
{
    struct agent *self = ctx;
    struct timespec at = monotonic_after(deadline_ms);
    atomic_store(&self->draining, true);
    pthread_mutex_lock(&self->lock);
    self->has_offer = false;
    while (self->has_job && pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&self->lock);
}

void agent_destroy(struct agent *self)
{
    if (!self)
        return;
    atomic_store(&self->draining, true);
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    if (self->runner_started)
        pthread_join(self->runner, NULL);
    if (self->beater_started)
        pthread_join(self->beater, NULL);
    monitor_destroy(self->monitor);
    cache_destroy(self->cache);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
