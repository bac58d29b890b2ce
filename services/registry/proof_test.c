/* The rules by which benchmarks are judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proof.h"

#define GIB (INT64_C(1) << 30)
static const struct cyx_proof_settings settings = {
    .required = true, .interval_ms = 3600000, .retry_ms = 1000, .deadline_ms = 60000};
static const int64_t now_ms = INT64_C(1800000000000);

static struct cyx_registry_device gpu(void)
{
    return (struct cyx_registry_device){
        .backend = "vulkan", .name = "Sham 9090", .memory_bytes = 80 * GIB};
}

/* What a device of that speed answers that takes so many times what it should. */
static struct cyx_proof_outcome answer(double speed, double times, int64_t memory_bytes)
{
    struct cyx_proof_outcome outcome = {
        .end = CYX_PROOF_ANSWERED,
        .told = {.products_flops_per_second = speed,
                 .convolutions_flops_per_second = speed / 2,
                 .bandwidth_bytes_per_second = 1e10,
                 .memory_bytes = memory_bytes,
                 .memory_tried_bytes = memory_bytes},
    };
    cyx_proof_plan(speed, 1, &outcome.task);
    outcome.elapsed_ms = (int64_t)((double)outcome.task.rows *
                                   cyx_proof_row_flops(&outcome.task.size) / speed * 1000 * times);
    return outcome;
}

static void judge(struct cyx_registry_device *device, struct cyx_proof_outcome outcome)
{
    cyx_proof_judge(&settings, &outcome, 0.5, now_ms, device);
}

static void test_proof__an_honest_answer_is_borne_out(void **state)
{
    (void)state;
    struct cyx_registry_device device = gpu();
    judge(&device, answer(1e11, 1.5, 76 * GIB));
    assert_int_equal(device.proof.state, CYX_PROVED);
    assert_true(device.proof.flops_per_second > 6e10 && device.proof.flops_per_second < 7e10);
    assert_string_equal(device.proof.message, "");
    assert_int_equal(device.proof.at_ms, now_ms);
    assert_true(device.proof.due_ms > now_ms);
}

static void test_proof__memory_that_is_not_there_refutes(void **state)
{
    (void)state;
    struct cyx_registry_device device = gpu();
    judge(&device, answer(1e11, 1, 8 * GIB));
    assert_int_equal(device.proof.state, CYX_REFUTED);
    assert_string_equal(device.proof.code, "memory");
    assert_string_equal(device.proof.message,
                        "claims 80.0 GiB of memory; its benchmark could hold 8.0 GiB");
    struct cyx_proof_outcome wraps = answer(1e11, 1, 60 * GIB); /* a part lost its marks */
    wraps.told.memory_tried_bytes = 76 * GIB;
    judge(&device, wraps);
    assert_string_equal(device.proof.code, "memory");
    /* The CPU's is shared with others: a little is tried. */
    struct cyx_registry_device cpu = {.backend = "cpu", .name = "CPU", .memory_bytes = 64 * GIB};
    judge(&cpu, answer(1e11, 1, GIB / 4));
    assert_int_equal(cpu.proof.state, CYX_PROVED);
    judge(&cpu, answer(1e11, 1, GIB / 16));
    assert_int_equal(cpu.proof.state, CYX_REFUTED);
}

static void test_proof__a_speed_that_the_clock_denies_refutes(void **state)
{
    (void)state;
    struct cyx_registry_device device = gpu();
    judge(&device, answer(1e12, 3, 80 * GIB));
    assert_int_equal(device.proof.state, CYX_PROVED);
    device = gpu();
    judge(&device, answer(1e12, 10, 80 * GIB));
    assert_int_equal(device.proof.state, CYX_REFUTED);
    assert_string_equal(device.proof.code, "too-slow");
    assert_non_null(strstr(device.proof.message, "claims 1e+03 GFLOP/s"));
}

static void test_proof__a_wrong_product_refutes_at_once(void **state)
{
    (void)state;
    struct cyx_registry_device device = gpu();
    judge(&device, answer(1e11, 1, 80 * GIB));
    struct cyx_proof_outcome wrong = answer(1e11, 1, 80 * GIB);
    wrong.wrong = "row 7 of its product is wrong";
    judge(&device, wrong);
    assert_int_equal(device.proof.state, CYX_REFUTED);
    assert_string_equal(device.proof.code, "wrong-product");
    assert_true(device.proof.flops_per_second == 0);
    judge(&device, answer(1e11, 1, 80 * GIB)); /* and a right one mends it */
    assert_int_equal(device.proof.state, CYX_PROVED);
    assert_int_equal(device.proof.failures, 0);
}

static void test_proof__silence_is_forgiven_once(void **state)
{
    (void)state;
    const struct cyx_proof_outcome silence = {.end = CYX_PROOF_NO_ANSWER,
                                              .outdated = "its worker is old"};
    struct cyx_registry_device device = gpu();
    judge(&device, silence); /* never proved: nothing speaks for it */
    assert_string_equal(device.proof.code, "no-answer");
    assert_string_equal(device.proof.message,
                        "did not answer its benchmark within 60 s: its worker is old");
    assert_int_equal(device.proof.due_ms, now_ms + 1000);
    judge(&device, silence);
    assert_int_equal(device.proof.due_ms, now_ms + 2000);
    judge(&device, answer(1e11, 1, 80 * GIB));
    judge(&device, silence);
    assert_int_equal(device.proof.state, CYX_PROVED);
    assert_int_equal(device.proof.due_ms, now_ms + 1000);
    judge(&device, silence);
    assert_int_equal(device.proof.state, CYX_REFUTED);
}

