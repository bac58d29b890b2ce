/*
 * From a row to the model's floats: ToTensor and Normalize in torchvision's float32 steps, crops where torchvision
 * puts them, what evaluation leaves out, and draws that depend on seed, epoch and row alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/data/image.h"
#include "nn/data/pipeline.h"
#include "nn/format/safetensors.h"

#define GOLDEN CYX_SOURCE_DIR "/tests/golden/"

enum { ROWS = 64, SIDE = 12, PIXELS = SIDE * SIDE };

static uint8_t images[ROWS * PIXELS];
static float numbers[ROWS * PIXELS];

static struct cyx_data *open_rows(const struct cyx_data_arrays *arrays)
{
    struct cyx_data *data = NULL;
    struct cyx_error err = {0};
    if (cyx_data_from_arrays(arrays, NULL, &data, &err) != CYX_OK)
        fail_msg("%s", err.message);
    return data;
}

/* Grey images whose pixels say where they were: row number, then place. */
static struct cyx_data *open_images(void)
{
    for (int i = 0; i < ROWS * PIXELS; i++)
        images[i] = (uint8_t)(1 + i % PIXELS);
    const struct cyx_data_arrays arrays = {
        .count = ROWS, .rank = 3, .shape = {1, SIDE, SIDE}, .bytes = images};
    return open_rows(&arrays);
}

static struct cyx_pipeline *make(const struct cyx_data *data, const struct cyx_transform_spec *t,
                                 size_t n, bool training)
{
    const struct cyx_data_spec spec = {.transforms = t, .n_transforms = n};
    struct cyx_pipeline *pipeline = NULL;
    struct cyx_error err = {0};
    if (cyx_pipeline_create(data, &spec, training, 3, &pipeline, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return pipeline;
}

static void run_row(const struct cyx_pipeline *pipeline, const struct cyx_data *data, uint32_t row,
                    uint32_t epoch, float *ret_floats)
{
    struct cyx_scratch *scratch = cyx_scratch_create();
    assert_non_null(scratch);
    assert_int_equal(
        cyx_pipeline_row(pipeline, &data->train, row, epoch, scratch, ret_floats, NULL), CYX_OK);
    cyx_scratch_destroy(scratch);
}

/* ---- numbers ---- */

static void test_pipeline__to_tensor_and_normalize_are_torchvisions_in_float32(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_TO_TENSOR},
        {.type = CYX_TRANSFORM_NORMALIZE,
         .mean = {0.1307, 0.5},
         .std = {0.3081, 0.25},
         .n_channels = 2},
    };
    uint8_t bytes[512];
    float got[512];
    for (int i = 0; i < 512; i++)
        bytes[i] = (uint8_t)i;
    const struct cyx_data_arrays arrays = {
        .count = 1, .rank = 3, .shape = {2, 16, 16}, .bytes = bytes};
    struct cyx_data *data = open_rows(&arrays);
    struct cyx_pipeline *pipeline = make(data, chain, 2, true);
    assert_false(cyx_pipeline_is_heavy(pipeline));
    assert_int_equal(cyx_pipeline_elements(pipeline), 512);
    run_row(pipeline, data, 0, 0, got);
    for (int i = 0; i < 512; i++) {
        float mean = i < 256 ? (float)0.1307 : 0.5f, std = i < 256 ? (float)0.3081 : 0.25f;
        assert_true(got[i] == ((float)(i % 256) / 255.0f - mean) / std);
    }
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

static void test_pipeline__floats_take_normalize_and_moves(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_CENTER_CROP, .size = {2, 2}},
        {.type = CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP, .p = 1},
        {.type = CYX_TRANSFORM_TO_TENSOR},
        {.type = CYX_TRANSFORM_NORMALIZE, .mean = {1, 1, 1, 1}, .std = {2, 2, 2, 2}},
    };
    for (int i = 0; i < 32; i++)
        numbers[i] = (float)i;
    struct cyx_data_arrays arrays = {
        .count = 1, .rank = 3, .shape = {2, 4, 4}, .channels_last = true, .floats = numbers};
    struct cyx_data *data = open_rows(&arrays);
    struct cyx_pipeline *pipeline = make(data, chain, 4, true);
    /* Channel c of pixel (y, x) is 2 (4 y + x) + c; the middle is (1..2, 1..2), turned about. */
    static const int places[] = {6, 5, 10, 9};
    float got[8];
    run_row(pipeline, data, 0, 0, got);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 4; i++)
            assert_true(got[4 * c + i] == ((float)(2 * places[i] + c) - 1) / 2);
    cyx_pipeline_destroy(pipeline);

    static const struct cyx_transform_spec wide[] = {
        {.type = CYX_TRANSFORM_CENTER_CROP, .size = {6, 4}}, {.type = CYX_TRANSFORM_TO_TENSOR}};
    float padded[48];
    pipeline = make(data, wide, 2, false);
    run_row(pipeline, data, 0, 0, padded);
    assert_true(padded[0] == 0 && padded[4] == 0 + 0 && padded[5] == 2 && padded[20] == 0);
    assert_true(padded[24 + 4] == 1);
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

