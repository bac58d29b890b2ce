/*
 * An opened data set: its rows as they lie in files or in memory, what a row is, and what its targets are.
 *
 * Three ways in: cyx_data_open() by a spec (the catalogue's sets below `data_dir`, or files and folders on this
 * machine, see struct cyx_source_spec), cyx_data_open_dataset() for one set of the catalogue, and
 * cyx_data_from_arrays() for arrays that the caller has (Python).
 *
 * Shape and classes are found by reading: cyx_data_resolve() fills spec->data.sample, without which
 * model/graph.h cannot build a graph for data on this machine. The trainer does the same for itself.
 *
 * What cannot be read (a broken image, a row of a CSV file with a hole) is left out, named and counted
 * (cyx_data_faults_count and cyx_data_faults_text); only when nothing is left, or a whole array is not what it
 * claims, opening fails. Hostile files are expected: sizes are judged before memory is taken.
 *
 * Ownership: cyx_data_close() frees all, takes NULL; arrays given by pointer are borrowed until then.
 * Thread rule: rows are immutable after opening, any thread; faults may be added by any thread.
 *
 *     struct cyx_data *data = NULL;
 *     status = cyx_data_open(&spec->data, &(struct cyx_data_options){.base_dir = folder}, &data, &err);
 */
#ifndef CYX_NN_DATA_DATA_H
#define CYX_NN_DATA_DATA_H

#include <stdatomic.h>

#include "base/status.h"
#include "contract/dataset.h"
#include "contract/job_spec.h"

/* Rows of a part are counted in 32 bits. */
#define CYX_ROWS_LIMIT INT64_C(4294967294)

struct cyx_data_options {
    const char *data_dir; /* where the catalogue's sets lie */
    const char *base_dir; /* where relative paths of a spec begin; NULL: the working directory */
};

struct cyx_image_file {
    const char *path;
    int32_t width, height;
};

enum cyx_rows_kind {
    CYX_ROWS_BYTES,  /* images of bytes, one behind the other */
    CYX_ROWS_FLOATS, /* rows of floats, one behind the other */
    CYX_ROWS_FILES,  /* an image file each */
};

struct cyx_data_part {
    int64_t count; /* 0: there is no such part */
    enum cyx_rows_kind kind;
    union {
        const uint8_t *bytes;
        const float *floats;
        const struct cyx_image_file *files;
    };
    const int32_t *labels; /* CLASSES: (count) */
    const float *numbers;  /* NUMBERS: (count, n_targets), NULL without targets */
    atomic_uchar *broken;  /* FILES: rows that could not be decoded, once found */
};

/* A row before any transform. */
struct cyx_row_shape {
    int rank;       /* 1 (F), 2 (C,L) or 3 (C,H,W) */
    int64_t dim[3]; /* height and width 0: images of several sizes */
    bool channels_last;
};

struct cyx_data {
    const char *name; /* the catalogue's, or the training part's path */
    enum cyx_source_format format;
    struct cyx_row_shape row;
    struct cyx_data_part train, test;
    enum cyx_target_kind target;
    int64_t n_classes, n_targets;
    const char *const *class_names; /* NULL: they have none */
    char fingerprint[65]; /* hexadecimal; tells these files from others, by their sizes and bytes */
    struct cyx_data_memory *memory; /* private */
};

/*
 * CYX_ERR_NOT_FOUND names the missing file (and the command that fetches a catalogue's set), CYX_ERR_CORRUPT
 * the file that is not what it should be, CYX_ERR_INVALID what does not go together.
 */
enum cyx_status cyx_data_open(const struct cyx_data_spec *spec,
                              const struct cyx_data_options *options, struct cyx_data **ret_data,
                              struct cyx_error *ret_error);

/* A set of the catalogue: found below `data_dir`, verified by SHA-256. */
enum cyx_status cyx_data_open_dataset(const struct cyx_dataset *dataset, const char *data_dir,
                                      struct cyx_data **ret_data, struct cyx_error *ret_error);

/* Arrays of the caller, row-major. Inputs are bytes (images of 1 to 4 channels) or floats, never both. */
struct cyx_data_arrays {
    int64_t count;
    int rank;           /* of one row: 1 (F), 2 (C,L) or 3 (C,H,W); bytes: 3 */
    int64_t shape[3];   /* of one row */
    bool channels_last; /* rank 3: rows lie as (H,W,C); shape is (C,H,W) all the same */
    const uint8_t *bytes;
    const float *floats;
    const int32_t *labels; /* (count) classes from 0, or NULL */
    const float *numbers;  /* (count, n_targets), or NULL */
    int64_t n_classes;     /* 0: the largest label of the training part + 1 */
    int64_t n_targets;
};

/* `test` may be NULL. */
enum cyx_status cyx_data_from_arrays(const struct cyx_data_arrays *train,
                                     const struct cyx_data_arrays *test, struct cyx_data **ret_data,
                                     struct cyx_error *ret_error);

void cyx_data_close(struct cyx_data *self);

/* What the model gets of `data` after the spec's transforms; CYX_ERR_INVALID where they do not fit together. */
enum cyx_status cyx_data_sample(const struct cyx_data *self, const struct cyx_data_spec *spec,
                                struct cyx_sample_shape *ret_sample, struct cyx_error *ret_error);

/* Opens the spec's data for as long as it takes to fill spec->data.sample. */
enum cyx_status cyx_data_resolve(struct cyx_job_spec *spec, const struct cyx_data_options *options,
                                 struct cyx_error *ret_error);

/* How many files or rows were left out so far. */
int64_t cyx_data_faults_count(const struct cyx_data *self);

enum { CYX_FAULT_BYTES = 320, CYX_FAULTS_KEPT = 100 };

/* The i-th of them in the order found, "" beyond those that were kept: "cat/3.png: not a PNG or JPEG file". */
void cyx_data_fault(const struct cyx_data *self, size_t index, char ret_text[CYX_FAULT_BYTES]);

/* "12 of 5000 files could not be read; first: …", "" when there are none. */
void cyx_data_faults_text(const struct cyx_data *self, char ret_text[2 * CYX_FAULT_BYTES]);

#endif
