/* IDX files, a data set's files on disk as the catalogue wants them, and arrays of the caller. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "blob/sha256.h"
#include "nn/data/idx.h"
#include "nn/data/pipeline.h"
#include "nn/test_folder.h"

/* ---- IDX ---- */

static void test_idx__reads_shape_and_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\x08\x02\0\0\0\2\0\0\0\3abcdef";
    struct cyx_idx idx = {0};
    struct cyx_error error = {0};
    assert_int_equal(cyx_idx_parse("a", (const uint8_t *)bytes, sizeof bytes - 1, &idx, &error),
                     CYX_OK);
    assert_int_equal(idx.rank, 2);
    assert_int_equal(idx.shape[0], 2);
    assert_int_equal(idx.shape[1], 3);
    assert_memory_equal(idx.data, "abcdef", 6);
}

static void test_idx__refuses_what_is_not_one(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {"", 0},
        {"\0\0\x08", 3},
        {"\0\0\x08\x01\0\0\0", 7},
        {"\0\0\x08\x01\0\0\0\2a", 9},                                  /* cut */
        {"\0\0\x08\x01\0\0\0\1ab", 10},                                /* too long */
        {"\0\0\x0d\x01\0\0\0\1abcd", 12},                              /* floats */
        {"\0\1\x08\x01\0\0\0\1a", 9},                                  /* magic */
        {"\0\0\x08\0\0\0\0\0a", 9},                                    /* rank 0 */
        {"\0\0\x08\x05\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1a", 25}, /* rank 5 */
        {"\0\0\x08\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 20},
        {"\0\0\x08\x02\0\0\0\0\0\0\0\1a", 13}, /* no rows, yet a byte */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cyx_idx idx = {0};
        struct cyx_error error = {0};
        uint8_t *copy = malloc(bad[i].length + 1);
        memcpy(copy, bad[i].bytes, bad[i].length);
        assert_int_equal(cyx_idx_parse("the/file", copy, bad[i].length, &idx, &error),
                         CYX_ERR_CORRUPT);
        assert_non_null(strstr(error.message, "the/file"));
        free(copy);
    }
}

/* ---- files of a data set ---- */

enum { SET_ROWS = 3 };

static struct cyx_dataset_file set_files[] = {
    {.role = "train-images", .name = "ti"},
    {.role = "train-labels", .name = "tl"},
    {.role = "test-images", .name = "ei"},
    {.role = "test-labels", .name = "el"},
};
static char set_hashes[4][CYX_SHA256_HEX];
static const struct cyx_dataset set = {.name = "tiny",
                                       .channels = 1,
                                       .height = 1,
                                       .width = 2,
                                       .n_train = SET_ROWS,
                                       .n_test = SET_ROWS,
                                       .n_classes = 3,
                                       .files = set_files,
                                       .n_files = 4};

static void write_set(const char *last_label)
{
    char label_bytes[12] = "\0\0\x08\x01\0\0\0\3\0\1";
    static const char pixel_bytes[] = "\0\0\x08\x03\0\0\0\3\0\0\0\1\0\0\0\2abcdef";
    label_bytes[10] = *last_label;
    mkdir(path_of("tiny"), 0755);
    for (int i = 0; i < 4; i++) {
        char name[80];
        snprintf(name, sizeof name, "tiny/%s", set_files[i].name);
        if (i % 2)
            write_file(path_of(name), label_bytes, 11);
        else
            write_file(path_of(name), pixel_bytes, sizeof pixel_bytes - 1);
        assert_int_equal(cyx_sha256_file(path_of(name), set_hashes[i], NULL, NULL), CYX_OK);
        set_files[i].sha256 = set_hashes[i];
    }
}

static enum cyx_status open_set(struct cyx_error *error)
{
    struct cyx_data *data = NULL;
    enum cyx_status status = cyx_data_open_dataset(&set, folder, &data, error);
    if (status == CYX_OK) {
        assert_int_equal(data->train.count, SET_ROWS);
        assert_int_equal(data->test.labels[1], 1);
        assert_int_equal(data->train.kind, CYX_ROWS_BYTES);
        assert_memory_equal(data->train.bytes, "abcdef", 6);
        assert_true(data->row.rank == 3 && data->row.dim[2] == 2 && data->n_classes == 3);
    }
    cyx_data_close(data);
    return status;
}

