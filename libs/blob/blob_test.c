#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "blob/blob.h"

/* SHA-256 of "abc" (FIPS 180-2, B.1) and of nothing. */
static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct fixture {
    char root[64];
    struct cyx_blob_store *store;
};

static int setup(void **state)
{
    struct fixture *self = calloc(1, sizeof(*self));
    assert_non_null(self);
    snprintf(self->root, sizeof(self->root), "/tmp/cyx-blob-XXXXXX");
    assert_non_null(mkdtemp(self->root));
    struct cyx_blob_options options = {.root = self->root, .max_object_bytes = 1 << 20};
    assert_int_equal(cyx_blob_store_create(&options, &self->store, NULL), CYX_OK);
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *self = *state;
    char command[128];
    cyx_blob_store_destroy(self->store);
    snprintf(command, sizeof(command), "rm -rf '%s'", self->root);
    int rc = system(command);
    free(self);
    return rc;
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(cyx_file_write_atomic(path, text, strlen(text), 0600, NULL), CYX_OK);
}

static void assert_object(struct fixture *f, const char *sha256, const char *text)
{
    struct cyx_arena arena = {0};
    const char *path = NULL;
    CYX_CLEANUP_BUF struct cyx_buf bytes = {0};
    assert_int_equal(cyx_blob_path(f->store, sha256, &arena, &path, NULL), CYX_OK);
    assert_int_equal(cyx_buf_read_file(&bytes, path, 1 << 20, NULL), CYX_OK);
    assert_int_equal(bytes.length, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.length);
    cyx_arena_finish(&arena);
}

static void test_sha256__agrees_with_the_standard(void **state)
{
    (void)state;
    char hex[CYX_SHA256_HEX];
    assert_int_equal(cyx_sha256_bytes("abc", 3, hex), CYX_OK);
    assert_string_equal(hex, abc);
    struct cyx_sha256 *hash = cyx_sha256_create();
    assert_int_equal(cyx_sha256_final(hash, hex), CYX_OK);
    assert_string_equal(hex, empty);
    cyx_sha256_update(hash, "a", 1);
    cyx_sha256_update(hash, "bc", 2);
    cyx_sha256_final(hash, hex);
    assert_string_equal(hex, abc);
    cyx_sha256_destroy(hash);
    assert_true(cyx_sha256_valid(abc));
    assert_false(cyx_sha256_valid("BA"));
    assert_false(cyx_sha256_valid(NULL));
    assert_int_equal(cyx_sha256_file("/nowhere", hex, NULL, NULL), CYX_ERR_NOT_FOUND);
}

static void test_blob__put_bytes_is_there_whole_and_read_only(void **state)
{
    struct fixture *f = *state;
    char hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    struct stat found;
    int fd = -1;
    assert_int_equal(cyx_blob_put_bytes(f->store, "abc", 3, hex, NULL), CYX_OK);
    assert_string_equal(hex, abc);
    assert_int_equal(cyx_blob_put_bytes(f->store, "abc", 3, hex, NULL), CYX_OK); /* again */
    assert_int_equal(cyx_blob_stat(f->store, abc, &size, NULL), CYX_OK);
    assert_int_equal(size, 3);
    assert_object(f, abc, "abc");
    assert_int_equal(cyx_blob_open(f->store, abc, &fd, &size, NULL), CYX_OK);
    assert_int_equal(fstat(fd, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0400);
    close(fd);
    assert_int_equal(cyx_blob_sweep(f->store, 0), 0); /* no temporary was left */
    assert_int_equal(cyx_blob_remove(f->store, abc, NULL), CYX_OK);
    assert_int_equal(cyx_blob_remove(f->store, abc, NULL), CYX_OK);
    assert_int_equal(cyx_blob_stat(f->store, abc, &size, NULL), CYX_ERR_NOT_FOUND);
}

static void test_blob__upload_goes_on_where_it_stopped(void **state)
{
    struct fixture *f = *state;
    struct cyx_blob_writer *writer = NULL;
    struct cyx_error error = {0};
    uint64_t offset = 99, size = 0;
    assert_int_equal(cyx_blob_offset(f->store, abc, &offset, NULL), CYX_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, 3, &writer, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "a", 1, NULL), CYX_OK);
    assert_int_equal(cyx_blob_commit(writer, &size, &error), CYX_ERR_INVALID); /* 1 of 3 */
    cyx_blob_writer_destroy(writer);
    assert_int_equal(cyx_blob_offset(f->store, abc, &offset, NULL), CYX_OK);
    assert_int_equal(offset, 1);
    assert_int_equal(cyx_blob_begin(f->store, abc, 2, 3, &writer, &error), CYX_ERR_CONFLICT);
    assert_non_null(strstr(error.message, "at byte 1"));
    assert_int_equal(cyx_blob_begin(f->store, abc, 1, 3, &writer, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "bc", 2, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "d", 1, NULL), CYX_ERR_TOO_LARGE);
    assert_int_equal(cyx_blob_written(writer), 3);
    assert_int_equal(cyx_blob_commit(writer, &size, NULL), CYX_OK);
    cyx_blob_writer_destroy(writer);
    assert_int_equal(size, 3);
    assert_object(f, abc, "abc");
    assert_int_equal(cyx_blob_offset(f->store, abc, &offset, NULL), CYX_OK);
    assert_int_equal(offset, 3);
}

