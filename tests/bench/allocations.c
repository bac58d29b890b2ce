#include "allocations.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_llong own, libraries;

struct bench_allocations bench_allocations(void)
{
    return (struct bench_allocations){.own = own, .libraries = libraries};
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* glibc's, under the names that it keeps for programs with a malloc of their own. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

/* The linker's: where this program's code begins and ends. */
extern const char __executable_start[], etext[];

static void count(const void *caller)
{
    const char *at = caller;
    if (at >= __executable_start && at < etext)
        own++;
    else
        libraries++;
}

void *malloc(size_t size)
{
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret_data, size_t alignment, size_t size)
{
    count(__builtin_return_address(0));
    void *data = __libc_memalign(alignment, size);
    if (!data)
        return ENOMEM;
    *ret_data = data;
    return 0;
}

#endif
