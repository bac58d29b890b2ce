/*
 * A growing region of memory that is freed at once: one a request, one a graph.
 *
 * Ownership: everything allocated belongs to the arena and lives until cyx_arena_finish().
 * Allocation that fails returns NULL. Not thread-safe: one thread at a time.
 *
 *     struct cyx_arena arena = {0};
 *     char *name = cyx_arena_printf(&arena, "layer%zu", i);
 *     cyx_arena_finish(&arena);
 */
#ifndef CYX_BASE_ARENA_H
#define CYX_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct cyx_arena_block;

struct cyx_arena {
    struct cyx_arena_block *head; /* zero-initialised is a valid empty arena */
};

/* `size` zeroed bytes aligned for any type; size 0 gives a valid pointer. NULL when memory ran out. */
void *cyx_arena_alloc(struct cyx_arena *self, size_t size);

/* `count` zeroed elements of `size` bytes; NULL on overflow or when memory ran out. */
void *cyx_arena_calloc(struct cyx_arena *self, size_t count, size_t size);

/* Copies of a string, or of its first `length` bytes with a NUL behind them. */
char *cyx_arena_strdup(struct cyx_arena *self, const char *text);
char *cyx_arena_strndup(struct cyx_arena *self, const char *text, size_t length);

char *cyx_arena_printf(struct cyx_arena *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *cyx_arena_vprintf(struct cyx_arena *self, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Frees all that was allocated; the arena can be used again. */
void cyx_arena_finish(struct cyx_arena *self);

#endif
