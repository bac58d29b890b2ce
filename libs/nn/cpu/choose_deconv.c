/*
 * ConvTranspose2d: the gradient of a convolution that goes the other way, from y (N,O,OH,OW) to x (N,C,H,W). So
 * forward is that convolution's backward-data, with bias and ReLU in a pass behind it (oneDNN's deconvolution does
 * the same, with a reference loop for the ReLU); dx is its forward, dW its backward-weights. In struct conv, `x` is
 * this layer's output and `y` its input.
 */
#include <string.h>

#include "nn/cpu/choose_conv.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/*
 * The padding at the end with which the convolution from y to x has x's size exactly: rows that output_padding adds
 * lie beyond its last window.
 */
static void fit_padding(struct conv *c, const struct cyx_window *window)
{
    for (int i = 0; i < 2; i++) {
        int64_t reach = window->dilation[i] * (window->kernel[i] - 1) + 1;
        c->pad_end[i] =
            (c->y[2 + i] - 1) * window->stride[i] + reach - c->x[2 + i] - window->pad_begin[i];
    }
}

/* Where oneDNN refuses: own loops over row-major values. */
static enum cyx_status choose_loops(struct conv *c, cpu_kernel kernel)
{
    struct cpu_step *step = c->step;
    for (int i = 0; i < step->node.n_in; i++)
        cpu_bind_plain(c->program, step, i, step->node.in[i], false);
    for (int i = 0; i < step->node.n_out; i++)
        cpu_bind_plain(c->program, step, CPU_OUT + i, step->node.out[i], true);
    step->kernel = kernel;
    return CYX_OK;
}

/* ---- forward ---- */

static int drop(dnnl_primitive_desc_t pd, int rank)
{
    if (!pd)
        return 0;
    dnnl_primitive_desc_destroy(pd);
    return rank;
}

/* The worse of the gradients' implementations on the activation layouts that `forward` chose. */
static int backward_rank(struct conv *c, dnnl_primitive_desc_t forward, bool input_grad)
{
    const dnnl_memory_desc_t *x = cpu_query(forward, dnnl_query_diff_src_md, 0);
    const dnnl_memory_desc_t *y = cpu_query(forward, dnnl_query_diff_dst_md, 0);
    dnnl_memory_desc_t any;
    dnnl_primitive_desc_t weights = NULL, input = NULL;
    int weights_rank = 0, input_rank = 0;
    cpu_md_any(c->w_dims, c->w, &any);
    cpu_conv_try_backward_weights(c, NULL, false, x, &any, y, &weights, &weights_rank);
    weights_rank = drop(weights, weights_rank);
    if (!input_grad)
        return weights_rank;
    cpu_conv_try_forward(c, false, false, x, &any, y, &input, &input_rank);
    input_rank = drop(input, input_rank);
    return input_rank < weights_rank ? input_rank : weights_rank;
}

static bool form_is_known(dnnl_primitive_desc_t pd)
{
    int64_t block;
    return cpu_md_form(cpu_query(pd, dnnl_query_diff_src_md, 0), &block) != CPU_FORM_OTHER;
}

/* One pair of layouts; the pass behind the primitive must know how the output lies. */
static dnnl_primitive_desc_t try_layouts(struct conv *c, const struct cpu_value *weight,
                                         const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *y,
                                         int *ret_rank)
{
    dnnl_memory_desc_t w;
    dnnl_primitive_desc_t pd = NULL;
    *ret_rank = 0;
    if (weight->has_md && cpu_md_view(&weight->md, c->w_dims, c->w, &w))
        cpu_conv_try_backward_data(c, NULL, x, &w, y, &pd, ret_rank);
    cpu_md_any(c->w_dims, c->w, &w);
    cpu_conv_try_backward_data(c, NULL, x, &w, y, &pd, ret_rank);
    if (!pd || form_is_known(pd))
        return pd;
    dnnl_primitive_desc_destroy(pd);
    return NULL;
}

/* As for Conv2d: the best over the layouts that the input may come in, judged with its gradients. */
static dnnl_primitive_desc_t best_forward(struct conv *c, const struct cyx_node *node)
{
    bool input_grad = c->program->graph->values[node->in[0]].kind != CYX_VALUE_INPUT;
    dnnl_memory_desc_t x[3], y[3];
    cpu_view_or_plain(c->program, node->in[0], 4, c->y, &y[0]);
    cpu_md_any(4, c->y, &y[1]);
    cpu_md_tag(4, c->y, dnnl_nhwc, &y[2]);
    cpu_md_any(4, c->x, &x[0]);
    x[1] = x[0];
    cpu_md_tag(4, c->x, dnnl_nhwc, &x[2]);
    dnnl_primitive_desc_t best = NULL;
    int best_score = -1;
    for (int i = 0; i < 3; i++) {
        int rank;
        dnnl_primitive_desc_t pd =
            try_layouts(c, cpu_value(c->program, node->in[1]), &x[i], &y[i], &rank);
        int backward = pd ? backward_rank(c, pd, input_grad) : 0;
        int score = !pd ? -1 : backward ? 3 * rank + backward : rank;
        if (score > best_score) {
            drop(best, 0);
            best = pd;
            best_score = score;
        } else {
            drop(pd, 0);
        }
    }
    return best;
}

