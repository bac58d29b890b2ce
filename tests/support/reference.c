#include "reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG /* a test's checks stay, whatever the build type */
#include <assert.h>

#include "nn/tensor/philox.h"

void reference_init(struct reference *self, const struct cyx_graph *graph, bool apart)
{
    *self = (struct reference){.graph = graph, .lr = 0.1, .step = 1};
    int64_t *sizes = calloc(graph->n_values, sizeof(*sizes));
    self->data = calloc(graph->n_values, sizeof(*self->data));
    self->owned = calloc(graph->n_values, sizeof(*self->owned));
    for (size_t v = 0; v < graph->n_values; v++)
        sizes[v] = cyx_shape_count(&graph->values[v].shape) * (int64_t)sizeof(double);
    enum cyx_status status = (apart ? cyx_plan_create_apart : cyx_plan_create)(
        graph, sizes, NULL, 64, NULL, &self->plan, NULL);
    assert(status == CYX_OK);
    self->arena = malloc((size_t)self->plan->arena_bytes + 8);
    for (size_t v = 0; v < graph->n_values; v++) {
        size_t root = v;
        while (graph->values[root].alias_of != CYX_NO_VALUE)
            root = (size_t)graph->values[root].alias_of;
        if (self->plan->offset_bytes[v] >= 0)
            self->data[v] = self->arena + self->plan->offset_bytes[v] / 8;
        else if (graph->values[root].kind != CYX_VALUE_TRANSIENT && root == v)
            self->data[v] = self->owned[v] = calloc(1, (size_t)sizes[v]);
        else
            self->data[v] = self->data[root]; /* roots stand before their aliases */
    }
    free(sizes);
}

void reference_finish(struct reference *self)
{
    for (size_t v = 0; v < self->graph->n_values; v++)
        free(self->owned[v]);
    free(self->data);
    free(self->owned);
    free(self->arena);
    cyx_plan_destroy(self->plan);
}

double *reference_data(const struct reference *self, const char *name)
{
    int32_t v = cyx_graph_find(self->graph, name);
    assert(v != CYX_NO_VALUE);
    return self->data[v];
}

/* One node, with what its operation looks at. */
struct step {
    const struct reference *self;
    const struct cyx_node *node;
    double *in[CYX_NODE_INPUTS], *out[CYX_NODE_OUTPUTS];
};

static const int64_t *dims(const struct step *s, int32_t value)
{
    return s->self->graph->values[value].shape.dim;
}

static int64_t count(const struct step *s, int32_t value)
{
    return cyx_shape_count(&s->self->graph->values[value].shape);
}

static double activate(const struct step *s, double x)
{
    return s->node->fused_relu && x < 0 ? 0 : x;
}

static void linear(const struct step *s)
{
    const int64_t *w = dims(s, s->node->in[1]);
    int64_t n = dims(s, s->node->in[0])[0];
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < w[0]; o++) {
            double sum = s->in[2] ? s->in[2][o] : 0;
            for (int64_t k = 0; k < w[1]; k++)
                sum += s->in[0][i * w[1] + k] * s->in[1][o * w[1] + k];
            s->out[0][i * w[0] + o] = activate(s, sum);
        }
}

static void linear_grad_input(const struct step *s)
{
    const int64_t *w = dims(s, s->node->in[1]);
    int64_t n = dims(s, s->node->in[0])[0];
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < w[1]; k++) {
            double sum = 0;
            for (int64_t o = 0; o < w[0]; o++)
                sum += s->in[0][i * w[0] + o] * s->in[1][o * w[1] + k];
            s->out[0][i * w[1] + k] = sum;
        }
}

static void linear_grad_weight(const struct step *s)
{
    const int64_t *w = dims(s, s->node->out[0]);
    int64_t n = dims(s, s->node->in[0])[0];
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

static void zero(const struct step *s, int i)
{
    memset(s->out[i], 0, (size_t)count(s, s->node->out[i]) * sizeof(double));
}

static void conv2d(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->out[0]);
    int64_t plane = yd[2] * yd[3];
    zero(s, 0);
    conv_visit(s, s->node->in[0], s->node->in[1], s->node->out[0], visit_forward);
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++)
        s->out[0][i] = activate(s, s->out[0][i] + (s->in[2] ? s->in[2][i / plane % yd[1]] : 0));
}

