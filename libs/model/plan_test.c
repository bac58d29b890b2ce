/* Buffer plans: nothing that is alive together overlaps, sharing saves, aliases and scratch are kept. */
#include <stdio.h>

#include "model/plan.h"
#include "model/private.h"
#include "model/test_specs.h"

static int32_t root_of(const struct cyx_graph *graph, int32_t v)
{
    while (graph->values[v].alias_of != CYX_NO_VALUE)
        v = graph->values[v].alias_of;
    return v;
}

/* Whether node `n` reads or writes the bytes of `v`, seen through aliases. */
static bool touches(const struct cyx_graph *graph, size_t n, int32_t v)
{
    const struct cyx_node *node = &graph->nodes[n];
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != CYX_NO_VALUE && root_of(graph, node->in[i]) == v)
            return true;
    for (int i = 0; i < node->n_out; i++)
        if (node->out[i] != CYX_NO_VALUE && root_of(graph, node->out[i]) == v)
            return true;
    return false;
}

/* Alive at node n: touched at or before it, and at or after it. By brute force, not as the planner does. */
static bool alive(const struct cyx_graph *graph, size_t n, int32_t v)
{
    bool before = false, after = root_of(graph, graph->output) == v;
    for (size_t i = 0; i <= n; i++)
        before = before || touches(graph, i, v);
    for (size_t i = n; i < graph->n_nodes; i++)
        after = after || touches(graph, i, v);
    return before && after;
}

struct span {
    int64_t begin, end;
};

static void assert_apart(struct span a, struct span b)
{
    if (a.begin < b.end && b.begin < a.end)
        fail_msg("[%lld, %lld) and [%lld, %lld) overlap", (long long)a.begin, (long long)a.end,
                 (long long)b.begin, (long long)b.end);
}

/* At every node: the living values and the node's scratch lie apart, aligned and inside the arena. */
static void check_plan(const struct cyx_graph *graph, const int64_t *sizes, const int64_t *scratch,
                       const int64_t *scratch_offset, int64_t align, const struct cyx_plan *plan)
{
    struct span *spans = calloc(graph->n_values + 1, sizeof(*spans));
    for (size_t n = 0; n < graph->n_nodes; n++) {
        size_t n_spans = 0;
        for (size_t v = 0; v < graph->n_values; v++) {
            int64_t at = plan->offset_bytes[v];
            if (graph->values[v].kind != CYX_VALUE_TRANSIENT)
                assert_int_equal(at, -1);
            if (graph->values[v].alias_of != CYX_NO_VALUE)
                assert_int_equal(at, plan->offset_bytes[root_of(graph, (int32_t)v)]);
            else if (at >= 0 && alive(graph, n, (int32_t)v))
                spans[n_spans++] = (struct span){at, at + sizes[v]};
        }
        if (scratch[n] > 0)
            spans[n_spans++] = (struct span){scratch_offset[n], scratch_offset[n] + scratch[n]};
        for (size_t i = 0; i < n_spans; i++) {
            assert_true(spans[i].begin % align == 0 && spans[i].end <= plan->arena_bytes);
            for (size_t j = 0; j < i; j++)
                assert_apart(spans[i], spans[j]);
        }
    }
    free(spans);
}

static const int64_t limit_bytes = 5000;

/* Nodes that each read up to three earlier values and write one or two; some are aliases. */
static struct cyx_graph *random_graph(uint64_t *seed)
{
    struct cyx_graph *graph = graph_new();
    struct cyx_shape shape = {1, {1}};
    graph->input = graph_add_value(graph, "input", CYX_VALUE_INPUT, CYX_F32, &shape);
    size_t n_nodes = 2 + next_random(seed) % 40;
    for (size_t n = 0; n < n_nodes; n++) {
        struct cyx_node node = graph_node(CYX_OP_ADD, 0, NULL);
        node.n_in = 1 + (int)(next_random(seed) % 3);
        for (int i = 0; i < node.n_in; i++)
            node.in[i] = (int32_t)(next_random(seed) % graph->n_values);
        bool alias = next_random(seed) % 5 == 0;
        node.n_out = alias ? 1 : 1 + (int)(next_random(seed) % 2);
        for (int i = 0; i < node.n_out; i++) {
            shape.dim[0] = 1 + (int64_t)(next_random(seed) % (uint64_t)limit_bytes) / 4;
            node.out[i] = graph_add_value(graph, graph_name(graph, "v%zu.%d", n, i),
                                          CYX_VALUE_TRANSIENT, CYX_F32, &shape);
            if (alias)
                graph->values[node.out[i]].alias_of = node.in[0];
        }
        graph_add_node(graph, &node);
        graph->output = node.out[0];
    }
    graph->n_forward_nodes = graph->n_nodes;
    return graph;
}

/* An alias makes its root as large as itself: what the checker must know. */
static void true_sizes(const struct cyx_graph *graph, int64_t *sizes)
{
    for (size_t v = 0; v < graph->n_values; v++)
        sizes[v] = graph_value_bytes(&graph->values[v]);
    for (size_t v = 0; v < graph->n_values; v++) {
        int64_t *root = &sizes[root_of(graph, (int32_t)v)];
        *root = sizes[v] > *root ? sizes[v] : *root;
    }
}

