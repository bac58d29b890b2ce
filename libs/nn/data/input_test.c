/* Words of a command line as rows of data: which shapes an array may have, which rows are chosen, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nn/data/input.h"
#include "nn/data/pipeline.h"
#include "nn/test_folder.h"

/* An NPY file of `count` elements that hold 0, 1, 2 and so on. */
static const char *write_npy(const char *descr, const char *shape, size_t count)
{
    const char *path = path_of("a.npy");
    char bytes[128 + 8 * 512] = "\x93NUMPY\x01\x00\x76\x00";
    memset(bytes + 10, ' ', 118);
    int n = snprintf(bytes + 10, 117, "{'descr': '%s', 'fortran_order': False, 'shape': %s}", descr,
                     shape);
    bytes[10 + n] = ' ';
    bytes[127] = '\n';
    size_t width = (size_t)(descr[2] - '0');
    assert_true(count <= 512);
    for (size_t i = 0; i < count; i++) {
        float single = (float)i;
        double wide = (double)i;
        const void *from = width == 8 ? (const void *)&wide : &single;
        if (width == 1)
            bytes[128 + i] = (char)i;
        else
            memcpy(bytes + 128 + i * width, from, width);
    }
    write_file(path, bytes, 128 + count * width);
    return path;
}

static const struct cyx_transform_spec to_tensor = {.type = CYX_TRANSFORM_TO_TENSOR};
static const struct cyx_data_spec plain = {.transforms = &to_tensor, .n_transforms = 1};

static struct cyx_sample_shape shape_of(int rank, int64_t a, int64_t b, int64_t c)
{
    return (struct cyx_sample_shape){.rank = rank, .dim = {a, b, c}};
}

/* The first sample's numbers, as the model gets them; how many samples there are. */
static size_t open_and_read(const char *word, struct cyx_sample_shape sample, bool resize,
                            float *ret_first)
{
    const struct cyx_input_options options = {.sample = sample, .resize = resize};
    struct cyx_input input = {0};
    struct cyx_pipeline *pipeline = NULL;
    struct cyx_scratch *scratch = cyx_scratch_create();
    struct cyx_error error = {0};
    if (cyx_input_open(word, &options, &input, &error) != CYX_OK)
        fail_msg("%s", error.message);
    assert_int_equal(cyx_pipeline_create(input.data, &plain, false, 0, &pipeline, NULL), CYX_OK);
    const struct cyx_sample_shape *got = cyx_pipeline_sample(pipeline);
    assert_int_equal(got->rank, sample.rank);
    for (int i = 0; i < got->rank; i++)
        assert_int_equal(got->dim[i], sample.dim[i]);
    assert_int_equal(
        cyx_pipeline_row(pipeline, input.part, input.rows[0], 0, scratch, ret_first, NULL), CYX_OK);
    size_t n = input.n_rows;
    cyx_pipeline_destroy(pipeline);
    cyx_scratch_destroy(scratch);
    cyx_input_finish(&input);
    return n;
}

static void test_input__an_array_is_one_sample_or_many_by_its_shape(void **state)
{
    (void)state;
    static const struct {
        const char *descr, *shape;
        size_t count;
        int64_t dim[3]; /* of the sample; 0: no such */
        size_t samples;
        double second; /* element 1 of the first sample */
    } cases[] = {
        {"<f4", "(6,)", 6, {6}, 1, 1},
        {"<f4", "(5, 6)", 30, {6}, 5, 1},
        {"<f8", "(5, 6)", 30, {6}, 5, 1},
        {"<f4", "(2, 6)", 12, {2, 6}, 1, 1},
        {"<f4", "(3, 2, 6)", 36, {2, 6}, 3, 1},
        {"|u1", "(4, 6)", 24, {1, 4, 6}, 1, 1.0 / 255},
        {"|u1", "(5, 4, 6)", 120, {1, 4, 6}, 5, 1.0 / 255},
        {"|u1", "(1, 4, 6)", 24, {1, 4, 6}, 1, 1.0 / 255},
        {"|u1", "(5, 1, 4, 6)", 120, {1, 4, 6}, 5, 1.0 / 255},
        {"|u1", "(3, 4, 6)", 72, {3, 4, 6}, 1, 1.0 / 255},
        {"|u1", "(4, 6, 3)", 72, {3, 4, 6}, 1, 3.0 / 255},
        {"|u1", "(2, 4, 6, 3)", 144, {3, 4, 6}, 2, 3.0 / 255},
        {"|u1", "(2, 3, 4, 6)", 144, {3, 4, 6}, 2, 1.0 / 255},
        {"<f4", "(4, 6)", 24, {1, 4, 6}, 1, 1},
        {"<f4", "(2, 3, 4, 6)", 144, {3, 4, 6}, 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float first[512];
        const char *path = write_npy(cases[i].descr, cases[i].shape, cases[i].count);
        const int64_t *dim = cases[i].dim;
        int rank = 1 + (dim[1] > 0) + (dim[2] > 0);
        struct cyx_sample_shape sample = shape_of(rank, dim[0], dim[1], dim[2]);
        size_t n = open_and_read(path, sample, false, first);
        if (n != cases[i].samples || first[0] != 0 || first[1] != (float)cases[i].second)
            fail_msg("%s %s: %zu samples, %g, %g", cases[i].descr, cases[i].shape, n,
                     (double)first[0], (double)first[1]);
    }
}

static void test_input__rows_are_chosen_behind_a_colon(void **state)
{
    (void)state;
    static const struct {
        const char *rows;
        uint32_t expected[8];
        size_t n; /* 0: refused */
    } cases[] = {
        {"", {0, 1, 2, 3, 4}, 5},
        {":3", {3}, 1},
        {":1-3", {1, 2, 3}, 3},
        {":4,0-1,4", {4, 0, 1, 4}, 4},
        {":5", {0}, 0},
        {":3-1", {0}, 0},
        {":1-", {0}, 0},
        {":-1", {0}, 0},
        {":,", {0}, 0},
        {":1,", {0}, 0},
        {":99999999999999999999", {0}, 0},
    };
    write_npy("<f4", "(5, 6)", 30);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char word[200];
        const struct cyx_input_options options = {.sample = shape_of(1, 6, 0, 0)};
        struct cyx_input input = {0};
        struct cyx_error error = {0};
        snprintf(word, sizeof word, "%s%s", path_of("a.npy"), cases[i].rows);
        enum cyx_status status = cyx_input_open(word, &options, &input, &error);
        if (status != (cases[i].n ? CYX_OK : CYX_ERR_INVALID) || input.n_rows != cases[i].n)
            fail_msg("%s: %s, %zu rows", cases[i].rows, error.message, input.n_rows);
        if (cases[i].n)
            assert_memory_equal(input.rows, cases[i].expected, cases[i].n * sizeof(uint32_t));
        else
            assert_non_null(strstr(error.message, "a.npy"));
        cyx_input_finish(&input);
    }
}

