/*
 * Data on this machine: NPY, NPZ, safetensors, IDX, CSV and folders of images, read from files that the test writes;
 * and files that are cut short, hostile, of the wrong kind, or empty.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <cmocka.h>

#include "nn/data/image.h"
#include "nn/data/loader.h"
#include "nn/data/private.h"
#include "nn/format/safetensors.h"
#include "nn/test_folder.h"

static void write_text(const char *name, const char *text)
{
    write_file(path_of(name), text, strlen(text));
}

/* ---- specs ---- */

static struct cyx_job_spec *parse(const char *dataset)
{
    CYX_CLEANUP_BUF struct cyx_buf text = {0};
    struct cyx_job_spec *spec = NULL;
    struct cyx_error err = {0};
    cyx_buf_printf(&text,
                   "{\"name\":\"d\",\"model\":{\"layers\":[{\"type\":\"Flatten\"}]},\"data\":{"
                   "\"dataset\":%s,\"batch_size\":2,\"shuffle\":false},"
                   "\"loss\":{\"type\":\"CrossEntropyLoss\"},\"optimizer\":{\"type\":\"SGD\"},"
                   "\"epochs\":1}",
                   dataset);
    if (cyx_job_spec_parse(text.data, text.length, &spec, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return spec;
}

static enum cyx_status try_open(const char *dataset, struct cyx_data **ret_data,
                                struct cyx_error *err)
{
    struct cyx_job_spec *spec = parse(dataset);
    const struct cyx_data_options options = {.base_dir = folder};
    enum cyx_status status = cyx_data_open(&spec->data, &options, ret_data, err);
    cyx_job_spec_destroy(spec);
    return status;
}

static struct cyx_data *open_data(const char *dataset)
{
    struct cyx_data *data = NULL;
    struct cyx_error err = {0};
    if (try_open(dataset, &data, &err) != CYX_OK)
        fail_msg("%s: %s", err.pointer, err.message);
    return data;
}

static void assert_refused(const char *dataset, enum cyx_status status, const char *message)
{
    struct cyx_data *data = NULL;
    struct cyx_error err = {0};
    enum cyx_status got = try_open(dataset, &data, &err);
    if (got != status || !strstr(err.message, message))
        fail_msg("%s: got %s: %s", dataset, cyx_status_name(got), err.message);
}

/* ---- NPY ---- */

static size_t npy_bytes(uint8_t *to, const char *dict, const void *elements, size_t length)
{
    size_t header = strlen(dict) + 1, padded = (10 + header + 63) / 64 * 64 - 10;
    static const uint8_t start[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    memcpy(to, start, sizeof(start));
    to[8] = (uint8_t)padded;
    to[9] = (uint8_t)(padded >> 8);
    memset(to + 10, ' ', padded);
    memcpy(to + 10, dict, header - 1);
    to[10 + padded - 1] = '\n';
    if (length > 0)
        memcpy(to + 10 + padded, elements, length);
    return 10 + padded + length;
}

static void write_npy(const char *name, const char *dict, const void *elements, size_t length)
{
    uint8_t *bytes = malloc(1024 + length);
    write_file(path_of(name), bytes, npy_bytes(bytes, dict, elements, length));
    free(bytes);
}

#define F4(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape ", }"
#define I8(shape) "{'descr': '<i8', 'fortran_order': False, 'shape': " shape ", }"
#define U1(shape) "{'descr': '|u1', 'fortran_order': False, 'shape': " shape ", }"

static void test_npy__gives_rows_classes_and_numbers(void **state)
{
    (void)state;
    static const float x[] = {1, 2, 3, 4, 5, 6};
    static const int64_t y[] = {2, 0, 1};
    static const double z[] = {0.5, -1.5, 2.5};
    write_npy("x.npy", F4("(3, 2)"), x, sizeof(x));
    write_npy("y.npy", I8("(3,)"), y, sizeof(y));
    write_npy("z.npy", "{'shape': (3, 1), 'fortran_order': False, 'descr': '<f8'}", z, sizeof(z));
    struct cyx_data *data =
        open_data("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"y.npy\","
                  "\"test\":\"x.npy\",\"test_targets\":\"y.npy\"}");
    assert_true(data->train.count == 3 && data->test.count == 3 && data->row.rank == 1);
    assert_memory_equal(data->train.floats, x, sizeof(x));
    assert_true(data->target == CYX_TARGET_CLASSES && data->n_classes == 3);
    assert_int_equal(data->train.labels[0], 2);
    char fingerprint[65];
    memcpy(fingerprint, data->fingerprint, sizeof(fingerprint));
    assert_int_equal(strlen(fingerprint), 64);
    cyx_data_close(data);

    data = open_data("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"z.npy\"}");
    assert_true(data->target == CYX_TARGET_NUMBERS && data->n_targets == 1);
    assert_true(data->train.numbers[1] == -1.5f && data->test.count == 0);
    assert_string_not_equal(data->fingerprint, fingerprint);
    cyx_data_close(data);

    data = open_data("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"y.npy\","
                     "\"task\":\"numbers\"}");
    assert_true(data->target == CYX_TARGET_NUMBERS && data->train.numbers[0] == 2);
    cyx_data_close(data);
    assert_refused("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"z.npy\","
                   "\"task\":\"classes\"}",
                   CYX_ERR_INVALID, "expected (N) integers for classes");
    assert_refused("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"y.npy\",\"classes\":2}",
                   CYX_ERR_INVALID, "row 0 has class 2, expected 0 to 1");
    write_npy("short.npy", I8("(2,)"), y, 16);
    assert_refused("{\"format\":\"npy\",\"train\":\"x.npy\",\"targets\":\"short.npy\"}",
                   CYX_ERR_INVALID, "expected a target for each row of the inputs, got (2)");
}

static void test_npy__images_of_bytes_stay_bytes(void **state)
{
    (void)state;
    uint8_t x[2 * 4 * 5 * 3];
    struct cyx_sample_shape sample;
    struct cyx_error err = {0};
    for (size_t i = 0; i < sizeof(x); i++)
        x[i] = (uint8_t)i;
    write_npy("grey.npy", U1("(6, 4, 5)"), x, sizeof(x));
    write_npy("last.npy", U1("(2, 4, 5, 3)"), x, sizeof(x));
    struct cyx_data *data = open_data("{\"format\":\"npy\",\"train\":\"grey.npy\"}");
    assert_true(data->train.kind == CYX_ROWS_BYTES && data->row.rank == 3 && data->row.dim[0] == 1);
    assert_true(data->target == CYX_TARGET_NUMBERS && data->n_targets == 0);
    cyx_data_close(data);

    struct cyx_job_spec *spec =
        parse("{\"format\":\"npy\",\"train\":\"last.npy\",\"layout\":\"channels_last\"}");
    const struct cyx_data_options options = {.base_dir = folder};
    assert_int_equal(cyx_data_resolve(spec, &options, &err), CYX_OK);
    sample = spec->data.sample;
    assert_true(sample.rank == 3 && sample.dim[0] == 3 && sample.dim[1] == 4 && sample.dim[2] == 5);
    cyx_job_spec_destroy(spec);
}

static void test_npy__refuses_what_it_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *dict;
        enum cyx_status status;
        const char *message;
    } bad[] = {
        {F4("(2, 2)"), CYX_ERR_CORRUPT, "its shape wants 16 bytes"},
        {F4("(3, 1)"), CYX_ERR_CORRUPT, "wants 12 bytes"},
        {F4("(4611686018427387904, 4)"), CYX_ERR_CORRUPT, "more elements than a file can hold"},
        {F4("(99999999999999999999,)"), CYX_ERR_CORRUPT, "not a dict"},
        {F4("(1, 1, 1, 1, 2)"), CYX_ERR_CORRUPT, "not a dict"},
        {F4("(2)"), CYX_ERR_CORRUPT, "not a dict"},
        {F4("2"), CYX_ERR_CORRUPT, "not a dict"},
        {F4("(-2,)"), CYX_ERR_CORRUPT, "not a dict"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", CYX_ERR_UNSUPPORTED,
         "\"|O\" is none of plain numbers"},
        {"{'descr': '<U3', 'fortran_order': False, 'shape': (2,)}", CYX_ERR_UNSUPPORTED, "<U3"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}", CYX_ERR_UNSUPPORTED,
         "big-endian"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1)}", CYX_ERR_UNSUPPORTED,
         "numpy.ascontiguousarray"},
        {"{'descr': '<f4', 'fortran_order': False}", CYX_ERR_CORRUPT, "not a dict"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", CYX_ERR_CORRUPT,
         "not a dict"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", CYX_ERR_CORRUPT,
         "not a dict"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} + exit()", CYX_ERR_CORRUPT,
         "not a dict"},
        {"", CYX_ERR_CORRUPT, "not a dict"},
        {F4("(2,)"), CYX_ERR_INVALID,
         "expected (N,F), (N,C,L), (N,C,H,W) or images (N,H,W), got (2)"},
    };
    static const float two[] = {1, 2};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        write_npy("bad.npy", bad[i].dict, two, sizeof(two));
        assert_refused("{\"format\":\"npy\",\"train\":\"bad.npy\"}", bad[i].status, bad[i].message);
    }
    write_text("bad.npy", "");
    assert_refused("{\"format\":\"npy\",\"train\":\"bad.npy\"}", CYX_ERR_CORRUPT,
                   "the file is empty");
    write_text("bad.npy", "PK\3\4 something else");
    assert_refused("{\"format\":\"npy\",\"train\":\"bad.npy\"}", CYX_ERR_CORRUPT,
                   "not an NPY file");
    assert_refused("{\"format\":\"npy\",\"train\":\"absent.npy\"}", CYX_ERR_NOT_FOUND,
                   "absent.npy");
    assert_refused("{\"format\":\"npy\",\"train\":\".\"}", CYX_ERR_CORRUPT, "not a file");
}

