/* What the machine is doing, read from /proc. One thread at a time a sampler. */
#ifndef CYX_WORKER_SYSTEM_H
#define CYX_WORKER_SYSTEM_H

#include <stdint.h>

struct system_sampler {
    uint64_t busy,
        total; /* ticks of all processors at the last sample; zero-initialised is right */
};

struct system_sample {
    double cpu_percent; /* of all processors since the last sample, 0 to 100 */
    int64_t memory_total_bytes, memory_used_bytes;
};

/* Of the machine, 0 when it cannot be read. */
int64_t system_memory_bytes(void);

/* Fields that cannot be read stay 0. */
struct system_sample system_take_sample(struct system_sampler *self);

#endif
