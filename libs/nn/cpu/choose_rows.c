/*
 * Linear on row-major rows as a 1x1 convolution whose pixels are the rows, where oneDNN multiplies matrices by packing
 * both of them anew in every call: the convolution keeps the weight in tiles between steps, and its loops read the rows
 * as they lie. Only for weights that stay in the caches near the cores: with larger ones packing is the smaller cost.
 */
#include "nn/cpu/choose_rows.h"
#include "nn/cpu/choose_conv.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

enum { WEIGHT_LIMIT = 512 * 1024, DIRECT = 2 }; /* elements; cpu_rank() of a direct kernel */

static void read_geometry(struct conv *c, const struct cyx_node *forward)
{
    const int64_t *w = cpu_shape(c->program, forward->in[1])->dim;
    int64_t rows = cyx_shape_count(cpu_shape(c->program, forward->in[0])) / w[1];
    c->x[0] = c->x[2] = c->y[0] = c->y[2] = c->w[2] = c->w[3] = 1;
    c->x[1] = c->w[1] = w[1];
    c->y[1] = c->w[0] = c->b[0] = w[0];
    c->x[3] = c->y[3] = rows;
    c->w_dims = 4;
    for (int i = 0; i < 2; i++)
        c->strides[i] = 1;
}

static void row_layouts(const struct conv *c, dnnl_memory_desc_t *ret_x, dnnl_memory_desc_t *ret_y)
{
    cpu_md_tag(4, c->x, dnnl_nhwc, ret_x);
    cpu_md_tag(4, c->y, dnnl_nhwc, ret_y);
}

static void bind_rows(struct conv *c, int arg, int32_t value, const dnnl_dims_t image, bool output)
{
    const int64_t dims[2] = {image[3], image[1]};
    cpu_bind_rows(c->program, c->step, arg, value, dims, output);
}

static bool is_plain(struct cyx_program *self, int32_t value)
{
    return cpu_md_is_plain(&cpu_value(self, value)->md);
}

/* NULL where another way is as good. */
static dnnl_primitive_desc_t try_forward(struct conv *c, const struct cyx_node *node, int rank)
{
    const struct cpu_value *weight = cpu_value(c->program, node->in[1]);
    bool bias = node->in[2] != CYX_NO_VALUE;
    bool input_grad = c->program->graph->values[node->in[0]].kind != CYX_VALUE_INPUT;
    dnnl_memory_desc_t x, y, w;
    dnnl_primitive_desc_t pd = NULL;
    int found = 0;
    row_layouts(c, &x, &y);
    if (weight->has_md)
        w = weight->md;
    else
        cpu_md_any(4, c->w, &w);
    cpu_conv_try_forward(c, bias, node->fused_relu, &x, &w, &y, &pd, &found);
    if (pd && found == DIRECT && found > rank &&
        cpu_conv_backward_rank(c, pd, bias, input_grad) == DIRECT)
        return pd;
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return NULL;
}

bool cpu_choose_rows_forward(struct cyx_program *self, struct cpu_step *step, int rank)
{
    const struct cyx_node *node = &step->node;
    const struct cpu_value *weight = cpu_value(self, node->in[1]);
    struct conv c = {.program = self, .step = step};
    read_geometry(&c, node);
    if (c.w[0] * c.w[1] > WEIGHT_LIMIT || !is_plain(self, node->in[0]) ||
        (weight->has_md && weight->md.ndims != 4))
        return false;
    dnnl_primitive_desc_t pd = try_forward(&c, node, rank);
    if (!pd)
        return false;
    if (step->pd)
        dnnl_primitive_desc_destroy(step->pd);
    step->pd = pd;
    step->rows = true;
    if (!weight->has_md)
        cpu_set_md(self, node->in[1], cpu_query(pd, dnnl_query_weights_md, 0));
    bind_rows(&c, DNNL_ARG_SRC, node->in[0], c.x, false);
    cpu_bind(self, step, DNNL_ARG_WEIGHTS, node->in[1], cpu_query(pd, dnnl_query_weights_md, 0),
             false);
    if (node->in[2] != CYX_NO_VALUE)
        cpu_bind(self, step, DNNL_ARG_BIAS, node->in[2], cpu_query(pd, dnnl_query_weights_md, 1),
                 false);
    bind_rows(&c, DNNL_ARG_DST, node->out[0], c.y, true);
    return true;
}

enum cyx_status cpu_choose_rows_input_grad(struct cyx_program *self, struct cpu_step *step,
                                           struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    struct conv c = {.program = self, .step = step};
    dnnl_memory_desc_t x, y, w;
    int rank = 0;
    read_geometry(&c, &step->forward->node);
    row_layouts(&c, &x, &y);
    cpu_md_any(4, c.w, &w);
    cpu_conv_try_backward_data(&c, step->forward->pd, &x, &w, &y, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    bind_rows(&c, DNNL_ARG_DIFF_DST, node->in[0], c.y, false);
    cpu_bind(self, step, DNNL_ARG_WEIGHTS, node->in[1],
             cpu_query(step->pd, dnnl_query_weights_md, 0), false);
    bind_rows(&c, DNNL_ARG_DIFF_SRC, node->out[0], c.x, true);
    return CYX_OK;
}

enum cyx_status cpu_choose_rows_weight_grad(struct cyx_program *self, struct cpu_step *step,
                                            struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    bool bias = node->out[1] != CYX_NO_VALUE;
    struct conv c = {.program = self, .step = step};
    const dnnl_memory_desc_t *kept = &cpu_value(self, step->forward->node.in[1])->md;
    dnnl_memory_desc_t x, y, w;
    int rank = 0;
    read_geometry(&c, &step->forward->node);
    row_layouts(&c, &x, &y);
    cpu_md_any(4, c.w, &w);
    cpu_conv_try_backward_weights(&c, step->forward->pd, bias, &x, kept, &y, &step->pd, &rank);
    cpu_conv_try_backward_weights(&c, step->forward->pd, bias, &x, &w, &y, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    cpu_set_md(self, node->out[0], kept); /* the optimizer reads dW beside W: it lies as W does */
    bind_rows(&c, DNNL_ARG_SRC, node->in[0], c.x, false);
    bind_rows(&c, DNNL_ARG_DIFF_DST, node->in[1], c.y, false);
    cpu_bind(self, step, DNNL_ARG_DIFF_WEIGHTS, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_weights_md, 0), true);
    if (bias)
        cpu_bind(self, step, DNNL_ARG_DIFF_BIAS, node->out[1],
                 cpu_query(step->pd, dnnl_query_diff_weights_md, 1), true);
    return CYX_OK;
}
