#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "system.h"

#include "base/banned.h"

static char text[CYX_REGISTRY_SYSTEM_BYTES];

static const char *cleaned(const char *given)
{
    json_t *json = json_loads(given, 0, NULL);
    assert_non_null(json);
    cyx_registry_system_clean(json, text);
    json_decref(json);
    return text;
}

static void test_system__keeps_what_it_knows(void **state)
{
    (void)state;
    assert_string_equal(
        cleaned(
            "{\"load_average\":1.23456,\"disk_free_bytes\":9007199254740993,\"gpus\":[{\"name\":"
            "\"one\",\"source\":\"nvml\",\"busy_percent\":50}],\"sandbox\":{\"walls\":"
            "\"bubblewrap\",\"system_calls\":\"filtered\",\"limits\":\"cgroup\"}}"),
        "{\"load_average\":1.235,\"disk_free_bytes\":9007199254740993,\"gpus\":[{\"busy_percent\":"
        "50,\"name\":\"one\",\"source\":\"nvml\"}],\"sandbox\":{\"walls\":\"bubblewrap\","
        "\"system_calls\":\"filtered\",\"limits\":\"cgroup\"}}");
    json_t *again = cyx_registry_system_json(text);
    assert_true(json_is_object(again));
    json_decref(again);
}

static void test_system__drops_the_rest(void **state)
{
    (void)state;
    const char *empty = "{\"gpus\":[],\"sandbox\":null}";
    assert_string_equal(cleaned("{}"), empty);
    assert_string_equal(
        cleaned("{\"load_average\":\"high\",\"power_watts\":-1,\"evil\":{\"a\":[]}}"), empty);
    assert_string_equal(cleaned("{\"disk_free_bytes\":1e300,\"gpus\":{\"a\":1},\"sandbox\":[]}"),
                        empty);
    assert_string_equal(cleaned("[]"), "");
    cyx_registry_system_clean(NULL, text);
    assert_string_equal(text, "");
    json_t *null = cyx_registry_system_json("");
    assert_true(json_is_null(null));
}

/* A node that floods: bounded by count and by length, whatever it sends. */
static void test_system__is_bounded(void **state)
{
    (void)state;
    json_t *gpus = json_array();
    for (int i = 0; i < 1000; i++)
        json_array_append_new(gpus, json_pack("{s:s, s:i}", "name", "g", "busy_percent", i));
    json_t *given = json_pack("{s:o}", "gpus", gpus);
    cyx_registry_system_clean(given, text);
    json_t *kept = cyx_registry_system_json(text);
    assert_int_equal(json_array_size(json_object_get(kept, "gpus")), 16);
    json_decref(kept);
    char name[97];
    memset(name, 'x', 96);
    name[96] = '\0';
    json_t *gpu;
    size_t i;
    json_array_foreach(gpus, i, gpu)
    {
        json_object_set_new(gpu, "name", json_string(name));
        json_object_set_new(gpu, "source", json_string(name));
    }
    cyx_registry_system_clean(given, text);
    assert_string_equal(text, ""); /* more than fits is nothing, not half of it */
    json_decref(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_system__keeps_what_it_knows),
        cmocka_unit_test(test_system__drops_the_rest),
        cmocka_unit_test(test_system__is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
