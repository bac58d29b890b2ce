/*
 * Linear layers as oneDNN inner products. The input may be a Flatten of a blocked (N,C,H,W): then it is read as
 * it lies, the weight is (Out,C,H,W) in the matching order, and no copy is made in either direction.
 */
#include <string.h>

#include "nn/cpu/choose_rows.h"
#include "nn/cpu/cpu.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

struct linear {
    struct cyx_program *program;
    struct cpu_step *step;
    int n_dims; /* of x and the weight */
    dnnl_dims_t x, w, y, b;
};

/* Dims of x as they lie, when it is (N, In) and the batch stands in front; else (rows, In). */
static void read_geometry(struct linear *l, const struct cyx_node *forward)
{
    const struct cyx_shape *x = cpu_shape(l->program, forward->in[0]);
    const struct cyx_shape *w = cpu_shape(l->program, forward->in[1]);
    const dnnl_memory_desc_t *md = &cpu_value(l->program, forward->in[0])->md;
    int64_t plain[2] = {cyx_shape_count(x) / w->dim[1], w->dim[1]};
    bool as_it_lies =
        x->rank == 2 && md->ndims == 4 && md->dims[0] == plain[0] && !cpu_md_is_plain(md);
    l->n_dims = as_it_lies ? 4 : 2;
    memcpy(l->x, as_it_lies ? md->dims : plain, sizeof(*l->x) * (size_t)l->n_dims);
    memcpy(l->w, l->x, sizeof(l->w));
    l->w[0] = l->b[0] = l->y[1] = w->dim[0];
    l->y[0] = plain[0];
}

static void try_forward(struct linear *l, bool bias, bool relu, const dnnl_memory_desc_t *x,
                        const dnnl_memory_desc_t *w, dnnl_primitive_desc_t *pd, int *rank)
{
    dnnl_memory_desc_t b, y;
    dnnl_inner_product_desc_t desc;
    cpu_md_plain(1, l->b, &b);
    cpu_md_plain(2, l->y, &y);
    if (dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_training, x, w, bias ? &b : NULL,
                                             &y) == dnnl_success)
        cpu_try(l->program, &desc, relu, NULL, pd, rank);
}

/* The weight as it is kept, seen through dims; "any" while nobody has chosen. */
static void weight_layout(struct linear *l, int32_t weight, dnnl_memory_desc_t *ret_md)
{
    const struct cpu_value *value = cpu_value(l->program, weight);
    if (!value->has_md || !cpu_md_view(&value->md, l->n_dims, l->w, ret_md))
        cpu_md_any(l->n_dims, l->w, ret_md);
}

