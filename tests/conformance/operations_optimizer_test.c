/* Optimizers over several steps, parameter groups, and clipping. */
#include <math.h>
#include <stdio.h>

#include "op_checks.h"

enum { PARAMS = 4, STATES = 3 };

/* Parameters of one element, of one more than a group of four, and of more than a workgroup takes at once. */
static const int64_t sizes[PARAMS] = {273, 1, 5003, 5};

struct update_case {
    const char *what;
    enum cyx_op op;
    struct cyx_optimizer_spec optimizer;
    int n_states, states; /* places of the node; bit i: state i is there */
    double clip_value, max_norm;
};

/* The chain of sums over all gradients, and the factor. */
static int32_t add_clipping(struct op_graph *g, const int32_t *gradients, double max_norm)
{
    int32_t sum = CYX_NO_VALUE, factor = op_graph_result(g, shape1(1));
    for (int i = 0; i < PARAMS; i++) {
        int32_t before = sum;
        sum = op_graph_result(g, shape1(1));
        op_graph_node(g, CYX_OP_SQUARE_SUM, 2, (int32_t[]){gradients[i], before}, 1, &sum);
    }
    op_graph_node(g, CYX_OP_CLIP_NORM, 2, (int32_t[]){sum, g->graph.result}, 1, &factor)->max_norm =
        max_norm;
    return factor;
}

/* Every other parameter is in group 1, which decays three times as much and has a learning rate of its own. */
static void run_update(const struct update_case *c)
{
    struct check checks[PARAMS * (1 + STATES) + 2];
    struct cyx_optimizer_spec other = c->optimizer;
    int32_t weights[PARAMS], gradients[PARAMS], factor = CYX_NO_VALUE;
    size_t n = 0;
    struct op_graph g;
    op_graph_init(&g);
    g.optimizer = c->optimizer;
    other.weight_decay *= 3;
    /* four steps of a dozen roundings each, and the norm's */
    double tolerance = 50 * 0x1p-24 + (c->max_norm > 0 ? sum_tolerance(5282) : 0);
    for (int i = 0; i < PARAMS; i++) {
        weights[i] = op_graph_param(&g, shape1(sizes[i]));
        gradients[i] = op_graph_param(&g, shape1(sizes[i]));
        checks[n++] = (struct check){weights[i], tolerance};
    }
    if (c->max_norm > 0) {
        factor = add_clipping(&g, gradients, c->max_norm);
        checks[n++] = (struct check){factor, tolerance};
        checks[n++] = (struct check){g.graph.result, tolerance};
    }
    for (int i = 0; i < PARAMS; i++) {
        int32_t in[CYX_NODE_INPUTS] = {weights[i], gradients[i]};
        for (int k = 0; k < c->n_states; k++) {
            bool there = (c->states >> k & 1) != 0;
            in[2 + k] = there ? op_graph_value(&g, CYX_VALUE_STATE, CYX_F32, shape1(sizes[i]))
                              : CYX_NO_VALUE;
            if (there)
                checks[n++] = (struct check){in[2 + k], tolerance};
        }
        in[2 + c->n_states] = factor;
        struct cyx_node *node = op_graph_node(&g, c->op, 3 + c->n_states, in, 0, NULL);
        node->clip_value = c->clip_value;
        node->group = i % 2;
        if (node->group)
            node->optimizer = &other;
    }
    g.graph.output = weights[0];
    run_checks(&g, c->what, NULL, 4, 1.0, checks, n);
}

static void run_updates(const struct update_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_update(&cases[i]);
}

