/*
 * BatchNorm on every layout, with ReLU and a residual in the same pass; and the bias of ConvTranspose2d, which is
 * the same loop with other constants. Forward and backward are in kernels_channels_lanes.h; here is what each
 * channel's constants are made of.
 *
 * Ioffe and Szegedy, ICML 2015; variances by pairs, as Chan, Golub and LeVeque, Stanford 1979:
 * (mean, squares) of a run are exact to rounding whatever the mean is, and runs are joined in double precision.
 * https://pytorch.org/docs/1.13/generated/torch.nn.BatchNorm2d.html
 */
#include <math.h>
#include <string.h>

#include "nn/cpu/kernels_channels.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

/* What the inner loops read and write, the constants a lane. */
struct run {
    const float *x, *dy, *added;
    float *out;
    bool relu;
    float mean[CPU_CHANNEL_LANES], scale[CPU_CHANNEL_LANES], shift[CPU_CHANNEL_LANES];
    float mean_dy[CPU_CHANNEL_LANES], mean_product[CPU_CHANNEL_LANES];
};

#define LANES 16
#define LANES_NAME(name) name##_16
#include "nn/cpu/kernels_channels_lanes.h"
#undef LANES
#undef LANES_NAME
#define LANES 8
#define LANES_NAME(name) name##_8
#include "nn/cpu/kernels_channels_lanes.h"
#undef LANES
#undef LANES_NAME

/* Of a chunk of a group, or of all of it: mean and squares, or Σ dy and Σ dy (x - mean). */
struct sums {
    double count, a[CPU_CHANNEL_LANES], b[CPU_CHANNEL_LANES];
};

struct norm {
    struct cpu_channels walk;
    struct sums *sums; /* groups times chunks */
    const float *x, *dy, *added, *w, *b;
    float *out;
    const float *mean, *rstd;           /* a channel */
    const double *sum_dy, *sum_product; /* NULL but in the gradient */
    double count;
    bool relu;
};

/* ---- from runs to chunks ---- */

/* Joins `n` elements of given mean and squares to what is there. */
static void join(struct sums *into, int lane, double before, double n, double mean, double squares)
{
    double delta = mean - into->a[lane], all = before + n;
    into->a[lane] += delta * (n / all);
    into->b[lane] += squares + delta * delta * (before * (n / all));
}

/* A run of one channel, LANES pixels at a time: the lanes are parts of it. */
static void join_plane(struct sums *into, const float *x, int64_t n)
{
    float mean[CPU_CHANNEL_LANES], squares[CPU_CHANNEL_LANES];
    int64_t whole = n / 8;
    if (whole > 0) {
        moments_8(x, whole, 8, 8, mean, squares);
        for (int i = 0; i < 8; i++, into->count += (double)whole)
            join(into, 0, into->count, (double)whole, (double)mean[i], (double)squares[i]);
    }
    for (int64_t i = whole * 8; i < n; i++, into->count += 1)
        join(into, 0, into->count, 1, (double)x[i], 0);
}

static void join_lanes(const struct cpu_channels *walk, struct sums *into, const float *x,
                       int64_t n, int64_t width)
{
    float mean[CPU_CHANNEL_LANES], squares[CPU_CHANNEL_LANES];
    if (walk->lanes == 16)
        moments_16(x, n, walk->pixel_stride, width, mean, squares);
    else
        moments_8(x, n, walk->pixel_stride, width, mean, squares);
    for (int i = 0; i < walk->lanes; i++)
        join(into, i, into->count, (double)n, (double)mean[i], (double)squares[i]);
    into->count += (double)n;
}

/* Padding is summed up too, and zero; beyond the last channel of (N,C) lies the next row. */
static int64_t readable_width(const struct cpu_channels *walk, int64_t group)
{
    bool padded = walk->groups_in_block != INT64_MAX;
    return padded ? walk->lanes : cpu_group_width(walk, group);
}

static void moments_range(void *context, int64_t begin, int64_t end)
{
    const struct norm *norm = context;
    const struct cpu_channels *walk = &norm->walk;
    for (int64_t item = begin; item < end; item++) {
        int64_t group = item / walk->chunks, run, last, pixels;
        struct sums sums = {0};
        cpu_chunk_of(walk, item % walk->chunks, &run, &last);
        for (; run < last; run++) {
            const float *x = norm->x + cpu_run_of(walk, group, run, &pixels);
            if (walk->plane)
                join_plane(&sums, x, pixels);
            else
                join_lanes(walk, &sums, x, pixels, readable_width(walk, group));
        }
        norm->sums[item] = sums;
    }
}