static void test_blob__wrong_bytes_are_corrupt_and_removed(void **state)
{
    struct fixture *f = *state;
    struct cyx_blob_writer *writer = NULL;
    uint64_t offset = 9;
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, UINT64_MAX, &writer, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "abd", 3, NULL), CYX_OK);
    assert_int_equal(cyx_blob_commit(writer, NULL, NULL), CYX_ERR_CORRUPT);
    cyx_blob_writer_destroy(writer);
    assert_int_equal(cyx_blob_stat(f->store, abc, NULL, NULL), CYX_ERR_NOT_FOUND);
    assert_int_equal(cyx_blob_offset(f->store, abc, &offset, NULL), CYX_OK);
    assert_int_equal(offset, 0);
}

static void test_blob__a_part_torn_by_a_crash_is_found_at_commit(void **state)
{
    struct fixture *f = *state;
    struct cyx_blob_writer *writer = NULL;
    char path[160];
    snprintf(path, sizeof(path), "%s/partial/%s", f->root, abc);
    write_file(path, "x"); /* as a file system may leave it */
    assert_int_equal(cyx_blob_begin(f->store, abc, 1, 3, &writer, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "bc", 2, NULL), CYX_OK);
    assert_int_equal(cyx_blob_commit(writer, NULL, NULL), CYX_ERR_CORRUPT);
    cyx_blob_writer_destroy(writer);
}

static void test_blob__only_one_writer_has_an_upload(void **state)
{
    struct fixture *f = *state;
    struct cyx_blob_writer *first = NULL, *second = NULL;
    char hex[CYX_SHA256_HEX];
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, 3, &first, NULL), CYX_OK);
    cyx_blob_append(first, "a", 1, NULL);
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, 3, &second, NULL), CYX_ERR_CONFLICT);
    assert_int_equal(cyx_blob_sweep(f->store, -10), 0); /* not while it is held */
    /* A whole put of the same object does not wait for it, nor harm it. */
    assert_int_equal(cyx_blob_put_bytes(f->store, "abc", 3, hex, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(first, "bc", 2, NULL), CYX_OK);
    assert_int_equal(cyx_blob_commit(first, NULL, NULL), CYX_OK);
    cyx_blob_writer_destroy(first);
    assert_object(f, abc, "abc");
    /* An object that is there takes a put at once, and still tells wrong bytes. */
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, 3, &second, NULL), CYX_OK);
    cyx_blob_append(second, "abd", 3, NULL);
    assert_int_equal(cyx_blob_commit(second, NULL, NULL), CYX_ERR_CORRUPT);
    cyx_blob_writer_destroy(second);
    assert_object(f, abc, "abc");
}

