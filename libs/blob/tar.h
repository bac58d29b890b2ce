/*
 * Folders as one file: the tar archives in which data sets are uploaded, and unpacking them where nobody vouches for
 * what they hold.
 *
 * Packing (ustar, pax headers for long names) gives the same bytes for the same files: names sorted, no times, no
 * owners, so that a broken upload goes on though the archive was made anew. Hidden files are left out; links are followed.
 *
 * Unpacking takes archives of others too: ustar, pax, GNU's long names, all of it gzip'ed or not. Only plain files and
 * folders; names that would leave the folder, links, devices, two files of a name, and more bytes or entries than the
 * limits are refused, with the entry's name. Bytes are counted as they come out, so that a small archive cannot fill a disk.
 *
 * Nothing to free. Errors name the archive's entry. Any thread.
 *
 *     struct cyx_tar_limits limits = {.bytes = 16 << 30, .entries = 1000000};
 *     status = cyx_tar_unpack(archive, folder, &limits, &err);
 */
#ifndef CYX_BLOB_TAR_H
#define CYX_BLOB_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CYX_TAR_PATH_BYTES = 1024, CYX_TAR_ENTRY_BYTES = 4096 };

struct cyx_tar_limits {
    int64_t bytes;   /* of all files, and CYX_TAR_ENTRY_BYTES for each entry */
    int64_t entries; /* files and folders */
};

/* Packs what lies in `folder` into a new file. CYX_ERR_NOT_FOUND when there is no file in it. */
enum cyx_status cyx_tar_pack(const char *folder, const char *archive, struct cyx_error *ret_error);

/* Whether the file begins as an archive does: tar, or gzip. */
bool cyx_tar_is_archive(const char *path);

/*
 * Unpacks into `folder`, which exists and is empty. CYX_ERR_CORRUPT for what is no archive or breaks off, CYX_ERR_DENIED
 * for an entry that is not let in, CYX_ERR_TOO_LARGE over the limits. What came until then stays: the caller removes it.
 */
enum cyx_status cyx_tar_unpack(const char *archive, const char *folder,
                               const struct cyx_tar_limits *limits, struct cyx_error *ret_error);

/* What a reader of archives is told, in their order; not CYX_OK ends the reading with that. `path` is judged and clean. */
struct cyx_tar_sink {
    enum cyx_status (*folder)(void *ctx, const char *path, struct cyx_error *error);
    enum cyx_status (*begin)(void *ctx, const char *path, struct cyx_error *error);
    enum cyx_status (*bytes)(void *ctx, const void *bytes, size_t length, struct cyx_error *error);
    enum cyx_status (*end)(void *ctx, struct cyx_error *error);
    void *ctx;
};

/* Reads an archive from a descriptor (which stays the caller's) and tells the sink; judges as cyx_tar_unpack does. */
enum cyx_status cyx_tar_read(int fd, const struct cyx_tar_limits *limits,
                             const struct cyx_tar_sink *sink, struct cyx_error *ret_error);

#endif
