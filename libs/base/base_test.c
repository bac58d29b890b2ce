#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/every.h"
#include "base/id.h"
#include "base/status.h"
#include "base/text.h"

static void test_error__carries_the_place_and_the_sentence(void **state)
{
    (void)state;
    struct cyx_error err = {0};
    assert_int_equal(cyx_error_set(&err, CYX_ERR_INVALID, "/epochs", "expected %d, got %d", 1, 0),
                     CYX_ERR_INVALID);
    assert_string_equal(err.pointer, "/epochs");
    assert_string_equal(err.message, "expected 1, got 0");
    assert_int_equal(cyx_error_set(NULL, CYX_ERR_IO, NULL, "x"), CYX_ERR_IO);
    /* An error may be wrapped into itself. */
    cyx_error_set(&err, err.status, err.pointer, "spec: %s", err.message);
    assert_string_equal(err.message, "spec: expected 1, got 0");
}

static void test_status__names_go_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < CYX_STATUS_COUNT; i++)
        assert_int_equal(cyx_status_from_name(cyx_status_name((enum cyx_status)i)), i);
    assert_int_equal(cyx_status_from_name("nonsense"), CYX_ERR_INTERNAL);
    assert_int_equal(cyx_status_http(CYX_ERR_NOT_FOUND), 404);
}

static void test_arena__gives_aligned_zeroed_memory_of_any_size(void **state)
{
    (void)state;
    struct cyx_arena arena = {0};
    for (size_t size = 0; size < 70000; size = size * 3 + 1) {
        unsigned char *p = cyx_arena_alloc(&arena, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xAB, size);
    }
    assert_null(cyx_arena_calloc(&arena, SIZE_MAX / 2, 3));
    assert_string_equal(cyx_arena_printf(&arena, "layer%d", 7), "layer7");
    cyx_arena_finish(&arena);
}

static void test_buf__json_strings_are_escaped_and_repaired(void **state)
{
    (void)state;
    CYX_CLEANUP_BUF struct cyx_buf buf = {0};
    cyx_buf_json_string(&buf, "a\"b\\c\n\x01 \xC3\xA9 \xFF");
    assert_string_equal(buf.data, "\"a\\\"b\\\\c\\n\\u0001 \xC3\xA9 \xEF\xBF\xBD\"");
}

static void test_text__keeps_plain_text_and_replaces_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *given, *wanted;
    } cases[] = {
        {"", ""},
        {"Gr\xC3\xBCn \xE6\x97\xA5 \xF0\x9F\x90\xB1", "Gr\xC3\xBCn \xE6\x97\xA5 \xF0\x9F\x90\xB1"},
        {"cl\033[31mred\x7F", "cl?[31mred?"},
        {"a\nb\tc\r", "a b c "},
        {"Gr\xFCn", "Gr?n"}, /* Latin-1 */
        {"\xC2\x9B"
         "31m",
         "??31m"}, /* CSI as C1 */
        {"cut \xE6\x97", "cut ??"},
        {"\xC0\x80 \xED\xA0\x80", "?? ???"}, /* overlong, surrogate */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s", cases[i].given);
        assert_int_equal(cyx_text_is_plain(text), strcmp(cases[i].given, cases[i].wanted) == 0);
        cyx_text_clean(text);
        assert_string_equal(text, cases[i].wanted);
        assert_true(cyx_text_is_plain(text));
    }
    struct cyx_error err = {0};
    cyx_error_set(&err, CYX_ERR_INVALID, NULL, "no file \"%s\"", "x\033[2J\xFF.png");
    assert_string_equal(err.message, "no file \"x?[2J?.png\"");
}

static void test_text__copies_what_fits(void **state)
{
    (void)state;
    char target[4] = "xxx";
    cyx_text_copy(target, sizeof(target), "ab");
    assert_string_equal(target, "ab");
    cyx_text_copy(target, sizeof(target), "abcdef");
    assert_string_equal(target, "abc");
    cyx_text_copy(target, 1, "abc");
    assert_string_equal(target, "");
}

static void test_buf__steal_of_empty_is_an_empty_string(void **state)
{
    (void)state;
    struct cyx_buf buf = {0};
    char *text = cyx_buf_steal(&buf);
    assert_string_equal(text, "");
    free(text);
}

static void test_file__is_written_whole_and_read_within_its_limit(void **state)
{
    (void)state;
    char path[] = "/tmp/cyx_base_test.XXXXXX";
    close(mkstemp(path));
    struct cyx_error err = {0};
    assert_int_equal(cyx_file_write_atomic(path, "hello", 5, 0600, &err), CYX_OK);
    CYX_CLEANUP_BUF struct cyx_buf buf = {0};
    assert_int_equal(cyx_buf_read_file(&buf, path, 5, &err), CYX_OK);
    assert_string_equal(buf.data, "hello");
    cyx_buf_clear(&buf);
    assert_int_equal(cyx_buf_read_file(&buf, path, 4, &err), CYX_ERR_TOO_LARGE);
    unlink(path);
    assert_int_equal(cyx_buf_read_file(&buf, path, 5, &err), CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_file_write_atomic("/nonexistent/x", "x", 1, 0600, &err),
                     CYX_ERR_NOT_FOUND);
}

