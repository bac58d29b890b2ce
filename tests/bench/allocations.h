/*
 * Counts what the heap is asked for: linking allocations.c puts its malloc, calloc, realloc, aligned_alloc and
 * posix_memalign before glibc's. Those called from this program's own code (its static libraries included) and those
 * called from shared libraries are counted apart. Any thread.
 *
 *     struct bench_allocations before = bench_allocations();
 *     …
 *     int64_t ours = bench_allocations().own - before.own;
 */
#ifndef CYX_TESTS_BENCH_ALLOCATIONS_H
#define CYX_TESTS_BENCH_ALLOCATIONS_H

#include <stdint.h>

struct bench_allocations {
    int64_t own, libraries;
};

/* Since the program's start. Always zero in a build with sanitizers, which have a heap of their own. */
struct bench_allocations bench_allocations(void);

#endif
