#include "nn/data/idx.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

static enum cyx_status open_fd(int fd, const char *path, struct cyx_idx *ret_idx,
                               struct cyx_error *ret_error)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return cyx_error_errno(ret_error, "cannot read %s", path);
    size_t length = S_ISREG(info.st_mode) && info.st_size > 0 ? (size_t)info.st_size : 0;
    struct cyx_idx made = {.map_bytes = length};
    if (length) {
        made.map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
        if (made.map == MAP_FAILED)
            return cyx_error_errno(ret_error, "cannot map %s", path);
    }
    if (!parse(made.map, length, &made)) {
        cyx_idx_finish(&made);
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "%s: not an IDX file of unsigned bytes, or cut short", path);
    }
    *ret_idx = made;
    return CYX_OK;
}

enum cyx_status cyx_idx_open(const char *path, struct cyx_idx *ret_idx, struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot open %s", path);
    enum cyx_status status = open_fd(fd, path, ret_idx, ret_error);
    close(fd);
    return status;
}

void cyx_idx_finish(struct cyx_idx *self)
{
    if (self->map)
        munmap(self->map, self->map_bytes);
    *self = (struct cyx_idx){0};
}
