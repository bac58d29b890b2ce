/*
 * Text from outside (names of files, cells of a CSV file, what a model file says) before a person or JSON gets it.
 *
 * Plain text is UTF-8 (RFC 3629) without control characters: a terminal would obey those. Pure functions, any thread.
 *
 *     cyx_text_clean(name); // "cl\033[31mred" becomes "cl?[31mred"
 */
#ifndef CYX_BASE_TEXT_H
#define CYX_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Length of the valid UTF-8 sequence at `s`, 0 when there is none. */
size_t cyx_text_utf8_length(const unsigned char *s);

bool cyx_text_is_plain(const char *text);

/* Replaces in place: a space for a line break or a tab, '?' for any other byte that is not plain text. */
void cyx_text_clean(char *text);

/* Copies what fits into `size` bytes (at least 1), always with a NUL at its end; bytes, not characters. */
void cyx_text_copy(char *target, size_t size, const char *text);

#endif
