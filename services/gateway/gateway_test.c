#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants these first */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "gateway.h"
#include "limit.h"
#include "memo.h"
#include "record.h"

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

static void test_gateway__scopes_are_words_and_unknown_ones_are_left_out(void **state)
{
    (void)state;
    char text[GATEWAY_SCOPES_BYTES];
    gateway_scopes_format(GATEWAY_SCOPES_ALL, text);
    assert_string_equal(text, "read write account admin");
    gateway_scopes_format(GATEWAY_SCOPE_WRITE | GATEWAY_SCOPE_READ, text);
    assert_string_equal(text, "read write");
    gateway_scopes_format(0, text);
    assert_string_equal(text, "");
    assert_int_equal(gateway_scopes_parse("admin  read sudo writer-of-very-long-names"),
                     GATEWAY_SCOPE_ADMIN | GATEWAY_SCOPE_READ);
    assert_int_equal(gateway_scopes_parse(""), 0);
    assert_string_equal(gateway_scope_name(GATEWAY_SCOPE_ACCOUNT), "account");
}

/* RFC 8032, 7.1, test 2. */
#define PUBLIC_KEY "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
#define SIGNATURE                                                                                  \
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"                             \
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"

static void test_gateway__signatures_are_ed25519(void **state)
{
    (void)state;
    char changed[] = SIGNATURE;
    assert_true(gateway_signature_valid(PUBLIC_KEY, "r", SIGNATURE));
    assert_false(gateway_signature_valid(PUBLIC_KEY, "s", SIGNATURE));
    assert_false(gateway_signature_valid(PUBLIC_KEY, "", SIGNATURE));
    changed[10] = changed[10] == '0' ? '1' : '0';
    assert_false(gateway_signature_valid(PUBLIC_KEY, "r", changed));
    assert_false(gateway_signature_valid(PUBLIC_KEY, "r", "92a0"));
    assert_false(gateway_signature_valid(PUBLIC_KEY, "r", PUBLIC_KEY "zz" PUBLIC_KEY));
    /* A point of small order, whose signatures fit any text. */
    static const char small[] = "0100000000000000000000000000000000000000000000000000000000000000";
    static const char any[] = "0100000000000000000000000000000000000000000000000000000000000000"
                              "0000000000000000000000000000000000000000000000000000000000000000";
    assert_false(gateway_signature_valid(small, "r", any));
    assert_true(gateway_public_key_plausible(PUBLIC_KEY));
    assert_false(gateway_public_key_plausible("3D4017c3"));
}

static void test_gateway__a_challenge_says_who_asks_for_what_and_until_when(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    char text[GATEWAY_CHALLENGE_BYTES], nonce[GATEWAY_NONCE_BYTES], other[GATEWAY_NONCE_BYTES];
    struct gateway_challenge challenge = {.domain = "cyx.example",
                                          .uri = "https://cyx.example",
                                          .action = "sign in",
                                          .public_key = PUBLIC_KEY,
                                          .nonce = "00ff",
                                          .issued_ms = 0,
                                          .expires_ms = 300000};
    assert_int_equal(gateway_challenge_format(&challenge, text, &err), CYX_OK);
    assert_string_equal(text, "cyx.example wants you to sign in with your Ed25519 key:\n" PUBLIC_KEY
                              "\n\nURI: https://cyx.example\nVersion: 1\nNonce: 00ff\n"
                              "Issued At: 1970-01-01T00:00:00.000Z\n"
                              "Expiration Time: 1970-01-01T00:05:00.000Z");
    char domain[GATEWAY_CHALLENGE_BYTES];
    memset(domain, 'a', sizeof(domain) - 1);
    domain[sizeof(domain) - 1] = '\0';
    challenge.domain = domain;
    assert_int_equal(gateway_challenge_format(&challenge, text, &err), CYX_ERR_TOO_LARGE);
    gateway_nonce_new(nonce);
    gateway_nonce_new(other);
    assert_int_equal(strlen(nonce), GATEWAY_NONCE_BYTES - 1);
    assert_string_not_equal(nonce, other);
}

static void test_limit__shares_are_asked_for_and_counted_down(void **state)
{
    (void)state;
    struct limit *limit = limit_create();
    struct limit_state at = {0};
    assert_int_equal(limit_share(100), 2);
    assert_int_equal(limit_share(10), 1);
    assert_int_equal(limit_take(limit, "a", 100, 1000, &at), LIMIT_ASK);
    limit_grant(limit, "a", 2, 98, 30000, 1000);
    assert_int_equal(limit_take(limit, "a", 100, 1500, &at), LIMIT_TAKEN);
    assert_int_equal(at.limit, 100);
    assert_int_equal(at.remaining, 99);
    assert_int_equal(at.reset_ms, 29500);
    assert_int_equal(limit_take(limit, "b", 100, 1500, &at), LIMIT_ASK); /* another's is its own */
    assert_int_equal(limit_take(limit, "a", 100, 1500, &at), LIMIT_TAKEN);
    assert_int_equal(limit_take(limit, "a", 100, 1500, &at), LIMIT_ASK);
    limit_grant(limit, "a", 0, 0, 20000, 2000); /* others have taken the rest */
    assert_int_equal(limit_take(limit, "a", 100, 2000, &at), LIMIT_REFUSED);
    assert_int_equal(at.remaining, 0);
    assert_int_equal(at.reset_ms, 20000);
    assert_int_equal(limit_take(limit, "a", 100, 22000, &at), LIMIT_ASK); /* a new window */
    limit_destroy(limit);
    limit_destroy(NULL);
}