/* ---- the constants of a group ---- */

static float at(const float *values, int64_t channel, float otherwise)
{
    return values ? values[channel] : otherwise;
}

/* Lanes beyond the last channel get zeros: padding stays zero. */
static void fill(const struct norm *norm, int64_t group, struct run *run)
{
    const struct cpu_channels *walk = &norm->walk;
    int64_t width = cpu_group_width(walk, group), first = group * (walk->plane ? 1 : walk->lanes);
    *run = (struct run){.relu = norm->relu};
    for (int64_t i = 0; i < walk->lanes; i++) {
        int64_t c = walk->plane ? first : first + i;
        if (!walk->plane && i >= width)
            break;
        float rstd = at(norm->rstd, c, 1.0f);
        run->mean[i] = at(norm->mean, c, 0.0f);
        run->scale[i] = rstd * at(norm->w, c, 1.0f);
        run->shift[i] = at(norm->b, c, 0.0f);
        if (!norm->sum_dy)
            continue;
        run->mean_dy[i] = (float)(norm->sum_dy[c] / norm->count);
        run->mean_product[i] =
            (float)((double)rstd * (double)rstd * norm->sum_product[c] / norm->count);
    }
}

typedef void apply(const struct run *run, int64_t n, int64_t stride, int64_t width);

/* One run: as it lies, or a plane by eights and its rest. */
static void apply_run(const struct norm *norm, struct run *run, int64_t offset, int64_t pixels,
                      int64_t width, apply *lanes_16, apply *lanes_8)
{
    const struct cpu_channels *walk = &norm->walk;
    run->x = norm->x ? norm->x + offset : NULL;
    run->dy = norm->dy ? norm->dy + offset : NULL;
    run->added = norm->added ? norm->added + offset : NULL;
    run->out = norm->out + offset;
    if (!walk->plane) {
        (walk->lanes == 16 ? lanes_16 : lanes_8)(run, pixels, walk->pixel_stride, width);
        return;
    }
    int64_t whole = pixels / 8 * 8;
    lanes_8(run, whole / 8, 8, 8);
    if (whole == pixels)
        return;
    run->x = run->x ? run->x + whole : NULL;
    run->dy = run->dy ? run->dy + whole : NULL;
    run->added = run->added ? run->added + whole : NULL;
    run->out += whole;
    lanes_8(run, 1, 8, pixels - whole);
}

static void apply_items(const struct norm *norm, int64_t begin, int64_t end, apply *lanes_16,
                        apply *lanes_8)
{
    const struct cpu_channels *walk = &norm->walk;
    struct run run;
    for (int64_t item = begin; item < end; item++) {
        int64_t group = item / walk->chunks, first, last, pixels;
        int64_t width = readable_width(walk, group);
        fill(norm, group, &run);
        cpu_chunk_of(walk, item % walk->chunks, &first, &last);
        for (; first < last; first++) {
            int64_t offset = cpu_run_of(walk, group, first, &pixels);
            apply_run(norm, &run, offset, pixels, width, lanes_16, lanes_8);
        }
    }
}

static void forward_range(void *context, int64_t begin, int64_t end)
{
    apply_items(context, begin, end, forward_16, forward_8);
}

static void backward_range(void *context, int64_t begin, int64_t end)
{
    apply_items(context, begin, end, backward_16, backward_8);
}

static void over_items(struct cyx_program *program, struct norm *norm, cpu_range range)
{
    const struct cpu_channels *walk = &norm->walk;
    cpu_parallel(program->device, walk->groups * walk->chunks, cpu_channels_grain(walk), range,
                 norm);
}

/* ---- forward ---- */

static int64_t first_channel(const struct cpu_channels *walk, int64_t group)
{
    return group * (walk->plane ? 1 : walk->lanes);
}

/* All chunks of a group as one. */
static struct sums join_chunks(const struct norm *norm, int64_t group)
{
    const struct cpu_channels *walk = &norm->walk;
    struct sums all = norm->sums[group * walk->chunks];
    for (int64_t chunk = 1; chunk < walk->chunks; chunk++) {
        const struct sums *part = &norm->sums[group * walk->chunks + chunk];
        for (int i = 0; i < walk->lanes; i++)
            join(&all, i, all.count, part->count, part->a[i], part->b[i]);
        all.count += part->count;
    }
    return all;
}

