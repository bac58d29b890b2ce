#include "nn/vulkan/vk.h"

#include <dlfcn.h>
#include <stddef.h>

#include "base/banned.h"

enum cyx_status cyx_vk_api_init(struct cyx_vk_api *self, struct cyx_error *ret_error)
{
    *self = (struct cyx_vk_api){0};
    self->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!self->library)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "no Vulkan loader on this machine: install libvulkan1 and a driver "
                             "(mesa-vulkan-drivers, or the GPU maker's)");
    self->GetInstanceProcAddr =
        (PFN_vkGetInstanceProcAddr)dlsym(self->library, "vkGetInstanceProcAddr");
    if (!self->GetInstanceProcAddr)
        goto old;
#define CYX_VK_LOAD(name)                                                                          \
    self->name = (PFN_vk##name)self->GetInstanceProcAddr(NULL, "vk" #name);                        \
    if (!self->name)                                                                               \
        goto old;
    CYX_VK_GLOBAL_FUNCTIONS(CYX_VK_LOAD)
#undef CYX_VK_LOAD
    uint32_t version = 0;
    if (self->EnumerateInstanceVersion(&version) != VK_SUCCESS || version < VK_API_VERSION_1_2)
        goto old;
    return CYX_OK;
old:
    cyx_vk_api_finish(self);
    return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                         "the Vulkan loader is older than Vulkan 1.2: update libvulkan1");
}

enum cyx_status cyx_vk_api_load_instance(struct cyx_vk_api *self, VkInstance instance,
                                         struct cyx_error *ret_error)
{
#define CYX_VK_LOAD(name)                                                                          \
    self->name = (PFN_vk##name)self->GetInstanceProcAddr(instance, "vk" #name);                    \
    if (!self->name)                                                                               \
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,                                 \
                             "the Vulkan loader lacks vk" #name ": update libvulkan1");
    CYX_VK_INSTANCE_FUNCTIONS(CYX_VK_LOAD)
#undef CYX_VK_LOAD
    self->CreateDebugUtilsMessengerEXT =
        (PFN_vkCreateDebugUtilsMessengerEXT)self->GetInstanceProcAddr(
            instance, "vkCreateDebugUtilsMessengerEXT");
    self->DestroyDebugUtilsMessengerEXT =
        (PFN_vkDestroyDebugUtilsMessengerEXT)self->GetInstanceProcAddr(
            instance, "vkDestroyDebugUtilsMessengerEXT");
    return CYX_OK;
}

enum cyx_status cyx_vk_api_load_device(struct cyx_vk_api *self, VkDevice device,
                                       struct cyx_error *ret_error)
{
#define CYX_VK_LOAD(name)                                                                          \
    self->name = (PFN_vk##name)self->GetDeviceProcAddr(device, "vk" #name);                        \
    if (!self->name)                                                                               \
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,                                 \
                             "the Vulkan driver lacks vk" #name ": update the driver");
    CYX_VK_DEVICE_FUNCTIONS(CYX_VK_LOAD)
#undef CYX_VK_LOAD
    return CYX_OK;
}

void cyx_vk_api_finish(struct cyx_vk_api *self)
{
    if (self->library)
        dlclose(self->library);
    *self = (struct cyx_vk_api){0};
}

const char *cyx_vk_result_name(VkResult result)
{
    switch (result) {
#define CYX_VK_NAME(name)                                                                          \
    case name:                                                                                     \
        return #name;
        CYX_VK_NAME(VK_SUCCESS)
        CYX_VK_NAME(VK_NOT_READY)
        CYX_VK_NAME(VK_TIMEOUT)
        CYX_VK_NAME(VK_INCOMPLETE)
        CYX_VK_NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        CYX_VK_NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        CYX_VK_NAME(VK_ERROR_INITIALIZATION_FAILED)
        CYX_VK_NAME(VK_ERROR_DEVICE_LOST)
        CYX_VK_NAME(VK_ERROR_MEMORY_MAP_FAILED)
        CYX_VK_NAME(VK_ERROR_LAYER_NOT_PRESENT)
        CYX_VK_NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        CYX_VK_NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        CYX_VK_NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        CYX_VK_NAME(VK_ERROR_TOO_MANY_OBJECTS)
        CYX_VK_NAME(VK_ERROR_FRAGMENTED_POOL)
        CYX_VK_NAME(VK_ERROR_OUT_OF_POOL_MEMORY)
        CYX_VK_NAME(VK_ERROR_FRAGMENTATION)
#undef CYX_VK_NAME
    default:
        return "an unknown VkResult";
    }
}
