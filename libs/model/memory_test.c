/*
 * Memory that runs out: every allocation of parsing a spec, building its graph and planning it fails once, and
 * each time the answer is CYX_ERR_NO_MEMORY, with nothing leaked (asan looks) and nothing handed out.
 */
#include "model/plan.h"
#include "model/summary.h"
#include "model/test_specs.h"

/* The linker sends our libraries' calls here (--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static int allocations_left = -1; /* -1: as many as there are */

static int none_left(void)
{
    if (allocations_left < 0)
        return 0;
    return allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return none_left() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return none_left() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return none_left() ? NULL : __real_realloc(block, size);
}

static enum cyx_status build_all(const char *text, size_t length, struct cyx_error *err)
{
    struct cyx_job_spec *spec = NULL;
    struct cyx_graph *graph = NULL;
    struct cyx_plan *plan = NULL;
    struct cyx_model_cost cost;
    struct cyx_model_summary *summary = NULL;
    enum cyx_status status = cyx_job_spec_parse(text, length, &spec, err);
    if (status == CYX_OK)
        status = cyx_graph_create(spec, &(struct cyx_graph_options){.batch = 4, .training = true},
                                  &graph, err);
    if (status == CYX_OK)
        status = cyx_graph_differentiate(graph, err);
    if (status == CYX_OK)
        status = cyx_graph_add_optimizer(graph, &spec->optimizer, &spec->clip, err);
    if (status == CYX_OK)
        status = cyx_plan_create(graph, NULL, NULL, 64, NULL, &plan, err);
    if (status == CYX_OK)
        status = cyx_model_cost(spec, &cost, err);
    if (status == CYX_OK)
        status = cyx_model_summarize(spec, 4, &summary, err);
    cyx_model_summary_destroy(summary);
    cyx_plan_destroy(plan);
    cyx_graph_destroy(graph);
    cyx_job_spec_destroy(spec);
    return status;
}

static void test_memory__running_out_anywhere_is_told_and_leaks_nothing(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_error err = {0};
    assert_int_equal(
        cyx_buf_read_file(&text, CYX_SOURCE_DIR "/docs/examples/fashion-cnn.json", 1 << 20, &err),
        CYX_OK);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    int n = 0;
    for (; status != CYX_OK && n < 10000; n++) {
        allocations_left = n;
        status = build_all(text.data, text.length, &err);
        bool ran_out = allocations_left < 0;
        allocations_left = -1;
        if (status != (ran_out ? CYX_ERR_NO_MEMORY : CYX_OK))
            fail_msg("allocation %d: %s: %s", n, cyx_status_name(status), err.message);
    }
    print_message("%d allocations failed in turn\n", n - 1);
    assert_int_equal(status, CYX_OK);
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory__running_out_anywhere_is_told_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
