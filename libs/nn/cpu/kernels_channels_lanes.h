/*
 * Inner loops over `n` pixels of LANES channels, `stride` elements apart. A template: kernels_batch_norm.c includes
 * it for 16 and for 8 lanes. `width` is how many of the lanes there are; the others are neither read nor written,
 * and count as zero. Arrays of constants and of results have LANES elements.
 */

typedef float LANES_NAME(vec) __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t LANES_NAME(mask) __attribute__((vector_size(LANES * sizeof(float))));

static inline __attribute__((always_inline)) void LANES_NAME(load)(LANES_NAME(vec) * ret,
                                                                   const float *from, int64_t width)
{
    if (width == LANES) {
        /* Who calls knows that there are channels: NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
        memcpy(ret, from, sizeof(*ret));
        return;
    }
    *ret = (LANES_NAME(vec)){0};
    for (int64_t i = 0; i < width; i++)
        (*ret)[i] = from[i]; /* NOLINT(clang-analyzer-core.NullDereference): as above */
}

static inline __attribute__((always_inline)) void
LANES_NAME(store)(float *to, const LANES_NAME(vec) * from, int64_t width)
{
    if (width == LANES) {
        memcpy(to, from, sizeof(*from));
        return;
    }
    for (int64_t i = 0; i < width; i++)
        to[i] = (*from)[i];
}

/* ---- sums ---- */

/* The mean, and the sum of squares of what is off the mean: two sweeps over a run that is in the cache. */
static inline __attribute__((always_inline)) void
LANES_NAME(moments_body)(const float *x, int64_t n, int64_t stride, int64_t width, float *ret_mean,
                         float *ret_squares)
{
    LANES_NAME(vec) a = {0}, b = {0}, c = {0}, d = {0}, v, mean;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        LANES_NAME(load)(&v, x + i * stride, width);
        a += v;
        LANES_NAME(load)(&v, x + (i + 1) * stride, width);
        b += v;
        LANES_NAME(load)(&v, x + (i + 2) * stride, width);
        c += v;
        LANES_NAME(load)(&v, x + (i + 3) * stride, width);
        d += v;
    }
    for (; i < n; i++) {
        LANES_NAME(load)(&v, x + i * stride, width);
        a += v;
    }
    mean = ((a + b) + (c + d)) / (float)n;
    a = b = c = d = (LANES_NAME(vec)){0};
    for (i = 0; i + 4 <= n; i += 4) {
        LANES_NAME(load)(&v, x + i * stride, width);
        a += (v - mean) * (v - mean);
        LANES_NAME(load)(&v, x + (i + 1) * stride, width);
        b += (v - mean) * (v - mean);
        LANES_NAME(load)(&v, x + (i + 2) * stride, width);
        c += (v - mean) * (v - mean);
        LANES_NAME(load)(&v, x + (i + 3) * stride, width);
        d += (v - mean) * (v - mean);
    }
    for (; i < n; i++) {
        LANES_NAME(load)(&v, x + i * stride, width);
        a += (v - mean) * (v - mean);
    }
    a = (a + b) + (c + d);
    memcpy(ret_mean, &mean, sizeof(mean));
    memcpy(ret_squares, &a, sizeof(a));
}

CPU_CLONES static void LANES_NAME(moments)(const float *x, int64_t n, int64_t stride, int64_t width,
                                           float *ret_mean, float *ret_squares)
{
    if (width == LANES)
        LANES_NAME(moments_body)(x, n, stride, LANES, ret_mean, ret_squares);
    else
        LANES_NAME(moments_body)(x, n, stride, width, ret_mean, ret_squares);
}

/* One pixel of the sums below. */
static inline __attribute__((always_inline)) void
LANES_NAME(product_of)(const struct run *r, int64_t offset, int64_t width, bool relu,
                       const LANES_NAME(vec) constants[3], LANES_NAME(vec) * sum,
                       LANES_NAME(vec) * product)
{
    LANES_NAME(vec) x, dy;
    LANES_NAME(load)(&x, r->x + offset, width);
    LANES_NAME(load)(&dy, r->dy + offset, width);
    x -= constants[0];
    if (relu)
        dy = (LANES_NAME(vec))((x * constants[1] + constants[2] > 0.0f) & (LANES_NAME(mask))dy);
    *sum += dy;
    *product += dy * x;
}

