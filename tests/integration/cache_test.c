/* store/cache.h against a real Redis, and without one. */
#include "servers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/cache.h"

static struct cyx_cache *open_cache(const char *prefix)
{
    const struct cyx_cache_options options = {
        .url = servers_env("CYXWIZ_REDIS_URL"),
        .prefix = prefix,
        .timeout_ms = 5000, /* the tests may share a busy machine */
    };
    struct cyx_error err = {0};
    struct cyx_cache *cache = NULL;
    if (cyx_cache_open(&options, &cache, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return cache;
}

static enum cyx_status get(struct cyx_cache *cache, const char *key, char *ret_text, size_t size)
{
    CYX_CLEANUP_BUF struct cyx_buf value = {0};
    enum cyx_status status = cyx_cache_get(cache, key, &value);
    snprintf(ret_text, size, "%s", value.data ? value.data : "");
    return status;
}

static void test_cache__a_value_is_kept_until_it_expires(void **state)
{
    (void)state;
    char text[32];
    struct cyx_cache *cache = open_cache("a:"), *other = open_cache("b:");
    assert_int_equal(cyx_cache_set(cache, "key", "a\0b", 3, 60000), CYX_OK);
    CYX_CLEANUP_BUF struct cyx_buf value = {0};
    assert_int_equal(cyx_cache_get(cache, "key", &value), CYX_OK);
    assert_int_equal(value.length, 3);
    assert_memory_equal(value.data, "a\0b", 3);
    assert_int_equal(get(other, "key", text, sizeof(text)), CYX_ERR_NOT_FOUND); /* other prefix */
    assert_int_equal(cyx_cache_delete(cache, "key"), CYX_OK);
    assert_int_equal(get(cache, "key", text, sizeof(text)), CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_cache_set(cache, "brief", "x", 1, 1), CYX_OK);
    int64_t end = cyx_clock_monotonic_ns() + 5000000000;
    while (get(cache, "brief", text, sizeof(text)) == CYX_OK && cyx_clock_monotonic_ns() < end)
        ;
    assert_int_equal(get(cache, "brief", text, sizeof(text)), CYX_ERR_NOT_FOUND);
    cyx_cache_close(cache);
    cyx_cache_close(other);
}

static void test_cache__counts_within_a_window(void **state)
{
    (void)state;
    struct cyx_cache *cache = open_cache("count:");
    int64_t count = 0, remaining_ms = 0;
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(cyx_cache_count(cache, "ip", 1, 60000, &count, &remaining_ms), CYX_OK);
        assert_int_equal(count, i);
        assert_in_range(remaining_ms, 50000, 60000);
    }
    assert_int_equal(cyx_cache_count(cache, "brief", 3, 1, &count, NULL), CYX_OK);
    int64_t end = cyx_clock_monotonic_ns() + 5000000000;
    do {
        assert_int_equal(cyx_cache_count(cache, "brief", 3, 1, &count, NULL), CYX_OK);
    } while (count != 3 && cyx_clock_monotonic_ns() < end);
    assert_int_equal(count, 3); /* a new window began */
    cyx_cache_close(cache);
}

struct counter {
    struct cyx_cache *cache;
    enum cyx_status worst;
};

static void *count_many(void *ctx)
{
    struct counter *counter = ctx;
    for (int i = 0; i < 200; i++) {
        int64_t count;
        enum cyx_status status = cyx_cache_count(counter->cache, "shared", 1, 60000, &count, NULL);
        if (status != CYX_OK)
            counter->worst = status;
    }
    return NULL;
}

static void test_cache__more_threads_than_connections_share(void **state)
{
    (void)state;
    struct counter counter = {.cache = open_cache("threads:")};
    pthread_t threads[12];
    for (int i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_many, &counter), 0);
    for (int i = 0; i < 12; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter.worst, CYX_OK);
    int64_t count = 0;
    assert_int_equal(cyx_cache_count(counter.cache, "shared", 1, 60000, &count, NULL), CYX_OK);
    assert_int_equal(count, 2401);
    cyx_cache_close(counter.cache);
}

