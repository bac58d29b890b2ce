/*
 * Static partition of a range over the device's threads, so that the same range always falls to the same
 * thread: what makes reductions give the same bits. Threads are OpenMP's, the team that oneDNN uses too.
 */
#ifndef CYX_NN_CPU_PARALLEL_H
#define CYX_NN_CPU_PARALLEL_H

#include "nn/cpu/cpu.h"

typedef void (*cpu_range)(void *context, int64_t begin, int64_t end);

/* Runs `range` over [0, n) in one part a thread; on the calling thread alone when n < 2 * grain. */
void cpu_parallel(const struct cyx_device *device, int64_t n, int64_t grain, cpu_range range,
                  void *context);

#endif
