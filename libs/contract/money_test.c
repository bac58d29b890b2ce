#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/money.h"

static void test_money__reads_amounts_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t base_units;
    } cases[] = {
        {"0 CYX", 0},
        {"1 CYX", 1000000000},
        {"2.5 CYX", 2500000000},
        {"0.000000001 CYX", 1},
        {"0.1 CYX", 100000000},
        {"0.30 CYX", 300000000},
        {"-12.5 CYX", -12500000000},
        {"-0 CYX", 0},
        {"9223372036.854775807 CYX", INT64_MAX},
        {"-9223372036.854775808 CYX", INT64_MIN},
        {"9007199.254740993 CYX", 9007199254740993}, /* 2^53 + 1: a double cannot hold it */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t got = 42;
        struct cyx_error err = {0};
        if (cyx_money_parse(cases[i].text, &got, &err) != CYX_OK)
            fail_msg("%s: %s", cases[i].text, err.message);
        assert_true(got == cases[i].base_units);
    }
}

static void test_money__refuses_what_is_no_amount(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",        "CYX",          " 1 CYX",
        "1",       "1CYX",         "1  CYX",
        "1 CYX ",  "1 cyx",        "1 USD",
        "1. CYX",  ".5 CYX",       "01 CYX",
        "+1 CYX",  "1e3 CYX",      "0x10 CYX",
        "1,5 CYX", "--1 CYX",      "- 1 CYX",
        "nan CYX", "1.2.3 CYX",    "1.0000000000 CYX",
        "1\n CYX", "\xC2\xBD CYX",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t got = 42;
        struct cyx_error err = {0};
        if (cyx_money_parse(texts[i], &got, &err) != CYX_ERR_INVALID)
            fail_msg("\"%s\" was taken for an amount", texts[i]);
        assert_int_equal(got, 42);
        assert_non_null(strstr(err.message, "\"2.5 CYX\""));
        for (const char *p = err.message; *p; p++)
            assert_true(*p >= ' ' && *p <= '~');
    }
}

static void test_money__refuses_what_does_not_fit(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "9223372036.854775808 CYX",
        "-9223372036.854775809 CYX",
        "9223372037 CYX",
        "99999999999999999999999999999999999999 CYX",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t got = 42;
        struct cyx_error err = {0};
        assert_int_equal(cyx_money_parse(texts[i], &got, &err), CYX_ERR_INVALID);
        assert_int_equal(got, 42);
        assert_non_null(strstr(err.message, "at most 9223372036.854775807 CYX"));
    }
}

static void test_money__formats_the_shortest_text(void **state)
{
    (void)state;
    static const struct {
        int64_t base_units;
        const char *text;
    } cases[] = {
        {0, "0 CYX"},
        {1, "0.000000001 CYX"},
        {-1, "-0.000000001 CYX"},
        {2500000000, "2.5 CYX"},
        {10000000000, "10 CYX"},
        {1000000010, "1.00000001 CYX"},
        {INT64_MAX, "9223372036.854775807 CYX"},
        {INT64_MIN, "-9223372036.854775808 CYX"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[CYX_MONEY_TEXT_BYTES];
        cyx_money_format(cases[i].base_units, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_money__text_and_back_is_the_same(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u; /* xorshift64, G. Marsaglia 2003 */
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        int64_t amount = (int64_t)x >> (i % 64), back = 0;
        char text[CYX_MONEY_TEXT_BYTES];
        cyx_money_format(amount, text);
        assert_int_equal(cyx_money_parse(text, &back, NULL), CYX_OK);
        assert_true(amount == back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_money__reads_amounts_exactly),
        cmocka_unit_test(test_money__refuses_what_is_no_amount),
        cmocka_unit_test(test_money__refuses_what_does_not_fit),
        cmocka_unit_test(test_money__formats_the_shortest_text),
        cmocka_unit_test(test_money__text_and_back_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