static void test_npy__header_survives_any_changed_byte(void **state)
{
    (void)state;
    uint8_t bytes[256], copy[256];
    static const float two[] = {1, 2};
    size_t length = npy_bytes(bytes, F4("(2, 1)"), two, sizeof(two));
    for (size_t at = 0; at < length; at++) {
        for (int change = 0; change < 256; change += 5) {
            struct array array;
            size_t header = 0;
            memcpy(copy, bytes, length);
            copy[at] = (uint8_t)change;
            enum cyx_status status = npy_parse(copy, length, &array, &header, NULL);
            assert_true(status != CYX_OK || header <= length);
        }
    }
    for (size_t cut = 0; cut < 128; cut++) {
        struct array array;
        size_t header = 0;
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        assert_int_not_equal(npy_parse(exact, cut, &array, &header, NULL), CYX_OK);
        free(exact);
    }
}

/* ---- NPZ ---- */

struct member {
    const char *name;
    const void *bytes;
    size_t length;
    bool stored;
};

static void write_zip(const char *name, const struct member *members, size_t n)
{
    int code = 0;
    zip_t *zip = zip_open(path_of(name), ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    for (size_t i = 0; i < n; i++) {
        zip_source_t *source = zip_source_buffer(zip, members[i].bytes, members[i].length, 0);
        zip_int64_t index = zip_file_add(zip, members[i].name, source, ZIP_FL_OVERWRITE);
        assert_true(index >= 0);
        if (members[i].stored)
            zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0);
    }
    assert_int_equal(zip_close(zip), 0);
}