static void conv2d_grad_input(const struct step *s)
{
    zero(s, 0);
    conv_visit(s, s->node->out[0], s->node->in[1], s->node->in[0], visit_input);
}

static void conv2d_grad_weight(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->in[1]);
    int64_t plane = yd[2] * yd[3];
    zero(s, 0);
    conv_visit(s, s->node->in[0], s->node->out[0], s->node->in[1], visit_weight);
    if (!s->out[1])
        return;
    zero(s, 1);
    for (int64_t i = 0; i < count(s, s->node->in[1]); i++)
        s->out[1][i / plane % yd[1]] += s->in[1][i];
}

static void pool_window(const struct step *s, const int64_t *xd, const double *x, int64_t oh,
                        int64_t ow, double *ret_y, double *ret_index)
{
    const struct cyx_window *g = &s->node->window;
    *ret_y = -INFINITY;
    for (int64_t kh = 0; kh < g->kernel[0]; kh++)
        for (int64_t kw = 0; kw < g->kernel[1]; kw++) {
            int64_t h = oh * g->stride[0] - g->pad_begin[0] + kh;
            int64_t w = ow * g->stride[1] - g->pad_begin[1] + kw;
            if (h < 0 || w < 0 || h >= xd[2] || w >= xd[3] || x[h * xd[3] + w] <= *ret_y)
                continue;
            *ret_y = x[h * xd[3] + w];
            *ret_index = (double)(h * xd[3] + w);
        }
}

static void max_pool2d(const struct step *s)
{
    const int64_t *xd = dims(s, s->node->in[0]), *yd = dims(s, s->node->out[0]);
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++) {
        int64_t plane = i / (yd[2] * yd[3]), at = i % (yd[2] * yd[3]);
        pool_window(s, xd, s->in[0] + plane * xd[2] * xd[3], at / yd[3], at % yd[3], &s->out[0][i],
                    &s->out[1][i]);
    }
}

static void max_pool2d_grad(const struct step *s)
{
    const int64_t *yd = dims(s, s->node->in[0]), *xd = dims(s, s->node->out[0]);
    zero(s, 0);
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++)
        s->out[0][i / (yd[2] * yd[3]) * xd[2] * xd[3] + (int64_t)s->in[1][i]] += s->in[0][i];
}

static double mask(const struct step *s, int64_t i)
{
    struct cyx_philox philox = {s->self->seed, (uint32_t)s->self->step, s->node->rng_stream,
                                CYX_PHILOX_DROPOUT};
    return cyx_philox_uniform(&philox, (uint32_t)i) < s->node->p ? 0 : 1 / (1 - s->node->p);
}

static void elementwise(const struct step *s)
{
    for (int64_t i = 0; i < count(s, s->node->out[0]); i++) {
        double a = s->in[0][i];
        switch (s->node->op) {
        case CYX_OP_RELU:
            s->out[0][i] = a > 0 ? a : 0;
            break;
        case CYX_OP_RELU_GRAD:
            s->out[0][i] = s->in[1][i] > 0 ? a : 0;
            break;
        case CYX_OP_ADD:
            s->out[0][i] = a + s->in[1][i];
            break;
        case CYX_OP_DROPOUT:
        case CYX_OP_DROPOUT_GRAD:
            s->out[0][i] = a * mask(s, i);
            break;
        default: /* CYX_OP_RESHAPE */
            s->out[0][i] = a;
            break;
        }
    }
}

/* log Σ exp x of one row. */
static double log_sum_exp(const double *x, int64_t n)
{
    double largest = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        largest = fmax(largest, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - largest);
    return largest + log(sum);
}

static void cross_entropy(const struct step *s)
{
    const int64_t *d = dims(s, s->node->in[0]);
    double loss = 0, rows = 0, correct = 0, e = s->node->label_smoothing;
    for (int64_t n = 0; n < d[0]; n++) {
        const double *x = s->in[0] + n * d[1];
        int64_t target = (int64_t)s->in[1][n], best = 0;
        if (target == -100)
            continue;
        double all = 0, norm = log_sum_exp(x, d[1]);
        for (int64_t c = 0; c < d[1]; c++) {
            all += norm - x[c];
            best = x[c] > x[best] ? c : best;
        }
        loss += (1 - e) * (norm - x[target]) + e * all / (double)d[1];
        correct += best == target;
        rows++;
    }
    s->out[0][CYX_RESULT_LOSS] = loss / rows;
    s->out[0][CYX_RESULT_CORRECT] = correct;
    s->out[0][CYX_RESULT_COUNT] = rows;
}