/* ---- places ---- */

static void test_pipeline__center_crops_where_torchvision_does(void **state)
{
    (void)state;
    struct cyx_safetensors *golden = NULL;
    struct cyx_image image = {0};
    CYX_CLEANUP_BUF struct cyx_buf file = {0};
    int cases = 0;
    assert_int_equal(cyx_safetensors_open(GOLDEN "images.safetensors", &golden, NULL), CYX_OK);
    assert_int_equal(cyx_buf_read_file(&file, GOLDEN "images/scene.png", 1 << 20, NULL), CYX_OK);
    assert_int_equal(cyx_image_decode(file.data, file.length, 3, &image, NULL), CYX_OK);
    const struct cyx_data_arrays arrays = {.count = 1,
                                           .rank = 3,
                                           .shape = {3, image.height, image.width},
                                           .channels_last = true,
                                           .bytes = image.data};
    struct cyx_data *data = open_rows(&arrays);
    for (size_t i = 0; i < golden->n_tensors; i++) {
        const struct cyx_safetensors_tensor *tensor = &golden->tensors[i];
        if (strncmp(tensor->name, "center.", 7) != 0)
            continue;
        const struct cyx_transform_spec chain[] = {
            {.type = CYX_TRANSFORM_CENTER_CROP, .size = {tensor->shape[0], tensor->shape[1]}},
            {.type = CYX_TRANSFORM_TO_TENSOR}};
        size_t pixels = (size_t)(tensor->shape[0] * tensor->shape[1]);
        uint8_t *wanted = malloc(3 * pixels);
        float *got = malloc(3 * pixels * sizeof(*got));
        struct cyx_pipeline *pipeline = make(data, chain, 2, true);
        assert_int_equal(cyx_safetensors_read(golden, tensor, wanted, 3 * pixels, NULL), CYX_OK);
        run_row(pipeline, data, 0, 0, got);
        for (size_t p = 0; p < 3 * pixels; p++) {
            size_t channel = p / pixels;
            assert_true(got[p] == (float)wanted[p % pixels * 3 + channel] / 255.0f);
        }
        cyx_pipeline_destroy(pipeline);
        free(wanted);
        free(got);
        cases++;
    }
    assert_int_equal(cases, 4);
    cyx_data_close(data);
    cyx_image_finish(&image);
    cyx_safetensors_close(golden);
}

/* ---- draws ---- */

static void test_pipeline__random_crops_reach_every_place(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RANDOM_CROP, .size = {SIDE, SIDE}, .padding = 2, .fill = 255},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    struct cyx_data *data = open_images();
    struct cyx_pipeline *pipeline = make(data, chain, 2, true);
    int seen[5][5] = {{0}};
    float got[PIXELS];
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t epoch = 0; epoch < 40; epoch++) {
            run_row(pipeline, data, row, epoch, got);
            /* The middle is never padding: its value tells the place. */
            int at = (int)(got[6 * SIDE + 6] * 255 + 0.5f) - 1;
            int dy = at / SIDE - 6, dx = at % SIDE - 6;
            assert_true(dy >= -2 && dy <= 2 && dx >= -2 && dx <= 2);
            seen[dy + 2][dx + 2]++;
            bool corner_is_padding = dy < 0 || dx < 0;
            assert_true((got[0] == 1.0f) == corner_is_padding);
        }
    }
    for (int y = 0; y < 5; y++) /* 2,560 draws over 25 places: 102 each, standard deviation 10 */
        for (int x = 0; x < 5; x++)
            assert_true(seen[y][x] > 50 && seen[y][x] < 160);
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

static void test_pipeline__flips_come_as_often_as_p_says(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP, .p = 0.25},
        {.type = CYX_TRANSFORM_RANDOM_VERTICAL_FLIP, .p = 0.5},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    struct cyx_data *data = open_images();
    struct cyx_pipeline *pipeline = make(data, chain, 3, true);
    float got[PIXELS];
    int columns = 0, rows = 0, both = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t epoch = 0; epoch < 40; epoch++) {
            run_row(pipeline, data, row, epoch, got);
            int at = (int)(got[0] * 255 + 0.5f) - 1;
            columns += at % SIDE != 0;
            rows += at / SIDE != 0;
            both += at % SIDE != 0 && at / SIDE != 0;
        }
    }
    assert_true(columns > 540 && columns < 740); /* 640, standard deviation 22 */
    assert_true(rows > 1180 && rows < 1380);     /* 1,280, 25 */
    assert_true(both > 240 && both < 400);       /* 320, 17: independent of one another */
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

