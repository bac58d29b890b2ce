#include <stdio.h>
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/* ---- shared by all choices ---- */

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
    if (binding->copied)
        binding->copy_offset = add_scratch(step, cpu_md_bytes(md));
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

/* ---- element-wise and own kernels ---- */

static const struct cyx_shape *shape_of(const struct cyx_program *self, int32_t value)
{
    return &self->graph->values[value].shape;
}

/* Output and second input take the first input's layout: one loop over all bytes, padding included. */
static enum cyx_status choose_elementwise(struct cyx_program *self, struct cpu_step *step,
                                          cpu_kernel kernel)
{
    const struct cyx_node *node = &step->node;
    /* RELU_GRAD follows y: the forward pass knows the layout that the gradient before it wants. */
    int32_t like = node->op == CYX_OP_RELU_GRAD ? node->in[1] : node->in[0];
    dnnl_memory_desc_t md = cpu_value(self, like)->md;
    for (int i = 0; i < node->n_in; i++)
        cpu_bind(self, step, i, node->in[i], &md, false);
    cpu_bind(self, step, node->n_in, node->out[0], &md, true);
    step->kernel = kernel;
    step->count = cpu_md_bytes(&md) / (int64_t)sizeof(float);
    return CYX_OK;
}

static struct cpu_planes planes_of(enum cpu_form form, int64_t block, const int64_t dims[4])
{
    struct cpu_planes planes = {.channels = dims[1], .height = dims[2], .width = dims[3]};
    planes.lanes = form == CPU_FORM_NHWC ? dims[1] : block;
    planes.outer = dims[0] * (form == CPU_FORM_NHWC ? 1 : (dims[1] + block - 1) / block);
    return planes;
}

/* The value's layout where own kernels know it, else plain (N,C,H,W); says how to walk it. */
static void known_form(struct cyx_program *self, int32_t value, const int64_t dims[4],
                       dnnl_memory_desc_t *ret_md, struct cpu_planes *ret_planes)
{
    int64_t block = 1;
    cpu_view_or_plain(self, value, 4, dims, ret_md);
    enum cpu_form form = cpu_md_form(ret_md, &block);
    if (form == CPU_FORM_OTHER) {
        cpu_md_plain(4, dims, ret_md);
        form = CPU_FORM_NCHW;
    }
    *ret_planes = planes_of(form, block, dims);
}

static enum cyx_status choose_dropout(struct cyx_program *self, struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    const dnnl_memory_desc_t *have = &cpu_value(self, node->in[0])->md;
    dnnl_memory_desc_t md = *have;
    if (cpu_md_is_plain(have)) {
        int64_t count = cpu_md_bytes(have) / (int64_t)sizeof(float);
        step->planes = (struct cpu_planes){1, 1, 1, 1, count};
    } else if (have->ndims == 4) {
        known_form(self, node->in[0], have->dims, &md, &step->planes);
    } else {
        return CYX_ERR_UNSUPPORTED;
    }
    cpu_bind(self, step, 0, node->in[0], &md, false);
    cpu_bind(self, step, 1, node->out[0], &md, true);
    step->kernel = cpu_kernel_dropout;
    return CYX_OK;
}

static enum cyx_status choose_pool(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    if (node->window.kernel[0] * node->window.kernel[1] >= CPU_POOL_WINDOW_LIMIT)
        return cpu_refuse(step, "a window of 65535 elements or more", error);
    const int64_t *y_dims = shape_of(self, node->out[0])->dim;
    int64_t block = 1;
    dnnl_memory_desc_t x, y;
    known_form(self, node->in[0], shape_of(self, node->in[0])->dim, &x, &step->planes);
    cpu_md_same_form(&x, y_dims, &y);
    enum cpu_form form = cpu_md_form(&x, &block);
    step->out_planes = planes_of(form, block, y_dims);
    cpu_bind(self, step, 0, node->in[0], &x, false);
    cpu_bind(self, step, 1, node->out[0], &y, true);
    if (node->out[1] != CYX_NO_VALUE)
        cpu_value(self, node->out[1])->bytes =
            cpu_md_bytes(&y) / (int64_t)sizeof(float) * (int64_t)sizeof(uint16_t);
    step->kernel = cpu_kernel_max_pool;
    return CYX_OK;
}

