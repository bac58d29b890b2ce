#include <stdlib.h>

#include "base/banned.h"
#include "http/private.h"

struct cyx_workers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct cyx_job *first, *last;
    unsigned queued, max_queued, count;
    bool stopping;
    pthread_t threads[];
};

static struct cyx_job *take(struct cyx_workers *self)
{
    pthread_mutex_lock(&self->lock);
    while (!self->first && !self->stopping)
        pthread_cond_wait(&self->wake, &self->lock);
    struct cyx_job *job = self->first;
    if (job) {
        self->first = job->next;
        if (!self->first)
            self->last = NULL;
        self->queued--;
    }
    pthread_mutex_unlock(&self->lock);
    return job;
}

static void *work(void *arg)
{
    struct cyx_workers *self = arg;
    pthread_setname_np(pthread_self(), "http-worker");
    for (struct cyx_job *job; (job = take(self));)
        job->run(job->arg); /* may free the job */
    return NULL;
}

enum cyx_status cyx_workers_create(unsigned threads, unsigned max_queued,
                                   struct cyx_workers **ret_workers, struct cyx_error *ret_error)
{
    struct cyx_workers *self = calloc(1, sizeof(*self) + threads * sizeof(pthread_t));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for workers");
    self->max_queued = max_queued;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->wake, NULL);
    while (self->count < threads &&
           pthread_create(&self->threads[self->count], NULL, work, self) == 0)
        self->count++;
    if (self->count < threads) {
        cyx_workers_destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL, "cannot start %u threads",
                             threads);
    }
    *ret_workers = self;
    return CYX_OK;
}

bool cyx_workers_submit(struct cyx_workers *self, struct cyx_job *job, bool forced)
{
    pthread_mutex_lock(&self->lock);
    bool taken = forced || self->queued < self->max_queued;
    if (taken) {
        job->next = NULL;
        if (self->last)
            self->last->next = job;
        else
            self->first = job;
        self->last = job;
        self->queued++;
        pthread_cond_signal(&self->wake);
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

unsigned cyx_workers_queued(struct cyx_workers *self)
{
    pthread_mutex_lock(&self->lock);
    unsigned queued = self->queued;
    pthread_mutex_unlock(&self->lock);
    return queued;
}

void cyx_workers_destroy(struct cyx_workers *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_broadcast(&self->wake);
    pthread_mutex_unlock(&self->lock);
    for (unsigned i = 0; i < self->count; i++)
        pthread_join(self->threads[i], NULL);
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
