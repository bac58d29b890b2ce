#include "nn/data/data.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "nn/data/pipeline.h"
#include "nn/data/private.h"

#include "base/banned.h"

enum { ALIGN_BYTES = 64, HASHED_BYTES = 1024 * 1024 };

/* ---- memory ---- */

enum cyx_status data_no_memory(const char *what, struct cyx_error *error)
{
    return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "memory ran out while reading %s", what);
}

struct cyx_data *data_new(const char *name, struct cyx_error *error)
{
    struct cyx_data *self = calloc(1, sizeof(*self));
    struct cyx_data_memory *memory = calloc(1, sizeof(*memory));
    char **faults = calloc(CYX_FAULTS_KEPT, sizeof(*faults));
    if (!self || !memory || !faults || pthread_mutex_init(&memory->mutex, NULL) != 0) {
        free(faults);
        free(memory);
        free(self);
        data_no_memory(name, error);
        return NULL;
    }
    memory->faults = faults;
    memory->fault_what = "rows";
    self->memory = memory;
    self->name = cyx_arena_strdup(&memory->arena, name);
    if (!self->name) {
        cyx_data_close(self);
        data_no_memory(name, error);
        return NULL;
    }
    return self;
}

static void free_blocks(struct data_block *block)
{
    while (block) {
        struct data_block *next = block->next;
        if (block->map)
            munmap(block->map, block->bytes);
        free(block);
        block = next;
    }
}

void cyx_data_close(struct cyx_data *self)
{
    if (!self)
        return;
    struct cyx_data_memory *memory = self->memory;
    for (size_t i = 0; i < memory->n_kept; i++)
        free(memory->faults[i]);
    free(memory->faults);
    free_blocks(memory->blocks);
    cyx_arena_finish(&memory->arena);
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
    free(self);
}

void *data_alloc(struct cyx_data *self, size_t count, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 2 * (size_t)ALIGN_BYTES)
        return NULL;
    bytes = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES + ALIGN_BYTES;
    struct data_block *block = aligned_alloc(ALIGN_BYTES, bytes);
    if (!block)
        return NULL;
    *block = (struct data_block){.next = self->memory->blocks, .bytes = bytes};
    self->memory->blocks = block;
    return (char *)block + ALIGN_BYTES;
}

static enum cyx_status map_fd(struct cyx_data *self, int fd, const char *path,
                              const uint8_t **ret_bytes, size_t *ret_length,
                              struct cyx_error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return cyx_error_errno(error, "cannot read %s", path);
    if (!S_ISREG(info.st_mode) || info.st_size == 0)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset", "%s: %s", path,
                             S_ISREG(info.st_mode) ? "the file is empty" : "not a file");
    struct data_block *block = malloc(sizeof(*block));
    if (!block)
        return data_no_memory(path, error);
    size_t length = (size_t)info.st_size;
    void *map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        free(block);
        return cyx_error_errno(error, "cannot map %s", path);
    }
    *block = (struct data_block){.next = self->memory->blocks, .map = map, .bytes = length};
    self->memory->blocks = block;
    *ret_bytes = map;
    *ret_length = length;
    return CYX_OK;
}

enum cyx_status data_map(struct cyx_data *self, const char *path, const uint8_t **ret_bytes,
                         size_t *ret_length, struct cyx_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(error, "cannot open %s", path);
    enum cyx_status status = map_fd(self, fd, path, ret_bytes, ret_length, error);
    close(fd);
    return status;
}

/* ---- faults ---- */

void data_fault(const struct cyx_data *self, const char *what, const char *why)
{
    struct cyx_data_memory *memory = self->memory;
    char text[CYX_FAULT_BYTES];
    snprintf(text, sizeof(text), "%s: %s", what, why);
    cyx_text_clean(text);
    pthread_mutex_lock(&memory->mutex);
    memory->n_faults++;
    if (memory->n_kept < CYX_FAULTS_KEPT && (memory->faults[memory->n_kept] = strdup(text)))
        memory->n_kept++;
    pthread_mutex_unlock(&memory->mutex);
}

int64_t cyx_data_faults_count(const struct cyx_data *self)
{
    pthread_mutex_lock(&self->memory->mutex);
    int64_t count = self->memory->n_faults;
    pthread_mutex_unlock(&self->memory->mutex);
    return count;
}

void cyx_data_fault(const struct cyx_data *self, size_t index, char ret_text[CYX_FAULT_BYTES])
{
    pthread_mutex_lock(&self->memory->mutex);
    const char *text = index < self->memory->n_kept ? self->memory->faults[index] : "";
    snprintf(ret_text, CYX_FAULT_BYTES, "%s", text);
    pthread_mutex_unlock(&self->memory->mutex);
}

void cyx_data_faults_text(const struct cyx_data *self, char ret_text[2 * CYX_FAULT_BYTES])
{
    char first[CYX_FAULT_BYTES];
    int64_t count = cyx_data_faults_count(self);
    ret_text[0] = '\0';
    if (count == 0)
        return;
    cyx_data_fault(self, 0, first);
    snprintf(ret_text, 2 * (size_t)CYX_FAULT_BYTES, "%lld of %lld %s could not be read; first: %s",
             (long long)count, (long long)self->memory->n_seen, self->memory->fault_what, first);
}

/* ---- paths and fingerprints ---- */

enum cyx_status data_path(const struct cyx_data_options *options, const char *path,
                          struct cyx_buf *ret_path, struct cyx_error *error)
{
    cyx_buf_clear(ret_path);
    if (*path != '/' && options->base_dir && *options->base_dir)
        cyx_buf_printf(ret_path, "%s/", options->base_dir);
    cyx_buf_puts(ret_path, path);
    return ret_path->failed ? data_no_memory(path, error) : CYX_OK;
}

