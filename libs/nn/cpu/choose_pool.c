/* Pooling and BatchNorm: own kernels that keep (N,C,H,W) as it lies. */
#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

/* Of the pooled values beside `x`: the same lanes. Asking their descriptor would not do: NHWC of a single pixel is
 * plain besides. */
static struct cpu_planes pooled_planes(const struct cpu_planes *x, const dnnl_memory_desc_t *y)
{
    struct cpu_planes planes = *x;
    planes.height = y->dims[2];
    planes.width = y->dims[3];
    return planes;
}

/* x as it lies and y in the same form. */
static void bind_pool(struct cyx_program *self, struct cpu_step *step)
{
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t x, y;
    cpu_known_form(self, node->in[0], cpu_shape(self, node->in[0])->dim, &x, &step->planes);
    cpu_md_same_form(&x, cpu_shape(self, node->out[0])->dim, &y);
    step->out_planes = pooled_planes(&step->planes, &y);
    cpu_bind(self, step, 0, node->in[0], &x, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &y, true);
}

enum cyx_status cpu_choose_max_pool(struct cyx_program *self, struct cpu_step *step,
                                    struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    if (node->window.kernel[0] * node->window.kernel[1] >= CPU_POOL_WINDOW_LIMIT)
        return cpu_refuse(step, "a window of 65535 elements or more", error);
    bind_pool(self, step);
    if (node->out[1] != CYX_NO_VALUE)
        cpu_value(self, node->out[1])->bytes = cpu_md_bytes(&step->bindings[1].md) /
                                               (int64_t)sizeof(float) * (int64_t)sizeof(uint16_t);
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

enum cyx_status cpu_choose_max_pool_grad(struct cyx_program *self, struct cpu_step *step,
                                         struct cyx_error *error)
{
    const struct cyx_node *node = &step->node;
    step->forward = pool_of(self, node->in[1]);
    if (!step->forward)
        return cpu_refuse(step, "its forward pass is not in this graph", error);
    step->planes = step->forward->planes;
    step->out_planes = step->forward->out_planes;
    cpu_bind(self, step, 0, node->in[0], &step->forward->bindings[1].md, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &step->forward->bindings[0].md, true);
    step->kernel = cpu_kernel_max_pool_grad;
    return CYX_OK;
}

enum cyx_status cpu_choose_avg_pool(struct cyx_program *self, struct cpu_step *step,
                                    struct cyx_error *error)
{
    (void)error;
    bind_pool(self, step);
    step->kernel = cpu_kernel_avg_pool;
    return CYX_OK;
}

enum cyx_status cpu_choose_avg_pool_grad(struct cyx_program *self, struct cpu_step *step,
                                         struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    const struct cpu_step *forward = cpu_forward_of(self, CYX_OP_AVG_POOL2D, node->layer);
    const int64_t *x_dims = cpu_shape(self, node->out[0])->dim;
    dnnl_memory_desc_t dx, dy;
    if (forward) {
        dx = forward->bindings[0].md;
        dy = forward->bindings[1].md;
    } else {
        cpu_known_form(self, node->in[0], cpu_shape(self, node->in[0])->dim, &dy, &step->planes);
        cpu_md_same_form(&dy, x_dims, &dx);
    }
    step->planes = cpu_planes_of(&dx);
    step->out_planes = pooled_planes(&step->planes, &dy);
    cpu_bind(self, step, 0, node->in[0], &dy, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &dx, true);
    step->kernel = cpu_kernel_avg_pool_grad;
    return CYX_OK;
}

/* ---- BatchNorm ---- */

/* (N,C), (N,C,L) or (N,C,H,W) as it lies, seen with four dims. */
static void norm_form(struct cyx_program *self, int32_t value, dnnl_memory_desc_t *ret_md,
                      struct cpu_planes *ret_planes)
{
    const struct cyx_shape *shape = cpu_shape(self, value);
    int64_t dims[4] = {shape->dim[0], shape->dim[1], 1, 1};
    for (int i = 2; i < shape->rank; i++)
        dims[4 - shape->rank + i] = shape->dim[i];
    cpu_known_form(self, value, dims, ret_md, ret_planes);
    bool known = ret_planes->lanes % 8 == 0 || ret_planes->lanes == ret_planes->channels;
    if (known || ret_planes->lanes == 1)
        return;
    cpu_md_plain(4, dims, ret_md); /* blocks of four: processors without AVX */
    *ret_planes = cpu_planes_of(ret_md);
}

enum cyx_status cpu_choose_batch_norm(struct cyx_program *self, struct cpu_step *step,
                                      struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    bool inference = node->op == CYX_OP_BATCH_NORM_INFERENCE;
    dnnl_memory_desc_t x;
    norm_form(self, node->in[0], &x, &step->planes);
    cpu_bind(self, step, 0, node->in[0], &x, false);
    for (int i = 1; i < 5; i++)
        cpu_bind_plain(self, step, i, node->in[i], false);
    if (node->n_in > 5) /* the residual that lower_fuse.c has put here */
        cpu_bind(self, step, 5, node->in[5], &x, false);
    cpu_bind(self, step, CPU_OUT, node->out[0], &x, true);
    for (int i = 1; i < node->n_out; i++)
        cpu_bind_plain(self, step, CPU_OUT + i, node->out[i], true);
    step->scratchpad_bytes = inference ? step->planes.channels * (int64_t)sizeof(float)
                                       : cpu_batch_norm_scratch(&step->planes);
    step->kernel = inference ? cpu_kernel_batch_norm_inference : cpu_kernel_batch_norm;
    return CYX_OK;
}

enum cyx_status cpu_choose_batch_norm_grad(struct cyx_program *self, struct cpu_step *step,
                                           struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t x;
    norm_form(self, node->in[1], &x, &step->planes);
    cpu_bind(self, step, 0, node->in[0], &x, false);
    cpu_bind(self, step, 1, node->in[1], &x, false);
    for (int i = 2; i < node->n_in; i++)
        cpu_bind_plain(self, step, i, node->in[i], false);
    if (node->out[0] != CYX_NO_VALUE)
        cpu_bind(self, step, CPU_OUT, node->out[0], &x, true);
    for (int i = 1; i < node->n_out; i++)
        cpu_bind_plain(self, step, CPU_OUT + i, node->out[i], true);
    step->scratchpad_bytes = cpu_batch_norm_scratch(&step->planes);
    step->kernel = cpu_kernel_batch_norm_grad;
    return CYX_OK;
}
