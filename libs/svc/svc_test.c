#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/trace.h"
#include "svc/config.h"
#include "svc/metrics.h"

/* ---- config ---- */

static void assert_refused(const struct cyx_config *config, const char *part)
{
    struct cyx_error err = {0};
    assert_int_equal(cyx_config_check(config, &err), CYX_ERR_INVALID);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_config__values_or_their_defaults(void **state)
{
    (void)state;
    struct cyx_config config = {0};
    uint16_t port = 0;
    setenv("CYXWIZ_T_TEXT", "hello", 1);
    setenv("CYXWIZ_T_INT", "-5", 1);
    setenv("CYXWIZ_T_BOOL", "Off", 1);
    setenv("CYXWIZ_T_CHOICE", "vulkan", 1);
    setenv("CYXWIZ_T_ADDRESS", "[::1]:8080", 1);
    setenv("CYXWIZ_T_EMPTY", "", 1);
    assert_string_equal(cyx_config_text(&config, "CYXWIZ_T_TEXT", "x"), "hello");
    assert_string_equal(cyx_config_text(&config, "CYXWIZ_T_EMPTY", "x"), "x");
    assert_null(cyx_config_text(&config, "CYXWIZ_T_ABSENT", NULL));
    assert_int_equal(cyx_config_int(&config, "CYXWIZ_T_INT", 1, -10, 10), -5);
    assert_int_equal(cyx_config_int(&config, "CYXWIZ_T_ABSENT", 7, 0, 10), 7);
    assert_false(cyx_config_bool(&config, "CYXWIZ_T_BOOL", true));
    assert_string_equal(cyx_config_choice(&config, "CYXWIZ_T_CHOICE", "auto", "auto cpu vulkan"),
                        "vulkan");
    assert_string_equal(cyx_config_address(&config, "CYXWIZ_T_ADDRESS", "127.0.0.1:1", &port),
                        "::1");
    assert_int_equal(port, 8080);
    assert_string_equal(cyx_config_address(&config, "CYXWIZ_T_ABSENT", "0.0.0.0:0", &port),
                        "0.0.0.0");
    assert_int_equal(port, 0);
    assert_int_equal(cyx_config_check(&config, NULL), CYX_OK);
    cyx_config_finish(&config);
}

static void refuse_int(const char *value)
{
    struct cyx_config config = {0};
    setenv("CYXWIZ_T_INT", value, 1);
    assert_int_equal(cyx_config_int(&config, "CYXWIZ_T_INT", 5, 1, 10), 5);
    assert_refused(&config, "set it to a whole number from 1 to 10 or leave it out for 5");
    assert_refused(&config, value);
    cyx_config_finish(&config);
}

static void test_config__what_is_wrong_is_named_with_its_remedy(void **state)
{
    (void)state;
    static const char *const numbers[] = {"0",    "11",  "1x",
                                          "soon", "1e3", "99999999999999999999999999"};
    static const char *const addresses[] = {"localhost", ":80",    "h:",      "h:70000",
                                            "h:-1",      "::1:80", "[::1:80", "h:8x"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        refuse_int(numbers[i]);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct cyx_config config = {0};
        uint16_t port;
        setenv("CYXWIZ_T_ADDRESS", addresses[i], 1);
        cyx_config_address(&config, "CYXWIZ_T_ADDRESS", "127.0.0.1:80", &port);
        assert_refused(&config, "HOST:PORT");
        cyx_config_finish(&config);
    }
    struct cyx_config config = {0};
    setenv("CYXWIZ_T_CHOICE", "cp", 1);
    cyx_config_choice(&config, "CYXWIZ_T_CHOICE", "auto", "auto cpu vulkan");
    assert_refused(&config, "set it to one of: auto cpu vulkan");
    cyx_config_require(&config, "CYXWIZ_T_ABSENT", "set it to something"); /* the first is kept */
    assert_refused(&config, "CYXWIZ_T_CHOICE");
    cyx_config_finish(&config);
    cyx_config_require(&config, "CYXWIZ_T_ABSENT", "set it to something");
    assert_refused(&config, "CYXWIZ_T_ABSENT is not set; set it to something");
    cyx_config_finish(&config);
}

static void test_config__a_secret_may_lie_in_a_file(void **state)
{
    (void)state;
    struct cyx_config config = {0};
    char path[] = "/tmp/cyx-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "00ff10\n", 7), 7);
    close(fd);
    setenv("CYXWIZ_T_SECRET_FILE", path, 1);
    assert_string_equal(cyx_config_text(&config, "CYXWIZ_T_SECRET", NULL), "00ff10");
    unsigned char key[3];
    cyx_config_key(&config, "CYXWIZ_T_SECRET", key, 3);
    assert_memory_equal(key, "\x00\xff\x10", 3);
    setenv("CYXWIZ_T_SECRET", "direct", 1); /* the variable itself wins */
    assert_string_equal(cyx_config_text(&config, "CYXWIZ_T_SECRET", NULL), "direct");
    assert_int_equal(cyx_config_check(&config, NULL), CYX_OK);
    cyx_config_key(&config, "CYXWIZ_T_SECRET", key, 3);
    assert_refused(&config, "6 hexadecimal digits");
    assert_null(strstr(config.first.message, "direct")); /* a secret is not shown */
    cyx_config_finish(&config);
    unsetenv("CYXWIZ_T_SECRET");
    unlink(path);
    cyx_config_text(&config, "CYXWIZ_T_SECRET", NULL);
    assert_refused(&config, "CYXWIZ_T_SECRET_FILE");
    cyx_config_finish(&config);
}

/* ---- metrics ---- */

static void assert_shows(struct cyx_metrics *metrics, const char *part)
{
    struct cyx_buf text = {0};
    cyx_metrics_write(metrics, &text);
    if (!strstr(text.data, part))
        fail_msg("no \"%s\" in:\n%s", part, text.data);
    cyx_buf_finish(&text);
}

static double seven(void *ctx)
{
    return *(double *)ctx;
}

static void test_metrics__all_kinds_are_shown(void **state)
{
    (void)state;
    double value = 7.25;
    struct cyx_metrics *metrics = cyx_metrics_create();
    struct cyx_metric *jobs =
        cyx_metrics_counter(metrics, "cyx_jobs_total", "Jobs by outcome.", "outcome,kind");
    struct cyx_metric *level = cyx_metrics_gauge(metrics, "cyx_level", "A level.", NULL);
    cyx_metrics_gauge_function(metrics, "cyx_seven", "Seven.", seven, &value);
    cyx_metric_add(jobs, 2, "completed", "a \"b\"\\\n");
    cyx_metric_add(jobs, 1, "failed", "");
    cyx_metric_add(jobs, -5, "failed", ""); /* a counter never falls */
    cyx_metric_set(level, 3);
    cyx_metric_add(level, -1);
    assert_shows(metrics, "# HELP cyx_jobs_total Jobs by outcome.\n# TYPE cyx_jobs_total counter\n"
                          "cyx_jobs_total{outcome=\"completed\",kind=\"a \\\"b\\\"\\\\\\n\"} 2\n"
                          "cyx_jobs_total{outcome=\"failed\",kind=\"\"} 1\n");
    assert_shows(metrics, "# TYPE cyx_level gauge\ncyx_level 2\n");
    assert_shows(metrics, "# TYPE cyx_seven gauge\ncyx_seven 7.25\n");
    cyx_metrics_destroy(metrics);
}

static void test_metrics__a_histogram_counts_up_to_each_bound(void **state)
{
    (void)state;
    static const double bounds[] = {0.1, 1};
    struct cyx_metrics *metrics = cyx_metrics_create();
    struct cyx_metric *time =
        cyx_metrics_histogram(metrics, "cyx_time_seconds", "Time.", "route", bounds, 2);
    cyx_metric_observe(time, 0.1, "/a"); /* a bound belongs to its bucket */
    cyx_metric_observe(time, 0.5, "/a");
    cyx_metric_observe(time, 9, "/a");
    assert_shows(metrics, "cyx_time_seconds_bucket{route=\"/a\",le=\"0.1\"} 1\n"
                          "cyx_time_seconds_bucket{route=\"/a\",le=\"1\"} 2\n"
                          "cyx_time_seconds_bucket{route=\"/a\",le=\"+Inf\"} 3\n");
    assert_shows(metrics, "cyx_time_seconds_count{route=\"/a\"} 3\n");
    cyx_metrics_destroy(metrics);
}

static void test_metrics__label_values_are_limited(void **state)
{
    (void)state;
    struct cyx_metrics *metrics = cyx_metrics_create();
    struct cyx_metric *ids = cyx_metrics_counter(metrics, "cyx_ids_total", "Ids.", "id");
    for (int i = 0; i < CYX_METRIC_SERIES + 50; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        cyx_metric_add(ids, 1, id);
    }
    cyx_metric_add(ids, 1);       /* no value for the label */
    cyx_metric_add(NULL, 1, "x"); /* a metric that could not be made */
    assert_shows(metrics, "cyx_metrics_dropped_total 51\n");
    assert_shows(metrics, "cyx_ids_total{id=\"199\"} 1\n");
    cyx_metrics_destroy(metrics);
}

static void *add_many(void *ctx)
{
    for (int i = 0; i < 10000; i++)
        cyx_metric_add(ctx, 1, i % 2 ? "odd" : "even");
    return NULL;
}

static void test_metrics__threads_lose_no_update(void **state)
{
    (void)state;
    struct cyx_metrics *metrics = cyx_metrics_create();
    struct cyx_metric *metric = cyx_metrics_counter(metrics, "cyx_n_total", "N.", "kind");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, metric), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_shows(metrics, "cyx_n_total{kind=\"odd\"} 20000\n");
    assert_shows(metrics, "cyx_n_total{kind=\"even\"} 20000\n");
    cyx_metrics_destroy(metrics);
}