static enum cyx_status choose_forward(struct linear *l, struct cyx_error *error)
{
    struct cpu_step *step = l->step;
    const struct cyx_node *node = &step->node;
    bool bias = node->in[2] != CYX_NO_VALUE;
    dnnl_memory_desc_t x, x_any, w, w_any;
    int rank = 0;
    cpu_view_or_plain(l->program, node->in[0], l->n_dims, l->x, &x);
    cpu_md_any(l->n_dims, l->x, &x_any);
    weight_layout(l, node->in[1], &w);
    cpu_md_any(l->n_dims, l->w, &w_any);
    try_forward(l, bias, node->fused_relu, &x, &w, &step->pd, &rank);
    try_forward(l, bias, node->fused_relu, &x, &w_any, &step->pd, &rank);
    try_forward(l, bias, node->fused_relu, &x_any, &w_any, &step->pd, &rank);
    if (l->n_dims == 2 && cpu_choose_rows_forward(l->program, step, rank))
        return CYX_OK;
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    if (!cpu_value(l->program, node->in[1])->has_md)
        cpu_set_md(l->program, node->in[1], cpu_query(step->pd, dnnl_query_weights_md, 0));
    cpu_bind(l->program, step, DNNL_ARG_SRC, node->in[0], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(l->program, step, DNNL_ARG_WEIGHTS, node->in[1],
             cpu_query(step->pd, dnnl_query_weights_md, 0), false);
    if (bias)
        cpu_bind(l->program, step, DNNL_ARG_BIAS, node->in[2],
                 cpu_query(step->pd, dnnl_query_weights_md, 1), false);
    cpu_bind(l->program, step, DNNL_ARG_DST, node->out[0],
             cpu_query(step->pd, dnnl_query_dst_md, 0), true);
    return CYX_OK;
}

static enum cyx_status choose_input_grad(struct linear *l, struct cyx_error *error)
{
    struct cpu_step *step = l->step;
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t y, w[2];
    dnnl_inner_product_desc_t desc;
    int rank = 0;
    const dnnl_memory_desc_t *x = cpu_query(step->forward->pd, dnnl_query_src_md, 0);
    cpu_md_plain(2, l->y, &y);
    weight_layout(l, node->in[1], &w[0]);
    cpu_md_any(l->n_dims, l->w, &w[1]);
    for (int i = 0; i < 2; i++)
        if (dnnl_inner_product_backward_data_desc_init(&desc, x, &w[i], &y) == dnnl_success)
            cpu_try(l->program, &desc, false, step->forward->pd, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    cpu_bind(l->program, step, DNNL_ARG_DIFF_DST, node->in[0],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(l->program, step, DNNL_ARG_WEIGHTS, node->in[1],
             cpu_query(step->pd, dnnl_query_weights_md, 0), false);
    cpu_bind(l->program, step, DNNL_ARG_DIFF_SRC, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_src_md, 0), true);
    return CYX_OK;
}

static enum cyx_status choose_weight_grad(struct linear *l, struct cyx_error *error)
{
    struct cpu_step *step = l->step;
    const struct cyx_node *node = &step->node;
    bool bias = node->out[1] != CYX_NO_VALUE;
    dnnl_memory_desc_t y, b, w[2];
    dnnl_inner_product_desc_t desc;
    int rank = 0;
    const dnnl_memory_desc_t *x = cpu_query(step->forward->pd, dnnl_query_src_md, 0);
    int32_t weight = step->forward->node.in[1];
    cpu_md_plain(2, l->y, &y);
    cpu_md_plain(1, l->b, &b);
    weight_layout(l, weight, &w[0]);
    cpu_md_any(l->n_dims, l->w, &w[1]);
    for (int i = 0; i < 2; i++)
        if (dnnl_inner_product_backward_weights_desc_init(&desc, x, &w[i], bias ? &b : NULL, &y) ==
            dnnl_success)
            cpu_try(l->program, &desc, false, step->forward->pd, &step->pd, &rank);
    if (!step->pd)
        return cpu_refuse(step, "oneDNN has no implementation of it", error);
    /* The optimizer reads dW beside W: it lies as W does. */
    cpu_set_md(l->program, node->out[0], &cpu_value(l->program, weight)->md);
    cpu_bind(l->program, step, DNNL_ARG_SRC, node->in[0], cpu_query(step->pd, dnnl_query_src_md, 0),
             false);
    cpu_bind(l->program, step, DNNL_ARG_DIFF_DST, node->in[1],
             cpu_query(step->pd, dnnl_query_diff_dst_md, 0), false);
    cpu_bind(l->program, step, DNNL_ARG_DIFF_WEIGHTS, node->out[0],
             cpu_query(step->pd, dnnl_query_diff_weights_md, 0), true);
    if (bias)
        cpu_bind(l->program, step, DNNL_ARG_DIFF_BIAS, node->out[1],
                 cpu_query(step->pd, dnnl_query_diff_weights_md, 1), true);
    return CYX_OK;
}

static enum cyx_status choose(struct cyx_program *self, struct cpu_step *step,
                              struct cyx_error *error)
{
    struct linear l = {.program = self, .step = step};
    read_geometry(&l, &step->forward->node);
    if (step->node.op == CYX_OP_LINEAR)
        return choose_forward(&l, error);
    bool rows = step->forward->rows;
    if (step->node.op == CYX_OP_LINEAR_GRAD_INPUT)
        return rows ? cpu_choose_rows_input_grad(self, step, error) : choose_input_grad(&l, error);
    return rows ? cpu_choose_rows_weight_grad(self, step, error) : choose_weight_grad(&l, error);
}

enum cyx_status cpu_choose_linear(struct cyx_program *self, struct cpu_step *step,
                                  struct cyx_error *error)
{
    return cpu_choose_primitive(self, step, CYX_OP_LINEAR, choose, error);
}
