#include <stdio.h>
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/* ---- shared by all choices ---- */

const struct cyx_shape *cpu_shape(const struct cyx_program *self, int32_t value)
{
    return &self->graph->values[value].shape;
}

struct cpu_value *cpu_value(struct cyx_program *self, int32_t value)
{
    return &self->values[cpu_root(self->graph, value)];
}

void cpu_set_md(struct cyx_program *self, int32_t value, const dnnl_memory_desc_t *md)
{
    struct cpu_value *v = cpu_value(self, value);
    v->md = *md;
    v->has_md = true;
    v->bytes = cpu_md_bytes(md);
}

void cpu_view_or_plain(struct cyx_program *self, int32_t value, int n_dims, const int64_t *dims,
                       dnnl_memory_desc_t *ret_md)
{
    if (!cpu_md_view(&cpu_value(self, value)->md, n_dims, dims, ret_md))
        cpu_md_plain(n_dims, dims, ret_md);
}

/* Room in the node's scratch; `bytes` rounded up, so that everything there is aligned. */
static int64_t add_scratch(struct cpu_step *step, int64_t bytes)
{
    int64_t offset = step->scratch_bytes;
    step->scratch_bytes += (bytes + CPU_ALIGN_BYTES - 1) / CPU_ALIGN_BYTES * CPU_ALIGN_BYTES;
    return offset;
}

void cpu_bind(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
              const dnnl_memory_desc_t *md, bool output)
{
    struct cpu_value *v = cpu_value(self, value);
    if (output && !v->has_md)
        cpu_set_md(self, value, md);
    struct cpu_binding *binding = &step->bindings[step->n_bindings++];
    *binding = (struct cpu_binding){.arg = arg, .value = value, .md = *md, .output = output};
    dnnl_memory_desc_t seen;
    binding->copied =
        !cpu_md_view(&v->md, md->ndims, md->dims, &seen) || dnnl_memory_desc_equal(&seen, md) == 0;
    if (!binding->copied)
        return;
    binding->copy_offset = add_scratch(step, cpu_md_bytes(md));
    bool one_reorder = cpu_md_view(&v->md, md->ndims, md->dims, &seen) || cpu_md_is_plain(md);
    binding->way_offset = one_reorder ? 0 : add_scratch(step, cpu_md_bytes(&v->md));
}

void cpu_bind_rows(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
                   const int64_t dims[2], bool output)
{
    dnnl_memory_desc_t md;
    cpu_md_plain(2, dims, &md);
    cpu_bind(self, step, arg, value, &md, output);
    step->bindings[step->n_bindings - 1].rows = true;
}

void cpu_bind_plain(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
                    bool output)
{
    dnnl_memory_desc_t md;
    if (value == CYX_NO_VALUE)
        return;
    cpu_md_plain(cpu_shape(self, value)->rank, cpu_shape(self, value)->dim, &md);
    cpu_bind(self, step, arg, value, &md, output);
}

enum cyx_status cpu_refuse(const struct cpu_step *step, const char *why, struct cyx_error *error)
{
    char pointer[64] = "";
    if (step->node.layer >= 0)
        snprintf(pointer, sizeof(pointer), "/model/layers/%d", step->node.layer);
    return cyx_error_set(error, CYX_ERR_UNSUPPORTED, pointer, "the CPU backend cannot do %s: %s",
                         cyx_op_name(step->node.op), why);
}

const dnnl_memory_desc_t *cpu_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what, int index)
{
    return dnnl_primitive_desc_query_md(pd, what, index);
}

int cpu_rank(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    if (!pd ||
        dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name) != dnnl_success)
        return 0;
    if (strncmp(name, "ref", 3) == 0)
        return 0;
    return strstr(name, "gemm") && !strstr(name, "brgemm") ? 1 : 2;
}

static dnnl_primitive_attr_t make_attr(bool relu)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    if (dnnl_primitive_attr_create(&attr) != dnnl_success)
        return NULL;
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (relu && dnnl_post_ops_create(&ops) == dnnl_success) {
        dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
        dnnl_primitive_attr_set_post_ops(attr, ops);
        dnnl_post_ops_destroy(ops);
    }
    return attr;
}

void cpu_try(struct cyx_program *self, const void *op_desc, bool relu, dnnl_primitive_desc_t hint,
             dnnl_primitive_desc_t *pd, int *rank)
{
    dnnl_primitive_attr_t attr = make_attr(relu);
    dnnl_primitive_desc_t made = NULL;
    if (!attr || dnnl_primitive_desc_create(&made, op_desc, attr, self->device->engine, hint) !=
                     dnnl_success)
        made = NULL;
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (!made)
        return;
    int found = cpu_rank(made);
    if (*pd && found <= *rank) {
        dnnl_primitive_desc_destroy(made);
        return;
    }
    if (*pd)
        dnnl_primitive_desc_destroy(*pd);
    *pd = made;
    *rank = found;
}