/* Mean and 1/√(v + eps) of every channel, and the running statistics. */
static void take_moments(struct cyx_program *program, const struct cpu_step *step,
                         const struct norm *norm)
{
    const struct cyx_node *node = &step->node;
    float *mean = cpu_arg(program, step, CPU_OUT + 1), *rstd = cpu_arg(program, step, CPU_OUT + 2);
    float *running_mean = cpu_arg(program, step, 3), *running_var = cpu_arg(program, step, 4);
    float fresh = (float)node->momentum, kept = (float)(1 - node->momentum);
    for (int64_t group = 0; group < norm->walk.groups; group++) {
        struct sums all = join_chunks(norm, group);
        int64_t first = first_channel(&norm->walk, group);
        double unbiased = all.count > 1 ? all.count - 1 : 1;
        for (int64_t i = 0; i < cpu_group_width(&norm->walk, group); i++) {
            int64_t c = first + i;
            mean[c] = (float)all.a[i];
            rstd[c] = (float)(1 / sqrt(all.b[i] / all.count + node->eps));
            running_mean[c] = kept * running_mean[c] + fresh * (float)all.a[i];
            running_var[c] = kept * running_var[c] + fresh * (float)(all.b[i] / unbiased);
        }
    }
}

void cpu_kernel_batch_norm(struct cyx_program *program, const struct cpu_step *step)
{
    struct norm norm = {
        .walk = cpu_channels_of(&step->planes),
        .sums = cpu_scratchpad(program, step),
        .x = cpu_arg(program, step, 0),
        .w = cpu_arg(program, step, 1),
        .b = cpu_arg(program, step, 2),
        .added = cpu_arg(program, step, 5),
        .out = cpu_arg(program, step, CPU_OUT),
        .mean = cpu_arg(program, step, CPU_OUT + 1),
        .rstd = cpu_arg(program, step, CPU_OUT + 2),
        .relu = step->node.fused_relu,
    };
    over_items(program, &norm, moments_range);
    take_moments(program, step, &norm);
    over_items(program, &norm, forward_range);
}

void cpu_kernel_batch_norm_inference(struct cyx_program *program, const struct cpu_step *step)
{
    const float *running_var = cpu_arg(program, step, 4);
    float *rstd = cpu_scratchpad(program, step);
    for (int64_t c = 0; c < step->planes.channels; c++)
        rstd[c] = (float)(1 / sqrt((double)running_var[c] + step->node.eps));
    struct norm norm = {
        .walk = cpu_channels_of(&step->planes),
        .x = cpu_arg(program, step, 0),
        .w = cpu_arg(program, step, 1),
        .b = cpu_arg(program, step, 2),
        .added = cpu_arg(program, step, 5),
        .out = cpu_arg(program, step, CPU_OUT),
        .mean = cpu_arg(program, step, 3),
        .rstd = rstd,
        .relu = step->node.fused_relu,
    };
    over_items(program, &norm, forward_range);
}

/* ---- backward ---- */

static void add_products(const struct norm *norm, struct run *run, int64_t offset, int64_t pixels,
                         int64_t width, struct sums *into)
{
    const struct cpu_channels *walk = &norm->walk;
    float sum[CPU_CHANNEL_LANES], product[CPU_CHANNEL_LANES];
    run->x = norm->x + offset;
    run->dy = norm->dy + offset;
    if (!walk->plane) {
        (walk->lanes == 16 ? products_16 : products_8)(run, pixels, walk->pixel_stride, width, sum,
                                                       product);
        for (int i = 0; i < walk->lanes; i++) {
            into->a[i] += (double)sum[i];
            into->b[i] += (double)product[i];
        }
        return;
    }
    int64_t whole = pixels / 8 * 8;
    products_8(run, whole / 8, 8, 8, sum, product);
    for (int i = 0; i < 8; i++) {
        into->a[0] += (double)sum[i];
        into->b[0] += (double)product[i];
    }
    run->x += whole;
    run->dy += whole;
    products_8(run, 1, 8, pixels - whole, sum, product);
    for (int64_t i = 0; i < pixels - whole; i++) {
        into->a[0] += (double)sum[i];
        into->b[0] += (double)product[i];
    }
}

