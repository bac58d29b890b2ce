/*
 * MaxPool2d's inner loops over POOL_LANES channels, in vectors of the compiler's. A template: kernels_pool.c includes
 * it once for each instruction set and width, with POOL_NAME() to tell them apart.
 *
 * Each does a run of `n` output pixels in a row whose windows are clipped alike by `s`; pointers stand at the
 * first of the lanes. The bodies are inlined where the window is known, above all 2x2, which unrolls them. Of a
 * pixel's last lanes, fewer than POOL_LANES, only `there` are written; the others that are read are the next pixel's,
 * or lie in the room behind the arena.
 */

#define lanes_f POOL_NAME(floats)
#define lanes_i POOL_NAME(ints)
#define lanes_u POOL_NAME(shorts)
typedef float lanes_f __attribute__((vector_size(POOL_LANES * sizeof(float))));
typedef int32_t lanes_i __attribute__((vector_size(POOL_LANES * sizeof(int32_t))));
typedef uint16_t lanes_u __attribute__((vector_size(POOL_LANES * sizeof(uint16_t))));

static inline __attribute__((always_inline)) void POOL_NAME(put)(float *to, const lanes_f *from,
                                                                 int64_t there)
{
    if (there == POOL_LANES)
        memcpy(to, from, sizeof(*from));
    else
        for (int64_t i = 0; i < there; i++)
            to[i] = (*from)[i];
}

static inline __attribute__((always_inline)) void
POOL_NAME(put_index)(uint16_t *to, const lanes_i *from, int64_t there)
{
    lanes_u narrow = __builtin_convertvector(*from, lanes_u);
    if (there == POOL_LANES)
        memcpy(to, &narrow, sizeof(narrow));
    else
        for (int64_t i = 0; i < there; i++)
            to[i] = narrow[i];
}

static inline __attribute__((always_inline)) void
POOL_NAME(max_body)(const struct pool *p, const struct span *s, int64_t n, const float *x, float *y,
                    uint16_t *index, int64_t there, const struct bounds b)
{
    int64_t lanes = p->in.lanes, width = p->in.width, step = p->window->stride[1] * lanes;
    const float *from = x + (s->at[0] * width + s->at[1]) * lanes;
    for (int64_t i = 0; i < n; i++, from += step, y += lanes) {
        lanes_f best = (lanes_f){0} - INFINITY, v;
        lanes_i place = (lanes_i){0} + (int32_t)(b.first[0] * b.kernel_width + b.first[1]);
        for (int64_t kh = b.first[0]; kh < b.last[0]; kh++) {
            for (int64_t kw = b.first[1]; kw < b.last[1]; kw++) {
                LOAD(v, from + (kh * b.dilation[0] * width + kw * b.dilation[1]) * lanes);
                lanes_i larger = (v > best) | (v != v); // NOLINT(misc-redundant-expression): NaN
                lanes_i here = (lanes_i){0} + (int32_t)(kh * b.kernel_width + kw);
                best = (lanes_f)((larger & (lanes_i)v) | (~larger & (lanes_i)best));
                place = (larger & here) | (~larger & place);
            }
        }
        POOL_NAME(put)(y, &best, there);
        if (!index)
            continue;
        if (p->relu_mask)
            place |= (best <= 0.0f) & CPU_POOL_NONE;
        POOL_NAME(put_index)(index + i * lanes, &place, there);
    }
}

static void POOL_NAME(max_lanes)(const struct pool *p, const struct span *s, int64_t n,
                                 const float *x, float *y, uint16_t *index, int64_t there)
{
    if (there != POOL_LANES)
        POOL_NAME(max_body)(p, s, n, x, y, index, there, bounds_of(p, s));
    else if (is_two_by_two(p, s))
        POOL_NAME(max_body)(p, s, n, x, y, index, POOL_LANES, two_by_two);
    else
        POOL_NAME(max_body)(p, s, n, x, y, index, POOL_LANES, bounds_of(p, s));
}

static inline __attribute__((always_inline)) void
POOL_NAME(scatter_body)(const struct pool *p, const struct span *s, int64_t n, float *dx,
                        const float *dy, const uint16_t *kept, int64_t there, const struct bounds b)
{
    int64_t lanes = p->in.lanes, width = p->in.width, step = p->window->stride[1] * lanes;
    float *into = dx + (s->at[0] * width + s->at[1]) * lanes;
    for (int64_t i = 0; i < n; i++, into += step) {
        lanes_f g, before;
        lanes_u narrow;
        LOAD(g, dy + i * lanes);
        LOAD(narrow, kept + i * lanes);
        lanes_i place = __builtin_convertvector(narrow, lanes_i);
        for (int64_t kh = b.first[0]; kh < b.last[0]; kh++) {
            for (int64_t kw = b.first[1]; kw < b.last[1]; kw++) {
                float *to = into + (kh * b.dilation[0] * width + kw * b.dilation[1]) * lanes;
                lanes_i chosen = place == (int32_t)(kh * b.kernel_width + kw);
                lanes_f part = (lanes_f)(chosen & (lanes_i)g);
                if (!p->tiled) {
                    LOAD(before, to);
                    part += before;
                }
                POOL_NAME(put)(to, &part, there);
            }
        }
    }
}

static void POOL_NAME(scatter_lanes)(const struct pool *p, const struct span *s, int64_t n,
                                     float *dx, const float *dy, const uint16_t *kept,
                                     int64_t there)
{
    if (there != POOL_LANES)
        POOL_NAME(scatter_body)(p, s, n, dx, dy, kept, there, bounds_of(p, s));
    else if (is_two_by_two(p, s) && p->tiled)
        POOL_NAME(scatter_body)(p, s, n, dx, dy, kept, POOL_LANES, two_by_two);
    else
        POOL_NAME(scatter_body)(p, s, n, dx, dy, kept, POOL_LANES, bounds_of(p, s));
}

#undef lanes_f
#undef lanes_i
#undef lanes_u
