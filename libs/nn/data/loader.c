#include "nn/data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "nn/tensor/philox.h"

#include "base/banned.h"

enum { ALIGN_BYTES = 64 };
static const uint32_t SPLIT_EPOCH = UINT32_MAX; /* no epoch of training has this number */

struct slot {
    float *input;
    int32_t *target;
};

struct cyx_loader {
    struct cyx_loader_options options;
    int64_t batches, samples, elements; /* elements: floats of one image */
    uint32_t *order;                    /* this epoch's rows; the worker's while it fills */
    size_t n_rows;
    struct slot slots[CYX_LOADER_SLOTS];
    pthread_t worker;
    bool worker_runs;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Below: guarded by mutex. Batch b lies in slot b % CYX_LOADER_SLOTS. */
    uint32_t epoch;
    int64_t made, taken; /* batches [taken, made) are ready; batch taken-1 is the caller's */
    uint64_t generation; /* rises with each start: a fill of an older one is dropped */
    bool stop;
};

/* Uniform below n: 64 bits scaled, whose bias is under 2^-32 for any n here. */
static uint32_t draw_below(const struct cyx_philox *key, uint32_t index, uint32_t n)
{
    uint32_t words[4];
    cyx_philox_block(key, index / 2, words);
    const uint32_t *pair = words + 2 * (index % 2);
    uint64_t bits = (uint64_t)pair[1] << 32 | pair[0];
    return (uint32_t)((unsigned __int128)bits * n >> 64);
}

/* Fisher and Yates, from the end. */
static void shuffle(uint64_t seed, uint32_t epoch, uint32_t *rows, size_t count)
{
    struct cyx_philox key = {.seed = seed, .step = epoch, .purpose = CYX_PHILOX_SHUFFLE};
    for (size_t i = count; i-- > 1;) {
        uint32_t j = draw_below(&key, (uint32_t)i, (uint32_t)i + 1);
        uint32_t row = rows[i];
        rows[i] = rows[j];
        rows[j] = row;
    }
}

void cyx_loader_split(uint64_t seed, uint32_t count, double part, uint32_t *ret_rows,
                      uint32_t *ret_n_validation)
{
    for (uint32_t i = 0; i < count; i++)
        ret_rows[i] = i;
    shuffle(seed, SPLIT_EPOCH, ret_rows, count);
    *ret_n_validation = (uint32_t)(count * part + 0.5);
}

static void order_rows(struct cyx_loader *self, uint32_t epoch)
{
    const struct cyx_loader_options *options = &self->options;
    for (size_t i = 0; i < self->n_rows; i++)
        self->order[i] = options->rows ? options->rows[i] : (uint32_t)i;
    if (options->shuffle)
        shuffle(options->seed, epoch, self->order, self->n_rows);
}

static int64_t batch_rows(const struct cyx_loader *self, int64_t batch)
{
    int64_t left = (int64_t)self->n_rows - batch * self->options.batch;
    return left < self->options.batch ? left : self->options.batch;
}

static void assemble(struct cyx_loader *self, int64_t batch)
{
    const struct cyx_data_part *part = self->options.part;
    struct slot *slot = &self->slots[batch % CYX_LOADER_SLOTS];
    const uint32_t *rows = self->order + batch * self->options.batch;
    int64_t count = batch_rows(self, batch);
    for (int64_t i = 0; i < count; i++) {
        cyx_transform_image(self->options.transform,
                            part->images.data + (int64_t)rows[i] * self->elements,
                            slot->input + i * self->elements);
        slot->target[i] = part->labels.data[rows[i]];
    }
}

/* Whether a slot is free for batch `made`: the caller's and the ready ones keep theirs. */
static bool may_fill(const struct cyx_loader *self)
{
    int64_t kept = self->taken > 0 ? self->taken - 1 : 0;
    return self->made < self->batches && self->made - kept < CYX_LOADER_SLOTS;
}

