/* Whom the local page answers, and what it tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "contract/message.h"
#include "page_guard.h"

#include "base/banned.h"

/* ---- whom it answers --------------------------------------------------------------------------- */

static bool host(const char *value)
{
    const struct page_header headers[] = {{"Accept", "*/*"}, {"host", value}};
    return page_host_is_ours(headers, 2, 8090);
}

static void test_page__only_the_loopbacks_names_with_the_port_are_a_host(void **state)
{
    (void)state;
    assert_true(host("localhost:8090"));
    assert_true(host("LOCALHOST:8090"));
    assert_true(host("127.0.0.1:8090"));
    assert_true(host("[::1]:8090"));
    static const char *const foreign[] = {"",
                                          "localhost",
                                          "localhost:8091",
                                          "localhost:80900",
                                          "evil.example:8090",
                                          "localhost.evil.example:8090",
                                          "127.0.0.1.evil.example:8090",
                                          "127.0.0.1:8090.evil.example",
                                          "user@localhost:8090",
                                          "0.0.0.0:8090",
                                          "127.0.0.2:8090",
                                          " localhost:8090"};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
        if (host(foreign[i]))
            fail_msg("\"%s\" was taken for this machine", foreign[i]);
    const struct page_header twice[] = {{"Host", "localhost:8090"}, {"Host", "localhost:8090"}};
    assert_false(page_host_is_ours(twice, 2, 8090));
    assert_false(page_host_is_ours(NULL, 0, 8090));
}

static void test_page__another_site_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *site;
        bool cross;
    } cases[] = {{"same-origin", false}, {"none", false},     {"cross-site", true},
                 {"same-site", true},    {"SAME-SITE", true}, {"", true}};
    assert_false(page_is_cross_site(NULL, 0));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct page_header header = {"sec-fetch-site", cases[i].site};
        assert_int_equal(page_is_cross_site(&header, 1), cases[i].cross);
    }
    const struct page_header twice[] = {{"Sec-Fetch-Site", "none"}, {"Sec-Fetch-Site", "none"}};
    assert_true(page_is_cross_site(twice, 2));
}

static bool may_order(const char *origin, const char *token)
{
    struct page_header headers[3] = {{"Host", "localhost:8090"}};
    size_t count = 1;
    if (origin)
        headers[count++] = (struct page_header){"Origin", origin};
    if (token)
        headers[count++] = (struct page_header){"X-Page-Token", token};
    return page_may_order(headers, count, "0123456789abcdef0123456789abcdef");
}

static void test_page__an_order_needs_the_pages_origin_and_token(void **state)
{
    (void)state;
    const char *own = "http://localhost:8090", *token = "0123456789abcdef0123456789abcdef";
    assert_true(may_order(own, token));
    assert_false(may_order(own, NULL));
    assert_false(may_order(own, ""));
    assert_false(may_order(own, "0123456789abcdef0123456789abcdeF"));
    assert_false(may_order(own, "0123456789abcdef0123456789abcdef0"));
    assert_false(may_order(NULL, token));
    assert_false(may_order("null", token));
    assert_false(may_order("https://localhost:8090", token));
    assert_false(may_order("http://localhost", token));
    assert_false(may_order("http://127.0.0.1:8090", token)); /* another origin to a browser */
    assert_false(may_order("http://evil.example", token));
}

/* ---- what it tells ----------------------------------------------------------------------------- */

struct world {
    struct board *board;
    struct sandbox_state sandbox;
    struct agent_settings settings;
    struct board_about about;
};

static struct world make_world(void)
{
    struct world world = {.sandbox = {.walls = SANDBOX_LANDLOCK, .reason = "no namespaces"}};
    assert_int_equal(board_create(&world.board, NULL), CYX_OK);
    world.settings = (struct agent_settings){
        .node = {.id = "0190f1a0-0000-7000-8000-000000000001",
                 .name = "a \"node\" <b>",
                 .price_per_hour = "1 CYX",
                 .labels = "",
                 .region = "eu/west",
                 .devices = json_pack("[{s:s, s:i, s:s}, {s:s, s:i, s:s}]", "backend", "cpu",
                                      "index", 0, "name", "the CPU", "backend", "vulkan", "index",
                                      1, "name", "the GPU")},
        .n_slots = 2,
        .slot_devices = {1, 0},
        .limits = {.memory_bytes = 1 << 30},
        .cache_bytes = 1 << 20};
    return world;
}

static json_t *look(struct world *world)
{
    world->settings.node.sandbox = &world->sandbox;
    world->about.settings = &world->settings;
    json_t *status = board_status(world->board, &world->about);
    assert_non_null(status);
    return status;
}

static void end_world(struct world *world)
{
    json_decref(world->settings.node.devices);
    board_destroy(world->board);
}

