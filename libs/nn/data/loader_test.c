/* Batches: order, parts, resuming, and that the bits do not depend on how many threads make them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/data/loader.h"

enum { ROWS = 103, PIXELS = 6, ROW_BATCH = 10 };

static uint8_t images[ROWS * PIXELS];
static int32_t labels[ROWS];

static const struct cyx_transform_spec raw[] = {{.type = CYX_TRANSFORM_TO_TENSOR}};

struct bench {
    struct cyx_data *data;
    struct cyx_pipeline *pipeline;
    struct cyx_loader_options options;
};

/* Row r's label is r, its pixels begin with r. */
static void bench_init(struct bench *b)
{
    const struct cyx_data_spec spec = {.transforms = raw, .n_transforms = 1};
    for (int r = 0; r < ROWS; r++) {
        labels[r] = r;
        for (int i = 0; i < PIXELS; i++)
            images[r * PIXELS + i] = (uint8_t)(r + i);
    }
    const struct cyx_data_arrays arrays = {
        .count = ROWS, .rank = 3, .shape = {1, 2, 3}, .bytes = images, .labels = labels};
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &b->data, NULL), CYX_OK);
    assert_int_equal(cyx_pipeline_create(b->data, &spec, true, 5, &b->pipeline, NULL), CYX_OK);
    b->options = (struct cyx_loader_options){.data = b->data,
                                             .part = &b->data->train,
                                             .pipeline = b->pipeline,
                                             .batch = ROW_BATCH,
                                             .shuffle = true,
                                             .seed = 5};
}