/* ---- trace ids ---- */

static void test_trace__good_ids_go_on_and_bad_ones_are_replaced(void **state)
{
    (void)state;
    static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    static const char *const bad[] = {
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "",
    };
    struct cyx_trace trace;
    cyx_trace_start(&trace, "req-1", parent);
    assert_string_equal(trace.request_id, "req-1");
    assert_memory_equal(trace.traceparent, parent, 36);
    assert_string_not_equal(trace.traceparent, parent); /* a span of its own */
    assert_string_equal(trace.traceparent + 52, "-00");
    assert_true(cyx_traceparent_valid(trace.traceparent));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(cyx_traceparent_valid(bad[i]));
        cyx_trace_start(&trace, "two words\r\nX: y", bad[i]);
        assert_true(cyx_traceparent_valid(trace.traceparent));
        assert_true(cyx_request_id_valid(trace.request_id));
    }
    char longest[66];
    memset(longest, 'a', 65);
    longest[65] = '\0';
    assert_false(cyx_request_id_valid(longest));
    longest[64] = '\0';
    assert_true(cyx_request_id_valid(longest));
    assert_false(cyx_request_id_valid(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config__values_or_their_defaults),
        cmocka_unit_test(test_config__what_is_wrong_is_named_with_its_remedy),
        cmocka_unit_test(test_config__a_secret_may_lie_in_a_file),
        cmocka_unit_test(test_metrics__all_kinds_are_shown),
        cmocka_unit_test(test_metrics__a_histogram_counts_up_to_each_bound),
        cmocka_unit_test(test_metrics__label_values_are_limited),
        cmocka_unit_test(test_metrics__threads_lose_no_update),
        cmocka_unit_test(test_trace__good_ids_go_on_and_bad_ones_are_replaced),
    };
    return cmocka_run_group_tests_name("svc", tests, NULL, NULL);
}