static enum cyx_status choose_forward(struct conv *c)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    step->pd = best_forward(c, node);
    if (!step->pd)
        return choose_loops(c, cpu_kernel_deconv);
    const dnnl_memory_desc_t *w = cpu_query(step->pd, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *x = cpu_query(step->pd, dnnl_query_diff_src_md, 0);
    if (!cpu_value(c->program, node->in[1])->has_md)
        cpu_set_md(c->program, node->in[1], w);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_DST, node->in[0],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_WEIGHTS, node->in[1], w, false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_SRC, node->out[0], x, true);
    cpu_bind_plain(c->program, step, CPU_IN + 2, node->in[2], false);
    step->planes = cpu_planes_of(x);
    if (node->in[2] != CYX_NO_VALUE || node->fused_relu)
        step->after = cpu_kernel_bias;
    return CYX_OK;
}

/* ---- gradients ---- */

/* The layouts to try: as they lie, then a free weight, then all free. */
struct layouts {
    dnnl_memory_desc_t x, w, y;
};

static void gradient_layouts(struct conv *c, int32_t dy, struct layouts ret_layouts[3])
{
    const struct cpu_step *forward = c->step->forward;
    const dnnl_memory_desc_t *x = cpu_query(forward->pd, dnnl_query_diff_src_md, 0);
    const dnnl_memory_desc_t *y = cpu_query(forward->pd, dnnl_query_diff_dst_md, 0);
    dnnl_memory_desc_t seen, any;
    cpu_md_any(c->w_dims, c->w, &any);
    ret_layouts[0] = (struct layouts){.x = *x, .w = any, .y = *y};
    if (cpu_md_view(&cpu_value(c->program, dy)->md, 4, c->x, &seen))
        ret_layouts[0].x = seen;
    cpu_md_view(&cpu_value(c->program, forward->node.in[1])->md, c->w_dims, c->w,
                &ret_layouts[0].w);
    ret_layouts[1] = (struct layouts){.x = *x, .w = any, .y = *y};
    ret_layouts[2].w = any;
    cpu_md_any(4, c->x, &ret_layouts[2].x);
    cpu_md_any(4, c->y, &ret_layouts[2].y);
}

static enum cyx_status choose_input_grad(struct conv *c)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    struct layouts layouts[3];
    int rank = 0;
    if (!step->forward->pd)
        return choose_loops(c, cpu_kernel_deconv_input_grad);
    gradient_layouts(c, node->in[0], layouts);
    for (int i = 0; i < 3; i++)
        cpu_conv_try_forward(c, false, false, &layouts[i].x, &layouts[i].w, &layouts[i].y,
                             &step->pd, &rank);
    if (!step->pd)
        return CYX_ERR_UNSUPPORTED;
    cpu_bind(c->program, step, DNNL_ARG_SRC, node->in[0], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(c->program, step, DNNL_ARG_WEIGHTS, node->in[1],
             cpu_query(step->pd, dnnl_query_weights_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_DST, node->out[0],
             cpu_query(step->pd, dnnl_query_dst_md, 0), true);
    return CYX_OK;
}

static enum cyx_status choose_weight_grad(struct conv *c)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    struct layouts layouts[3];
    int rank = 0;
    if (!step->forward->pd)
        return choose_loops(c, cpu_kernel_deconv_weight_grad);
    gradient_layouts(c, node->in[1], layouts);
    for (int i = 0; i < 3; i++)
        cpu_conv_try_backward_weights(c, NULL, false, &layouts[i].x, &layouts[i].w, &layouts[i].y,
                                      &step->pd, &rank);
    if (!step->pd)
        return CYX_ERR_UNSUPPORTED;
    /* The optimizer reads dW beside W: it lies as W does. */
    cpu_set_md(c->program, node->out[0], &cpu_value(c->program, step->forward->node.in[1])->md);
    cpu_bind(c->program, step, DNNL_ARG_SRC, node->in[1], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_DST, node->in[0],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_WEIGHTS, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_weights_md, 0), true);
    if (node->out[1] == CYX_NO_VALUE)
        return CYX_OK;
    dnnl_memory_desc_t dy;
    cpu_known_form(c->program, node->in[1], c->x, &dy, &step->planes);
    cpu_bind(c->program, step, CPU_IN + 1, node->in[1], &dy, false);
    cpu_bind_plain(c->program, step, CPU_OUT + 1, node->out[1], true);
    step->scratchpad_bytes = cpu_batch_norm_scratch(&step->planes);
    step->after = cpu_kernel_bias_grad;
    return CYX_OK;
}

static enum cyx_status choose(struct cyx_program *self, struct cpu_step *step,
                              struct cyx_error *error)
{
    const struct cyx_node *forward = &step->forward->node;
    struct conv c = {.program = self, .step = step};
    cpu_conv_geometry(&c, forward->out[0], forward->in[1], forward->in[0], &forward->window);
    fit_padding(&c, &forward->window);
    enum cyx_status status;
    if (step->node.op == CYX_OP_CONV_TRANSPOSE2D)
        status = choose_forward(&c);
    else if (step->node.op == CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT)
        status = choose_input_grad(&c);
    else
        status = choose_weight_grad(&c);
    if (status == CYX_OK)
        return CYX_OK;
    return cpu_refuse(step, "oneDNN has no implementation of it", error);
}

enum cyx_status cpu_choose_deconv(struct cyx_program *self, struct cpu_step *step,
                                  struct cyx_error *error)
{
    return cpu_choose_primitive(self, step, CYX_OP_CONV_TRANSPOSE2D, choose, error);
}
