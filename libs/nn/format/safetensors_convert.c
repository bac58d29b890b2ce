/* Tensors of other floating-point kinds as float32. */
#include <stdlib.h>
#include <string.h>

#include "nn/format/safetensors.h"

#include "base/banned.h"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* IEEE 754 binary16, subnormals, infinities and NaN among them: exact. */
static float from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent != 0)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float value = (float)fraction * 0x1p-24f;
    return sign ? -value : value;
}

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
        return from_half(half);
    default: /* BF16: the upper half of a float */
        memcpy(&half, at, sizeof(half));
        return from_bits((uint32_t)half << 16);
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
