/* Operations that do the same to every element as it lies, and those that go over rows. */
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

static cpu_kernel elementwise_kernel(enum cyx_op op)
{
    switch (op) {
    case CYX_OP_RELU:
        return cpu_kernel_relu;
    case CYX_OP_RELU_GRAD:
        return cpu_kernel_relu_grad;
    case CYX_OP_ADD:
        return cpu_kernel_add;
    case CYX_OP_ACTIVATION:
        return cpu_kernel_activation;
    case CYX_OP_ACTIVATION_GRAD:
        return cpu_kernel_activation_grad;
    default: /* RESHAPE */
        return cpu_kernel_copy;
    }
}

/* All operands in one layout: one loop over all bytes, padding included. */
enum cyx_status cpu_choose_elementwise(struct cyx_program *self, struct cpu_step *step,
                                       struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    /* A gradient follows what the forward pass kept, which knows the layout that the gradient before it wants. */
    bool gradient = node->op == CYX_OP_RELU_GRAD || node->op == CYX_OP_ACTIVATION_GRAD;
    dnnl_memory_desc_t md = cpu_value(self, node->in[gradient ? 1 : 0])->md;
    for (int i = 0; i < node->n_in; i++)
        cpu_bind(self, step, i, node->in[i], &md, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &md, true);
    step->kernel = elementwise_kernel(node->op);
    step->count = cpu_md_bytes(&md) / (int64_t)sizeof(float);
    int64_t block = 1;
    if (cpu_md_form(&md, &block) == CPU_FORM_BLOCKED)
        step->planes = cpu_planes_of(&md);
    return CYX_OK;
}

enum cyx_status cpu_choose_reshape(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    /* The same bytes, seen otherwise, unless the graph keeps them apart. */
    if (cpu_value(self, step->node.in[0]) == cpu_value(self, step->node.out[0]))
        return CYX_OK;
    return cpu_choose_elementwise(self, step, error);
}

enum cyx_status cpu_choose_dropout(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    const dnnl_memory_desc_t *have = &cpu_value(self, node->in[0])->md;
    dnnl_memory_desc_t md = *have;
    if (cpu_md_is_plain(have)) {
        int64_t count = cpu_md_bytes(have) / (int64_t)sizeof(float);
        step->planes = (struct cpu_planes){1, 1, 1, 1, count};
    } else if (have->ndims == 4) {
        cpu_known_form(self, node->in[0], have->dims, &md, &step->planes);
    } else {
        return cpu_refuse(step, "an activation of this rank", error);
    }
    cpu_bind(self, step, 0, node->in[0], &md, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &md, true);
    step->kernel = cpu_kernel_dropout;
    return CYX_OK;
}

static void bind_plain(struct cyx_program *self, struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    for (int i = 0; i < node->n_in; i++)
        cpu_bind_plain(self, step, i, node->in[i], false);
    for (int i = 0; i < node->n_out; i++)
        cpu_bind_plain(self, step, CPU_OUT + i, node->out[i], true);
}

enum cyx_status cpu_choose_softmax(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    (void)error;
    enum cyx_op op = step->node.op;
    bool forward = op == CYX_OP_SOFTMAX || op == CYX_OP_LOG_SOFTMAX;
    bind_plain(self, step);
    step->kernel = forward ? cpu_kernel_softmax : cpu_kernel_softmax_grad;
    return CYX_OK;
}

enum cyx_status cpu_choose_layer_norm(struct cyx_program *self, struct cpu_step *step,
                                      struct cyx_error *error)
{
    (void)error;
    bind_plain(self, step);
    step->kernel = cpu_kernel_layer_norm;
    return CYX_OK;
}

enum cyx_status cpu_choose_layer_norm_grad(struct cyx_program *self, struct cpu_step *step,
                                           struct cyx_error *error)
{
    (void)error;
    bind_plain(self, step);
    step->kernel = cpu_kernel_layer_norm_grad;
    step->scratchpad_bytes = cpu_layer_norm_scratch(self->graph, &step->node);
    return CYX_OK;
}

/* ---- joining and taking apart ---- */

/*
 * (N,C,H,W) in blocks where no block holds channels of two values, else plain; both are copies of stretches:
 * `outer` of them, `inner` elements for each step along the dimension.
 */
static bool blocks_stay_whole(const struct cyx_program *self, const int32_t *values, int n,
                              int64_t block)
{
    for (int i = 0; i + 1 < n; i++)
        if (cpu_shape(self, values[i])->dim[1] % block != 0)
            return false;
    return true;
}

