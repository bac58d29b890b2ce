/*
 * What follows the gradients in a training step: clipping, and one update a parameter, by the options of its
 * parameter group.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "model/private.h"

#include "base/banned.h"

struct updates {
    struct cyx_graph *graph;
    const struct cyx_optimizer_spec *groups; /* 0: what no group took */
    const struct cyx_clip_spec *clip;        /* may be NULL */
    int32_t factor;                          /* of clipping by norm; CYX_NO_VALUE for none */
};

/* The first group with a pattern for `name`; 0 when there is none. */
static int group_of(const struct cyx_optimizer_spec *optimizer, const char *name)
{
    for (size_t g = 0; g < optimizer->n_groups; g++)
        for (size_t i = 0; i < optimizer->groups[g].n_params; i++)
            if (fnmatch(optimizer->groups[g].params[i], name, 0) == 0)
                return (int)g + 1;
    return 0;
}

static bool trained(const struct cyx_graph *graph, size_t value)
{
    return graph->values[value].kind == CYX_VALUE_PARAM &&
           graph->values[value].grad != CYX_NO_VALUE;
}

/* A pattern that no parameter matches is a mistake that would train silently otherwise. */
static enum cyx_status check_groups(const struct cyx_graph *graph,
                                    const struct cyx_optimizer_spec *optimizer,
                                    struct cyx_error *error)
{
    for (size_t g = 0; g < optimizer->n_groups; g++)
        for (size_t i = 0; i < optimizer->groups[g].n_params; i++) {
            const char *pattern = optimizer->groups[g].params[i];
            bool found = false;
            for (size_t v = 0; v < graph->n_values && !found; v++)
                found = trained(graph, v) && fnmatch(pattern, graph->values[v].name, 0) == 0;
            if (found)
                continue;
            char pointer[96];
            snprintf(pointer, sizeof(pointer), "/optimizer/param_groups/%zu/params/%zu", g, i);
            return cyx_error_set(error, CYX_ERR_INVALID, pointer,
                                 "no parameter is called \"%s\": names are such as \"fc.weight\"",
                                 pattern);
        }
    return CYX_OK;
}

/* The optimizer's options of each group, in the graph's memory. */
static const struct cyx_optimizer_spec *keep_groups(struct cyx_graph *graph,
                                                    const struct cyx_optimizer_spec *optimizer)
{
    struct cyx_optimizer_spec *kept =
        cyx_arena_alloc(&graph->memory->arena, (optimizer->n_groups + 1) * sizeof(*kept));
    if (!kept) {
        graph->memory->failed = true;
        return NULL;
    }
    for (size_t g = 0; g <= optimizer->n_groups; g++) {
        kept[g] = *optimizer;
        kept[g].groups = NULL;
        kept[g].n_groups = 0;
        if (g == 0)
            continue;
        kept[g].lr = optimizer->groups[g - 1].lr;
        kept[g].weight_decay = optimizer->groups[g - 1].weight_decay;
    }
    return kept;
}

static int32_t add_scalar(struct cyx_graph *graph, const char *name)
{
    struct cyx_shape shape = {1, {1}};
    return graph_add_value(graph, name, CYX_VALUE_TRANSIENT, CYX_F32, &shape);
}

/* Adds up the squares of all gradients and makes the factor that they are multiplied by. */
static int32_t add_clip(struct cyx_graph *graph, size_t n_values, double max_norm)
{
    int32_t sum = CYX_NO_VALUE;
    for (size_t v = 0, part = 1; v < n_values; v++) {
        if (!trained(graph, v))
            continue;
        struct cyx_node node = graph_node(CYX_OP_SQUARE_SUM, -1, NULL);
        node.in[0] = graph->values[v].grad;
        node.in[1] = sum;
        node.n_in = 2;
        node.out[0] = add_scalar(graph, graph_name(graph, "clip:sum%zu", part++));
        node.n_out = 1;
        graph_add_node(graph, &node);
        sum = node.out[0];
    }
    if (sum == CYX_NO_VALUE)
        return CYX_NO_VALUE;
    struct cyx_node node = graph_node(CYX_OP_CLIP_NORM, -1, NULL);
    node.in[0] = sum;
    node.in[1] = graph->result;
    node.n_in = 2;
    node.max_norm = max_norm;
    node.out[0] = add_scalar(graph, "clip:factor");
    node.n_out = 1;
    graph_add_node(graph, &node);
    return node.out[0];
}

