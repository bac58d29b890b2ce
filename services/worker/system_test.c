/* Samples of this machine, and of folders that hold what /proc and /sys say on others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu.h"
#include "monitor.h"
#include "system.h"

#include "base/banned.h"

struct world {
    char root[64];
};

static int set_up(void **state)
{
    static struct world world;
    snprintf(world.root, sizeof(world.root), "/tmp/cyx system XXXXXX");
    *state = &world;
    return mkdtemp(world.root) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    const struct world *world = *state;
    return nftw(world->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file below the root, making the folders above it. */
static void put(const struct world *world, const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "%s%s", world->root, path);
    for (char *at = whole + strlen(world->root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(whole, 0700);
        *at = '/';
    }
    int file = open(whole, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
}

static void test_system__samples_this_machine(void **state)
{
    const struct world *world = *state;
    struct system_sampler sampler = {.disk_path = world->root};
    struct system_sample sample = system_take_sample(&sampler);
    assert_true(sample.memory_total_bytes > sample.memory_used_bytes);
    assert_true(sample.memory_used_bytes > 0);
    assert_true(sample.disk_total_bytes > sample.disk_free_bytes && sample.disk_free_bytes > 0);
    assert_true(sampler.last.cpu_total > sampler.last.cpu_busy);
    assert_int_equal(system_memory_bytes(), sample.memory_total_bytes);
}

/* One second later by the sampler's own account, so that rates are what the files say. */
static void a_second_passes(struct system_sampler *sampler)
{
    sampler->last.at_ns -= INT64_C(1000000000);
}

static void near(double value, double expected)
{
    if (value < expected * 0.9 || value > expected * 1.01)
        fail_msg("%g is not about %g", value, expected);
}

static void test_system__takes_rates_of_disks_network_and_power(void **state)
{
    const struct world *world = *state;
    struct system_sampler sampler = {.root = world->root};
    put(world, "/proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n");
    put(world, "/proc/loadavg", "1.50 1.20 1.00 2/345 6789\n");
    put(world, "/sys/block/sda/size", "1");
    put(world, "/sys/block/dm-0/size", "1");
    put(world, "/proc/diskstats",
        "   8  0 sda 10 0 1000 5 20 0 2000 9 0 0 0\n   8  1 sda1 10 0 1000 5 20 0 2000 9 0 0 0\n"
        " 253  0 dm-0 10 0 1000 5 20 0 2000 9 0 0 0\n");
    put(world, "/proc/net/dev",
        "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n"
        "    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n"
        "  eth0:1000 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n"
        "docker0: 70 1 0 0 0 0 0 0 70 1 0 0 0 0 0 0\n");
    put(world, "/sys/class/powercap/intel-rapl:0/energy_uj", "5000000\n");
    put(world, "/sys/class/powercap/intel-rapl:0:0/energy_uj", "4000000\n");
    struct system_sample first = system_take_sample(&sampler);
    assert_true(first.power_watts < 0);
    assert_true(first.cpu_percent == 0 && first.network_send_bytes_per_second == 0);
    assert_true(first.load_average == 1.5);

    a_second_passes(&sampler);
    put(world, "/proc/stat", "cpu  150 0 100 725 125 0 0 0 0 0\n");
    put(world, "/proc/diskstats",
        "   8  0 sda 10 0 3000 5 20 0 6000 9 0 0 0\n   8  1 sda1 10 0 3000 5 20 0 6000 9 0 0 0\n"
        " 253  0 dm-0 10 0 3000 5 20 0 6000 9 0 0 0\n");
    put(world, "/proc/net/dev",
        "    lo: 99900 1 0 0 0 0 0 0 99900 1 0 0 0 0 0 0\n"
        "  eth0:51000 1 0 0 0 0 0 0 20500 1 0 0 0 0 0 0\n");
    put(world, "/sys/class/powercap/intel-rapl:0/energy_uj", "47000000\n");
    put(world, "/sys/class/powercap/intel-rapl:0:0/energy_uj", "40000000\n");
    struct system_sample second = system_take_sample(&sampler);
    assert_true(second.cpu_percent == 50.0);
    near(second.disk_read_bytes_per_second, 2000 * 512);
    near(second.disk_write_bytes_per_second, 4000 * 512);
    near(second.network_receive_bytes_per_second, 50000);
    near(second.network_send_bytes_per_second, 20000);
    near(second.power_watts, 42);

    a_second_passes(&sampler); /* the register wraps: no word for a moment */
    put(world, "/sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
    assert_true(system_take_sample(&sampler).power_watts < 0);
}

static void test_system__reads_the_machines_meter_without_rapl(void **state)
{
    const struct world *world = *state;
    struct system_sampler sampler = {.root = world->root};
    put(world, "/sys/class/hwmon/hwmon0/name", "coretemp\n");
    put(world, "/sys/class/hwmon/hwmon0/power1_average", "1\n");
    put(world, "/sys/class/hwmon/hwmon1/name", "power_meter\n");
    put(world, "/sys/class/hwmon/hwmon1/power1_average", "123000000\n");
    assert_true(system_take_sample(&sampler).power_watts == 123.0);
}

static void test_gpu__reads_amdgpus_files(void **state)
{
    const struct world *world = *state;
    struct gpu_sample gpus[4];
    put(world, "/sys/class/drm/card0/device/vendor", "0x8086\n"); /* another maker's */
    put(world, "/sys/class/drm/card1/device/mem_info_vram_total", "17163091968\n");
    put(world, "/sys/class/drm/card1/device/mem_info_vram_used", "1073741824\n");
    put(world, "/sys/class/drm/card1/device/gpu_busy_percent", "42\n");
    put(world, "/sys/class/drm/card1/device/product_name", "Radeon RX 6800\n");
    put(world, "/sys/class/drm/card1/device/hwmon/hwmon3/power1_average", "95000000\n");
    put(world, "/sys/class/drm/card2/device/mem_info_vram_total", "1024\n");
    struct gpus *self = gpus_open(world->root, "/no/such/library");
    assert_int_equal(gpus_sample(self, gpus, 4), 2);
    assert_string_equal(gpus[0].name, "Radeon RX 6800");
    assert_string_equal(gpus[0].source, "amdgpu");
    assert_true(gpus[0].busy_percent == 42 && gpus[0].power_watts == 95);
    assert_true(gpus[0].memory_used_bytes == 1073741824);
    assert_true(gpus[0].memory_total_bytes == 17163091968);
    assert_true(gpus[0].temperature_celsius < 0); /* no such file: not known */
    assert_string_equal(gpus[1].name, "AMD GPU");
    assert_true(gpus[1].busy_percent < 0 && gpus[1].memory_used_bytes < 0);
    assert_int_equal(gpus_sample(self, gpus, 1), 1);
    gpus_close(self);
}

static void test_gpu__speaks_nvmls_interface(void **state)
{
    (void)state;
    struct gpu_sample gpus[4];
    struct gpus *self = gpus_open("/no/such/root", NVML_INTERFACE);
    assert_int_equal(gpus_sample(self, gpus, 4), 2);
    assert_string_equal(gpus[0].name, "NVIDIA Test 0");
    assert_string_equal(gpus[0].source, "nvml");
    assert_true(gpus[0].busy_percent == 87 && gpus[0].temperature_celsius == 61);
    assert_true(gpus[0].power_watts > 350.4 && gpus[0].power_watts < 350.6);
    assert_true(gpus[0].memory_used_bytes == INT64_C(30) << 30);
    assert_true(gpus[1].power_watts < 0);
    gpus_close(self);
}

static void test_monitor__tells_what_is_known_and_nothing_else(void **state)
{
    (void)state;
    const struct monitor_reading reading = {
        .system = {.load_average = 2, .disk_free_bytes = 7, .power_watts = -1},
        .gpus = {{.name = "one",
                  .source = "vulkan",
                  .busy_percent = -1,
                  .power_watts = -1,
                  .temperature_celsius = -1,
                  .memory_used_bytes = 5,
                  .memory_total_bytes = 9}},
        .n_gpus = 1};
    json_t *json = monitor_json(&reading);
    assert_true(json_number_value(json_object_get(json, "load_average")) == 2);
    assert_null(json_object_get(json, "power_watts"));
    assert_null(json_object_get(json, "disk_total_bytes"));
    const json_t *gpu = json_array_get(json_object_get(json, "gpus"), 0);
    assert_int_equal(json_integer_value(json_object_get(gpu, "memory_used_bytes")), 5);
    assert_null(json_object_get(gpu, "busy_percent"));
    json_decref(json);
}

static void test_monitor__reads_by_itself_and_adds_the_trainers_device(void **state)
{
    (void)state;
    struct monitor *monitor = NULL;
    struct monitor_reading reading = {0};
    struct cyx_error err = {0};
    assert_int_equal(monitor_create("/", 50, &monitor, &err), CYX_OK);
    monitor_note_device(monitor, 3, "llvmpipe", 100, 1000);
    while (!monitor_read(monitor, &reading))
        usleep(1000);
    assert_true(reading.system.memory_total_bytes > 0);
    if (reading.gpus[0].source && strcmp(reading.gpus[0].source, "vulkan") == 0) {
        assert_string_equal(reading.gpus[0].name, "llvmpipe");
        assert_int_equal(reading.gpus[0].memory_used_bytes, 100);
    }
    size_t before = reading.n_gpus;
    assert_true(before > 0);
    monitor_note_device(monitor, 3, "", 0, 0);
    assert_true(monitor_read(monitor, &reading));
    assert_true(reading.n_gpus <= before);
    monitor_destroy(monitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_system__samples_this_machine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_system__takes_rates_of_disks_network_and_power, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_system__reads_the_machines_meter_without_rapl, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_gpu__reads_amdgpus_files, set_up, tear_down),
        cmocka_unit_test(test_gpu__speaks_nvmls_interface),
        cmocka_unit_test(test_monitor__tells_what_is_known_and_nothing_else),
        cmocka_unit_test(test_monitor__reads_by_itself_and_adds_the_trainers_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
