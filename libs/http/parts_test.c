/* The parts that need no socket: router, target, cookies, ranges, ETags, problems, event parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/private.h"
#include "http/sse.h"

static enum cyx_status nothing(void *ctx, const struct cyx_http_request *request,
                               struct cyx_http_response *response)
{
    (void)ctx;
    (void)request;
    return cyx_http_respond_empty(response, 204);
}

/* ---- router ---- */

static const struct cyx_http_route routes[] = {
    {.method = "GET", .path = "/", .handler = nothing},
    {.method = "GET", .path = "/jobs", .handler = nothing},
    {.method = "POST", .path = "/jobs", .handler = nothing},
    {.method = "GET", .path = "/jobs/{id}", .handler = nothing},
    {.method = "POST", .path = "/jobs/validate", .handler = nothing},
    {.method = "GET", .path = "/jobs/{id}/events", .handler = nothing},
    {.method = "GET", .path = "/{kind}/latest", .handler = nothing},
    {.method = "GET", .path = "/files/{rest*}", .handler = nothing},
};

enum { ROUTES = sizeof(routes) / sizeof(routes[0]) };

static enum cyx_status find(struct cyx_router *router, const char *method, const char *path,
                            struct cyx_router_match *match, struct cyx_arena *arena)
{
    struct cyx_target target;
    assert_int_equal(cyx_target_parse(path, arena, &target, NULL), CYX_OK);
    return cyx_router_find(router, method, target.segments, target.rests, target.count, match);
}

static void add_all(struct cyx_router *router)
{
    for (size_t i = 0; i < ROUTES; i++)
        assert_int_equal(cyx_router_add(router, &routes[i], NULL, NULL), CYX_OK);
}

