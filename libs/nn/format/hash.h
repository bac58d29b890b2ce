/*
 * SHA-256 of bytes and of files, as lower-case hexadecimal: data sets and models are known by it.
 * Thread-safe; nothing to free.
 *
 *     char hex[CYX_SHA256_TEXT_BYTES];
 *     status = cyx_sha256_file(path, hex, &err);
 */
#ifndef CYX_NN_FORMAT_HASH_H
#define CYX_NN_FORMAT_HASH_H

#include <stddef.h>

#include "base/status.h"

enum { CYX_SHA256_TEXT_BYTES = 65 };

enum cyx_status cyx_sha256_bytes(const void *bytes, size_t length,
                                 char ret_hex[CYX_SHA256_TEXT_BYTES], struct cyx_error *ret_error);

/* CYX_ERR_NOT_FOUND, CYX_ERR_DENIED or CYX_ERR_IO name the file. */
enum cyx_status cyx_sha256_file(const char *path, char ret_hex[CYX_SHA256_TEXT_BYTES],
                                struct cyx_error *ret_error);

#endif
