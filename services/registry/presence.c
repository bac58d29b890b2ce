/*
 * The presence table of registry.h: open addressing by node id, grown at three quarters, so that a
 * heartbeat costs one lookup however many nodes there are.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry.h"

#include "base/banned.h"

struct entry {
    char node_id[CYX_ID_BYTES]; /* "": free */
    char boot_id[CYX_ID_BYTES]; /* of the last heartbeat, "" before the first */
    char enrolled_boot_id[CYX_ID_BYTES];
    char left_boot_id[CYX_ID_BYTES]; /* said good-bye: a heartbeat of it that comes late is none */
    struct cyx_registry_load load;
    struct cyx_heartbeat_gaps gaps;
    char disconnected[CYX_REGISTRY_REASON_BYTES]; /* "": not, or it beat since */
    int64_t heard_ns, stored_ns;                  /* 0: never */
    int64_t touched_ns;
};

struct cyx_presence {
    pthread_mutex_t lock;
    struct entry *entries;
    size_t capacity, count; /* capacity is a power of two */
    int64_t period_ms;
};

static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return h;
}

/* The entry of this id, or the free one where it would go. */
static struct entry *slot(struct entry *entries, size_t capacity, const char *node_id)
{
    size_t i = hash(node_id) & (capacity - 1);
    while (entries[i].node_id[0] && strcmp(entries[i].node_id, node_id) != 0)
        i = (i + 1) & (capacity - 1);
    return &entries[i];
}

/* Copies the entries touched at or after `oldest_ns` into a table of `capacity`. */
static enum cyx_status rebuild(struct cyx_presence *self, size_t capacity, int64_t oldest_ns)
{
    struct entry *entries = calloc(capacity, sizeof(*entries));
    if (!entries)
        return CYX_ERR_NO_MEMORY;
    size_t count = 0;
    for (size_t i = 0; i < self->capacity; i++) {
        const struct entry *from = &self->entries[i];
        if (!from->node_id[0] || from->touched_ns < oldest_ns)
            continue;
        *slot(entries, capacity, from->node_id) = *from;
        count++;
    }
    free(self->entries);
    self->entries = entries;
    self->capacity = capacity;
    self->count = count;
    return CYX_OK;
}

struct cyx_presence *cyx_presence_create(int64_t period_ms)
{
    struct cyx_presence *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    pthread_mutex_init(&self->lock, NULL);
    self->period_ms = period_ms;
    if (rebuild(self, 64, 0) != CYX_OK) {
        cyx_presence_destroy(self);
        return NULL;
    }
    return self;
}

void cyx_presence_destroy(struct cyx_presence *self)
{
    if (!self)
        return;
    pthread_mutex_destroy(&self->lock);
    free(self->entries);
    free(self);
}

/* Found or made; NULL when memory ran out. The lock is held. */
static struct entry *obtain(struct cyx_presence *self, const char *node_id)
{
    struct entry *entry = slot(self->entries, self->capacity, node_id);
    if (entry->node_id[0])
        return entry;
    if ((self->count + 1) * 4 > self->capacity * 3) {
        if (rebuild(self, self->capacity * 2, INT64_MIN) != CYX_OK)
            return NULL;
        entry = slot(self->entries, self->capacity, node_id);
    }
    memcpy(entry->node_id, node_id, strnlen(node_id, CYX_ID_BYTES - 1));
    self->count++;
    return entry;
}

static void set_id(char target[CYX_ID_BYTES], const char *id)
{
    memset(target, 0, CYX_ID_BYTES);
    memcpy(target, id, strnlen(id, CYX_ID_BYTES - 1));
}