static enum cyx_status hash_range(struct cyx_sha256 *hash, int fd, off_t from, size_t length,
                                  const char *path, struct cyx_error *error)
{
    char chunk[16384];
    while (length > 0) {
        ssize_t n = pread(fd, chunk, length < sizeof(chunk) ? length : sizeof(chunk), from);
        if (n < 0)
            return cyx_error_errno(error, "cannot read %s", path);
        if (n == 0)
            break;
        enum cyx_status status = cyx_sha256_update(hash, chunk, (size_t)n);
        if (status != CYX_OK)
            return cyx_error_set(error, status, NULL, "cannot hash %s", path);
        from += n;
        length -= (size_t)n;
    }
    return CYX_OK;
}

enum cyx_status data_fingerprint_file(struct cyx_sha256 *hash, const char *path,
                                      struct cyx_error *error)
{
    struct stat info;
    char line[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(error, "cannot open %s", path);
    enum cyx_status status = CYX_OK;
    if (fstat(fd, &info) != 0)
        status = cyx_error_errno(error, "cannot read %s", path);
    if (status == CYX_OK) {
        int n = snprintf(line, sizeof(line), "%lld\n", (long long)info.st_size);
        status = cyx_sha256_update(hash, line, (size_t)n);
    }
    if (status == CYX_OK)
        status = hash_range(hash, fd, 0, HASHED_BYTES, path, error);
    if (status == CYX_OK && info.st_size > 2 * (off_t)HASHED_BYTES)
        status = hash_range(hash, fd, info.st_size - HASHED_BYTES, HASHED_BYTES, path, error);
    close(fd);
    return status;
}

/* ---- opening ---- */

static enum cyx_status open_source(struct cyx_data *self, const struct cyx_data_spec *spec,
                                   const struct cyx_data_options *options, struct cyx_error *error)
{
    switch (spec->source.format) {
    case CYX_SOURCE_CSV:
        return data_open_csv(self, &spec->source, options, error);
    case CYX_SOURCE_IMAGE_FOLDER:
        return data_open_folder(self, spec, options, error);
    case CYX_SOURCE_IDX:
    case CYX_SOURCE_NPY:
    case CYX_SOURCE_NPZ:
    case CYX_SOURCE_SAFETENSORS:
        return data_open_arrays(self, &spec->source, options, error);
    case CYX_SOURCE_MEMORY:
        return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                             "data of format \"memory\" come from the program that trains: use "
                             "Python's fit with arrays, or name a format with files");
    case CYX_SOURCE_CATALOGUE:
        break;
    }
    return cyx_error_set(error, CYX_ERR_INTERNAL, "/data/dataset", "data of no known format");
}

/* They go into the model's file, and to terminals. */
static enum cyx_status check_class_names(const struct cyx_data *self, struct cyx_error *error)
{
    for (int64_t i = 0; self->class_names && i < self->n_classes; i++)
        if (!cyx_text_is_plain(self->class_names[i]))
            return cyx_error_set(error, CYX_ERR_INVALID, "/data/dataset",
                                 "%s: the class \"%.60s\" is not plain UTF-8 text: %s", self->name,
                                 self->class_names[i],
                                 self->format == CYX_SOURCE_CSV ? "save the file as UTF-8"
                                                                : "rename its folder");
    return CYX_OK;
}

enum cyx_status cyx_data_open(const struct cyx_data_spec *spec,
                              const struct cyx_data_options *options, struct cyx_data **ret_data,
                              struct cyx_error *ret_error)
{
    if (spec->source.format == CYX_SOURCE_CATALOGUE) {
        const struct cyx_dataset *set = cyx_dataset_find(spec->dataset);
        if (!set)
            return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, "/data/dataset",
                                 "there is no data set \"%s\"", spec->dataset ? spec->dataset : "");
        return cyx_data_open_dataset(set, options->data_dir, ret_data, ret_error);
    }
    struct cyx_data *self = data_new(cyx_data_spec_name(spec), ret_error);
    if (!self)
        return CYX_ERR_NO_MEMORY;
    self->format = spec->source.format;
    enum cyx_status status = open_source(self, spec, options, ret_error);
    if (status == CYX_OK)
        status = check_class_names(self, ret_error);
    if (status != CYX_OK) {
        cyx_data_close(self);
        return status;
    }
    *ret_data = self;
    return CYX_OK;
}

enum cyx_status cyx_data_sample(const struct cyx_data *self, const struct cyx_data_spec *spec,
                                struct cyx_sample_shape *ret_sample, struct cyx_error *ret_error)
{
    struct cyx_pipeline *pipeline = NULL;
    enum cyx_status status = cyx_pipeline_create(self, spec, true, 0, &pipeline, ret_error);
    if (status == CYX_OK)
        *ret_sample = *cyx_pipeline_sample(pipeline);
    cyx_pipeline_destroy(pipeline);
    return status;
}

enum cyx_status cyx_data_resolve(struct cyx_job_spec *spec, const struct cyx_data_options *options,
                                 struct cyx_error *ret_error)
{
    struct cyx_data *data = NULL;
    if (spec->data.sample.rank > 0)
        return CYX_OK;
    enum cyx_status status = cyx_data_open(&spec->data, options, &data, ret_error);
    if (status == CYX_OK)
        status = cyx_data_sample(data, &spec->data, &spec->data.sample, ret_error);
    cyx_data_close(data);
    return status;
}
