/* The safetensors reader on good files, on what PyTorch's side wrote, and on hostile ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nn/format/safetensors.h"
#include "nn/test_folder.h"

static void test_safetensors__reads_back_what_it_wrote(void **state)
{
    (void)state;
    const float weight[6] = {1, -2, 3.5f, 4, 5, 1e-30f};
    const int64_t steps[1] = {INT64_MAX};
    const uint8_t odd[3] = {1, 2, 255};
    const struct cyx_safetensors_entry entries[] = {
        {"a \"quoted\" näme\n", CYX_ST_U8, 1, {3}, odd},
        {"0.weight", CYX_ST_F32, 2, {2, 3}, weight},
        {"steps", CYX_ST_I64, 0, {0}, steps},
        {"empty", CYX_ST_F32, 2, {0, 5}, NULL},
    };
    const struct cyx_safetensors_pair pairs[] = {{"format", "pt"}, {"z", "{\"a\":1}"}};
    struct cyx_error error = {0};
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    assert_int_equal(cyx_safetensors_encode(entries, 4, pairs, 2, &bytes, &error), CYX_OK);
    assert_int_equal((unsigned char)bytes.data[0] % 8, 0); /* the data begin aligned */
    write_file(path_of("good"), bytes.data, bytes.length);

    struct cyx_safetensors *file = NULL;
    assert_int_equal(cyx_safetensors_open(path_of("good"), &file, &error), CYX_OK);
    assert_int_equal(file->n_tensors, 4);
    assert_string_equal(cyx_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(cyx_safetensors_metadata(file, "z"), "{\"a\":1}");
    assert_null(cyx_safetensors_metadata(file, "y"));
    float got[6];
    assert_int_equal(cyx_safetensors_read_f32(file, "0.weight", got, 6, &error), CYX_OK);
    assert_memory_equal(got, weight, sizeof got);
    assert_int_equal(cyx_safetensors_read_f32(file, "0.weight", got, 5, &error), CYX_ERR_INVALID);
    assert_int_equal(cyx_safetensors_read_f32(file, "steps", got, 1, &error), CYX_ERR_INVALID);
    assert_int_equal(cyx_safetensors_read_f32(file, "1.weight", got, 6, &error), CYX_ERR_NOT_FOUND);
    const struct cyx_safetensors_tensor *named = cyx_safetensors_find(file, "a \"quoted\" näme\n");
    assert_non_null(named);
    uint8_t back[3];
    assert_int_equal(cyx_safetensors_read(file, named, back, 3, &error), CYX_OK);
    assert_memory_equal(back, odd, 3);
    cyx_safetensors_close(file);
}

static void test_safetensors__writer_refuses_two_of_one_name(void **state)
{
    (void)state;
    const float x[1] = {0};
    const struct cyx_safetensors_entry entries[] = {{"w", CYX_ST_F32, 1, {1}, x},
                                                    {"w", CYX_ST_F32, 1, {1}, x}};
    struct cyx_error error = {0};
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    assert_int_equal(cyx_safetensors_encode(entries, 2, NULL, 0, &bytes, &error), CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "\"w\""));
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end   \
    "]}"

