/*
 * What the machine is doing, read from /proc and /sys: processors, memory, disks, network, power. Rates are over the time
 * since the sampler's last sample, 0 in its first. GPUs: gpu.h. Units in the names. One thread at a time a sampler.
 *
 *     struct system_sampler sampler = {.root = "", .disk_path = "/srv/work"};
 *     struct system_sample sample = system_take_sample(&sampler);
 */
#ifndef CYX_WORKER_SYSTEM_H
#define CYX_WORKER_SYSTEM_H

#include <stdint.h>

struct system_counters {
    int64_t at_ns;
    uint64_t cpu_busy, cpu_total;               /* ticks of all processors */
    uint64_t disk_read_bytes, disk_write_bytes; /* of whole disks */
    uint64_t received_bytes, sent_bytes;        /* of all interfaces but the loopback and bridges */
    uint64_t energy_uj;                         /* of the processors' packages, 0: not readable */
};

struct system_sampler {
    const char *root;            /* where proc/ and sys/ lie: "", or a test's folder */
    const char *disk_path;       /* whose file system's space is told; NULL: none */
    struct system_counters last; /* zero-initialised is right */
};

struct system_sample {
    double cpu_percent;  /* of all processors, 0 to 100 */
    double load_average; /* over a minute */
    int64_t memory_total_bytes, memory_used_bytes;
    int64_t disk_total_bytes, disk_free_bytes;
    double disk_read_bytes_per_second, disk_write_bytes_per_second;
    double network_receive_bytes_per_second, network_send_bytes_per_second;
    double
        power_watts; /* RAPL's packages, else the machine's power meter; negative: neither is readable */
};

/* Of the machine, 0 when it cannot be read. */
int64_t system_memory_bytes(void);

/* Fields that cannot be read stay 0. */
struct system_sample system_take_sample(struct system_sampler *self);

#endif
