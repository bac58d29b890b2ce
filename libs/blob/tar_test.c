/* Tar archives: what is packed comes back, with the same bytes each time; what is hostile is kept out. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "blob/sha256.h"
#include "blob/tar.h"
#include "blob/tar_header.h"

static const struct cyx_tar_limits wide = {.bytes = 1 << 30, .entries = 1000};

struct place {
    char root[64], from[80], to[80], archive[80];
};

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int open_place(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    snprintf(place->root, sizeof(place->root), "/tmp/cyx_tar_XXXXXX");
    if (!place || !mkdtemp(place->root))
        return -1;
    snprintf(place->from, sizeof(place->from), "%s/from", place->root);
    snprintf(place->to, sizeof(place->to), "%s/to", place->root);
    snprintf(place->archive, sizeof(place->archive), "%s/archive", place->root);
    *state = place;
    return mkdir(place->from, 0700) || mkdir(place->to, 0700);
}

static int close_place(void **state)
{
    struct place *place = *state;
    nftw(place->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(place);
    return 0;
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_file(const char *folder, const char *name, const char *text)
{
    char path[4096];
    CYX_CLEANUP_BUF struct cyx_buf got = {0};
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(cyx_buf_read_file(&got, path, 1 << 20, NULL), CYX_OK);
    assert_int_equal(got.length, strlen(text));
    assert_memory_equal(got.data, text, got.length);
}

static void test_tar__what_is_packed_comes_back(void **state)
{
    const struct place *place = *state;
    char deep[400] = "";
    for (int i = 0; i < 12; i++)
        snprintf(deep + strlen(deep), sizeof(deep) - strlen(deep), "a-rather-long-name-%d/", i);
    snprintf(deep + strlen(deep), sizeof(deep) - strlen(deep), "größe.txt");
    write_file(place->from, "b/two.csv", "1,2\n");
    write_file(place->from, "a.csv", "");
    write_file(place->from, deep, "deep");
    write_file(place->from, ".git/config", "hidden");
    write_file(place->from, "b/.DS_Store", "hidden");
    char link[200], other[100];
    snprintf(link, sizeof(link), "%s/c.csv", place->from);
    assert_int_equal(symlink("b/two.csv", link), 0);
    assert_int_equal(cyx_tar_pack(place->from, place->archive, NULL), CYX_OK);
    assert_true(cyx_tar_is_archive(place->archive));
    assert_int_equal(cyx_tar_unpack(place->archive, place->to, &wide, NULL), CYX_OK);
    assert_file(place->to, "a.csv", "");
    assert_file(place->to, "b/two.csv", "1,2\n");
    assert_file(place->to, "c.csv", "1,2\n");
    assert_file(place->to, deep, "deep");
    snprintf(link, sizeof(link), "%s/.git", place->to);
    assert_int_equal(access(link, F_OK), -1);
    snprintf(link, sizeof(link), "%s/b/.DS_Store", place->to);
    assert_int_equal(access(link, F_OK), -1);

    /* The same bytes of the same files, whatever their times and where they lie. */
    char first[CYX_SHA256_HEX], second[CYX_SHA256_HEX];
    snprintf(other, sizeof(other), "%s/", place->to);
    assert_int_equal(cyx_sha256_file(place->archive, first, NULL, NULL), CYX_OK);
    assert_int_equal(cyx_tar_pack(other, place->archive, NULL), CYX_OK);
    assert_int_equal(cyx_sha256_file(place->archive, second, NULL, NULL), CYX_OK);
    assert_string_equal(first, second);
}

static void test_tar__a_folder_without_files_is_no_data_set(void **state)
{
    const struct place *place = *state;
    struct cyx_error err = {0};
    write_file(place->from, ".hidden", "x");
    assert_int_equal(cyx_tar_pack(place->from, place->archive, &err), CYX_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, place->from));
    char link[200];
    snprintf(link, sizeof(link), "%s/again", place->from);
    assert_int_equal(symlink(".", link), 0);
    assert_int_equal(cyx_tar_pack(place->from, place->archive, &err), CYX_ERR_INVALID);
}

/* ---- archives of others ---- */

struct made {
    char bytes[64 * 1024];
    size_t length;
};

