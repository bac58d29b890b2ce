/* Sixteen-bit floats as float32, exactly: IEEE 754 binary16 with subnormals, infinities and NaN; bfloat16. Any thread. */
#ifndef CYX_NN_TENSOR_HALF_H
#define CYX_NN_TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline float cyx_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline float cyx_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u;
    uint32_t fraction = half & 0x3FFu;
    if (exponent == 0) { /* zero and subnormals */
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return cyx_float_of_bits(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 |
                             fraction << 13);
}

/* The upper half of a float. */
static inline float cyx_bfloat_to_float(uint16_t bits)
{
    return cyx_float_of_bits((uint32_t)bits << 16);
}

#endif
