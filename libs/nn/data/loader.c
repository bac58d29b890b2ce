#include "nn/data/loader.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "nn/tensor/philox.h"

#include "base/banned.h"

enum { ALIGN_BYTES = 64, AUTO_WORKERS_LIMIT = 16, CHUNKS_A_WORKER = 4 };
static const uint32_t SPLIT_EPOCH = UINT32_MAX; /* no epoch of training has this number */

struct slot {
    float *input;
    void *target;
    int64_t batch, done; /* which batch lies here (-1: none), and how many of its rows */
};

struct worker {
    struct cyx_loader *loader;
    struct cyx_scratch *scratch;
    pthread_t thread;
};

struct cyx_loader {
    struct cyx_loader_options options;
    int64_t batches, samples;
    int64_t elements, target_bytes; /* floats of an input, bytes of a target */
    int64_t chunk;                  /* rows that a worker takes at once */
    size_t n_rows, n_own; /* of the list; of those, rows of an epoch that are our shard's */
    uint32_t *order;      /* this epoch's order, as places in `rows` */
    struct slot slots[CYX_LOADER_SLOTS];
    struct worker workers[CYX_WORKERS_LIMIT];
    int n_workers;

    pthread_mutex_t mutex;
    pthread_cond_t work, done; /* something to do; something was done */
    /* Below: guarded by mutex. Batch b lies in slot b % CYX_LOADER_SLOTS. */
    uint32_t epoch;
    bool started, ordered;
    int64_t next_batch, next_row; /* what is to be made next */
    int64_t taken;                /* batch taken - 1 is the caller's */
    int busy;                     /* workers that are making something */
    bool stop;
    enum cyx_status status;
    struct cyx_error error;
};

/* ---- order ---- */

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
    for (size_t i = 0; i < self->n_rows; i++)
        self->order[i] = (uint32_t)i;
    if (self->options.shuffle)
        shuffle(self->options.seed, epoch, self->order, self->n_rows);
    for (size_t i = 0; i < self->n_own && self->options.shards > 1; i++)
        self->order[i] =
            self->order[i * (size_t)self->options.shards + (size_t)self->options.shard];
}

/* ---- rows ---- */

static int64_t batch_rows(const struct cyx_loader *self, int64_t batch)
{
    int64_t left = (int64_t)self->n_own - batch * self->options.batch;
    return left < self->options.batch ? left : self->options.batch;
}

static void copy_target(const struct cyx_loader *self, uint32_t row, void *to)
{
    const struct cyx_data_part *part = self->options.part;
    if (part->labels)
        memcpy(to, part->labels + row, sizeof(int32_t));
    else if (self->target_bytes > 0)
        memcpy(to, part->numbers + (int64_t)row * self->options.data->n_targets,
               (size_t)self->target_bytes);
}

/* The row at `place` of the list, or the next one that can be read. */
static enum cyx_status fill_row(const struct cyx_loader *self, uint32_t place, uint32_t epoch,
                                struct cyx_scratch *scratch, float *input, void *target,
                                struct cyx_error *error)
{
    const struct cyx_loader_options *o = &self->options;
    size_t tries = self->n_rows < CYX_LOADER_TRIES ? self->n_rows : CYX_LOADER_TRIES;
    enum cyx_status status = CYX_ERR_CORRUPT;
    for (size_t i = 0; i < tries && status == CYX_ERR_CORRUPT; i++) {
        size_t at = (place + i) % self->n_rows;
        uint32_t row = o->rows ? o->rows[at] : (uint32_t)at;
        status = cyx_pipeline_row(o->pipeline, o->part, row, epoch, scratch, input, error);
        if (status == CYX_OK)
            copy_target(self, row, target);
    }
    return status;
}

struct chunk {
    int64_t batch, first, count;
    uint32_t epoch;
};