static void test_npz__gives_arrays_by_name(void **state)
{
    (void)state;
    static const float x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const int64_t y[] = {1, 0, 1, 1};
    uint8_t a[256], b[256];
    size_t n = npy_bytes(a, F4("(4, 2)"), x, sizeof(x));
    size_t m = npy_bytes(b, I8("(4, 1)"), y, sizeof(y));
    const struct member members[] = {{"x.npy", a, n, false},
                                     {"y.npy", b, m, true},
                                     {"x_test.npy", a, n, true},
                                     {"y_test.npy", b, m, false}};
    write_zip("d.npz", members, 4);
    struct cyx_data *data =
        open_data("{\"format\":\"npz\",\"train\":\"d.npz\",\"test_inputs\":\"x_test\","
                  "\"test_targets\":\"y_test\"}");
    assert_true(data->train.count == 4 && data->test.count == 4 && data->n_classes == 2);
    assert_memory_equal(data->train.floats, x, sizeof(x));
    assert_memory_equal(data->test.floats, x, sizeof(x));
    cyx_data_close(data);
    assert_refused("{\"format\":\"npz\",\"train\":\"d.npz\",\"inputs\":\"images\"}",
                   CYX_ERR_NOT_FOUND, "no array \"images\"; it has: x.npy, y.npy, x_test.npy");
    assert_refused("{\"format\":\"npz\",\"train\":\"d.npz\",\"targets\":\"labels\"}",
                   CYX_ERR_NOT_FOUND, "no array \"labels\"");
    write_zip("x.npz", members, 1); /* no "y": there are no targets */
    data = open_data("{\"format\":\"npz\",\"train\":\"x.npz\"}");
    assert_true(data->target == CYX_TARGET_NUMBERS && data->n_targets == 0);
    cyx_data_close(data);
}

