#include "memo.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"

#include "base/banned.h"

enum { SLOTS = 1024, LOCKS = 32, ANSWER_LIMIT = 64 * 1024 };

struct slot {
    char key[CYX_ID_BYTES], account_id[CYX_ID_BYTES];
    uint64_t generation;
    int64_t made_ns; /* 0: nothing */
    bool fetching;   /* somebody was sent for a new one */
    struct cyx_buf text;
};

struct memo {
    pthread_mutex_t locks[LOCKS];
    struct slot slots[SLOTS];
};

struct memo *memo_create(void)
{
    struct memo *self = calloc(1, sizeof(*self));
    for (size_t i = 0; self && i < LOCKS; i++)
        pthread_mutex_init(&self->locks[i], NULL);
    return self;
}

void memo_destroy(struct memo *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        cyx_buf_finish(&self->slots[i].text);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&self->locks[i]);
    free(self);
}

/* FNV-1a: keys are ids of ours, nobody chooses them. */
static size_t hash(const char *key)
{
    uint64_t sum = UINT64_C(14695981039346656037);
    for (const char *c = key; *c; c++)
        sum = (sum ^ (unsigned char)*c) * UINT64_C(1099511628211);
    return sum % SLOTS;
}

static struct slot *lock_slot(struct memo *self, const char *key, pthread_mutex_t **ret_lock)
{
    size_t at = hash(key);
    *ret_lock = &self->locks[at % LOCKS];
    pthread_mutex_lock(*ret_lock);
    return &self->slots[at];
}

uint64_t memo_generation(struct memo *self, const char *key)
{
    pthread_mutex_t *lock;
    uint64_t generation = lock_slot(self, key, &lock)->generation;
    pthread_mutex_unlock(lock);
    return generation;
}

void memo_keep(struct memo *self, const char *key, const char *account_id, uint64_t generation,
               const char *text, size_t length)
{
    pthread_mutex_t *lock;
    struct slot *slot = lock_slot(self, key, &lock);
    if (slot->generation == generation && length <= ANSWER_LIMIT) {
        cyx_buf_clear(&slot->text);
        cyx_buf_append(&slot->text, text, length);
        snprintf(slot->key, sizeof(slot->key), "%s", key);
        snprintf(slot->account_id, sizeof(slot->account_id), "%s", account_id);
        slot->made_ns = cyx_clock_monotonic_ns();
        slot->fetching = false;
    }
    pthread_mutex_unlock(lock);
}

/* Whoever finds it old first is sent for a new one. */
static bool young_enough(struct slot *slot)
{
    int64_t age_ms = (cyx_clock_monotonic_ns() - slot->made_ns) / 1000000;
    if (age_ms < MEMO_MS)
        return true;
    if (age_ms >= MEMO_MS + MEMO_GRACE_MS || !slot->fetching) {
        slot->fetching = true;
        return false;
    }
    return true;
}

bool memo_find(struct memo *self, const char *key, const char *account_id, struct cyx_buf *ret_text)
{
    pthread_mutex_t *lock;
    struct slot *slot = lock_slot(self, key, &lock);
    bool found = slot->made_ns > 0 && strcmp(slot->key, key) == 0 &&
                 strcmp(slot->account_id, account_id) == 0 && !slot->text.failed &&
                 young_enough(slot);
    if (found)
        cyx_buf_append(ret_text, slot->text.data, slot->text.length);
    pthread_mutex_unlock(lock);
    return found && !ret_text->failed;
}

void memo_forget(struct memo *self, const char *key)
{
    pthread_mutex_t *lock;
    struct slot *slot = lock_slot(self, key, &lock);
    slot->generation++;
    slot->made_ns = 0;
    pthread_mutex_unlock(lock);
}
