#include "nn/backend.h"

#include "base/banned.h"

static enum cyx_status device_open(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    (void)options;
    (void)ret_device;
    return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL, "the CPU backend is being built");
}

const struct cyx_backend *cyx_backend_cpu(void)
{
    static const struct cyx_backend backend = {.name = "cpu", .device_open = device_open};
    return &backend;
}
