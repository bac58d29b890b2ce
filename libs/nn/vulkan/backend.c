/* The Vulkan row of the table in nn/backend.h. */
#include "nn/backend.h"

#include "nn/vulkan/program.h"

#include "base/banned.h"

static enum cyx_status device_open(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    static const struct cyx_device_options defaults = {0};
    return cyx_vk_device_open(options ? options : &defaults, ret_device, ret_error);
}

const struct cyx_backend *cyx_backend_vulkan(void)
{
    static const struct cyx_backend backend = {
        .name = "vulkan",
        .device_open = device_open,
        .device_close = cyx_vk_device_close,
        .device_info = cyx_vk_device_info,
        .session_create = cyx_vk_session_create,
        .session_destroy = cyx_vk_session_destroy,
        .program_create = cyx_vk_program_create,
        .program_destroy = cyx_vk_program_destroy,
        .value_write = cyx_vk_value_write,
        .value_read = cyx_vk_value_read,
        .submit = cyx_vk_program_submit,
        .wait = cyx_vk_program_wait,
        .transient_read = cyx_vk_transient_read,
        .memory_bytes = cyx_vk_program_memory_bytes,
    };
    return &backend;
}
