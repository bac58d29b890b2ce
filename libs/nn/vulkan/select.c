/* Which GPU: usable ones only, discrete before integrated before virtual before software. */
#include "nn/vulkan/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { DEVICES_LIMIT = 32, FAMILIES_LIMIT = 32 };

/* Sparse binding stands beside copying on copy engines; video decoding and the like does not belong here. */
static const VkQueueFlags OTHER_ENGINES =
    ~(VkQueueFlags)(VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT |
                    VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT);

struct candidate {
    VkPhysicalDevice physical;
    uint32_t family, upload_family, upload_index;
    int rank;
    const char *lacks; /* why it cannot be used, NULL when it can */
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
};

static int rank_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 3;
    default:
        return 4;
    }
}

/* A family for compute alone runs beside the desktop's drawing; else any that computes. */
static bool find_family(const VkQueueFamilyProperties *families, uint32_t count,
                        uint32_t *ret_family)
{
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT))
            continue;
        bool compute_only = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (!found || compute_only)
            *ret_family = i;
        found = true;
        if (compute_only)
            break;
    }
    return found;
}

/*
 * For copies beside the computing: a family for copying alone (a GPU's copy engine), else a second queue of the
 * computing family, else the one queue.
 */
static void find_upload_queue(const VkQueueFamilyProperties *families, uint32_t count,
                              struct candidate *candidate)
{
    candidate->upload_family = candidate->family;
    candidate->upload_index = families[candidate->family].queueCount > 1 ? 1 : 0;
    for (uint32_t i = 0; i < count; i++) {
        VkQueueFlags flags = families[i].queueFlags;
        if ((flags & VK_QUEUE_TRANSFER_BIT) &&
            !(flags & (VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT | OTHER_ENGINES))) {
            candidate->upload_family = i;
            candidate->upload_index = 0;
            return;
        }
    }
}

static bool find_queues(struct cyx_device *self, struct candidate *candidate)
{
    VkQueueFamilyProperties families[FAMILIES_LIMIT];
    uint32_t count = FAMILIES_LIMIT;
    self->vk.GetPhysicalDeviceQueueFamilyProperties(candidate->physical, &count, families);
    if (!find_family(families, count, &candidate->family))
        return false;
    find_upload_queue(families, count, candidate);
    return true;
}

static void judge(struct cyx_device *self, struct candidate *candidate)
{
    VkPhysicalDeviceProperties properties;
    self->vk.GetPhysicalDeviceProperties(candidate->physical, &properties);
    candidate->rank = rank_of(properties.deviceType);
    memcpy(candidate->name, properties.deviceName, sizeof candidate->name);
    candidate->lacks = NULL;
    if (properties.apiVersion < VK_API_VERSION_1_2) {
        candidate->lacks = "Vulkan 1.2 (update its driver)";
        return;
    }
    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 features2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                           .pNext = &features};
    self->vk.GetPhysicalDeviceFeatures2(candidate->physical, &features2);
    if (!features.timelineSemaphore)
        candidate->lacks = "timeline semaphores";
    else if (!find_queues(self, candidate))
        candidate->lacks = "a compute queue";
    else if (properties.limits.maxPerStageDescriptorStorageBuffers < CYX_VK_BINDINGS)
        candidate->lacks = "eight storage buffers a shader";
    else if (properties.limits.minStorageBufferOffsetAlignment > CYX_VK_ALIGN)
        candidate->lacks = "storage buffers aligned to 256 bytes";
    else if (properties.limits.maxComputeWorkGroupInvocations < 128)
        candidate->lacks = "workgroups of 128";
}

/* Ranks ascending, the loader's order among equals. */
static void sort(struct candidate *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct candidate moving = list[i];
        size_t j = i;
        for (; j > 0 && list[j - 1].rank > moving.rank; j--)
            list[j] = list[j - 1];
        list[j] = moving;
    }
}

static bool has_extension(const struct cyx_device *self, const char *name)
{
    uint32_t count = 0;
    if (self->vk.EnumerateDeviceExtensionProperties(self->physical, NULL, &count, NULL) !=
        VK_SUCCESS)
        return false;
    VkExtensionProperties *list = calloc(count ? count : 1, sizeof(*list));
    bool found = false;
    if (list && self->vk.EnumerateDeviceExtensionProperties(self->physical, NULL, &count, list) ==
                    VK_SUCCESS)
        for (uint32_t i = 0; !found && i < count; i++)
            found = strcmp(list[i].extensionName, name) == 0;
    free(list);
    return found;
}

static void read_limits(struct cyx_device *self)
{
    VkPhysicalDeviceMaintenance3Properties maintenance3 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
                                       .pNext = &maintenance3};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &id};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    self->vk.GetPhysicalDeviceProperties2(self->physical, &properties);
    self->properties = properties.properties;
    self->subgroup_size = subgroup.subgroupSize;
    self->max_allocation_bytes = maintenance3.maxMemoryAllocationSize > INT64_MAX
                                     ? INT64_MAX
                                     : (int64_t)maintenance3.maxMemoryAllocationSize;
    memcpy(self->uuid, id.deviceUUID, sizeof self->uuid);

    VkPhysicalDeviceVulkan12Features features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 features2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                           .pNext = &features};
    self->vk.GetPhysicalDeviceFeatures2(self->physical, &features2);
    self->subgroup_broadcast = (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_BALLOT_BIT) &&
                               (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                               features.subgroupBroadcastDynamicId;
    self->vk.GetPhysicalDeviceMemoryProperties(self->physical, &self->memory);
    self->tells_budget = has_extension(self, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
}

enum cyx_status cyx_vk_select(struct cyx_device *self, int index, struct cyx_error *ret_error)
{
    VkPhysicalDevice physical[DEVICES_LIMIT];
    struct candidate usable[DEVICES_LIMIT], refused = {0};
    uint32_t count = DEVICES_LIMIT;
    size_t n_usable = 0;
    VkResult result = self->vk.EnumeratePhysicalDevices(self->instance, &count, physical);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct candidate candidate = {.physical = physical[i]};
        judge(self, &candidate);
        if (candidate.lacks)
            refused = candidate;
        else
            usable[n_usable++] = candidate;
    }
    if (n_usable == 0 && refused.lacks)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "no usable Vulkan device: %s lacks %s", refused.name, refused.lacks);
    if (n_usable == 0)
        return cyx_error_set(
            ret_error, CYX_ERR_UNAVAILABLE, NULL,
            "no Vulkan device on this machine: install mesa-vulkan-drivers, or the "
            "GPU maker's driver");
    if (index < 0 || (size_t)index >= n_usable)
        return cyx_error_set(ret_error, CYX_ERR_UNAVAILABLE, NULL,
                             "there is no Vulkan device %d: this machine has %zu, counted from 0",
                             index, n_usable);
    sort(usable, n_usable);
    self->physical = usable[index].physical;
    self->queue_family = usable[index].family;
    self->upload_family = usable[index].upload_family;
    self->upload_index = usable[index].upload_index;
    read_limits(self);
    return CYX_OK;
}