static void read_back(const char *name, struct cyx_buf *bytes)
{
    assert_int_equal(cyx_buf_read_file(bytes, path_of(name), 1 << 24, NULL), CYX_OK);
}

static void test_npz__refuses_broken_and_hostile_archives(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf whole = {0};
    float *x = calloc(4096, sizeof(*x));
    uint8_t *bytes = malloc(1024 + 4096 * sizeof(*x));
    for (int i = 0; i < 4096; i++)
        x[i] = (float)(i * i % 1009) / 7;
    size_t n = npy_bytes(bytes, F4("(64, 64)"), x, 4096 * sizeof(*x));
    struct member one = {"x.npy", bytes, n, false};
    write_zip("bad.npz", &one, 1);
    read_back("bad.npz", &whole);
    for (size_t cut = 0; cut < whole.length; cut += 997) {
        write_file(path_of("bad.npz"), whole.data, cut);
        assert_refused("{\"format\":\"npz\",\"train\":\"bad.npz\"}", CYX_ERR_CORRUPT, "bad.npz");
    }
    for (size_t at = 40; at + 200 < whole.length; at += 499) { /* in the compressed bytes */
        struct cyx_data *data = NULL;
        whole.data[at] ^= 0x55;
        write_file(path_of("bad.npz"), whole.data, whole.length);
        assert_int_equal(try_open("{\"format\":\"npz\",\"train\":\"bad.npz\"}", &data, NULL),
                         CYX_ERR_CORRUPT);
        whole.data[at] ^= 0x55;
    }
    one.length = n - 4; /* the shape wants more than there is */
    write_zip("bad.npz", &one, 1);
    assert_refused("{\"format\":\"npz\",\"train\":\"bad.npz\"}", CYX_ERR_CORRUPT,
                   "its size is not what its shape wants");
    assert_refused("{\"format\":\"npz\",\"train\":\"absent.npz\"}", CYX_ERR_NOT_FOUND,
                   "no such file");
    free(x);
    free(bytes);
}

/* 300 MiB of zeros in 300 KiB. */
static void test_npz__refuses_a_bomb(void **state)
{
    (void)state;
    size_t length = 300 << 20;
    uint8_t *bytes = calloc(1, length + 1024);
    size_t n = npy_bytes(bytes, F4("(78643200, 1)"), NULL, 0) + length;
    const struct member one = {"x.npy", bytes, n, false};
    write_zip("bomb.npz", &one, 1);
    free(bytes);
    assert_refused("{\"format\":\"npz\",\"train\":\"bomb.npz\"}", CYX_ERR_TOO_LARGE,
                   "more than 200 times");
    unlink(path_of("bomb.npz"));
}

/* ---- safetensors ---- */

static void test_safetensors__gives_tensors_by_name(void **state)
{
    (void)state;
    static const uint16_t x[] = {0x3C00, 0xC000, 0x7BFF, 0x0001}; /* 1, -2, 65504, 2^-24 */
    static const int32_t y[] = {0, 3};
    const struct cyx_safetensors_entry entries[] = {
        {.name = "inputs", .dtype = CYX_ST_F16, .rank = 2, .shape = {2, 2}, .data = x},
        {.name = "y", .dtype = CYX_ST_I32, .rank = 1, .shape = {2}, .data = y},
    };
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    assert_int_equal(cyx_safetensors_encode(entries, 2, NULL, 0, &bytes, NULL), CYX_OK);
    write_file(path_of("d.safetensors"), bytes.data, bytes.length);
    struct cyx_data *data =
        open_data("{\"format\":\"safetensors\",\"train\":\"d.safetensors\",\"inputs\":\"inputs\"}");
    const float *f = data->train.floats;
    assert_true(f[0] == 1 && f[1] == -2 && f[2] == 65504 && f[3] == 0x1p-24f);
    assert_true(data->n_classes == 4 && data->train.labels[1] == 3);
    cyx_data_close(data);
    assert_refused("{\"format\":\"safetensors\",\"train\":\"d.safetensors\"}", CYX_ERR_NOT_FOUND,
                   "no tensor \"x\"");
    write_file(path_of("d.safetensors"), bytes.data, bytes.length - 1);
    assert_refused("{\"format\":\"safetensors\",\"train\":\"d.safetensors\"}", CYX_ERR_CORRUPT, "");
}

