#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blob/sha256.h"

#include "base/banned.h"

enum { WAIT_NS = 100000000 };

struct cache {
    char folder[CACHE_PATH_BYTES - 128];
    int64_t limit_bytes;
    pthread_mutex_t lock;
    char taken[CACHE_USERS_LIMIT][CYX_SHA256_HEX]; /* under the lock; "" for a free place */
};

enum cyx_status cache_create(const char *folder, int64_t limit_bytes, struct cache **ret_cache,
                             struct cyx_error *err)
{
    struct cache *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the cache");
    int length = snprintf(self->folder, sizeof(self->folder), "%s", folder);
    if (length < 0 || (size_t)length >= sizeof(self->folder) ||
        (mkdir(folder, 0700) != 0 && errno != EEXIST)) {
        free(self);
        return cyx_error_errno(err, "cannot make the folder %s", folder);
    }
    self->limit_bytes = limit_bytes;
    pthread_mutex_init(&self->lock, NULL);
    *ret_cache = self;
    return CYX_OK;
}

void cache_destroy(struct cache *self)
{
    if (!self)
        return;
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* False: somebody else has it, or too many are had. */
static bool try_to_take(struct cache *self, const char *sha256)
{
    char *free_place = NULL;
    bool had = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < CACHE_USERS_LIMIT; i++) {
        had |= strcmp(self->taken[i], sha256) == 0;
        if (!self->taken[i][0])
            free_place = self->taken[i];
    }
    if (!had && free_place)
        snprintf(free_place, CYX_SHA256_HEX, "%s", sha256);
    pthread_mutex_unlock(&self->lock);
    return !had && free_place;
}

enum cyx_status cache_take(struct cache *self, const char *sha256, enum cyx_status (*beat)(void *),
                           void *ctx)
{
    while (!try_to_take(self, sha256)) {
        enum cyx_status status = beat ? beat(ctx) : CYX_OK;
        if (status != CYX_OK)
            return status;
        nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
    }
    return CYX_OK;
}

void cache_give(struct cache *self, const char *sha256)
{
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < CACHE_USERS_LIMIT; i++)
        if (strcmp(self->taken[i], sha256) == 0)
            self->taken[i][0] = '\0';
    pthread_mutex_unlock(&self->lock);
}

void cache_path(const struct cache *self, const char *sha256, char ret_path[CACHE_PATH_BYTES])
{
    snprintf(ret_path, CACHE_PATH_BYTES, "%s/%s", self->folder, sha256);
}

/* To the nanosecond: the kernel's own "now" is that of its last tick, and two uses may fall on one. */
static void note_use(const char *path)
{
    struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}};
    clock_gettime(CLOCK_REALTIME, &now[1]);
    utimensat(AT_FDCWD, path, now, 0);
}

bool cache_link(struct cache *self, const char *sha256, bool verified, const char *path)
{
    char own[CACHE_PATH_BYTES], hex[CYX_SHA256_HEX];
    uint64_t bytes = 0;
    cache_path(self, sha256, own);
    if (access(own, F_OK) != 0)
        return false;
    if (!verified &&
        (cyx_sha256_file(own, hex, &bytes, NULL) != CYX_OK || strcmp(hex, sha256) != 0)) {
        unlink(own);
        return false;
    }
    note_use(own);
    unlink(path);
    return link(own, path) == 0;
}

void cache_add(struct cache *self, const char *sha256, const char *path)
{
    char own[CACHE_PATH_BYTES];
    cache_path(self, sha256, own);
    if (link(path, own) == 0 || errno == EEXIST)
        note_use(own);
    cache_trim(self);
}

/* ---- the limit ---------------------------------------------------------------------------------- */

struct entry {
    char name[CYX_SHA256_HEX + 8];
    int64_t bytes;
    struct timespec used;
};

static int by_use(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    return a->used.tv_nsec < b->used.tv_nsec ? -1 : a->used.tv_nsec > b->used.tv_nsec;
}

/* What lies there; malloc'ed. */
static struct entry *read_entries(DIR *folder, size_t *ret_count)
{
    struct entry *entries = NULL;
    size_t count = 0, capacity = 0;
    for (struct dirent *found; (found = readdir(folder));) {
        struct stat info;
        size_t length = strlen(found->d_name);
        if (length + 1 < CYX_SHA256_HEX || length >= sizeof(entries->name) ||
            fstatat(dirfd(folder), found->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (count == capacity) {
            struct entry *more = realloc(entries, (capacity * 2 + 64) * sizeof(*entries));
            if (!more)
                break;
            entries = more;
            capacity = capacity * 2 + 64;
        }
        struct entry *entry = &entries[count++];
        *entry = (struct entry){.bytes = (int64_t)info.st_size, .used = info.st_mtim};
        memcpy(entry->name, found->d_name, length);
    }
    *ret_count = count;
    return entries;
}

int64_t cache_used_bytes(const struct cache *self)
{
    DIR *folder = opendir(self->folder);
    size_t count = 0;
    int64_t sum = 0;
    if (!folder)
        return 0;
    struct entry *entries = read_entries(folder, &count);
    for (size_t i = 0; i < count; i++)
        sum += entries[i].bytes;
    free(entries);
    closedir(folder);
    return sum;
}

/* A part that somebody is filling is not taken from under them. */
static bool is_taken(struct cache *self, const char *name)
{
    bool taken = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < CACHE_USERS_LIMIT; i++)
        taken |= self->taken[i][0] && strncmp(self->taken[i], name, CYX_SHA256_HEX - 1) == 0;
    pthread_mutex_unlock(&self->lock);
    return taken;
}

void cache_trim(struct cache *self)
{
    DIR *folder = opendir(self->folder);
    size_t count = 0;
    int64_t sum = 0;
    if (!folder)
        return;
    struct entry *entries = read_entries(folder, &count);
    for (size_t i = 0; i < count; i++)
        sum += entries[i].bytes;
    if (sum > self->limit_bytes)
        qsort(entries, count, sizeof(*entries), by_use);
    for (size_t i = 0; i < count && sum > self->limit_bytes; i++)
        if (!is_taken(self, entries[i].name) && unlinkat(dirfd(folder), entries[i].name, 0) == 0)
            sum -= entries[i].bytes;
    free(entries);
    closedir(folder);
}