static void test_sgd__matches_reference_over_steps(void **state)
{
    (void)state;
    static const struct update_case cases[] = {
        {"SGD", CYX_OP_SGD, {.type = CYX_OPTIMIZER_SGD}, 1, 0, 0, 0},
        {"SGD, momentum",
         CYX_OP_SGD,
         {.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
         1,
         1,
         0,
         0},
        {"SGD, Nesterov",
         CYX_OP_SGD,
         {.momentum = 0.8, .nesterov = true, .weight_decay = 0.1},
         1,
         1,
         0,
         0},
    };
    run_updates(cases, sizeof cases / sizeof cases[0]);
}

static void test_adam__matches_reference_over_steps(void **state)
{
    (void)state;
    static const struct update_case cases[] = {
        {"Adam",
         CYX_OP_ADAM,
         {.type = CYX_OPTIMIZER_ADAM, .betas = {0.9, 0.999}, .eps = 1e-8},
         2,
         3,
         0,
         0},
        {"Adam, decay",
         CYX_OP_ADAM,
         {.type = CYX_OPTIMIZER_ADAM, .betas = {0.8, 0.99}, .eps = 1e-6, .weight_decay = 0.1},
         2,
         3,
         0,
         0},
        {"AdamW",
         CYX_OP_ADAMW,
         {.type = CYX_OPTIMIZER_ADAMW, .betas = {0.9, 0.999}, .eps = 1e-8, .weight_decay = 0.01},
         2,
         3,
         0,
         0},
        {"AdamW, other betas",
         CYX_OP_ADAMW,
         {.type = CYX_OPTIMIZER_ADAMW, .betas = {0.5, 0.8}, .eps = 1e-3, .weight_decay = 0.3},
         2,
         3,
         0,
         0},
    };
    run_updates(cases, sizeof cases / sizeof cases[0]);
}

static void test_rmsprop__matches_reference_over_steps(void **state)
{
    (void)state;
    static const struct cyx_optimizer_spec plain = {
        .type = CYX_OPTIMIZER_RMSPROP, .alpha = 0.99, .eps = 1e-8};
    struct update_case cases[] = {
        {"RMSprop", CYX_OP_RMSPROP, plain, 3, 1, 0, 0},
        {"RMSprop, momentum and decay", CYX_OP_RMSPROP, plain, 3, 3, 0, 0},
        {"RMSprop, centered", CYX_OP_RMSPROP, plain, 3, 5, 0, 0},
        {"RMSprop, centered with momentum", CYX_OP_RMSPROP, plain, 3, 7, 0, 0},
    };
    cases[1].optimizer.momentum = cases[3].optimizer.momentum = 0.9;
    cases[1].optimizer.weight_decay = 0.05;
    cases[3].optimizer.alpha = 0.9;
    cases[3].optimizer.centered = cases[2].optimizer.centered = true;
    run_updates(cases, sizeof cases / sizeof cases[0]);
}

/* Norms above and below the limit; a value's limit that some gradients exceed. */
static void test_clipping__matches_reference_with_every_optimizer(void **state)
{
    (void)state;
    static const struct update_case cases[] = {
        {"SGD, norm", CYX_OP_SGD, {.momentum = 0.9}, 1, 1, 0, 0.5},
        {"SGD, norm below its limit", CYX_OP_SGD, {.momentum = 0.9}, 1, 1, 0, 1e6},
        {"SGD, value", CYX_OP_SGD, {.momentum = 0.9}, 1, 1, 0.4, 0},
        {"Adam, norm", CYX_OP_ADAM, {.betas = {0.9, 0.999}, .eps = 1e-8}, 2, 3, 0, 0.5},
        {"Adam, value", CYX_OP_ADAM, {.betas = {0.9, 0.999}, .eps = 1e-8}, 2, 3, 0.4, 0},
        {"AdamW, norm", CYX_OP_ADAMW, {.betas = {0.9, 0.999}, .eps = 1e-8}, 2, 3, 0, 2},
        {"AdamW, value", CYX_OP_ADAMW, {.betas = {0.9, 0.999}, .eps = 1e-8}, 2, 3, 0.1, 0},
        {"RMSprop, norm", CYX_OP_RMSPROP, {.alpha = 0.99, .eps = 1e-8}, 3, 1, 0, 0.5},
        {"RMSprop, value", CYX_OP_RMSPROP, {.alpha = 0.99, .eps = 1e-8}, 3, 1, 0.4, 0},
    };
    run_updates(cases, sizeof cases / sizeof cases[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd__matches_reference_over_steps),
        cmocka_unit_test(test_adam__matches_reference_over_steps),
        cmocka_unit_test(test_rmsprop__matches_reference_over_steps),
        cmocka_unit_test(test_clipping__matches_reference_with_every_optimizer),
    };
    return run_operation_tests(tests);
}