static void products_range(void *context, int64_t begin, int64_t end)
{
    const struct norm *norm = context;
    const struct cpu_channels *walk = &norm->walk;
    struct run run;
    for (int64_t item = begin; item < end; item++) {
        int64_t group = item / walk->chunks, first, last, pixels;
        int64_t width = readable_width(walk, group);
        struct sums sums = {0};
        fill(norm, group, &run);
        cpu_chunk_of(walk, item % walk->chunks, &first, &last);
        for (; first < last; first++) {
            int64_t offset = cpu_run_of(walk, group, first, &pixels);
            add_products(norm, &run, offset, pixels, width, &sums);
        }
        norm->sums[item] = sums;
    }
}

/* Σ dy and Σ dy (x - mean) of every channel. */
static void take_products(const struct norm *norm, double *ret_sum, double *ret_product)
{
    const struct cpu_channels *walk = &norm->walk;
    for (int64_t group = 0; group < walk->groups; group++) {
        int64_t first = first_channel(walk, group);
        for (int64_t i = 0; i < cpu_group_width(walk, group); i++) {
            double sum = 0, product = 0;
            for (int64_t chunk = 0; chunk < walk->chunks; chunk++) {
                sum += norm->sums[group * walk->chunks + chunk].a[i];
                product += norm->sums[group * walk->chunks + chunk].b[i];
            }
            ret_sum[first + i] = sum;
            ret_product[first + i] = product;
        }
    }
}

int64_t cpu_batch_norm_scratch(const struct cpu_planes *planes)
{
    struct cpu_channels walk = cpu_channels_of(planes);
    return walk.groups * walk.chunks * (int64_t)sizeof(struct sums) +
           2 * planes->channels * (int64_t)sizeof(double);
}

void cpu_kernel_batch_norm_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct norm norm = {
        .walk = cpu_channels_of(&step->planes),
        .sums = cpu_scratchpad(program, step),
        .dy = cpu_arg(program, step, 0),
        .x = cpu_arg(program, step, 1),
        .w = cpu_arg(program, step, 2),
        .mean = cpu_arg(program, step, 3),
        .rstd = cpu_arg(program, step, 4),
        .b = cpu_arg(program, step, 5),
        .out = cpu_arg(program, step, CPU_OUT),
        .relu = step->relu_mask,
    };
    const struct cpu_channels *walk = &norm.walk;
    double *sum_dy = (double *)(norm.sums + walk->groups * walk->chunks);
    double *sum_product = sum_dy + walk->channels;
    float *dw = cpu_arg(program, step, CPU_OUT + 1), *db = cpu_arg(program, step, CPU_OUT + 2);
    over_items(program, &norm, products_range);
    take_products(&norm, sum_dy, sum_product);
    for (int64_t c = 0; c < walk->channels; c++) {
        if (dw)
            dw[c] = (float)((double)norm.rstd[c] * sum_product[c]);
        if (db)
            db[c] = (float)sum_dy[c];
    }
    if (!norm.out)
        return;
    norm.sum_dy = sum_dy;
    norm.sum_product = sum_product;
    norm.count = (double)(walk->images * walk->pixels);
    over_items(program, &norm, backward_range);
}

/* ---- the bias of ConvTranspose2d ---- */

void cpu_kernel_bias(struct cyx_program *program, const struct cpu_step *step)
{
    float *y = cpu_arg(program, step, DNNL_ARG_DIFF_SRC);
    struct norm norm = {
        .walk = cpu_channels_of(&step->planes),
        .x = y,
        .b = cpu_arg(program, step, CPU_IN + 2),
        .out = y,
        .relu = step->node.fused_relu,
    };
    over_items(program, &norm, forward_range);
}

void cpu_kernel_bias_grad(struct cyx_program *program, const struct cpu_step *step)
{
    const float *dy = cpu_arg(program, step, CPU_IN + 1);
    float *db = cpu_arg(program, step, CPU_OUT + 1);
    struct norm norm = {
        .walk = cpu_channels_of(&step->planes),
        .sums = cpu_scratchpad(program, step),
        .x = dy,
        .dy = dy,
    };
    double *sum_dy = (double *)(norm.sums + norm.walk.groups * norm.walk.chunks);
    over_items(program, &norm, products_range);
    take_products(&norm, sum_dy, sum_dy + norm.walk.channels);
    for (int64_t c = 0; c < norm.walk.channels; c++)
        db[c] = (float)sum_dy[c];
}
