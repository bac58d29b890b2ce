/*
 * Event files byte by byte: framing and check sums by their published values, messages by protobuf's wire format.
 * That TensorBoard itself reads them is tests/integration/tensorboard_test.py's.
 */
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

#include "base/buf.h"
#include "nn/format/crc32c.h"
#include "nn/format/tfevents.h"
#include "nn/test_folder.h"
#include "nn/train/tensorboard.h"

static void test_crc32c__gives_the_published_values(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(cyx_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(cyx_crc32c("", 0), 0);
    assert_int_equal(cyx_crc32c(bytes, 32), 0x8a9136aa); /* RFC 3720 B.4, as the next two */
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(cyx_crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(cyx_crc32c(bytes, 32), 0x46dd794e);
}

/* ---- a reader of records ---- */

static uint32_t mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little(const char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)(uint8_t)bytes[i] << (8 * i);
    return value;
}

struct record {
    const char *data;
    size_t length;
};

/* The records of a file, each with right check sums; fails on anything else. */
static size_t read_records(struct cyx_buf *bytes, const char *path, struct record *ret_records,
                           size_t limit)
{
    cyx_buf_clear(bytes);
    assert_int_equal(cyx_buf_read_file(bytes, path, 1 << 20, NULL), CYX_OK);
    size_t n = 0;
    for (size_t at = 0; at < bytes->length; n++) {
        assert_true(n < limit && bytes->length - at >= 16);
        const char *head = bytes->data + at;
        size_t length = (size_t)little(head, 8);
        assert_int_equal(little(head + 8, 4), mask(cyx_crc32c(head, 8)));
        assert_true(bytes->length - at >= 16 + length);
        assert_int_equal(little(head + 12 + length, 4), mask(cyx_crc32c(head + 12, length)));
        ret_records[n] = (struct record){head + 12, length};
        at += 16 + length;
    }
    return n;
}

static bool holds(const struct record *record, const char *bytes, size_t length)
{
    return record->data && memmem(record->data, record->length, bytes, length);
}

static void assert_holds(const struct record *record, const char *bytes, size_t length)
{
    assert_true(holds(record, bytes, length));
}

/* ---- files ---- */

static void test_tfevents__a_file_holds_version_start_and_what_was_written(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct cyx_tfevents *events = NULL;
    struct record records[8] = {0};
    assert_int_equal(cyx_tfevents_create(folder, 51, &events, NULL), CYX_OK);
    const struct cyx_tfevents_scalar scalars[] = {{"a/b", 1.5}, {"c", 0}};
    assert_int_equal(cyx_tfevents_scalars(events, 300, scalars, 2, NULL), CYX_OK);
    assert_int_equal(cyx_tfevents_text(events, 0, "note", "**hello**", NULL), CYX_OK);
    /* Whole before it is closed: nothing waits in the process. */
    assert_int_equal(read_records(&bytes, cyx_tfevents_path(events), records, 8), 4);
    assert_holds(&records[0],
                 "\x1a\x0d"
                 "brain.Event:2",
                 15);
    assert_holds(&records[1], "\x10\x33\x3a\x02\x08\x01", 6); /* step 51, START */
    assert_holds(&records[2], "\x10\xac\x02", 3);             /* step 300 */
    assert_holds(&records[2],
                 "\x0a\x03"
                 "a/b\x15\x00\x00\xc0\x3f",
                 10);
    assert_holds(&records[2],
                 "\x0a\x01"
                 "c\x15\x00\x00\x00\x00", /* a zero is written, too */
                 8);
    assert_holds(&records[3],
                 "\x0a\x04"
                 "note\x42\x0f\x08\x07\x12\x00\x42\x09"
                 "**hello**\x4a\x08\x0a\x06\x0a\x04text",
                 33);
    assert_int_equal(cyx_tfevents_sync(events, NULL), CYX_OK);
    cyx_tfevents_close(events);
}

static void test_tfevents__later_files_sort_behind_earlier_ones(void **state)
{
    (void)state;
    char before[4096] = "";
    for (int i = 0; i < 5; i++) {
        struct cyx_tfevents *events = NULL;
        assert_int_equal(cyx_tfevents_create(folder, 0, &events, NULL), CYX_OK);
        assert_true(strcmp(cyx_tfevents_path(events), before) > 0);
        snprintf(before, sizeof(before), "%s", cyx_tfevents_path(events));
        cyx_tfevents_close(events);
    }
}

static void test_tfevents__a_folder_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct cyx_tfevents *events = NULL;
    struct cyx_error error = {0};
    assert_int_equal(cyx_tfevents_create("/no/such/folder", 0, &events, &error), CYX_ERR_NOT_FOUND);
    assert_null(events);
    assert_non_null(strstr(error.message, "/no/such/folder"));
}

