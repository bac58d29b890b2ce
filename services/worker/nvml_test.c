/* NVML's calls that gpu.c makes, as NVIDIA's API reference declares them; two GPUs, the second without a power sensor. */
#include <stdio.h>
#include <string.h>

typedef void *nvml_device;
struct utilization {
    unsigned int gpu, memory;
};
struct memory {
    unsigned long long total, free, used;
};

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *device);
int nvmlDeviceGetName(nvml_device device, char *name, unsigned int length);
int nvmlDeviceGetUtilizationRates(nvml_device device, struct utilization *use);
int nvmlDeviceGetMemoryInfo(nvml_device device, struct memory *memory);
int nvmlDeviceGetPowerUsage(nvml_device device, unsigned int *milliwatts);
int nvmlDeviceGetTemperature(nvml_device device, int sensor, unsigned int *celsius);

static const char devices[2];
enum { NOT_SUPPORTED = 3 };

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *device)
{
    *device = (nvml_device)&devices[index];
    return index < 2 ? 0 : 2;
}

int nvmlDeviceGetName(nvml_device device, char *name, unsigned int length)
{
    snprintf(name, length, "NVIDIA Test %d", device == (nvml_device)&devices[1]);
    return 0;
}

int nvmlDeviceGetUtilizationRates(nvml_device device, struct utilization *use)
{
    (void)device;
    *use = (struct utilization){.gpu = 87, .memory = 12};
    return 0;
}

int nvmlDeviceGetMemoryInfo(nvml_device device, struct memory *memory)
{
    (void)device;
    *memory = (struct memory){.total = 80ULL << 30, .free = 50ULL << 30, .used = 30ULL << 30};
    return 0;
}

int nvmlDeviceGetPowerUsage(nvml_device device, unsigned int *milliwatts)
{
    *milliwatts = 350500;
    return device == (nvml_device)&devices[1] ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetTemperature(nvml_device device, int sensor, unsigned int *celsius)
{
    (void)device;
    *celsius = 61;
    return sensor == 0 ? 0 : NOT_SUPPORTED;
}
