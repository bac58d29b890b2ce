#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "top.h"

#include "base/banned.h"

static const char *const nodes_text =
    "[{\"id\":\"n-1\",\"name\":\"bee\",\"status\":\"online\",\"running_jobs\":1,\"cpu_percent\":40,"
    "\"memory_used_bytes\":50,\"host_memory_bytes\":100,\"images_per_second\":10,\"system\":{"
    "\"disk_free_bytes\":1073741824,\"power_watts\":100,\"gpus\":[{\"busy_percent\":12},{"
    "\"memory_used_bytes\":90,\"memory_total_bytes\":100,\"power_watts\":50}],\"sandbox\":{"
    "\"walls\":"
    "\"bubblewrap\"}}},"
    "{\"id\":\"n-2\",\"name\":\"ant\\u001b[2J\",\"status\":\"offline\",\"cpu_percent\":95,"
    "\"system\":null}]";
static const char *const jobs_text =
    "[{\"id\":\"0123456789abcdef\",\"name\":\"one\",\"state\":\"queued\",\"pending\":{\"message\":"
    "\"all nodes are busy\"}},"
    "{\"id\":\"j-2\",\"name\":\"two\",\"state\":\"running\",\"node_id\":\"n-1\",\"progress\":{"
    "\"epoch\":1,"
    "\"epochs\":2,\"step\":50,\"total_steps\":200,\"loss\":0.5,\"accuracy\":null,"
    "\"images_per_second\":15},\"spec\":{\"data\":{\"batch_size\":10}}},"
    "{\"id\":\"j-3\",\"name\":\"three\",\"state\":\"completed\",\"progress\":{\"epoch\":2,"
    "\"epochs\":2,"
    "\"step\":9,\"total_steps\":9,\"loss\":0.1,\"accuracy\":0.915,\"images_per_second\":15}}]";

static int set_up(void **state)
{
    static struct top_view view;
    json_t *nodes = json_loads(nodes_text, 0, NULL), *jobs = json_loads(jobs_text, 0, NULL);
    assert_non_null(nodes);
    assert_non_null(jobs);
    assert_true(top_view_read(&view, nodes, jobs));
    json_decref(nodes);
    json_decref(jobs);
    *state = &view;
    return 0;
}

static int tear_down(void **state)
{
    top_view_finish(*state);
    return 0;
}

static size_t column_of(const struct top_table *table, const char *title)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].title, title) == 0)
            return i;
    fail_msg("no column %s", title);
    return 0;
}

static void expect_cell(const struct top_view *view, size_t which, size_t row, const char *title,
                        const char *expected)
{
    char text[TOP_TEXT_BYTES];
    const struct top_table *table = &top_tables[which];
    (void)table->cell(view, row, column_of(table, title), text);
    assert_string_equal(text, expected);
}

static void test_top__counts_and_tells(void **state)
{
    struct top_view *view = *state;
    assert_int_equal(view->online, 1);
    assert_int_equal(view->running, 1);
    assert_int_equal(view->waiting, 1);
    expect_cell(view, 0, 0, "CPU", "40%");
    expect_cell(view, 0, 0, "MEM", "50%");
    expect_cell(view, 0, 0, "GPU", "90%"); /* the fuller of the two, by what each says */
    expect_cell(view, 0, 0, "POWER", "150 W");
    expect_cell(view, 0, 0, "DISK FREE", "1.00 GiB");
    expect_cell(view, 0, 1, "CPU", "-"); /* what an offline node said last is no news */
    expect_cell(view, 0, 1, "NAME", "ant?[2J");
    expect_cell(view, 1, 0, "JOB", "89abcdef");
    expect_cell(view, 1, 1, "PROGRESS", "##.....  25%");
    expect_cell(view, 1, 1, "EPOCH", "1/2");
    expect_cell(view, 1, 1, "LEFT", "1m40"); /* 150 steps of 10 at 15 images a second */
    expect_cell(view, 1, 1, "ACC", "-");
    expect_cell(view, 1, 1, "NODE", "bee");
    expect_cell(view, 1, 2, "ACC", "91.5%");
    expect_cell(view, 1, 2, "LEFT", "-");
    size_t from = 0;
    assert_string_equal(top_tables[1].note(view, 0, &from), "all nodes are busy");
    assert_int_equal(from, column_of(&top_tables[1], "PROGRESS"));
    assert_null(top_tables[1].note(view, 1, &from));
}

static void test_top__sorts_by_any_column(void **state)
{
    struct top_view *view = *state;
    top_tables[0].sort(view, column_of(&top_tables[0], "NAME"), false);
    assert_string_equal(view->nodes[0].id, "n-2");
    top_tables[0].sort(view, column_of(&top_tables[0], "JOBS"), false);
    assert_string_equal(view->nodes[0].id, "n-1");
    top_tables[0].sort(view, column_of(&top_tables[0], "JOBS"), true);
    assert_string_equal(view->nodes[0].id, "n-2");
    top_tables[1].sort(view, column_of(&top_tables[1], "STATE"), false);
    assert_string_equal(view->jobs[0].name, "two"); /* running, queued, ended */
    assert_string_equal(view->jobs[1].name, "one");
    top_tables[1].sort(view, column_of(&top_tables[1], "PROGRESS"), false);
    assert_string_equal(view->jobs[0].name, "three");
    top_tables[1].sort(view, column_of(&top_tables[1], "JOB"), false);
    assert_string_equal(view->jobs[0].name, "one"); /* as the gateway gave them */
}

static int width_of(const struct top_table *table, const int *widths)
{
    int sum = 0;
    for (size_t i = 0; i < table->n_columns; i++)
        sum += widths[i] ? widths[i] + 1 : 0;
    return sum - 1;
}

static void test_top__fills_the_screen_and_no_more(void **state)
{
    (void)state;
    int widths[16];
    for (size_t which = 0; which < TOP_TABLES; which++) {
        const struct top_table *table = &top_tables[which];
        for (int width = 80; width <= 200; width += 7) {
            top_widths(table, width, widths);
            assert_int_equal(width_of(table, widths), width);
        }
        top_widths(table, 80, widths);
        assert_true(widths[column_of(table, "NAME")] >= 14);
        assert_int_equal(widths[table->n_columns - 1], 0); /* left out */
        top_widths(table, 120, widths);
        assert_true(widths[table->n_columns - 1] > 0);
        top_widths(table, 10, widths); /* hopeless, but sane */
        assert_int_equal(widths[column_of(table, "NAME")], 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_top__counts_and_tells, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_top__sorts_by_any_column, set_up, tear_down),
        cmocka_unit_test(test_top__fills_the_screen_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