/* ---- the trainer's events ---- */

static struct cyx_job_spec *spec_of(const char *loss)
{
    char text[512];
    struct cyx_job_spec *spec = NULL;
    snprintf(text, sizeof(text),
             "{\"name\":\"t\",\"model\":{\"layers\":[{\"type\":\"Flatten\"},"
             "{\"type\":\"Linear\",\"out_features\":10}]},\"data\":{\"dataset\":\"mnist\","
             "\"batch_size\":4},\"loss\":{%s},\"optimizer\":{\"type\":\"SGD\"},\"epochs\":1}",
             loss);
    assert_int_equal(cyx_job_spec_parse(text, strlen(text), &spec, NULL), CYX_OK);
    return spec;
}

static void test_tensorboard__thins_steps_and_keeps_first_last_and_epochs(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    static struct record records[3 * CYX_TENSORBOARD_POINTS];
    struct cyx_job_spec *spec = spec_of("\"type\":\"CrossEntropyLoss\"");
    struct cyx_tensorboard *board = NULL;
    assert_int_equal(cyx_tensorboard_open(folder, spec, &board, NULL), CYX_OK);
    struct cyx_train_event event = {.kind = CYX_TRAIN_STARTED, .total_steps = 9001};
    assert_null(cyx_tensorboard_path(board));
    assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    event.kind = CYX_TRAIN_STEP;
    for (event.step = 1; event.step <= 9001; event.step++)
        assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    event.step = 9001;
    event.kind = CYX_TRAIN_EPOCH;
    assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    event.kind = CYX_TRAIN_CHECKPOINT;
    assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    size_t n =
        read_records(&bytes, cyx_tensorboard_path(board), records, 3 * CYX_TENSORBOARD_POINTS);
    /* version, start, spec; step 1, every fifth of 9001, 9001; the epoch */
    assert_int_equal(n, 3 + 1 + 1800 + 1 + 1);
    assert_holds(&records[2], "```json\n{\n  \"", 13);
    assert_holds(&records[3], "train/accuracy", 14);
    assert_holds(&records[n - 1], "eval/accuracy", 13);
    cyx_tensorboard_close(board);
    cyx_job_spec_destroy(spec);
}

static void test_tensorboard__writes_what_there_is(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    struct record records[8] = {0};
    struct cyx_job_spec *spec = spec_of("\"type\":\"MSELoss\",\"target\":\"one_hot\"},"
                                        "\"clip\":{\"norm\":1");
    struct cyx_tensorboard *board = NULL;
    assert_int_equal(cyx_tensorboard_open(folder, spec, &board, NULL), CYX_OK);
    struct cyx_train_event event = {.kind = CYX_TRAIN_STARTED, .total_steps = 10};
    assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    event = (struct cyx_train_event){
        .kind = CYX_TRAIN_STEP, .step = 1, .total_steps = 10, .accuracy = NAN, .grad_norm = 2};
    assert_int_equal(cyx_tensorboard_event(board, &event, NULL), CYX_OK);
    assert_int_equal(read_records(&bytes, cyx_tensorboard_path(board), records, 8), 4);
    assert_holds(&records[3], "train/grad_norm\x15\x00\x00\x00\x40", 20);
    assert_false(holds(&records[3], "accuracy", 8));
    cyx_tensorboard_close(board);
    cyx_job_spec_destroy(spec);
}

static int make_folder(void **state)
{
    (void)state;
    return folder_make("tfevents") ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return folder_remove() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__gives_the_published_values),
        cmocka_unit_test(test_tfevents__a_file_holds_version_start_and_what_was_written),
        cmocka_unit_test(test_tfevents__later_files_sort_behind_earlier_ones),
        cmocka_unit_test(test_tfevents__a_folder_that_is_not_there_is_named),
        cmocka_unit_test(test_tensorboard__thins_steps_and_keeps_first_last_and_epochs),
        cmocka_unit_test(test_tensorboard__writes_what_there_is),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
