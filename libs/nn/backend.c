#include "nn/backend.h"

#include <string.h>

#include "base/banned.h"

#ifndef CYX_HAVE_VULKAN

/* This build has no Vulkan back end: opening says so. */
static enum cyx_status no_vulkan(const struct cyx_device_options *options,
                                 struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    (void)options;
    (void)ret_device;
    return cyx_error_set(
        ret_error, CYX_ERR_UNAVAILABLE, NULL,
        "this build has no Vulkan backend: use \"cpu\", or build with libvulkan-dev");
}

const struct cyx_backend *cyx_backend_vulkan(void)
{
    static const struct cyx_backend absent = {.name = "vulkan", .device_open = no_vulkan};
    return &absent;
}

#endif

static enum cyx_status open_named(const struct cyx_backend *backend,
                                  const struct cyx_device_options *options,
                                  const struct cyx_backend **ret_backend,
                                  struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    enum cyx_status status = backend->device_open(options, ret_device, ret_error);
    if (status == CYX_OK)
        *ret_backend = backend;
    return status;
}

/* A GPU that is really one; Vulkan run by the CPU is slower than the CPU backend, so it does not
 * count. */
static enum cyx_status open_real_gpu(const struct cyx_device_options *options,
                                     struct cyx_device **ret_device)
{
    const struct cyx_backend *vulkan = cyx_backend_vulkan();
    struct cyx_device *device = NULL;
    enum cyx_status status = vulkan->device_open(options, &device, NULL);
    if (status != CYX_OK)
        return status;
    struct cyx_device_info info = {0};
    vulkan->device_info(device, &info);
    if (info.is_software) {
        vulkan->device_close(device);
        return CYX_ERR_UNAVAILABLE;
    }
    *ret_device = device;
    return CYX_OK;
}

enum cyx_status cyx_backend_open(const char *name, const struct cyx_device_options *options,
                                 const struct cyx_backend **ret_backend,
                                 struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    static const struct cyx_device_options defaults = {0};
    if (!options)
        options = &defaults;
    if (name && strcmp(name, "cpu") == 0)
        return open_named(cyx_backend_cpu(), options, ret_backend, ret_device, ret_error);
    if (name && strcmp(name, "vulkan") == 0)
        return open_named(cyx_backend_vulkan(), options, ret_backend, ret_device, ret_error);
    if (!name || strcmp(name, "auto") != 0)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, "/resources/backend",
                             "expected \"auto\", \"cpu\" or \"vulkan\", got \"%s\"",
                             name ? name : "");
    if (open_real_gpu(options, ret_device) == CYX_OK) {
        *ret_backend = cyx_backend_vulkan();
        return CYX_OK;
    }
    return open_named(cyx_backend_cpu(), options, ret_backend, ret_device, ret_error);
}