/* How `whole` lies, and with it each of the parts that make it up along node->dim. */
static void shared_form(struct cyx_program *self, const struct cyx_node *node, int32_t like,
                        const struct cyx_shape *whole, const int32_t *parts, int n_parts,
                        dnnl_memory_desc_t *ret_md)
{
    const dnnl_memory_desc_t *have = &cpu_value(self, like)->md;
    int64_t block = 1;
    cpu_md_plain(whole->rank, whole->dim, ret_md);
    if (whole->rank != 4 || cpu_md_form(have, &block) != CPU_FORM_BLOCKED)
        return;
    if (node->dim != 1 || blocks_stay_whole(self, parts, n_parts, block))
        cpu_md_same_form(have, whole->dim, ret_md);
}

/* Elements of `value` for each of the `outer` stretches; the layout's padding included. */
static int64_t stretch(const struct cyx_program *self, const struct cyx_node *node, int32_t value,
                       const dnnl_memory_desc_t *md, int64_t *ret_outer)
{
    int64_t block = 1, outer = 1, inner = 1;
    const struct cyx_shape *shape = cpu_shape(self, value);
    bool blocked = cpu_md_form(md, &block) == CPU_FORM_BLOCKED;
    for (int i = 0; i < shape->rank; i++) {
        int64_t size = blocked && i == 1 ? (shape->dim[i] + block - 1) / block : shape->dim[i];
        *(i < node->dim ? &outer : &inner) *= size;
    }
    *ret_outer = outer;
    return blocked ? inner * block : inner;
}

static void bind_like(struct cyx_program *self, struct cpu_step *step, int arg, int32_t value,
                      const dnnl_memory_desc_t *whole, bool output)
{
    int64_t block;
    dnnl_memory_desc_t md;
    if (cpu_md_form(whole, &block) != CPU_FORM_BLOCKED) {
        cpu_bind_plain(self, step, arg, value, output);
        return;
    }
    cpu_md_same_form(whole, cpu_shape(self, value)->dim, &md);
    cpu_bind(self, step, arg, value, &md, output);
}

enum cyx_status cpu_choose_concat(struct cyx_program *self, struct cpu_step *step,
                                  struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t md;
    shared_form(self, node, node->in[0], cpu_shape(self, node->out[0]), node->in, node->n_in, &md);
    for (int i = 0; i < node->n_in; i++) {
        bind_like(self, step, i, node->in[i], &md, false);
        step->stretches[i] = stretch(self, node, node->in[i], &md, &step->count);
    }
    bind_like(self, step, CPU_OUT, node->out[0], &md, true);
    step->kernel = cpu_kernel_concat;
    return CYX_OK;
}

/* Blocks where the part begins and ends with one: as shared_form() has it for CONCAT. */
static bool cuts_at_blocks(const struct cyx_node *node, const dnnl_memory_desc_t *x, int64_t part)
{
    int64_t block = 1;
    if (cpu_md_form(x, &block) != CPU_FORM_BLOCKED || node->dim != 1)
        return true;
    return node->offset % block == 0 && (part % block == 0 || node->offset + part == x->dims[1]);
}

enum cyx_status cpu_choose_slice(struct cyx_program *self, struct cpu_step *step,
                                 struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    const struct cyx_shape *x = cpu_shape(self, node->in[0]), *y = cpu_shape(self, node->out[0]);
    dnnl_memory_desc_t md;
    int64_t block = 1;
    shared_form(self, node, node->in[0], x, NULL, 0, &md);
    if (!cuts_at_blocks(node, &md, y->dim[node->dim]))
        cpu_md_plain(x->rank, x->dim, &md);
    bool blocked = cpu_md_form(&md, &block) == CPU_FORM_BLOCKED;
    bind_like(self, step, 0, node->in[0], &md, false);
    bind_like(self, step, CPU_OUT, node->out[0], &md, true);
    step->stretches[0] = stretch(self, node, node->in[0], &md, &step->count);
    step->stretches[1] = stretch(self, node, node->out[0], &md, &step->count);
    /* Where the part begins in a stretch of x: the same share as of the dimension, blocks counted as one. */
    int64_t along = blocked && node->dim == 1 ? block : 1;
    int64_t size = (x->dim[node->dim] + along - 1) / along;
    step->stretches[2] = step->stretches[0] / size * (node->offset / along);
    step->kernel = cpu_kernel_slice;
    return CYX_OK;
}
