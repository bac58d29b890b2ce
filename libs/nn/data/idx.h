/*
 * IDX files (the format of MNIST, http://yann.lecun.com/exdb/mnist/): unsigned bytes with up to
 * four dimensions, mapped into memory.
 *
 * Ownership: cyx_idx_finish() unmaps; a zeroed struct is valid and empty. Immutable after opening:
 * any thread.
 *
 *     struct cyx_idx images = {0};
 *     status = cyx_idx_open(path, &images, &err);   // images.data[(n * H + h) * W + w]
 */
#ifndef CYX_NN_DATA_IDX_H
#define CYX_NN_DATA_IDX_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CYX_IDX_RANK_LIMIT = 4 };

struct cyx_idx {
    const uint8_t *data;
    int rank;
    int64_t shape[CYX_IDX_RANK_LIMIT];
    void *map; /* private */
    size_t map_bytes;
};

/* CYX_ERR_CORRUPT when it is not IDX of unsigned bytes or its length is not what its shape needs.
 */
enum cyx_status cyx_idx_open(const char *path, struct cyx_idx *ret_idx,
                             struct cyx_error *ret_error);
void cyx_idx_finish(struct cyx_idx *self);

#endif
