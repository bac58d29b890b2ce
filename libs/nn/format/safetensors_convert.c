/* Tensors of other floating-point kinds as float32. */
#include <stdlib.h>
#include <string.h>

#include "nn/format/safetensors.h"
#include "nn/tensor/half.h"

#include "base/banned.h"

static float convert(enum cyx_safetensors_dtype dtype, const unsigned char *at)
{
    uint16_t half;
    double wide;
    switch (dtype) {
    case CYX_ST_F64:
        memcpy(&wide, at, sizeof(wide));
        return (float)wide;
    case CYX_ST_F16:
        memcpy(&half, at, sizeof(half));
        return cyx_half_to_float(half);
    default: /* BF16 */
        memcpy(&half, at, sizeof(half));
        return cyx_bfloat_to_float(half);
    }
}

enum cyx_status cyx_safetensors_read_as_f32(const struct cyx_safetensors *self,
                                            const struct cyx_safetensors_tensor *tensor,
                                            float *ret_data, size_t count,
                                            struct cyx_error *ret_error)
{
    enum cyx_safetensors_dtype dtype = tensor->dtype;
    if (dtype == CYX_ST_F32)
        return cyx_safetensors_read(self, tensor, ret_data, count * sizeof(*ret_data), ret_error);
    if (dtype != CYX_ST_F64 && dtype != CYX_ST_F16 && dtype != CYX_ST_BF16)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "\"%.200s\" holds %s, no floating-point numbers", tensor->name,
                             cyx_safetensors_dtype_name(dtype));
    size_t width = cyx_safetensors_dtype_bytes(dtype);
    unsigned char *bytes = malloc(count * width + 1);
    if (!bytes)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory to read \"%.200s\"",
                             tensor->name);
    enum cyx_status status = cyx_safetensors_read(self, tensor, bytes, count * width, ret_error);
    for (size_t i = 0; i < count && status == CYX_OK; i++)
        ret_data[i] = convert(dtype, bytes + i * width);
    free(bytes);
    return status;
}