static void test_pipeline__draws_depend_on_seed_epoch_and_row_alone(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RANDOM_ROTATION, .degrees = {-180, 180}},
        {.type = CYX_TRANSFORM_COLOR_JITTER,
         .brightness = {0.2, 1.8},
         .contrast = {0.2, 1.8},
         .saturation = {1, 1}},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    struct cyx_data *data = open_images();
    struct cyx_pipeline *pipeline = make(data, chain, 3, true);
    float first[PIXELS], other[PIXELS];
    run_row(pipeline, data, 5, 2, first);
    run_row(pipeline, data, 6, 2, other);
    assert_memory_not_equal(first, other,
                            sizeof(first)); /* the images are the same, the rows not */
    run_row(pipeline, data, 5, 3, other);
    assert_memory_not_equal(first, other, sizeof(first));
    run_row(pipeline, data, 5, 2, other);
    assert_memory_equal(first, other, sizeof(first));
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

/* ---- evaluation ---- */

static void test_pipeline__evaluation_leaves_out_what_is_random(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RANDOM_CROP, .size = {SIDE, SIDE}, .padding = 4},
        {.type = CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP, .p = 1},
        {.type = CYX_TRANSFORM_RANDOM_VERTICAL_FLIP, .p = 1},
        {.type = CYX_TRANSFORM_RANDOM_ROTATION, .degrees = {90, 90}},
        {.type = CYX_TRANSFORM_COLOR_JITTER, .brightness = {3, 4}, .contrast = {1, 1}},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    struct cyx_data *data = open_images();
    struct cyx_pipeline *pipeline = make(data, chain, 6, false);
    float got[PIXELS];
    run_row(pipeline, data, 9, 7, got);
    for (int i = 0; i < PIXELS; i++)
        assert_true(got[i] == (float)(1 + i) / 255.0f);
    cyx_pipeline_destroy(pipeline);

    static const struct cyx_transform_spec smaller[] = {
        {.type = CYX_TRANSFORM_RANDOM_CROP, .size = {4, 6}, .padding = 4},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    pipeline = make(data, smaller, 2, false);
    assert_int_equal(cyx_pipeline_sample(pipeline)->dim[1], 4);
    run_row(pipeline, data, 9, 7, got);
    for (int i = 0; i < 24; i++) {
        int line = i / 6;
        assert_true(got[i] == (float)(1 + (4 + line) * SIDE + 3 + i % 6) / 255.0f);
    }
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

/* ---- what does not fit ---- */

static void assert_refused(const struct cyx_data *data, const struct cyx_transform_spec *transform,
                           const char *message)
{
    const struct cyx_transform_spec chain[] = {*transform, {.type = CYX_TRANSFORM_TO_TENSOR}};
    const struct cyx_data_spec spec = {.transforms = chain, .n_transforms = 2};
    struct cyx_pipeline *pipeline = NULL;
    struct cyx_error err = {0};
    assert_int_equal(cyx_pipeline_create(data, &spec, true, 0, &pipeline, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/transforms/0");
    if (!strstr(err.message, message))
        fail_msg("%s", err.message);
}

static void test_pipeline__what_does_not_fit_the_data_is_refused(void **state)
{
    (void)state;
    const struct cyx_data_arrays rows = {.count = 2, .rank = 1, .shape = {4}, .floats = numbers};
    const struct cyx_data_arrays planes = {
        .count = 2, .rank = 3, .shape = {3, 4, 4}, .floats = numbers};
    const struct cyx_data_arrays two = {.count = 2, .rank = 3, .shape = {2, 4, 4}, .bytes = images};
    struct cyx_data *data = open_rows(&rows);
    assert_refused(data, &(struct cyx_transform_spec){.type = CYX_TRANSFORM_RANDOM_VERTICAL_FLIP},
                   "RandomVerticalFlip works on images, the data have none");
    cyx_data_close(data);
    data = open_rows(&planes);
    assert_refused(data, &(struct cyx_transform_spec){.type = CYX_TRANSFORM_RESIZE, .size = {2, 2}},
                   "Resize works on images of bytes");
    assert_refused(data,
                   &(struct cyx_transform_spec){.type = CYX_TRANSFORM_RANDOM_CROP, .size = {5, 2}},
                   "does not fit");
    assert_refused(data,
                   &(struct cyx_transform_spec){
                       .type = CYX_TRANSFORM_NORMALIZE, .std = {1, 1}, .n_channels = 2},
                   "numbers for other channels");
    cyx_data_close(data);
    data = open_rows(&two);
    assert_refused(data, &(struct cyx_transform_spec){.type = CYX_TRANSFORM_COLOR_JITTER},
                   "one or three channels");
    cyx_data_close(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline__to_tensor_and_normalize_are_torchvisions_in_float32),
        cmocka_unit_test(test_pipeline__floats_take_normalize_and_moves),
        cmocka_unit_test(test_pipeline__center_crops_where_torchvision_does),
        cmocka_unit_test(test_pipeline__random_crops_reach_every_place),
        cmocka_unit_test(test_pipeline__flips_come_as_often_as_p_says),
        cmocka_unit_test(test_pipeline__draws_depend_on_seed_epoch_and_row_alone),
        cmocka_unit_test(test_pipeline__evaluation_leaves_out_what_is_random),
        cmocka_unit_test(test_pipeline__what_does_not_fit_the_data_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
