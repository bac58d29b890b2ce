#include "gpu.h"

#include <dlfcn.h>
#include <glob.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { PATH_BYTES = 512 };

/* ---- NVML: the few calls and types that we use, as NVIDIA's API reference gives them ----------------- */

enum { NVML_SUCCESS = 0, NVML_TEMPERATURE_GPU = 0 };
struct nvml_utilization {
    unsigned int gpu, memory; /* percent */
};
struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned int *);
    int (*handle)(unsigned int, void **);
    int (*name)(void *, char *, unsigned int);
    int (*utilization)(void *, struct nvml_utilization *);
    int (*memory)(void *, struct nvml_memory *);
    int (*power)(void *, unsigned int *); /* milliwatts */
    int (*temperature)(void *, int, unsigned int *);
};

struct gpus {
    struct nvml nvml; /* `library` NULL: none */
    char root[PATH_BYTES / 2];
};

static bool find(void *library, const char *name, void *ret_function)
{
    void *found = dlsym(library, name);
    memcpy(ret_function, &found, sizeof(found)); /* ISO C knows no cast of data to functions */
    return found != NULL;
}

static void nvml_close(struct nvml *self)
{
    if (self->library)
        dlclose(self->library);
    *self = (struct nvml){0};
}

static void nvml_open(struct nvml *self, const char *library)
{
    self->library = dlopen(library ? library : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!self->library)
        return;
    void *from = self->library;
    if (!find(from, "nvmlInit_v2", &self->init) || !find(from, "nvmlShutdown", &self->shutdown) ||
        !find(from, "nvmlDeviceGetCount_v2", &self->count) ||
        !find(from, "nvmlDeviceGetHandleByIndex_v2", &self->handle) ||
        !find(from, "nvmlDeviceGetName", &self->name) ||
        !find(from, "nvmlDeviceGetUtilizationRates", &self->utilization) ||
        !find(from, "nvmlDeviceGetMemoryInfo", &self->memory) ||
        !find(from, "nvmlDeviceGetPowerUsage", &self->power) ||
        !find(from, "nvmlDeviceGetTemperature", &self->temperature) || self->init() != NVML_SUCCESS)
        nvml_close(self);
}

static struct gpu_sample nothing_known(const char *source)
{
    return (struct gpu_sample){.source = source,
                               .busy_percent = -1,
                               .power_watts = -1,
                               .temperature_celsius = -1,
                               .memory_used_bytes = -1,
                               .memory_total_bytes = -1};
}

static bool nvml_sample(const struct nvml *self, unsigned int index, struct gpu_sample *ret_sample)
{
    void *device = NULL;
    struct nvml_utilization use;
    struct nvml_memory memory;
    unsigned int number = 0;
    struct gpu_sample sample = nothing_known("nvml");
    if (self->handle(index, &device) != NVML_SUCCESS)
        return false;
    if (self->name(device, sample.name, sizeof(sample.name)) != NVML_SUCCESS)
        snprintf(sample.name, sizeof(sample.name), "NVIDIA GPU %u", index);
    if (self->utilization(device, &use) == NVML_SUCCESS)
        sample.busy_percent = use.gpu;
    if (self->memory(device, &memory) == NVML_SUCCESS) {
        sample.memory_used_bytes = (int64_t)memory.used;
        sample.memory_total_bytes = (int64_t)memory.total;
    }
    if (self->power(device, &number) == NVML_SUCCESS)
        sample.power_watts = number * 1e-3;
    if (self->temperature(device, NVML_TEMPERATURE_GPU, &number) == NVML_SUCCESS)
        sample.temperature_celsius = number;
    *ret_sample = sample;
    return true;
}

/* ---- amdgpu: kernel's Documentation/gpu/amdgpu/thermal.rst, driver-misc.rst --------------------------- */

/* The number in the first file that the pattern finds below the card's folder, times `scale`; negative for none. */
static double card_number(const char *card, const char *pattern, double scale)
{
    char path[PATH_BYTES];
    glob_t found;
    int64_t value = 0;
    double number = -1;
    snprintf(path, sizeof(path), "%s/%s", card, pattern);
    if (glob(path, 0, NULL, &found) != 0)
        return -1;
    FILE *file = fopen(found.gl_pathv[0], "re");
    if (file && fscanf(file, "%" SCNd64, &value) == 1)
        number = (double)value * scale;
    if (file)
        fclose(file);
    globfree(&found);
    return number;
}

static void card_name(const char *card, char ret_name[GPU_NAME_BYTES])
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/product_name", card);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(ret_name, GPU_NAME_BYTES, file) || *ret_name == '\n')
        snprintf(ret_name, GPU_NAME_BYTES, "AMD GPU");
    ret_name[strcspn(ret_name, "\n")] = '\0';
    if (file)
        fclose(file);
}

static void amdgpu_sample(const char *card, struct gpu_sample *ret_sample)
{
    struct gpu_sample sample = nothing_known("amdgpu");
    card_name(card, sample.name);
    sample.busy_percent = card_number(card, "gpu_busy_percent", 1);
    sample.memory_used_bytes = (int64_t)card_number(card, "mem_info_vram_used", 1);
    sample.memory_total_bytes = (int64_t)card_number(card, "mem_info_vram_total", 1);
    sample.power_watts = card_number(card, "hwmon/hwmon*/power1_average", 1e-6);
    if (sample.power_watts < 0)
        sample.power_watts = card_number(card, "hwmon/hwmon*/power1_input", 1e-6);
    sample.temperature_celsius = card_number(card, "hwmon/hwmon*/temp1_input", 1e-3);
    *ret_sample = sample;
}

/* ---- all ----------------------------------------------------------------------------------------- */

struct gpus *gpus_open(const char *root, const char *nvml)
{
    struct gpus *self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    snprintf(self->root, sizeof(self->root), "%s", root);
    nvml_open(&self->nvml, nvml);
    return self;
}

void gpus_close(struct gpus *self)
{
    if (!self)
        return;
    if (self->nvml.library)
        self->nvml.shutdown();
    nvml_close(&self->nvml);
    free(self);
}

size_t gpus_sample(struct gpus *self, struct gpu_sample *ret_samples, size_t limit)
{
    size_t count = 0;
    unsigned int nvidia = 0;
    char pattern[PATH_BYTES];
    glob_t found;
    if (self->nvml.library && self->nvml.count(&nvidia) == NVML_SUCCESS)
        for (unsigned int i = 0; i < nvidia && count < limit; i++)
            count += nvml_sample(&self->nvml, i, &ret_samples[count]);
    snprintf(pattern, sizeof(pattern), "%s/sys/class/drm/card*/device/mem_info_vram_total",
             self->root);
    if (glob(pattern, 0, NULL, &found) != 0)
        return count;
    for (size_t i = 0; i < found.gl_pathc && count < limit; i++) {
        *strrchr(found.gl_pathv[i], '/') = '\0';
        amdgpu_sample(found.gl_pathv[i], &ret_samples[count++]);
    }
    globfree(&found);
    return count;
}
