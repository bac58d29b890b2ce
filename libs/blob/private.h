/*
 * Private to libs/blob: the store's folder and names. All names are relative to `root_fd`.
 */
#ifndef CYX_BLOB_PRIVATE_H
#define CYX_BLOB_PRIVATE_H

#include "blob/blob.h"

enum { CYX_BLOB_NAME_BYTES = 160 };

struct cyx_blob_store {
    char *root; /* absolute */
    int root_fd;
    uint64_t max_object_bytes;
};

/* CYX_ERR_INVALID unless it is a SHA-256. */
enum cyx_status cyx_blob_check(const char *sha256, struct cyx_error *ret_error);

void cyx_blob_object_name(const char *sha256, char ret_name[CYX_BLOB_NAME_BYTES]);
void cyx_blob_link_name(const char *sha256, char ret_name[CYX_BLOB_NAME_BYTES]);

/* As cyx_error_errno(), with CYX_ERR_UNAVAILABLE for a full disk. */
enum cyx_status cyx_blob_errno(struct cyx_error *ret_error, const char *what, const char *name);

/* Makes objects/ab where it is missing. */
enum cyx_status cyx_blob_make_folder(struct cyx_blob_store *self, const char *sha256,
                                     struct cyx_error *ret_error);

/* Syncs objects/ab, so that a rename lasts. */
void cyx_blob_sync_folder(struct cyx_blob_store *self, const char *sha256);

#endif
