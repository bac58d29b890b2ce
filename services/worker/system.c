#include "system.h"

#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"

#include "base/banned.h"

enum { PATH_BYTES = 512, LINE_BYTES = 512, SECTOR_BYTES = 512 };

static FILE *open_file(const char *root, const char *path)
{
    char whole[PATH_BYTES];
    snprintf(whole, sizeof(whole), "%s%s", root, path);
    return fopen(whole, "re");
}

/* The number that a file of /sys holds; false when it cannot be read. */
static bool read_number(const char *path, int64_t *ret_value)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool good = fscanf(file, "%" SCNd64, ret_value) == 1;
    fclose(file);
    return good;
}

/* user nice system idle iowait irq softirq steal, proc(5) */
static void read_ticks(const char *root, struct system_counters *counters)
{
    uint64_t t[8] = {0};
    FILE *file = open_file(root, "/proc/stat");
    if (!file)
        return;
    if (fscanf(file,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == 8) {
        uint64_t idle = t[3] + t[4];
        for (int i = 0; i < 8; i++)
            counters->cpu_total += t[i];
        counters->cpu_busy = counters->cpu_total - idle;
    }
    fclose(file);
}

static void read_memory(const char *root, struct system_sample *sample)
{
    char line[LINE_BYTES];
    int64_t available = 0, kib = 0;
    FILE *file = open_file(root, "/proc/meminfo");
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

static bool starts_with_one_of(const char *name, const char *const *prefixes)
{
    for (; *prefixes; prefixes++)
        if (strncmp(name, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

/* A partition's bytes are its disk's, and what stands on other disks (dm, md) would count twice. */
static bool is_whole_disk(const char *root, const char *name)
{
    static const char *const layered[] = {"loop", "ram", "zram", "dm-", "md", NULL};
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/sys/block/%s", root, name);
    return !starts_with_one_of(name, layered) && access(path, F_OK) == 0;
}

/* major minor name reads merged sectors ms writes merged sectors …, kernel's Documentation/admin-guide/iostats.rst */
static void read_disks(const char *root, struct system_counters *counters)
{
    char line[LINE_BYTES], name[64];
    FILE *file = open_file(root, "/proc/diskstats");
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        uint64_t read_sectors = 0, written_sectors = 0;
        if (sscanf(line, "%*u %*u %63s %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, name,
                   &read_sectors, &written_sectors) == 3 &&
            is_whole_disk(root, name)) {
            counters->disk_read_bytes += read_sectors * SECTOR_BYTES;
            counters->disk_write_bytes += written_sectors * SECTOR_BYTES;
        }
    }
    fclose(file);
}

/* "  eth0: bytes packets errs drop fifo frame compressed multicast bytes …" */
static void read_network(const char *root, struct system_counters *counters)
{
    static const char *const passed_over[] = {"lo", "veth", "docker", "br-", "virbr", NULL};
    char line[LINE_BYTES], name[64];
    FILE *file = open_file(root, "/proc/net/dev");
    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        uint64_t received = 0, sent = 0;
        if (sscanf(line, " %63[^:]: %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, name,
                   &received, &sent) == 3 &&
            !starts_with_one_of(name, passed_over)) {
            counters->received_bytes += received;
            counters->sent_bytes += sent;
        }
    }
    fclose(file);
}

/* The packages alone: their parts ("intel-rapl:0:1") are in them. Root's to read on most machines. */
static void read_energy(const char *root, struct system_counters *counters)
{
    char pattern[PATH_BYTES];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/sys/class/powercap/intel-rapl:[0-9]*/energy_uj", root);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *first = strstr(found.gl_pathv[i], "rapl:");
        int64_t microjoules = 0;
        if (first && !strchr(first + strlen("rapl:"), ':') &&
            read_number(found.gl_pathv[i], &microjoules))
            counters->energy_uj += (uint64_t)microjoules;
    }
    globfree(&found);
}

/* The machine's own meter (ACPI's hwmon is named power_meter), in microwatts. */
static double meter_watts(const char *root)
{
    char pattern[PATH_BYTES];
    glob_t found;
    double watts = -1;
    snprintf(pattern, sizeof(pattern), "%s/sys/class/hwmon/hwmon*/name", root);
    if (glob(pattern, 0, NULL, &found) != 0)
        return watts;
    for (size_t i = 0; watts < 0 && i < found.gl_pathc; i++) {
        char name[32] = "", path[PATH_BYTES];
        int64_t microwatts = 0;
        FILE *file = fopen(found.gl_pathv[i], "re");
        bool is_meter = file && fscanf(file, "%31s", name) == 1 && strcmp(name, "power_meter") == 0;
        if (file)
            fclose(file);
        snprintf(path, sizeof(path), "%.*s/power1_average",
                 (int)(strrchr(found.gl_pathv[i], '/') - found.gl_pathv[i]), found.gl_pathv[i]);
        if (is_meter && read_number(path, &microwatts))
            watts = (double)microwatts * 1e-6;
    }
    globfree(&found);
    return watts;
}

static void read_space(const char *path, struct system_sample *sample)
{
    struct statvfs info;
    if (!path || statvfs(path, &info) != 0)
        return;
    sample->disk_total_bytes = (int64_t)info.f_blocks * (int64_t)info.f_frsize;
    sample->disk_free_bytes = (int64_t)info.f_bavail * (int64_t)info.f_frsize;
}

static void read_load(const char *root, struct system_sample *sample)
{
    FILE *file = open_file(root, "/proc/loadavg");
    if (!file)
        return;
    if (fscanf(file, "%lf", &sample->load_average) != 1)
        sample->load_average = 0;
    fclose(file);
}

/* A counter that went back (a disk that was taken away, a register that wrapped) says nothing. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before ? (double)(now - before) / seconds : 0;
}

static void take_rates(const struct system_counters *now, const struct system_counters *last,
                       struct system_sample *sample)
{
    double seconds = (double)(now->at_ns - last->at_ns) * 1e-9;
    if (last->at_ns == 0 || seconds <= 0)
        return;
    if (now->cpu_total > last->cpu_total)
        sample->cpu_percent = 100.0 * (double)(now->cpu_busy - last->cpu_busy) /
                              (double)(now->cpu_total - last->cpu_total);
    sample->disk_read_bytes_per_second = rate(now->disk_read_bytes, last->disk_read_bytes, seconds);
    sample->disk_write_bytes_per_second =
        rate(now->disk_write_bytes, last->disk_write_bytes, seconds);
    sample->network_receive_bytes_per_second =
        rate(now->received_bytes, last->received_bytes, seconds);
    sample->network_send_bytes_per_second = rate(now->sent_bytes, last->sent_bytes, seconds);
    if (now->energy_uj > last->energy_uj && last->energy_uj)
        sample->power_watts = rate(now->energy_uj, last->energy_uj, seconds) * 1e-6;
}

int64_t system_memory_bytes(void)
{
    struct system_sample sample = {0};
    read_memory("", &sample);
    return sample.memory_total_bytes;
}

struct system_sample system_take_sample(struct system_sampler *self)
{
    const char *root = self->root ? self->root : "";
    struct system_sample sample = {0};
    struct system_counters now = {.at_ns = cyx_clock_monotonic_ns()};
    read_ticks(root, &now);
    read_disks(root, &now);
    read_network(root, &now);
    read_energy(root, &now);
    read_memory(root, &sample);
    read_load(root, &sample);
    read_space(self->disk_path, &sample);
    sample.power_watts = meter_watts(root);
    take_rates(&now, &self->last, &sample);
    self->last = now;
    return sample;
}
