#include "reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/tensor/philox.h"

struct reference {
    const struct cyx_graph *graph;
    double **values;
    struct reference_step step;
};

/* Letters: N batch, C and O channels in and out, H W and OH OW planes in and out, K kernel, G groups. */
struct conv {
    int64_t n, c, h, w, o, oh, ow, g;
    const struct cyx_window *window;
};

static void *must(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "reference: out of memory\n");
        abort();
    }
    return pointer;
}

static int64_t count_of(const struct reference *self, int32_t value)
{
    return cyx_shape_count(&self->graph->values[value].shape);
}

static int64_t dim(const struct reference *self, int32_t value, int i)
{
    return self->graph->values[value].shape.dim[i];
}

struct reference *reference_create(const struct cyx_graph *graph)
{
    struct reference *self = must(calloc(1, sizeof *self));
    self->graph = graph;
    self->values = must(calloc(graph->n_values, sizeof *self->values));
    for (size_t i = 0; i < graph->n_values; i++)
        self->values[i] = must(calloc((size_t)count_of(self, (int32_t)i) + 1, sizeof(double)));
    return self;
}

void reference_destroy(struct reference *self)
{
    if (!self)
        return;
    for (size_t i = 0; i < self->graph->n_values; i++)
        free(self->values[i]);
    free(self->values);
    free(self);
}

double *reference_value(struct reference *self, int32_t value)
{
    return value == CYX_NO_VALUE ? NULL : self->values[value];
}

static double *in(struct reference *self, const struct cyx_node *node, int i)
{
    return i < node->n_in ? reference_value(self, node->in[i]) : NULL;
}

static double *out(struct reference *self, const struct cyx_node *node, int i)
{
    return i < node->n_out ? reference_value(self, node->out[i]) : NULL;
}

static double activate(const struct cyx_node *node, double y)
{
    return node->fused_relu && y < 0 ? 0 : y;
}

static void linear(struct reference *self, const struct cyx_node *node)
{
    const double *x = in(self, node, 0), *w = in(self, node, 1), *b = in(self, node, 2);
    double *y = out(self, node, 0);
    int64_t rows = dim(self, node->in[0], 0), outs = dim(self, node->in[1], 0),
            ins = dim(self, node->in[1], 1);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t o = 0; o < outs; o++) {
            double sum = b ? b[o] : 0;
            for (int64_t i = 0; i < ins; i++)
                sum += x[n * ins + i] * w[o * ins + i];
            y[n * outs + o] = activate(node, sum);
        }
}

static void linear_grad_input(struct reference *self, const struct cyx_node *node)
{
    const double *dy = in(self, node, 0), *w = in(self, node, 1);
    double *dx = out(self, node, 0);
    int64_t rows = dim(self, node->in[0], 0), outs = dim(self, node->in[1], 0),
            ins = dim(self, node->in[1], 1);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t i = 0; i < ins; i++) {
            double sum = 0;
            for (int64_t o = 0; o < outs; o++)
                sum += dy[n * outs + o] * w[o * ins + i];
            dx[n * ins + i] = sum;
        }
}

static void linear_grad_weight(struct reference *self, const struct cyx_node *node)
{
    const double *x = in(self, node, 0), *dy = in(self, node, 1);
    double *dw = out(self, node, 0), *db = out(self, node, 1);
    int64_t rows = dim(self, node->in[0], 0), ins = dim(self, node->in[0], 1),
            outs = dim(self, node->in[1], 1);
    for (int64_t o = 0; o < outs; o++) {
        for (int64_t i = 0; i < ins; i++) {
            double sum = 0;
            for (int64_t n = 0; n < rows; n++)
                sum += dy[n * outs + o] * x[n * ins + i];
            dw[o * ins + i] = sum;
        }
        for (int64_t n = 0; db && n < rows; n++)
            db[o] = (n ? db[o] : 0) + dy[n * outs + o];
    }
}

static struct conv conv_of(struct reference *self, const struct cyx_node *node, int32_t x,
                           int32_t y)
{
    return (struct conv){dim(self, x, 0), dim(self, x, 1),     dim(self, x, 2),
                         dim(self, x, 3), dim(self, y, 1),     dim(self, y, 2),
                         dim(self, y, 3), node->window.groups, &node->window};
}

/*
 * Calls `visit` for every multiplication of the convolution: y[yi] += x[xi] * w[wi]. Forward and both
 * gradients are the same visits with another operand as the sum.
 */
