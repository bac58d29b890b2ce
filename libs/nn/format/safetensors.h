/*
 * The safetensors file format (https://github.com/huggingface/safetensors, "Format"): eight bytes
 * of little-endian header length, a JSON header that gives each tensor's dtype, shape and
 * data_offsets, then the bytes. Models are written so that PyTorch opens them, checkpoints so that
 * training goes on.
 *
 * The reader trusts nothing: it refuses a header over 100 MB, JSON that is not exactly such a
 * header, duplicate names, offsets that overlap, leave a gap, run out of the file, are not aligned
 * to the element, or do not match dtype and shape. Refusals are CYX_ERR_CORRUPT with a sentence
 * that names the tensor.
 *
 * Ownership: the reader owns names and shapes until cyx_safetensors_close() (which takes NULL);
 * tensor bytes are read on demand into the caller's memory. Thread rule: immutable after opening;
 * reads from several threads are fine.
 *
 *     struct cyx_safetensors *file = NULL;
 *     if (cyx_safetensors_open(path, &file, &err) != CYX_OK) …
 *     status = cyx_safetensors_read_f32(file, "0.weight", data, count, &err);
 *     cyx_safetensors_close(file);
 */
#ifndef CYX_NN_FORMAT_SAFETENSORS_H
#define CYX_NN_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

enum {
    CYX_SAFETENSORS_HEADER_LIMIT_BYTES = 100 * 1000 * 1000,
    CYX_SAFETENSORS_TENSORS_LIMIT = 1000 * 1000,
    CYX_SAFETENSORS_RANK_LIMIT = 16,
};

enum cyx_safetensors_dtype {
    CYX_ST_BOOL,
    CYX_ST_U8,
    CYX_ST_I8,
    CYX_ST_F8_E5M2,
    CYX_ST_F8_E4M3,
    CYX_ST_I16,
    CYX_ST_U16,
    CYX_ST_F16,
    CYX_ST_BF16,
    CYX_ST_I32,
    CYX_ST_U32,
    CYX_ST_F32,
    CYX_ST_F64,
    CYX_ST_I64,
    CYX_ST_U64,
    CYX_ST_DTYPE_COUNT
};

/* "F32" and so on, as the header spells it; bytes of one element. */
const char *cyx_safetensors_dtype_name(enum cyx_safetensors_dtype dtype);
size_t cyx_safetensors_dtype_bytes(enum cyx_safetensors_dtype dtype);

struct cyx_safetensors_tensor {
    const char *name;
    enum cyx_safetensors_dtype dtype;
    int rank;
    int64_t shape[CYX_SAFETENSORS_RANK_LIMIT];
    uint64_t begin, end; /* bytes from the first one behind the header */
};

struct cyx_safetensors_pair {
    const char *key, *value;
};

struct cyx_safetensors {
    struct cyx_safetensors_tensor *tensors; /* in the order of their bytes */
    size_t n_tensors;
    struct cyx_safetensors_pair *metadata; /* "__metadata__" */
    size_t n_metadata;
    uint64_t data_offset_bytes;            /* of the first tensor byte in the file */
    struct cyx_safetensors_memory *memory; /* private */
};

enum cyx_status cyx_safetensors_open(const char *path, struct cyx_safetensors **ret_file,
                                     struct cyx_error *ret_error);

/* For header bytes at hand (tests, fuzzing): the same judgement, for a file with `data_bytes`
 * behind it. */
enum cyx_status cyx_safetensors_parse(const char *header, size_t length, uint64_t data_bytes,
                                      struct cyx_safetensors **ret_file,
                                      struct cyx_error *ret_error);

void cyx_safetensors_close(struct cyx_safetensors *self);

/* NULL when there is none. */
const struct cyx_safetensors_tensor *cyx_safetensors_find(const struct cyx_safetensors *self,
                                                          const char *name);
const char *cyx_safetensors_metadata(const struct cyx_safetensors *self, const char *key);

/* The tensor's bytes; `length` must be end - begin. */
enum cyx_status cyx_safetensors_read(const struct cyx_safetensors *self,
                                     const struct cyx_safetensors_tensor *tensor, void *ret_bytes,
                                     size_t length, struct cyx_error *ret_error);

/* By name; CYX_ERR_NOT_FOUND, or CYX_ERR_INVALID when it is not F32 or not `count` elements. */
enum cyx_status cyx_safetensors_read_f32(const struct cyx_safetensors *self, const char *name,
                                         float *ret_data, size_t count,
                                         struct cyx_error *ret_error);

/* Elements of any floating-point tensor (F32, F64, F16, BF16) as float; CYX_ERR_INVALID for other kinds. */
enum cyx_status cyx_safetensors_read_as_f32(const struct cyx_safetensors *self,
                                            const struct cyx_safetensors_tensor *tensor,
                                            float *ret_data, size_t count,
                                            struct cyx_error *ret_error);

/* One tensor to write: row-major little-endian bytes, borrowed for the call. */
struct cyx_safetensors_entry {
    const char *name;
    enum cyx_safetensors_dtype dtype;
    int rank;
    int64_t shape[CYX_SAFETENSORS_RANK_LIMIT];
    const void *data;
};

/*
 * The whole file's bytes. Tensors are laid out by falling element size, then by their order here,
 * so that every one is aligned. CYX_ERR_INVALID for what the reader would refuse, such as two of
 * one name.
 */
enum cyx_status cyx_safetensors_encode(const struct cyx_safetensors_entry *entries,
                                       size_t n_entries,
                                       const struct cyx_safetensors_pair *metadata,
                                       size_t n_metadata, struct cyx_buf *ret_bytes,
                                       struct cyx_error *ret_error);

#endif
