/* What agent.c (slots, offers, heartbeats), run.c (one job from accept to finish) and challenge.c share. */
#ifndef CYX_WORKER_AGENT_INTERNAL_H
#define CYX_WORKER_AGENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent.h"
#include "board.h"
#include "cache.h"

/* One job at a time, on one thread and one device. */
struct slot {
    struct agent *agent;
    int index;  /* among the agent's slots */
    int device; /* of Vulkan's, for the trainer */
    pthread_t runner;
    bool runner_started;
    /* under the agent's lock: */
    bool has_offer, has_job, has_challenge;
    struct api_job offer, job;
    struct api_challenge challenge;
    /* set by any thread, read by the runner: */
    atomic_bool cancelled;
    _Atomic double images_per_second;
};

struct agent {
    struct agent_settings settings;
    char data_dir[WORKER_PATH_BYTES / 4], work_dir[WORKER_PATH_BYTES / 4],
        cache_dir[WORKER_PATH_BYTES / 4]; /* as the settings name them */
    struct monitor *monitor;
    struct cache *cache;
    struct board *board;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t beater;
    bool beater_started;
    struct slot slots[AGENT_SLOTS_LIMIT];
    /* under the lock: */
    bool ended;
    uint64_t changes; /* counts jobs that began or ended: each is told at once */
    /* set by any thread, read by the runners: */
    atomic_bool draining;
    struct cyx_metric *jobs, *steps;
};

/* Accepts the offer and runs the job to its end, whatever that is; logs it. Draining: declines it. On the slot's thread. */
void run_job(struct slot *slot, const struct api_job *job);

/* Proves a device and says how it ended; gives way to an offer. On the slot's thread. */
void run_challenge(struct slot *slot, const struct api_challenge *challenge);

/* Removes a folder and what is in it. */
void run_remove_folder(const char *path);

#endif