static void test_proof__who_is_busy_is_asked_later_but_not_for_ever(void **state)
{
    (void)state;
    const struct cyx_proof_outcome busy = {.end = CYX_PROOF_BUSY};
    struct cyx_registry_device device = gpu();
    judge(&device, answer(1e11, 1, 80 * GIB));
    judge(&device, busy);
    assert_int_equal(device.proof.state, CYX_PROVED);
    assert_int_equal(device.proof.due_ms, now_ms + 1000);
    cyx_proof_judge(&settings, &busy, 0.5, now_ms + CYX_PROOF_STALE * settings.interval_ms + 1,
                    &device);
    assert_int_equal(device.proof.state, CYX_REFUTED);
    assert_string_equal(device.proof.code, "stale");
}

static void test_proof__comes_at_random_around_the_mean(void **state)
{
    (void)state;
    double sum = 0;
    enum { DRAWS = 10000 };
    for (int i = 0; i < DRAWS; i++) {
        int64_t wait_ms = cyx_proof_next_ms(&settings, (i + 0.5) / DRAWS, now_ms) - now_ms;
        assert_true(wait_ms >= settings.interval_ms / 100 && wait_ms <= settings.interval_ms * 4);
        sum += (double)wait_ms / DRAWS;
    }
    assert_true(sum > 0.9 * (double)settings.interval_ms &&
                sum < 1.1 * (double)settings.interval_ms);
}

static void test_proof__holds_for_what_was_claimed(void **state)
{
    (void)state;
    struct cyx_registry_why why;
    struct cyx_registry_node before = {.n_devices = 2}, after;
    before.devices[0] = gpu();
    before.devices[1] = (struct cyx_registry_device){.backend = "vulkan",
                                                     .index = 1,
                                                     .name = "llvmpipe",
                                                     .memory_bytes = GIB,
                                                     .is_software = true};
    cyx_proof_carry(NULL, now_ms, &before);
    assert_string_equal(cyx_proof_closes(&before, &why), "proving");
    assert_string_equal(why.message, "Sham 9090 (vulkan 0) is being benchmarked");
    assert_ptr_equal(cyx_proof_due(&before, now_ms), &before.devices[0]);
    judge(&before.devices[0], answer(1e11, 1, 80 * GIB));
    assert_string_equal(cyx_proof_closes(&before, &why), ""); /* software may follow later */
    assert_ptr_equal(cyx_proof_due(&before, now_ms), &before.devices[1]);
    judge(&before.devices[1], answer(1e11, 1, 0));
    assert_string_equal(cyx_proof_closes(&before, &why), "unproven");
    assert_string_equal(why.code, "memory");
    assert_null(cyx_proof_due(&before, now_ms));
    judge(&before.devices[1], answer(1e11, 1, GIB));
    after = before;
    cyx_proof_carry(&before, now_ms + 1, &after);
    assert_string_equal(cyx_proof_closes(&after, &why), "");
    after.devices[0].memory_bytes++;
    cyx_proof_carry(&before, now_ms + 1, &after);
    assert_string_equal(cyx_proof_closes(&after, &why), "proving");
    assert_int_equal(after.devices[1].proof.state, CYX_PROVED);
    assert_int_equal(cyx_proof_due_ms(&after), now_ms + 1);
}

static void test_proof__says_which_version_is_old(void **state)
{
    (void)state;
    static const struct {
        const char *version, *platform;
        bool old;
    } cases[] = {{"0.1.0", "0.1.0", false}, {"0.0.9", "0.1.0", true},
                 {"0.9.0", "0.10.0", true}, {"1.0", "0.9.9", false},
                 {"0.1", "0.1.0", false},   {"0.1.0-rc1", "0.1.0", false},
                 {"test", "0.1.0", false},  {"0.1.0", "unknown", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[160];
        cyx_registry_outdated(cases[i].version, cases[i].platform, text);
        if (cases[i].old != (*text != '\0'))
            fail_msg("%s beside %s: \"%s\"", cases[i].version, cases[i].platform, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proof__an_honest_answer_is_borne_out),
        cmocka_unit_test(test_proof__memory_that_is_not_there_refutes),
        cmocka_unit_test(test_proof__a_speed_that_the_clock_denies_refutes),
        cmocka_unit_test(test_proof__a_wrong_product_refutes_at_once),
        cmocka_unit_test(test_proof__silence_is_forgiven_once),
        cmocka_unit_test(test_proof__who_is_busy_is_asked_later_but_not_for_ever),
        cmocka_unit_test(test_proof__comes_at_random_around_the_mean),
        cmocka_unit_test(test_proof__holds_for_what_was_claimed),
        cmocka_unit_test(test_proof__says_which_version_is_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