static void bench_finish(struct bench *b)
{
    cyx_pipeline_destroy(b->pipeline);
    cyx_data_close(b->data);
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
        const int32_t *target = batch.target;
        assert_int_equal((uintptr_t)batch.input % 64, 0);
        for (int64_t i = 0; i < batch.count; i++) {
            for (int p = 0; p < PIXELS; p++)
                assert_true(batch.input[i * PIXELS + p] ==
                            (float)(uint8_t)(target[i] + p) / 255.0f);
            ret_rows[n++] = target[i];
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
    bench_finish(&b);
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
    bench_finish(&b);
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
    bench_finish(&b);
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

/* ---- threads ---- */

enum { SIDE = 24, PICTURES = 37 };

static const struct cyx_transform_spec augment[] = {
    {.type = CYX_TRANSFORM_RANDOM_CROP, .size = {SIDE, SIDE}, .padding = 3},
    {.type = CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP, .p = 0.5},
    {.type = CYX_TRANSFORM_RANDOM_ROTATION, .degrees = {-20, 20}, .interpolation = CYX_BILINEAR},
    {.type = CYX_TRANSFORM_COLOR_JITTER,
     .brightness = {0.5, 1.5},
     .contrast = {0.5, 1.5},
     .saturation = {0, 2},
     .hue = {-0.2, 0.2}},
    {.type = CYX_TRANSFORM_RESIZE, .size = {16, 20}, .interpolation = CYX_BILINEAR},
    {.type = CYX_TRANSFORM_TO_TENSOR},
    {.type = CYX_TRANSFORM_NORMALIZE, .mean = {0.5, 0.4, 0.3}, .std = {1, 2, 3}, .n_channels = 3},
};

/* FNV-1a over every byte of two epochs' inputs and targets. */
static uint64_t hash_epochs(const struct cyx_loader_options *options, uint32_t first_epoch)
{
    struct cyx_loader *loader = NULL;
    struct cyx_batch batch;
    uint64_t hash = 14695981039346656037u;
    assert_int_equal(cyx_loader_create(options, &loader, NULL), CYX_OK);
    int64_t elements = cyx_pipeline_elements(options->pipeline);
    for (uint32_t epoch = first_epoch; epoch < first_epoch + 2; epoch++) {
        cyx_loader_start(loader, epoch, 0);
        while (cyx_loader_next(loader, &batch)) {
            const uint8_t *bytes = (const uint8_t *)batch.input;
            for (int64_t i = 0; i < batch.count * elements * (int64_t)sizeof(float); i++)
                hash = (hash ^ bytes[i]) * 1099511628211u;
            for (int64_t i = 0; i < batch.count * (int64_t)sizeof(float); i++)
                hash = (hash ^ ((const uint8_t *)batch.target)[i]) * 1099511628211u;
        }
        assert_int_equal(cyx_loader_failure(loader, NULL), CYX_OK);
    }
    cyx_loader_destroy(loader);
    return hash;
}

static void test_loader__bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    static uint8_t pictures[PICTURES * SIDE * SIDE * 3];
    static float targets[PICTURES];
    const struct cyx_data_spec spec = {.transforms = augment,
                                       .n_transforms = sizeof(augment) / sizeof(*augment)};
    for (size_t i = 0; i < sizeof(pictures); i++)
        pictures[i] = (uint8_t)(i * i / 7 + i);
    for (int i = 0; i < PICTURES; i++)
        targets[i] = (float)i / 3;
    struct cyx_data *data = NULL;
    struct cyx_pipeline *pipeline = NULL;
    const struct cyx_data_arrays arrays = {.count = PICTURES,
                                           .rank = 3,
                                           .shape = {3, SIDE, SIDE},
                                           .channels_last = true,
                                           .bytes = pictures,
                                           .numbers = targets,
                                           .n_targets = 1};
    assert_int_equal(cyx_data_from_arrays(&arrays, NULL, &data, NULL), CYX_OK);
    assert_int_equal(cyx_pipeline_create(data, &spec, true, 11, &pipeline, NULL), CYX_OK);
    assert_true(cyx_pipeline_is_heavy(pipeline));
    struct cyx_loader_options options = {.data = data,
                                         .part = &data->train,
                                         .pipeline = pipeline,
                                         .batch = 8,
                                         .shuffle = true,
                                         .seed = 11,
                                         .workers = 1};
    uint64_t one = hash_epochs(&options, 0);
    for (options.workers = 2; options.workers <= 9; options.workers += 3)
        assert_true(hash_epochs(&options, 0) == one);
    assert_true(hash_epochs(&options, 1) != one); /* another epoch draws other numbers */
    cyx_pipeline_destroy(pipeline);
    cyx_data_close(data);
}

/* Begun again and again while workers are in the midst of it. */
static void test_loader__begins_again_while_workers_run(void **state)
{
    (void)state;
    struct bench b;
    struct cyx_loader *loader = NULL;
    int32_t rows[ROWS], again[ROWS];
    struct cyx_batch batch;
    bench_init(&b);
    b.options.workers = 4;
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    assert_int_equal(cyx_loader_workers(loader), 4);
    collect(loader, 2, 0, rows);
    for (uint32_t i = 0; i < 200; i++) {
        cyx_loader_start(loader, i, (int64_t)i % 11);
        if (i % 3 == 0)
            assert_true(cyx_loader_next(loader, &batch));
    }
    assert_int_equal(collect(loader, 2, 0, again), ROWS);
    assert_memory_equal(rows, again, sizeof rows);
    cyx_loader_destroy(loader); /* in mid-epoch, too */
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    cyx_loader_start(loader, 0, 0);
    cyx_loader_destroy(loader);
    bench_finish(&b);
}

static void test_loader__shards_deal_the_epochs_rows(void **state)
{
    (void)state;
    enum { SHARDS = 4, OWN = ROWS / SHARDS };
    struct bench b;
    struct cyx_loader *loader = NULL;
    int32_t all[ROWS] = {0}, own[ROWS] = {0};
    bench_init(&b);
    assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
    assert_int_equal(collect(loader, 3, 0, all), ROWS);
    cyx_loader_destroy(loader);
    b.options.shards = SHARDS;
    for (int shard = 0; shard < SHARDS; shard++) {
        b.options.shard = shard;
        assert_int_equal(cyx_loader_create(&b.options, &loader, NULL), CYX_OK);
        assert_int_equal(cyx_loader_samples(loader), OWN);
        assert_int_equal(cyx_loader_batches(loader), 3); /* 10, 10 and 5 of 25 */
        assert_int_equal(collect(loader, 3, 0, own), OWN);
        for (int i = 0; i < OWN; i++)
            assert_int_equal(own[i], all[i * SHARDS + shard]);
        assert_int_equal(collect(loader, 3, 1, own), OWN - ROW_BATCH); /* as a resumed run begins */
        assert_int_equal(own[0], all[ROW_BATCH * SHARDS + shard]);
        cyx_loader_destroy(loader);
    }
    bench_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader__an_epoch_has_every_row_once),
        cmocka_unit_test(test_loader__shards_deal_the_epochs_rows),
        cmocka_unit_test(test_loader__goes_on_within_an_epoch),
        cmocka_unit_test(test_loader__order_and_rows_are_the_callers),
        cmocka_unit_test(test_loader__split_parts_by_seed),
        cmocka_unit_test(test_loader__bits_do_not_depend_on_threads),
        cmocka_unit_test(test_loader__begins_again_while_workers_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