/* Header, bytes behind it, and a word of the refusal; NULL: accepted. */
static const struct {
    const char *header;
    uint64_t data_bytes;
    const char *refusal;
} headers[] = {
    {"{}", 0, NULL},
    {"{}      ", 0, NULL},
    {" {}", 0, "expected '{'"},
    {"", 0, "expected '{'"},
    {"[]", 0, "expected '{'"},
    {"{}}", 0, "behind"},
    {"{", 0, "expected"},
    {"{}", 1, "fill 0 bytes"},
    {"{" T("a", "F32", "[2]", "0", "8") "}", 8, NULL},
    {"{" T("a", "F32", "[2]", "0", "8") ",}", 8, "expected '\"'"},
    {"{ \"a\" : { \"shape\" : [ ] , \"dtype\" : \"F64\" , \"data_offsets\" : [ 0 , 8 ] } }", 8,
     NULL},
    {"{" T("a", "F32", "[2]", "0", "8") "}", 7, "spans"},
    {"{" T("a", "F32", "[2]", "0", "8") "}", 9, "fill 8 bytes"},
    {"{" T("a", "F32", "[3]", "0", "8") "}", 8, "dtype"},
    {"{" T("a", "F16", "[2]", "0", "8") "}", 8, "dtype"},
    {"{" T("a", "F31", "[2]", "0", "8") "}", 8, "unknown dtype"},
    {"{" T("a", "F32", "[2]", "8", "0") "}", 8, "spans"},
    {"{" T("a", "F32", "[2]", "4", "12") "}", 12, "gap"},
    {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "8", "12") "}", 12, "gap"},
    {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[1]", "4", "8") "}", 8, "overlap"},
    {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "0", "4") "}", 4, "overlap"},
    {"{" T("a", "U8", "[1]", "0", "1") "," T("b", "F32", "[1]", "1", "5") "}", 5, "aligned"},
    {"{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, "two tensors"},
    {"{" T("a", "F32", "[0]", "0", "0") "," T("b", "F32", "[0]", "0", "0") "}", 0, NULL},
    {"{" T("a", "F32", "[4611686018427387904,4]", "0", "0") "}", 0, "dtype"},
    {"{" T("a", "F32", "[18446744073709551616]", "0", "4") "}", 4, "too large"},
    {"{" T("a", "F32", "[-1]", "0", "4") "}", 4, "whole number"},
    {"{" T("a", "F32", "[1.0]", "0", "4") "}", 4, "expected ','"},
    {"{" T("a", "F32", "[01]", "0", "4") "}", 4, "whole number"},
    {"{" T("a", "F32", "[1,]", "0", "4") "}", 4, "whole number"},
    {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "lacks"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "unknown key"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "expected ']'"},
    {"{\"a\":null}", 0, "expected '{'"},
    {"{\"__metadata__\":{\"k\":\"v\"}}", 0, NULL},
    {"{\"__metadata__\":{}}", 0, NULL},
    {"{\"__metadata__\":{\"k\":1}}", 0, "expected '\"'"},
    {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"w\"}}", 0, "duplicate metadata"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
    {"{\"__metadata__\":{\"\\ud83d\\ude00\":\"\\u00e4\\n\"}}", 0, NULL},
    {"{\"__metadata__\":{\"\\ud83d\":\"\"}}", 0, "surrogate"},
    {"{\"__metadata__\":{\"\\udc00\":\"\"}}", 0, "surrogate"},
    {"{\"__metadata__\":{\"\\u0000\":\"\"}}", 0, "NUL"},
    {"{\"__metadata__\":{\"\\q\":\"\"}}", 0, "unknown escape"},
    {"{\"__metadata__\":{\"\\u12", 0, "escape"},
    {"{\"__metadata__\":{\"a", 0, "without an end"},
    {"{\"__metadata__\":{\"a\\", 0, "without an end"},
    {"{\"__metadata__\":{\"\xff\":\"\"}}", 0, "UTF-8"},
    {"{\"__metadata__\":{\"\xc0\x80\":\"\"}}", 0, "UTF-8"},
    {"{\"__metadata__\":{\"\xed\xa0\x80\":\"\"}}", 0, "UTF-8"},
    {"{\"__metadata__\":{\"a\nb\":\"\"}}", 0, "control character"},
};

static void test_safetensors__judges_every_header(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct cyx_safetensors *file = NULL;
        struct cyx_error error = {0};
        /* Exactly as long as it is, so that a read past the end is seen by the sanitizer. */
        size_t length = strlen(headers[i].header);
        char *header = malloc(length ? length : 1);
        assert_non_null(header);
        memcpy(header, headers[i].header, length);
        enum cyx_status status =
            cyx_safetensors_parse(header, length, headers[i].data_bytes, &file, &error);
        free(header);
        if (!headers[i].refusal) {
            if (status != CYX_OK)
                fail_msg("%s: %s", headers[i].header, error.message);
            cyx_safetensors_close(file);
            continue;
        }
        if (status != CYX_ERR_CORRUPT || !strstr(error.message, headers[i].refusal))
            fail_msg("%s: status %d, \"%s\" was expected to say \"%s\"", headers[i].header, status,
                     error.message, headers[i].refusal);
    }
}

static void test_safetensors__every_cut_of_a_header_is_refused(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"__metadata__\":{\"k\":\"\\u00e4\"}," T("a", "F32", "[2,1]", "0", "8") "}";
    for (size_t length = 0; length + 1 < sizeof whole; length++) {
        struct cyx_safetensors *file = NULL;
        char *header = malloc(length ? length : 1);
        assert_non_null(header);
        memcpy(header, whole, length);
        assert_int_equal(cyx_safetensors_parse(header, length, 8, &file, NULL), CYX_ERR_CORRUPT);
        free(header);
    }
}

static void expect_corrupt(const void *bytes, size_t length)
{
    struct cyx_safetensors *file = NULL;
    struct cyx_error error = {0};
    write_file(path_of("bad"), bytes, length);
    assert_int_equal(cyx_safetensors_open(path_of("bad"), &file, &error), CYX_ERR_CORRUPT);
    assert_non_null(strstr(error.message, "bad")); /* names the file */
}