/* Σ dy and Σ dy (x - mean), of dy where the fused ReLU let y pass. */
static inline __attribute__((always_inline)) void
LANES_NAME(products_body)(const struct run *r, int64_t n, int64_t stride, int64_t width, bool relu,
                          float *ret_sum, float *ret_product)
{
    LANES_NAME(vec) constants[3], sum = {0}, product = {0}, sum_2 = {0}, product_2 = {0};
    memcpy(&constants[0], r->mean, sizeof(*constants));
    memcpy(&constants[1], r->scale, sizeof(*constants));
    memcpy(&constants[2], r->shift, sizeof(*constants));
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) {
        LANES_NAME(product_of)(r, i * stride, width, relu, constants, &sum, &product);
        LANES_NAME(product_of)(r, (i + 1) * stride, width, relu, constants, &sum_2, &product_2);
    }
    if (i < n)
        LANES_NAME(product_of)(r, i * stride, width, relu, constants, &sum, &product);
    sum += sum_2;
    product += product_2;
    memcpy(ret_sum, &sum, sizeof(sum));
    memcpy(ret_product, &product, sizeof(product));
}

CPU_CLONES static void LANES_NAME(products)(const struct run *r, int64_t n, int64_t stride,
                                            int64_t width, float *ret_sum, float *ret_product)
{
    if (width != LANES)
        LANES_NAME(products_body)(r, n, stride, width, r->relu, ret_sum, ret_product);
    else if (r->relu)
        LANES_NAME(products_body)(r, n, stride, LANES, true, ret_sum, ret_product);
    else
        LANES_NAME(products_body)(r, n, stride, LANES, false, ret_sum, ret_product);
}

/* ---- maps ---- */

/* y = act((x - mean) scale + shift [+ added]); NaN passes the ReLU, as everywhere. */
static inline __attribute__((always_inline)) void
LANES_NAME(forward_body)(const struct run *r, int64_t n, int64_t stride, int64_t width, bool relu,
                         bool added)
{
    LANES_NAME(vec) mean, scale, shift, v, more;
    memcpy(&mean, r->mean, sizeof(mean));
    memcpy(&scale, r->scale, sizeof(scale));
    memcpy(&shift, r->shift, sizeof(shift));
    for (int64_t i = 0; i < n; i++) {
        LANES_NAME(load)(&v, r->x + i * stride, width);
        v = (v - mean) * scale + shift;
        if (added) {
            LANES_NAME(load)(&more, r->added + i * stride, width);
            v += more;
        }
        if (relu)
            v = (LANES_NAME(vec))(~(v < 0.0f) & (LANES_NAME(mask))v);
        LANES_NAME(store)(r->out + i * stride, &v, width);
    }
}

CPU_CLONES static void LANES_NAME(forward)(const struct run *r, int64_t n, int64_t stride,
                                           int64_t width)
{
    if (width != LANES)
        LANES_NAME(forward_body)(r, n, stride, width, r->relu, r->added != NULL);
    else if (r->added && r->relu)
        LANES_NAME(forward_body)(r, n, stride, LANES, true, true);
    else if (r->added)
        LANES_NAME(forward_body)(r, n, stride, LANES, false, true);
    else if (r->relu)
        LANES_NAME(forward_body)(r, n, stride, LANES, true, false);
    else
        LANES_NAME(forward_body)(r, n, stride, LANES, false, false);
}

/* dx = scale (dy - mean_dy - (x - mean) mean_product), of dy where the fused ReLU let y pass. */
static inline __attribute__((always_inline)) void
LANES_NAME(backward_body)(const struct run *r, int64_t n, int64_t stride, int64_t width, bool relu)
{
    LANES_NAME(vec) mean, scale, shift, mean_dy, mean_product, x, dy;
    memcpy(&mean, r->mean, sizeof(mean));
    memcpy(&scale, r->scale, sizeof(scale));
    memcpy(&shift, r->shift, sizeof(shift));
    memcpy(&mean_dy, r->mean_dy, sizeof(mean_dy));
    memcpy(&mean_product, r->mean_product, sizeof(mean_product));
    for (int64_t i = 0; i < n; i++) {
        LANES_NAME(load)(&x, r->x + i * stride, width);
        LANES_NAME(load)(&dy, r->dy + i * stride, width);
        x -= mean;
        if (relu)
            dy = (LANES_NAME(vec))((x * scale + shift > 0.0f) & (LANES_NAME(mask))dy);
        dy = scale * (dy - mean_dy - x * mean_product);
        LANES_NAME(store)(r->out + i * stride, &dy, width);
    }
}

CPU_CLONES static void LANES_NAME(backward)(const struct run *r, int64_t n, int64_t stride,
                                            int64_t width)
{
    if (width != LANES)
        LANES_NAME(backward_body)(r, n, stride, width, r->relu);
    else if (r->relu)
        LANES_NAME(backward_body)(r, n, stride, LANES, true);
    else
        LANES_NAME(backward_body)(r, n, stride, LANES, false);
}