static void assert_state(struct world *world, const char *expected)
{
    CYX_CLEANUP_JSON json_t *status = look(world);
    const json_t *node = json_object_get(status, "node");
    assert_string_equal(json_string_value(json_object_get(node, "state")), expected);
    bool plain = strcmp(expected, "free") == 0 || strcmp(expected, "running") == 0;
    assert_int_equal(json_is_null(json_object_get(node, "why")), plain);
}

static void place(struct world *world, const char *node)
{
    CYX_CLEANUP_JSON json_t *json = json_loads(node, 0, NULL);
    assert_non_null(json);
    board_place(world->board, json);
}

static void test_page__the_state_is_the_gravest(void **state)
{
    (void)state;
    struct world world = make_world();
    assert_state(&world, "away");
    world.about.connected = true;
    assert_state(&world, "starting");
    place(&world, "{\"closed\": null}");
    assert_state(&world, "free");
    board_begin(world.board, 1, "0190f1a0-0000-7000-8000-000000000002", "mnist");
    assert_state(&world, "running");
    place(&world, "{\"closed\": \"draining\", \"drain\": {\"since\": \"2026-12-01T12:00:00.000Z\", "
                  "\"by\": \"node\", \"reason\": \"dust\"}}");
    assert_state(&world, "draining");
    CYX_CLEANUP_JSON json_t *status = look(&world);
    const json_t *closed = json_object_get(json_object_get(status, "node"), "closed");
    assert_string_equal(json_string_value(json_object_get(closed, "by")), "node");
    assert_string_equal(json_string_value(json_object_get(closed, "reason")), "dust");
    board_end(world.board, 1, "completed", NULL);
    assert_state(&world, "drained");
    place(&world, "{\"closed\": \"proving\"}");
    assert_state(&world, "proving");
    place(&world, "{\"closed\": \"unproven\", \"unproven\": {\"code\": \"memory\", "
                  "\"message\": \"less memory\"}}");
    assert_state(&world, "unproven");
    CYX_CLEANUP_JSON json_t *unproven = look(&world);
    closed = json_object_get(json_object_get(unproven, "node"), "closed");
    assert_string_equal(json_string_value(json_object_get(closed, "reason")), "less memory");
    place(&world, "{\"closed\": \"maintenance\", \"maintenance\": [{\"starts_at\": \"2026-12-02\", "
                  "\"ends_at\": \"2026-12-03\"}, {\"starts_at\": \"2026-12-01\", \"ends_at\": "
                  "\"2026-12-02\", \"reason\": \"disk\"}]}");
    assert_state(&world, "maintenance");
    world.about.stopping = true;
    assert_state(&world, "stopping");
    end_world(&world);
}

static const json_t *job_of(const json_t *status, size_t slot)
{
    return json_object_get(json_array_get(json_object_get(status, "slots"), slot), "job");
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void test_page__a_job_is_told_from_its_beginning_to_its_end(void **state)
{
    (void)state;
    struct world world = make_world();
    board_begin(world.board, 0, "0190f1a0-0000-7000-8000-000000000002", "<img src=x> \x01 \"q\"");
    CYX_CLEANUP_JSON json_t *first = look(&world);
    assert_string_equal(json_string_value(json_object_get(job_of(first, 0), "phase")), "preparing");
    assert_string_equal(json_string_value(json_object_get(job_of(first, 0), "name")),
                        "<img src=x> ? \"q\"");
    assert_true(json_is_null(json_object_get(job_of(first, 0), "loss")));
    assert_true(json_is_null(job_of(first, 1)));
    struct worker_event event = {.kind = WORKER_EVENT_STARTED, .total_steps = 100};
    snprintf(event.device, sizeof(event.device), "the GPU");
    board_step(world.board, 0, &event);
    event = (struct worker_event){.kind = WORKER_EVENT_STEP,
                                  .epoch = 1,
                                  .epochs = 2,
                                  .step = 7,
                                  .total_steps = 100,
                                  .loss = 0.5,
                                  .accuracy = NAN,
                                  .images_per_second = 1000};
    board_step(world.board, 0, &event);
    CYX_CLEANUP_JSON json_t *second = look(&world);
    const json_t *job = job_of(second, 0);
    assert_string_equal(json_string_value(json_object_get(job, "phase")), "training");
    assert_string_equal(json_string_value(json_object_get(job, "device")), "the GPU");
    assert_float_equal(number(job, "step"), 7, 0);
    assert_float_equal(number(job, "loss"), 0.5, 0);
    assert_true(json_is_null(json_object_get(job, "accuracy")));
    board_end(world.board, 0, "failed", "out of memory");
    board_end(world.board, 0, "failed", "nothing had begun");
    CYX_CLEANUP_JSON json_t *third = look(&world);
    assert_true(json_is_null(job_of(third, 0)));
    const json_t *recent = json_object_get(third, "recent");
    assert_int_equal(json_array_size(recent), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(recent, 0), "why")),
                        "out of memory");
    end_world(&world);
}

