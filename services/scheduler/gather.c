#include "gather.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { AT_ONCE = 2 }; /* while one transaction waits for the disk, the next is under way */

struct waiting {
    struct cyx_sched_word *word;
    struct waiting *next;
    bool taken, heard;
};

struct cyx_sched_gather {
    struct cyx_sched_store *store;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting *first, **end;
    int at_it;
};

struct cyx_sched_gather *cyx_sched_gather_create(struct cyx_sched_store *store)
{
    struct cyx_sched_gather *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    self->store = store;
    self->end = &self->first;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    return self;
}

void cyx_sched_gather_destroy(struct cyx_sched_gather *self)
{
    if (!self)
        return;
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static bool stands_beside(struct waiting *const *taken, size_t count, const struct waiting *next)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(taken[i]->word->claim.job_id, next->word->claim.job_id) == 0 ||
            strcmp(taken[i]->word->claim.node_id, next->word->claim.node_id) == 0)
            return false;
    return true;
}

/* Takes what may be heard together off the list; the lock is held. */
static size_t take(struct cyx_sched_gather *self, struct waiting *ret_taken[CYX_SCHED_TXN_JOBS])
{
    size_t count = 0;
    for (struct waiting **at = &self->first; *at && count < CYX_SCHED_TXN_JOBS;) {
        struct waiting *next = *at;
        if (!stands_beside(ret_taken, count, next)) {
            at = &next->next;
            continue;
        }
        *at = next->next;
        next->taken = true;
        ret_taken[count++] = next;
    }
    for (self->end = &self->first; *self->end;)
        self->end = &(*self->end)->next;
    return count;
}

/* Hears what waits; the lock is held before and after. */
static void hear_some(struct cyx_sched_gather *self)
{
    struct waiting *taken[CYX_SCHED_TXN_JOBS];
    struct cyx_sched_word *words[CYX_SCHED_TXN_JOBS];
    size_t count = take(self, taken);
    for (size_t i = 0; i < count; i++)
        words[i] = taken[i]->word;
    self->at_it++;
    pthread_mutex_unlock(&self->lock);
    cyx_sched_store_hear(self->store, words, count);
    pthread_mutex_lock(&self->lock);
    self->at_it--;
    for (size_t i = 0; i < count; i++)
        taken[i]->heard = true;
    pthread_cond_broadcast(&self->changed);
}

enum cyx_status cyx_sched_gather_hear(struct cyx_sched_gather *self, struct cyx_sched_word *word,
                                      struct cyx_error *err)
{
    struct waiting mine = {.word = word};
    pthread_mutex_lock(&self->lock);
    *self->end = &mine;
    self->end = &mine.next;
    while (!mine.heard) {
        if (!mine.taken && self->at_it < AT_ONCE)
            hear_some(self);
        else
            pthread_cond_wait(&self->changed, &self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    if (word->status != CYX_OK && err)
        *err = word->error;
    return word->status;
}
