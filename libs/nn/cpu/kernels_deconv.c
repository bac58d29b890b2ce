/*
 * ConvTranspose2d by plain loops on row-major values, for the windows that oneDNN's convolutions refuse: where the
 * output reaches beyond the last window by more than a stride (dilation above the stride, output_padding too).
 *
 * Letters: x (N,C,H,W), W (C,O/g,KH,KW), y (N,O,OH,OW). x's pixel h meets y's pixel h S - P + kh D.
 */
#include "nn/cpu/kernels.h"
#include "nn/cpu/parallel.h"

#include "base/banned.h"

struct deconv {
    const struct cyx_window *window;
    const int64_t *x_dims, *y_dims;
    int64_t y_group; /* O/g */
    const float *in, *w, *b;
    const float *dy;
    float *out;
    bool relu;
};

/* One row of x against one row of y, for one tap. */
typedef void row_visit(const struct deconv *d, int64_t x, int64_t w, int64_t y, int64_t n,
                       int64_t stride);

/* Pixels [*ret_first, *ret_last) of x along an axis that meet a pixel of y within it, for tap k. */
static void met(const struct deconv *d, int axis, int64_t k, int64_t *ret_first, int64_t *ret_last)
{
    const struct cyx_window *g = d->window;
    int64_t at = k * g->dilation[axis] - g->pad_begin[axis], stride = g->stride[axis];
    int64_t first = at < 0 ? (-at + stride - 1) / stride : 0;
    int64_t room = d->y_dims[2 + axis] - 1 - at;
    int64_t last = room < 0 ? 0 : room / stride + 1;
    *ret_first = first;
    *ret_last = last < d->x_dims[2 + axis] ? last : d->x_dims[2 + axis];
}

/* All rows of channel c of image n against channel o of its group. */
static void visit_planes(const struct deconv *d, int64_t n, int64_t c, int64_t o, row_visit *visit)
{
    const struct cyx_window *g = d->window;
    const int64_t *xd = d->x_dims, *yd = d->y_dims;
    int64_t y_channel = c / (xd[1] / g->groups) * d->y_group + o;
    for (int64_t kh = 0; kh < g->kernel[0]; kh++)
        for (int64_t kw = 0; kw < g->kernel[1]; kw++) {
            int64_t top, bottom, left, right;
            met(d, 0, kh, &top, &bottom);
            met(d, 1, kw, &left, &right);
            int64_t w = ((c * d->y_group + o) * g->kernel[0] + kh) * g->kernel[1] + kw;
            int64_t ow = left * g->stride[1] - g->pad_begin[1] + kw * g->dilation[1];
            for (int64_t h = top; h < bottom && left < right; h++) {
                int64_t oh = h * g->stride[0] - g->pad_begin[0] + kh * g->dilation[0];
                visit(d, ((n * xd[1] + c) * xd[2] + h) * xd[3] + left, w,
                      ((n * yd[1] + y_channel) * yd[2] + oh) * yd[3] + ow, right - left,
                      g->stride[1]);
            }
        }
}

static void add_to_y(const struct deconv *d, int64_t x, int64_t w, int64_t y, int64_t n,
                     int64_t stride)
{
    for (int64_t i = 0; i < n; i++)
        d->out[y + i * stride] += d->in[x + i] * d->w[w];
}

static void add_to_x(const struct deconv *d, int64_t x, int64_t w, int64_t y, int64_t n,
                     int64_t stride)
{
    for (int64_t i = 0; i < n; i++)
        d->out[x + i] += d->dy[y + i * stride] * d->w[w];
}

static void add_to_w(const struct deconv *d, int64_t x, int64_t w, int64_t y, int64_t n,
                     int64_t stride)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += d->in[x + i] * d->dy[y + i * stride];
    d->out[w] += sum;
}