static bool works(void *ctx)
{
    return cyx_cache_set(ctx, "back", "1", 1, 60000) == CYX_OK;
}

static void test_cache__with_redis_gone_calls_return_at_once(void **state)
{
    (void)state;
    char text[32];
    struct cyx_cache *cache = open_cache("gone:");
    assert_int_equal(cyx_cache_set(cache, "key", "1", 1, 60000), CYX_OK);
    assert_true(cyx_cache_up(cache));
    servers_command("kill", "redis");
    assert_int_equal(get(cache, "key", text, sizeof(text)), CYX_ERR_UNAVAILABLE);
    assert_false(cyx_cache_up(cache));
    int64_t start = cyx_clock_monotonic_ns();
    for (int i = 0; i < 10000; i++)
        assert_int_equal(get(cache, "key", text, sizeof(text)), CYX_ERR_UNAVAILABLE);
    assert_true(cyx_clock_monotonic_ns() - start < 1000000000);
    servers_command("start", "redis");
    assert_true(wait_for(works, cache));
    assert_true(cyx_cache_up(cache));
    cyx_cache_close(cache);
}

static void test_cache__a_restart_between_two_calls_goes_unnoticed(void **state)
{
    (void)state;
    struct cyx_cache *cache = open_cache("restart:");
    assert_int_equal(cyx_cache_set(cache, "key", "1", 1, 60000), CYX_OK);
    servers_command("kill", "redis");
    servers_command("start", "redis");
    assert_int_equal(cyx_cache_set(cache, "key", "1", 1, 60000), CYX_OK);
    cyx_cache_close(cache);
}

static void test_cache__urls_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum cyx_status status;
    } rows[] = {
        {NULL, CYX_OK},
        {"", CYX_OK},
        {"redis://127.0.0.1:6379", CYX_OK},
        {"redis://:secret@127.0.0.1:6379/2", CYX_OK},
        {"redis://localhost", CYX_OK},
        {"unix:///run/redis.sock?db=3", CYX_OK},
        {"redis://127.0.0.1:notaport", CYX_ERR_INVALID},
        {"redis://127.0.0.1:70000", CYX_ERR_INVALID},
        {"redis://:6379", CYX_ERR_INVALID},
        {"redis://h:1/x", CYX_ERR_INVALID},
        {"unix://relative", CYX_ERR_INVALID},
        {"unix:///run/redis.sock?x=3", CYX_ERR_INVALID},
        {"http://127.0.0.1", CYX_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cyx_cache *cache = NULL;
        struct cyx_error err = {0};
        const struct cyx_cache_options options = {.url = rows[i].url};
        assert_int_equal(cyx_cache_open(&options, &cache, &err), rows[i].status);
        cyx_cache_close(cache);
    }
}

static void test_cache__without_a_url_nothing_is_cached(void **state)
{
    (void)state;
    struct cyx_cache *cache = NULL;
    const struct cyx_cache_options options = {.url = ""};
    assert_int_equal(cyx_cache_open(&options, &cache, NULL), CYX_OK);
    assert_int_equal(cyx_cache_set(cache, "k", "v", 1, 1000), CYX_ERR_UNAVAILABLE);
    assert_false(cyx_cache_up(cache));
    cyx_cache_close(cache);
}

int main(void)
{
    servers_env("CYXWIZ_REDIS_URL");
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__a_value_is_kept_until_it_expires),
        cmocka_unit_test(test_cache__counts_within_a_window),
        cmocka_unit_test(test_cache__more_threads_than_connections_share),
        cmocka_unit_test(test_cache__with_redis_gone_calls_return_at_once),
        cmocka_unit_test(test_cache__a_restart_between_two_calls_goes_unnoticed),
        cmocka_unit_test(test_cache__urls_are_checked),
        cmocka_unit_test(test_cache__without_a_url_nothing_is_cached),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
