#include "nn/cpu/patience.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "nn/cpu/openmp.h"

#include "base/banned.h"

struct cpu_patience {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool ready, stop;
};

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

struct cpu_patience *cpu_patience_create(void)
{
    struct cpu_patience *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    sigset_t all, before;
    sigfillset(&all); /* the process's handlers run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&self->thread, NULL, hold_a_team, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        pthread_cond_destroy(&self->changed);
        pthread_mutex_destroy(&self->mutex);
        free(self);
        return NULL;
    }
    pthread_mutex_lock(&self->mutex);
    while (!self->ready)
        pthread_cond_wait(&self->changed, &self->mutex);
    pthread_mutex_unlock(&self->mutex);
    return self;
}

void cpu_patience_destroy(struct cpu_patience *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->mutex);
    self->stop = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}