/* ---- IDX ---- */

static void test_idx_source__finds_shape_and_classes(void **state)
{
    (void)state;
    write_file(path_of("images"), "\0\0\x08\x03\0\0\0\2\0\0\0\1\0\0\0\2abcd", 20);
    write_file(path_of("labels"), "\0\0\x08\x01\0\0\0\2\6\1", 10);
    struct cyx_data *data =
        open_data("{\"format\":\"idx\",\"train\":\"images\",\"targets\":\"labels\"}");
    assert_true(data->row.dim[0] == 1 && data->row.dim[1] == 1 && data->row.dim[2] == 2);
    assert_true(data->n_classes == 7 && data->train.kind == CYX_ROWS_BYTES);
    cyx_data_close(data);
    assert_refused("{\"format\":\"idx\",\"train\":\"labels\",\"targets\":\"labels\"}",
                   CYX_ERR_INVALID, "got (2)");
    assert_refused("{\"format\":\"idx\",\"train\":\"images\",\"targets\":\"images\"}",
                   CYX_ERR_INVALID, "expected (N) integers");
}

/* ---- CSV ---- */

static void test_csv__classes_are_sorted_and_shared_by_both_parts(void **state)
{
    (void)state;
    write_text("a.csv",
               "\xEF\xBB\xBFw,kind,h,id\r\n1,dog,2.5,7\r\n-3e1, \"cat\" ,0,8\r\n5,dog,6,9");
    write_text("b.csv", "id,h,kind,w\n1,20,cat,10\n2,40,bird,30\n3,60,dog,50\n");
    struct cyx_data *data = open_data("{\"format\":\"csv\",\"train\":\"a.csv\",\"test\":\"b.csv\","
                                      "\"target\":\"kind\",\"ignore\":\"id\"}");
    static const float train[] = {1, 2.5f, -30, 0, 5, 6}, test[] = {10, 20, 50, 60};
    assert_true(data->train.count == 3 && data->row.rank == 1 && data->row.dim[0] == 2);
    assert_memory_equal(data->train.floats, train, sizeof(train));
    assert_int_equal(data->n_classes, 2);
    assert_string_equal(data->class_names[0], "cat");
    assert_string_equal(data->class_names[1], "dog");
    assert_true(data->train.labels[0] == 1 && data->train.labels[1] == 0);
    assert_int_equal(data->test.count, 2); /* columns by name, in another order */
    assert_memory_equal(data->test.floats, test, sizeof(test));
    assert_true(data->test.labels[0] == 0 && data->test.labels[1] == 1);
    char fault[CYX_FAULT_BYTES], text[2 * CYX_FAULT_BYTES];
    assert_int_equal(cyx_data_faults_count(data), 1);
    cyx_data_fault(data, 0, fault);
    assert_non_null(
        strstr(fault, "b.csv, row 3: column 2: \"bird\" is no class of the training part"));
    cyx_data_faults_text(data, text);
    assert_non_null(strstr(text, "1 of 6 rows could not be read; first: "));
    cyx_data_close(data);
}

static void test_csv__classes_that_are_numbers_are_sorted_as_such(void **state)
{
    (void)state;
    write_text("a.csv", "1;10\n2;9\n3;10\n4;-1\n");
    struct cyx_data *data = open_data("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":1,"
                                      "\"header\":false,\"delimiter\":\";\"}");
    assert_string_equal(data->class_names[0], "-1");
    assert_string_equal(data->class_names[1], "9");
    assert_string_equal(data->class_names[2], "10");
    assert_true(data->train.labels[0] == 2 && data->train.labels[3] == 0);
    cyx_data_close(data);
    data = open_data("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":1,\"task\":\"numbers\","
                     "\"header\":false,\"delimiter\":\";\"}");
    assert_true(data->train.numbers[1] == 9 && data->n_targets == 1);
    cyx_data_close(data);
}

static void test_csv__several_targets_are_numbers(void **state)
{
    (void)state;
    write_text("a.csv", "a\tb\tc\n1\t2\t3\n4\t5\t6\n");
    struct cyx_data *data =
        open_data("{\"format\":\"csv\",\"train\":\"a.csv\",\"delimiter\":\"\\t\","
                  "\"target\":[\"c\",\"a\"]}");
    static const float numbers[] = {3, 1, 6, 4};
    assert_true(data->n_targets == 2 && data->row.dim[0] == 1);
    assert_memory_equal(data->train.numbers, numbers, sizeof(numbers));
    cyx_data_close(data);
}

