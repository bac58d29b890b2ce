#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "blob/grant.h"

static const char key_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static struct cyx_grant sample(void)
{
    struct cyx_grant grant = {
        .token = 7, .expires_s = 1764000000, .rights = CYX_GRANT_READ | CYX_GRANT_WRITE};
    snprintf(grant.job_id, sizeof(grant.job_id), "0198b5d2-7c3a-7000-8000-0123456789ab");
    snprintf(grant.node_id, sizeof(grant.node_id), "0198b5d2-7c3a-7000-9000-ba9876543210");
    return grant;
}

static void test_grant__comes_back_as_it_was_minted(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES];
    char text[CYX_GRANT_TEXT_BYTES];
    struct cyx_grant grant = sample(), back = {0};
    assert_int_equal(cyx_grant_key_parse(key_text, key, NULL), CYX_OK);
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_OK);
    assert_null(strpbrk(text, "+/="));
    assert_int_equal(cyx_grant_verify(key, text, 1763999999, &back, NULL), CYX_OK);
    assert_string_equal(back.job_id, grant.job_id);
    assert_string_equal(back.node_id, grant.node_id);
    assert_int_equal(back.token, 7);
    assert_int_equal(back.expires_s, 1764000000);
    assert_int_equal(back.rights, CYX_GRANT_READ | CYX_GRANT_WRITE);
}

static void test_grant__may_name_an_upload(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES];
    char text[CYX_GRANT_TEXT_BYTES];
    struct cyx_grant grant = sample(), back = {0};
    cyx_grant_key_parse(key_text, key, NULL);
    grant.token = INT64_MAX;
    grant.expires_s = INT64_MAX;
    memset(grant.data, 'a', CYX_SHA256_HEX - 1);
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_OK);
    assert_int_equal(cyx_grant_verify(key, text, 1763999999, &back, NULL), CYX_OK);
    assert_string_equal(back.data, grant.data);
    assert_string_equal(back.initial, "");
    memset(grant.initial, 'b', CYX_SHA256_HEX - 1);
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_OK);
    assert_int_equal(cyx_grant_verify(key, text, 1763999999, &back, NULL), CYX_OK);
    assert_string_equal(back.initial, grant.initial);
    grant.data[3] = '"';
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_ERR_INVALID);
    grant = sample();
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_OK);
    assert_int_equal(cyx_grant_verify(key, text, 1763999999, &back, NULL), CYX_OK);
    assert_string_equal(back.data, "");
}

/* Made with Python's hmac and base64 from the contract's words, not with this code. */
static void test_grant__has_the_format_of_the_contract(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES];
    char text[CYX_GRANT_TEXT_BYTES];
    struct cyx_grant grant = sample();
    cyx_grant_key_parse(key_text, key, NULL);
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_OK);
    assert_string_equal(text, "eyJqb2IiOiIwMTk4YjVkMi03YzNhLTcwMDAtODAwMC0wMTIzNDU2Nzg5YWIi"
                              "LCJub2RlIjoiMDE5OGI1ZDItN2MzYS03MDAwLTkwMDAtYmE5ODc2NTQzMjEw"
                              "IiwidG9rZW4iOjcsImV4cCI6MTc2NDAwMDAwMCwicmlnaHRzIjoicncifQ.I"
                              "tBtDnStNc-3Lg_-q9zNOLiUMzW6pr0bJC6t585zGLI");
}

static void test_grant__refuses_every_changed_character(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES];
    char text[CYX_GRANT_TEXT_BYTES];
    struct cyx_grant grant = sample(), back = {0};
    cyx_grant_key_parse(key_text, key, NULL);
    cyx_grant_mint(key, &grant, text, NULL);
    for (size_t i = 0; text[i]; i++) {
        char kept = text[i];
        for (const char *c = "AB.z-\x80 "; *c; c++) {
            text[i] = *c;
            if (*c != kept)
                assert_int_equal(cyx_grant_verify(key, text, 0, &back, NULL),
                                 CYX_ERR_UNAUTHENTICATED);
        }
        text[i] = '\0'; /* cut short */
        assert_int_equal(cyx_grant_verify(key, text, 0, &back, NULL), CYX_ERR_UNAUTHENTICATED);
        text[i] = kept;
    }
    assert_int_equal(cyx_grant_verify(key, text, 0, &back, NULL), CYX_OK);
}

static void test_grant__refuses_other_keys_and_late_ones(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES], other[CYX_GRANT_KEY_BYTES];
    char text[CYX_GRANT_TEXT_BYTES], huge[2000];
    struct cyx_grant grant = sample(), back = {0};
    struct cyx_error error = {0};
    cyx_grant_key_parse(key_text, key, NULL);
    memcpy(other, key, sizeof(key));
    other[31] ^= 1;
    cyx_grant_mint(key, &grant, text, NULL);
    assert_int_equal(cyx_grant_verify(other, text, 0, &back, NULL), CYX_ERR_UNAUTHENTICATED);
    assert_int_equal(cyx_grant_verify(key, text, 1764000000, &back, &error),
                     CYX_ERR_UNAUTHENTICATED);
    assert_non_null(strstr(error.message, "expired"));
    memset(huge, 'A', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    assert_int_equal(cyx_grant_verify(key, huge, 0, &back, NULL), CYX_ERR_UNAUTHENTICATED);
    assert_int_equal(cyx_grant_verify(key, NULL, 0, &back, NULL), CYX_ERR_UNAUTHENTICATED);
    assert_int_equal(cyx_grant_verify(key, ".", 0, &back, NULL), CYX_ERR_UNAUTHENTICATED);
}

static void test_grant__key_and_fields_are_checked(void **state)
{
    (void)state;
    uint8_t key[CYX_GRANT_KEY_BYTES] = {0};
    char text[CYX_GRANT_TEXT_BYTES];
    struct cyx_error error = {0};
    assert_int_equal(cyx_grant_key_parse(NULL, key, &error), CYX_ERR_INVALID);
    assert_int_equal(cyx_grant_key_parse("00ff", key, &error), CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "CYXWIZ_GRANT_KEY"));
    struct cyx_grant grant = sample();
    grant.rights = 0;
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_ERR_INVALID);
    grant = sample();
    grant.job_id[0] = '"';
    assert_int_equal(cyx_grant_mint(key, &grant, text, NULL), CYX_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grant__comes_back_as_it_was_minted),
        cmocka_unit_test(test_grant__may_name_an_upload),
        cmocka_unit_test(test_grant__has_the_format_of_the_contract),
        cmocka_unit_test(test_grant__refuses_every_changed_character),
        cmocka_unit_test(test_grant__refuses_other_keys_and_late_ones),
        cmocka_unit_test(test_grant__key_and_fields_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
