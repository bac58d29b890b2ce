#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob/sha256.h"
#include "cache.h"

#include "base/banned.h"

struct world {
    char root[64], folder[96];
    struct cache *cache;
};

static int set_up(void **state)
{
    static struct world world;
    snprintf(world.root, sizeof(world.root), "/tmp/cyx cache XXXXXX");
    if (!mkdtemp(world.root))
        return -1;
    snprintf(world.folder, sizeof(world.folder), "%s/artifacts", world.root);
    *state = &world;
    return cache_create(world.folder, 3000, &world.cache, NULL) == CYX_OK ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    struct world *world = *state;
    cache_destroy(world->cache);
    return nftw(world->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void fill(const char *path, char letter, size_t bytes)
{
    char block[2000];
    memset(block, letter, sizeof(block));
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0 && bytes <= sizeof(block));
    assert_int_equal(write(file, block, bytes), bytes);
    close(file);
}

/* A file of `bytes` letters goes into the cache; its hash comes back. */
static void keep(struct world *world, char letter, size_t bytes, char ret_sha256[CYX_SHA256_HEX])
{
    char path[128];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "%s/made", world->root);
    fill(path, letter, bytes);
    assert_int_equal(cyx_sha256_file(path, ret_sha256, &size, NULL), CYX_OK);
    cache_add(world->cache, ret_sha256, path);
    unlink(path);
}

static bool used(struct world *world, const char *sha256)
{
    char path[128], hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "%s/used", world->root);
    if (!cache_link(world->cache, sha256, false, path))
        return false;
    assert_int_equal(cyx_sha256_file(path, hex, &size, NULL), CYX_OK);
    assert_string_equal(hex, sha256);
    return true;
}

static void test_cache__what_was_used_longest_ago_goes_first(void **state)
{
    struct world *world = *state;
    char one[CYX_SHA256_HEX], two[CYX_SHA256_HEX], three[CYX_SHA256_HEX], four[CYX_SHA256_HEX];
    keep(world, '1', 1000, one);
    keep(world, '2', 1000, two);
    keep(world, '3', 1000, three);
    assert_true(used(world, one)); /* 3000 bytes: the limit holds */
    keep(world, '4', 1000, four);
    assert_false(used(world, two));
    assert_true(used(world, one));
    assert_true(used(world, three));
    assert_true(used(world, four));
}

static void test_cache__what_goes_stays_for_who_uses_it(void **state)
{
    struct world *world = *state;
    char one[CYX_SHA256_HEX], two[CYX_SHA256_HEX], path[128], hex[CYX_SHA256_HEX];
    uint64_t size = 0;
    snprintf(path, sizeof(path), "%s/mine", world->root);
    keep(world, '1', 2000, one);
    assert_true(cache_link(world->cache, one, false, path));
    keep(world, '2', 2000, two);
    assert_false(used(world, one));
    assert_int_equal(cyx_sha256_file(path, hex, &size, NULL), CYX_OK);
    assert_string_equal(hex, one);
}

static void test_cache__bytes_that_changed_are_found_out(void **state)
{
    struct world *world = *state;
    char one[CYX_SHA256_HEX], path[CACHE_PATH_BYTES];
    keep(world, '1', 1000, one);
    cache_path(world->cache, one, path);
    fill(path, 'x', 1000);
    assert_false(used(world, one));
    assert_int_not_equal(access(path, F_OK), 0); /* to be fetched anew */
}

static void test_cache__parts_count_and_are_not_taken_while_they_are_filled(void **state)
{
    struct world *world = *state;
    char one[CYX_SHA256_HEX], two[CYX_SHA256_HEX], path[CACHE_PATH_BYTES],
        part[CACHE_PATH_BYTES + 8];
    memset(one, 'a', sizeof(one));
    one[CYX_SHA256_HEX - 1] = '\0';
    cache_path(world->cache, one, path);
    snprintf(part, sizeof(part), "%s.part", path);
    fill(part, 'p', 2000);
    assert_int_equal(cache_take(world->cache, one, NULL, NULL), CYX_OK);
    keep(world, '2', 2000, two);
    assert_int_equal(access(part, F_OK), 0); /* the newer one went instead: it was nobody's */
    cache_give(world->cache, one);
    keep(world, '2', 2000, two);
    assert_int_not_equal(access(part, F_OK), 0);
    assert_true(used(world, two));
}

static enum cyx_status give_up(void *ctx)
{
    atomic_int *beats = ctx;
    return atomic_fetch_add(beats, 1) < 3 ? CYX_OK : CYX_ERR_CANCELLED;
}

static void test_cache__one_at_a_time_has_a_hash(void **state)
{
    struct world *world = *state;
    atomic_int beats = 0;
    assert_int_equal(cache_take(world->cache, "aa", NULL, NULL), CYX_OK);
    assert_int_equal(cache_take(world->cache, "bb", NULL, NULL), CYX_OK);
    assert_int_equal(cache_take(world->cache, "aa", give_up, &beats), CYX_ERR_CANCELLED);
    assert_int_equal(atomic_load(&beats), 4);
    cache_give(world->cache, "aa");
    assert_int_equal(cache_take(world->cache, "aa", give_up, &beats), CYX_OK);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_cache__what_was_used_longest_ago_goes_first),
        T(test_cache__what_goes_stays_for_who_uses_it),
        T(test_cache__bytes_that_changed_are_found_out),
        T(test_cache__parts_count_and_are_not_taken_while_they_are_filled),
        T(test_cache__one_at_a_time_has_a_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
