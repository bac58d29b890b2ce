#include "nn/vulkan/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "nn/vulkan/tiles.h"

#include "base/banned.h"

static const char *const VALIDATION_LAYER = "VK_LAYER_KHRONOS_validation";

enum cyx_status cyx_vk_failed(VkResult result, const char *doing, struct cyx_error *ret_error)
{
    const char *name = cyx_vk_result_name(result);
    switch (result) {
    case VK_ERROR_DEVICE_LOST:
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "could not %s: the GPU stopped answering (%s); its driver resets it, "
                             "then try again",
                             doing, name);
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "could not %s: out of memory (%s); use a smaller batch or model",
                             doing, name);
    default:
        return cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "could not %s: %s (%d)", doing,
                             name, (int)result);
    }
}

enum cyx_status cyx_vk_checked(struct cyx_device *self, enum cyx_status status,
                               struct cyx_error *ret_error)
{
    if (!self->validation_text[0])
        return status;
    cyx_error_set(ret_error, CYX_ERR_INTERNAL, NULL, "Vulkan validation: %s",
                  self->validation_text);
    self->validation_text[0] = '\0';
    return CYX_ERR_INTERNAL;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *context)
{
    (void)severity;
    (void)types;
    struct cyx_device *self = context;
    if (!self->validation_text[0])
        snprintf(self->validation_text, sizeof self->validation_text, "%s", data->pMessage);
    return VK_FALSE;
}

static bool has_layer(struct cyx_device *self, const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    VkResult result = self->vk.EnumerateInstanceLayerProperties(&count, layers);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(layers[i].layerName, name) == 0)
            return true;
    }
    return false;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(struct cyx_device *self)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = self,
    };
}

static VkResult create_instance_with(struct cyx_device *self, bool validation)
{
    static const VkValidationFeatureEnableEXT enabled[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(self);
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = enabled,
    };
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "cyxwiz",
        .apiVersion = VK_API_VERSION_1_2,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = &VALIDATION_LAYER,
        .enabledExtensionCount = validation ? 2 : 0,
        .ppEnabledExtensionNames = extensions,
    };
    return self->vk.CreateInstance(&info, NULL, &self->instance);
}

static enum cyx_status create_instance(struct cyx_device *self, bool validation,
                                       struct cyx_error *ret_error)
{
    if (validation && !has_layer(self, VALIDATION_LAYER))
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "%s is not installed: install vulkan-validationlayers, or run without "
                             "validation",
                             VALIDATION_LAYER);
    VkResult result = create_instance_with(self, validation);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return cyx_error_set(
            ret_error, CYX_ERR_UNAVAILABLE, NULL,
            "no Vulkan driver on this machine: install mesa-vulkan-drivers, or the "
            "GPU maker's");
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "start Vulkan", ret_error);
    enum cyx_status status = cyx_vk_api_load_instance(&self->vk, self->instance, ret_error);
    if (status == CYX_OK && validation && self->vk.CreateDebugUtilsMessengerEXT) {
        VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info(self);
        self->vk.CreateDebugUtilsMessengerEXT(self->instance, &messenger, NULL, &self->messenger);
    }
    return status;
}

static enum cyx_status create_device(struct cyx_device *self, struct cyx_error *ret_error)
{
    const float priorities[2] = {1.0f, 1.0f};
    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .timelineSemaphore = VK_TRUE,
        .subgroupBroadcastDynamicId = self->subgroup_broadcast,
    };
    bool same_family = self->upload_family == self->queue_family;
    VkDeviceQueueCreateInfo queues[2] = {
        {
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = self->queue_family,
            .queueCount = same_family ? self->upload_index + 1 : 1,
            .pQueuePriorities = priorities,
        },
        {
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = self->upload_family,
            .queueCount = 1,
            .pQueuePriorities = priorities,
        },
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features,
        .queueCreateInfoCount = same_family ? 1 : 2,
        .pQueueCreateInfos = queues,
    };
    VkResult result = self->vk.CreateDevice(self->physical, &info, NULL, &self->device);
    if (result == VK_ERROR_INITIALIZATION_FAILED || result == VK_ERROR_DEVICE_LOST)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL, "%s does not start (%s)",
                             self->properties.deviceName, cyx_vk_result_name(result));
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "open the GPU", ret_error);
    enum cyx_status status = cyx_vk_api_load_device(&self->vk, self->device, ret_error);
    if (status != CYX_OK)
        return status;
    self->vk.GetDeviceQueue(self->device, self->queue_family, 0, &self->queue);
    self->vk.GetDeviceQueue(self->device, self->upload_family, self->upload_index,
                            &self->upload_queue);
    return CYX_OK;
}

static enum cyx_status create_queue_objects(struct cyx_device *self, struct cyx_error *ret_error)
{
    VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    VkSemaphoreCreateInfo semaphore = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = self->queue_family,
    };
    VkResult result = self->vk.CreateSemaphore(self->device, &semaphore, NULL, &self->timeline);
    if (result == VK_SUCCESS)
        result = self->vk.CreateSemaphore(self->device, &semaphore, NULL, &self->uploads);
    if (result == VK_SUCCESS)
        result = self->vk.CreateCommandPool(self->device, &pool, NULL, &self->pool);
    pool.queueFamilyIndex = self->upload_family;
    if (result == VK_SUCCESS)
        result = self->vk.CreateCommandPool(self->device, &pool, NULL, &self->upload_pool);
    if (result == VK_SUCCESS) {
        VkCommandBufferAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = self->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        result = self->vk.AllocateCommandBuffers(self->device, &info, &self->once);
    }
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "prepare the GPU's queue", ret_error);
    return cyx_vk_buffer_create(self, CYX_VK_STAGING_BYTES, true, "the copy buffer", &self->staging,
                                ret_error);
}

