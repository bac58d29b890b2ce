/* Whose word is taken for who a client is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/forward.h"

enum { LINES = 3 };

static void assert_client(const char *proxies, bool rfc7239, const char *peer,
                          const char *const lines[LINES], const char *client)
{
    struct cyx_forward *forward = NULL;
    struct cyx_http_pair headers[2 * LINES] = {{"Host", "x"}};
    struct cyx_http_request request = {.peer = peer, .headers = headers, .header_count = 1};
    char text[CYX_FORWARD_BYTES];
    for (size_t i = 0; i < LINES && lines[i]; i++)
        headers[request.header_count++] =
            (struct cyx_http_pair){rfc7239 ? "forwarded" : "x-FORWARDED-for", lines[i]};
    assert_int_equal(cyx_forward_create(proxies, rfc7239, &forward, NULL), CYX_OK);
    assert_string_equal(cyx_forward_client(forward, &request, text), client);
    cyx_forward_destroy(forward);
}

#define LINE(...) ((const char *const[LINES]){__VA_ARGS__})

static void test_forward__strangers_are_not_believed(void **state)
{
    (void)state;
    assert_client(NULL, false, "127.0.0.1", LINE("1.2.3.4"), "127.0.0.1");
    assert_client("", false, "127.0.0.1", LINE("1.2.3.4"), "127.0.0.1");
    assert_client("10.0.0.0/8", false, "11.0.0.1", LINE("1.2.3.4"), "11.0.0.1");
    assert_client("10.0.0.1", false, "10.0.0.2", LINE("1.2.3.4"), "10.0.0.2");
    assert_client("::1", false, "unknown", LINE("1.2.3.4"), "unknown");
    char text[CYX_FORWARD_BYTES];
    struct cyx_http_request request = {.peer = "9.9.9.9"};
    assert_string_equal(cyx_forward_client(NULL, &request, text), "9.9.9.9");
}

static void test_forward__the_first_that_is_no_proxy_is_the_client(void **state)
{
    (void)state;
    assert_client("127.0.0.1", false, "127.0.0.1", LINE("1.2.3.4"), "1.2.3.4");
    assert_client("127.0.0.1", false, "127.0.0.1", LINE(NULL), "127.0.0.1");
    /* What the client wrote itself stands before what the proxy appended. */
    assert_client("127.0.0.1", false, "127.0.0.1", LINE("6.6.6.6, 1.2.3.4"), "1.2.3.4");
    assert_client("127.0.0.1, 10.0.0.0/8", false, "127.0.0.1",
                  LINE("6.6.6.6,1.2.3.4,10.1.2.3 , 10.9.9.9"), "1.2.3.4");
    assert_client("127.0.0.1 10.0.0.0/8", false, "127.0.0.1",
                  LINE("6.6.6.6", "1.2.3.4, 10.1.2.3", "10.2.2.2"), "1.2.3.4");
    assert_client("10.0.0.0/8", false, "10.0.0.1", LINE("10.0.0.3, 10.0.0.2"), "10.0.0.3");
    assert_client("fd00::/8 ::1", false, "::1", LINE("2001:db8::7, fd12::1"), "2001:db8::7");
    assert_client("10.0.0.0/8", false, "::ffff:10.0.0.1", LINE("::ffff:1.2.3.4"), "1.2.3.4");
    assert_client("10.128.0.0/9", false, "10.200.0.1", LINE("10.1.0.1"), "10.1.0.1");
    assert_client("0.0.0.0/0", false, "8.8.8.8", LINE("7.7.7.7"), "7.7.7.7");
    assert_client("127.0.0.1", false, "127.0.0.1", LINE("1.2.3.4:5678"), "1.2.3.4");
    assert_client("127.0.0.1", false, "127.0.0.1", LINE("[2001:db8::1]:5678"), "2001:db8::1");
}

static void test_forward__what_is_no_address_ends_the_reading(void **state)
{
    (void)state;
    static const char *const none[] = {
        "unknown",    "",
        "1.2.3",      "1.2.3.4.5",
        "1.2.3.4, x", "[::1",
        ",",          "a-name-that-is-much-longer-than-any-address-of-the-internet-is"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_client("127.0.0.1", false, "127.0.0.1", LINE(none[i]), "127.0.0.1");
    assert_client("127.0.0.1 10.0.0.1", false, "127.0.0.1", LINE("6.6.6.6, nonsense, 10.0.0.1"),
                  "10.0.0.1");
}

static void test_forward__the_header_of_rfc_7239(void **state)
{
    (void)state;
    assert_client("127.0.0.1", true, "127.0.0.1", LINE("for=192.0.2.60;proto=http;by=203.0.113.43"),
                  "192.0.2.60");
    assert_client("127.0.0.1", true, "127.0.0.1",
                  LINE("for=6.6.6.6", "proto=https ; For=\"[2001:db8:cafe::17]:4711\""),
                  "2001:db8:cafe::17");
    assert_client("127.0.0.1", true, "127.0.0.1", LINE("for=\"6.6.6.6, for=1.2.3.4"), "1.2.3.4");
    assert_client("127.0.0.1", true, "127.0.0.1", LINE("for=_hidden"), "127.0.0.1");
    assert_client("127.0.0.1", true, "127.0.0.1", LINE("by=1.2.3.4"), "127.0.0.1");
    assert_client("127.0.0.1", true, "127.0.0.1", LINE("1.2.3.4"), "127.0.0.1");
}

static void test_forward__what_is_no_proxy_is_refused(void **state)
{
    (void)state;
    static const char *const none[] = {"proxy.example",     "10.0.0.0/33", "10.0.0.0/",
                                       "10.0.0.0/-1",       "::/129",      "10.0.0.1/8x",
                                       "127.0.0.1;10.0.0.1"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct cyx_forward *forward = NULL;
        struct cyx_error err = {0};
        assert_int_equal(cyx_forward_create(none[i], false, &forward, &err), CYX_ERR_INVALID);
        assert_non_null(strstr(err.message, "10.0.0.0/8"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward__strangers_are_not_believed),
        cmocka_unit_test(test_forward__the_first_that_is_no_proxy_is_the_client),
        cmocka_unit_test(test_forward__what_is_no_address_ends_the_reading),
        cmocka_unit_test(test_forward__the_header_of_rfc_7239),
        cmocka_unit_test(test_forward__what_is_no_proxy_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