static void make_empty(const char *folder, const char *name, char ret_path[64])
{
    snprintf(ret_path, 64, "%s/%s", folder, name);
    int fd = open(ret_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void test_file__what_a_killed_writer_left_is_swept(void **state)
{
    (void)state;
    char folder[] = "/tmp/cyx_base_XXXXXX", left[64], kept[4][64];
    assert_non_null(mkdtemp(folder));
    make_empty(folder, "model.tmp-a1B2c3", left);
    make_empty(folder, "model", kept[0]);
    make_empty(folder, "model.backup", kept[1]);
    make_empty(folder, "model.tmp-a1B2c3d", kept[2]);
    make_empty(folder, "model2.tmp-a1B2c3", kept[3]);
    cyx_file_sweep_temporaries(kept[0]);
    assert_int_equal(access(left, F_OK), -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(unlink(kept[i]), 0);
    cyx_file_sweep_temporaries("/nonexistent/model");
    assert_int_equal(rmdir(folder), 0);
}

static void count_up(void *ctx, struct cyx_every *every)
{
    atomic_int *count = ctx;
    if (!cyx_every_stopping(every))
        atomic_fetch_add(count, 1);
}

static void test_every__works_at_once_then_at_intervals_until_it_is_stopped(void **state)
{
    (void)state;
    atomic_int often = 0, seldom = 0;
    struct cyx_every *fast = NULL, *slow = NULL;
    assert_int_equal(cyx_every_start(count_up, &often, 5, &fast, NULL), CYX_OK);
    assert_int_equal(cyx_every_start(count_up, &seldom, 3600000, &slow, NULL), CYX_OK);
    int64_t until_ns = cyx_clock_monotonic_ns() + INT64_C(10000000000);
    while ((atomic_load(&often) < 5 || atomic_load(&seldom) < 1) &&
           cyx_clock_monotonic_ns() < until_ns)
        usleep(1000);
    cyx_every_stop(slow); /* does not wait for its hour */
    cyx_every_stop(fast);
    assert_true(cyx_clock_monotonic_ns() < until_ns);
    assert_int_equal(atomic_load(&seldom), 1);
    int last = atomic_load(&often);
    usleep(20000);
    assert_int_equal(atomic_load(&often), last);
    cyx_every_stop(NULL);
}

static void test_time__round_trips_and_reads_offsets(void **state)
{
    (void)state;
    char text[CYX_TIME_TEXT_BYTES];
    int64_t ms = 0;
    cyx_time_format(1732415100125, text);
    assert_string_equal(text, "2024-11-24T02:25:00.125Z");
    assert_int_equal(cyx_time_parse(text, &ms), CYX_OK);
    assert_int_equal(ms, 1732415100125);
    assert_int_equal(cyx_time_parse("2024-11-24T04:25:00+02:00", &ms), CYX_OK);
    assert_int_equal(ms, 1732415100000);
    assert_int_equal(cyx_time_parse("2024-11-24 04:25", &ms), CYX_ERR_INVALID);
    assert_int_equal(cyx_time_parse("2024-11-24T04:25:00Zjunk", &ms), CYX_ERR_INVALID);
}

static void test_id__is_version_seven_and_ordered(void **state)
{
    (void)state;
    char first[CYX_ID_BYTES], second[CYX_ID_BYTES];
    cyx_id_new(first);
    usleep(2000);
    cyx_id_new(second);
    assert_true(cyx_id_valid(first));
    assert_int_equal(first[14], '7');
    assert_true(strcmp(first, second) < 0);
    assert_false(cyx_id_valid("not-an-id"));
}

static void test_id__rises_within_a_millisecond(void **state)
{
    (void)state;
    char before[CYX_ID_BYTES], id[CYX_ID_BYTES];
    cyx_id_new(before);
    for (int i = 0; i < 20000; i++) { /* more than a millisecond's counter holds */
        cyx_id_new(id);
        assert_true(cyx_id_valid(id));
        assert_true(id[14] == '7' && strchr("89ab", id[19]));
        assert_true(strcmp(before, id) < 0);
        memcpy(before, id, sizeof(before));
    }
}

static void test_hex__refuses_what_is_not_hex(void **state)
{
    (void)state;
    unsigned char raw[2];
    assert_true(cyx_hex_decode("00fF", raw, 2));
    assert_int_equal(raw[1], 0xFF);
    assert_false(cyx_hex_decode("00f", raw, 2));
    assert_false(cyx_hex_decode("00fg", raw, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error__carries_the_place_and_the_sentence),
        cmocka_unit_test(test_status__names_go_both_ways),
        cmocka_unit_test(test_arena__gives_aligned_zeroed_memory_of_any_size),
        cmocka_unit_test(test_buf__json_strings_are_escaped_and_repaired),
        cmocka_unit_test(test_text__keeps_plain_text_and_replaces_the_rest),
        cmocka_unit_test(test_text__copies_what_fits),
        cmocka_unit_test(test_buf__steal_of_empty_is_an_empty_string),
        cmocka_unit_test(test_file__is_written_whole_and_read_within_its_limit),
        cmocka_unit_test(test_file__what_a_killed_writer_left_is_swept),
        cmocka_unit_test(test_every__works_at_once_then_at_intervals_until_it_is_stopped),
        cmocka_unit_test(test_time__round_trips_and_reads_offsets),
        cmocka_unit_test(test_id__is_version_seven_and_ordered),
        cmocka_unit_test(test_id__rises_within_a_millisecond),
        cmocka_unit_test(test_hex__refuses_what_is_not_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
