#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway.h"

static void test_gateway__an_email_is_lower_cased_and_checked(void **state)
{
    (void)state;
    char email[GATEWAY_EMAIL_BYTES];
    struct cyx_error err = {0};
    assert_int_equal(gateway_email_normalise("Ada.L@Example.ORG", email, &err), CYX_OK);
    assert_string_equal(email, "ada.l@example.org");
    static const char *const wrong[] = {
        "",         "ada",      "@example.org", "ada@",        "a@b@c",
        "a da@b.c", "ada@.org", "ada@org.",     "ada@o\nrg.x", "\t@b.c"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(gateway_email_normalise(wrong[i], email, &err), CYX_ERR_INVALID);
        assert_string_equal(err.pointer, "/email");
    }
    char long_one[400];
    memset(long_one, 'a', sizeof(long_one));
    memcpy(long_one + 50, "@", 1);
    long_one[255] = '\0';
    assert_int_equal(gateway_email_normalise(long_one, email, &err), CYX_ERR_INVALID);
    long_one[254] = '\0';
    assert_int_equal(gateway_email_normalise(long_one, email, &err), CYX_OK);
}

static void test_gateway__names_and_passwords_have_limits(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    assert_int_equal(gateway_name_check("laptop", &err), CYX_OK);
    assert_int_equal(gateway_name_check("", &err), CYX_ERR_INVALID);
    assert_int_equal(gateway_name_check("a\nb", &err), CYX_ERR_INVALID);
    char text[2000];
    memset(text, 'x', sizeof(text));
    text[100] = '\0';
    assert_int_equal(gateway_name_check(text, &err), CYX_OK);
    text[100] = 'x';
    text[101] = '\0';
    assert_int_equal(gateway_name_check(text, &err), CYX_ERR_INVALID);
    assert_int_equal(gateway_password_check("1234567", &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/password");
    assert_int_equal(gateway_password_check("12345678", &err), CYX_OK);
    /* eight bytes that are four characters */
    assert_int_equal(gateway_password_check("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f", &err),
                     CYX_ERR_INVALID);
    memset(text, 'x', sizeof(text));
    text[1025] = '\0';
    assert_int_equal(gateway_password_check(text, &err), CYX_ERR_INVALID);
}

static double seconds_to_verify(const char *hash, const char *password, bool expected)
{
    struct timespec from, to;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    assert_int_equal(gateway_password_verify(hash, password), expected);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

static void test_gateway__an_unknown_account_costs_as_much_as_a_wrong_password(void **state)
{
    (void)state;
    char hash[GATEWAY_PASSWORD_HASH_BYTES];
    struct cyx_error err = {0};
    assert_int_equal(gateway_password_hash("correct horse", hash, &err), CYX_OK);
    assert_int_equal(strncmp(hash, "$argon2id$", 10), 0);
    seconds_to_verify(hash, "correct horse", true);
    double wrong = seconds_to_verify(hash, "battery staple", false);
    double unknown = seconds_to_verify(NULL, "battery staple", false);
    /* CPU time of two equal computations: half or double would be another computation */
    assert_true(unknown > wrong / 2 && unknown < wrong * 2);
    char too_long[GATEWAY_PASSWORD_LIMIT + 2];
    memset(too_long, 'x', sizeof(too_long));
    too_long[GATEWAY_PASSWORD_LIMIT + 1] = '\0';
    assert_true(seconds_to_verify(hash, too_long, false) > wrong / 2);
    assert_false(gateway_password_verify(NULL, ""));
}

static void test_gateway__tokens_are_unlike_and_only_their_hash_is_kept(void **state)
{
    (void)state;
    char a[GATEWAY_TOKEN_BYTES], b[GATEWAY_TOKEN_BYTES], hash[GATEWAY_HASH_BYTES];
    gateway_token_new(a);
    gateway_token_new(b);
    assert_string_not_equal(a, b);
    assert_true(gateway_token_plausible(a));
    gateway_token_hash("abc", hash);
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char key[GATEWAY_API_KEY_BYTES], prefix[GATEWAY_API_KEY_PREFIX_BYTES];
    gateway_api_key_new(key, prefix);
    assert_int_equal(strlen(key), 47);
    assert_int_equal(strncmp(key, prefix, 12), 0);
    assert_true(gateway_api_key_plausible(key));
    static const char *const wrong[] = {"", "cyx_", "cyx_short", "' or 1=1 --"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(gateway_api_key_plausible(wrong[i]));
        assert_false(gateway_token_plausible(wrong[i]));
    }
    key[10] = '/';
    assert_false(gateway_api_key_plausible(key));
    assert_false(gateway_api_key_plausible(NULL));
}

static void test_gateway__a_csrf_token_fits_its_session_alone(void **state)
{
    (void)state;
    char session[GATEWAY_TOKEN_BYTES], other[GATEWAY_TOKEN_BYTES], csrf[GATEWAY_HASH_BYTES];
    gateway_token_new(session);
    gateway_token_new(other);
    gateway_csrf_token(session, csrf);
    assert_true(gateway_csrf_matches(session, csrf));
    assert_false(gateway_csrf_matches(other, csrf));
    assert_false(gateway_csrf_matches(session, NULL));
    assert_false(gateway_csrf_matches(session, ""));
    csrf[63] = csrf[63] == '0' ? '1' : '0';
    assert_false(gateway_csrf_matches(session, csrf));
}

static void test_gateway__ranges_of_uploads_are_read_strictly(void **state)
{
    (void)state;
    struct gateway_range range;
    struct cyx_error err = {0};
    assert_int_equal(gateway_range_parse("bytes 5-9/10", 100, &range, &err), CYX_OK);
    assert_int_equal(range.first, 5);
    assert_int_equal(range.last, 9);
    assert_int_equal(range.total, 10);
    assert_int_equal(gateway_range_parse("bytes 0-0/1", 100, &range, &err), CYX_OK);
    static const char *const wrong[] = {"",
                                        "bytes",
                                        "bytes 0-1",
                                        "bytes 0-1/*",
                                        "bytes 1-0/2",
                                        "bytes 0-2/2",
                                        "bytes -1/2",
                                        "bytes 0-1/2 ",
                                        "bytes 0-+1/2",
                                        "items 0-1/2",
                                        "bytes  0-1/2",
                                        "bytes 0-99999999999999999999/2"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(gateway_range_parse(wrong[i], 100, &range, &err), CYX_ERR_INVALID);
    assert_int_equal(gateway_range_parse("bytes 0-1/101", 100, &range, &err), CYX_ERR_TOO_LARGE);
}

static void test_gateway__the_limiter_counts_a_window_for_each_key(void **state)
{
    (void)state;
    struct gateway_limiter *limiter = gateway_limiter_create(3, 60000);
    assert_non_null(limiter);
    int64_t wait = -1;
    for (int i = 0; i < 3; i++)
        assert_true(gateway_limiter_allow(limiter, "10.0.0.1", 1000 + i, &wait));
    assert_false(gateway_limiter_allow(limiter, "10.0.0.1", 2000, &wait));
    assert_int_equal(wait, 59000);
    assert_true(gateway_limiter_allow(limiter, "10.0.0.2", 2000, &wait));
    assert_true(gateway_limiter_allow(limiter, "10.0.0.1", 61000, &wait));
    gateway_limiter_destroy(limiter);
    gateway_limiter_destroy(NULL);
}

static void test_gateway__idempotency_keys_and_roles(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    assert_int_equal(gateway_idempotency_key_check("0192-ab_c.d", &err), CYX_OK);
    assert_int_equal(gateway_idempotency_key_check("", &err), CYX_ERR_INVALID);
    assert_int_equal(gateway_idempotency_key_check("a b", &err), CYX_ERR_INVALID);
    enum gateway_role role = GATEWAY_ROLE_USER;
    assert_true(gateway_role_parse("admin", &role));
    assert_string_equal(gateway_role_name(role), "admin");
    assert_false(gateway_role_parse("root", &role));
}

static int start_crypto(void **state)
{
    (void)state;
    return gateway_init(NULL) == CYX_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gateway__an_email_is_lower_cased_and_checked),
        cmocka_unit_test(test_gateway__names_and_passwords_have_limits),
        cmocka_unit_test(test_gateway__an_unknown_account_costs_as_much_as_a_wrong_password),
        cmocka_unit_test(test_gateway__tokens_are_unlike_and_only_their_hash_is_kept),
        cmocka_unit_test(test_gateway__a_csrf_token_fits_its_session_alone),
        cmocka_unit_test(test_gateway__ranges_of_uploads_are_read_strictly),
        cmocka_unit_test(test_gateway__the_limiter_counts_a_window_for_each_key),
        cmocka_unit_test(test_gateway__idempotency_keys_and_roles),
    };
    return cmocka_run_group_tests(tests, start_crypto, NULL);
}
