#include "nn/cpu/kernels_channels.h"

#include "base/banned.h"

enum { GRAIN = 32768 }; /* elements that are worth a thread */

static int64_t at_least_one(int64_t n)
{
    return n > 1 ? n : 1;
}

/* All pixels in one image: channels lie beside each other. */
static void walk_nhwc(struct cpu_channels *self, const struct cpu_planes *p, int64_t images)
{
    self->lanes = p->channels % 16 == 0 ? 16 : 8;
    self->groups = (p->channels + self->lanes - 1) / self->lanes;
    self->images = 1;
    self->pixels = images * p->height * p->width;
    self->pixel_stride = p->channels;
    self->group_stride = self->lanes;
}

static void walk_blocks(struct cpu_channels *self, const struct cpu_planes *p)
{
    int64_t blocks = (p->channels + p->lanes - 1) / p->lanes;
    self->lanes = p->lanes % 16 == 0 ? 16 : 8;
    self->groups_in_block = p->lanes / self->lanes;
    self->groups = blocks * self->groups_in_block;
    self->images = p->outer / blocks;
    self->pixels = p->height * p->width;
    self->pixel_stride = p->lanes;
    self->block_stride = self->pixels * p->lanes;
    self->image_stride = blocks * self->block_stride;
    self->group_stride = self->lanes;
}

static void walk_planes(struct cpu_channels *self, const struct cpu_planes *p)
{
    self->plane = true;
    self->lanes = 8;
    self->groups = p->channels;
    self->images = p->outer / p->channels;
    self->pixels = p->height * p->width;
    self->pixel_stride = 1;
    self->group_stride = self->pixels;
    self->image_stride = p->channels * self->pixels;
}

struct cpu_channels cpu_channels_of(const struct cpu_planes *planes)
{
    const struct cpu_planes *p = planes;
    struct cpu_channels self = {.channels = p->channels, .groups_in_block = INT64_MAX};
    if (p->lanes == 1 && p->height * p->width == 1)
        walk_nhwc(&self, p, p->outer / p->channels);
    else if (p->lanes == 1)
        walk_planes(&self, p);
    else if (p->lanes == p->channels) /* nhwc, or one block, which is the same bytes */
        walk_nhwc(&self, p, p->outer);
    else
        walk_blocks(&self, p);
    self.runs_in_image = (self.pixels + CPU_RUN_PIXELS - 1) / CPU_RUN_PIXELS;
    self.runs = self.images * self.runs_in_image;
    self.chunks = at_least_one(CPU_CHANNEL_CHUNKS / self.groups);
    if (self.chunks > self.runs)
        self.chunks = self.runs;
    return self;
}

int64_t cpu_run_of(const struct cpu_channels *self, int64_t group, int64_t run, int64_t *ret_pixels)
{
    int64_t image = run / self->runs_in_image, part = run % self->runs_in_image;
    int64_t first = part * CPU_RUN_PIXELS, left = self->pixels - first;
    int64_t block = group / self->groups_in_block, within = group % self->groups_in_block;
    *ret_pixels = left < CPU_RUN_PIXELS ? left : CPU_RUN_PIXELS;
    return image * self->image_stride + block * self->block_stride + within * self->group_stride +
           first * self->pixel_stride;
}

void cpu_chunk_of(const struct cpu_channels *self, int64_t chunk, int64_t *ret_begin,
                  int64_t *ret_end)
{
    *ret_begin = self->runs * chunk / self->chunks;
    *ret_end = self->runs * (chunk + 1) / self->chunks;
}

int64_t cpu_group_width(const struct cpu_channels *self, int64_t group)
{
    int64_t left = self->channels - group * self->lanes;
    return self->plane ? 1 : left < 0 ? 0 : left < self->lanes ? left : self->lanes;
}

int64_t cpu_channels_grain(const struct cpu_channels *self)
{
    int64_t elements = self->images * self->pixels * (self->plane ? 1 : self->lanes);
    return GRAIN / at_least_one(elements / self->chunks) + 1;
}