static void visit_conv(const struct conv *s,
                       void (*visit)(void *context, int64_t yi, int64_t xi, int64_t wi),
                       void *context)
{
    const struct cyx_window *k = s->window;
    int64_t cg = s->c / s->g, og = s->o / s->g;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t o = 0; o < s->o; o++)
            for (int64_t oh = 0; oh < s->oh; oh++)
                for (int64_t ow = 0; ow < s->ow; ow++)
                    for (int64_t c = 0; c < cg; c++)
                        for (int64_t kh = 0; kh < k->kernel[0]; kh++)
                            for (int64_t kw = 0; kw < k->kernel[1]; kw++) {
                                int64_t ih =
                                    oh * k->stride[0] - k->pad_begin[0] + kh * k->dilation[0];
                                int64_t iw =
                                    ow * k->stride[1] - k->pad_begin[1] + kw * k->dilation[1];
                                if (ih < 0 || ih >= s->h || iw < 0 || iw >= s->w)
                                    continue;
                                visit(context, ((n * s->o + o) * s->oh + oh) * s->ow + ow,
                                      ((n * s->c + o / og * cg + c) * s->h + ih) * s->w + iw,
                                      ((o * cg + c) * k->kernel[0] + kh) * k->kernel[1] + kw);
                            }
}

struct operands {
    double *y, *x, *w;
};

static void add_y(void *context, int64_t yi, int64_t xi, int64_t wi)
{
    struct operands *p = context;
    p->y[yi] += p->x[xi] * p->w[wi];
}

static void add_x(void *context, int64_t yi, int64_t xi, int64_t wi)
{
    struct operands *p = context;
    p->x[xi] += p->y[yi] * p->w[wi];
}

static void add_w(void *context, int64_t yi, int64_t xi, int64_t wi)
{
    struct operands *p = context;
    p->w[wi] += p->y[yi] * p->x[xi];
}

static void clear(struct reference *self, int32_t value)
{
    memset(self->values[value], 0, (size_t)count_of(self, value) * sizeof(double));
}

static void conv2d(struct reference *self, const struct cyx_node *node)
{
    struct conv s = conv_of(self, node, node->in[0], node->out[0]);
    struct operands p = {out(self, node, 0), in(self, node, 0), in(self, node, 1)};
    const double *b = in(self, node, 2);
    clear(self, node->out[0]);
    visit_conv(&s, add_y, &p);
    for (int64_t i = 0; i < count_of(self, node->out[0]); i++)
        p.y[i] = activate(node, p.y[i] + (b ? b[i / (s.oh * s.ow) % s.o] : 0));
}

static void conv2d_grad_input(struct reference *self, const struct cyx_node *node)
{
    struct conv s = conv_of(self, node, node->out[0], node->in[0]);
    struct operands p = {in(self, node, 0), out(self, node, 0), in(self, node, 1)};
    clear(self, node->out[0]);
    visit_conv(&s, add_x, &p);
}

static void conv2d_grad_weight(struct reference *self, const struct cyx_node *node)
{
    struct conv s = conv_of(self, node, node->in[0], node->in[1]);
    struct operands p = {in(self, node, 1), in(self, node, 0), out(self, node, 0)};
    double *db = out(self, node, 1);
    clear(self, node->out[0]);
    visit_conv(&s, add_w, &p);
    if (!db)
        return;
    clear(self, node->out[1]);
    for (int64_t i = 0; i < count_of(self, node->in[1]); i++)
        db[i / (s.oh * s.ow) % s.o] += p.y[i];
}

static void max_pool2d(struct reference *self, const struct cyx_node *node)
{
    struct conv s = conv_of(self, node, node->in[0], node->out[0]);
    const double *x = in(self, node, 0);
    double *y = out(self, node, 0), *index = out(self, node, 1);
    for (int64_t i = 0; i < count_of(self, node->out[0]); i++) {
        int64_t plane = i / (s.oh * s.ow), oh = i / s.ow % s.oh, ow = i % s.ow;
        y[i] = -INFINITY;
        for (int64_t kh = 0; kh < s.window->kernel[0]; kh++)
            for (int64_t kw = 0; kw < s.window->kernel[1]; kw++) {
                int64_t ih =
                    oh * s.window->stride[0] - s.window->pad_begin[0] + kh * s.window->dilation[0];
                int64_t iw =
                    ow * s.window->stride[1] - s.window->pad_begin[1] + kw * s.window->dilation[1];
                if (ih < 0 || ih >= s.h || iw < 0 || iw >= s.w)
                    continue;
                double value = x[(plane * s.h + ih) * s.w + iw];
                if (value > y[i]) {
                    y[i] = value;
                    index[i] = (double)(ih * s.w + iw);
                }
            }
    }
}

static void max_pool2d_grad(struct reference *self, const struct cyx_node *node)
{
    struct conv s = conv_of(self, node, node->out[0], node->in[0]);
    const double *dy = in(self, node, 0), *index = in(self, node, 1);
    double *dx = out(self, node, 0);
    clear(self, node->out[0]);
    for (int64_t i = 0; i < count_of(self, node->in[0]); i++)
        dx[i / (s.oh * s.ow) * s.h * s.w + (int64_t)index[i]] += dy[i];
}