static int32_t add_state(struct cyx_graph *graph, int32_t param, const char *what)
{
    struct cyx_shape shape = graph->values[param].shape;
    return graph_add_value(graph, graph_name(graph, "%s.%s", graph->values[param].name, what),
                           CYX_VALUE_STATE, CYX_F32, &shape);
}

/* Optimizer state, by the names of torch.optim's state, behind W and dW. Returns the next free place. */
static int add_states(struct cyx_graph *graph, int32_t param,
                      const struct cyx_optimizer_spec *optimizer, struct cyx_node *node)
{
    switch (optimizer->type) {
    case CYX_OPTIMIZER_SGD:
        node->op = CYX_OP_SGD;
        if (optimizer->momentum != 0)
            node->in[2] = add_state(graph, param, "momentum_buffer");
        return 3;
    case CYX_OPTIMIZER_ADAM:
    case CYX_OPTIMIZER_ADAMW:
        node->op = optimizer->type == CYX_OPTIMIZER_ADAM ? CYX_OP_ADAM : CYX_OP_ADAMW;
        node->in[2] = add_state(graph, param, "exp_avg");
        node->in[3] = add_state(graph, param, "exp_avg_sq");
        return 4;
    case CYX_OPTIMIZER_RMSPROP:
        node->op = CYX_OP_RMSPROP;
        node->in[2] = add_state(graph, param, "square_avg");
        if (optimizer->momentum != 0)
            node->in[3] = add_state(graph, param, "momentum_buffer");
        if (optimizer->centered)
            node->in[4] = add_state(graph, param, "grad_avg");
        return 5;
    }
    return 2;
}

static void add_update(const struct updates *u, const struct cyx_optimizer_spec *optimizer,
                       int32_t param)
{
    struct cyx_graph *graph = u->graph;
    int group = group_of(optimizer, graph->values[param].name);
    int32_t producer = graph->values[graph->values[param].grad].producer;
    struct cyx_node node = graph_node(CYX_OP_SGD, graph->nodes[producer].layer, NULL);
    node.in[0] = param;
    node.in[1] = graph->values[param].grad;
    node.group = group;
    node.optimizer = &u->groups[group];
    node.clip_value = u->clip ? u->clip->value : 0;
    int next = add_states(graph, param, node.optimizer, &node);
    node.in[next] = u->factor;
    node.n_in = next + 1;
    graph_add_node(graph, &node);
}

enum cyx_status cyx_graph_add_optimizer(struct cyx_graph *self,
                                        const struct cyx_optimizer_spec *optimizer,
                                        const struct cyx_clip_spec *clip,
                                        struct cyx_error *ret_error)
{
    if (!self->memory->differentiated || self->memory->optimized)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "an optimizer is added once, after the gradients");
    enum cyx_status status = check_groups(self, optimizer, ret_error);
    if (status != CYX_OK)
        return status;
    struct updates u = {.graph = self,
                        .groups = keep_groups(self, optimizer),
                        .clip = clip,
                        .factor = CYX_NO_VALUE};
    size_t n_values = self->n_values; /* states are added behind */
    if (clip && clip->norm > 0)
        u.factor = add_clip(self, n_values, clip->norm);
    for (size_t v = 0; v < n_values && u.groups; v++)
        if (trained(self, v))
            add_update(&u, optimizer, (int32_t)v);
    self->memory->optimized = true;
    return graph_ok(self, ret_error);
}

enum cyx_status cyx_graph_create_step(const struct cyx_job_spec *spec,
                                      const struct cyx_graph_options *options,
                                      struct cyx_graph **ret_graph, struct cyx_error *ret_error)
{
    struct cyx_graph *graph = NULL;
    enum cyx_status status = cyx_graph_create(spec, options, &graph, ret_error);
    if (status == CYX_OK && options->training)
        status = cyx_graph_differentiate(graph, ret_error);
    if (status == CYX_OK && options->training)
        status = cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, ret_error);
    if (status != CYX_OK) {
        cyx_graph_destroy(graph);
        return status;
    }
    *ret_graph = graph;
    return CYX_OK;
}
