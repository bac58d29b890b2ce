#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "model/plan.h"

static struct cyx_job_spec *load_example(const char *name)
{
    CYX_CLEANUP_BUF struct cyx_buf path = {0}, text = {0};
    struct cyx_error err = {0};
    cyx_buf_printf(&path, "%s/docs/examples/%s.json", CYX_SOURCE_DIR, name);
    assert_int_equal(cyx_buf_read_file(&text, path.data, 1 << 20, &err), CYX_OK);
    struct cyx_job_spec *spec = NULL;
    if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

static void dump(const struct cyx_graph *graph)
{
    for (size_t n = 0; n < graph->n_nodes; n++) {
        const struct cyx_node *node = &graph->nodes[n];
        printf("%zu %s%s(", n, cyx_op_name(node->op), node->fused_relu ? "+relu" : "");
        for (int i = 0; i < node->n_in; i++)
            printf(" %s", node->in[i] < 0 ? "-" : graph->values[node->in[i]].name);
        printf(" ) ->");
        for (int i = 0; i < node->n_out; i++)
            printf(" %s", node->out[i] < 0 ? "-" : graph->values[node->out[i]].name);
        printf("\n");
    }
}

static void test_graph__of_the_default_example_is_whole(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = load_example("fashion-cnn");
    struct cyx_graph *graph = NULL;
    struct cyx_error err = {0};
    struct cyx_graph_options options = {.batch = 64, .training = true};
    if (cyx_graph_create(spec, &options, &graph, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    assert_int_equal(cyx_graph_differentiate(graph, &err), CYX_OK);
    assert_int_equal(cyx_graph_add_optimizer(graph, &spec->optimizer, &err), CYX_OK);
    dump(graph);
    struct cyx_model_cost cost;
    assert_int_equal(cyx_model_cost(spec, &cost, &err), CYX_OK);
    printf("%lld parameters, %lld + %lld flops, %lld bytes\n", (long long)cost.parameters,
           (long long)cost.forward_flops_per_sample, (long long)cost.training_flops_per_sample,
           (long long)cost.training_bytes);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph__of_the_default_example_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
