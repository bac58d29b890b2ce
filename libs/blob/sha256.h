/*
 * SHA-256 of bytes, of a file, or of bytes as they come (OpenSSL's EVP, with the CPU's
 * instructions).
 *
 * Ownership: a hasher is on the heap, freed by cyx_sha256_destroy() (NULL is fine). A hasher
 * belongs to one thread at a time. Text is 64 lower-case hexadecimal digits.
 *
 *     char hex[CYX_SHA256_HEX];
 *     cyx_sha256_file(path, hex, &size, &err);
 */
#ifndef CYX_BLOB_SHA256_H
#define CYX_BLOB_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CYX_SHA256_BYTES = 32, CYX_SHA256_HEX = 65 }; /* 64 digits and the NUL */

struct cyx_sha256;

/* NULL when memory ran out. */
struct cyx_sha256 *cyx_sha256_create(void);
void cyx_sha256_destroy(struct cyx_sha256 *self);

/* CYX_ERR_INTERNAL only when the crypto library fails. */
enum cyx_status cyx_sha256_update(struct cyx_sha256 *self, const void *bytes, size_t length);

/* Gives the digest of all bytes so far and starts anew. */
enum cyx_status cyx_sha256_final(struct cyx_sha256 *self, char ret_hex[CYX_SHA256_HEX]);

enum cyx_status cyx_sha256_bytes(const void *bytes, size_t length, char ret_hex[CYX_SHA256_HEX]);

/* `ret_size` may be NULL. */
enum cyx_status cyx_sha256_file(const char *path, char ret_hex[CYX_SHA256_HEX], uint64_t *ret_size,
                                struct cyx_error *ret_error);

/* Whether `text` is 64 lower-case hexadecimal digits. */
bool cyx_sha256_valid(const char *text);

#endif
