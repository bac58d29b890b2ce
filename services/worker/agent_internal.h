/* What agent.c (threads, offers, heartbeats) and run.c (one job from accept to finish) share. */
#ifndef CYX_WORKER_AGENT_INTERNAL_H
#define CYX_WORKER_AGENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent.h"
#include "cache.h"

struct agent {
    struct agent_settings settings;
    char data_dir[WORKER_PATH_BYTES / 4], work_dir[WORKER_PATH_BYTES / 4],
        cache_dir[WORKER_PATH_BYTES / 4]; /* as the settings name them */
    struct monitor *monitor;
    struct cache *cache;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t runner, beater;
    bool runner_started, beater_started;
    /* under the lock: */
    bool has_offer, has_job, ended;
    struct api_job offer, job;
    /* set by any thread, read by the runner: */
    atomic_bool draining, cancelled;
    _Atomic double images_per_second;
    struct cyx_metric *jobs, *steps;
};

/* Accepts the offer and runs the job to its end, whatever that is; logs it. On the runner's thread. */
void run_job(struct agent *agent, const struct api_job *job);

/* Removes a folder and what is in it. */
void run_remove_folder(const char *path);

#endif