static enum cyx_status assemble(const struct cyx_loader *self, const struct chunk *chunk,
                                struct cyx_scratch *scratch, struct cyx_error *error)
{
    const struct slot *slot = &self->slots[chunk->batch % CYX_LOADER_SLOTS];
    const uint32_t *places = self->order + chunk->batch * self->options.batch;
    for (int64_t i = chunk->first; i < chunk->first + chunk->count; i++) {
        char *target = (char *)slot->target + i * self->target_bytes;
        enum cyx_status status = fill_row(self, places[i], chunk->epoch, scratch,
                                          slot->input + i * self->elements, target, error);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

/* ---- workers ---- */

/* Whether a slot is free for the next batch: the caller's and the ready ones keep theirs. */
static bool may_begin(const struct cyx_loader *self)
{
    int64_t kept = self->taken > 0 ? self->taken - 1 : 0;
    return self->next_batch < self->batches && self->next_batch - kept < CYX_LOADER_SLOTS;
}

/* With the mutex: whether there is something to make, and what. */
static bool claim(struct cyx_loader *self, struct chunk *ret_chunk)
{
    if (!self->started || !self->ordered || self->status != CYX_OK ||
        (self->next_row == 0 && !may_begin(self)))
        return false;
    struct slot *slot = &self->slots[self->next_batch % CYX_LOADER_SLOTS];
    int64_t rows = batch_rows(self, self->next_batch), left = rows - self->next_row;
    if (self->next_row == 0) {
        slot->batch = self->next_batch;
        slot->done = 0;
    }
    *ret_chunk = (struct chunk){.batch = self->next_batch,
                                .first = self->next_row,
                                .count = left < self->chunk ? left : self->chunk,
                                .epoch = self->epoch};
    self->next_row += ret_chunk->count;
    if (self->next_row == rows) {
        self->next_row = 0;
        self->next_batch++;
    }
    return true;
}

/* With the mutex, which is free while rows are made. */
static void make(struct worker *worker, const struct chunk *chunk)
{
    struct cyx_loader *self = worker->loader;
    struct cyx_error error = {0};
    self->busy++;
    pthread_mutex_unlock(&self->mutex);
    enum cyx_status status = assemble(self, chunk, worker->scratch, &error);
    pthread_mutex_lock(&self->mutex);
    self->busy--;
    self->slots[chunk->batch % CYX_LOADER_SLOTS].done += chunk->count;
    if (status != CYX_OK && self->status == CYX_OK) {
        self->status = status;
        self->error = error;
    }
    pthread_cond_broadcast(&self->done);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct cyx_loader *self = worker->loader;
    struct chunk chunk;
    pthread_mutex_lock(&self->mutex);
    while (!self->stop) {
        if (self->started && !self->ordered && self->busy == 0) {
            self->busy++; /* the others wait: nothing is claimed before it is ordered */
            uint32_t epoch = self->epoch;
            pthread_mutex_unlock(&self->mutex);
            order_rows(self, epoch);
            pthread_mutex_lock(&self->mutex);
            self->busy--;
            self->ordered = self->started;
            pthread_cond_broadcast(&self->work);
            pthread_cond_broadcast(&self->done);
        } else if (claim(self, &chunk)) {
            make(worker, &chunk);
        } else {
            pthread_cond_wait(&self->work, &self->mutex);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int workers_wanted(const struct cyx_loader_options *options)
{
    if (options->workers > 0)
        return options->workers < CYX_WORKERS_LIMIT ? (int)options->workers : CYX_WORKERS_LIMIT;
    int n = cyx_pipeline_is_heavy(options->pipeline) ? cores() : 1;
    return n < AUTO_WORKERS_LIMIT ? n : AUTO_WORKERS_LIMIT;
}

/* With every signal blocked, so that the process's handlers run on its own threads. */
static bool start_workers(struct cyx_loader *self)
{
    sigset_t all, before;
    int wanted = workers_wanted(&self->options);
    self->chunk = (self->options.batch + wanted * CHUNKS_A_WORKER - 1) / (wanted * CHUNKS_A_WORKER);
    if (wanted == 1)
        self->chunk = self->options.batch;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; self->n_workers < wanted; self->n_workers++) {
        struct worker *worker = &self->workers[self->n_workers];
        worker->loader = self;
        worker->scratch = cyx_scratch_create();
        if (!worker->scratch || pthread_create(&worker->thread, NULL, work, worker) != 0) {
            cyx_scratch_destroy(worker->scratch);
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return self->n_workers > 0; /* fewer than wanted make the same batches */
}

/* ---- life ---- */

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
        struct slot *slot = &self->slots[i];
        slot->batch = -1;
        slot->input = aligned(rows * (size_t)self->elements * sizeof(float));
        slot->target = aligned(rows * (size_t)self->target_bytes + 1);
        good = good && slot->input && slot->target;
    }
    return good;
}

static void measure(struct cyx_loader *self)
{
    const struct cyx_loader_options *o = &self->options;
    self->n_rows = o->rows ? o->n_rows : (size_t)o->part->count;
    self->elements = cyx_pipeline_elements(o->pipeline);
    self->target_bytes = o->part->labels    ? (int64_t)sizeof(int32_t)
                         : o->part->numbers ? o->data->n_targets * (int64_t)sizeof(float)
                                            : 0;
    self->n_own = o->shards > 1 ? self->n_rows / (size_t)o->shards : self->n_rows;
    int64_t rows = (int64_t)self->n_own, batch = o->batch;
    self->batches = o->drop_last ? rows / batch : (rows + batch - 1) / batch;
    self->samples = o->drop_last ? self->batches * batch : rows;
}

enum cyx_status cyx_loader_create(const struct cyx_loader_options *options,
                                  struct cyx_loader **ret_loader, struct cyx_error *ret_error)
{
    struct cyx_loader *self = calloc(1, sizeof(*self));
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a data loader");
    self->options = *options;
    measure(self);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work, NULL);
    pthread_cond_init(&self->done, NULL);
    if (!allocate(self) || !start_workers(self)) {
        cyx_loader_destroy(self);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "no memory for %d batches of %lld samples", CYX_LOADER_SLOTS,
                             (long long)options->batch);
    }
    *ret_loader = self;
    return CYX_OK;
}

void cyx_loader_destroy(struct cyx_loader *self)
{
    if (!self)
        return;
    pthread_mutex_lock(&self->mutex);
    self->stop = true;
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    for (int i = 0; i < self->n_workers; i++) {
        pthread_join(self->workers[i].thread, NULL);
        cyx_scratch_destroy(self->workers[i].scratch);
    }
    pthread_cond_destroy(&self->work);
    pthread_cond_destroy(&self->done);
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

int cyx_loader_workers(const struct cyx_loader *self)
{
    return self->n_workers;
}

void cyx_loader_start(struct cyx_loader *self, uint32_t epoch, int64_t first_batch)
{
    pthread_mutex_lock(&self->mutex);
    self->started = false; /* nothing new is begun while the last rows are made */
    while (self->busy > 0)
        pthread_cond_wait(&self->done, &self->mutex);
    for (int i = 0; i < CYX_LOADER_SLOTS; i++)
        self->slots[i].batch = -1;
    self->epoch = epoch;
    self->next_batch = self->taken = first_batch < self->batches ? first_batch : self->batches;
    self->next_row = 0;
    self->ordered = false;
    self->started = true;
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
}

static bool is_ready(const struct cyx_loader *self, int64_t batch)
{
    const struct slot *slot = &self->slots[batch % CYX_LOADER_SLOTS];
    return slot->batch == batch && slot->done == batch_rows(self, batch);
}

bool cyx_loader_next(struct cyx_loader *self, struct cyx_batch *ret_batch)
{
    pthread_mutex_lock(&self->mutex);
    bool more = self->taken < self->batches;
    while (more && self->status == CYX_OK && !is_ready(self, self->taken))
        pthread_cond_wait(&self->done, &self->mutex);
    more = more && self->status == CYX_OK;
    if (more) {
        int64_t batch = self->taken++;
        const struct slot *slot = &self->slots[batch % CYX_LOADER_SLOTS];
        *ret_batch = (struct cyx_batch){.input = slot->input,
                                        .target = self->target_bytes > 0 ? slot->target : NULL,
                                        .count = batch_rows(self, batch),
                                        .index = batch};
    }
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    return more;
}

enum cyx_status cyx_loader_failure(struct cyx_loader *self, struct cyx_error *ret_error)
{
    pthread_mutex_lock(&self->mutex);
    enum cyx_status status = self->status;
    if (status != CYX_OK && ret_error)
        *ret_error = self->error;
    pthread_mutex_unlock(&self->mutex);
    return status;
}
