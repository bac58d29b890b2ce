#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/message.h"
#include "contract/subjects.h"

#define ID "0192f0c1-2345-7abc-8def-0123456789ab"

static json_t *object_of(const char *text)
{
    json_t *object = NULL;
    struct cyx_error err = {0};
    if (cyx_message_parse(text, strlen(text), &object, &err) != CYX_OK)
        fail_msg("%s: %s", text, err.message);
    return object;
}

static void test_message__parse_takes_one_object_and_nothing_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"[]", "3", "{", "{} x", "{\"a\":1,\"a\":2}", "\"text\"", " "};
    CYX_CLEANUP_JSON json_t *empty = object_of("");
    assert_int_equal(json_object_size(empty), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *object = NULL;
        struct cyx_error err = {0};
        if (cyx_message_parse(bad[i], strlen(bad[i]), &object, &err) != CYX_ERR_INVALID)
            fail_msg("%s was taken for a message", bad[i]);
        assert_null(object);
        assert_true(err.message[0] != '\0');
    }
}

static void test_message__getters_give_what_is_there(void **state)
{
    (void)state;
    CYX_CLEANUP_JSON json_t *object =
        object_of("{\"text\":\"a\",\"id\":\"" ID "\",\"n\":7,\"o\":{},\"cost\":\"2.5 CYX\","
                  "\"none\":null}");
    const char *text = NULL, *id = NULL, *kept = "kept";
    int64_t n = 0, amount = 0, same = 42;
    json_t *inner = NULL;
    assert_int_equal(cyx_message_text(object, "text", &text, NULL), CYX_OK);
    assert_string_equal(text, "a");
    assert_int_equal(cyx_message_id(object, "id", &id, NULL), CYX_OK);
    assert_string_equal(id, ID);
    assert_int_equal(cyx_message_int(object, "n", 7, 7, &n, NULL), CYX_OK);
    assert_int_equal(n, 7);
    assert_int_equal(cyx_message_object(object, "o", &inner, NULL), CYX_OK);
    assert_ptr_equal(inner, json_object_get(object, "o"));
    assert_int_equal(cyx_message_amount(object, "cost", &amount, NULL), CYX_OK);
    assert_int_equal(amount, 2500000000);
    for (int i = 0; i < 2; i++) { /* absent and null leave the output as it is */
        const char *key = i ? "none" : "missing";
        assert_int_equal(cyx_message_maybe_text(object, key, &kept, NULL), CYX_OK);
        assert_int_equal(cyx_message_maybe_id(object, key, &kept, NULL), CYX_OK);
        assert_int_equal(cyx_message_maybe_int(object, key, 0, 1, &same, NULL), CYX_OK);
    }
    assert_string_equal(kept, "kept");
    assert_int_equal(same, 42);
}

static void test_message__wrong_fields_are_named(void **state)
{
    (void)state;
    CYX_CLEANUP_JSON json_t *object =
        object_of("{\"number\":3,\"empty\":\"\",\"half\":1.5,\"big\":10,\"minus\":\"-1 CYX\","
                  "\"none\":null}");
    const char *text = NULL;
    int64_t n = 42;
    json_t *inner = NULL;
    struct cyx_error err = {0};
#define REFUSED(call, place)                                                                       \
    assert_int_equal(call, CYX_ERR_INVALID);                                                       \
    assert_string_equal(err.pointer, place);                                                       \
    assert_non_null(strstr(err.message, "expected "))
    REFUSED(cyx_message_text(object, "missing", &text, &err), "/missing");
    REFUSED(cyx_message_text(object, "none", &text, &err), "/none");
    REFUSED(cyx_message_text(object, "number", &text, &err), "/number");
    REFUSED(cyx_message_text(object, "empty", &text, &err), "/empty");
    REFUSED(cyx_message_maybe_text(object, "number", &text, &err), "/number");
    REFUSED(cyx_message_id(object, "missing", &text, &err), "/missing");
    REFUSED(cyx_message_id(object, "empty", &text, &err), "/empty");
    REFUSED(cyx_message_int(object, "half", 0, 9, &n, &err), "/half");
    REFUSED(cyx_message_int(object, "big", 0, 9, &n, &err), "/big");
    assert_non_null(strstr(err.message, "from 0 to 9"));
    REFUSED(cyx_message_object(object, "number", &inner, &err), "/number");
    REFUSED(cyx_message_amount(object, "minus", &n, &err), "/minus");
    REFUSED(cyx_message_amount(object, "number", &n, &err), "/number");
#undef REFUSED
    assert_null(text);
    assert_null(inner);
    assert_int_equal(n, 42);
}