/* ---- forms that own kernels know ---- */

struct cpu_planes cpu_planes_of(const dnnl_memory_desc_t *md)
{
    int64_t block = 1;
    bool nhwc = cpu_md_form(md, &block) == CPU_FORM_NHWC;
    const dnnl_dim_t *dims = md->dims;
    return (struct cpu_planes){
        .lanes = nhwc ? dims[1] : block,
        .outer = dims[0] * (nhwc ? 1 : (dims[1] + block - 1) / block),
        .channels = dims[1],
        .height = dims[2],
        .width = dims[3],
    };
}

void cpu_known_form(struct cyx_program *self, int32_t value, const int64_t dims[4],
                    dnnl_memory_desc_t *ret_md, struct cpu_planes *ret_planes)
{
    int64_t block;
    cpu_view_or_plain(self, value, 4, dims, ret_md);
    if (cpu_md_form(ret_md, &block) == CPU_FORM_OTHER)
        cpu_md_plain(4, dims, ret_md);
    *ret_planes = cpu_planes_of(ret_md);
}

const struct cpu_step *cpu_forward_of(const struct cyx_program *self, enum cyx_op op, int32_t layer)
{
    for (size_t n = 0; n < self->n_steps; n++)
        if (self->steps[n].node.op == op && self->steps[n].node.layer == layer)
            return &self->steps[n];
    return NULL;
}

/* Threads for a Linear or a convolution: the multiply-adds are W's elements for each row or pixel that W meets. */
static int threads_for(const struct cyx_program *self, const struct cyx_node *forward)
{
    const struct cyx_shape *w = cpu_shape(self, forward->in[1]);
    bool transposed = forward->op == CYX_OP_CONV_TRANSPOSE2D;
    const struct cyx_shape *met = cpu_shape(self, transposed ? forward->in[0] : forward->out[0]);
    double places = (double)cyx_shape_count(met) / (double)w->dim[0];
    return places * (double)cyx_shape_count(w) < CPU_SERIAL_PRODUCTS ? 1 : self->device->threads;
}

enum cyx_status cpu_choose_primitive(struct cyx_program *self, struct cpu_step *step,
                                     enum cyx_op op, cpu_choose_step *choose,
                                     struct cyx_error *error)
{
    step->forward = cpu_forward_of(self, op, step->node.layer);
    if (!step->forward)
        return cpu_refuse(step, "its forward pass is not in this graph", error);
    step->threads = threads_for(self, &step->forward->node);
    cpu_use_threads(step->threads);
    enum cyx_status status = choose(self, step, error);
    cpu_use_threads(self->device->threads);
    if (status != CYX_OK || !step->pd)
        return status;
    /* A kernel behind the primitive has the same bytes for its own. */
    int64_t bytes = cpu_md_bytes(cpu_query(step->pd, dnnl_query_scratchpad_md, 0));
    step->scratchpad_bytes = bytes > step->scratchpad_bytes ? bytes : step->scratchpad_bytes;
    return CYX_OK;
}

/* ---- the walk ---- */

