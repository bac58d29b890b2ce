/*
 * Vulkan's functions, fetched at run time from libvulkan.so.1: a machine without it gets an error, not a
 * program that does not start.
 *
 * Ownership: cyx_vk_api_finish() closes the library; all handles must be gone by then. Thread rule: the
 * table is read-only once loaded.
 */
#ifndef CYX_NN_VULKAN_VK_H
#define CYX_NN_VULKAN_VK_H

#define VK_NO_PROTOTYPES 1
#include <vulkan/vulkan.h>

#include "base/status.h"

#define CYX_VK_GLOBAL_FUNCTIONS(X)                                                                 \
    X(EnumerateInstanceVersion)                                                                    \
    X(EnumerateInstanceLayerProperties)                                                            \
    X(EnumerateInstanceExtensionProperties)                                                        \
    X(CreateInstance)

#define CYX_VK_INSTANCE_FUNCTIONS(X)                                                               \
    X(DestroyInstance)                                                                             \
    X(EnumeratePhysicalDevices)                                                                    \
    X(GetPhysicalDeviceProperties)                                                                 \
    X(GetPhysicalDeviceProperties2)                                                                \
    X(GetPhysicalDeviceFeatures2)                                                                  \
    X(GetPhysicalDeviceMemoryProperties)                                                           \
    X(GetPhysicalDeviceMemoryProperties2)                                                          \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                      \
    X(CreateDevice)                                                                                \
    X(GetDeviceProcAddr)

#define CYX_VK_DEVICE_FUNCTIONS(X)                                                                 \
    X(DestroyDevice)                                                                               \
    X(GetDeviceQueue)                                                                              \
    X(DeviceWaitIdle)                                                                              \
    X(CreateBuffer)                                                                                \
    X(DestroyBuffer)                                                                               \
    X(GetBufferMemoryRequirements)                                                                 \
    X(AllocateMemory)                                                                              \
    X(FreeMemory)                                                                                  \
    X(BindBufferMemory)                                                                            \
    X(MapMemory)                                                                                   \
    X(CreateShaderModule)                                                                          \
    X(DestroyShaderModule)                                                                         \
    X(CreateDescriptorSetLayout)                                                                   \
    X(DestroyDescriptorSetLayout)                                                                  \
    X(CreatePipelineLayout)                                                                        \
    X(DestroyPipelineLayout)                                                                       \
    X(CreatePipelineCache)                                                                         \
    X(DestroyPipelineCache)                                                                        \
    X(GetPipelineCacheData)                                                                        \
    X(CreateComputePipelines)                                                                      \
    X(DestroyPipeline)                                                                             \
    X(CreateDescriptorPool)                                                                        \
    X(DestroyDescriptorPool)                                                                       \
    X(AllocateDescriptorSets)                                                                      \
    X(UpdateDescriptorSets)                                                                        \
    X(CreateCommandPool)                                                                           \
    X(DestroyCommandPool)                                                                          \
    X(AllocateCommandBuffers)                                                                      \
    X(FreeCommandBuffers)                                                                          \
    X(BeginCommandBuffer)                                                                          \
    X(EndCommandBuffer)                                                                            \
    X(CmdBindPipeline)                                                                             \
    X(CmdBindDescriptorSets)                                                                       \
    X(CmdPushConstants)                                                                            \
    X(CmdDispatch)                                                                                 \
    X(CmdCopyBuffer)                                                                               \
    X(CmdFillBuffer)                                                                               \
    X(CmdPipelineBarrier)                                                                          \
    X(QueueSubmit)                                                                                 \
    X(CreateSemaphore)                                                                             \
    X(DestroySemaphore)                                                                            \
    X(WaitSemaphores)

struct cyx_vk_api {
    void *library;
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    /* debug utils: only with validation */
    PFN_vkCreateDebugUtilsMessengerEXT CreateDebugUtilsMessengerEXT;
    PFN_vkDestroyDebugUtilsMessengerEXT DestroyDebugUtilsMessengerEXT;
#define CYX_VK_DECLARE(name) PFN_vk##name name;
    CYX_VK_GLOBAL_FUNCTIONS(CYX_VK_DECLARE)
    CYX_VK_INSTANCE_FUNCTIONS(CYX_VK_DECLARE)
    CYX_VK_DEVICE_FUNCTIONS(CYX_VK_DECLARE)
#undef CYX_VK_DECLARE
};

/* CYX_ERR_UNAVAILABLE when there is no loader, or one that knows no Vulkan 1.2. */
enum cyx_status cyx_vk_api_init(struct cyx_vk_api *self, struct cyx_error *ret_error);
enum cyx_status cyx_vk_api_load_instance(struct cyx_vk_api *self, VkInstance instance,
                                         struct cyx_error *ret_error);
enum cyx_status cyx_vk_api_load_device(struct cyx_vk_api *self, VkDevice device,
                                       struct cyx_error *ret_error);
void cyx_vk_api_finish(struct cyx_vk_api *self);

/* "VK_ERROR_DEVICE_LOST" and so on. */
const char *cyx_vk_result_name(VkResult result);

#endif
