#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "contract/message.h"
#include "contract/page.h"
#include "contract/subjects.h"

static const struct cyx_page_order orders[] = {
    {"-created_at", true}, {"name", false}, {"-name", false}, {0}};
static const char id[] = "0198b5d2-7c3a-7000-8000-0123456789ab";

static enum cyx_status read(const char *sort, const char *cursor, struct cyx_page *page,
                            struct cyx_error *err)
{
    CYX_CLEANUP_JSON json_t *message = json_pack("{s:s*,s:s*}", "sort", sort, "cursor", cursor);
    return cyx_page_read(message, orders, page, err);
}

static void test_page__without_a_word_it_is_the_first_of_the_default_order(void **state)
{
    (void)state;
    struct cyx_page page;
    assert_int_equal(read(NULL, NULL, &page, NULL), CYX_OK);
    assert_true(page.order == 0 && page.limit == CYX_LIST_DEFAULT);
    assert_null(cyx_page_id(&page));
    assert_int_equal(cyx_page_parse("", "", 7, orders, &page, NULL), CYX_OK);
    assert_int_equal(page.limit, 7);
    assert_null(cyx_page_id(&page));
}

static void test_page__a_cursor_leads_on(void **state)
{
    (void)state;
    static const char *const values[] = {"größe, \"x\"", "", "a.b.c"};
    struct cyx_page page, next;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(read("-name", NULL, &page, NULL), CYX_OK);
        CYX_CLEANUP_JSON json_t *cursor = cyx_page_next(orders, &page, values[i], id);
        assert_int_equal(read("-name", json_string_value(cursor), &next, NULL), CYX_OK);
        assert_int_equal(next.order, 2);
        assert_string_equal(cyx_page_id(&next), id);
        assert_string_equal(next.value, values[i]);
    }
    assert_int_equal(read(NULL, NULL, &page, NULL), CYX_OK);
    CYX_CLEANUP_JSON json_t *cursor = cyx_page_next(orders, &page, NULL, id);
    assert_string_equal(json_string_value(cursor), id);
    assert_int_equal(read("-created_at", id, &next, NULL), CYX_OK);
    assert_string_equal(cyx_page_id(&next), id);
}

static void test_page__what_is_none_is_refused(void **state)
{
    (void)state;
    struct cyx_page page;
    struct cyx_error err = {0};
    assert_int_equal(read("size", NULL, &page, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/sort");
    assert_string_equal(err.message, "expected one of -created_at, name, -name");
    static const struct {
        const char *sort, *cursor;
    } bad[] = {
        {NULL, "x"},
        {NULL, "name.0198b5d2-7c3a-7000-8000-0123456789ab.61"},
        {"name", "0198b5d2-7c3a-7000-8000-0123456789ab"},
        {"name", "-name.0198b5d2-7c3a-7000-8000-0123456789ab.61"},
        {"name", "name.0198b5d2-7c3a-7000-8000-0123456789ab"},
        {"name", "name.0198b5d2-7c3a-7000-8000-0123456789ab."
                 "zz"},
        {"name", "name.0198b5d2-7c3a-7000-8000-0123456789ab.6100"},
        {"name", "name.0198b5d2-7c3a-7000-8000-0123456789ab.616"},
        {"name", "name.0198b5d2-7c3a-7000-8000-0123456789a?.61"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read(bad[i].sort, bad[i].cursor, &page, &err), CYX_ERR_INVALID);
        assert_string_equal(err.pointer, "/cursor");
    }
    char long_one[CYX_PAGE_CURSOR_BYTES + 100] = "name.0198b5d2-7c3a-7000-8000-0123456789ab.";
    memset(long_one + strlen(long_one), '6', sizeof(long_one) - strlen(long_one) - 1);
    assert_int_equal(read("name", long_one, &page, &err), CYX_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page__without_a_word_it_is_the_first_of_the_default_order),
        cmocka_unit_test(test_page__a_cursor_leads_on),
        cmocka_unit_test(test_page__what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