static void test_message__page_has_a_default_and_a_limit(void **state)
{
    (void)state;
    int64_t limit = 0;
    const char *cursor = "x";
    CYX_CLEANUP_JSON json_t *none = object_of("{}");
    assert_int_equal(cyx_message_page(none, &limit, &cursor, NULL), CYX_OK);
    assert_int_equal(limit, CYX_LIST_DEFAULT);
    assert_null(cursor);
    CYX_CLEANUP_JSON json_t *both = object_of("{\"limit\":200,\"cursor\":\"" ID "\"}");
    assert_int_equal(cyx_message_page(both, &limit, &cursor, NULL), CYX_OK);
    assert_int_equal(limit, 200);
    assert_string_equal(cursor, ID);
    CYX_CLEANUP_JSON json_t *many = object_of("{\"limit\":201}");
    assert_int_equal(cyx_message_page(many, &limit, &cursor, NULL), CYX_ERR_INVALID);
    CYX_CLEANUP_JSON json_t *foreign = object_of("{\"cursor\":\"1; DROP TABLE\"}");
    assert_int_equal(cyx_message_page(foreign, &limit, &cursor, NULL), CYX_ERR_INVALID);
}

static void test_message__writes_compact_text(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    json_t *json = json_pack("{s:o,s:o,s:o,s:o,s:o}", "cost", cyx_message_new_amount(1), "a",
                             cyx_message_new_text("a"), "b", cyx_message_new_text(""), "t",
                             cyx_message_new_time(1000), "never", cyx_message_new_time(0));
    assert_int_equal(cyx_message_write(json, &text, NULL), CYX_OK);
    assert_string_equal(text.data, "{\"cost\":\"0.000000001 CYX\",\"a\":\"a\",\"b\":null,"
                                   "\"t\":\"1970-01-01T00:00:01.000Z\",\"never\":null}");
    assert_int_equal(cyx_message_write(NULL, &text, NULL), CYX_ERR_NO_MEMORY);
}

static void test_subject__holds_an_id_or_nothing(void **state)
{
    (void)state;
    char subject[CYX_SUBJECT_BYTES], id[CYX_ID_BYTES];
    assert_int_equal(cyx_subject_node(subject, ID, CYX_NODE_OFFER), CYX_OK);
    assert_string_equal(subject, "cyx.node." ID ".offer");
    assert_true(cyx_subject_id(subject, id));
    assert_string_equal(id, ID);
    assert_int_equal(cyx_subject_job(subject, "0192F0C1-2345-7ABC-8DEF-0123456789AB", "*"), CYX_OK);
    assert_string_equal(subject, "cyx.job." ID ".*");
    static const char *const ids[] = {"", "*", ">", "a.b", (ID "x"), NULL};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_int_equal(cyx_subject_job(subject, ids[i], "log"), CYX_ERR_INVALID);
        assert_string_equal(subject, "");
    }
    static const char *const others[] = {
        "cyx.job", "cyx.job." ID, "foo.job." ID ".log", "cyx.job.0.log", "cyx.job.*.log", "", NULL};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(cyx_subject_id(others[i], id));
        assert_string_equal(id, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message__parse_takes_one_object_and_nothing_else),
        cmocka_unit_test(test_message__getters_give_what_is_there),
        cmocka_unit_test(test_message__wrong_fields_are_named),
        cmocka_unit_test(test_message__page_has_a_default_and_a_limit),
        cmocka_unit_test(test_message__writes_compact_text),
        cmocka_unit_test(test_subject__holds_an_id_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
