/*
 * ReLU, its gradient, Add and Dropout: over every element as it lies. Padding is zero and stays zero under all
 * of them.
 */
#include <math.h>
#include <string.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/parallel.h"
#include "nn/tensor/philox.h"

#include "base/banned.h"

enum { GRAIN = 65536, LINE = 16 }; /* elements that are worth a thread; elements of a cache line */

struct elementwise {
    const float *a, *b, *c;
    float *out;
    int64_t count;
    const struct cyx_node *node;
    cpu_loop *loop;
};

/* Ranges come in cache lines; the last may be cut. */
static void loop_range(void *context, int64_t begin, int64_t end)
{
    const struct elementwise *e = context;
    int64_t from = begin * LINE, last = end * LINE < e->count ? end * LINE : e->count;
    e->loop(e->a + from, e->b ? e->b + from : NULL, e->out + from, last - from, e->node);
}

void cpu_over_elements(struct cyx_program *program, const struct cpu_step *step, cpu_loop *loop)
{
    struct elementwise e = {
        .a = cpu_arg(program, step, 0),
        .b = cpu_arg(program, step, 1),
        .out = cpu_arg(program, step, CPU_OUT),
        .count = step->count,
        .node = &step->node,
        .loop = loop,
    };
    cpu_parallel(program->device, (e.count + LINE - 1) / LINE, GRAIN / LINE, loop_range, &e);
}

static void copy_loop(const float *x, const float *unused, float *y, int64_t n,
                      const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    memcpy(y, x, (size_t)n * sizeof(float));
}

/* y = max(x, 0); NaN stays NaN, as in PyTorch. */
CPU_CLONES static void relu_loop(const float *x, const float *unused, float *y, int64_t n,
                                 const struct cyx_node *node)
{
    (void)unused;
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

/* dx = dy where y > 0. */
CPU_CLONES static void relu_grad_loop(const float *dy, const float *y, float *dx, int64_t n,
                                      const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

CPU_CLONES static void add_loop(const float *a, const float *b, float *y, int64_t n,
                                const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

CPU_CLONES static void add_relu_loop(const float *a, const float *b, float *y, int64_t n,
                                     const struct cyx_node *node)
{
    (void)node;
    for (int64_t i = 0; i < n; i++) {
        float sum = a[i] + b[i];
        y[i] = sum < 0.0f ? 0.0f : sum;
    }
}

/* dx = a + b where y > 0. */
CPU_CLONES static void add_relu_grad_loop(const float *a, const float *b, const float *y, float *dx,
                                          int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0.0f ? a[i] + b[i] : 0.0f;
}

static void add_relu_grad_range(void *context, int64_t begin, int64_t end)
{
    const struct elementwise *e = context;
    int64_t from = begin * LINE, last = end * LINE < e->count ? end * LINE : e->count;
    add_relu_grad_loop(e->a + from, e->c + from, e->b + from, e->out + from, last - from);
}

void cpu_kernel_copy(struct cyx_program *program, const struct cpu_step *step)
{
    cpu_over_elements(program, step, copy_loop);
}

void cpu_kernel_relu(struct cyx_program *program, const struct cpu_step *step)
{
    cpu_over_elements(program, step, relu_loop);
}

void cpu_kernel_relu_grad(struct cyx_program *program, const struct cpu_step *step)
{
    if (step->node.n_in == 2) {
        cpu_over_elements(program, step, relu_grad_loop);
        return;
    }
    /* lower_fuse.c has put the sum of two gradients in here. */
    struct elementwise e = {
        .a = cpu_arg(program, step, 0),
        .b = cpu_arg(program, step, 1),
        .c = cpu_arg(program, step, 2),
        .out = cpu_arg(program, step, CPU_OUT),
        .count = step->count,
    };
    cpu_parallel(program->device, (e.count + LINE - 1) / LINE, GRAIN / LINE, add_relu_grad_range,
                 &e);
}

void cpu_kernel_add(struct cyx_program *program, const struct cpu_step *step)
{
    cpu_over_elements(program, step, step->node.fused_relu ? add_relu_loop : add_loop);
}

/* ---- Dropout (Srivastava et al., JMLR 15, 2014), scaled while training; its gradient is the same map ---- */

enum { CHUNK = 256, BLOCKS = CHUNK / 4, LANES_LIMIT = 16 };

struct dropout {
    const float *x;
    float *y;
    struct cpu_planes planes;
    struct cyx_philox key;
    uint32_t threshold; /* of 24-bit words: below it the element is zero */
    float scale;
};

/* Words of `BLOCKS` counters from `first`, in element order: the loop is across counters, so it vectorises. */
CPU_CLONES static void philox_words(const struct cyx_philox *key, uint32_t first,
                                    uint32_t ret_words[CHUNK])
{
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        c0[i] = first + i;
        c1[i] = key->step;
        c2[i] = key->stream;
        c3[i] = key->purpose;
    }
    uint32_t k0 = (uint32_t)key->seed, k1 = (uint32_t)(key->seed >> 32);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * c0[i];
            uint64_t b = (uint64_t)0xCD9E8D57u * c2[i];
            uint32_t n0 = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            uint32_t n2 = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)b;
            c3[i] = (uint32_t)a;
            c0[i] = n0;
            c2[i] = n2;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < BLOCKS; i++) {
        ret_words[4 * i] = c0[i];
        ret_words[4 * i + 1] = c1[i];
        ret_words[4 * i + 2] = c2[i];
        ret_words[4 * i + 3] = c3[i];
    }
}

