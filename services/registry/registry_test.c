#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "registry.h"

#define MS INT64_C(1000000)
#define NODE_ID "01935b1e-0000-7000-8000-0000000000b1"
#define BOOT_ID "01935b1e-0000-7000-8000-0000000000b2"

static const char *const node_id = "01935b1e-0000-7000-8000-000000000001";
static const char *const boot_a = "01935b1e-0000-7000-8000-00000000000a";
static const char *const boot_b = "01935b1e-0000-7000-8000-00000000000b";

static struct cyx_registry_node good_node(void)
{
    struct cyx_registry_node node = {
        .name = "box",
        .version = "0.1.0",
        .status = CYX_NODE_ONLINE,
        .n_devices = 1,
        .devices = {{.backend = "cpu", .name = "CPU", .memory_bytes = 1 << 30, .threads = 2}},
        .host_memory_bytes = 1 << 30,
        .cpus = 2,
        .price_per_hour_base_units = 1000000000,
    };
    snprintf(node.id, sizeof(node.id), "%s", node_id);
    snprintf(node.boot_id, sizeof(node.boot_id), "%s", boot_a);
    return node;
}

static void expect_refused(const struct cyx_registry_node *node, const char *pointer)
{
    struct cyx_error err = {0};
    assert_int_equal(cyx_registry_check(node, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, pointer);
    assert_true(strlen(err.message) > 5);
}

static void test_registry__checks_an_enrolment(void **state)
{
    (void)state;
    struct cyx_registry_node node = good_node();
    assert_int_equal(cyx_registry_check(&node, NULL), CYX_OK);
    node.id[3] = 'z';
    expect_refused(&node, "/node_id");
    node = good_node();
    node.boot_id[0] = '\0';
    expect_refused(&node, "/boot_id");
    node = good_node();
    snprintf(node.name, sizeof(node.name), "a\nb");
    expect_refused(&node, "/name");
    node = good_node();
    node.n_devices = 0;
    expect_refused(&node, "/devices");
    node = good_node();
    snprintf(node.devices[0].backend, sizeof(node.devices[0].backend), "cuda");
    expect_refused(&node, "/devices/0/backend");
    node = good_node();
    node.devices[0].memory_bytes = 0;
    expect_refused(&node, "/devices/0/memory_bytes");
    node = good_node();
    node.cpus = 0;
    expect_refused(&node, "/cpus");
    node = good_node();
    node.host_memory_bytes = -1;
    expect_refused(&node, "/host_memory_bytes");
    node = good_node();
    node.price_per_hour_base_units = -1;
    expect_refused(&node, "/price_per_hour");
}

static void test_registry__tells_of_what_changed(void **state)
{
    (void)state;
    const struct cyx_registry_node before = good_node();
    struct cyx_registry_node after = good_node();
    assert_true(cyx_registry_enrol_is_news(NULL, &after));
    assert_false(cyx_registry_enrol_is_news(&before, &after));
    snprintf(after.boot_id, sizeof(after.boot_id), "%s", boot_b);
    assert_true(cyx_registry_enrol_is_news(&before, &after));
    after = good_node();
    after.devices[0].memory_bytes++;
    assert_true(cyx_registry_enrol_is_news(&before, &after));
    after = good_node();
    after.price_per_hour_base_units++;
    assert_true(cyx_registry_enrol_is_news(&before, &after));
    struct cyx_registry_node offline = good_node();
    offline.status = CYX_NODE_OFFLINE;
    after = good_node();
    assert_true(cyx_registry_enrol_is_news(&offline, &after));
}

static void test_registry__judges_by_what_is_known(void **state)
{
    (void)state;
    static const struct {
        enum cyx_registry_status status;
        int stored, heard, listening;
        enum cyx_registry_verdict verdict;
    } cases[] = {
        {CYX_NODE_ONLINE, 0, 0, 60000, CYX_VERDICT_KEEP},
        {CYX_NODE_ONLINE, 20000, 9999, 60000, CYX_VERDICT_KEEP},
        {CYX_NODE_ONLINE, 9999, -1, 60000, CYX_VERDICT_KEEP}, /* another replica heard of it */
        {CYX_NODE_ONLINE, 20000, 10000, 60000, CYX_VERDICT_OFFLINE},
        {CYX_NODE_ONLINE, 20000, -1, 60000, CYX_VERDICT_OFFLINE},
        {CYX_NODE_ONLINE, 20000, -1, 9999, CYX_VERDICT_KEEP}, /* has not listened for long enough */
        {CYX_NODE_DRAINING, 20000, -1, 60000, CYX_VERDICT_OFFLINE},
        {CYX_NODE_OFFLINE, 20000, 100, 60000, CYX_VERDICT_ONLINE},
        {CYX_NODE_OFFLINE, 5000, -1, 60000, CYX_VERDICT_KEEP},
        {CYX_NODE_OFFLINE, 20000, 10000, 60000, CYX_VERDICT_KEEP},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct cyx_registry_evidence evidence = {cases[i].status, cases[i].stored,
                                                       cases[i].heard, cases[i].listening};
        if (cyx_registry_judge(&evidence, 10000) != cases[i].verdict)
            fail_msg("case %zu", i);
    }
}

static void test_presence__stores_every_ten_seconds(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {.running_jobs = 1, .images_per_second = 42};
    struct cyx_registry_load seen = {0};
    bool store = false;
    int64_t now = 1000 * MS;
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_a, now, NULL), -1);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, now, &store), CYX_OK);
    assert_true(store);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, now + 9999 * MS, &store),
                     CYX_OK);
    assert_false(store);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, now + 10000 * MS, &store),
                     CYX_OK);
    assert_true(store);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_a, now + 10500 * MS, &seen), 500);
    assert_float_equal(seen.images_per_second, 42, 0);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_b, now + 10500 * MS, NULL), -1);
    cyx_presence_destroy(presence);
}