static void test_page__the_newest_twenty_jobs_are_kept(void **state)
{
    (void)state;
    struct world world = make_world();
    for (int i = 1; i <= 25; i++) {
        char name[16];
        snprintf(name, sizeof(name), "job %d", i);
        board_begin(world.board, 0, "0190f1a0-0000-7000-8000-000000000002", name);
        board_end(world.board, 0, "completed", NULL);
    }
    CYX_CLEANUP_JSON json_t *status = look(&world);
    const json_t *recent = json_object_get(status, "recent");
    assert_int_equal(json_array_size(recent), BOARD_RECENT_LIMIT);
    assert_string_equal(json_string_value(json_object_get(json_array_get(recent, 0), "name")),
                        "job 25");
    assert_string_equal(json_string_value(json_object_get(json_array_get(recent, 19), "name")),
                        "job 6");
    end_world(&world);
}

static void test_page__a_name_cut_within_a_letter_is_still_text(void **state)
{
    (void)state;
    struct world world = make_world();
    char name[200];
    for (size_t i = 0; i < 99; i++)
        memcpy(name + 1 + 2 * i, "\xc3\xa4", 2);
    name[0] = 'x';
    name[199] = '\0';
    board_begin(world.board, 0, "0190f1a0-0000-7000-8000-000000000002", name);
    CYX_CLEANUP_JSON json_t *status = look(&world);
    const char *told = json_string_value(json_object_get(job_of(status, 0), "name"));
    assert_non_null(told);
    assert_true(strlen(told) > 100);
    end_world(&world);
}

static void test_page__the_machine_is_told_and_remembered(void **state)
{
    (void)state;
    struct world world = make_world();
    CYX_CLEANUP_JSON json_t *none = look(&world);
    assert_true(json_is_null(json_object_get(none, "machine")));
    assert_true(json_is_null(json_object_get(json_object_get(none, "cache"), "used_bytes")));
    struct monitor_reading reading = {.system = {.cpu_percent = 42,
                                                 .memory_total_bytes = 1 << 30,
                                                 .memory_used_bytes = 1 << 20,
                                                 .power_watts = -1},
                                      .n_gpus = 2};
    reading.gpus[0] = (struct gpu_sample){.source = "nvml",
                                          .busy_percent = 90,
                                          .power_watts = 300,
                                          .temperature_celsius = 60,
                                          .memory_used_bytes = 5,
                                          .memory_total_bytes = 10};
    reading.gpus[1] = reading.gpus[0];
    reading.gpus[1].busy_percent = 10;
    board_sample(world.board, &reading, 1234);
    board_sample(world.board, &reading, 1234); /* at once: not kept twice */
    board_cache(world.board, 77);
    CYX_CLEANUP_JSON json_t *status = look(&world), *history = board_history(world.board);
    const json_t *machine = json_object_get(status, "machine");
    assert_float_equal(number(machine, "cpu_percent"), 42, 0);
    assert_null(json_object_get(machine, "power_watts"));
    assert_int_equal(json_array_size(json_object_get(machine, "gpus")), 2);
    assert_float_equal(number(json_object_get(status, "cache"), "used_bytes"), 77, 0);
    const json_t *rows = json_object_get(history, "rows"), *row = json_array_get(rows, 0);
    assert_int_equal(json_array_size(rows), 1);
    assert_int_equal(json_array_size(row), json_array_size(json_object_get(history, "columns")));
    assert_true(json_is_null(json_array_get(row, 7)));                    /* power */
    assert_float_equal(json_number_value(json_array_get(row, 8)), 50, 0); /* the mean */
    assert_float_equal(json_number_value(json_array_get(row, 9)), 10, 0); /* the sum */
    assert_float_equal(json_number_value(json_array_get(row, 11)), 1234, 0);
    board_sample(world.board, NULL, 0);
    CYX_CLEANUP_JSON json_t *later = look(&world);
    assert_true(json_is_null(json_object_get(later, "machine")));
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page__only_the_loopbacks_names_with_the_port_are_a_host),
        cmocka_unit_test(test_page__another_site_is_seen),
        cmocka_unit_test(test_page__an_order_needs_the_pages_origin_and_token),
        cmocka_unit_test(test_page__the_state_is_the_gravest),
        cmocka_unit_test(test_page__a_job_is_told_from_its_beginning_to_its_end),
        cmocka_unit_test(test_page__the_newest_twenty_jobs_are_kept),
        cmocka_unit_test(test_page__a_name_cut_within_a_letter_is_still_text),
        cmocka_unit_test(test_page__the_machine_is_told_and_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
