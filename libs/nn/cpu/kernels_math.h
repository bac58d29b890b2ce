/*
 * Functions that loops over floats can be vectorised with: no branches, no calls, no tables. Each is within 3 units
 * in the last place of the true value in float32 (Φ within 7), but where the result is denormal (zero here). NaN
 * gives NaN. The polynomials are Chebyshev fits of our own, made with 40 digits.
 */
#ifndef CYX_NN_CPU_KERNELS_MATH_H
#define CYX_NN_CPU_KERNELS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CPU_INLINE static inline __attribute__((always_inline))

/* e^(x + low) = 2^n e^r with |r| <= log(2)/2; x beyond ±87 is taken as that, `low` is small beside it. */
CPU_INLINE float cpu_exp_sum(float x, float low)
{
    x = x > 87.0f ? 87.0f : x;
    x = x < -87.3f ? -87.3f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to the next integer */
    float n = shifted - 12582912.0f;
    float r = (x - n * 0.693359375f) + (n * 2.12194440e-4f + low);
    float q = 0x1.a12a42p-13f;
    q = q * r + 0x1.6d4920p-10f;
    q = q * r + 0x1.1110e0p-7f;
    q = q * r + 0x1.5554e4p-5f;
    q = q * r + 0x1.555556p-3f;
    q = q * r + 0.5f;
    float e = 1.0f + (r + r * r * q), power;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + 127) << 23; /* the low bits of `shifted` are n */
    memcpy(&power, &bits, sizeof(power));
    return e * power;
}

CPU_INLINE float cpu_exp(float x)
{
    return cpu_exp_sum(x, 0.0f);
}

/* e^(-x²/2): x² without rounding, as the square of x's upper half and the rest. */
CPU_INLINE float cpu_exp_square(float x)
{
    float high;
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    bits &= 0xfffff000u;
    memcpy(&high, &bits, sizeof(high));
    return cpu_exp_sum(-0.5f * high * high, -0.5f * (x - high) * (x + high));
}

CPU_INLINE float cpu_sigmoid(float x)
{
    return 1.0f / (1.0f + cpu_exp(-x));
}

CPU_INLINE float cpu_tanh(float x)
{
    float a = fabsf(x), z = x * x;
    float p = 0x1.36bdb2p-9f;
    p = p * z - 0x1.1394cap-7f;
    p = p * z + 0x1.64fad8p-6f;
    p = p * z - 0x1.ba0d94p-5f;
    p = p * z + 0x1.1110f6p-3f;
    p = p * z - 0x1.555556p-2f;
    float small = x + x * (z * p);
    float large = 1.0f - 2.0f / (1.0f + cpu_exp(2.0f * a));
    large = x < 0.0f ? -large : large;
    return a < 0.6f ? small : large;
}

/* Φ(x) = (1 + erf(x/√2)) / 2: a polynomial about 0; else the tail e^(-x²/2) Q(1/(1 + |x|/3)). */
CPU_INLINE float cpu_normal_cdf(float x)
{
    float a = fabsf(x), z = x * x;
    float p = 0x1.a93250p-14f;
    p = p * z - 0x1.353c24p-10f;
    p = p * z + 0x1.46c1acp-7f;
    p = p * z - 0x1.105812p-4f;
    p = p * z + 0x1.988454p-2f;
    float small = 0.5f + x * p;
    float t = 3.0f / (3.0f + a);
    float q = -0x1.a6c772p-6f;
    q = q * t + 0x1.2c65aep-3f;
    q = q * t - 0x1.3ebd72p-2f;
    q = q * t + 0x1.14facap-2f;
    q = q * t - 0x1.801d16p-4f;
    q = q * t + 0x1.1e9408p-3f;
    q = q * t + 0x1.b2cd7ep-4f;
    q = q * t + 0x1.140276p-3f;
    q = q * t + 0x1.100880p-3f;
    q = q * t + 0x1.7933fap-18f;
    float tail = cpu_exp_square(x) * q;
    tail = x < 0.0f ? tail : 1.0f - tail;
    return a < 0.8f ? small : tail;
}

/* The density that belongs to it. */
CPU_INLINE float cpu_normal_density(float x)
{
    return 0.39894228f * cpu_exp_square(x);
}

/* ---- sums in one fixed order: eight partial sums over a stretch, stretches in double ---- */

enum { CPU_SUM_LANES = 8, CPU_SUM_STRETCH = 2048 };

CPU_INLINE float cpu_add_lanes(const float lanes[CPU_SUM_LANES])
{
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
           ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

#endif
