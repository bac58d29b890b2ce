/* What the loops of MaxPool2d share; private to kernels_pool.c and its template. */
#ifndef CYX_NN_CPU_KERNELS_POOL_H
#define CYX_NN_CPU_KERNELS_POOL_H

#include "nn/cpu/kernels.h"

enum { CPU_POOL_LANES = 16 };

struct span;

struct pool {
    const struct cyx_window *window;
    struct cpu_planes in, out;
    const float *x, *dy;
    float *y, *dx;
    uint16_t *index; /* NULL: no gradient will be taken */
    const uint16_t *kept;
    bool relu_mask, tiled;
    /* CPU_POOL_LANES channels of n output pixels: see kernels_pool_lanes.h. */
    void (*max)(const struct pool *p, const struct span *s, int64_t n, const float *x, float *y,
                uint16_t *index);
    void (*scatter)(const struct pool *p, const struct span *s, int64_t n, float *dx,
                    const float *dy, const uint16_t *kept);
};

/* The part of a window that lies within the plane. */
struct span {
    int64_t first[2], last[2]; /* window places, last excluded */
    int64_t at[2];             /* pixel of place 0; may be negative */
};

/* What the inner loops run over; known when compiling for the common window. */
struct bounds {
    int64_t first[2], last[2], dilation[2], kernel_width;
};

typedef float lanes_f __attribute__((vector_size(CPU_POOL_LANES * sizeof(float))));
typedef int32_t lanes_i __attribute__((vector_size(CPU_POOL_LANES * sizeof(int32_t))));
typedef uint16_t lanes_u __attribute__((vector_size(CPU_POOL_LANES * sizeof(uint16_t))));

/* Unaligned loads and stores of CPU_POOL_LANES elements: memcpy of a constant size is one instruction. */
#define LOAD(vector, pointer) memcpy(&(vector), (pointer), sizeof(vector))
#define STORE(pointer, vector) memcpy((pointer), &(vector), sizeof(vector))

#endif
