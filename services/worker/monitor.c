#include "monitor.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"

#include "base/banned.h"

struct monitor {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended, gone;             /* asked to end; has ended */
    int64_t interval_ms, read_ns; /* of the newest reading, 0: none */
    struct monitor_reading reading;
    struct gpu_sample devices[GPUS_LIMIT]; /* the trainers', memory_total_bytes 0: none */
    struct system_sampler sampler;
};

static struct timespec after_ms(int64_t ms)
{
    int64_t at_ns = cyx_clock_monotonic_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};
}

static void *watch(void *ctx)
{
    struct monitor *self = ctx;
    struct gpus *gpus = gpus_open("", NULL);
    pthread_mutex_lock(&self->lock);
    while (!self->ended) {
        pthread_mutex_unlock(&self->lock);
        struct monitor_reading reading = {.system = system_take_sample(&self->sampler)};
        if (gpus)
            reading.n_gpus = gpus_sample(gpus, reading.gpus, GPUS_LIMIT);
        pthread_mutex_lock(&self->lock);
        self->reading = reading;
        self->read_ns = cyx_clock_monotonic_ns();
        struct timespec at = after_ms(self->interval_ms);
        while (!self->ended &&
               pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
            ;
    }
    self->gone = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    gpus_close(gpus);
    return NULL;
}

enum cyx_status monitor_create(const char *disk_path, int64_t interval_ms,
                               struct monitor **ret_monitor, struct cyx_error *err)
{
    struct monitor *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the monitor");
    self->interval_ms = interval_ms;
    self->sampler.disk_path = disk_path;
    pthread_mutex_init(&self->lock, NULL);
    cyx_cond_init(&self->changed);
    if (pthread_create(&self->thread, NULL, watch, self) != 0) {
        free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no thread for the monitor");
    }
    *ret_monitor = self;
    return CYX_OK;
}

void monitor_destroy(struct monitor *self)
{
    if (!self)
        return;
    struct timespec at = after_ms(1000);
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    pthread_cond_broadcast(&self->changed);
    while (!self->gone && pthread_cond_timedwait(&self->changed, &self->lock, &at) != ETIMEDOUT)
        ;
    bool gone = self->gone;
    pthread_mutex_unlock(&self->lock);
    if (!gone) {
        pthread_detach(self->thread); /* inside a driver that hangs: it keeps what it uses */
        return;
    }
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

void monitor_note_device(struct monitor *self, size_t slot, const char *name, int64_t used_bytes,
                         int64_t budget_bytes)
{
    pthread_mutex_lock(&self->lock);
    struct gpu_sample *device = &self->devices[slot];
    *device = (struct gpu_sample){.source = "vulkan",
                                  .busy_percent = -1,
                                  .power_watts = -1,
                                  .temperature_celsius = -1,
                                  .memory_used_bytes = used_bytes,
                                  .memory_total_bytes = used_bytes ? budget_bytes : 0};
    snprintf(device->name, sizeof(device->name), "%s", name);
    pthread_mutex_unlock(&self->lock);
}

bool monitor_read(struct monitor *self, struct monitor_reading *ret_reading)
{
    pthread_mutex_lock(&self->lock);
    bool fresh = self->read_ns && cyx_clock_monotonic_ns() - self->read_ns <
                                      (MONITOR_STALE_MS + self->interval_ms) * 1000000;
    if (fresh) {
        *ret_reading = self->reading;
        bool told = ret_reading->n_gpus > 0;
        for (size_t i = 0; !told && i < GPUS_LIMIT; i++)
            if (self->devices[i].memory_total_bytes)
                ret_reading->gpus[ret_reading->n_gpus++] = self->devices[i];
    }
    pthread_mutex_unlock(&self->lock);
    return fresh;
}

static void add_number(json_t *object, const char *key, double value)
{
    if (value >= 0)
        json_object_set_new(object, key, json_real(value));
}

static void add_bytes(json_t *object, const char *key, int64_t value)
{
    if (value > 0)
        json_object_set_new(object, key, json_integer(value));
}

static json_t *gpu_json(const struct gpu_sample *gpu)
{
    json_t *object = json_pack("{s:s, s:s}", "name", gpu->name, "source", gpu->source);
    add_number(object, "busy_percent", gpu->busy_percent);
    add_bytes(object, "memory_used_bytes", gpu->memory_used_bytes);
    add_bytes(object, "memory_total_bytes", gpu->memory_total_bytes);
    add_number(object, "power_watts", gpu->power_watts);
    add_number(object, "temperature_celsius", gpu->temperature_celsius);
    return object;
}

json_t *monitor_json(const struct monitor_reading *reading)
{
    const struct system_sample *system = &reading->system;
    json_t *object = json_object(), *gpus = json_array();
    add_number(object, "load_average", system->load_average);
    add_bytes(object, "disk_total_bytes", system->disk_total_bytes);
    add_bytes(object, "disk_free_bytes", system->disk_free_bytes);
    add_number(object, "disk_read_bytes_per_second", system->disk_read_bytes_per_second);
    add_number(object, "disk_write_bytes_per_second", system->disk_write_bytes_per_second);
    add_number(object, "network_receive_bytes_per_second",
               system->network_receive_bytes_per_second);
    add_number(object, "network_send_bytes_per_second", system->network_send_bytes_per_second);
    add_number(object, "power_watts", system->power_watts);
    for (size_t i = 0; i < reading->n_gpus; i++)
        json_array_append_new(gpus, gpu_json(&reading->gpus[i]));
    json_object_set_new(object, "gpus", gpus);
    return object;
}
