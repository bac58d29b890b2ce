#include "reference_private.h"

void reference_linear(const struct step *s)
{
    const int64_t *w = dims(s, s->node->in[1]);
    int64_t n = count(s, s->node->in[0]) / w[1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < w[0]; o++) {
            double sum = s->in[2] ? s->in[2][o] : 0;
            for (int64_t k = 0; k < w[1]; k++)
                sum += s->in[0][i * w[1] + k] * s->in[1][o * w[1] + k];
            s->out[0][i * w[0] + o] = activate(s, sum);
        }
}

void reference_linear_grad_input(const struct step *s)
{
    const int64_t *w = dims(s, s->node->in[1]);
    int64_t n = count(s, s->node->in[0]) / w[0];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < w[1]; k++) {
            double sum = 0;
            for (int64_t o = 0; o < w[0]; o++)
                sum += s->in[0][i * w[0] + o] * s->in[1][o * w[1] + k];
            s->out[0][i * w[1] + k] = sum;
        }
}

void reference_linear_grad_weight(const struct step *s)
{
    const int64_t *w = dims(s, s->node->out[0]);
    int64_t n = count(s, s->node->in[0]) / w[1];
    for (int64_t o = 0; o < w[0]; o++) {
        for (int64_t k = 0; k < w[1]; k++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += s->in[1][i * w[0] + o] * s->in[0][i * w[1] + k];
            s->out[0][o * w[1] + k] = sum;
        }
        for (int64_t i = 0; s->out[1] && i < n; i++)
            s->out[1][o] = (i ? s->out[1][o] : 0) + s->in[1][i * w[0] + o];
    }
}

/* A convolution's geometry: one visit for each product of an element of x and of W. */
typedef void visit_fn(const struct step *s, int64_t x, int64_t w, int64_t y);

static void conv_plane(const struct step *s, const int64_t *xd, const int64_t *wd,
                       const int64_t *yd, int64_t n, int64_t o, visit_fn *visit)
{
    const struct cyx_window *g = &s->node->window;
    int64_t first = o / (yd[1] / g->groups) * wd[1];
    for (int64_t oh = 0; oh < yd[2]; oh++)
        for (int64_t ow = 0; ow < yd[3]; ow++)
            for (int64_t c = 0; c < wd[1]; c++)
                for (int64_t kh = 0; kh < wd[2]; kh++)
                    for (int64_t kw = 0; kw < wd[3]; kw++) {
                        int64_t h = oh * g->stride[0] - g->pad_begin[0] + kh * g->dilation[0];
                        int64_t w = ow * g->stride[1] - g->pad_begin[1] + kw * g->dilation[1];
                        if (h < 0 || w < 0 || h >= xd[2] || w >= xd[3])
                            continue;
                        visit(s, ((n * xd[1] + first + c) * xd[2] + h) * xd[3] + w,
                              ((o * wd[1] + c) * wd[2] + kh) * wd[3] + kw,
                              ((n * yd[1] + o) * yd[2] + oh) * yd[3] + ow);
                    }
}

static void conv_visit(const struct step *s, int32_t x, int32_t w, int32_t y, visit_fn *visit)
{
    const int64_t *yd = dims(s, y);
    for (int64_t n = 0; n < yd[0]; n++)
        for (int64_t o = 0; o < yd[1]; o++)
            conv_plane(s, dims(s, x), dims(s, w), yd, n, o, visit);
}

static void visit_forward(const struct step *s, int64_t x, int64_t w, int64_t y)
{
    s->out[0][y] += s->in[0][x] * s->in[1][w];
}

static void visit_input(const struct step *s, int64_t x, int64_t w, int64_t y)
{
    s->out[0][x] += s->in[0][y] * s->in[1][w];
}

static void visit_weight(const struct step *s, int64_t x, int64_t w, int64_t y)
{
    s->out[0][w] += s->in[0][x] * s->in[1][y];
}

void reference_conv2d(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->out[0]);
    int64_t plane = yd[2] * yd[3];
    fill_output(s, 0, 0);
    conv_visit(s, s->node->in[0], s->node->in[1], s->node->out[0], visit_forward);
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++)
        s->out[0][i] = activate(s, s->out[0][i] + (s->in[2] ? s->in[2][i / plane % yd[1]] : 0));
}

void reference_conv2d_grad_input(const struct step *s)
{
    fill_output(s, 0, 0);
    conv_visit(s, s->node->out[0], s->node->in[1], s->node->in[0], visit_input);
}

void reference_conv2d_grad_weight(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->in[1]);
    int64_t plane = yd[2] * yd[3];
    fill_output(s, 0, 0);
    conv_visit(s, s->node->in[0], s->node->out[0], s->node->in[1], visit_weight);
    if (!s->out[1])
        return;
    fill_output(s, 1, 0);
    for (int64_t i = 0; i < count(s, s->node->in[1]); i++)
        s->out[1][i / plane % yd[1]] += s->in[1][i];
}

/* A transposed convolution is the convolution read backwards: its output has the place of that one's input. */
static void visit_weight_transposed(const struct step *s, int64_t x, int64_t w, int64_t y)
{
    s->out[0][w] += s->in[1][x] * s->in[0][y];
}

void reference_conv_transpose2d(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->out[0]);
    int64_t plane = yd[2] * yd[3];
    fill_output(s, 0, 0);
    conv_visit(s, s->node->out[0], s->node->in[1], s->node->in[0], visit_input);
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++)
        s->out[0][i] = activate(s, s->out[0][i] + (s->in[2] ? s->in[2][i / plane % yd[1]] : 0));
}

void reference_conv_transpose2d_grad_input(const struct step *s)
{
    fill_output(s, 0, 0);
    conv_visit(s, s->node->in[0], s->node->in[1], s->node->out[0], visit_forward);
}

void reference_conv_transpose2d_grad_weight(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->in[1]);
    int64_t plane = yd[2] * yd[3];
    fill_output(s, 0, 0);
    conv_visit(s, s->node->in[1], s->node->out[0], s->node->in[0], visit_weight_transposed);
    if (!s->out[1])
        return;
    fill_output(s, 1, 0);
    for (int64_t i = 0; i < count(s, s->node->in[1]); i++)
        s->out[1][i / plane % yd[1]] += s->in[1][i];
}
