/*
 * Private to libs/nn/data: what the readers of the formats share. A reader fills a struct cyx_data that its
 * caller closes on failure too; memory goes to the data set by data_alloc() and data_map().
 */
#ifndef CYX_NN_DATA_PRIVATE_H
#define CYX_NN_DATA_PRIVATE_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "blob/sha256.h"
#include "nn/data/data.h"

/* Memory or a mapping that lives as long as the data set. */
struct data_block {
    struct data_block *next;
    void *map; /* NULL: memory behind this struct */
    size_t bytes;
};

struct cyx_data_memory {
    struct cyx_arena arena; /* names, paths, small things */
    struct data_block *blocks;
    pthread_mutex_t mutex; /* guards the faults */
    char **faults;
    size_t n_kept;
    int64_t n_faults, n_seen; /* n_seen: files or rows that were looked at */
    const char *fault_what;   /* "files", "rows" */
};

struct cyx_data *data_new(const char *name, struct cyx_error *error);

/* 64-byte aligned, not zeroed; NULL when memory ran out. */
void *data_alloc(struct cyx_data *self, size_t count, size_t size);

/* Maps a whole regular file; an empty one is CYX_ERR_CORRUPT. */
enum cyx_status data_map(struct cyx_data *self, const char *path, const uint8_t **ret_bytes,
                         size_t *ret_length, struct cyx_error *error);

enum cyx_status data_no_memory(const char *what, struct cyx_error *error);

/* Names what was left out and why. */
void data_fault(const struct cyx_data *self, const char *what, const char *why);

/* The path as the process must open it. */
enum cyx_status data_path(const struct cyx_data_options *options, const char *path,
                          struct cyx_buf *ret_path, struct cyx_error *error);

/* Adds a file to a fingerprint: its length, its first and its last bytes. */
enum cyx_status data_fingerprint_file(struct cyx_sha256 *hash, const char *path,
                                      struct cyx_error *error);

/* ---- arrays ---- */

enum array_dtype {
    ARRAY_BOOL,
    ARRAY_U8,
    ARRAY_I8,
    ARRAY_U16,
    ARRAY_I16,
    ARRAY_U32,
    ARRAY_I32,
    ARRAY_U64,
    ARRAY_I64,
    ARRAY_F16,
    ARRAY_BF16,
    ARRAY_F32,
    ARRAY_F64,
};

enum {
    ARRAY_RANK_LIMIT = 4,
    NAMES_BYTES = 200, /* of the names that a refusal lists */
};
#define ARRAY_BYTES_LIMIT (UINT64_C(1) << 42)

struct array {
    enum array_dtype dtype;
    int rank;
    int64_t shape[ARRAY_RANK_LIMIT];
    const void *data; /* little-endian, row-major, aligned to the element */
};

size_t array_dtype_bytes(enum array_dtype dtype);

/* Bytes of all elements; false when that overflows or is over ARRAY_BYTES_LIMIT. */
bool array_bytes(const struct array *self, uint64_t *ret_bytes);

/* The header of an NPY file: dtype and shape, and where the data begin. CYX_ERR_CORRUPT with a sentence. */
enum cyx_status npy_parse(const uint8_t *bytes, size_t length, struct array *ret_array,
                          size_t *ret_header_bytes, struct cyx_error *error);

enum cyx_status npy_open(struct cyx_data *self, const char *path, struct array *ret_array,
                         struct cyx_error *error);

/* A member of an NPZ file, "name" or "name.npy". CYX_ERR_NOT_FOUND lists those that are there. */
enum cyx_status npz_open(struct cyx_data *self, const char *path, const char *name,
                         struct array *ret_array, struct cyx_error *error);

enum cyx_status tensor_open(struct cyx_data *self, const char *path, const char *name,
                            struct array *ret_array, struct cyx_error *error);

/* The spec's arrays of both parts. */
enum cyx_status data_open_arrays(struct cyx_data *self, const struct cyx_source_spec *source,
                                 const struct cyx_data_options *options, struct cyx_error *error);

/* `count` elements as floats; into `ret_floats`. */
void array_to_floats(const struct array *self, size_t count, float *ret_floats);

/* ---- other formats ---- */

enum cyx_status data_open_csv(struct cyx_data *self, const struct cyx_source_spec *source,
                              const struct cyx_data_options *options, struct cyx_error *error);

/* The transforms say which images are too small to be used. */
enum cyx_status data_open_folder(struct cyx_data *self, const struct cyx_data_spec *spec,
                                 const struct cyx_data_options *options, struct cyx_error *error);

#endif
