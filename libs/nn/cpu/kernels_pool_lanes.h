/*
 * MaxPool2d's inner loops over CPU_POOL_LANES channels, in vectors of the compiler's. A template: kernels_pool.c
 * includes it once for each instruction set, with POOL_NAME() to tell them apart.
 */

/* LANES channels of one output pixel; x, y and index point at the first of them. */
static void POOL_NAME(max_lanes)(const struct pool *p, const struct span *s, const float *x,
                                 float *y, uint16_t *index)
{
    const struct cyx_window *w = p->window;
    int64_t lanes = p->in.lanes;
    lanes_f best = (lanes_f){0} - INFINITY, v;
    lanes_i place = (lanes_i){0} + (int32_t)(s->first[0] * w->kernel[1] + s->first[1]);
    for (int64_t kh = s->first[0]; kh < s->last[0]; kh++) {
        int64_t row = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1];
        for (int64_t kw = s->first[1]; kw < s->last[1]; kw++) {
            LOAD(v, x + (row + kw * w->dilation[1]) * lanes);
            lanes_i larger = (v > best) | (v != v);
            lanes_i here = (lanes_i){0} + (int32_t)(kh * w->kernel[1] + kw);
            best = (lanes_f)((larger & (lanes_i)v) | (~larger & (lanes_i)best));
            place = (larger & here) | (~larger & place);
        }
    }
    STORE(y, best);
    if (!index)
        return;
    if (p->relu_mask)
        place |= (best <= 0.0f) & CPU_POOL_NONE;
    lanes_u narrow = __builtin_convertvector(place, lanes_u);
    STORE(index, narrow);
}

static void POOL_NAME(scatter_lanes)(const struct pool *p, const struct span *s, float *dx,
                                     const float *dy, const uint16_t *kept)
{
    const struct cyx_window *w = p->window;
    lanes_f g, before;
    lanes_u narrow;
    LOAD(g, dy);
    LOAD(narrow, kept);
    lanes_i place = __builtin_convertvector(narrow, lanes_i);
    for (int64_t kh = s->first[0]; kh < s->last[0]; kh++) {
        int64_t row = (s->at[0] + kh * w->dilation[0]) * p->in.width + s->at[1];
        for (int64_t kw = s->first[1]; kw < s->last[1]; kw++) {
            float *to = dx + (row + kw * w->dilation[1]) * p->in.lanes;
            lanes_i chosen = place == (int32_t)(kh * w->kernel[1] + kw);
            lanes_f part = (lanes_f)(chosen & (lanes_i)g);
            if (!p->tiled) {
                LOAD(before, to);
                part += before;
            }
            STORE(to, part);
        }
    }
}
