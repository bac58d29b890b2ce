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
#include "base/cond.h"
#include "base/log.h"
#include "contract/message.h"

#include "base/banned.h"

static struct timespec monotonic_after(int64_t ms)
{
    int64_t at_ns = cyx_clock_monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}

static bool is_same(const struct api_job *a, const struct api_job *b)
{
    return a->token == b->token && strcmp(a->id, b->id) == 0;
}

/* A free slot for the offer; NULL when there is none, or the offer was taken already: it is told until it is answered. */
static struct slot *slot_for(struct agent *self, const struct api_job *offer)
{
    struct slot *found = NULL;
    for (size_t i = 0; i < self->settings.n_slots; i++) {
        struct slot *slot = &self->slots[i];
        if ((slot->has_offer && is_same(&slot->offer, offer)) ||
            (slot->has_job && is_same(&slot->job, offer)))
            return NULL;
        if (!slot->has_offer && !slot->has_job &&
            (!found || (found->has_challenge && !slot->has_challenge))) /* which gives way */
            found = slot;
    }
    return found;
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
    struct slot *slot = self->ended ? NULL : slot_for(self, &offer); /* draining: to decline it */
    if (slot) {
        slot->offer = offer;
        slot->has_offer = true;
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
    for (size_t i = 0; i < self->settings.n_slots; i++)
        if (self->slots[i].has_job && is_same(&self->slots[i].job, &job))
            atomic_store(&self->slots[i].cancelled, true);
    pthread_mutex_unlock(&self->lock);
}

/* A free slot to prove the device on: a GPU's own, any for the CPU. */
static struct slot *slot_to_prove(struct agent *self, const struct api_challenge *challenge)
{
    bool gpu = strcmp(challenge->backend, "vulkan") == 0;
    for (size_t i = 0; i < self->settings.n_slots; i++) {
        struct slot *slot = &self->slots[i];
        if (!slot->has_offer && !slot->has_job && !slot->has_challenge &&
            (!gpu || slot->device == challenge->index))
            return slot;
    }
    return NULL;
}

void agent_on_challenge(void *ctx, const struct cyx_bus_message *message)
{
    struct agent *self = ctx;
    struct cyx_error err = {0};
    struct api_challenge challenge;
    if (api_read_challenge(message, &challenge, &err) != CYX_OK) {
        cyx_log(CYX_LOG_WARN, "a challenge that cannot be read", CYX_STR("error", err.message));
        return;
    }
    pthread_mutex_lock(&self->lock);
    bool ends = self->ended || atomic_load(&self->draining);
    struct slot *slot = ends ? NULL : slot_to_prove(self, &challenge);
    if (slot) {
        slot->challenge = challenge;
        slot->has_challenge = true;
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    if (!slot && !ends &&
        api_prove(self->settings.bus, &self->settings.node, &challenge, "busy", NULL, &err) !=
            CYX_OK)
        cyx_log(CYX_LOG_DEBUG, "a challenge was not put off", CYX_STR("error", err.message));
}

/* The lock is held, but for the time that it takes. */
static void prove(struct slot *slot)
{
    struct agent *self = slot->agent;
    struct api_challenge challenge = slot->challenge;
    pthread_mutex_unlock(&self->lock);
    run_challenge(slot, &challenge);
    pthread_mutex_lock(&self->lock);
    slot->has_challenge = false;
}

static void *runner_main(void *ctx)
{
    struct slot *slot = ctx;
    struct agent *self = slot->agent;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        if (slot->has_challenge) {
            prove(slot);
            continue;
        }
        if (!slot->has_offer) {
            pthread_cond_wait(&self->changed, &self->lock);
            continue;
        }
        struct api_job job = slot->offer;
        slot->job = job;
        slot->has_offer = false;
        slot->has_job = true;
        self->changes++;
        atomic_store(&slot->cancelled, false);
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->lock);
        run_job(slot, &job);
        pthread_mutex_lock(&self->lock);
        slot->has_job = false;
        self->changes++;
        atomic_store(&slot->images_per_second, 0.0);
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* What the slots hold, and how fast they are together. The lock is held. */
static size_t read_slots(struct agent *self, struct api_job ret_jobs[AGENT_SLOTS_LIMIT],
                         double *ret_images_per_second)
{
    size_t count = 0;
    *ret_images_per_second = 0;
    for (size_t i = 0; i < self->settings.n_slots; i++) {
        if (self->slots[i].has_job)
            ret_jobs[count++] = self->slots[i].job;
        *ret_images_per_second += atomic_load(&self->slots[i].images_per_second);
    }
    return count;
}

/* A heartbeat now, and at every change of what is held; what fails is tried again with the next. */
static void *beater_main(void *ctx)
{
    struct agent *self = ctx;
    uint64_t seq = 0;
    bool warned = false;
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        struct api_job jobs[AGENT_SLOTS_LIMIT];
        double images_per_second;
        size_t n_jobs = read_slots(self, jobs, &images_per_second);
        uint64_t changes = self->changes;
        pthread_mutex_unlock(&self->lock);
        struct cyx_error err = {0};
        struct monitor_reading reading = {0};
        bool read = monitor_read(self->monitor, &reading); /* none: its fields are left out */
        board_sample(self->board, read ? &reading : NULL, images_per_second);
        enum cyx_status status = api_heartbeat(self->settings.bus, &self->settings.node, ++seq,
                                               jobs, n_jobs, &reading, images_per_second, &err);
        if (status != CYX_OK && !warned)
            cyx_log(CYX_LOG_WARN, "heartbeats do not go out", CYX_STR("error", err.message));
        warned = status != CYX_OK;
        struct timespec at = monotonic_after(self->settings.heartbeat_ms);
        pthread_mutex_lock(&self->lock);
        while (!self->ended && self->changes == changes &&
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
    size_t length = strlen(whole);
    if (length >= WORKER_PATH_BYTES / 4)
        return cyx_error_set(err, CYX_ERR_INVALID, NULL, "the path %s is too long", whole);
    memcpy(ret_whole, whole, length + 1);
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
static enum cyx_status enrol(struct agent *self, struct cyx_error *err)
{
    const struct agent_settings *settings = &self->settings;
    enum { ATTEMPTS = 60 };
    int64_t pause_ms = 100;
    for (int attempt = 1;; attempt++) {
        CYX_CLEANUP_JSON json_t *node = NULL;
        enum cyx_status status = api_enrol(settings->bus, &settings->node, &node, err);
        if (status == CYX_OK)
            board_place(self->board, node);
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
        status = board_create(&self->board, err);
    if (status == CYX_OK)
        status = monitor_create(self->work_dir, settings->heartbeat_ms, &self->monitor, err);
    if (status != CYX_OK) {
        board_destroy(self->board);
        cache_destroy(self->cache);
        free(self);
        return status;
    }
    for (size_t i = 0; i < settings->n_slots; i++) /* what comes before we have enrolled is kept */
        self->slots[i] =
            (struct slot){.agent = self, .index = (int)i, .device = settings->slot_devices[i]};
    self->jobs = cyx_metrics_counter(settings->metrics, "cyx_worker_jobs_total",
                                     "Jobs that ended here.", "outcome");
    self->steps = cyx_metrics_gauge(settings->metrics, "cyx_worker_images_per_second",
                                    "Training speed of the job in progress.", NULL);
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    *ret_agent = self;
    return CYX_OK;
}

enum cyx_status agent_start(struct agent *self, struct cyx_error *err)
{
    enum cyx_status status = enrol(self, err);
    if (status != CYX_OK)
        return status;
    bool started = true;
    for (size_t i = 0; started && i < self->settings.n_slots; i++) {
        struct slot *slot = &self->slots[i];
        started = slot->runner_started =
            pthread_create(&slot->runner, NULL, runner_main, slot) == 0;
    }
    self->beater_started = started && pthread_create(&self->beater, NULL, beater_main, self) == 0;
    if (!self->beater_started)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no threads for the agent");
    return CYX_OK;
}

struct board *agent_board(struct agent *self)
{
    return self->board;
}

bool agent_is_draining(const struct agent *self)
{
    return atomic_load(&self->draining);
}

int64_t agent_cache_bytes(const struct agent *self)
{
    return cache_used_bytes(self->cache);
}

static bool holds_a_job(const struct agent *self)
{
    for (size_t i = 0; i < self->settings.n_slots; i++)
        if (self->slots[i].has_job || self->slots[i].has_offer)
            return true;
    return false;
}

void agent_drain(void *ctx, int64_t deadline_ms)
{
    struct agent *self = ctx;
    struct timespec at = monotonic_after(deadline_ms);
    atomic_store(&self->draining, true);
    pthread_mutex_lock(&self->lock);
    while (holds_a_job(self) &&
           pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
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
    for (size_t i = 0; i < self->settings.n_slots; i++)
        if (self->slots[i].runner_started)
            pthread_join(self->slots[i].runner, NULL);
    if (self->beater_started)
        pthread_join(self->beater, NULL);
    monitor_destroy(self->monitor);
    board_destroy(self->board);
    cache_destroy(self->cache);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