static void test_csv__rows_with_holes_are_named_and_left_out(void **state)
{
    (void)state;
    write_text("a.csv", "x,y\n1,a\n,a\n2\n3,b,9\nnan,a\n1e99,b\nfour,b\n5,\n6,\"b\"\n\n7,a\n");
    struct cyx_data *data = open_data("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":\"y\"}");
    static const float good[] = {1, 6, 7};
    char fault[CYX_FAULT_BYTES];
    assert_int_equal(data->train.count, 3);
    assert_memory_equal(data->train.floats, good, sizeof(good));
    assert_int_equal(cyx_data_faults_count(data), 7);
    static const char *const wanted[] = {"row 3: column 0: it is empty",
                                         "row 4: column 1: expected 2 columns, got 1",
                                         "row 5: column 3: expected 2 columns, got 3",
                                         "row 6: column 0: \"nan\" is no number",
                                         "row 7: column 0: \"1e99\" is no number",
                                         "row 8: column 0: \"four\" is no number",
                                         "row 9: column 1: it is empty"};
    for (size_t i = 0; i < 7; i++) {
        cyx_data_fault(data, i, fault);
        if (!strstr(fault, wanted[i]))
            fail_msg("%s", fault);
    }
    cyx_data_close(data);
}

static void test_csv__refuses_what_makes_no_data(void **state)
{
    (void)state;
    static const char spec[] = "{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":\"y\"}";
    write_text("a.csv", "x,z\n1,2\n");
    assert_refused(spec, CYX_ERR_INVALID, "no column \"y\"; it has: x, z");
    assert_refused("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":2}", CYX_ERR_INVALID,
                   "has 2 columns, so there is none with index 2");
    assert_refused("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":\"x\",\"header\":false}",
                   CYX_ERR_INVALID, "has no header");
    assert_refused("{\"format\":\"csv\",\"train\":\"a.csv\",\"target\":[\"x\",\"z\"]}",
                   CYX_ERR_INVALID, "0 columns for inputs");
    write_text("a.csv", "x,y\n");
    assert_refused(spec, CYX_ERR_CORRUPT, "no row that can be read");
    write_text("a.csv", "");
    assert_refused(spec, CYX_ERR_CORRUPT, "no row that can be read");
    write_text("a.csv", "x,y\na,b\n");
    assert_refused(spec, CYX_ERR_CORRUPT, "first: ");
    /* A quote that is never closed takes the rest of the file for one field. */
    size_t length = 3 << 20;
    char *text = malloc(length);
    memset(text, '1', length);
    static const uint8_t open_quote[] = {'x', ',', 'y', '\n', '1', ',', '"'};
    memcpy(text, open_quote, sizeof(open_quote));
    write_file(path_of("a.csv"), text, length);
    assert_refused(spec, CYX_ERR_TOO_LARGE, "is a quote missing?");
    for (size_t i = 7; i < length; i++)
        text[i] = i % 2 ? ',' : '1';
    text[6] = '1';
    write_file(path_of("a.csv"), text, length);
    assert_refused(spec, CYX_ERR_TOO_LARGE, "more than 65536 columns");
    free(text);
    assert_refused("{\"format\":\"csv\",\"train\":\"absent.csv\",\"target\":0}", CYX_ERR_NOT_FOUND,
                   "absent.csv");
}

/* ---- image folders ---- */

static void copy_image(const char *from, const char *to)
{
    char path[512];
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    snprintf(path, sizeof(path), CYX_SOURCE_DIR "/tests/golden/images/%s", from);
    assert_int_equal(cyx_buf_read_file(&bytes, path, 1 << 20, NULL), CYX_OK);
    write_file(path_of(to), bytes.data, bytes.length);
}

