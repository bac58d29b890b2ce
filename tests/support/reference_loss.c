#include <math.h>

#include "reference_private.h"

/* Index of the row's largest element, the first when equal. */
static int64_t best_of(const double *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* log Σ exp x of one row. */
static double log_sum_exp(const double *x, int64_t n)
{
    double largest = x[best_of(x, n)], sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - largest);
    return largest + log(sum);
}

static double class_weight(const double *w, int64_t c)
{
    return w ? w[c] : 1;
}

/* in: x target w? */
void reference_cross_entropy(const struct step *s)
{
    const int64_t *d = dims(s, s->node->in[0]);
    double loss = 0, rows = 0, weights = 0, correct = 0, e = s->node->label_smoothing;
    for (int64_t n = 0; n < d[0]; n++) {
        const double *x = s->in[0] + n * d[1];
        int64_t target = (int64_t)s->in[1][n];
        if (target == s->node->ignore_index)
            continue;
        double all = 0, norm = log_sum_exp(x, d[1]), w = class_weight(s->in[2], target);
        for (int64_t c = 0; c < d[1]; c++)
            all += class_weight(s->in[2], c) * (norm - x[c]);
        loss += (1 - e) * w * (norm - x[target]) + e * all / (double)d[1];
        correct += best_of(x, d[1]) == target;
        weights += w;
        rows++;
    }
    fill_output(s, 0, 0);
    s->out[0][CYX_RESULT_LOSS] = loss / weights;
    s->out[0][CYX_RESULT_CORRECT] = correct;
    s->out[0][CYX_RESULT_COUNT] = rows;
    s->out[0][CYX_RESULT_WEIGHT] = weights;
}

/* in: x target result w? */
void reference_cross_entropy_grad(const struct step *s)
{
    const int64_t *d = dims(s, s->node->in[0]);
    double e = s->node->label_smoothing, all = 0;
    for (int64_t c = 0; c < d[1]; c++)
        all += class_weight(s->in[3], c);
    for (int64_t n = 0; n < d[0]; n++) {
        const double *x = s->in[0] + n * d[1];
        int64_t target = (int64_t)s->in[1][n];
        bool ignored = target == s->node->ignore_index;
        double norm = log_sum_exp(x, d[1]), w = ignored ? 0 : class_weight(s->in[3], target);
        for (int64_t c = 0; c < d[1]; c++) {
            double own = c == target ? (1 - e) * w : 0;
            double q = own + e / (double)d[1] * class_weight(s->in[3], c);
            double mass = (1 - e) * w + e / (double)d[1] * all;
            s->out[0][n * d[1] + c] =
                ignored ? 0 : (mass * exp(x[c] - norm) - q) / s->in[2][CYX_RESULT_WEIGHT];
        }
    }
}

/* log(1 + exp(-x)) */
static double softplus_of_minus(double x)
{
    return log1p(exp(-fabs(x))) + fmax(-x, 0);
}

static double one_loss(const struct step *s, double x, double t, double pos_weight)
{
    double off = fabs(x - t), beta = s->node->beta;
    switch (s->node->loss) {
    case CYX_LOSS_MSE:
        return off * off;
    case CYX_LOSS_L1:
        return off;
    case CYX_LOSS_SMOOTH_L1:
        return off < beta ? off * off / (2 * beta) : off - beta / 2;
    case CYX_LOSS_BCE_WITH_LOGITS:
        return (1 - t) * x + (1 + (pos_weight - 1) * t) * softplus_of_minus(x);
    default:
        return NAN;
    }
}

static double one_slope(const struct step *s, double x, double t, double pos_weight)
{
    double off = x - t, sign = (off > 0) - (off < 0), beta = s->node->beta;
    switch (s->node->loss) {
    case CYX_LOSS_MSE:
        return 2 * off;
    case CYX_LOSS_L1:
        return sign;
    case CYX_LOSS_SMOOTH_L1:
        return fabs(off) < beta ? off / beta : sign;
    case CYX_LOSS_BCE_WITH_LOGITS:
        return (1 - t) - (1 + (pos_weight - 1) * t) / (1 + exp(x));
    default:
        return NAN;
    }
}

/* in: x t pos_weight? labels? */
void reference_element_loss(const struct step *s)
{
    const struct cyx_shape *shape = shape_of(s, s->node->in[0]);
    int64_t n = cyx_shape_count(shape), rows = shape->dim[0], last = shape->dim[shape->rank - 1];
    double loss = 0, correct = 0;
    for (int64_t i = 0; i < n; i++)
        loss += one_loss(s, s->in[0][i], s->in[1][i], s->in[2] ? s->in[2][i % last] : 1);
    for (int64_t row = 0; s->in[3] && row < rows; row++)
        correct += (double)best_of(s->in[0] + row * (n / rows), n / rows) == s->in[3][row];
    fill_output(s, 0, 0);
    s->out[0][CYX_RESULT_LOSS] = loss / (double)n;
    s->out[0][CYX_RESULT_CORRECT] = correct;
    s->out[0][CYX_RESULT_COUNT] = (double)rows;
}

void reference_element_loss_grad(const struct step *s)
{
    const struct cyx_shape *shape = shape_of(s, s->node->in[0]);
    int64_t n = cyx_shape_count(shape), last = shape->dim[shape->rank - 1];
    for (int64_t i = 0; i < n; i++)
        s->out[0][i] =
            one_slope(s, s->in[0][i], s->in[1][i], s->in[2] ? s->in[2][i % last] : 1) / (double)n;
}
