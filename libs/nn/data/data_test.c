/* IDX files, transforms, batches, and a data set's files on disk, as the catalogue wants them. */
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
#include "nn/data/loader.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* ---- IDX ---- */

static void test_idx__reads_shape_and_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\x08\x02\0\0\0\2\0\0\0\3abcdef";
    struct cyx_idx idx = {0};
    struct cyx_error error = {0};
    write_file(path_of("idx"), bytes, sizeof bytes - 1);
    assert_int_equal(cyx_idx_open(path_of("idx"), &idx, &error), CYX_OK);
    assert_int_equal(idx.rank, 2);
    assert_int_equal(idx.shape[0], 2);
    assert_int_equal(idx.shape[1], 3);
    assert_memory_equal(idx.data, "abcdef", 6);
    cyx_idx_finish(&idx);
    cyx_idx_finish(&idx); /* empty is fine */
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
        write_file(path_of("idx"), bad[i].bytes, bad[i].length);
        assert_int_equal(cyx_idx_open(path_of("idx"), &idx, &error), CYX_ERR_CORRUPT);
        assert_non_null(strstr(error.message, "idx"));
    }
    struct cyx_idx idx = {0};
    assert_int_equal(cyx_idx_open(path_of("absent"), &idx, NULL), CYX_ERR_NOT_FOUND);
}

/* ---- transforms ---- */

static void test_transform__is_torchvisions_in_float32(void **state)
{
    (void)state;
    const struct cyx_transform_spec chain[] = {
        {.type = CYX_TRANSFORM_TO_TENSOR},
        {.type = CYX_TRANSFORM_NORMALIZE,
         .mean = {0.1307, 0.5},
         .std = {0.3081, 0.25},
         .n_channels = 2},
    };
    struct cyx_transform transform;
    uint8_t image[512];
    float got[512];
    for (int i = 0; i < 512; i++)
        image[i] = (uint8_t)i;
    cyx_transform_init(&transform, chain, 2, 2, 256);
    cyx_transform_image(&transform, image, got);
    for (int i = 0; i < 512; i++) {
        float mean = i < 256 ? (float)0.1307 : 0.5f, std = i < 256 ? (float)0.3081 : 0.25f;
        assert_true(got[i] == ((float)(i % 256) / 255.0f - mean) / std);
    }
    cyx_transform_init(&transform, chain, 1, 1, 512);
    cyx_transform_image(&transform, image, got);
    assert_true(got[255] == 1.0f && got[256] == 0.0f);
}

/* ---- batches ---- */

enum { ROWS = 103, PIXELS = 6, ROW_BATCH = 10 };

static uint8_t images[ROWS * PIXELS], labels[ROWS];

/* Row r's label is r, its pixels begin with r. */
static struct cyx_data_part small_part(void)
{
    for (int r = 0; r < ROWS; r++) {
        labels[r] = (uint8_t)r;
        for (int i = 0; i < PIXELS; i++)
            images[r * PIXELS + i] = (uint8_t)(r + i);
    }
    return (struct cyx_data_part){.images = {.data = images, .rank = 3, .shape = {ROWS, 2, 3}},
                                  .labels = {.data = labels, .rank = 1, .shape = {ROWS}},
                                  .count = ROWS};
}

struct bench {
    struct cyx_data_part part;
    struct cyx_transform transform;
    struct cyx_loader_options options;
};

static void bench_init(struct bench *b)
{
    static const struct cyx_transform_spec raw[] = {{.type = CYX_TRANSFORM_TO_TENSOR}};
    b->part = small_part();
    cyx_transform_init(&b->transform, raw, 1, 1, PIXELS);
    b->options = (struct cyx_loader_options){.part = &b->part,
                                             .transform = &b->transform,
                                             .batch = ROW_BATCH,
                                             .shuffle = true,
                                             .seed = 5};
}

/* All rows of an epoch from `first` on, in order; checks each batch's form and content. */
static size_t collect(struct cyx_loader *loader, uint32_t epoch, int64_t first, int32_t *ret_rows)
{
    struct cyx_batch batch;
    size_t n = 0;
    int64_t index = first;
    cyx_loader_start(loader, epoch, first);
    while (cyx_loader_next(loader, &batch)) {
        assert_int_equal(batch.index, index++);
        assert_int_equal((uintptr_t)batch.input % 64, 0);
        for (int64_t i = 0; i < batch.count; i++) {
            for (int p = 0; p < PIXELS; p++)
                assert_true(batch.input[i * PIXELS + p] ==
                            (float)(uint8_t)(batch.target[i] + p) / 255.0f);
            ret_rows[n++] = batch.target[i];
        }
    }
    return n;
}

