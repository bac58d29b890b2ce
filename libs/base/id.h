/*
 * Identifiers and random bytes. Ids are UUID version 7 (RFC 9562): time-ordered, so that they index well.
 * Thread-safe.
 */
#ifndef CYX_BASE_ID_H
#define CYX_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CYX_ID_BYTES = 37 }; /* 36 characters and the NUL */

/* A new UUIDv7 in its canonical lower-case text form; as texts, those of a process rise, also within a millisecond. */
void cyx_id_new(char ret_id[CYX_ID_BYTES]);

/* Whether `text` is a UUID in canonical form (either case). */
bool cyx_id_valid(const char *text);

/* Bytes from the kernel's generator, fit for keys. Ends the process if the kernel has none to give. */
void cyx_random_bytes(void *ret_bytes, size_t length);

/* Lower-case hexadecimal; `ret_text` holds 2 * length + 1 characters. */
void cyx_hex_encode(const void *bytes, size_t length, char *ret_text);

/* Exactly `length` bytes from 2 * length hexadecimal digits; false for anything else. */
bool cyx_hex_decode(const char *text, void *ret_bytes, size_t length);

#endif
