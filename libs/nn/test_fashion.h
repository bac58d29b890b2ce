/* Test support: Debian's dataset-fashion-mnist unpacked below a folder, as `cyxwiz data fetch` would. */
#ifndef CYX_NN_TEST_FASHION_H
#define CYX_NN_TEST_FASHION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FASHION_PACKAGE "/usr/share/datasets/fashion-mnist"

/* Makes DATA_DIR and DATA_DIR/fashion-mnist with its four files. */
static inline bool fashion_unpack(const char *data_dir)
{
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    char command[1024];
    snprintf(command, sizeof command, "%s/fashion-mnist", data_dir);
    if (mkdir(data_dir, 0755) != 0 || mkdir(command, 0755) != 0)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(command, sizeof command, "gzip -dc %s/%s.gz > '%s/fashion-mnist/%s'",
                 FASHION_PACKAGE, names[i], data_dir, names[i]);
        if (system(command) != 0)
            return false;
    }
    return true;
}

#endif
