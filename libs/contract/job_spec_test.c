#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "contract/job_spec.h"

static void test_job_spec__examples_parse_and_their_canonical_form_is_stable(void **state)
{
    (void)state;
    static const char *const names[] = {"fashion-cnn", "mnist-cnn", "mnist-mlp"};
    for (size_t i = 0; i < 3; i++) {
        CYX_CLEANUP_BUF struct cyx_buf path = {0}, text = {0};
        struct cyx_error err = {0};
        cyx_buf_printf(&path, "%s/docs/examples/%s.json", CYX_SOURCE_DIR, names[i]);
        assert_int_equal(cyx_buf_read_file(&text, path.data, 1 << 20, &err), CYX_OK);
        struct cyx_job_spec *spec = NULL, *again = NULL;
        if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
            fail_msg("%s: %s: %s", names[i], err.pointer, err.message);
        assert_int_equal(cyx_job_spec_parse(spec->canonical, strlen(spec->canonical), &again, &err),
                         CYX_OK);
        assert_string_equal(spec->canonical, again->canonical);
        cyx_job_spec_destroy(spec);
        cyx_job_spec_destroy(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_spec__examples_parse_and_their_canonical_form_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