static void test_blob__limits_and_names_are_checked(void **state)
{
    struct fixture *f = *state;
    struct cyx_blob_writer *writer = NULL;
    uint64_t size = 0;
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, (1 << 20) + 1, &writer, NULL),
                     CYX_ERR_TOO_LARGE);
    assert_int_equal(cyx_blob_begin(f->store, abc, 4, 3, &writer, NULL), CYX_ERR_INVALID);
    assert_int_equal(cyx_blob_stat(f->store, "../../etc/passwd", &size, NULL), CYX_ERR_INVALID);
    assert_int_equal(cyx_blob_begin(f->store, abc, 0, UINT64_MAX, &writer, NULL), CYX_OK);
    char *much = calloc(1, 1 << 20);
    assert_int_equal(cyx_blob_append(writer, much, 1 << 20, NULL), CYX_OK);
    assert_int_equal(cyx_blob_append(writer, "x", 1, NULL), CYX_ERR_TOO_LARGE);
    free(much);
    cyx_blob_writer_destroy(writer);
    assert_int_equal(cyx_blob_sweep(f->store, 3600), 0);
    assert_int_equal(cyx_blob_sweep(f->store, -10), 1);
}

static void test_blob__linked_file_counts_while_it_is_unchanged(void **state)
{
    struct fixture *f = *state;
    char path[128], hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "%s/data set", f->root);
    write_file(path, "abc");
    assert_int_equal(cyx_blob_link(f->store, path, hex, &size, NULL), CYX_OK);
    assert_string_equal(hex, abc);
    assert_int_equal(size, 3);
    assert_object(f, abc, "abc");
    assert_int_equal(cyx_blob_link(f->store, path, hex, &size, NULL), CYX_OK);
    write_file(path, "abcd");
    assert_int_equal(cyx_blob_stat(f->store, abc, NULL, NULL), CYX_ERR_NOT_FOUND);
    /* An upload takes the stale link's place and leaves the file alone. */
    assert_int_equal(cyx_blob_put_bytes(f->store, "abc", 3, hex, NULL), CYX_OK);
    assert_object(f, abc, "abc");
    assert_int_equal(cyx_blob_remove(f->store, abc, NULL), CYX_OK);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(cyx_blob_link(f->store, path, hex, &size, NULL), CYX_ERR_NOT_FOUND);
}

static void test_blob__put_file_copies(void **state)
{
    struct fixture *f = *state;
    char path[128], hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "%s/in", f->root);
    write_file(path, "");
    assert_int_equal(cyx_blob_put_file(f->store, path, hex, &size, NULL), CYX_OK);
    assert_string_equal(hex, empty);
    assert_int_equal(size, 0);
    assert_object(f, empty, "");
}

struct racer {
    struct cyx_blob_store *store;
    const char *bytes;
    size_t length;
    int failed;
};

static void *race(void *arg)
{
    struct racer *self = arg;
    char hex[CYX_SHA256_HEX];
    for (int i = 0; i < 20; i++)
        self->failed +=
            cyx_blob_put_bytes(self->store, self->bytes, self->length, hex, NULL) != CYX_OK ||
            cyx_blob_stat(self->store, hex, NULL, NULL) != CYX_OK;
    return NULL;
}

static void test_blob__many_put_the_same_at_once(void **state)
{
    struct fixture *f = *state;
    size_t length = 300000;
    char *bytes = malloc(length);
    memset(bytes, 'q', length);
    struct racer racers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){f->store, bytes, length, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(racers[i].failed, 0);
    }
    free(bytes);
    assert_int_equal(cyx_blob_sweep(f->store, -10), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sha256__agrees_with_the_standard),
        T(test_blob__put_bytes_is_there_whole_and_read_only),
        T(test_blob__upload_goes_on_where_it_stopped),
        T(test_blob__wrong_bytes_are_corrupt_and_removed),
        T(test_blob__a_part_torn_by_a_crash_is_found_at_commit),
        T(test_blob__only_one_writer_has_an_upload),
        T(test_blob__limits_and_names_are_checked),
        T(test_blob__linked_file_counts_while_it_is_unchanged),
        T(test_blob__put_file_copies),
        T(test_blob__many_put_the_same_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