enum cyx_status cyx_presence_beat(struct cyx_presence *self, const char *node_id,
                                  const char *boot_id, const struct cyx_registry_load *load,
                                  int64_t now_ns, bool *ret_store)
{
    enum cyx_status status = CYX_OK;
    pthread_mutex_lock(&self->lock);
    struct entry *entry = obtain(self, node_id);
    if (!entry) {
        status = CYX_ERR_NO_MEMORY;
    } else if ((entry->enrolled_boot_id[0] && strcmp(entry->enrolled_boot_id, boot_id) != 0) ||
               strcmp(entry->left_boot_id, boot_id) == 0) {
        entry->touched_ns = now_ns;
        status = CYX_ERR_CONFLICT;
    } else {
        bool same_boot = strcmp(entry->boot_id, boot_id) == 0;
        if (!same_boot)
            entry->stored_ns = 0;
        if (same_boot && entry->heard_ns)
            cyx_heartbeat_note(&entry->gaps, (now_ns - entry->heard_ns) / 1000000, self->period_ms);
        entry->disconnected[0] = '\0';
        set_id(entry->boot_id, boot_id);
        entry->load = *load;
        entry->heard_ns = entry->touched_ns = now_ns;
        *ret_store = !entry->stored_ns ||
                     now_ns - entry->stored_ns >= CYX_REGISTRY_STORE_MS * INT64_C(1000000);
        if (*ret_store)
            entry->stored_ns = now_ns;
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

enum cyx_status cyx_presence_enrolled(struct cyx_presence *self, const char *node_id,
                                      const char *boot_id)
{
    pthread_mutex_lock(&self->lock);
    struct entry *entry = obtain(self, node_id);
    if (entry)
        set_id(entry->enrolled_boot_id, boot_id);
    pthread_mutex_unlock(&self->lock);
    return entry ? CYX_OK : CYX_ERR_NO_MEMORY;
}

int64_t cyx_presence_age_ms(struct cyx_presence *self, const char *node_id, const char *boot_id,
                            int64_t now_ns, struct cyx_registry_load *ret_load)
{
    int64_t age_ms = -1;
    pthread_mutex_lock(&self->lock);
    const struct entry *entry = slot(self->entries, self->capacity, node_id);
    if (entry->node_id[0] && entry->heard_ns && strcmp(entry->boot_id, boot_id) == 0) {
        /* Who took the time before a long query may look at a heartbeat that came since. */
        age_ms = now_ns > entry->heard_ns ? (now_ns - entry->heard_ns) / 1000000 : 0;
        if (ret_load)
            *ret_load = entry->load;
    }
    pthread_mutex_unlock(&self->lock);
    return age_ms;
}

int64_t cyx_presence_deadline_ms(struct cyx_presence *self, const char *node_id,
                                 struct cyx_heartbeat_gaps *ret_gaps)
{
    pthread_mutex_lock(&self->lock);
    const struct entry *entry = slot(self->entries, self->capacity, node_id);
    const struct cyx_heartbeat_gaps gaps = entry->gaps; /* of a free slot: none seen */
    pthread_mutex_unlock(&self->lock);
    if (ret_gaps)
        *ret_gaps = gaps;
    return cyx_heartbeat_deadline_ms(&gaps, self->period_ms);
}

void cyx_presence_left(struct cyx_presence *self, const char *node_id, const char *boot_id)
{
    pthread_mutex_lock(&self->lock);
    struct entry *entry = obtain(self, node_id);
    if (entry)
        set_id(entry->left_boot_id, boot_id);
    if (entry && strcmp(entry->boot_id, boot_id) == 0)
        entry->heard_ns = 0;
    pthread_mutex_unlock(&self->lock);
}

void cyx_presence_disconnected(struct cyx_presence *self, const char *node_id, const char *reason,
                               int64_t now_ns)
{
    pthread_mutex_lock(&self->lock);
    struct entry *entry = obtain(self, node_id);
    if (entry) {
        size_t length = strnlen(reason, sizeof(entry->disconnected) - 1);
        memcpy(entry->disconnected, reason, length);
        entry->disconnected[length] = '\0';
        entry->touched_ns = now_ns;
    }
    pthread_mutex_unlock(&self->lock);
}

void cyx_presence_disconnect_reason(struct cyx_presence *self, const char *node_id,
                                    char ret_reason[CYX_REGISTRY_REASON_BYTES])
{
    pthread_mutex_lock(&self->lock);
    const struct entry *entry = slot(self->entries, self->capacity, node_id);
    memcpy(ret_reason, entry->disconnected, CYX_REGISTRY_REASON_BYTES);
    pthread_mutex_unlock(&self->lock);
}

size_t cyx_presence_sweep(struct cyx_presence *self, int64_t older_than_ms, int64_t now_ns)
{
    pthread_mutex_lock(&self->lock);
    (void)rebuild(self, self->capacity,
                  now_ns - older_than_ms * 1000000); /* or later, with memory */
    size_t left = self->count;
    pthread_mutex_unlock(&self->lock);
    return left;
}
