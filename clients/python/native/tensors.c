#include "tensors.h"

#include <stdlib.h>
#include <string.h>

#include "nn/format/safetensors.h"

#include "base/banned.h"

_Static_assert(sizeof(((struct py_tensor *)NULL)->shape) ==
                   sizeof(((struct cyx_safetensors_tensor *)NULL)->shape),
               "a tensor here has as many dimensions as in a file");

/* An opened file is the reader's own object. */
static const struct cyx_safetensors *file_of(const struct py_tensors *self)
{
    return (const struct cyx_safetensors *)self;
}

enum cyx_status py_tensors_open(const char *path, struct py_tensors **ret_file,
                                struct cyx_error *ret_error)
{
    struct cyx_safetensors *file = NULL;
    enum cyx_status status = cyx_safetensors_open(path, &file, ret_error);
    if (status == CYX_OK)
        *ret_file = (struct py_tensors *)file;
    return status;
}

void py_tensors_close(struct py_tensors *self)
{
    cyx_safetensors_close((struct cyx_safetensors *)self);
}

size_t py_tensors_count(const struct py_tensors *self)
{
    return file_of(self)->n_tensors;
}

void py_tensors_get(const struct py_tensors *self, size_t index, struct py_tensor *ret_tensor)
{
    const struct cyx_safetensors_tensor *tensor = &file_of(self)->tensors[index];
    *ret_tensor = (struct py_tensor){.name = tensor->name,
                                     .dtype = cyx_safetensors_dtype_name(tensor->dtype),
                                     .rank = tensor->rank,
                                     .bytes = (size_t)(tensor->end - tensor->begin)};
    memcpy(ret_tensor->shape, tensor->shape, sizeof(ret_tensor->shape));
}

size_t py_tensors_metadata_count(const struct py_tensors *self)
{
    return file_of(self)->n_metadata;
}

void py_tensors_metadata(const struct py_tensors *self, size_t index, struct py_pair *ret_pair)
{
    const struct cyx_safetensors_pair *pair = &file_of(self)->metadata[index];
    *ret_pair = (struct py_pair){pair->key, pair->value};
}

enum cyx_status py_tensors_read(const struct py_tensors *self, size_t index, void *ret_bytes,
                                size_t length, struct cyx_error *ret_error)
{
    const struct cyx_safetensors *file = file_of(self);
    return cyx_safetensors_read(file, &file->tensors[index], ret_bytes, length, ret_error);
}

static enum cyx_status dtype_of(const struct py_tensor *tensor, enum cyx_safetensors_dtype *ret,
                                struct cyx_error *error)
{
    for (int d = 0; d < CYX_ST_DTYPE_COUNT; d++) {
        *ret = (enum cyx_safetensors_dtype)d;
        if (strcmp(cyx_safetensors_dtype_name(*ret), tensor->dtype) == 0)
            return CYX_OK;
    }
    return cyx_error_set(error, CYX_ERR_INVALID, NULL, "%s: no dtype \"%s\"", tensor->name,
                         tensor->dtype);
}

static enum cyx_status entry_of(const struct py_tensor *tensor, struct cyx_safetensors_entry *entry,
                                struct cyx_error *error)
{
    *entry = (struct cyx_safetensors_entry){
        .name = tensor->name, .rank = tensor->rank, .data = tensor->data};
    memcpy(entry->shape, tensor->shape, sizeof(entry->shape));
    return dtype_of(tensor, &entry->dtype, error);
}

enum cyx_status py_tensors_write(const char *path, const struct py_tensor *tensors,
                                 size_t n_tensors, const struct py_pair *metadata,
                                 size_t n_metadata, struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_safetensors_entry *entries = calloc(n_tensors + 1, sizeof(*entries));
    struct cyx_safetensors_pair *pairs = calloc(n_metadata + 1, sizeof(*pairs));
    enum cyx_status status = CYX_OK;
    if (!entries || !pairs) {
        free(entries);
        free(pairs);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to save a file");
    }
    for (size_t i = 0; i < n_tensors && status == CYX_OK; i++)
        status = entry_of(&tensors[i], &entries[i], ret_error);
    for (size_t i = 0; i < n_metadata && status == CYX_OK; i++)
        pairs[i] = (struct cyx_safetensors_pair){metadata[i].key, metadata[i].value};
    if (status == CYX_OK)
        status = cyx_safetensors_encode(entries, n_tensors, pairs, n_metadata, &bytes, ret_error);
    if (status == CYX_OK)
        status = cyx_file_write_atomic(path, bytes.data, bytes.length, 0644, ret_error);
    free(entries);
    free(pairs);
    return status;
}
