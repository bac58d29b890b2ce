/* Losses, clipping and optimizers. Losses read row-major values; gradients and states lie as the weight does. */
#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"
#include "nn/cpu/kernels_math.h"
#include "nn/cpu/md.h"

#include "base/banned.h"

enum cyx_status cpu_choose_one_hot(struct cyx_program *self, struct cpu_step *step,
                                   struct cyx_error *error)
{
    (void)error;
    cpu_bind_plain(self, step, CPU_OUT, step->node.out[0], true);
    step->kernel = cpu_kernel_one_hot;
    return CYX_OK;
}

static int32_t input_or_none(const struct cyx_node *node, int i)
{
    return i < node->n_in ? node->in[i] : CYX_NO_VALUE;
}

enum cyx_status cpu_choose_cross_entropy(struct cyx_program *self, struct cpu_step *step,
                                         struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    bool gradient = node->op == CYX_OP_CROSS_ENTROPY_GRAD;
    int weight = gradient ? 3 : 2;
    cpu_bind_plain(self, step, 0, node->in[0], false);
    cpu_bind_plain(self, step, weight, input_or_none(node, weight), false);
    if (gradient)
        cpu_bind_plain(self, step, CPU_OUT, node->out[0], true);
    else /* a row's own loss apart: summed in row order whatever the threads */
        step->scratchpad_bytes =
            cpu_shape(self, node->in[0])->dim[0] * (int64_t)sizeof(struct cpu_row_loss);
    step->kernel = gradient ? cpu_kernel_cross_entropy_grad : cpu_kernel_cross_entropy;
    return CYX_OK;
}

enum cyx_status cpu_choose_element_loss(struct cyx_program *self, struct cpu_step *step,
                                        struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    bool gradient = node->op == CYX_OP_ELEMENT_LOSS_GRAD;
    cpu_bind_plain(self, step, 0, node->in[0], false);
    cpu_bind_plain(self, step, 1, node->in[1], false);
    cpu_bind_plain(self, step, 2, input_or_none(node, 2), false);
    if (gradient)
        cpu_bind_plain(self, step, CPU_OUT, node->out[0], true);
    else
        step->scratchpad_bytes =
            cpu_element_loss_scratch(cyx_shape_count(cpu_shape(self, node->in[0])));
    step->kernel = gradient ? cpu_kernel_element_loss_grad : cpu_kernel_element_loss;
    return CYX_OK;
}

enum cyx_status cpu_choose_square_sum(struct cyx_program *self, struct cpu_step *step,
                                      struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t md = cpu_value(self, node->in[0])->md;
    cpu_bind(self, step, 0, node->in[0], &md, false);
    cpu_bind_plain(self, step, 1, input_or_none(node, 1), false);
    cpu_bind_plain(self, step, CPU_OUT, node->out[0], true);
    step->count = cpu_md_bytes(&md) / (int64_t)sizeof(float);
    step->scratchpad_bytes = cpu_square_sum_scratch(step->count);
    step->kernel = cpu_kernel_square_sum;
    return CYX_OK;
}

enum cyx_status cpu_choose_clip_norm(struct cyx_program *self, struct cpu_step *step,
                                     struct cyx_error *error)
{
    (void)error;
    cpu_bind_plain(self, step, 0, step->node.in[0], false);
    cpu_bind_plain(self, step, CPU_OUT, step->node.out[0], true);
    step->kernel = cpu_kernel_clip_norm;
    return CYX_OK;
}

/* Where the optimizer's `factor` stands among its inputs. */
static int factor_of(enum cyx_op op)
{
    return op == CYX_OP_SGD ? 3 : op == CYX_OP_RMSPROP ? 5 : 4;
}

static cpu_kernel optimizer_kernel(enum cyx_op op)
{
    if (op == CYX_OP_SGD)
        return cpu_kernel_sgd;
    return op == CYX_OP_RMSPROP ? cpu_kernel_rmsprop : cpu_kernel_adam;
}

enum cyx_status cpu_choose_optimizer(struct cyx_program *self, struct cpu_step *step,
                                     struct cyx_error *error)
{
    (void)error;
    const struct cyx_node *node = &step->node;
    dnnl_memory_desc_t md = cpu_value(self, node->in[0])->md;
    int factor = factor_of(node->op);
    for (int i = 0; i < factor && i < node->n_in; i++) {
        if (node->in[i] == CYX_NO_VALUE)
            continue;
        if (!cpu_value(self, node->in[i])->has_md)
            cpu_set_md(self, node->in[i], &md);
        cpu_bind(self, step, i, node->in[i], &md, false);
    }
    cpu_bind_plain(self, step, CPU_FACTOR, input_or_none(node, factor), false);
    step->kernel = optimizer_kernel(node->op);
    step->count = cpu_md_bytes(&md) / (int64_t)sizeof(float);
    return CYX_OK;
}