static void number(char *field, size_t size, unsigned long value)
{
    char text[24];
    snprintf(text, sizeof(text), "%0*lo", (int)size - 1, value);
    memcpy(field, text, size);
}

static struct tar_header *add_header(struct made *made, const char *name, char type, size_t bytes)
{
    struct tar_header *header = (void *)(made->bytes + made->length);
    made->length += sizeof(*header);
    assert_true(made->length < sizeof(made->bytes));
    memset(header, 0, sizeof(*header));
    memcpy(header->name, name, strlen(name));
    number(header->size, sizeof(header->size), bytes);
    memcpy(header->magic, "ustar", 6);
    header->type = type;
    number(header->checksum, sizeof(header->checksum), tar_checksum(header));
    return header;
}

static void add(struct made *made, const char *name, char type, const char *text)
{
    add_header(made, name, type, strlen(text));
    memcpy(made->bytes + made->length, text, strlen(text));
    made->length += (strlen(text) + TAR_BLOCK_BYTES - 1) / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
    assert_true(made->length + TAR_BLOCK_BYTES < sizeof(made->bytes));
}

static enum cyx_status unpack(const struct place *place, const struct made *made, bool packed,
                              const struct cyx_tar_limits *limits, struct cyx_error *err)
{
    gzFile file = gzopen(place->archive, packed ? "wb9" : "wbT");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, made->bytes, (unsigned)made->length), made->length);
    assert_int_equal(gzclose(file), Z_OK);
    return cyx_tar_unpack(place->archive, place->to, limits, err);
}

static void test_tar__archives_of_other_programs_are_read(void **state)
{
    const struct place *place = *state;
    struct made *made = calloc(1, sizeof(*made));
    add(made, "pax_global_header", TAR_PAX_GLOBAL, "20 comment=whatever\n");
    add(made, "././@LongLink", TAR_GNU_NAME, "./folder//of a long name");
    add(made, "./folder/of a lo", TAR_FILE, "gnu");
    add(made, "x", TAR_PAX, "18 path=d/pax.txt\n");
    add(made, "short", TAR_OLD_FILE, "pax");
    add(made, "./", TAR_FOLDER, "");
    add(made, "e/", TAR_FOLDER, "");
    struct tar_header *header = add_header(made, "name", TAR_FILE, 0);
    memcpy(header->prefix, "of/ustar", 8);
    number(header->checksum, sizeof(header->checksum), tar_checksum(header));
    made->length += 2 * TAR_BLOCK_BYTES; /* the end */
    memset(made->bytes + made->length, 'x', 100);
    made->length += 100; /* and what lies behind it */
    struct cyx_error err = {0};
    if (unpack(place, made, true, &wide, &err) != CYX_OK)
        fail_msg("%s", err.message);
    assert_true(cyx_tar_is_archive(place->archive));
    assert_file(place->to, "folder/of a long name", "gnu");
    assert_file(place->to, "d/pax.txt", "pax");
    assert_file(place->to, "of/ustar/name", "");
    char path[100];
    struct stat info;
    snprintf(path, sizeof(path), "%s/e", place->to);
    assert_true(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    free(made);
}

static void test_tar__what_would_leave_the_folder_is_refused(void **state)
{
    const struct place *place = *state;
    static const struct {
        const char *name;
        char type;
        const char *text, *words;
    } hostile[] = {
        {"../x", TAR_FILE, "out", "would leave its folder"},
        {"/tmp/cyx_tar_out", TAR_FILE, "out", "would leave its folder"},
        {"a/../../x", TAR_FILE, "out", "would leave its folder"},
        {"a/..", TAR_FOLDER, "", "would leave its folder"},
        {"link", '2', "", "is a link or a device"},
        {"hard", '1', "", "is a link or a device"},
        {"pipe", '6', "", "is a link or a device"},
        {"null", '3', "", "is a link or a device"},
        {"sparse", 'S', "", "is a link or a device"},
        {"x\x1b[31m", TAR_FILE, "", "not plain UTF-8 text"},
        {"pax", TAR_PAX, "25 GNU.sparse.major=1xyz\n", "sparse"},
    };
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        struct made *made = calloc(1, sizeof(*made));
        struct cyx_error err = {0};
        add(made, hostile[i].name, hostile[i].type, hostile[i].text);
        made->length += 2 * TAR_BLOCK_BYTES;
        assert_int_equal(unpack(place, made, false, &wide, &err), CYX_ERR_DENIED);
        if (!strstr(err.message, hostile[i].words))
            fail_msg("%zu: %s", i, err.message);
        free(made);
    }
    assert_int_equal(access("/tmp/cyx_tar_out", F_OK), -1);
    struct made *made = calloc(1, sizeof(*made));
    struct cyx_error err = {0};
    add(made, "twice", TAR_FILE, "1");
    add(made, "./twice", TAR_FILE, "2");
    assert_int_equal(unpack(place, made, false, &wide, &err), CYX_ERR_DENIED);
    assert_string_equal(err.message, "the archive holds twice twice");
    assert_file(place->to, "twice", "1");
    free(made);
}