static void cross_entropy_grad(const struct step *s)
{
    const int64_t *d = dims(s, s->node->in[0]);
    double e = s->node->label_smoothing, rows = s->in[2][CYX_RESULT_COUNT];
    for (int64_t n = 0; n < d[0]; n++) {
        const double *x = s->in[0] + n * d[1];
        double norm = log_sum_exp(x, d[1]), target = s->in[1][n];
        for (int64_t c = 0; c < d[1]; c++) {
            double q = ((double)c == target ? 1 - e : 0) + e / (double)d[1];
            s->out[0][n * d[1] + c] = target == -100 ? 0 : (exp(x[c] - norm) - q) / rows;
        }
    }
}

static void adamw(const struct step *s)
{
    const struct cyx_optimizer_spec *o = s->node->optimizer;
    double lr = s->self->lr, step = s->self->step;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++) {
        double g = s->in[1][i], *m = &s->in[2][i], *v = &s->in[3][i];
        *m = o->betas[0] * *m + (1 - o->betas[0]) * g;
        *v = o->betas[1] * *v + (1 - o->betas[1]) * g * g;
        double root = sqrt(*v) / sqrt(1 - pow(o->betas[1], step)) + o->eps;
        s->in[0][i] -= lr * o->weight_decay * s->in[0][i];
        s->in[0][i] -= lr / (1 - pow(o->betas[0], step)) * *m / root;
    }
}

static void sgd(const struct step *s)
{
    const struct cyx_optimizer_spec *o = s->node->optimizer;
    for (int64_t i = 0; i < count(s, s->node->in[0]); i++) {
        double g = s->in[1][i] + o->weight_decay * s->in[0][i];
        if (s->in[2]) {
            double *b = &s->in[2][i];
            *b = s->self->step == 1 ? g : o->momentum * *b + (1 - o->dampening) * g;
            g = o->nesterov ? g + o->momentum * *b : *b;
        }
        s->in[0][i] -= s->self->lr * g;
    }
}

void reference_run(struct reference *self, size_t n_nodes)
{
    static void (*const run[CYX_OP_COUNT])(const struct step *) = {
        [CYX_OP_LINEAR] = linear,
        [CYX_OP_LINEAR_GRAD_INPUT] = linear_grad_input,
        [CYX_OP_LINEAR_GRAD_WEIGHT] = linear_grad_weight,
        [CYX_OP_CONV2D] = conv2d,
        [CYX_OP_CONV2D_GRAD_INPUT] = conv2d_grad_input,
        [CYX_OP_CONV2D_GRAD_WEIGHT] = conv2d_grad_weight,
        [CYX_OP_MAX_POOL2D] = max_pool2d,
        [CYX_OP_MAX_POOL2D_GRAD] = max_pool2d_grad,
        [CYX_OP_RELU] = elementwise,
        [CYX_OP_RELU_GRAD] = elementwise,
        [CYX_OP_DROPOUT] = elementwise,
        [CYX_OP_DROPOUT_GRAD] = elementwise,
        [CYX_OP_RESHAPE] = elementwise,
        [CYX_OP_ADD] = elementwise,
        [CYX_OP_CROSS_ENTROPY] = cross_entropy,
        [CYX_OP_CROSS_ENTROPY_GRAD] = cross_entropy_grad,
        [CYX_OP_SGD] = sgd,
        [CYX_OP_ADAMW] = adamw,
    };
    for (int64_t i = 0; i < self->plan->arena_bytes / 8; i++)
        self->arena[i] = NAN;
    for (size_t n = 0; n < n_nodes; n++) {
        const struct cyx_node *node = &self->graph->nodes[n];
        struct step s = {.self = self, .node = node};
        for (int i = 0; i < node->n_in; i++)
            s.in[i] = node->in[i] == CYX_NO_VALUE ? NULL : self->data[node->in[i]];
        for (int i = 0; i < node->n_out; i++)
            s.out[i] = node->out[i] == CYX_NO_VALUE ? NULL : self->data[node->out[i]];
        run[node->op](&s);
    }
}
