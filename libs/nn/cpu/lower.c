#include <stdlib.h>
#include <string.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kernels.h"

#include "base/banned.h"

int32_t cpu_root(const struct cyx_graph *graph, int32_t value)
{
    while (graph->values[value].alias_of != CYX_NO_VALUE)
        value = graph->values[value].alias_of;
    return value;
}

static enum cyx_status copy_graph(struct cyx_program *self, struct cyx_error *error)
{
    const struct cyx_graph *graph = self->graph;
    self->n_steps = graph->n_nodes;
    self->planned = *graph;
    self->planned.values = calloc(graph->n_values, sizeof(*graph->values));
    self->planned.nodes = calloc(graph->n_nodes, sizeof(*graph->nodes));
    self->steps = calloc(graph->n_nodes, sizeof(*self->steps));
    self->values = calloc(graph->n_values, sizeof(*self->values));
    self->scratch_offset = calloc(graph->n_nodes, sizeof(*self->scratch_offset));
    if (!self->planned.values || !self->planned.nodes || !self->steps || !self->values ||
        !self->scratch_offset)
        return cyx_error_set(error, CYX_ERR_NO_MEMORY, NULL, "no memory to compile a graph");
    memcpy(self->planned.values, graph->values, graph->n_values * sizeof(*graph->values));
    for (size_t n = 0; n < graph->n_nodes; n++)
        self->steps[n].node = graph->nodes[n];
    return CYX_OK;
}

enum cyx_status cpu_lower(struct cyx_program *self, struct cyx_error *error)
{
    enum cyx_status status = copy_graph(self, error);
    if (status != CYX_OK)
        return status;
    if (!self->keep)
        cpu_fuse(self);
    for (size_t n = 0; n < self->n_steps; n++)
        self->planned.nodes[n] = self->steps[n].node;
    return CYX_OK;
}

/* ---- in place ---- */

/* Kernels that have read an element of input 0 before they write that of output 0. */
static bool works_in_place(const struct cpu_step *step)
{
    static const cpu_kernel kernels[] = {
        cpu_kernel_relu,
        cpu_kernel_relu_grad,
        cpu_kernel_add,
        cpu_kernel_activation,
        cpu_kernel_dropout,
        cpu_kernel_activation_grad,
        cpu_kernel_softmax,
        cpu_kernel_softmax_grad,
        cpu_kernel_batch_norm,
        cpu_kernel_batch_norm_inference,
        cpu_kernel_layer_norm,
        cpu_kernel_batch_norm_grad,
        cpu_kernel_element_loss_grad,
        cpu_kernel_layer_norm_grad,
    };
    for (size_t i = 0; !step->dropped && i < sizeof(kernels) / sizeof(*kernels); i++)
        if (step->kernel == kernels[i] && step->node.out[0] != CYX_NO_VALUE)
            return true;
    return false;
}

/* The last step that reads each root of the planned graph. */
static void find_last_reads(const struct cyx_program *self, int32_t *last)
{
    const struct cyx_graph *planned = &self->planned;
    for (size_t v = 0; v < planned->n_values; v++)
        last[v] = -1;
    for (size_t n = 0; n < self->n_steps; n++)
        for (int i = 0; i < self->steps[n].node.n_in; i++)
            if (self->steps[n].node.in[i] != CYX_NO_VALUE)
                last[cpu_root(planned, self->steps[n].node.in[i])] = (int32_t)n;
    last[cpu_root(planned, planned->output)] = INT32_MAX;
}

static void share_step(struct cyx_program *self, size_t n, int32_t *last)
{
    const struct cpu_step *step = &self->steps[n];
    struct cyx_graph *planned = &self->planned;
    int32_t in = step->node.in[0], out = step->node.out[0];
    int32_t root = cpu_root(planned, in);
    for (int i = 0; i < step->n_bindings; i++)
        if (step->bindings[i].copied)
            return;
    if (planned->values[root].kind != CYX_VALUE_TRANSIENT || last[root] != (int32_t)n ||
        planned->values[out].alias_of != CYX_NO_VALUE ||
        cpu_value(self, in)->bytes != cpu_value(self, out)->bytes)
        return;
    planned->values[out].alias_of = in;
    last[root] = last[out];
}

void cpu_share_in_place(struct cyx_program *self)
{
    int32_t *last = calloc(self->planned.n_values, sizeof(*last));
    if (!last)
        return; /* works without, with a larger arena */
    find_last_reads(self, last);
    for (size_t n = 0; n < self->n_steps && !self->keep; n++)
        if (works_in_place(&self->steps[n]))
            share_step(self, n, last);
    free(last);
}
