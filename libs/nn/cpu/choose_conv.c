/*
 * Convolutions. The forward primitive chooses the layouts of activations and weight; gradients take what it
 * chose and accept a copy only where oneDNN would fall back to a reference loop otherwise.
 */
#include <string.h>

#include "nn/cpu/choose_conv.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

void cpu_conv_geometry(struct conv *c, int32_t x, int32_t w, int32_t y,
                       const struct cyx_window *window)
{
    const int64_t *w_dims = cpu_shape(c->program, w)->dim;
    memcpy(c->x, cpu_shape(c->program, x)->dim, 4 * sizeof(*c->x));
    memcpy(c->y, cpu_shape(c->program, y)->dim, 4 * sizeof(*c->y));
    int at = 0;
    if (window->groups > 1) {
        c->w[at++] = window->groups;
        c->w[at++] = w_dims[0] / window->groups;
    } else {
        c->w[at++] = w_dims[0];
    }
    for (int i = 1; i < 4; i++)
        c->w[at++] = w_dims[i];
    c->w_dims = at;
    c->b[0] = w_dims[0];
    for (int i = 0; i < 2; i++) {
        c->strides[i] = window->stride[i];
        c->dilates[i] = window->dilation[i] - 1;
        c->pad_begin[i] = window->pad_begin[i];
        c->pad_end[i] = window->pad_end[i];
    }
}

void cpu_conv_try_forward(struct conv *c, bool bias, bool relu, const dnnl_memory_desc_t *x,
                          const dnnl_memory_desc_t *w, const dnnl_memory_desc_t *y,
                          dnnl_primitive_desc_t *pd, int *rank)
{
    dnnl_memory_desc_t b;
    dnnl_convolution_desc_t desc;
    cpu_md_plain(1, c->b, &b);
    if (dnnl_dilated_convolution_forward_desc_init(
            &desc, dnnl_forward_training, dnnl_convolution_direct, x, w, bias ? &b : NULL, y,
            c->strides, c->dilates, c->pad_begin, c->pad_end) == dnnl_success)
        cpu_try(c->program, &desc, relu, NULL, pd, rank);
}

void cpu_conv_try_backward_data(struct conv *c, dnnl_primitive_desc_t hint,
                                const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *w,
                                const dnnl_memory_desc_t *y, dnnl_primitive_desc_t *pd, int *rank)
{
    dnnl_convolution_desc_t desc;
    if (dnnl_dilated_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, x, w, y,
                                                         c->strides, c->dilates, c->pad_begin,
                                                         c->pad_end) == dnnl_success)
        cpu_try(c->program, &desc, false, hint, pd, rank);
}

void cpu_conv_try_backward_weights(struct conv *c, dnnl_primitive_desc_t hint, bool bias,
                                   const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *w,
                                   const dnnl_memory_desc_t *y, dnnl_primitive_desc_t *pd,
                                   int *rank)
{
    dnnl_memory_desc_t b;
    dnnl_convolution_desc_t desc;
    cpu_md_plain(1, c->b, &b);
    if (dnnl_dilated_convolution_backward_weights_desc_init(
            &desc, dnnl_convolution_direct, x, w, bias ? &b : NULL, y, c->strides, c->dilates,
            c->pad_begin, c->pad_end) == dnnl_success)
        cpu_try(c->program, &desc, false, hint, pd, rank);
}

/* ---- forward ---- */

