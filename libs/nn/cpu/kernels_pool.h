/* What the loops of MaxPool2d share; private to kernels_pool.c and its template. */
#ifndef CYX_NN_CPU_KERNELS_POOL_H
#define CYX_NN_CPU_KERNELS_POOL_H

#include "nn/cpu/kernels.h"

struct span;

struct pool {
    const struct cyx_window *window;
    struct cpu_planes in, out;
    const float *x, *dy;
    float *y, *dx;
    uint16_t *index; /* NULL: no gradient will be taken */
    const uint16_t *kept;
    bool relu_mask, tiled;
    /* `at_once` channels of n output pixels: see kernels_pool_lanes.h. */
    int64_t at_once;
    void (*max)(const struct pool *p, const struct span *s, int64_t n, const float *x, float *y,
                uint16_t *index, int64_t there);
    void (*scatter)(const struct pool *p, const struct span *s, int64_t n, float *dx,
                    const float *dy, const uint16_t *kept, int64_t there);
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

/* Unaligned loads and stores of vectors: memcpy of a constant size is one instruction. */
#define LOAD(vector, pointer) memcpy(&(vector), (pointer), sizeof(vector))

#endif