static void test_loader__an_epoch_has_every_row_once(void **state)
{
    (void)state;
    struct bench b;
    struct cyx_loader *loader = NULL;
    int32_t first[ROWS], again[ROWS], second[ROWS];
    bench_init(&b);
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    assert_int_equal(cyx_loader_batches(loader), 11);
    assert_int_equal(cyx_loader_samples(loader), ROWS);
    assert_int_equal(collect(loader, 0, 0, first), ROWS);
    assert_int_equal(collect(loader, 1, 0, second), ROWS);
    assert_int_equal(collect(loader, 0, 0, again), ROWS);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, second, sizeof first);
    bool seen[ROWS] = {0};
    int moved = 0;
    for (int i = 0; i < ROWS; i++) {
        assert_false(seen[first[i]]);
        seen[first[i]] = true;
        moved += first[i] != i;
    }
    assert_true(moved > ROWS / 2);
    cyx_loader_destroy(loader);
}

static void test_loader__goes_on_within_an_epoch(void **state)
{
    (void)state;
    struct bench b;
    struct cyx_loader *loader = NULL;
    int32_t whole[ROWS], rest[ROWS];
    bench_init(&b);
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    collect(loader, 3, 0, whole);
    assert_int_equal(collect(loader, 3, 7, rest), ROWS - 70);
    assert_memory_equal(rest, whole + 70, (ROWS - 70) * sizeof *rest);
    assert_int_equal(collect(loader, 3, 11, rest), 0);
    /* Begun again in mid-epoch: what was prefetched is dropped. */
    struct cyx_batch batch = {0};
    for (int i = 0; i < 50; i++) {
        cyx_loader_start(loader, (uint32_t)i, 0);
        assert_true(cyx_loader_next(loader, &batch));
        assert_int_equal(batch.index, 0);
    }
    assert_int_equal(collect(loader, 3, 0, rest), ROWS);
    assert_memory_equal(rest, whole, sizeof whole);
    cyx_loader_destroy(loader);
}

static void test_loader__order_and_rows_are_the_callers(void **state)
{
    (void)state;
    static const uint32_t chosen[] = {9, 4, 102, 0, 77};
    struct bench b;
    struct cyx_loader *loader = NULL;
    int32_t rows[ROWS] = {0};
    bench_init(&b);
    b.options.shuffle = false;
    b.options.rows = chosen;
    b.options.n_rows = 5;
    b.options.batch = 2;
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    assert_int_equal(collect(loader, 0, 0, rows), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rows[i], chosen[i]);
    cyx_loader_destroy(loader);

    b.options.drop_last = true;
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    assert_int_equal(cyx_loader_batches(loader), 2);
    assert_int_equal(cyx_loader_samples(loader), 4);
    assert_int_equal(collect(loader, 0, 0, rows), 4);
    cyx_loader_destroy(loader);
    cyx_loader_destroy(NULL);
}

static void test_loader__split_parts_by_seed(void **state)
{
    (void)state;
    uint32_t rows[1000], again[1000], other[1000], n = 0;
    cyx_loader_split(7, 1000, 0.1, rows, &n);
    assert_int_equal(n, 100);
    cyx_loader_split(7, 1000, 0.1, again, &n);
    assert_memory_equal(rows, again, sizeof rows);
    cyx_loader_split(8, 1000, 0.1, other, &n);
    assert_memory_not_equal(rows, other, sizeof rows);
    bool seen[1000] = {0};
    for (int i = 0; i < 1000; i++) {
        assert_false(seen[rows[i]]);
        seen[rows[i]] = true;
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
    enum cyx_status status = cyx_data_open(&set, folder, &data, error);
    if (status == CYX_OK) {
        assert_int_equal(data->train.count, SET_ROWS);
        assert_int_equal(data->test.labels.data[1], 1);
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

static void remove_files(void)
{
    static const char *const names[] = {"idx",     "tiny/ti", "tiny/tl",
                                        "tiny/ei", "tiny/el", "tiny/.verified"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    rmdir(path_of("tiny"));
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx__reads_shape_and_bytes),
        cmocka_unit_test(test_idx__refuses_what_is_not_one),
        cmocka_unit_test(test_transform__is_torchvisions_in_float32),
        cmocka_unit_test(test_loader__an_epoch_has_every_row_once),
        cmocka_unit_test(test_loader__goes_on_within_an_epoch),
        cmocka_unit_test(test_loader__order_and_rows_are_the_callers),
        cmocka_unit_test(test_loader__split_parts_by_seed),
        cmocka_unit_test(test_dataset_files__are_verified_and_checked),
        cmocka_unit_test(test_dataset_files__the_stamp_vouches_only_for_its_bytes),
    };
    snprintf(folder, sizeof folder, "/tmp/cyx-data-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_files();
    return failed;
}