static cpu_choose_step *chooser_of(enum cyx_op op)
{
    static cpu_choose_step *const choosers[CYX_OP_COUNT] = {
        [CYX_OP_LINEAR] = cpu_choose_linear,
        [CYX_OP_LINEAR_GRAD_INPUT] = cpu_choose_linear,
        [CYX_OP_LINEAR_GRAD_WEIGHT] = cpu_choose_linear,
        [CYX_OP_CONV2D] = cpu_choose_conv,
        [CYX_OP_CONV2D_GRAD_INPUT] = cpu_choose_conv,
        [CYX_OP_CONV2D_GRAD_WEIGHT] = cpu_choose_conv,
        [CYX_OP_CONV_TRANSPOSE2D] = cpu_choose_deconv,
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_INPUT] = cpu_choose_deconv,
        [CYX_OP_CONV_TRANSPOSE2D_GRAD_WEIGHT] = cpu_choose_deconv,
        [CYX_OP_MAX_POOL2D] = cpu_choose_max_pool,
        [CYX_OP_MAX_POOL2D_GRAD] = cpu_choose_max_pool_grad,
        [CYX_OP_AVG_POOL2D] = cpu_choose_avg_pool,
        [CYX_OP_AVG_POOL2D_GRAD] = cpu_choose_avg_pool_grad,
        [CYX_OP_RELU] = cpu_choose_elementwise,
        [CYX_OP_RELU_GRAD] = cpu_choose_elementwise,
        [CYX_OP_ACTIVATION] = cpu_choose_elementwise,
        [CYX_OP_ACTIVATION_GRAD] = cpu_choose_elementwise,
        [CYX_OP_SOFTMAX] = cpu_choose_softmax,
        [CYX_OP_SOFTMAX_GRAD] = cpu_choose_softmax,
        [CYX_OP_LOG_SOFTMAX] = cpu_choose_softmax,
        [CYX_OP_LOG_SOFTMAX_GRAD] = cpu_choose_softmax,
        [CYX_OP_DROPOUT] = cpu_choose_dropout,
        [CYX_OP_DROPOUT_GRAD] = cpu_choose_dropout,
        [CYX_OP_BATCH_NORM] = cpu_choose_batch_norm,
        [CYX_OP_BATCH_NORM_INFERENCE] = cpu_choose_batch_norm,
        [CYX_OP_BATCH_NORM_GRAD] = cpu_choose_batch_norm_grad,
        [CYX_OP_LAYER_NORM] = cpu_choose_layer_norm,
        [CYX_OP_LAYER_NORM_GRAD] = cpu_choose_layer_norm_grad,
        [CYX_OP_RESHAPE] = cpu_choose_reshape,
        [CYX_OP_ADD] = cpu_choose_elementwise,
        [CYX_OP_CONCAT] = cpu_choose_concat,
        [CYX_OP_SLICE] = cpu_choose_slice,
        [CYX_OP_ONE_HOT] = cpu_choose_one_hot,
        [CYX_OP_CROSS_ENTROPY] = cpu_choose_cross_entropy,
        [CYX_OP_CROSS_ENTROPY_GRAD] = cpu_choose_cross_entropy,
        [CYX_OP_ELEMENT_LOSS] = cpu_choose_element_loss,
        [CYX_OP_ELEMENT_LOSS_GRAD] = cpu_choose_element_loss,
        [CYX_OP_SQUARE_SUM] = cpu_choose_square_sum,
        [CYX_OP_CLIP_NORM] = cpu_choose_clip_norm,
        [CYX_OP_SGD] = cpu_choose_optimizer,
        [CYX_OP_ADAM] = cpu_choose_optimizer,
        [CYX_OP_ADAMW] = cpu_choose_optimizer,
        [CYX_OP_RMSPROP] = cpu_choose_optimizer,
    };
    return op < CYX_OP_COUNT ? choosers[op] : NULL;
}

static void set_plain(struct cyx_program *self, int32_t value)
{
    const struct cyx_shape *shape = cpu_shape(self, value);
    dnnl_memory_desc_t md;
    cpu_md_plain(shape->rank, shape->dim, &md);
    cpu_set_md(self, value, &md);
}

/* Fed values are plain; persistent ones lie as the session keeps them. */
static enum cyx_status choose_given(struct cyx_program *self, struct cyx_error *error)
{
    const struct cyx_graph *graph = self->graph;
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        if (value->kind == CYX_VALUE_INPUT ||
            (value->kind == CYX_VALUE_TARGET && value->dtype == CYX_F32))
            set_plain(self, (int32_t)v);
        if (!cyx_value_persists(value->kind) || !self->session)
            continue;
        const struct cpu_store *store = cpu_session_find(self->session, value->name);
        if (!store || store->count != cyx_shape_count(&value->shape))
            return cyx_error_set(error, CYX_ERR_INVALID, NULL,
                                 "the session was made without %s: make it from the training graph",
                                 value->name);
        cpu_set_md(self, (int32_t)v, &store->md);
        self->values[v].data = store->data;
    }
    return CYX_OK;
}

static bool is_weight(const struct cyx_node *node, int input)
{
    return input == 1 && (node->op == CYX_OP_LINEAR || node->op == CYX_OP_CONV2D ||
                          node->op == CYX_OP_CONV_TRANSPOSE2D);
}

/* What no primitive gives a layout: persistent values that are read as they are. */
static void plain_when_read(struct cyx_program *self, const struct cyx_node *node)
{
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] == CYX_NO_VALUE || is_weight(node, i))
            continue;
        enum cyx_value_kind kind = self->graph->values[node->in[i]].kind;
        bool given =
            kind == CYX_VALUE_PARAM || kind == CYX_VALUE_BUFFER || kind == CYX_VALUE_CONSTANT;
        if (given && !cpu_value(self, node->in[i])->has_md)
            set_plain(self, node->in[i]);
    }
}

enum cyx_status cpu_choose(struct cyx_program *self, struct cyx_error *error)
{
    enum cyx_status status = choose_given(self, error);
    for (size_t n = 0; n < self->n_steps && status == CYX_OK; n++) {
        struct cpu_step *step = &self->steps[n];
        if (step->dropped)
            continue;
        cpu_choose_step *choose = chooser_of(step->node.op);
        plain_when_read(self, &step->node);
        step->threads = self->device->threads;
        status = choose ? choose(self, step, error) : cpu_refuse(step, "this operation", error);
        if (step->scratchpad_bytes > 0 && status == CYX_OK)
            step->scratchpad_offset = add_scratch(step, step->scratchpad_bytes);
    }
    return status;
}
