#include <math.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "reference_private.h"

/* ---- Softmax and LogSoftmax over one dimension ---- */

static double log_sum_exp(const double *x, int64_t n, int64_t stride)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, x[i * stride]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i * stride] - largest);
    return largest + log(sum);
}

void reference_softmax(const struct step *s)
{
    struct axis d = axis_of(s, s->node->in[0], s->node->dim);
    for (int64_t row = 0; row < d.outer * d.inner; row++) {
        int64_t first = row / d.inner * d.n * d.inner + row % d.inner;
        double norm = log_sum_exp(s->in[0] + first, d.n, d.inner);
        for (int64_t i = 0; i < d.n; i++) {
            double y = s->in[0][first + i * d.inner] - norm;
            s->out[0][first + i * d.inner] = s->node->op == CYX_OP_SOFTMAX ? exp(y) : y;
        }
    }
}

void reference_softmax_grad(const struct step *s)
{
    struct axis d = axis_of(s, s->node->in[0], s->node->dim);
    bool is_log = s->node->op == CYX_OP_LOG_SOFTMAX_GRAD;
    for (int64_t row = 0; row < d.outer * d.inner; row++) {
        int64_t first = row / d.inner * d.n * d.inner + row % d.inner;
        double sum = 0;
        for (int64_t i = first; i < first + d.n * d.inner; i += d.inner)
            sum += s->in[0][i] * (is_log ? 1 : s->in[1][i]);
        for (int64_t i = first; i < first + d.n * d.inner; i += d.inner)
            s->out[0][i] =
                is_log ? s->in[0][i] - exp(s->in[1][i]) * sum : s->in[1][i] * (s->in[0][i] - sum);
    }
}

/* ---- BatchNorm: x as (outer, channels, inner) ---- */

/* Where element k of channel c lies. */
static int64_t place(struct axis d, int64_t c, int64_t k)
{
    return (k / d.inner * d.n + c) * d.inner + k % d.inner;
}

/* Mean and biased variance of channel c. */
static void moments(struct axis d, const double *x, int64_t c, double *ret_mean, double *ret_var)
{
    int64_t n = d.outer * d.inner;
    double mean = 0, var = 0;
    for (int64_t k = 0; k < n; k++)
        mean += x[place(d, c, k)] / (double)n;
    for (int64_t k = 0; k < n; k++)
        var += (x[place(d, c, k)] - mean) * (x[place(d, c, k)] - mean) / (double)n;
    *ret_mean = mean;
    *ret_var = var;
}

static void normalize(const struct step *s, struct axis d, int64_t c, double mean, double r)
{
    double w = s->in[1] ? s->in[1][c] : 1, b = s->in[2] ? s->in[2][c] : 0;
    for (int64_t k = 0; k < d.outer * d.inner; k++) {
        int64_t i = place(d, c, k);
        s->out[0][i] = activate(s, (s->in[0][i] - mean) * r * w + b);
    }
}

void reference_batch_norm(const struct step *s)
{
    struct axis d = axis_of(s, s->node->in[0], 1);
    double n = (double)(d.outer * d.inner), momentum = s->node->momentum;
    assert(n > 1); /* as PyTorch, which refuses */
    for (int64_t c = 0; c < d.n; c++) {
        double mean, var;
        moments(d, s->in[0], c, &mean, &var);
        s->out[1][c] = mean;
        s->out[2][c] = 1 / sqrt(var + s->node->eps);
        s->in[3][c] = (1 - momentum) * s->in[3][c] + momentum * mean;
        s->in[4][c] = (1 - momentum) * s->in[4][c] + momentum * var * n / (n - 1);
        normalize(s, d, c, mean, s->out[2][c]);
    }
}

void reference_batch_norm_inference(const struct step *s)
{
    struct axis d = axis_of(s, s->node->in[0], 1);
    for (int64_t c = 0; c < d.n; c++)
        normalize(s, d, c, s->in[3][c], 1 / sqrt(s->in[4][c] + s->node->eps));
}

/* in: dy x w? m r   out: dx? dw? db? */
void reference_batch_norm_grad(const struct step *s)
{
    struct axis d = axis_of(s, s->node->in[0], 1);
    const double *dy = s->in[0], *x = s->in[1];
    int64_t n = d.outer * d.inner;
    for (int64_t c = 0; c < d.n; c++) {
        double sum = 0, sum_hat = 0, m = s->in[3][c], r = s->in[4][c];
        for (int64_t k = 0; k < n; k++) {
            int64_t i = place(d, c, k);
            sum += dy[i];
            sum_hat += dy[i] * (x[i] - m) * r;
        }
        for (int64_t k = 0; s->out[0] && k < n; k++) {
            int64_t i = place(d, c, k);
            double hat = (x[i] - m) * r;
            s->out[0][i] = (s->in[2] ? s->in[2][c] : 1) * r *
                           (dy[i] - sum / (double)n - hat * sum_hat / (double)n);
        }
        if (s->out[1])
            s->out[1][c] = sum_hat;
        if (s->out[2])
            s->out[2][c] = sum;
    }
}

/* ---- LayerNorm: x as (rows, inner) ---- */

static struct axis rows_of(const struct step *s, int32_t value)
{
    const struct cyx_shape *shape = shape_of(s, value);
    int64_t inner = 1;
    for (int d = shape->rank - s->node->norm_dims; d < shape->rank; d++)
        inner *= shape->dim[d];
    return (struct axis){1, cyx_shape_count(shape) / inner, inner};
}

void reference_layer_norm(const struct step *s)
{
    struct axis d = rows_of(s, s->node->in[0]);
    for (int64_t row = 0; row < d.n; row++) {
        double mean, var;
        moments(d, s->in[0], row, &mean, &var);
        s->out[1][row] = mean;
        s->out[2][row] = 1 / sqrt(var + s->node->eps);
        for (int64_t k = 0; k < d.inner; k++) {
            int64_t i = row * d.inner + k;
            s->out[0][i] = (s->in[0][i] - mean) * s->out[2][row] * (s->in[1] ? s->in[1][k] : 1) +
                           (s->in[2] ? s->in[2][k] : 0);
        }
    }
}

/* dx = r (g - mean(g) - x̂ mean(g x̂)) with g = dy w. in: dy x w? m r   out: dx? dw? db? */
void reference_layer_norm_grad(const struct step *s)
{
    struct axis d = rows_of(s, s->node->in[0]);
    fill_output(s, 1, 0);
    fill_output(s, 2, 0);
    for (int64_t row = 0; row < d.n; row++) {
        const double *dy = s->in[0] + row * d.inner, *x = s->in[1] + row * d.inner;
        double sum = 0, sum_hat = 0, m = s->in[3][row], r = s->in[4][row];
        for (int64_t k = 0; k < d.inner; k++) {
            double g = dy[k] * (s->in[2] ? s->in[2][k] : 1), hat = (x[k] - m) * r;
            sum += g / (double)d.inner;
            sum_hat += g * hat / (double)d.inner;
            if (s->out[1])
                s->out[1][k] += dy[k] * hat;
            if (s->out[2])
                s->out[2][k] += dy[k];
        }
        for (int64_t k = 0; s->out[0] && k < d.inner; k++) {
            double g = dy[k] * (s->in[2] ? s->in[2][k] : 1), hat = (x[k] - m) * r;
            s->out[0][row * d.inner + k] = r * (g - sum - hat * sum_hat);
        }
    }
}