static void test_presence__what_came_after_the_clock_was_read_is_new(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {0};
    bool store = false;
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, 20 * MS, &store), CYX_OK);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_a, 18 * MS, NULL), 0);
    cyx_presence_destroy(presence);
}

/* The last heartbeat and the good-bye come on two subscriptions, in any order. */
static void test_presence__a_heartbeat_behind_the_good_bye_brings_nobody_back(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    struct cyx_registry_load load = {0};
    bool store = false;
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, MS, &store), CYX_OK);
    cyx_presence_left(presence, node_id, boot_a);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_a, MS, NULL), -1);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, 2 * MS, &store),
                     CYX_ERR_CONFLICT);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_a, 2 * MS, NULL), -1);
    assert_int_equal(cyx_presence_enrolled(presence, node_id, boot_b), CYX_OK);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_b, &load, 3 * MS, &store), CYX_OK);
    cyx_presence_destroy(presence);
}

static void test_presence__ignores_a_replaced_process(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {0};
    bool store = false;
    assert_int_equal(cyx_presence_enrolled(presence, node_id, boot_b), CYX_OK);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_a, &load, MS, &store),
                     CYX_ERR_CONFLICT);
    assert_false(store);
    assert_int_equal(cyx_presence_beat(presence, node_id, boot_b, &load, MS, &store), CYX_OK);
    assert_int_equal(cyx_presence_age_ms(presence, node_id, boot_b, MS, NULL), 0);
    cyx_presence_destroy(presence);
}

static void test_presence__grows_and_forgets(void **state)
{
    (void)state;
    enum { NODES = 5000 };
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {0};
    char id[CYX_ID_BYTES];
    bool store;
    for (int i = 0; i < NODES; i++) {
        snprintf(id, sizeof(id), "01935b1e-0000-7000-8000-%012x", (unsigned)i);
        assert_int_equal(cyx_presence_beat(presence, id, boot_a, &load, (i + 1) * MS, &store),
                         CYX_OK);
    }
    for (int i = 0; i < NODES; i++) {
        snprintf(id, sizeof(id), "01935b1e-0000-7000-8000-%012x", (unsigned)i);
        assert_int_equal(cyx_presence_age_ms(presence, id, boot_a, NODES * MS, NULL),
                         NODES - i - 1);
    }
    assert_int_equal(cyx_presence_sweep(presence, 99, NODES * MS), 100);
    assert_int_equal(cyx_presence_age_ms(presence, id, boot_a, NODES * MS, NULL), 0);
    cyx_presence_destroy(presence);
}

