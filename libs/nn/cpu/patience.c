#include "nn/cpu/patience.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "nn/cpu/openmp.h"

#include "base/banned.h"

/*
 * A member's share of a window that it spent waiting for a processor, of what it ran and waited: under 0.1 on an
 * idle machine, 0.4 to 0.6 beside busy processes (two cores, one or two of them).
 */
#define IDLE_SHARE 0.2
#define BUSY_SHARE 0.3

#define NS_A_MS INT64_C(1000000)

enum {
    WATCHED_LIMIT = 16, /* members that are looked at: a descriptor each */
    WINDOW_MS = 50,
    HOLD_MS = 100, /* idle for so long, and the team goes */
};

/* What a thread has run and waited, in ns. */
struct spent {
    uint64_t ran, waited;
};

struct cpu_patience {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool held, ready, stop;

    int n_watched;
    int files[WATCHED_LIMIT];
    struct spent seen[WATCHED_LIMIT];
    int64_t window_began, idle_since;
    double share; /* of the last window */
};

/* ---- the team ---- */

/* A team larger than the machine: its members sleep in libgomp's dock for as long as this thread lives. */
static void *hold_a_team(void *context)
{
    struct cpu_patience *self = context;
    int members = 0;
#if defined(_OPENMP)
#pragma omp parallel num_threads(omp_get_num_procs() + 1) reduction(+ : members)
#endif
    members++;
    pthread_mutex_lock(&self->mutex);
    self->ready = members > 0;
    pthread_cond_broadcast(&self->changed);
    while (!self->stop)
        pthread_cond_wait(&self->changed, &self->mutex);
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static void take_team(struct cpu_patience *self)
{
    self->ready = self->stop = false;
    sigset_t all, before;
    sigfillset(&all); /* the process's handlers run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    self->held = pthread_create(&self->thread, NULL, hold_a_team, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_lock(&self->mutex);
    while (self->held && !self->ready)
        pthread_cond_wait(&self->changed, &self->mutex);
    pthread_mutex_unlock(&self->mutex);
}

static void release_team(struct cpu_patience *self)
{
    if (!self->held)
        return;
    pthread_mutex_lock(&self->mutex);
    self->stop = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    pthread_join(self->thread, NULL);
    self->held = false;
}

/* ---- when to hold it ---- */

static bool read_spent(int file, struct spent *ret_spent)
{
    char text[96];
    ssize_t length = pread(file, text, sizeof(text) - 1, 0);
    if (length <= 0)
        return false;
    text[length] = '\0';
    return sscanf(text, "%" SCNu64 " %" SCNu64, &ret_spent->ran, &ret_spent->waited) == 2;
}

/* The largest share of any member since the last call; negative where none can be told. */
static double waiting_share(struct cpu_patience *self)
{
    double largest = -1.0;
    for (int i = 0; i < self->n_watched; i++) {
        struct spent now, *before = &self->seen[i];
        if (self->files[i] < 0 || !read_spent(self->files[i], &now))
            continue;
        double ran = (double)(now.ran - before->ran),
               waited = (double)(now.waited - before->waited);
        double share = ran + waited > 0.0 ? waited / (ran + waited) : 0.0;
        largest = share > largest ? share : largest;
        *before = now;
    }
    return largest;
}

bool cpu_patience_rule(bool held, double share, int64_t now, int64_t *idle_since)
{
    if (share < 0.0 || share > IDLE_SHARE)
        *idle_since = now;
    return held ? now - *idle_since < HOLD_MS * NS_A_MS : share > BUSY_SHARE;
}

void cpu_patience_observe(struct cpu_patience *self)
{
    int64_t now = cyx_clock_monotonic_ns();
    if (!self || now - self->window_began < WINDOW_MS * NS_A_MS)
        return;
    self->window_began = now;
    self->share = waiting_share(self);
    bool hold = cpu_patience_rule(self->held, self->share, now, &self->idle_since);
    if (hold && !self->held)
        take_team(self);
    else if (!hold)
        release_team(self);
}

void cpu_patience_watch(struct cpu_patience *self, int index)
{
    if (!self || index >= self->n_watched)
        return;
    if (self->files[index] >= 0)
        close(self->files[index]);
    self->files[index] = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (self->files[index] >= 0 && !read_spent(self->files[index], &self->seen[index])) {
        close(self->files[index]);
        self->files[index] = -1;
    }
}

bool cpu_patience_held(const struct cpu_patience *self)
{
    return self && self->held;
}

double cpu_patience_share(const struct cpu_patience *self)
{
    return self->share;
}

/* ---- a life ---- */

struct cpu_patience *cpu_patience_create(int threads)
{
    struct cpu_patience *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->n_watched = threads < WATCHED_LIMIT ? threads : WATCHED_LIMIT;
    for (int i = 0; i < WATCHED_LIMIT; i++)
        self->files[i] = -1;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->share = -1.0;
    self->window_began = self->idle_since = cyx_clock_monotonic_ns();
    take_team(self);
    if (self->held)
        return self;
    cpu_patience_destroy(self);
    return NULL;
}

void cpu_patience_destroy(struct cpu_patience *self)
{
    if (!self)
        return;
    release_team(self);
    for (int i = 0; i < self->n_watched; i++)
        if (self->files[i] >= 0)
            close(self->files[i]);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}
