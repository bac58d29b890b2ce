#include "limit.h"

#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"

#include "base/banned.h"

enum { SLOTS = 4096, LOCKS = 64, KEY_BYTES = 80 };

struct slot {
    char key[KEY_BYTES];
    int64_t until_ms; /* the window's end; 0: none yet */
    int64_t share;    /* granted and not taken */
    int64_t given;    /* granted in this window */
    int64_t rest;     /* that the shared counter had at the last look */
};

struct limit {
    pthread_mutex_t locks[LOCKS];
    uint8_t hash_key[crypto_shorthash_KEYBYTES];
    struct slot slots[SLOTS];
};

struct limit *limit_create(void)
{
    struct limit *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    cyx_random_bytes(self->hash_key, sizeof(self->hash_key));
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&self->locks[i], NULL);
    return self;
}

void limit_destroy(struct limit *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&self->locks[i]);
    free(self);
}

int64_t limit_share(int64_t limit)
{
    return limit / LIMIT_SHARES > 1 ? limit / LIMIT_SHARES : 1;
}

/* The key's slot in its present window, locked; unlock() it. */
static struct slot *lock_slot(struct limit *self, const char *key, int64_t now_ms, size_t *ret_lock)
{
    uint64_t hash = 0;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key, strlen(key),
                     self->hash_key);
    struct slot *slot = &self->slots[hash % SLOTS];
    *ret_lock = hash % LOCKS; /* LOCKS divides SLOTS: a slot has one lock */
    pthread_mutex_lock(&self->locks[*ret_lock]);
    bool same = strncmp(slot->key, key, KEY_BYTES - 1) == 0;
    if (!same || now_ms >= slot->until_ms) {
        *slot = (struct slot){0};
        snprintf(slot->key, sizeof(slot->key), "%s", key);
    }
    return slot;
}

enum limit_answer limit_take(struct limit *self, const char *key, int64_t limit, int64_t now_ms,
                             struct limit_state *ret_state)
{
    size_t lock = 0;
    struct slot *slot = lock_slot(self, key, now_ms, &lock);
    enum limit_answer answer = LIMIT_ASK;
    if (slot->share > 0) {
        slot->share--;
        answer = LIMIT_TAKEN;
    } else if (slot->until_ms > 0 && slot->rest <= 0) {
        answer = LIMIT_REFUSED;
    }
    if (answer != LIMIT_ASK)
        *ret_state = (struct limit_state){limit, slot->share + (slot->rest > 0 ? slot->rest : 0),
                                          slot->until_ms - now_ms};
    pthread_mutex_unlock(&self->locks[lock]);
    return answer;
}

void limit_grant(struct limit *self, const char *key, int64_t share, int64_t rest, int64_t left_ms,
                 int64_t now_ms)
{
    size_t lock = 0;
    struct slot *slot = lock_slot(self, key, now_ms, &lock);
    slot->until_ms = now_ms + (left_ms > 0 ? left_ms : 1);
    slot->share += share;
    slot->given += share;
    slot->rest = rest;
    pthread_mutex_unlock(&self->locks[lock]);
}

void limit_grant_self(struct limit *self, const char *key, int64_t limit, int64_t now_ms)
{
    size_t lock = 0;
    struct slot *slot = lock_slot(self, key, now_ms, &lock);
    int64_t share = limit_share(limit), left = limit - slot->given;
    share = share < left ? share : left > 0 ? left : 0;
    if (slot->until_ms == 0)
        slot->until_ms = now_ms + LIMIT_WINDOW_MS;
    slot->share += share;
    slot->given += share;
    slot->rest = limit - slot->given;
    pthread_mutex_unlock(&self->locks[lock]);
}
