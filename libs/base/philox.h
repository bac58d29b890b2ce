/*
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the one generator
 * of everything random that must come out again. Counter-based: a word depends on (seed, step, stream, purpose,
 * index) alone, so any thread, device, machine or resumed run draws the same. shaders/include/philox.glsl is its twin.
 *
 *     float u = cyx_philox_uniform(&key, i);   // element i of that stream, in [0, 1)
 */
#ifndef CYX_BASE_PHILOX_H
#define CYX_BASE_PHILOX_H

#include <stdint.h>

struct cyx_philox {
    uint64_t seed;
    uint32_t step;    /* training step; 0 for what happens once; the epoch for a shuffle */
    uint32_t stream;  /* which layer or parameter */
    uint32_t purpose; /* what it is drawn for: nn/tensor/philox.h, contract/proof.h */
};

/* Four words for counter (block, step, stream, purpose) under key (seed low, seed high). */
static inline void cyx_philox_block(const struct cyx_philox *self, uint32_t block,
                                    uint32_t ret_words[4])
{
    uint32_t c0 = block, c1 = self->step, c2 = self->stream, c3 = self->purpose;
    uint32_t k0 = (uint32_t)self->seed, k1 = (uint32_t)(self->seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0;
        uint64_t b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    ret_words[0] = c0;
    ret_words[1] = c1;
    ret_words[2] = c2;
    ret_words[3] = c3;
}

/* Word of element `index`: word index % 4 of block index / 4. */
static inline uint32_t cyx_philox_word(const struct cyx_philox *self, uint32_t index)
{
    uint32_t words[4];
    cyx_philox_block(self, index / 4, words);
    return words[index % 4];
}

/* In [0, 1), 24 bits. Dropout zeroes element i (row-major index in (N,C,H,W)) where this is below p. */
static inline float cyx_philox_uniform(const struct cyx_philox *self, uint32_t index)
{
    return (float)(cyx_philox_word(self, index) >> 8) * 0x1p-24f;
}

#endif
