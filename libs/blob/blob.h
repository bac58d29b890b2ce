/*
 * Artifacts (data-set files, checkpoints, models) by the SHA-256 of their bytes, in a folder:
 * ROOT/objects/ab/abcdef…, written to ROOT/partial/ first and renamed when the hash was right.
 *
 * An object, once there, is whole, read-only and never changes. Two who put the same hash at once
 * do no harm: each partial upload is locked (flock) by its writer, the second gets
 * CYX_ERR_CONFLICT, and an object that is there already makes a put succeed at once. A partial
 * upload stays when its writer goes away and is continued from cyx_blob_offset(); at commit the
 * whole is hashed, so a torn or wrong part gives CYX_ERR_CORRUPT and is removed. Several processes
 * may share a root.
 *
 * Ownership: the store and writers are on the heap, freed by destroy (NULL is fine). Thread rule: a
 * store may be used by all threads at once, a writer by one at a time. Units: bytes. Errors:
 * CYX_ERR_INVALID for what is not a SHA-256, CYX_ERR_NOT_FOUND, CYX_ERR_TOO_LARGE over the limit,
 * CYX_ERR_UNAVAILABLE when the disk is full, CYX_ERR_IO.
 *
 *     struct cyx_blob_writer *w;
 *     cyx_blob_begin(store, sha256, 0, size, &w, &err);
 *     cyx_blob_append(w, bytes, length, &err);
 *     cyx_blob_commit(w, &size, &err);
 *     cyx_blob_writer_destroy(w);
 */
#ifndef CYX_BLOB_BLOB_H
#define CYX_BLOB_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "blob/sha256.h"

struct cyx_blob_store;
struct cyx_blob_writer;

struct cyx_blob_options {
    const char *root;          /* made (mode 0700) when it is not there */
    uint64_t max_object_bytes; /* 0: 4 GiB */
};

enum cyx_status cyx_blob_store_create(const struct cyx_blob_options *options,
                                      struct cyx_blob_store **ret_store,
                                      struct cyx_error *ret_error);
void cyx_blob_store_destroy(struct cyx_blob_store *self);

/* ---- writing -----------------------------------------------------------------------------------
 */

/* How many bytes of an upload of this object are here already: 0 when none was begun, the whole
 * size when the object is there. */
enum cyx_status cyx_blob_offset(struct cyx_blob_store *self, const char *sha256,
                                uint64_t *ret_offset, struct cyx_error *ret_error);

/*
 * Begins or goes on with an upload. `offset` is where the caller goes on: 0 throws a partial one
 * away, any other must equal cyx_blob_offset(), else CYX_ERR_CONFLICT. `total_bytes` is the whole
 * size, UINT64_MAX where it is not known. When the object is there already, the writer takes bytes
 * and drops them.
 */
enum cyx_status cyx_blob_begin(struct cyx_blob_store *self, const char *sha256, uint64_t offset,
                               uint64_t total_bytes, struct cyx_blob_writer **ret_writer,
                               struct cyx_error *ret_error);

enum cyx_status cyx_blob_append(struct cyx_blob_writer *self, const void *bytes, size_t length,
                                struct cyx_error *ret_error);

/* How far this writer has come. */
uint64_t cyx_blob_written(const struct cyx_blob_writer *self);

/*
 * Verifies size and hash, syncs and renames. CYX_ERR_CORRUPT when the bytes are not those of the
 * hash (the partial upload is removed), CYX_ERR_INVALID when bytes are missing (it is kept). Call
 * at most once.
 */
enum cyx_status cyx_blob_commit(struct cyx_blob_writer *self, uint64_t *ret_size,
                                struct cyx_error *ret_error);

/* Without a commit the partial upload is synced and kept. */
void cyx_blob_writer_destroy(struct cyx_blob_writer *self);

/* A whole object from memory, or by copying a file; its hash comes back. */
enum cyx_status cyx_blob_put_bytes(struct cyx_blob_store *self, const void *bytes, size_t length,
                                   char ret_sha256[CYX_SHA256_HEX], struct cyx_error *ret_error);
enum cyx_status cyx_blob_put_file(struct cyx_blob_store *self, const char *path,
                                  char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_size,
                                  struct cyx_error *ret_error);

/*
 * A file that lies elsewhere and is left there (a data set): hashed, then a symbolic link stands as
 * the object. When the file goes or its size changes, the object is CYX_ERR_NOT_FOUND again.
 */
enum cyx_status cyx_blob_link(struct cyx_blob_store *self, const char *path,
                              char ret_sha256[CYX_SHA256_HEX], uint64_t *ret_size,
                              struct cyx_error *ret_error);

/* ---- reading -----------------------------------------------------------------------------------
 */

/* CYX_ERR_NOT_FOUND when it is not there whole. `ret_size` may be NULL. */
enum cyx_status cyx_blob_stat(struct cyx_blob_store *self, const char *sha256, uint64_t *ret_size,
                              struct cyx_error *ret_error);

/* The object's path, from the arena: for cyx_http_respond_file(), say. Does not look whether it is
 * there. */
enum cyx_status cyx_blob_path(struct cyx_blob_store *self, const char *sha256,
                              struct cyx_arena *arena, const char **ret_path,
                              struct cyx_error *ret_error);

/* A descriptor open for reading; the caller closes it. */
enum cyx_status cyx_blob_open(struct cyx_blob_store *self, const char *sha256, int *ret_fd,
                              uint64_t *ret_size, struct cyx_error *ret_error);

/* ---- care --------------------------------------------------------------------------------------
 */

/* CYX_OK also when it is not there. A file that was linked stays. */
enum cyx_status cyx_blob_remove(struct cyx_blob_store *self, const char *sha256,
                                struct cyx_error *ret_error);

/* Removes partial uploads that nobody has touched for `age_s` seconds; returns how many. */
size_t cyx_blob_sweep(struct cyx_blob_store *self, int64_t age_s);

#endif