static void test_limit__alone_it_holds_by_its_own_count(void **state)
{
    (void)state;
    struct limit *limit = limit_create();
    struct limit_state at = {0};
    int taken = 0;
    for (int i = 0; i < 1000; i++) {
        enum limit_answer answer = limit_take(limit, "a", 120, 5000, &at);
        if (answer == LIMIT_ASK)
            limit_grant_self(limit, "a", 120, 5000);
        taken += answer == LIMIT_TAKEN;
    }
    assert_int_equal(taken, 120);
    assert_int_equal(at.reset_ms, LIMIT_WINDOW_MS);
    assert_int_equal(limit_take(limit, "a", 120, 5000 + LIMIT_WINDOW_MS, &at), LIMIT_ASK);
    limit_destroy(limit);
}

static void test_memo__gives_the_owner_what_is_young_and_was_not_forgotten(void **state)
{
    (void)state;
    static const char job[] = "01935b1e-0000-7000-8000-000000000001", me[] = "me", you[] = "you";
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct memo *memo = memo_create();
    uint64_t generation = memo_generation(memo, job);
    assert_false(memo_find(memo, job, me, &text));
    memo_keep(memo, job, me, generation, "{}", 2);
    assert_false(memo_find(memo, job, you, &text));
    assert_true(memo_find(memo, job, me, &text));
    assert_int_equal(text.length, 2);
    memo_forget(memo, job);
    assert_false(memo_find(memo, job, me, &text));
    memo_keep(memo, job, me, generation, "{}", 2); /* was fetched before it changed */
    assert_false(memo_find(memo, job, me, &text));
    memo_keep(memo, job, me, memo_generation(memo, job), "[]", 2);
    int64_t until_ns = cyx_clock_monotonic_ns() + (MEMO_MS + 1) * INT64_C(1000000);
    while (cyx_clock_monotonic_ns() < until_ns)
        cyx_buf_clear(&text);
    assert_false(memo_find(memo, job, me, &text)); /* is to fetch it, the others are not */
    assert_true(memo_find(memo, job, me, &text));
    until_ns += MEMO_GRACE_MS * INT64_C(1000000);
    while (cyx_clock_monotonic_ns() < until_ns)
        cyx_buf_clear(&text);
    assert_false(memo_find(memo, job, me, &text));
    assert_false(memo_find(memo, job, me, &text));
    memo_destroy(memo);
    memo_destroy(NULL);
}

static void add_step(struct record_points *points, uint64_t sequence, double loss)
{
    char text[64];
    snprintf(text, sizeof(text), "{\"sequence\":%llu}", (unsigned long long)sequence);
    struct record_point point = {
        .step = (double)sequence, .loss = loss, .sequence = sequence, .json = text};
    assert_int_equal(record_points_add(points, &point), CYX_OK);
}

static void test_record__few_points_stay_as_they_are(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct record_points points = {0};
    char sum[] = "{\"sequence\":2}";
    assert_int_equal(record_points_write(&points, &text), 0);
    assert_string_equal(text.data, "[]");
    cyx_buf_clear(&text);
    add_step(&points, 1, 0.5);
    struct record_point epoch = {.epoch = true, .sequence = 2, .json = sum};
    assert_int_equal(record_points_add(&points, &epoch), CYX_OK);
    add_step(&points, 3, 0.25);
    assert_int_equal(record_points_write(&points, &text), 3);
    assert_string_equal(text.data, "[{\"sequence\":1},{\"sequence\":2},{\"sequence\":3}]");
    record_points_finish(&points);
}

static void test_record__many_become_few_with_both_ends_and_the_peak(void **state)
{
    (void)state;
    enum { MANY = 15000, PEAK = 7777 };
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct record_points points = {0};
    for (uint64_t i = 1; i <= MANY; i++)
        add_step(&points, i, i == PEAK ? 100 : 1.0 / (double)i);
    assert_int_equal(record_points_write(&points, &text), RECORD_STEPS);
    assert_non_null(strstr(text.data, "[{\"sequence\":1},"));
    assert_non_null(strstr(text.data, ",{\"sequence\":7777},"));
    assert_non_null(strstr(text.data, ",{\"sequence\":15000}]"));
    for (uint64_t i = MANY + 1; i <= 20 * MANY; i++) /* memory stays bounded */
        add_step(&points, i, i % 2 ? (double)NAN : 0.5);
    assert_true(points.steps.count < 2 * RECORD_HELD);
    assert_int_equal(points.seen, 20 * MANY);
    cyx_buf_clear(&text);
    assert_int_equal(record_points_write(&points, &text), RECORD_STEPS);
    record_points_finish(&points);
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
        cmocka_unit_test(test_gateway__scopes_are_words_and_unknown_ones_are_left_out),
        cmocka_unit_test(test_gateway__signatures_are_ed25519),
        cmocka_unit_test(test_gateway__a_challenge_says_who_asks_for_what_and_until_when),
        cmocka_unit_test(test_memo__gives_the_owner_what_is_young_and_was_not_forgotten),
        cmocka_unit_test(test_record__few_points_stay_as_they_are),
        cmocka_unit_test(test_record__many_become_few_with_both_ends_and_the_peak),
        cmocka_unit_test(test_limit__shares_are_asked_for_and_counted_down),
        cmocka_unit_test(test_limit__alone_it_holds_by_its_own_count),
        cmocka_unit_test(test_gateway__idempotency_keys_and_roles),
    };
    return cmocka_run_group_tests(tests, start_crypto, NULL);
}
