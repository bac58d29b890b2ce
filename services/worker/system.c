#include "system.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/banned.h"

/* user nice system idle iowait irq softirq steal, proc(5) */
static void read_ticks(uint64_t *ret_busy, uint64_t *ret_total)
{
    uint64_t t[8] = {0};
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return;
    if (fscanf(file,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == 8) {
        uint64_t idle = t[3] + t[4];
        for (int i = 0; i < 8; i++)
            *ret_total += t[i];
        *ret_busy = *ret_total - idle;
    }
    fclose(file);
}

static void read_memory(struct system_sample *sample)
{
    char line[128];
    int64_t available = 0, kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemTotal: %" SCNd64 " kB", &kib) == 1)
            sample->memory_total_bytes = kib * 1024;
        else if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &kib) == 1)
            available = kib * 1024;
    }
    fclose(file);
    sample->memory_used_bytes = sample->memory_total_bytes - available;
}

int64_t system_memory_bytes(void)
{
    struct system_sample sample = {0};
    read_memory(&sample);
    return sample.memory_total_bytes;
}

struct system_sample system_take_sample(struct system_sampler *self)
{
    struct system_sample sample = {0};
    uint64_t busy = 0, total = 0;
    read_ticks(&busy, &total);
    if (self->total && total > self->total)
        sample.cpu_percent = 100.0 * (double)(busy - self->busy) / (double)(total - self->total);
    self->busy = busy;
    self->total = total;
    read_memory(&sample);
    return sample;
}