static void test_input__idx_files_and_images_are_known_by_their_bytes(void **state)
{
    (void)state;
    static const char idx[] = "\0\0\x08\x03\0\0\0\2\0\0\0\2\0\0\0\3abcdefghijkl";
    float first[3 * 24 * 32];
    write_file(path_of("digits"), idx, sizeof idx - 1);
    assert_int_equal(open_and_read(path_of("digits"), shape_of(3, 1, 2, 3), false, first), 2);
    assert_true(first[5] == (float)'f' / 255);
    char word[200];
    snprintf(word, sizeof word, "%s:1", path_of("digits"));
    assert_int_equal(open_and_read(word, shape_of(3, 1, 2, 3), false, first), 1);
    assert_true(first[0] == (float)'g' / 255);

    static const char *const images[] = {"scene.png", "scene.jpg", "grey.png", "palette.png"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        snprintf(word, sizeof word, "%s/tests/golden/images/%s", CYX_SOURCE_DIR, images[i]);
        assert_int_equal(open_and_read(word, shape_of(3, 3, 24, 32), true, first), 1);
        assert_int_equal(open_and_read(word, shape_of(3, 1, 24, 32), true, first), 1);
    }
}

static void test_input__what_it_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t length;
        enum cyx_status status;
        const char *message;
    } cases[] = {
        {"none", NULL, 0, CYX_ERR_NOT_FOUND, "none"},
        {"empty", "", 0, CYX_ERR_CORRUPT, "expected an image (PNG, JPEG), a .npy array or an IDX"},
        {"text", "hello", 5, CYX_ERR_CORRUPT, "expected an image"},
        {"cut.npy", "\x93NUMPY\x01\x00", 8, CYX_ERR_CORRUPT, "cut.npy"},
        {"cut.png", "\x89PNG\r\n\x1a\n", 8, CYX_ERR_CORRUPT, "cut.png"},
        {"cut.jpg", "\xff\xd8\xff\xe0", 4, CYX_ERR_CORRUPT, "cut.jpg"},
        {"cut.idx", "\0\0\x08\x03\0\0\0\2", 8, CYX_ERR_CORRUPT, "cut.idx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct cyx_input_options options = {.sample = shape_of(3, 1, 28, 28)};
        struct cyx_input input = {0};
        struct cyx_error error = {0};
        if (cases[i].bytes)
            write_file(path_of(cases[i].name), cases[i].bytes, cases[i].length);
        assert_int_equal(cyx_input_open(path_of(cases[i].name), &options, &input, &error),
                         cases[i].status);
        if (!strstr(error.message, cases[i].message))
            fail_msg("%s: %s", cases[i].name, error.message);
        assert_null(input.data);
    }
    const struct cyx_input_options numbers = {.sample = shape_of(1, 4, 0, 0)};
    struct cyx_input input = {0};
    struct cyx_error error = {0};
    assert_int_equal(
        cyx_input_open(CYX_SOURCE_DIR "/tests/golden/images/scene.png", &numbers, &input, &error),
        CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "takes no images"));
}

static int make_folder(void **state)
{
    (void)state;
    return folder_make("input") ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return folder_remove() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input__an_array_is_one_sample_or_many_by_its_shape),
        cmocka_unit_test(test_input__rows_are_chosen_behind_a_colon),
        cmocka_unit_test(test_input__idx_files_and_images_are_known_by_their_bytes),
        cmocka_unit_test(test_input__what_it_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
