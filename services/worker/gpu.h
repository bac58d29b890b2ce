/*
 * What the GPUs are doing: NVIDIA's by NVML (a library of its driver, opened when it is there), AMD's by amdgpu's files in
 * /sys. Others are known by what the trainer says of its own device (Vulkan's memory budget), which the agent adds.
 *
 * Ownership: open/close. A field that is not known is negative. One thread at a time.
 *
 *     struct gpus *gpus = gpus_open("", NULL);
 *     size_t count = gpus_sample(gpus, samples, GPUS_LIMIT);
 */
#ifndef CYX_WORKER_GPU_H
#define CYX_WORKER_GPU_H

#include <stddef.h>
#include <stdint.h>

enum { GPUS_LIMIT = 16, GPU_NAME_BYTES = 96 };

struct gpu_sample {
    char name[GPU_NAME_BYTES];
    const char *source; /* "nvml", "amdgpu", "vulkan": who said so */
    double busy_percent, power_watts, temperature_celsius;
    int64_t memory_used_bytes, memory_total_bytes;
};

struct gpus;

/* `root`: where sys/ lies, "" or a test's folder. `nvml`: the library; NULL: the driver's. NULL when memory ran out. */
struct gpus *gpus_open(const char *root, const char *nvml);
void gpus_close(struct gpus *self);

/* Up to `limit` samples; returns how many. */
size_t gpus_sample(struct gpus *self, struct gpu_sample *ret_samples, size_t limit);

#endif