static void elementwise(struct reference *self, const struct cyx_node *node)
{
    const double *a = in(self, node, 0), *b = in(self, node, 1);
    double *y = out(self, node, 0);
    struct cyx_philox philox = {self->step.seed, (uint32_t)self->step.step, node->rng_stream,
                                CYX_PHILOX_DROPOUT};
    for (int64_t i = 0; i < count_of(self, node->out[0]); i++) {
        switch (node->op) {
        case CYX_OP_RELU:
            y[i] = a[i] > 0 ? a[i] : 0;
            break;
        case CYX_OP_RELU_GRAD:
            y[i] = b[i] > 0 ? a[i] : 0;
            break;
        case CYX_OP_ADD:
            y[i] = a[i] + b[i];
            break;
        case CYX_OP_RESHAPE:
            y[i] = a[i];
            break;
        default: /* dropout and its gradient */
            y[i] = cyx_philox_uniform(&philox, (uint32_t)i) < node->p ? 0 : a[i] / (1 - node->p);
            break;
        }
    }
}

/* log Σ exp(x) of a row of C */
static double log_sum_exp(const double *x, int64_t c)
{
    double largest = x[0], sum = 0;
    for (int64_t i = 1; i < c; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (int64_t i = 0; i < c; i++)
        sum += exp(x[i] - largest);
    return largest + log(sum);
}

static double smoothed(const struct cyx_node *node, bool is_target, int64_t c)
{
    return (is_target ? 1 - node->label_smoothing : 0) + node->label_smoothing / (double)c;
}

static void cross_entropy(struct reference *self, const struct cyx_node *node)
{
    const double *x = in(self, node, 0), *target = in(self, node, 1);
    double *result = out(self, node, 0), loss = 0, correct = 0, count = 0;
    int64_t rows = dim(self, node->in[0], 0), c = dim(self, node->in[0], 1);
    for (int64_t n = 0; n < rows; n++, x += c) {
        int64_t t = (int64_t)target[n], best = 0;
        if (t < 0)
            continue;
        double log_sum = log_sum_exp(x, c);
        for (int64_t i = 0; i < c; i++) {
            loss -= smoothed(node, i == t, c) * (x[i] - log_sum);
            best = x[i] > x[best] ? i : best;
        }
        correct += best == t;
        count++;
    }
    result[CYX_RESULT_LOSS] = loss / count;
    result[CYX_RESULT_CORRECT] = correct;
    result[CYX_RESULT_COUNT] = count;
}

static void cross_entropy_grad(struct reference *self, const struct cyx_node *node)
{
    const double *x = in(self, node, 0), *target = in(self, node, 1), *result = in(self, node, 2);
    double *dx = out(self, node, 0);
    int64_t rows = dim(self, node->in[0], 0), c = dim(self, node->in[0], 1);
    for (int64_t n = 0; n < rows; n++, x += c, dx += c) {
        int64_t t = (int64_t)target[n];
        double log_sum = log_sum_exp(x, c);
        for (int64_t i = 0; i < c; i++)
            dx[i] = t < 0 ? 0
                          : (exp(x[i] - log_sum) - smoothed(node, i == t, c)) /
                                result[CYX_RESULT_COUNT];
    }
}

static void sgd(struct reference *self, const struct cyx_node *node)
{
    const struct cyx_optimizer_spec *o = node->optimizer;
    double *w = in(self, node, 0), *buffer = in(self, node, 2);
    const double *dw = in(self, node, 1);
    for (int64_t i = 0; i < count_of(self, node->in[0]); i++) {
        double g = dw[i] + o->weight_decay * w[i];
        if (buffer) {
            buffer[i] = self->step.step == 1 ? g : o->momentum * buffer[i] + (1 - o->dampening) * g;
            g = o->nesterov ? g + o->momentum * buffer[i] : buffer[i];
        }
        w[i] -= self->step.lr * g;
    }
}

static void adamw(struct reference *self, const struct cyx_node *node)
{
    const struct cyx_optimizer_spec *o = node->optimizer;
    double *w = in(self, node, 0), *m = in(self, node, 2), *v = in(self, node, 3);
    const double *dw = in(self, node, 1);
    double t = (double)self->step.step, lr = self->step.lr;
    double c1 = 1 - pow(o->betas[0], t), c2 = 1 - pow(o->betas[1], t);
    for (int64_t i = 0; i < count_of(self, node->in[0]); i++) {
        w[i] -= lr * o->weight_decay * w[i];
        m[i] = o->betas[0] * m[i] + (1 - o->betas[0]) * dw[i];
        v[i] = o->betas[1] * v[i] + (1 - o->betas[1]) * dw[i] * dw[i];
        w[i] -= lr / c1 * m[i] / (sqrt(v[i]) / sqrt(c2) + o->eps);
    }
}

typedef void run_function(struct reference *self, const struct cyx_node *node);

static run_function *const RUN[CYX_OP_COUNT] = {
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

void reference_run(struct reference *self, const struct reference_step *step)
{
    self->step = *step;
    for (size_t i = 0; i < self->graph->n_nodes; i++)
        RUN[self->graph->nodes[i].op](self, &self->graph->nodes[i]);
}