static void test_plan__values_alive_together_never_overlap_in_random_graphs(void **state)
{
    (void)state;
    uint64_t seed = 2024;
    int64_t shared = 0, unshared = 0;
    for (int round = 0; round < 400; round++) {
        struct cyx_graph *graph = random_graph(&seed);
        int64_t align = INT64_C(1) << next_random(&seed) % 9;
        int64_t *sizes = calloc(graph->n_values, sizeof(*sizes));
        int64_t *scratch = calloc(graph->n_nodes, sizeof(*scratch));
        int64_t *offsets = calloc(graph->n_nodes, sizeof(*offsets));
        for (size_t n = 0; n < graph->n_nodes; n++)
            scratch[n] = next_random(&seed) % 3 ? 0 : (int64_t)(next_random(&seed) % 3000);
        true_sizes(graph, sizes);
        struct cyx_plan *plan = NULL;
        assert_int_equal(
            cyx_plan_create(graph, round % 2 ? sizes : NULL, scratch, align, offsets, &plan, NULL),
            CYX_OK);
        check_plan(graph, sizes, scratch, offsets, align, plan);
        assert_true(plan->arena_bytes <= plan->unshared_bytes);
        shared += plan->arena_bytes;
        unshared += plan->unshared_bytes;
        cyx_plan_destroy(plan);
        cyx_graph_destroy(graph);
        free(sizes);
        free(scratch);
        free(offsets);
    }
    print_message("random graphs: %lld of %lld bytes\n", (long long)shared, (long long)unshared);
    assert_true(shared < unshared);
}

/* The most that is alive at one node: no plan can be smaller. */
static int64_t least_bytes(const struct cyx_graph *graph, const int64_t *sizes, int64_t align)
{
    int64_t most = 0;
    for (size_t n = 0; n < graph->n_nodes; n++) {
        int64_t sum = 0;
        for (size_t v = 0; v < graph->n_values; v++)
            if (graph->values[v].kind == CYX_VALUE_TRANSIENT &&
                graph->values[v].alias_of == CYX_NO_VALUE && alive(graph, n, (int32_t)v))
                sum += (sizes[v] + align - 1) / align * align;
        most = sum > most ? sum : most;
    }
    return most;
}

static void test_plan__of_the_examples_saves_and_comes_near_the_least(void **state)
{
    (void)state;
    static const char *const names[] = {"fashion-cnn", "mnist-cnn", "mnist-mlp", "fashion-resnet",
                                        "fashion-autoencoder"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct cyx_job_spec *spec = spec_of_example(names[i]);
        for (int train = 0; train < 2; train++) {
            struct cyx_graph *graph =
                graph_of(spec, (struct cyx_graph_options){.batch = 64, .training = train}, train);
            int64_t *sizes = calloc(graph->n_values, sizeof(*sizes));
            int64_t *scratch = calloc(graph->n_nodes, sizeof(*scratch));
            struct cyx_plan *plan = NULL;
            assert_int_equal(cyx_plan_create(graph, NULL, NULL, 64, NULL, &plan, NULL), CYX_OK);
            true_sizes(graph, sizes);
            check_plan(graph, sizes, scratch, NULL, 64, plan);
            int64_t least = least_bytes(graph, sizes, 64);
            print_message("%s %s: %lld bytes, least %lld, unshared %lld\n", names[i],
                          train ? "training" : "evaluation", (long long)plan->arena_bytes,
                          (long long)least, (long long)plan->unshared_bytes);
            assert_true(plan->arena_bytes >= least && plan->arena_bytes <= least + least / 4);
            assert_true(plan->arena_bytes < plan->unshared_bytes);
            free(sizes);
            free(scratch);
            cyx_plan_destroy(plan);
            cyx_graph_destroy(graph);
        }
        cyx_job_spec_destroy(spec);
    }
}

static void test_plan__alias_of_the_input_is_not_in_the_arena(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("mnist-mlp");
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 8}, false);
    struct cyx_plan *plan = NULL;
    assert_int_equal(cyx_plan_create(graph, NULL, NULL, 64, NULL, &plan, NULL), CYX_OK);
    int32_t flat = cyx_graph_find(graph, "0:out");
    assert_int_equal(graph->values[flat].alias_of, graph->input);
    assert_int_equal(plan->offset_bytes[flat], -1);
    assert_true(plan->offset_bytes[graph->output] >= 0);
    cyx_plan_destroy(plan);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_plan__apart_shares_nothing(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("mnist-cnn");
    struct cyx_graph *graph =
        graph_of(spec, (struct cyx_graph_options){.batch = 2, .training = true}, true);
    struct cyx_plan *plan = NULL;
    assert_int_equal(cyx_plan_create_apart(graph, NULL, NULL, 16, NULL, &plan, NULL), CYX_OK);
    assert_int_equal(plan->arena_bytes, plan->unshared_bytes);
    cyx_plan_destroy(plan);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

static void test_plan__refuses_sizes_that_do_not_fit(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = spec_of_example("mnist-mlp");
    struct cyx_graph *graph = graph_of(spec, (struct cyx_graph_options){.batch = 8}, false);
    int64_t *sizes = calloc(graph->n_values, sizeof(*sizes));
    struct cyx_plan *plan = NULL;
    struct cyx_error err = {0};
    sizes[graph->output] = INT64_MAX;
    assert_int_equal(cyx_plan_create(graph, sizes, NULL, 64, NULL, &plan, &err), CYX_ERR_INVALID);
    sizes[graph->output] = INT64_MAX / 64 * 64;
    assert_int_equal(cyx_plan_create(graph, sizes, NULL, 64, NULL, &plan, &err), CYX_ERR_INVALID);
    assert_int_equal(cyx_plan_create(graph, NULL, NULL, 48, NULL, &plan, &err), CYX_ERR_INVALID);
    assert_null(plan);
    assert_non_null(strstr(err.message, "power of two, got 48"));
    free(sizes);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan__values_alive_together_never_overlap_in_random_graphs),
        cmocka_unit_test(test_plan__of_the_examples_saves_and_comes_near_the_least),
        cmocka_unit_test(test_plan__alias_of_the_input_is_not_in_the_arena),
        cmocka_unit_test(test_plan__apart_shares_nothing),
        cmocka_unit_test(test_plan__refuses_sizes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
