#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/id.h"
#include "contract/dataset.h"

static void test_dataset__is_found_by_its_name_only(void **state)
{
    (void)state;
    assert_string_equal(cyx_dataset_find("fashion-mnist")->classes[9], "Ankle boot");
    assert_string_equal(cyx_dataset_find("mnist")->classes[9], "9");
    assert_null(cyx_dataset_find("MNIST"));
    assert_null(cyx_dataset_find(""));
    assert_null(cyx_dataset_find(NULL));
}

static void test_dataset__files_are_in_the_fixed_roles_with_the_right_sizes(void **state)
{
    (void)state;
    static const char *const roles[] = {"train-images", "train-labels", "test-images",
                                        "test-labels"};
    size_t n = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&n);
    assert_true(n >= 2);
    for (size_t i = 0; i < n; i++) {
        const struct cyx_dataset *set = &sets[i];
        int64_t pixels = set->channels * set->height * set->width;
        const int64_t bytes[] = {16 + set->n_train * pixels, 8 + set->n_train,
                                 16 + set->n_test * pixels, 8 + set->n_test};
        assert_ptr_equal(cyx_dataset_find(set->name), set);
        assert_int_equal(set->n_files, 4);
        assert_true(set->n_classes >= 2 && set->licence && set->source && set->title);
        for (size_t f = 0; f < set->n_files; f++) {
            unsigned char hash[crypto_hash_sha256_BYTES];
            assert_string_equal(set->files[f].role, roles[f]);
            assert_int_equal(set->files[f].bytes, bytes[f]);
            assert_true(cyx_hex_decode(set->files[f].sha256, hash, sizeof(hash)));
            assert_null(strchr(set->files[f].name, '/'));
        }
    }
}

static void test_dataset__fingerprint_is_the_hash_of_the_hashes(void **state)
{
    (void)state;
    size_t n = 0;
    const struct cyx_dataset *sets = cyx_dataset_all(&n);
    for (size_t i = 0; i < n; i++) {
        CYX_CLEANUP_BUF struct cyx_buf text = {0};
        for (size_t f = 0; f < sets[i].n_files; f++)
            cyx_buf_printf(&text, "%s%s", f ? "\n" : "", sets[i].files[f].sha256);
        unsigned char hash[crypto_hash_sha256_BYTES];
        char hex[2 * sizeof(hash) + 1];
        crypto_hash_sha256(hash, (const unsigned char *)text.data, text.length);
        cyx_hex_encode(hash, sizeof(hash), hex);
        assert_string_equal(hex, sets[i].fingerprint);
    }
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset__is_found_by_its_name_only),
        cmocka_unit_test(test_dataset__files_are_in_the_fixed_roles_with_the_right_sizes),
        cmocka_unit_test(test_dataset__fingerprint_is_the_hash_of_the_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