static void *work(void *context)
{
    struct cyx_loader *self = context;
    uint64_t ordered = 0;
    pthread_mutex_lock(&self->mutex);
    while (!self->stop) {
        if (self->generation == 0 || !may_fill(self)) {
            pthread_cond_wait(&self->changed, &self->mutex);
            continue;
        }
        uint64_t generation = self->generation;
        uint32_t epoch = self->epoch;
        int64_t batch = self->made;
        pthread_mutex_unlock(&self->mutex);
        if (ordered != generation)
            order_rows(self, epoch);
        ordered = generation;
        assemble(self, batch);
        pthread_mutex_lock(&self->mutex);
        if (generation == self->generation) {
            self->made++;
            pthread_cond_broadcast(&self->changed);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

/* With every signal blocked, so that the process's handlers run on its own threads. */
static bool start_worker(struct cyx_loader *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&self->worker, NULL, work, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void *aligned(size_t bytes)
{
    return aligned_alloc(ALIGN_BYTES, (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES);
}

static bool allocate(struct cyx_loader *self)
{
    size_t rows = (size_t)self->options.batch;
    self->order = malloc((self->n_rows ? self->n_rows : 1) * sizeof(*self->order));
    bool good = self->order != NULL;
    for (int i = 0; i < CYX_LOADER_SLOTS; i++) {
        self->slots[i].input = aligned(rows * (size_t)self->elements * sizeof(float));
        self->slots[i].target = aligned(rows * sizeof(int32_t));
        good = good && self->slots[i].input && self->slots[i].target;
    }
    return good;
}

enum cyx_status cyx_loader_create(const struct cyx_loader_options *options,
                                  struct cyx_loader **ret_loader, struct cyx_error *ret_error)
{
    struct cyx_loader *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a data loader");
    self->options = *options;
    self->n_rows = options->rows ? options->n_rows : (size_t)options->part->count;
    self->elements = options->transform->channels * options->transform->plane;
    int64_t rows = (int64_t)self->n_rows, batch = options->batch;
    self->batches = options->drop_last ? rows / batch : (rows + batch - 1) / batch;
    self->samples = options->drop_last ? self->batches * batch : rows;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->worker_runs = allocate(self) && start_worker(self);
    if (!self->worker_runs) {
        cyx_loader_destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "no memory for %d batches of %lld images", CYX_LOADER_SLOTS,
                             (long long)batch);
    }
    *ret_loader = self;
    return CYX_OK;
}

void cyx_loader_destroy(struct cyx_loader *self)
{
    if (!self)
        return;
    if (self->worker_runs) {
        pthread_mutex_lock(&self->mutex);
        self->stop = true;
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->mutex);
        pthread_join(self->worker, NULL);
    }
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    for (int i = 0; i < CYX_LOADER_SLOTS; i++) {
        free(self->slots[i].input);
        free(self->slots[i].target);
    }
    free(self->order);
    free(self);
}

int64_t cyx_loader_batches(const struct cyx_loader *self)
{
    return self->batches;
}

int64_t cyx_loader_samples(const struct cyx_loader *self)
{
    return self->samples;
}

void cyx_loader_start(struct cyx_loader *self, uint32_t epoch, int64_t first_batch)
{
    pthread_mutex_lock(&self->mutex);
    self->generation++;
    self->epoch = epoch;
    self->made = self->taken = first_batch < self->batches ? first_batch : self->batches;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

bool cyx_loader_next(struct cyx_loader *self, struct cyx_batch *ret_batch)
{
    pthread_mutex_lock(&self->mutex);
    bool more = self->taken < self->batches;
    while (more && self->made <= self->taken)
        pthread_cond_wait(&self->changed, &self->mutex);
    if (more) {
        int64_t batch = self->taken++;
        const struct slot *slot = &self->slots[batch % CYX_LOADER_SLOTS];
        *ret_batch = (struct cyx_batch){.input = slot->input,
                                        .target = slot->target,
                                        .count = batch_rows(self, batch),
                                        .index = batch};
    }
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    return more;
}
