/* What `data inspect` tells: numbers a channel, classes, broken files, and the contact sheet's pictures. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/data/inspect.h"

enum { COUNT = 6, SIDE = 8, ROW = 3 * SIDE * SIDE };

static uint8_t bytes[COUNT * ROW];
static const int32_t labels[COUNT] = {0, 1, 1, 0, 1, 1};

/* Channel c of row r is r * 40 + c * 2. */
static struct cyx_data *open_images(bool channels_last)
{
    for (int i = 0; i < COUNT * ROW; i++) {
        int place = i % ROW, c = channels_last ? place % 3 : place / (SIDE * SIDE);
        bytes[i] = (uint8_t)(i / ROW * 40 + c * 2);
    }
    struct cyx_data *data = NULL;
    const struct cyx_data_arrays arrays = {.count = COUNT,
                                           .rank = 3,
                                           .shape = {3, SIDE, SIDE},
                                           .channels_last = channels_last,
                                           .bytes = bytes,
                                           .labels = labels};
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &data, NULL), CYX_OK);
    return data;
}

static void test_inspect__measures_each_channel(void **state)
{
    (void)state;
    for (int last = 0; last < 2; last++) {
        struct cyx_data *data = open_images(last == 1);
        struct cyx_statistics s = {0};
        assert_int_equal(cyx_data_measure(data, &data->train, 0, &s, NULL), CYX_OK);
        assert_true(s.n_rows == COUNT && s.n_channels == 3);
        for (int c = 0; c < 3; c++) {
            assert_true(fabs(s.mean[c] - (100 + 2 * c) / 255.0) < 1e-9);
            /* 0, 40 … 200: deviation 40 √(35 / 12) */
            assert_true(fabs(s.std[c] - 40 * sqrt(35.0 / 12.0) / 255.0) < 1e-9);
            assert_true(s.least[c] == 2 * c / 255.0 && s.most[c] == (200 + 2 * c) / 255.0);
        }
        assert_true(s.class_counts[0] == 2 && s.class_counts[1] == 4);
        cyx_statistics_finish(&s);
        assert_int_equal(cyx_data_measure(data, &data->train, 2, &s, NULL), CYX_OK);
        assert_int_equal(s.n_rows, 2); /* rows 0 and 3 */
        assert_true(fabs(s.mean[0] - 60 / 255.0) < 1e-9);
        assert_int_equal(s.class_counts[1], 4); /* classes are counted whole */
        cyx_statistics_finish(&s);
        cyx_data_close(data);
    }
}

static void test_inspect__measures_each_feature(void **state)
{
    (void)state;
    static const float numbers[] = {1, -10, 3, -30};
    struct cyx_data *data = NULL;
    struct cyx_statistics s = {0};
    const struct cyx_data_arrays arrays = {.count = 2, .rank = 1, .shape = {2}, .floats = numbers};
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &data, NULL), CYX_OK);
    assert_int_equal(cyx_data_measure(data, &data->train, 0, &s, NULL), CYX_OK);
    assert_true(s.n_channels == 2 && s.mean[0] == 2 && s.mean[1] == -20 && s.std[1] == 10);
    assert_null(s.class_counts);
    cyx_statistics_finish(&s);
    struct cyx_image sheet = {0};
    struct cyx_error err = {0};
    int32_t lines[CYX_SHEET_LINES_LIMIT];
    size_t n_lines = 0;
    assert_int_equal(cyx_data_sheet(data, &data->train, NULL, 0, &sheet, lines, &n_lines, &err),
                     CYX_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no pictures"));
    cyx_data_close(data);
}

/* The colour at the middle of a cell. */
static int red_at(const struct cyx_image *sheet, int64_t line, int64_t column)
{
    int64_t y = 4 + line * 100 + 48, x = 4 + column * 100 + 48;
    return sheet->data[3 * (y * sheet->width + x)];
}

static void test_inspect__sheet_has_a_line_a_class(void **state)
{
    (void)state;
    struct cyx_data *data = open_images(true);
    struct cyx_image sheet = {0};
    int32_t lines[CYX_SHEET_LINES_LIMIT];
    size_t n_lines = 0;
    assert_int_equal(cyx_data_sheet(data, &data->train, NULL, 0, &sheet, lines, &n_lines, NULL),
                     CYX_OK);
    assert_true(n_lines == 2 && lines[0] == 0 && lines[1] == 1);
    assert_true(sheet.height == 204 && sheet.width == 1004 && sheet.channels == 3);
    static const int class_0[] = {0, 120, 245}, class_1[] = {40, 80, 160, 200, 245};
    for (int i = 0; i < 3; i++)
        assert_int_equal(red_at(&sheet, 0, i), class_0[i]); /* then paper */
    for (int i = 0; i < 5; i++)
        assert_int_equal(red_at(&sheet, 1, i), class_1[i]);
    cyx_image_finish(&sheet);
    cyx_data_close(data);
}

static void test_inspect__sheet_shows_what_transforms_do(void **state)
{
    (void)state;
    static const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_COLOR_JITTER,
         .brightness = {0.5, 1.5},
         .contrast = {1, 1},
         .saturation = {1, 1}},
        {.type = CYX_TRANSFORM_TO_TENSOR},
        {.type = CYX_TRANSFORM_NORMALIZE, .mean = {5, 5, 5, 5}, .std = {9, 9, 9, 9}}};
    const struct cyx_data_spec spec = {.transforms = chain, .n_transforms = 3};
    struct cyx_data *data = open_images(false);
    struct cyx_image sheet = {0};
    int32_t lines[CYX_SHEET_LINES_LIMIT];
    size_t n_lines = 0;
    assert_int_equal(cyx_data_sheet(data, &data->train, &spec, 1, &sheet, lines, &n_lines, NULL),
                     CYX_OK);
    assert_int_equal(red_at(&sheet, 1, 0), 40); /* as evaluation sees it */
    int different = 0;
    for (int i = 1; i < CYX_SHEET_COLUMNS; i++) {
        int red = red_at(&sheet, 1, i);
        assert_true(red >= 20 && red <= 60);
        different += red != 40;
    }
    assert_true(different >= 7);
    cyx_image_finish(&sheet);
    cyx_data_close(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect__measures_each_channel),
        cmocka_unit_test(test_inspect__measures_each_feature),
        cmocka_unit_test(test_inspect__sheet_has_a_line_a_class),
        cmocka_unit_test(test_inspect__sheet_shows_what_transforms_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
