#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct cyx_arena_block {
    struct cyx_arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char bytes[];
};

enum { BLOCK_BYTES = 16 * 1024 };

static struct cyx_arena_block *block_with_room(struct cyx_arena *self, size_t size)
{
    struct cyx_arena_block *head = self->head;
    if (head && head->size - head->used >= size)
        return head;
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    struct cyx_arena_block *made = calloc(1, sizeof(*made) + room);
    if (!made)
        return NULL;
    made->size = room;
    made->next = head;
    self->head = made;
    return made;
}

void *cyx_arena_alloc(struct cyx_arena *self, size_t size)
{
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + align - 1) / align * align;
    struct cyx_arena_block *block = block_with_room(self, size);
    if (!block)
        return NULL;
    void *made = block->bytes + block->used;
    block->used += size;
    return made;
}

void *cyx_arena_calloc(struct cyx_arena *self, size_t count, size_t size)
{
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    return cyx_arena_alloc(self, total);
}

char *cyx_arena_strndup(struct cyx_arena *self, const char *text, size_t length)
{
    char *made = cyx_arena_alloc(self, length + 1);
    if (made)
        memcpy(made, text, length);
    return made;
}

char *cyx_arena_strdup(struct cyx_arena *self, const char *text)
{
    return cyx_arena_strndup(self, text, strlen(text));
}

char *cyx_arena_vprintf(struct cyx_arena *self, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *made = length < 0 ? NULL : cyx_arena_alloc(self, (size_t)length + 1);
    if (made)
        vsnprintf(made, (size_t)length + 1, format, again);
    va_end(again);
    return made;
}

char *cyx_arena_printf(struct cyx_arena *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *made = cyx_arena_vprintf(self, format, args);
    va_end(args);
    return made;
}

void cyx_arena_finish(struct cyx_arena *self)
{
    while (self->head) {
        struct cyx_arena_block *next = self->head->next;
        free(self->head);
        self->head = next;
    }
}
