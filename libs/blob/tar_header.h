/* Private to libs/blob: a block of a tar archive (POSIX.1-2017, pax, "ustar Interchange Format"). */
#ifndef CYX_BLOB_TAR_HEADER_H
#define CYX_BLOB_TAR_HEADER_H

enum {
    TAR_BLOCK_BYTES = 512,
    TAR_FILE = '0',
    TAR_OLD_FILE = '\0',
    TAR_CONTIGUOUS = '7',
    TAR_FOLDER = '5',
    TAR_PAX = 'x',
    TAR_PAX_GLOBAL = 'g',
    TAR_GNU_NAME = 'L',
    TAR_GNU_LINK = 'K',
};

/* Eleven octal digits. */
#define TAR_SIZE_LIMIT UINT64_C(077777777777)

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
        magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], unused[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK_BYTES, "a header is a block");

unsigned tar_checksum(const struct tar_header *header);

#endif