static void test_safetensors__files_that_lie_about_their_length_are_refused(void **state)
{
    (void)state;
    expect_corrupt("", 0);
    expect_corrupt("\2\0\0\0\0\0\0\0{", 9);
    expect_corrupt("\3\0\0\0\0\0\0\0{}", 10);
    expect_corrupt("\1\xe1\xf5\x05\0\0\0\0{}", 10); /* 100,000,001 */
    expect_corrupt("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    expect_corrupt("\2\0\0\0\0\0\0\0{}tail", 14);
    struct cyx_safetensors *file = NULL;
    assert_int_equal(cyx_safetensors_open(path_of("absent"), &file, NULL), CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_safetensors_open(folder, &file, NULL), CYX_ERR_CORRUPT);
    cyx_safetensors_close(NULL);
}

static void test_safetensors__a_file_cut_after_opening_is_told(void **state)
{
    (void)state;
    static const char bytes[] = "\x39\0\0\0\0\0\0\0{" T("a", "F32", "[1]", "0", "4") " }";
    struct cyx_safetensors *file = NULL;
    struct cyx_error error = {0};
    char image[128] = {0};
    size_t length = sizeof bytes - 1 - 8;
    memcpy(image, bytes, sizeof bytes - 1);
    image[0] = (char)length;
    write_file(path_of("cut"), image, 8 + length + 4);
    assert_int_equal(cyx_safetensors_open(path_of("cut"), &file, &error), CYX_OK);
    assert_int_equal(truncate(path_of("cut"), (off_t)(8 + length)), 0);
    float x[1];
    assert_int_equal(cyx_safetensors_read_f32(file, "a", x, 1, &error), CYX_ERR_CORRUPT);
    cyx_safetensors_close(file);
}

/* Values from the formats' definitions: 1, -2, the largest and smallest halves, infinities, and a third. */
static void test_safetensors__other_floats_are_read_as_float32(void **state)
{
    (void)state;
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff,
                                      0x0400, 0xfc00, 0x7c00, 0x3555, 0x8000};
    static const uint16_t brains[] = {0x3f80, 0xc000, 0x0001, 0x7f80};
    static const double wides[] = {1.0 / 3, -1e300, 0};
    static const int32_t whole[] = {1};
    const float of_halves[] = {1,        -2,        65504,    0x1p-24f,    1023 * 0x1p-24f,
                               0x1p-14f, -INFINITY, INFINITY, 0x1.554p-2f, -0.0f};
    const float of_brains[] = {1, -2, 0x1p-133f, INFINITY};
    const float of_wides[] = {0x1.555556p-2f, -INFINITY, 0};
    const struct cyx_safetensors_entry entries[] = {{"half", CYX_ST_F16, 1, {10}, halves},
                                                    {"brain", CYX_ST_BF16, 1, {4}, brains},
                                                    {"wide", CYX_ST_F64, 1, {3}, wides},
                                                    {"whole", CYX_ST_I32, 1, {1}, whole}};
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_safetensors *file = NULL;
    struct cyx_error error = {0};
    float got[10];
    assert_int_equal(cyx_safetensors_encode(entries, 4, NULL, 0, &bytes, NULL), CYX_OK);
    write_file(path_of("floats"), bytes.data, bytes.length);
    assert_int_equal(cyx_safetensors_open(path_of("floats"), &file, NULL), CYX_OK);
#define ASSERT_READS(name, count, expected)                                                        \
    assert_int_equal(                                                                              \
        cyx_safetensors_read_as_f32(file, cyx_safetensors_find(file, name), got, count, &error),   \
        CYX_OK);                                                                                   \
    assert_memory_equal(got, expected, sizeof(expected))
    ASSERT_READS("half", 10, of_halves);
    ASSERT_READS("brain", 4, of_brains);
    ASSERT_READS("wide", 3, of_wides);
    assert_int_equal(
        cyx_safetensors_read_as_f32(file, cyx_safetensors_find(file, "whole"), got, 1, &error),
        CYX_ERR_INVALID);
    assert_non_null(strstr(error.message, "I32"));
    assert_int_equal(
        cyx_safetensors_read_as_f32(file, cyx_safetensors_find(file, "half"), got, 9, &error),
        CYX_ERR_INVALID);
    cyx_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors__other_floats_are_read_as_float32),
        cmocka_unit_test(test_safetensors__reads_back_what_it_wrote),
        cmocka_unit_test(test_safetensors__writer_refuses_two_of_one_name),
        cmocka_unit_test(test_safetensors__judges_every_header),
        cmocka_unit_test(test_safetensors__every_cut_of_a_header_is_refused),
        cmocka_unit_test(test_safetensors__files_that_lie_about_their_length_are_refused),
        cmocka_unit_test(test_safetensors__a_file_cut_after_opening_is_told),
    };
    if (!folder_make("safetensors"))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove();
    return failed;
}
