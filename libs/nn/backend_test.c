/* Which backend a name opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nn/backend.h"

static void test_backend__cpu_opens_and_tells_of_itself(void **state)
{
    (void)state;
    const struct cyx_backend *backend = NULL;
    struct cyx_device *device = NULL;
    struct cyx_device_info info = {0};
    struct cyx_error error = {0};
    struct cyx_device_options options = {.threads = 3};
    assert_int_equal(cyx_backend_open("cpu", &options, &backend, &device, &error), CYX_OK);
    assert_ptr_equal(backend, cyx_backend_cpu());
    backend->device_info(device, &info);
    assert_string_equal(info.backend, "cpu");
    assert_int_equal(info.threads, 3);
    assert_true(strlen(info.name) > 0 && info.memory_bytes > 0 && !info.is_software);
    backend->device_close(device);
    assert_int_equal(cyx_backend_open("cpu", NULL, &backend, &device, &error), CYX_OK);
    backend->device_info(device, &info);
    assert_true(info.threads >= 1);
    backend->device_close(device);
    backend->device_close(NULL);
}

static void test_backend__bad_names_and_options_are_refused(void **state)
{
    (void)state;
    const struct cyx_backend *backend = NULL;
    struct cyx_device *device = NULL;
    struct cyx_error error = {0};
    static const char *const names[] = {"", "CPU", "cuda", NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(cyx_backend_open(names[i], NULL, &backend, &device, &error),
                         CYX_ERR_INVALID);
        assert_string_equal(error.pointer, "/resources/backend");
    }
    struct cyx_device_options options = {.threads = -1};
    assert_int_equal(cyx_backend_open("cpu", &options, &backend, &device, &error), CYX_ERR_INVALID);
    options.threads = 100000;
    assert_int_equal(cyx_backend_open("cpu", &options, &backend, &device, &error), CYX_ERR_INVALID);
    assert_null(backend);
    assert_null(device);
}

/* "auto" is Vulkan on a real GPU alone: a GPU interface run by the CPU is slower than the CPU backend. */
static void test_backend__auto_takes_no_software_gpu(void **state)
{
    (void)state;
    const struct cyx_backend *backend = NULL;
    struct cyx_device *device = NULL;
    struct cyx_device_info info = {0};
    struct cyx_error error = {0};
    assert_int_equal(cyx_backend_open("auto", NULL, &backend, &device, &error), CYX_OK);
    backend->device_info(device, &info);
    assert_false(info.is_software);
    assert_string_equal(info.backend, backend->name);
    backend->device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backend__cpu_opens_and_tells_of_itself),
        cmocka_unit_test(test_backend__bad_names_and_options_are_refused),
        cmocka_unit_test(test_backend__auto_takes_no_software_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