static void make_folders(void)
{
    static const char *const folders[] = {
        "p", "p/train", "p/train/b", "p/train/a", "p/train/a/deep", "p/test", "p/test/b"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
        mkdir(path_of(folders[i]), 0755);
    copy_image("scene.png", "p/train/b/2.PNG");
    copy_image("grey.jpg", "p/train/b/1.jpeg");
    copy_image("palette.png", "p/train/a/deep/3.png");
    copy_image("scene.jpg", "p/train/a/4.jpg");
    copy_image("cmyk.jpg", "p/test/b/5.jpg");
    write_text("p/train/a/notes.txt", "not an image");
    write_text("p/train/a/.hidden.png", "not looked at");
}

static const char folders_spec[] =
    "{\"format\":\"image-folder\",\"train\":\"p/train\",\"test\":\"p/test\"}";

static void test_folder__classes_are_sorted_folders(void **state)
{
    (void)state;
    make_folders();
    struct cyx_data *data = open_data(folders_spec);
    assert_int_equal(data->n_classes, 2);
    assert_string_equal(data->class_names[0], "a");
    assert_int_equal(data->train.count, 4);
    assert_non_null(strstr(data->train.files[0].path, "p/train/a/4.jpg"));
    assert_non_null(strstr(data->train.files[1].path, "p/train/a/deep/3.png"));
    assert_non_null(strstr(data->train.files[2].path, "p/train/b/1.jpeg"));
    assert_non_null(strstr(data->train.files[3].path, "p/train/b/2.PNG"));
    assert_true(data->train.labels[1] == 0 && data->train.labels[2] == 1);
    assert_true(data->test.count == 1 && data->test.labels[0] == 1);
    assert_true(data->row.dim[0] == 3 && data->row.dim[1] == 29 && data->row.dim[2] == 37);
    assert_int_equal(cyx_data_faults_count(data), 0);
    cyx_data_close(data);
    mkdir(path_of("p/test/c"), 0755);
    assert_refused(folders_spec, CYX_ERR_INVALID, "the training part has no class of this name");
    rmdir(path_of("p/test/c"));
    assert_refused("{\"format\":\"image-folder\",\"train\":\"p/train/b\"}", CYX_ERR_INVALID,
                   "has 0 folders, expected one for each");
    assert_refused("{\"format\":\"image-folder\",\"train\":\"nowhere\"}", CYX_ERR_NOT_FOUND,
                   "nowhere");
}

/* All rows of one epoch by two threads. */
static int64_t count_rows(const struct cyx_data *data, enum cyx_status *ret_status,
                          struct cyx_error *err)
{
    struct cyx_job_spec *spec = parse(folders_spec);
    struct cyx_pipeline *pipeline = NULL;
    struct cyx_loader *loader = NULL;
    struct cyx_batch batch;
    int64_t rows = 0;
    assert_int_equal(cyx_pipeline_create(data, &spec->data, true, 0, &pipeline, err), CYX_OK);
    const struct cyx_loader_options options = {
        .data = data, .part = &data->train, .pipeline = pipeline, .batch = 2, .workers = 2};
    assert_int_equal(cyx_loader_create(&options, &loader, err), CYX_OK);
    cyx_loader_start(loader, 0, 0);
    while (cyx_loader_next(loader, &batch))
        rows += batch.count;
    *ret_status = cyx_loader_failure(loader, err);
    cyx_loader_destroy(loader);
    cyx_pipeline_destroy(pipeline);
    cyx_job_spec_destroy(spec);
    return rows;
}

static void test_folder__broken_files_are_named_and_never_stop_a_run(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    enum cyx_status status;
    make_folders();
    write_text("p/train/a/empty.png", "");
    write_text("p/train/a/words.jpg", "these are words");
    struct cyx_data *data = open_data(folders_spec);
    assert_int_equal(data->train.count, 4);
    assert_int_equal(cyx_data_faults_count(data), 2);
    /* What the header did not tell: found when the pixels are wanted. */
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    read_back("p/train/b/2.PNG", &bytes);
    write_file(path_of("p/train/b/2.PNG"), bytes.data, bytes.length / 2);
    assert_int_equal(count_rows(data, &status, &err), 4);
    assert_int_equal(status, CYX_OK);
    char fault[CYX_FAULT_BYTES], text[2 * CYX_FAULT_BYTES];
    assert_int_equal(cyx_data_faults_count(data), 3);
    cyx_data_fault(data, 2, fault);
    assert_non_null(strstr(fault, "p/train/b/2.PNG: broken PNG: "));
    cyx_data_faults_text(data, text);
    assert_non_null(strstr(text, "3 of 7 files could not be read; first: "));
    assert_int_equal(count_rows(data, &status, &err), 4); /* told of once */
    assert_int_equal(cyx_data_faults_count(data), 3);
    /* Nothing is left: the run ends with a sentence. */
    static const char *const names[] = {"p/train/a/4.jpg", "p/train/a/deep/3.png",
                                        "p/train/b/1.jpeg"};
    for (size_t i = 0; i < 3; i++)
        unlink(path_of(names[i]));
    assert_int_equal(count_rows(data, &status, &err), 0);
    assert_int_equal(status, CYX_ERR_CORRUPT);
    assert_non_null(strstr(err.message, "could not be read"));
    cyx_data_close(data);
    unlink(path_of("p/train/a/empty.png"));
    unlink(path_of("p/train/a/words.jpg"));
}

static void test_folder__sizes_must_become_one(void **state)
{
    (void)state;
    struct cyx_job_spec *spec = parse(folders_spec);
    struct cyx_data *data = NULL;
    struct cyx_sample_shape sample;
    struct cyx_error err = {0};
    const struct cyx_data_options options = {.base_dir = folder};
    const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_RESIZE, .size = {20, 0}, .interpolation = CYX_BILINEAR},
        {.type = CYX_TRANSFORM_RANDOM_CROP, .size = {20, 20}},
        {.type = CYX_TRANSFORM_TO_TENSOR}};
    make_folders();
    /* A picture of another size: the golden one, cut by a PNG of ours. */
    struct cyx_image small = {0};
    CYX_CLEANUP_BUF struct cyx_buf png = {0};
    assert_true(cyx_image_reserve(&small, 8, 9, 3));
    memset(small.data, 7, 8 * 9 * 3);
    assert_int_equal(cyx_image_encode_png(&small, &png, NULL), CYX_OK);
    cyx_image_finish(&small);
    write_file(path_of("p/train/b/small.png"), png.data, png.length);
    assert_int_equal(cyx_data_open(&spec->data, &options, &data, &err), CYX_OK);
    assert_true(data->row.dim[1] == 0 && data->row.dim[2] == 0);
    assert_int_equal(cyx_data_sample(data, &spec->data, &sample, &err), CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/data/transforms");
    assert_non_null(strstr(err.message, "29x37 and 8x9"));
    spec->data.transforms = chain;
    spec->data.n_transforms = 3;
    assert_int_equal(cyx_data_sample(data, &spec->data, &sample, &err), CYX_OK);
    assert_true(sample.dim[0] == 3 && sample.dim[1] == 20 && sample.dim[2] == 20);
    cyx_data_close(data);
    /* Without the Resize the small one cannot be cropped: it is left out, and named. */
    spec->data.transforms = chain + 1;
    spec->data.n_transforms = 2;
    assert_int_equal(cyx_data_open(&spec->data, &options, &data, &err), CYX_OK);
    char fault[CYX_FAULT_BYTES];
    cyx_data_fault(data, 0, fault);
    assert_non_null(strstr(fault, "small.png: RandomCrop of size [20, 20] does not fit"));
    assert_int_equal(data->train.count, 4);
    cyx_data_close(data);
    cyx_job_spec_destroy(spec);
    unlink(path_of("p/train/b/small.png"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npy__gives_rows_classes_and_numbers),
        cmocka_unit_test(test_npy__images_of_bytes_stay_bytes),
        cmocka_unit_test(test_npy__refuses_what_it_is_not),
        cmocka_unit_test(test_npy__header_survives_any_changed_byte),
        cmocka_unit_test(test_npz__gives_arrays_by_name),
        cmocka_unit_test(test_npz__refuses_broken_and_hostile_archives),
        cmocka_unit_test(test_npz__refuses_a_bomb),
        cmocka_unit_test(test_safetensors__gives_tensors_by_name),
        cmocka_unit_test(test_idx_source__finds_shape_and_classes),
        cmocka_unit_test(test_csv__classes_are_sorted_and_shared_by_both_parts),
        cmocka_unit_test(test_csv__classes_that_are_numbers_are_sorted_as_such),
        cmocka_unit_test(test_csv__several_targets_are_numbers),
        cmocka_unit_test(test_csv__rows_with_holes_are_named_and_left_out),
        cmocka_unit_test(test_csv__refuses_what_makes_no_data),
        cmocka_unit_test(test_folder__classes_are_sorted_folders),
        cmocka_unit_test(test_folder__broken_files_are_named_and_never_stop_a_run),
        cmocka_unit_test(test_folder__sizes_must_become_one),
    };
    if (!folder_make("source"))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!folder_remove())
        fprintf(stderr, "%s is left\n", folder);
    return failed;
}