CPU_CLONES static void drop(const float *x, float *y, const uint32_t *words, uint32_t threshold,
                            float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (words[i] >> 8) < threshold ? 0.0f : x[i] * scale;
}

/* Elements as they lie are in logical order: chunk by chunk. */
static void dropout_plain(void *context, int64_t begin, int64_t end)
{
    const struct dropout *d = context;
    uint32_t words[CHUNK];
    int64_t count = d->planes.width;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t from = chunk * CHUNK, n = count - from < CHUNK ? count - from : CHUNK;
        philox_words(&d->key, (uint32_t)(from / 4), words);
        drop(d->x + from, d->y + from, words, d->threshold, d->scale, n);
    }
}

/*
 * Lanes of up to LANES_LIMIT channels, pixels [from, from + n) of a plane: a channel's elements are logically
 * consecutive, so its words are drawn in a row, then applied at stride `lanes`.
 */
static void dropout_lanes(const struct dropout *d, const float *x, float *y, int64_t first_element,
                          int64_t lanes, int64_t n_lanes, int64_t from, int64_t n)
{
    uint32_t words[CHUNK];
    int64_t plane = d->planes.height * d->planes.width;
    for (int64_t lane = 0; lane < n_lanes; lane++) {
        int64_t element = first_element + lane * plane + from, skip = element % 4;
        philox_words(&d->key, (uint32_t)(element / 4), words);
        for (int64_t i = 0; i < n; i++) {
            int64_t at = (from + i) * lanes + lane;
            y[at] = (words[skip + i] >> 8) < d->threshold ? 0.0f : x[at] * d->scale;
        }
    }
}

static void dropout_planes(void *context, int64_t begin, int64_t end)
{
    const struct dropout *d = context;
    const struct cpu_planes *p = &d->planes;
    int64_t plane = p->height * p->width;
    int64_t per_image = (p->channels + p->lanes - 1) / p->lanes; /* outer of one image */
    for (int64_t outer = begin; outer < end; outer++) {
        int64_t image = outer / per_image, channel = outer % per_image * p->lanes;
        int64_t n_lanes = p->channels - channel < p->lanes ? p->channels - channel : p->lanes;
        const float *x = d->x + outer * plane * p->lanes;
        float *y = d->y + outer * plane * p->lanes;
        int64_t first = (image * p->channels + channel) * plane;
        for (int64_t i = n_lanes; i < p->lanes; i++) /* padding */
            for (int64_t s = 0; s < plane; s++)
                y[s * p->lanes + i] = 0.0f;
        for (int64_t from = 0; from < plane; from += CHUNK - 4) {
            int64_t n = plane - from < CHUNK - 4 ? plane - from : CHUNK - 4;
            dropout_lanes(d, x, y, first, p->lanes, n_lanes, from, n);
        }
    }
}

void cpu_kernel_dropout(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    struct dropout d = {
        .x = cpu_arg(program, step, 0),
        .y = cpu_arg(program, step, CPU_OUT),
        .planes = step->planes,
        .key = {.seed = program->feed->seed,
                .step = (uint32_t)program->feed->step,
                .stream = node->rng_stream,
                .purpose = CYX_PHILOX_DROPOUT},
        .threshold = (uint32_t)ceil(node->p * 0x1p24),
        .scale = (float)(1.0 / (1.0 - node->p)),
    };
    if (d.planes.lanes == 1 && d.planes.outer == 1)
        cpu_parallel(program->device, (d.planes.width + CHUNK - 1) / CHUNK, GRAIN / CHUNK / 16,
                     dropout_plain, &d);
    else
        cpu_parallel(program->device, d.planes.outer,
                     GRAIN / 16 / (d.planes.lanes * d.planes.width * d.planes.height) + 1,
                     dropout_planes, &d);
}
