#include "nn/data/idx.h"

#include <stdbool.h>

#include "base/banned.h"

enum { IDX_UNSIGNED_BYTE = 0x08 };

/* Reads the header at `bytes`; false when the file is not what an IDX of that length must be. */
static bool parse(const uint8_t *bytes, size_t length, struct cyx_idx *self)
{
    if (length < 8 || bytes[0] != 0 || bytes[1] != 0 || bytes[2] != IDX_UNSIGNED_BYTE)
        return false;
    int rank = bytes[3];
    size_t header = 4 + 4 * (size_t)rank;
    if (rank < 1 || rank > CYX_IDX_RANK_LIMIT || length < header)
        return false;
    uint64_t count = 1;
    for (int i = 0; i < rank; i++) {
        const uint8_t *d = bytes + 4 + 4 * (size_t)i;
        self->shape[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | d[3];
        if (__builtin_mul_overflow(count, (uint64_t)self->shape[i], &count))
            return false;
    }
    self->rank = rank;
    self->data = bytes + header;
    return count == length - header;
}

enum cyx_status cyx_idx_parse(const char *path, const uint8_t *bytes, size_t length,
                              struct cyx_idx *ret_idx, struct cyx_error *ret_error)
{
    struct cyx_idx made = {0};
    if (!parse(bytes, length, &made))
        return cyx_error_set(
            ret_error, CYX_ERR_CORRUPT, "/data/dataset",
            "%s: not an IDX file of unsigned bytes, or not as long as its header says", path);
    *ret_idx = made;
    return CYX_OK;
}
