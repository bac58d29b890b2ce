/* Tensors of a safetensors file as arrays: mapped, since the format's reader has judged where they lie. */
#include <string.h>

#include "nn/data/private.h"
#include "nn/format/safetensors.h"

#include "base/banned.h"

static bool dtype_of(enum cyx_safetensors_dtype from, enum array_dtype *ret_dtype)
{
    static const struct {
        enum cyx_safetensors_dtype from;
        enum array_dtype to;
    } known[] = {
        {CYX_ST_BOOL, ARRAY_BOOL}, {CYX_ST_U8, ARRAY_U8},     {CYX_ST_I8, ARRAY_I8},
        {CYX_ST_U16, ARRAY_U16},   {CYX_ST_I16, ARRAY_I16},   {CYX_ST_U32, ARRAY_U32},
        {CYX_ST_I32, ARRAY_I32},   {CYX_ST_U64, ARRAY_U64},   {CYX_ST_I64, ARRAY_I64},
        {CYX_ST_F16, ARRAY_F16},   {CYX_ST_BF16, ARRAY_BF16}, {CYX_ST_F32, ARRAY_F32},
        {CYX_ST_F64, ARRAY_F64},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (known[i].from != from)
            continue;
        *ret_dtype = known[i].to;
        return true;
    }
    return false;
}

static enum cyx_status take(struct cyx_data *self, const struct cyx_safetensors *file,
                            const char *path, const char *name, struct array *ret_array,
                            struct cyx_error *error)
{
    const struct cyx_safetensors_tensor *tensor = cyx_safetensors_find(file, name);
    struct array array = {0};
    const uint8_t *bytes;
    size_t length;
    if (!tensor)
        return cyx_error_set(error, CYX_ERR_NOT_FOUND, "/data/dataset",
                             "%s has no tensor \"%.60s\"; its first is \"%.60s\"", path, name,
                             file->n_tensors ? file->tensors[0].name : "");
    if (tensor->rank > ARRAY_RANK_LIMIT || !dtype_of(tensor->dtype, &array.dtype))
        return cyx_error_set(error, CYX_ERR_UNSUPPORTED, "/data/dataset",
                             "%s: the tensor \"%.60s\" of rank %d and dtype %s is none that can be "
                             "learned from",
                             path, name, tensor->rank, cyx_safetensors_dtype_name(tensor->dtype));
    array.rank = tensor->rank;
    for (int i = 0; i < tensor->rank; i++)
        array.shape[i] = tensor->shape[i];
    enum cyx_status status = data_map(self, path, &bytes, &length, error);
    if (status != CYX_OK)
        return status;
    uint64_t end = file->data_offset_bytes + tensor->end;
    if (end > length)
        return cyx_error_set(error, CYX_ERR_CORRUPT, "/data/dataset",
                             "%s: it became shorter while it was read", path);
    const uint8_t *first = bytes + file->data_offset_bytes + tensor->begin;
    size_t size = (size_t)(tensor->end - tensor->begin);
    array.data = first;
    if ((uintptr_t)first % array_dtype_bytes(array.dtype) != 0) { /* a header of an odd length */
        void *copy = data_alloc(self, size ? size : 1, 1);
        if (!copy)
            return data_no_memory(path, error);
        memcpy(copy, first, size);
        array.data = copy;
    }
    *ret_array = array;
    return CYX_OK;
}

enum cyx_status tensor_open(struct cyx_data *self, const char *path, const char *name,
                            struct array *ret_array, struct cyx_error *error)
{
    struct cyx_safetensors *file = NULL;
    enum cyx_status status = cyx_safetensors_open(path, &file, error);
    if (status == CYX_OK)
        status = take(self, file, path, name, ret_array, error);
    cyx_safetensors_close(file);
    return status;
}