static void test_tar__a_file_is_no_folder_of_another(void **state)
{
    const struct place *place = *state;
    struct made *made = calloc(1, sizeof(*made));
    struct cyx_error err = {0};
    add(made, "a", TAR_FILE, "1");
    add(made, "a/b", TAR_FILE, "2");
    assert_int_not_equal(unpack(place, made, false, &wide, &err), CYX_OK);
    assert_file(place->to, "a", "1");
    free(made);
}

static void test_tar__a_bomb_ends_at_the_limits(void **state)
{
    const struct place *place = *state;
    struct cyx_error err = {0};
    gzFile file = gzopen(place->archive, "wb9"); /* 64 MiB of zeros in 64 KiB */
    struct made *made = calloc(1, sizeof(*made));
    add_header(made, "zeros", TAR_FILE, 64 << 20);
    gzwrite(file, made->bytes, TAR_BLOCK_BYTES);
    memset(made->bytes, 0, sizeof(made->bytes));
    for (int i = 0; i < 1024; i++)
        gzwrite(file, made->bytes, sizeof(made->bytes));
    gzclose(file);
    struct stat info;
    assert_true(stat(place->archive, &info) == 0 && info.st_size < 200000);
    const struct cyx_tar_limits small = {.bytes = 1 << 20, .entries = 10};
    assert_int_equal(cyx_tar_unpack(place->archive, place->to, &small, &err), CYX_ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "1048576 bytes"));
    char path[100];
    snprintf(path, sizeof(path), "%s/zeros", place->to);
    assert_int_equal(access(path, F_OK),
                     -1); /* refused by what it says, before a byte is written */

    for (int i = 0; i < 11; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        made->length = i ? made->length : 0;
        add(made, name, TAR_FOLDER, "");
    }
    assert_int_equal(unpack(place, made, true, &small, &err), CYX_ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "more than 10 files"));
    free(made);
}

static void test_tar__what_is_none_is_said_so(void **state)
{
    const struct place *place = *state;
    struct made *made = calloc(1, sizeof(*made));
    struct cyx_error err = {0};
    add(made, "a", TAR_FILE, "some text");
    size_t whole = made->length;
    made->length = whole - 100;
    assert_int_equal(unpack(place, made, false, &wide, &err), CYX_ERR_CORRUPT);
    assert_non_null(strstr(err.message, "breaks off"));
    assert_int_equal(truncate(place->archive, 0), 0);
    assert_false(cyx_tar_is_archive(place->archive));
    made->length = whole;
    made->bytes[0] ^= 1;
    assert_int_equal(unpack(place, made, false, &wide, &err), CYX_ERR_CORRUPT);
    assert_non_null(strstr(err.message, "checksum"));
    assert_false(cyx_tar_is_archive(place->archive));
    assert_int_equal(unpack(place, made, true, &wide, &err), CYX_ERR_CORRUPT);
    assert_int_equal(truncate(place->archive, 40), 0);
    assert_int_equal(cyx_tar_unpack(place->archive, place->to, &wide, &err), CYX_ERR_CORRUPT);
    free(made);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tar__what_is_packed_comes_back),
        TEST(test_tar__a_folder_without_files_is_no_data_set),
        TEST(test_tar__archives_of_other_programs_are_read),
        TEST(test_tar__what_would_leave_the_folder_is_refused),
        TEST(test_tar__a_file_is_no_folder_of_another),
        TEST(test_tar__a_bomb_ends_at_the_limits),
        TEST(test_tar__what_is_none_is_said_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