static const struct cpu_step *pool_of(const struct cyx_program *self, int32_t index)
{
    for (size_t n = 0; n < self->n_steps; n++)
        if (self->steps[n].node.op == CYX_OP_MAX_POOL2D && self->steps[n].node.out[1] == index)
            return &self->steps[n];
    return NULL;
}

static enum cyx_status choose_pool_grad(struct cyx_program *self, struct cpu_step *step,
                                        struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    step->forward = pool_of(self, node->in[1]);
    if (!step->forward)
        return cpu_refuse(step, "its forward pass is not in this graph", error);
    step->planes = step->forward->planes;
    step->out_planes = step->forward->out_planes;
    cpu_bind(self, step, 0, node->in[0], &step->forward->bindings[1].md, false);
    cpu_bind(self, step, 1, node->out[0], &step->forward->bindings[0].md, true);
    step->kernel = cpu_kernel_max_pool_grad;
    return CYX_OK;
}

static enum cyx_status choose_loss(struct cyx_program *self, struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    const struct cyx_shape *shape = shape_of(self, node->in[0]);
    dnnl_memory_desc_t md;
    cpu_md_plain(shape->rank, shape->dim, &md);
    bool gradient = node->op == CYX_OP_CROSS_ENTROPY_GRAD;
    cpu_bind(self, step, 0, node->in[0], &md, false);
    if (gradient)
        cpu_bind(self, step, 1, node->out[0], &md, true);
    step->kernel = gradient ? cpu_kernel_cross_entropy_grad : cpu_kernel_cross_entropy;
    /* A row's own loss, or its gradient's work, apart: summed in row order whatever the threads. */
    step->scratchpad_bytes = gradient ? 0 : shape->dim[0] * (int64_t)sizeof(struct cpu_row_loss);
    return CYX_OK;
}

static enum cyx_status choose_optimizer(struct cyx_program *self, struct cpu_step *step,
                                        cpu_kernel kernel)
{
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t md = cpu_value(self, node->in[0])->md;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != CYX_NO_VALUE) {
            struct cpu_value *v = cpu_value(self, node->in[i]);
            if (!v->has_md)
                cpu_set_md(self, node->in[i], &md);
            cpu_bind(self, step, i, node->in[i], &md, false);
        }
    step->kernel = kernel;
    step->count = cpu_md_bytes(&md) / (int64_t)sizeof(float);
    return CYX_OK;
}

/* Threads for a Linear or Conv2d of so many multiply-adds. */
static int threads_for(const struct cyx_program *self, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    const struct cpu_step *forward = step->forward ? step->forward : step;
    const struct cyx_shape *w = shape_of(self, forward->node.in[1]);
    const struct cyx_shape *y = shape_of(self, forward->node.out[0]);
    bool conv = node->op == CYX_OP_CONV2D || node->op == CYX_OP_CONV2D_GRAD_INPUT ||
                node->op == CYX_OP_CONV2D_GRAD_WEIGHT;
    double pixels = conv ? (double)(y->dim[2] * y->dim[3]) : 1;
    double products = (double)cyx_shape_count(w) * (double)y->dim[0] * pixels;
    return products < CPU_SERIAL_PRODUCTS ? 1 : self->device->threads;
}

/* A primitive is chosen for the threads that will run it. */
static enum cyx_status choose_primitive(
    struct cyx_program *self, struct cpu_step *step, enum cyx_op op,
    enum cyx_status (*choose)(struct cyx_program *, struct cpu_step *, struct cyx_error *),
    struct cyx_error *error)
{
    for (size_t n = 0; n < self->n_steps && !step->forward; n++)
        if (self->steps[n].node.op == op && self->steps[n].node.layer == step->node.layer)
            step->forward = &self->steps[n];
    if (!step->forward)
        return cpu_refuse(step, "its forward pass is not in this graph", error);
    step->threads = threads_for(self, step);
    cpu_use_threads(step->threads);
    enum cyx_status status = choose(self, step, error);
    cpu_use_threads(self->device->threads);
    return status;
}