static void test_registry__a_deadline_follows_the_heartbeats(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {0};
    struct cyx_heartbeat_gaps gaps;
    bool store = false;
    int64_t now_ns = 1000000000;
    assert_int_equal(cyx_presence_deadline_ms(presence, NODE_ID, &gaps), 10000);
    assert_int_equal(gaps.seen, 0);
    for (int i = 0; i < 40; i++, now_ns += INT64_C(2000000000))
        assert_int_equal(cyx_presence_beat(presence, NODE_ID, BOOT_ID, &load, now_ns, &store),
                         CYX_OK);
    assert_in_range(cyx_presence_deadline_ms(presence, NODE_ID, &gaps), 8000, 8100);
    assert_int_equal(gaps.seen, 39);
    cyx_presence_left(presence, NODE_ID, BOOT_ID);
    assert_int_equal(cyx_presence_age_ms(presence, NODE_ID, BOOT_ID, now_ns, NULL), -1);
    cyx_presence_destroy(presence);
}

static void test_registry__a_disconnect_is_kept_until_it_speaks(void **state)
{
    (void)state;
    struct cyx_presence *presence = cyx_presence_create(2000);
    const struct cyx_registry_load load = {0};
    char reason[CYX_REGISTRY_REASON_BYTES];
    bool store = false;
    cyx_presence_disconnected(presence, NODE_ID, "Stale Connection", 1000000000);
    cyx_presence_disconnect_reason(presence, NODE_ID, reason);
    assert_string_equal(reason, "Stale Connection");
    cyx_presence_beat(presence, NODE_ID, BOOT_ID, &load, 2000000000, &store);
    cyx_presence_disconnect_reason(presence, NODE_ID, reason);
    assert_string_equal(reason, "");
    cyx_presence_destroy(presence);
}

static void test_registry__says_why_a_node_is_silent(void **state)
{
    (void)state;
    static const struct {
        bool watches;
        const char *disconnected, *code, *word;
    } cases[] = {{true, "Client Closed", "connection-closed", "process ended"},
                 {true, "Read Error", "connection-closed", "process ended"},
                 {true, "Stale Connection", "unreachable", "network"},
                 {true, "Authentication Expired", "refused", "Expired"},
                 {true, "Slow Consumer (Pending Bytes)", "connection-broken", "Slow Consumer"},
                 {true, "", "hangs", "still connected"},
                 {false, "", "no-heartbeats", "8.0 s"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cyx_registry_why why;
        struct cyx_registry_silence silence = {.watches_connections = cases[i].watches,
                                               .disconnected = cases[i].disconnected,
                                               .deadline_ms = 8000,
                                               .memory_used_bytes = 50,
                                               .host_memory_bytes = 100};
        cyx_registry_explain(&silence, &why);
        assert_string_equal(why.code, cases[i].code);
        assert_non_null(strstr(why.message, cases[i].word));
        assert_null(strstr(why.message, "memory"));
        silence.memory_used_bytes = 99;
        cyx_registry_explain(&silence, &why);
        assert_non_null(strstr(why.message, "99 % of its memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry__a_deadline_follows_the_heartbeats),
        cmocka_unit_test(test_registry__a_disconnect_is_kept_until_it_speaks),
        cmocka_unit_test(test_registry__says_why_a_node_is_silent),
        cmocka_unit_test(test_registry__checks_an_enrolment),
        cmocka_unit_test(test_registry__tells_of_what_changed),
        cmocka_unit_test(test_registry__judges_by_what_is_known),
        cmocka_unit_test(test_presence__stores_every_ten_seconds),
        cmocka_unit_test(test_presence__what_came_after_the_clock_was_read_is_new),
        cmocka_unit_test(test_presence__a_heartbeat_behind_the_good_bye_brings_nobody_back),
        cmocka_unit_test(test_presence__ignores_a_replaced_process),
        cmocka_unit_test(test_presence__grows_and_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