int cpu_conv_backward_rank(struct conv *c, dnnl_primitive_desc_t forward, bool bias,
                           bool input_grad)
{
    dnnl_memory_desc_t any;
    cpu_md_any(c->w_dims, c->w, &any);
    const dnnl_memory_desc_t *x = cpu_query(forward, dnnl_query_src_md, 0);
    const dnnl_memory_desc_t *y = cpu_query(forward, dnnl_query_dst_md, 0);
    dnnl_primitive_desc_t pd = NULL;
    int rank = 0, worst;
    cpu_conv_try_backward_weights(c, forward, bias, x, &any, y, &pd, &rank);
    worst = rank;
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    pd = NULL;
    rank = 0;
    if (input_grad) {
        cpu_conv_try_backward_data(c, forward, x, &any, y, &pd, &rank);
        worst = rank < worst ? rank : worst;
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return worst;
}

/* The best over the layouts that the input may come in; judged with its gradients, earlier ones first. */
static dnnl_primitive_desc_t best_forward(struct conv *c, const struct cyx_node *node)
{
    struct cpu_value *weight = cpu_value(c->program, node->in[1]);
    bool bias = node->in[2] != CYX_NO_VALUE;
    bool input_grad = c->program->graph->values[node->in[0]].kind != CYX_VALUE_INPUT;
    dnnl_memory_desc_t x[3], y[3], w_any, w_kept;
    cpu_view_or_plain(c->program, node->in[0], 4, c->x, &x[0]);
    cpu_md_any(4, c->x, &x[1]);
    cpu_md_tag(4, c->x, dnnl_nhwc, &x[2]);
    cpu_md_any(4, c->y, &y[0]);
    y[1] = y[0];
    cpu_md_tag(4, c->y, dnnl_nhwc, &y[2]);
    cpu_md_any(c->w_dims, c->w, &w_any);
    bool kept = weight->has_md && cpu_md_view(&weight->md, c->w_dims, c->w, &w_kept);

    dnnl_primitive_desc_t best = NULL;
    int best_score = -1;
    for (int i = 0; i < 3; i++) {
        dnnl_primitive_desc_t pd = NULL;
        int rank = 0;
        if (kept)
            cpu_conv_try_forward(c, bias, node->fused_relu, &x[i], &w_kept, &y[i], &pd, &rank);
        cpu_conv_try_forward(c, bias, node->fused_relu, &x[i], &w_any, &y[i], &pd, &rank);
        /* Gradients are two thirds of the work: a reference loop there costs more than any copy. */
        int backward = pd ? cpu_conv_backward_rank(c, pd, bias, input_grad) : 0;
        int score = !pd ? -1 : backward ? 3 * rank + backward : rank;
        if (score > best_score) {
            if (best)
                dnnl_primitive_desc_destroy(best);
            best = pd;
            best_score = score;
        } else if (pd) {
            dnnl_primitive_desc_destroy(pd);
        }
    }
    return best;
}

static enum cyx_status choose_forward(struct conv *c, struct cyx_error *error)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    step->pd = best_forward(c, node);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    const dnnl_memory_desc_t *w = cpu_query(step->pd, dnnl_query_weights_md, 0);
    if (!cpu_value(c->program, node->in[1])->has_md)
        cpu_set_md(c->program, node->in[1], w);
    cpu_bind(c->program, step, DNNL_ARG_SRC, node->in[0], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(c->program, step, DNNL_ARG_WEIGHTS, node->in[1], w, false);
    if (node->in[2] != CYX_NO_VALUE)
        cpu_bind(c->program, step, DNNL_ARG_BIAS, node->in[2],
                 cpu_query(step->pd, dnnl_query_weights_md, 1), false);
    cpu_bind(c->program, step, DNNL_ARG_DST, node->out[0],
             cpu_query(step->pd, dnnl_query_dst_md, 0), true);
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
    const dnnl_memory_desc_t *x = cpu_query(forward->pd, dnnl_query_src_md, 0);
    const dnnl_memory_desc_t *y = cpu_query(forward->pd, dnnl_query_dst_md, 0);
    dnnl_memory_desc_t seen;
    struct layouts *as_is = &ret_layouts[0];
    as_is->x = *x;
    as_is->y = cpu_md_view(&cpu_value(c->program, dy)->md, 4, c->y, &seen) ? seen : *y;
    if (!cpu_md_view(&cpu_value(c->program, forward->node.in[1])->md, c->w_dims, c->w, &as_is->w))
        cpu_md_any(c->w_dims, c->w, &as_is->w);
    ret_layouts[1] = (struct layouts){.x = *x, .y = *y};
    cpu_md_any(c->w_dims, c->w, &ret_layouts[1].w);
    ret_layouts[2].w = ret_layouts[1].w;
    cpu_md_any(4, c->x, &ret_layouts[2].x);
    cpu_md_any(4, c->y, &ret_layouts[2].y);
}

static enum cyx_status choose_input_grad(struct conv *c, struct cyx_error *error)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    struct layouts layouts[3];
    int rank = 0;
    gradient_layouts(c, node->in[0], layouts);
    for (int i = 0; i < 3; i++)
        cpu_conv_try_backward_data(c, step->forward->pd, &layouts[i].x, &layouts[i].w,
                                   &layouts[i].y, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_DST, node->in[0],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_WEIGHTS, node->in[1],
             cpu_query(step->pd, dnnl_query_weights_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_SRC, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_src_md, 0), true);
    return CYX_OK;
}

static enum cyx_status choose_weight_grad(struct conv *c, struct cyx_error *error)
{
    struct cpu_step *step = c->step;
    const struct cyx_node *node = &step->node;
    bool bias = node->out[1] != CYX_NO_VALUE;
    struct layouts layouts[3];
    int rank = 0;
    gradient_layouts(c, node->in[1], layouts);
    for (int i = 0; i < 3; i++)
        cpu_conv_try_backward_weights(c, step->forward->pd, bias, &layouts[i].x, &layouts[i].w,
                                      &layouts[i].y, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    /* The optimizer reads dW beside W: it lies as W does. */
    cpu_set_md(c->program, node->out[0], &cpu_value(c->program, step->forward->node.in[1])->md);
    cpu_bind(c->program, step, DNNL_ARG_SRC, node->in[0], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_DST, node->in[1],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(c->program, step, DNNL_ARG_DIFF_WEIGHTS, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_weights_md, 0), true);
    if (bias)
        cpu_bind(c->program, step, DNNL_ARG_DIFF_BIAS, node->out[1],
                 cpu_query(step->pd, dnnl_query_diff_weights_md, 1), true);
    return CYX_OK;
}

static enum cyx_status choose(struct cyx_program *self, struct cpu_step *step,
                              struct cyx_error *error)
{
    struct conv c = {.program = self, .step = step};
    cpu_conv_geometry(&c, step->forward->node.in[0], step->forward->node.in[1],
                      step->forward->node.out[0], &step->forward->node.window);
    if (step->node.op == CYX_OP_CONV2D)
        return choose_forward(&c, error);
    if (step->node.op == CYX_OP_CONV2D_GRAD_INPUT)
        return choose_input_grad(&c, error);
    return choose_weight_grad(&c, error);
}

enum cyx_status cpu_choose_conv(struct cyx_program *self, struct cpu_step *step,
                                struct cyx_error *error)
{
    return cpu_choose_primitive(self, step, CYX_OP_CONV2D, choose, error);
}