static void test_router__finds_literals_before_names(void **state)
{
    (void)state;
    struct cyx_router router = {0};
    struct cyx_router_match match;
    struct cyx_arena arena = {0};
    add_all(&router);
    static const struct {
        const char *method, *path;
        int route; /* -1: no such path; -2: no such method */
    } cases[] = {
        {"GET", "/", 0},
        {"GET", "/jobs", 1},
        {"POST", "/jobs", 2},
        {"HEAD", "/jobs", 1},
        {"DELETE", "/jobs", -2},
        {"GET", "/jobs/7", 3},
        {"POST", "/jobs/validate", 4},
        {"GET", "/jobs/validate", -2},
        {"GET", "/jobs/7/events", 5},
        {"GET", "/jobs/validate/events", 5}, /* the way back from the literal */
        {"GET", "/jobs/latest", 3},
        {"GET", "/models/latest", 6},
        {"GET", "/models", -1},
        {"GET", "/jobs/", -1},
        {"GET", "/jobs//events", -1},
        {"GET", "/files/a/b%2Fc/d", 7},
        {"GET", "/files", -1},
        {"GET", "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum cyx_status found = find(&router, cases[i].method, cases[i].path, &match, &arena);
        int route = found != CYX_OK ? -1 : !match.route ? -2 : (int)(match.route - routes);
        if (route != cases[i].route)
            fail_msg("%s %s found %d, not %d", cases[i].method, cases[i].path, route,
                     cases[i].route);
    }
    cyx_arena_finish(&arena);
    cyx_router_finish(&router);
}

static void test_router__gives_parameters_and_allowed_methods(void **state)
{
    (void)state;
    struct cyx_router router = {0};
    struct cyx_router_match match;
    struct cyx_arena arena = {0};
    add_all(&router);
    find(&router, "GET", "/jobs/a%20b/events", &match, &arena);
    assert_int_equal(match.param_count, 1);
    assert_string_equal(match.params[0].name, "id");
    assert_string_equal(match.params[0].value, "a b");
    find(&router, "GET", "/files/x/y.txt", &match, &arena);
    assert_string_equal(match.params[0].value, "x/y.txt");
    find(&router, "PATCH", "/jobs", &match, &arena);
    assert_null(match.route);
    assert_non_null(strstr(match.allow, "GET"));
    assert_non_null(strstr(match.allow, "POST"));
    assert_non_null(strstr(match.allow, "HEAD"));
    cyx_arena_finish(&arena);
    cyx_router_finish(&router);
}

static void test_router__refuses_bad_patterns_and_doubles(void **state)
{
    (void)state;
    struct cyx_router router = {0};
    static const char *const bad[] = {"jobs", "/a/{b", "/a/x{b}", "/{a*}/b", "/{}", "/{*}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cyx_http_route route = {.method = "GET", .path = bad[i], .handler = nothing};
        assert_int_equal(cyx_router_add(&router, &route, NULL, NULL), CYX_ERR_INVALID);
    }
    assert_int_equal(cyx_router_add(&router, &routes[1], NULL, NULL), CYX_OK);
    assert_int_equal(cyx_router_add(&router, &routes[1], NULL, NULL), CYX_ERR_CONFLICT);
    cyx_router_finish(&router);
}

/* ---- target, cookies ---- */

static void test_target__decodes_paths_and_queries(void **state)
{
    (void)state;
    struct cyx_arena arena = {0};
    struct cyx_target target;
    assert_int_equal(cyx_target_parse("/a%2Fb/%C3%A9?x=1+2&y&z=%26%3d&&x=3", &arena, &target, NULL),
                     CYX_OK);
    assert_string_equal(target.path, "/a/b/\xC3\xA9");
    assert_int_equal(target.count, 2);
    assert_string_equal(target.segments[0], "a/b");
    assert_int_equal(target.query_count, 4);
    assert_string_equal(target.query[0].value, "1 2");
    assert_string_equal(target.query[1].name, "y");
    assert_string_equal(target.query[1].value, "");
    assert_string_equal(target.query[2].value, "&=");
    assert_int_equal(cyx_target_parse("http://host:80/p?q=1", &arena, &target, NULL), CYX_OK);
    assert_string_equal(target.path, "/p");
    assert_int_equal(cyx_target_parse("http://host", &arena, &target, NULL), CYX_OK);
    assert_string_equal(target.path, "/");
    cyx_arena_finish(&arena);
}

static void test_target__refuses_what_is_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {"/%",       "/%4",       "/%zz",   "/a%00b",   "/../x",
                                      "/a/../b",  "/%2e%2E/x", "/./a",   "relative", "*",
                                      "/a\x7f",   "/a b",      "/a?b=%", "/a?b=%00", "/a#b",
                                      "ftp://x/", "",          "?a=b",   "/a?\x01=b"};
    struct cyx_arena arena = {0};
    struct cyx_target target;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (cyx_target_parse(bad[i], &arena, &target, NULL) != CYX_ERR_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
    char many[2000] = "/?";
    for (size_t i = 2; i < sizeof(many) - 2; i += 2)
        memcpy(many + i, "a&", 3);
    assert_int_equal(cyx_target_parse(many, &arena, &target, NULL), CYX_ERR_INVALID);
    cyx_arena_finish(&arena);
}

static void test_cookies__are_read_and_rubbish_skipped(void **state)
{
    (void)state;
    struct cyx_arena arena = {0};
    struct cyx_http_pair *pairs = NULL;
    size_t count = 0;
    assert_int_equal(
        cyx_cookies_parse("a=1; rubbish;cyx_session=\"s=x\" ; =no; b=", &arena, &pairs, &count),
        CYX_OK);
    assert_int_equal(count, 3);
    assert_string_equal(pairs[0].value, "1");
    assert_string_equal(pairs[1].name, "cyx_session");
    assert_string_equal(pairs[1].value, "s=x");
    assert_string_equal(pairs[2].value, "");
    cyx_arena_finish(&arena);
}

/* ---- ranges, ETags, problems, mime ---- */

static void test_range__follows_rfc_9110(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum cyx_range kind;
        uint64_t first, length;
    } cases[] = {
        {"bytes=0-9", CYX_RANGE_ONE, 0, 10},
        {"bytes=90-", CYX_RANGE_ONE, 90, 10},
        {"bytes=-5", CYX_RANGE_ONE, 95, 5},
        {"bytes=-500", CYX_RANGE_ONE, 0, 100},
        {"bytes=99-500", CYX_RANGE_ONE, 99, 1},
        {"BYTES= 5-5 ", CYX_RANGE_ONE, 5, 1},
        {"bytes=0-99999999999999999999999999", CYX_RANGE_ONE, 0, 100},
        {"bytes=100-", CYX_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", CYX_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999999-", CYX_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-4", CYX_RANGE_NONE, 0, 0},
        {"bytes=-", CYX_RANGE_NONE, 0, 0},
        {"bytes=0-1,4-5", CYX_RANGE_NONE, 0, 0},
        {"bytes=a-b", CYX_RANGE_NONE, 0, 0},
        {"items=0-1", CYX_RANGE_NONE, 0, 0},
        {"bytes=+1-2", CYX_RANGE_NONE, 0, 0},
        {NULL, CYX_RANGE_NONE, 0, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t first = 0, length = 0;
        assert_int_equal(cyx_range_parse(cases[i].text, 100, &first, &length), cases[i].kind);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(length, cases[i].length);
    }
    uint64_t first = 0, length = 0;
    assert_int_equal(cyx_range_parse("bytes=0-", 0, &first, &length), CYX_RANGE_UNSATISFIABLE);
}

static void test_etag__lists_are_compared_weakly(void **state)
{
    (void)state;
    assert_true(cyx_etag_matches("\"a\"", "\"a\""));
    assert_true(cyx_etag_matches("\"x\", W/\"a\"", "\"a\""));
    assert_true(cyx_etag_matches("*", "\"a\""));
    assert_true(cyx_etag_matches("\"x,y\",\"a\"", "W/\"a\""));
    assert_false(cyx_etag_matches("\"ab\"", "\"a\""));
    assert_false(cyx_etag_matches("\"a", "\"a\""));
    assert_false(cyx_etag_matches(NULL, "\"a\""));
}

static void test_problem__has_the_members_of_rfc_9457(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_error error = {0};
    cyx_error_set(&error, CYX_ERR_INVALID, "/model/layers/4", "expects \"1568\" inputs");
    cyx_problem_format(&text, 422, &error, "/api/v1/jobs", "r-1");
    assert_string_equal(
        text.data,
        "{\"type\":\"urn:cyxwiz:problem:invalid\",\"title\":\"Unprocessable Content\","
        "\"status\":422,\"detail\":\"expects \\\"1568\\\" inputs\",\"instance\":\"/api/v1/jobs\","
        "\"pointer\":\"/model/layers/4\",\"request_id\":\"r-1\"}\n");
}

static void test_mime__by_extension(void **state)
{
    (void)state;
    assert_string_equal(cyx_mime_type("/a/b.JS"), "text/javascript; charset=utf-8");
    assert_string_equal(cyx_mime_type("/a.js/b"), "application/octet-stream");
    assert_string_equal(cyx_mime_type("x.woff2"), "font/woff2");
}

static void test_response__headers_cannot_be_split(void **state)
{
    (void)state;
    struct cyx_arena arena = {0};
    struct cyx_http_response response;
    struct cyx_http_response_body body;
    cyx_response_init(&response, &arena, &body);
    assert_int_equal(cyx_http_response_header(&response, "X-A", "b\r\nX-C: d"), CYX_ERR_INVALID);
    assert_int_equal(cyx_http_response_header(&response, "X A", "b"), CYX_ERR_INVALID);
    assert_int_equal(cyx_http_response_header(&response, "Content-Length", "1"), CYX_ERR_INVALID);
    assert_int_equal(cyx_http_response_cookie(&response, "s", "a;b", -1, true), CYX_ERR_INVALID);
    assert_int_equal(cyx_http_response_cookie(&response, "s", "v", 60, true), CYX_OK);
    assert_string_equal(response.headers[0].value,
                        "s=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60");
    cyx_response_reset(&response);
    cyx_arena_finish(&arena);
}

/* ---- Server-Sent Events ---- */

static enum cyx_status note_event(void *user, const struct cyx_sse_event *event)
{
    struct cyx_buf *log = user;
    cyx_buf_printf(log, "[%s|%s|%s]", event->event, event->data, event->id);
    return strcmp(event->data, "stop") == 0 ? CYX_ERR_CANCELLED : CYX_OK;
}

static void test_sse__reads_events_however_they_are_cut(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBFid: 1\nevent: metrics\ndata: {\"a\":1}\n\n"
                               ": comment\n\n"
                               "data:two\r\ndata:  lines\r\n\r\n"
                               "id\rdata\r\r"
                               "event: lost\n\n"
                               "data: cut off";
    for (size_t step = 1; step < sizeof(text); step++) {
        struct cyx_buf log = {0};
        struct cyx_sse sse = {.on_event = note_event, .user = &log};
        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            size_t left = sizeof(text) - 1 - at;
            assert_int_equal(cyx_sse_feed(&sse, text + at, left < step ? left : step), CYX_OK);
        }
        assert_string_equal(log.data, "[metrics|{\"a\":1}|1][message|two\n lines|1][message||]");
        cyx_sse_finish(&sse);
        cyx_buf_finish(&log);
    }
}

static void test_sse__ends_when_its_reader_says_so_and_at_its_limit(void **state)
{
    (void)state;
    struct cyx_buf log = {0};
    struct cyx_sse sse = {.on_event = note_event, .user = &log};
    assert_int_equal(cyx_sse_feed(&sse, "data: stop\n\n", 12), CYX_ERR_CANCELLED);
    static char much[65536];
    memset(much, 'x', sizeof(much));
    enum cyx_status status = CYX_OK;
    for (int i = 0; i < 17 && status == CYX_OK; i++)
        status = cyx_sse_feed(&sse, much, sizeof(much));
    assert_int_equal(status, CYX_ERR_TOO_LARGE);
    cyx_sse_finish(&sse);
    cyx_buf_finish(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_router__finds_literals_before_names),
        cmocka_unit_test(test_router__gives_parameters_and_allowed_methods),
        cmocka_unit_test(test_router__refuses_bad_patterns_and_doubles),
        cmocka_unit_test(test_target__decodes_paths_and_queries),
        cmocka_unit_test(test_target__refuses_what_is_malformed),
        cmocka_unit_test(test_cookies__are_read_and_rubbish_skipped),
        cmocka_unit_test(test_range__follows_rfc_9110),
        cmocka_unit_test(test_etag__lists_are_compared_weakly),
        cmocka_unit_test(test_problem__has_the_members_of_rfc_9457),
        cmocka_unit_test(test_mime__by_extension),
        cmocka_unit_test(test_response__headers_cannot_be_split),
        cmocka_unit_test(test_sse__reads_events_however_they_are_cut),
        cmocka_unit_test(test_sse__ends_when_its_reader_says_so_and_at_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
