/*
 * How kernels that do the same to every pixel of a channel walk a tensor: in groups of channels that lie beside each
 * other, and within a group in runs of pixels at equal distance.
 *
 *   nChw16c, nChw8c    a group is a block of lanes (or half of it), a run is part of a plane
 *   nhwc, (N,C)        a group is 16 or 8 channels (the last one fewer), a run is a stretch of all pixels
 *   nchw, (N,C,L)      a group is one channel; its run is walked as if it were pixels of 8 lanes: see `plane`
 *
 * Sums are made run by run and chunk by chunk in one fixed order, whatever the number of threads.
 */
#ifndef CYX_NN_CPU_KERNELS_CHANNELS_H
#define CYX_NN_CPU_KERNELS_CHANNELS_H

#include "nn/cpu/kernels.h"

enum {
    CPU_CHANNEL_LANES = 16,   /* at most */
    CPU_RUN_PIXELS = 1024,    /* a run that is read twice stays in the first or second cache */
    CPU_CHANNEL_CHUNKS = 128, /* groups times chunks of a group: what threads share out */
};

struct cpu_channels {
    int64_t channels, lanes; /* of a group: 16 or 8 */
    bool plane;              /* one channel a group: its lanes are neighbouring pixels */
    int64_t groups, chunks;  /* of each group */
    int64_t images, pixels;  /* of an image */
    int64_t image_stride, group_stride, pixel_stride;
    int64_t groups_in_block, block_stride; /* a block of 16 lanes as two groups of 8 */
    int64_t runs_in_image, runs;
};

struct cpu_channels cpu_channels_of(const struct cpu_planes *planes);

/* Where a run of a group begins, and its pixels (of `lanes` channels; of one where `plane`). */
int64_t cpu_run_of(const struct cpu_channels *self, int64_t group, int64_t run,
                   int64_t *ret_pixels);

/* Runs [*ret_begin, *ret_end) of a chunk. */
void cpu_chunk_of(const struct cpu_channels *self, int64_t chunk, int64_t *ret_begin,
                  int64_t *ret_end);

/* Channels of a group that there are: fewer than `lanes` in the last one; the rest is padding or another pixel. */
int64_t cpu_group_width(const struct cpu_channels *self, int64_t group);

/* How many (group, chunk) are worth a thread. */
int64_t cpu_channels_grain(const struct cpu_channels *self);

#endif
