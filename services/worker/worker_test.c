#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker.h"

static enum cyx_status parse(const char *line, struct worker_event *event, struct cyx_error *err)
{
    return worker_event_parse(line, strlen(line), event, err);
}

static void test_worker__reads_the_trainers_lines(void **state)
{
    (void)state;
    struct worker_event event;
    struct cyx_error err = {0};
    assert_int_equal(
        parse("{\"event\":\"step\",\"step\":12,\"total_steps\":90,\"loss\":0.5}", &event, &err),
        CYX_OK);
    assert_int_equal(event.kind, WORKER_EVENT_STEP);
    assert_int_equal(event.step, 12);
    assert_true(event.loss == 0.5);
    assert_int_equal(
        parse("{\"event\":\"error\",\"status\":\"invalid\",\"pointer\":\"/optimizer/lr\","
              "\"message\":\"loss became NaN\"}",
              &event, &err),
        CYX_OK);
    assert_int_equal(event.error.status, CYX_ERR_INVALID);
    assert_string_equal(event.error.pointer, "/optimizer/lr");
    assert_int_equal(parse("Segfault in driver", &event, &err), CYX_ERR_CORRUPT);
    assert_int_equal(parse("{\"event\":\"dance\"}", &event, &err), CYX_ERR_CORRUPT);
    assert_int_equal(
        parse("{\"event\":\"result\",\"path\":\"/m\",\"result\":{\"epochs\":3}}", &event, &err),
        CYX_OK);
    assert_int_equal(json_integer_value(json_object_get(event.result, "epochs")), 3);
    worker_event_finish(&event);
}

static void test_worker__tells_ten_steps_a_second_and_every_epochs_last(void **state)
{
    (void)state;
    struct worker_event event = {.step = 7, .total_steps = 30, .epochs = 3};
    assert_false(worker_step_is_told(1050, 1000, &event));
    assert_true(worker_step_is_told(1100, 1000, &event));
    event.step = 20;
    assert_true(worker_step_is_told(1001, 1000, &event));
}

static void test_worker__judges_every_way_to_end(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    struct worker_end end = {.wait_status = 0, .has_result = true};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_COMPLETED);

    end = (struct worker_end){.wait_status = SIGSEGV};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_int_equal(err.status, CYX_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "signal 11"));

    end = (struct worker_end){.wait_status = SIGKILL};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_int_equal(err.status, CYX_ERR_NO_MEMORY);

    end = (struct worker_end){.wait_status = 3 << 8, .cancelled = true};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_CANCELLED);
    end = (struct worker_end){.wait_status = 3 << 8, .draining = true};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_HANDED_BACK);

    end = (struct worker_end){.wait_status = 1 << 8, .has_error = true};
    cyx_error_set(&end.error, CYX_ERR_INVALID, "/optimizer/lr", "loss became NaN");
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_string_equal(err.message, "loss became NaN");

    /* A result and then a crash on the way out: what it said may not be whole. */
    end = (struct worker_end){.wait_status = SIGABRT, .has_result = true};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
}

static void expect_breach(enum worker_breach breach, enum cyx_status status, const char *words)
{
    const struct worker_end end = {
        .wait_status = SIGKILL,
        .breach = breach,
        .limits = {.memory_bytes = INT64_C(2) << 30, .disk_bytes = 512 << 20, .run_ms = 90000},
        .usage = {.silent_ms = 45000}};
    struct cyx_error err = {0};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_int_equal(err.status, status);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, err.message);
}

static void test_worker__a_limit_that_was_passed_is_named(void **state)
{
    (void)state;
    expect_breach(WORKER_BREACH_MEMORY, CYX_ERR_NO_MEMORY, "out of memory: limit 2 GiB");
    expect_breach(WORKER_BREACH_DISK, CYX_ERR_IO, "out of disk: limit 512 MiB");
    expect_breach(WORKER_BREACH_TIME, CYX_ERR_TIMEOUT, "out of time: limit 90 s");
    expect_breach(WORKER_BREACH_SILENCE, CYX_ERR_TIMEOUT, "no progress for 45 s");

    /* A file over the limit, written: the kernel's own signal. */
    struct cyx_error err = {0};
    struct worker_end end = {.wait_status = SIGXFSZ, .limits = {.disk_bytes = 1 << 20}};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_non_null(strstr(err.message, "out of disk: limit 1 MiB"));

    /* The engine's own words, and what it could have had. */
    end = (struct worker_end){
        .wait_status = 1 << 8, .has_error = true, .limits = {.memory_bytes = INT64_C(3) << 29}};
    cyx_error_set(&end.error, CYX_ERR_NO_MEMORY, "/data/batch_size", "no memory for 9 values");
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_string_equal(err.pointer, "/data/batch_size");
    assert_non_null(strstr(err.message, "no memory for 9 values (limit 1.5 GiB"));

    end = (struct worker_end){.stuck = true, .has_result = true};
    assert_int_equal(worker_end_judge(&end, &err), WORKER_FAILED);
    assert_non_null(strstr(err.message, "driver"));
}

static void test_worker__silence_is_judged_by_the_jobs_own_pace(void **state)
{
    (void)state;
    const struct worker_limits limits = {.memory_bytes = 100, .silence_ms = 1000};
    struct worker_usage usage = {.memory_bytes = 100, .silent_ms = 1000};
    assert_int_equal(worker_breach_of(&limits, &usage), WORKER_NO_BREACH);
    usage.silent_ms = 1001;
    assert_int_equal(worker_breach_of(&limits, &usage), WORKER_BREACH_SILENCE);
    usage.longest_silence_ms = 500; /* it has been slow before */
    assert_int_equal(worker_breach_of(&limits, &usage), WORKER_NO_BREACH);
    usage.silent_ms = 5001;
    assert_int_equal(worker_breach_of(&limits, &usage), WORKER_BREACH_SILENCE);
    usage.memory_bytes = 101;
    assert_int_equal(worker_breach_of(&limits, &usage), WORKER_BREACH_MEMORY);
    assert_int_equal(worker_breach_of(&(struct worker_limits){0}, &usage), WORKER_NO_BREACH);
}

static void test_worker__the_spec_chooses_the_backend_unless_it_says_auto(void **state)
{
    (void)state;
    assert_string_equal(worker_backend("vulkan", "cpu"), "vulkan");
    assert_string_equal(worker_backend("auto", "cpu"), "cpu");
    assert_string_equal(worker_backend(NULL, "auto"), "auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker__reads_the_trainers_lines),
        cmocka_unit_test(test_worker__tells_ten_steps_a_second_and_every_epochs_last),
        cmocka_unit_test(test_worker__judges_every_way_to_end),
        cmocka_unit_test(test_worker__a_limit_that_was_passed_is_named),
        cmocka_unit_test(test_worker__silence_is_judged_by_the_jobs_own_pace),
        cmocka_unit_test(test_worker__the_spec_chooses_the_backend_unless_it_says_auto),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