enum cyx_status cyx_vk_device_open(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error)
{
    struct cyx_device *self = calloc(1, sizeof *self);
    if (!self)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    enum cyx_status status = cyx_vk_api_init(&self->vk, ret_error);
    if (status == CYX_OK)
        status = create_instance(self, options->validation, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_select(self, options->index, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_tiling_choose(self, ret_error);
    if (status == CYX_OK)
        status = create_device(self, ret_error);
    if (status == CYX_OK)
        status = create_queue_objects(self, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_cache_open(self, options->cache_dir, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_pipelines_init(self, ret_error);
    status = cyx_vk_checked(self, status, ret_error);
    if (status != CYX_OK) {
        cyx_vk_device_close(self);
        return status;
    }
    *ret_device = self;
    return CYX_OK;
}

void cyx_vk_device_close(struct cyx_device *self)
{
    if (!self)
        return;
    if (self->device && self->vk.DestroyDevice) {
        self->vk.DeviceWaitIdle(self->device);
        cyx_vk_cache_save(self);
        cyx_vk_pipelines_finish(self);
        cyx_vk_buffer_destroy(self, &self->staging);
        self->vk.DestroyCommandPool(self->device, self->pool, NULL);
        self->vk.DestroyCommandPool(self->device, self->upload_pool, NULL);
        self->vk.DestroySemaphore(self->device, self->timeline, NULL);
        self->vk.DestroySemaphore(self->device, self->uploads, NULL);
        self->vk.DestroyDevice(self->device, NULL);
    }
    if (self->validation_text[0]) /* objects that outlived the device: nobody is left to fail */
        cyx_log(CYX_LOG_DEBUG, "Vulkan validation", CYX_STR("text", self->validation_text));
    if (self->messenger)
        self->vk.DestroyDebugUtilsMessengerEXT(self->instance, self->messenger, NULL);
    if (self->instance && self->vk.DestroyInstance)
        self->vk.DestroyInstance(self->instance, NULL);
    cyx_vk_api_finish(&self->vk);
    free(self->cache_path);
    free(self->pipelines);
    free(self);
}

/* Over the heaps of the device's own memory (software and integrated devices call main memory so). */
static void read_budget(const struct cyx_device *self, struct cyx_device_info *info)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    self->vk.GetPhysicalDeviceMemoryProperties2(self->physical, &memory);
    for (uint32_t i = 0; i < self->memory.memoryHeapCount; i++) {
        if (!(self->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
            continue;
        info->memory_used_bytes += (int64_t)budget.heapUsage[i];
        info->memory_budget_bytes += (int64_t)budget.heapBudget[i];
    }
}

void cyx_vk_device_info(const struct cyx_device *self, struct cyx_device_info *ret_info)
{
    struct cyx_device_info info = {
        .memory_bytes = cyx_vk_device_heap_bytes(self),
        .is_software = self->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
    };
    snprintf(info.backend, sizeof info.backend, "vulkan");
    snprintf(info.name, sizeof info.name, "%.127s", self->properties.deviceName);
    if (self->tells_budget)
        read_budget(self, &info);
    *ret_info = info;
}

enum cyx_status cyx_vk_submit(struct cyx_device *self, VkCommandBuffer commands,
                              uint64_t after_upload, uint64_t *ret_value,
                              struct cyx_error *ret_error)
{
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    uint64_t value = self->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = after_upload ? 1 : 0,
        .pWaitSemaphoreValues = &after_upload,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .waitSemaphoreCount = after_upload ? 1 : 0,
        .pWaitSemaphores = &self->uploads,
        .pWaitDstStageMask = &stages,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &self->timeline,
    };
    VkResult result = self->vk.QueueSubmit(self->queue, 1, &submit, VK_NULL_HANDLE);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "hand work to the GPU", ret_error);
    self->submitted = value;
    *ret_value = value;
    return CYX_OK;
}

enum cyx_status cyx_vk_submit_upload(struct cyx_device *self, VkCommandBuffer commands,
                                     uint64_t *ret_value, struct cyx_error *ret_error)
{
    uint64_t value = self->uploaded + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &self->uploads,
    };
    VkResult result = self->vk.QueueSubmit(self->upload_queue, 1, &submit, VK_NULL_HANDLE);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "hand a batch to the GPU", ret_error);
    self->uploaded = value;
    *ret_value = value;
    return CYX_OK;
}

enum cyx_status cyx_vk_wait(struct cyx_device *self, uint64_t value, struct cyx_error *ret_error)
{
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &self->timeline,
        .pValues = &value,
    };
    VkResult result = self->vk.WaitSemaphores(self->device, &info, UINT64_MAX);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "wait for the GPU", ret_error);
    return CYX_OK;
}