static enum cyx_status choose_step(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    switch (step->node.op) {
    case CYX_OP_LINEAR:
    case CYX_OP_LINEAR_GRAD_INPUT:
    case CYX_OP_LINEAR_GRAD_WEIGHT:
        return choose_primitive(self, step, CYX_OP_LINEAR, cpu_choose_linear, error);
    case CYX_OP_CONV2D:
    case CYX_OP_CONV2D_GRAD_INPUT:
    case CYX_OP_CONV2D_GRAD_WEIGHT:
        return choose_primitive(self, step, CYX_OP_CONV2D, cpu_choose_conv, error);
    case CYX_OP_MAX_POOL2D:
        return choose_pool(self, step, error);
    case CYX_OP_MAX_POOL2D_GRAD:
        return choose_pool_grad(self, step, error);
    case CYX_OP_RELU:
        return choose_elementwise(self, step, cpu_kernel_relu);
    case CYX_OP_RELU_GRAD:
        return choose_elementwise(self, step, cpu_kernel_relu_grad);
    case CYX_OP_ADD:
        return choose_elementwise(self, step, cpu_kernel_add);
    case CYX_OP_DROPOUT:
    case CYX_OP_DROPOUT_GRAD:
        return choose_dropout(self, step) == CYX_OK
                   ? CYX_OK
                   : cpu_refuse(step, "an activation of this rank", error);
    case CYX_OP_RESHAPE: /* the same bytes, seen otherwise, unless the graph keeps them apart */
        if (cpu_value(self, step->node.in[0]) == cpu_value(self, step->node.out[0]))
            return CYX_OK;
        return choose_elementwise(self, step, cpu_kernel_copy);
    case CYX_OP_CROSS_ENTROPY:
    case CYX_OP_CROSS_ENTROPY_GRAD:
        return choose_loss(self, step);
    case CYX_OP_SGD:
        return choose_optimizer(self, step, cpu_kernel_sgd);
    case CYX_OP_ADAMW:
        return choose_optimizer(self, step, cpu_kernel_adamw);
    default:
        return cpu_refuse(step, "this operation", error);
    }
}

/* Fed values are plain; persistent ones lie as the session keeps them. */
static enum cyx_status choose_given(struct cyx_program *self, struct cyx_error *error)
{
    const struct cyx_graph *graph = self->graph;
    for (size_t v = 0; v < graph->n_values; v++) {
        const struct cyx_value *value = &graph->values[v];
        bool persists = cyx_value_persists(value->kind);
        if (value->kind == CYX_VALUE_INPUT) {
            dnnl_memory_desc_t md;
            cpu_md_plain(value->shape.rank, value->shape.dim, &md);
            cpu_set_md(self, (int32_t)v, &md);
        }
        if (!persists || !self->session)
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

/* What no primitive gave a layout: persistent values that are read as they are. */
static void plain_when_read(struct cyx_program *self, const struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    for (int i = 0; i < node->n_in; i++) {
        bool weight = i == 1 && (node->op == CYX_OP_CONV2D || node->op == CYX_OP_LINEAR);
        if (node->in[i] == CYX_NO_VALUE || weight || cpu_value(self, node->in[i])->has_md)
            continue;
        const struct cyx_value *value = &self->graph->values[node->in[i]];
        if (value->kind != CYX_VALUE_PARAM)
            continue;
        dnnl_memory_desc_t md;
        cpu_md_plain(value->shape.rank, value->shape.dim, &md);
        cpu_set_md(self, node->in[i], &md);
    }
}

enum cyx_status cpu_choose(struct cyx_program *self, struct cyx_error *error)
{
    enum cyx_status status = choose_given(self, error);
    for (size_t n = 0; n < self->n_steps && status == CYX_OK; n++) {
        struct cpu_step *step = &self->steps[n];
        if (step->dropped)
            continue;
        plain_when_read(self, step);
        step->threads = self->device->threads;
        status = choose_step(self, step, error);
        if (step->scratchpad_bytes > 0 && status == CYX_OK)
            step->scratchpad_offset = add_scratch(step, step->scratchpad_bytes);
    }
    return status;
}