static void test_dataset_files__are_verified_and_checked(void **state)
{
    (void)state;
    struct cyx_error error = {0};
    write_set("\2");
    assert_int_equal(open_set(&error), CYX_OK);
    assert_int_equal(open_set(&error), CYX_OK); /* by the stamp */

    /* Same length, another time: hashed again and found out. */
    write_file(path_of("tiny/tl"), "\0\0\x08\x01\0\0\0\3\0\2\1", 11);
    assert_int_equal(open_set(&error), CYX_ERR_CORRUPT);
    assert_non_null(strstr(error.message, "tiny/tl"));
    assert_non_null(strstr(error.message, "cyxwiz data fetch tiny"));

    write_set("\3"); /* a label beyond the classes, hashes right */
    assert_int_equal(open_set(&error), CYX_ERR_CORRUPT);
    assert_non_null(strstr(error.message, "label"));

    write_set("\2");
    unlink(path_of("tiny/ei"));
    assert_int_equal(open_set(&error), CYX_ERR_NOT_FOUND);
    assert_string_equal(error.pointer, "/data/dataset");
    assert_non_null(strstr(error.message, "tiny/ei is missing: run `cyxwiz data fetch tiny`"));
}

static void test_dataset_files__the_stamp_vouches_only_for_its_bytes(void **state)
{
    (void)state;
    struct cyx_error error = {0};
    struct stat before, after;
    write_set("\2");
    assert_int_equal(open_set(&error), CYX_OK);
    assert_int_equal(stat(path_of("tiny/.verified"), &before), 0);
    assert_int_equal(open_set(&error), CYX_OK);
    assert_int_equal(stat(path_of("tiny/.verified"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* nothing was hashed, nothing written */
    set_files[0].sha256 = set_hashes[1]; /* the catalogue changed: the stamp is of no use */
    assert_int_equal(open_set(&error), CYX_ERR_CORRUPT);
    write_file(path_of("tiny/.verified"), "nonsense", 8);
    write_set("\2");
    assert_int_equal(open_set(&error), CYX_OK);
}

/* ---- arrays of the caller ---- */

static void test_arrays__are_rows_and_targets(void **state)
{
    (void)state;
    static const float inputs[] = {1, 2, 3, 4, 5, 6};
    static const int32_t labels[] = {0, 4, 1};
    static const float numbers[] = {0.5f, 1, 1.5f, 2, 2.5f, 3};
    struct cyx_data_arrays arrays = {
        .count = 3, .rank = 1, .shape = {2}, .floats = inputs, .labels = labels};
    struct cyx_data *data = NULL;
    struct cyx_sample_shape sample;
    const struct cyx_transform_spec plain[] = {{.type = CYX_TRANSFORM_TO_TENSOR}};
    const struct cyx_data_spec spec = {.transforms = plain, .n_transforms = 1};
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &data, NULL), CYX_OK);
    assert_ptr_equal(data->train.floats, inputs);
    assert_true(data->n_classes == 5 && data->test.count == 0);
    assert_int_equal(cyx_data_sample(data, &spec, &sample, NULL), CYX_OK);
    assert_true(sample.rank == 1 && sample.dim[0] == 2 && sample.target == CYX_TARGET_CLASSES &&
                sample.n_classes == 5);
    cyx_data_close(data);

    arrays.labels = NULL;
    arrays.numbers = numbers;
    arrays.n_targets = 2;
    struct cyx_data_arrays test = arrays;
    test.count = 1;
    assert_int_equal(cyx_data_from_arrays(&arrays, &test, &data, NULL), CYX_OK);
    assert_true(data->target == CYX_TARGET_NUMBERS && data->n_targets == 2);
    assert_int_equal(data->test.count, 1);
    cyx_data_close(data);

    arrays.numbers = NULL; /* autoencoders */
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &data, NULL), CYX_OK);
    assert_true(data->target == CYX_TARGET_NUMBERS && data->n_targets == 0);
    cyx_data_close(data);
}

static void test_arrays__that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const float inputs[12] = {0};
    static const uint8_t bytes[12] = {0};
    static const int32_t labels[] = {0, -1, 1};
    struct cyx_error error = {0};
    struct cyx_data *data = NULL;
    struct cyx_data_arrays good = {.count = 3, .rank = 1, .shape = {2}, .floats = inputs};
    struct cyx_data_arrays bad = good;
    bad.labels = labels;
    assert_int_equal(cyx_data_from_arrays(&bad, NULL, &data, &error), CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "row 1 has class -1"));
    bad = good;
    bad.bytes = bytes;
    assert_int_equal(cyx_data_from_arrays(&bad, NULL, &data, &error), CYX_ERR_INVALID);
    bad = good;
    bad.count = 0;
    assert_int_equal(cyx_data_from_arrays(&bad, NULL, &data, &error), CYX_ERR_INVALID);
    bad = good;
    bad.shape[0] = 3;
    assert_int_equal(cyx_data_from_arrays(&good, &bad, &data, &error), CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "the test part: expected rows as the training part's"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx__reads_shape_and_bytes),
        cmocka_unit_test(test_idx__refuses_what_is_not_one),
        cmocka_unit_test(test_arrays__are_rows_and_targets),
        cmocka_unit_test(test_arrays__that_do_not_fit_are_refused),
        cmocka_unit_test(test_dataset_files__are_verified_and_checked),
        cmocka_unit_test(test_dataset_files__the_stamp_vouches_only_for_its_bytes),
    };
    if (!folder_make("data"))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove();
    return failed;
}
