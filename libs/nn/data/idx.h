/*
 * IDX files (the format of MNIST, http://yann.lecun.com/exdb/mnist/): unsigned bytes with up to
 * four dimensions.
 *
 * Ownership: the bytes stay the caller's; `data` points into them. Plain value: any thread.
 *
 *     struct cyx_idx images;
 *     status = cyx_idx_parse(path, bytes, length, &images, &err); // images.data[(n * H + h) * W + w]
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
};

/* CYX_ERR_CORRUPT, with `path` in the sentence, when the bytes are not IDX of unsigned bytes or not as many
 * as the shape needs. */
enum cyx_status cyx_idx_parse(const char *path, const uint8_t *bytes, size_t length,
                              struct cyx_idx *ret_idx, struct cyx_error *ret_error);

#endif