static void forward_range(void *context, int64_t begin, int64_t end)
{
    const struct deconv *d = context;
    int64_t plane = d->y_dims[2] * d->y_dims[3], image = d->y_dims[1] * plane;
    for (int64_t n = begin; n < end; n++) {
        float *y = d->out + n * image;
        for (int64_t i = 0; i < image; i++)
            y[i] = d->b ? d->b[i / plane] : 0.0f;
        for (int64_t c = 0; c < d->x_dims[1]; c++)
            for (int64_t o = 0; o < d->y_group; o++)
                visit_planes(d, n, c, o, add_to_y);
        for (int64_t i = 0; d->relu && i < image; i++)
            y[i] = y[i] < 0.0f ? 0.0f : y[i];
    }
}

static void input_grad_range(void *context, int64_t begin, int64_t end)
{
    const struct deconv *d = context;
    int64_t image = d->x_dims[1] * d->x_dims[2] * d->x_dims[3];
    for (int64_t n = begin; n < end; n++) {
        for (int64_t i = 0; i < image; i++)
            d->out[n * image + i] = 0.0f;
        for (int64_t c = 0; c < d->x_dims[1]; c++)
            for (int64_t o = 0; o < d->y_group; o++)
                visit_planes(d, n, c, o, add_to_x);
    }
}

/* Channels of x: each has weights of its own. */
static void weight_grad_range(void *context, int64_t begin, int64_t end)
{
    const struct deconv *d = context;
    int64_t taps = d->window->kernel[0] * d->window->kernel[1];
    for (int64_t c = begin; c < end; c++) {
        for (int64_t i = 0; i < d->y_group * taps; i++)
            d->out[c * d->y_group * taps + i] = 0.0f;
        for (int64_t n = 0; n < d->x_dims[0]; n++)
            for (int64_t o = 0; o < d->y_group; o++)
                visit_planes(d, n, c, o, add_to_w);
    }
}

static struct deconv open_deconv(struct cyx_program *program, const struct cpu_step *step)
{
    const struct cyx_node *forward = &step->forward->node;
    return (struct deconv){
        .window = &forward->window,
        .x_dims = cpu_shape(program, forward->in[0])->dim,
        .y_dims = cpu_shape(program, forward->out[0])->dim,
        .y_group = cpu_shape(program, forward->in[1])->dim[1],
        .out = cpu_arg(program, step, CPU_OUT),
        .relu = forward->fused_relu,
    };
}

void cpu_kernel_deconv(struct cyx_program *program, const struct cpu_step *step)
{
    struct deconv d = open_deconv(program, step);
    d.in = cpu_arg(program, step, 0);
    d.w = cpu_arg(program, step, 1);
    d.b = cpu_arg(program, step, 2);
    cpu_parallel(program->device, d.x_dims[0], 1, forward_range, &d);
}

void cpu_kernel_deconv_input_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct deconv d = open_deconv(program, step);
    d.dy = cpu_arg(program, step, 0);
    d.w = cpu_arg(program, step, 1);
    cpu_parallel(program->device, d.x_dims[0], 1, input_grad_range, &d);
}

void cpu_kernel_deconv_weight_grad(struct cyx_program *program, const struct cpu_step *step)
{
    struct deconv d = open_deconv(program, step);
    float *db = cpu_arg(program, step, CPU_OUT + 1);
    d.in = cpu_arg(program, step, 0);
    d.dy = cpu_arg(program, step, 1);
    cpu_parallel(program->device, d.x_dims[1], 1, weight_grad_range, &d);
    int64_t plane = d.y_dims[2] * d.y_dims[3];
    for (int64_t o = 0; db && o < d.y_dims[1]; o++) {
        double sum = 0;
        for (int64_t n = 0; n < d.y_dims[0]; n++)
            for (int64_t i = 0; i < plane; i++)
                sum += (double)d.dy[(n * d.y_dims[1] + o) * plane + i];
        db[o] = (float)sum;
    }
}
