/*
 * Safetensors files for Python, through the engine's strict reader and its writer (nn/format/safetensors.h).
 *
 * Ownership: py_tensors_close() frees an opened file, takes NULL; names are the file's. Thread rule: immutable
 * after opening.
 */
#ifndef CYX_PYTHON_TENSORS_H
#define CYX_PYTHON_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct py_tensors;

struct py_tensor {
    const char *name, *dtype; /* "F32" and so on */
    int rank;
    int64_t shape[16];
    size_t bytes;
    const void *data; /* to write: row-major, borrowed for the call */
};

struct py_pair {
    const char *key, *value;
};

enum cyx_status py_tensors_open(const char *path, struct py_tensors **ret_file,
                                struct cyx_error *ret_error);
void py_tensors_close(struct py_tensors *self);
size_t py_tensors_count(const struct py_tensors *self);
void py_tensors_get(const struct py_tensors *self, size_t index, struct py_tensor *ret_tensor);
size_t py_tensors_metadata_count(const struct py_tensors *self);
void py_tensors_metadata(const struct py_tensors *self, size_t index, struct py_pair *ret_pair);
enum cyx_status py_tensors_read(const struct py_tensors *self, size_t index, void *ret_bytes,
                                size_t length, struct cyx_error *ret_error);

/* The whole file, written whole or not at all. */
enum cyx_status py_tensors_write(const char *path, const struct py_tensor *tensors,
                                 size_t n_tensors, const struct py_pair *metadata,
                                 size_t n_metadata, struct cyx_error *ret_error);

#endif
