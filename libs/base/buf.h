/*
 * A growable byte buffer that is always NUL-terminated, for text and for bytes.
 *
 * Ownership: the struct is the caller's (zero-initialised is empty), its bytes are the buffer's until
 * cyx_buf_finish() or cyx_buf_steal(). An append that runs out of memory sets `failed` and every later
 * append does nothing, so that a run of appends is checked once at its end. Not thread-safe.
 *
 *     CYX_CLEANUP_BUF struct cyx_buf text = {0};
 *     cyx_buf_printf(&text, "{\"loss\":%.6g}", loss);
 *     if (text.failed) return CYX_ERR_NO_MEMORY;
 */
#ifndef CYX_BASE_BUF_H
#define CYX_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct cyx_buf {
    char *data; /* NULL while nothing was appended */
    size_t length, capacity;
    bool failed;
};

void cyx_buf_append(struct cyx_buf *self, const void *bytes, size_t length);
void cyx_buf_puts(struct cyx_buf *self, const char *text);
void cyx_buf_printf(struct cyx_buf *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void cyx_buf_json_string(struct cyx_buf *self, const char *text);

/* Forgets the content, keeps the memory. */
void cyx_buf_clear(struct cyx_buf *self);

/* Hands the bytes over (free() them); NULL if an append had failed. An empty buffer gives "". */
char *cyx_buf_steal(struct cyx_buf *self);

void cyx_buf_finish(struct cyx_buf *self);
#define CYX_CLEANUP_BUF __attribute__((cleanup(cyx_buf_finish)))

/* Reads a whole file, at most `limit_bytes` of it: CYX_ERR_TOO_LARGE over that. */
enum cyx_status cyx_buf_read_file(struct cyx_buf *self, const char *path, size_t limit_bytes,
                                  struct cyx_error *ret_error);

/*
 * Writes a file whole or not at all: a temporary beside it, fsync, rename, fsync of the folder.
 * `mode` is the new file's permission bits, for example 0600.
 */
enum cyx_status cyx_file_write_atomic(const char *path, const void *bytes, size_t length,
                                      unsigned mode, struct cyx_error *ret_error);

/* Removes the temporaries that writers of `path` left beside it when they were killed. Only for the
 * one process that writes there: another one's write that goes on would fail. */
void cyx_file_sweep_temporaries(const char *path);

#endif
