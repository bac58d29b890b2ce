/*
 * A data set's files on this machine: found below `data_dir`, verified by SHA-256 against the
 * catalogue (contract/dataset.h), opened and checked to hold what the catalogue says.
 *
 * Layout: DATA_DIR/<data set>/<file name>. A verified file is noted in DATA_DIR/<data
 * set>/.verified with its size and time of change, so that the next run does not hash it again.
 *
 * Ownership: cyx_data_close() frees all, takes NULL. Immutable after opening: any thread.
 *
 *     struct cyx_data *data = NULL;
 *     status = cyx_data_open(cyx_dataset_find("fashion-mnist"), data_dir, &data, &err);
 */
#ifndef CYX_NN_DATA_DATASET_FILES_H
#define CYX_NN_DATA_DATASET_FILES_H

#include "base/status.h"
#include "contract/dataset.h"
#include "nn/data/idx.h"

struct cyx_data_part {
    struct cyx_idx images; /* (N,H,W) or (N,C,H,W) */
    struct cyx_idx labels; /* (N) */
    int64_t count;
};

struct cyx_data {
    const struct cyx_dataset *dataset;
    struct cyx_data_part train, test;
};

/*
 * CYX_ERR_NOT_FOUND names the missing file and the command that fetches it, CYX_ERR_CORRUPT the
 * file whose bytes are not the catalogue's.
 */
enum cyx_status cyx_data_open(const struct cyx_dataset *dataset, const char *data_dir,
                              struct cyx_data **ret_data, struct cyx_error *ret_error);
void cyx_data_close(struct cyx_data *self);

#endif
