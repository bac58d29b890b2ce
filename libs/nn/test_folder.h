/* Test support: a folder of the test's own below /tmp. Include cmocka.h before it. */
#ifndef CYX_NN_TEST_FOLDER_H
#define CYX_NN_TEST_FOLDER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[64];

/* Makes it: /tmp/cyx-WHAT-XXXXXX. */
static inline bool folder_make(const char *what)
{
    snprintf(folder, sizeof folder, "/tmp/cyx-%s-XXXXXX", what);
    return mkdtemp(folder) != NULL;
}

/* Removes it with all that is in it. */
static inline bool folder_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0; // NOLINT: a test's own folder
}

/* A path in it; the last four given stay valid. */
static inline const char *path_of(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

#endif
