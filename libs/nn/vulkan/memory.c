/* Buffers, and copies between host and device outside of the step. */
#include "nn/vulkan/device.h"

#include <string.h>

#include "base/banned.h"

static const VkMemoryPropertyFlags HOST =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

/* The first type of `allowed` that has `wanted`; -1 for none. */
static int find_type(const struct cyx_device *self, uint32_t allowed, VkMemoryPropertyFlags wanted)
{
    for (uint32_t i = 0; i < self->memory.memoryTypeCount; i++) {
        if ((allowed >> i & 1) && (self->memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return (int)i;
    }
    return -1;
}

static int choose_type(const struct cyx_device *self, uint32_t allowed, bool host)
{
    /* cached: results are read back by the CPU */
    int type = find_type(self, allowed,
                         host ? HOST | VK_MEMORY_PROPERTY_HOST_CACHED_BIT
                              : VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    if (type < 0)
        type = find_type(self, allowed, host ? HOST : 0);
    return type;
}

int64_t cyx_vk_device_heap_bytes(const struct cyx_device *self)
{
    VkDeviceSize largest = 0;
    for (uint32_t i = 0; i < self->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &self->memory.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > largest)
            largest = heap->size;
    }
    return (int64_t)largest;
}

static enum cyx_status too_much(const struct cyx_device *self, int64_t bytes, int64_t limit,
                                const char *limit_name, const char *what,
                                struct cyx_error *ret_error)
{
    const double mib = 1024.0 * 1024.0;
    return cyx_error_set(
        ret_error, CYX_ERR_NO_MEMORY, NULL,
        "%s needs %.1f MiB on %s, whose %s is %.1f MiB: use a smaller batch or model", what,
        (double)bytes / mib, self->properties.deviceName, limit_name, (double)limit / mib);
}

static enum cyx_status allocate(struct cyx_device *self, struct cyx_vk_buffer *buffer, bool host,
                                const char *what, struct cyx_error *ret_error)
{
    VkMemoryRequirements needs;
    self->vk.GetBufferMemoryRequirements(self->device, buffer->buffer, &needs);
    int type = choose_type(self, needs.memoryTypeBits, host);
    if (type < 0)
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL, "%s has no memory for %s",
                             self->properties.deviceName, what);
    int64_t heap = (int64_t)self->memory.memoryHeaps[self->memory.memoryTypes[type].heapIndex].size;
    if ((int64_t)needs.size > heap)
        return too_much(self, (int64_t)needs.size, heap, "memory", what, ret_error);
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = (uint32_t)type,
    };
    VkResult result = self->vk.AllocateMemory(self->device, &info, NULL, &buffer->memory);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
        return too_much(self, (int64_t)needs.size, heap, "memory, shared with others,", what,
                        ret_error);
    if (result == VK_SUCCESS)
        result = self->vk.BindBufferMemory(self->device, buffer->buffer, buffer->memory, 0);
    if (result == VK_SUCCESS && host)
        result =
            self->vk.MapMemory(self->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "allocate GPU memory", ret_error);
    return CYX_OK;
}

enum cyx_status cyx_vk_buffer_create(struct cyx_device *self, int64_t bytes, bool host,
                                     const char *what, struct cyx_vk_buffer *ret_buffer,
                                     struct cyx_error *ret_error)
{
    struct cyx_vk_buffer buffer = {.bytes = cyx_vk_align(bytes > 0 ? bytes : 1)};
    if (buffer.bytes > self->max_allocation_bytes)
        return too_much(self, buffer.bytes, self->max_allocation_bytes, "largest allocation", what,
                        ret_error);
    const uint32_t families[2] = {self->queue_family, self->upload_family};
    bool two = families[0] != families[1];
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = (VkDeviceSize)buffer.bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        /* the batches' ring is used by both queues; for buffers, drivers take sharing for free */
        .sharingMode = two ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
        .queueFamilyIndexCount = two ? 2 : 0,
        .pQueueFamilyIndices = families,
    };
    VkResult result = self->vk.CreateBuffer(self->device, &info, NULL, &buffer.buffer);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "make a GPU buffer", ret_error);
    enum cyx_status status = allocate(self, &buffer, host, what, ret_error);
    if (status != CYX_OK) {
        cyx_vk_buffer_destroy(self, &buffer);
        return status;
    }
    *ret_buffer = buffer;
    return CYX_OK;
}

void cyx_vk_buffer_destroy(struct cyx_device *self, struct cyx_vk_buffer *buffer)
{
    if (buffer->buffer)
        self->vk.DestroyBuffer(self->device, buffer->buffer, NULL);
    if (buffer->memory)
        self->vk.FreeMemory(self->device, buffer->memory, NULL); /* unmaps */
    *buffer = (struct cyx_vk_buffer){0};
}

static enum cyx_status once_begin(struct cyx_device *self, struct cyx_error *ret_error)
{
    VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    VkResult result = self->vk.BeginCommandBuffer(self->once, &info);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "record a copy", ret_error);
    self->vk.CmdPipelineBarrier(
        self->once, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before, 0, NULL, 0, NULL);
    return CYX_OK;
}

/* Ends, submits and waits: what the copy wrote is then visible to the host and to every later submission. */
static enum cyx_status once_run(struct cyx_device *self, struct cyx_error *ret_error)
{
    VkMemoryBarrier after = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    self->vk.CmdPipelineBarrier(self->once, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &after, 0, NULL, 0, NULL);
    uint64_t value = 0;
    VkResult result = self->vk.EndCommandBuffer(self->once);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "record a copy", ret_error);
    enum cyx_status status = cyx_vk_submit(self, self->once, 0, &value, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_wait(self, value, ret_error);
    return status;
}

enum cyx_status cyx_vk_zero(struct cyx_device *self, struct cyx_vk_buffer *buffer,
                            struct cyx_error *ret_error)
{
    enum cyx_status status = once_begin(self, ret_error);
    if (status != CYX_OK)
        return status;
    self->vk.CmdFillBuffer(self->once, buffer->buffer, 0, VK_WHOLE_SIZE, 0);
    return once_run(self, ret_error);
}

/* One piece of a copy through the staging buffer, upwards when `to_device`. */
static enum cyx_status copy_piece(struct cyx_device *self, struct cyx_vk_buffer *buffer,
                                  int64_t offset, int64_t bytes, bool to_device,
                                  struct cyx_error *ret_error)
{
    enum cyx_status status = once_begin(self, ret_error);
    if (status != CYX_OK)
        return status;
    VkBufferCopy region = {
        .srcOffset = to_device ? 0 : (VkDeviceSize)offset,
        .dstOffset = to_device ? (VkDeviceSize)offset : 0,
        .size = (VkDeviceSize)bytes,
    };
    self->vk.CmdCopyBuffer(self->once, to_device ? self->staging.buffer : buffer->buffer,
                           to_device ? buffer->buffer : self->staging.buffer, 1, &region);
    return once_run(self, ret_error);
}

enum cyx_status cyx_vk_upload(struct cyx_device *self, struct cyx_vk_buffer *buffer, int64_t offset,
                              const void *data, int64_t bytes, struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    for (int64_t done = 0; done < bytes && status == CYX_OK;) {
        int64_t piece = bytes - done < self->staging.bytes ? bytes - done : self->staging.bytes;
        memcpy(self->staging.mapped, (const char *)data + done, (size_t)piece);
        status = copy_piece(self, buffer, offset + done, piece, true, ret_error);
        done += piece;
    }
    return status;
}

enum cyx_status cyx_vk_download(struct cyx_device *self, struct cyx_vk_buffer *buffer,
                                int64_t offset, void *ret_data, int64_t bytes,
                                struct cyx_error *ret_error)
{
    enum cyx_status status = CYX_OK;
    for (int64_t done = 0; done < bytes && status == CYX_OK;) {
        int64_t piece = bytes - done < self->staging.bytes ? bytes - done : self->staging.bytes;
        status = copy_piece(self, buffer, offset + done, piece, false, ret_error);
        if (status == CYX_OK)
            memcpy((char *)ret_data + done, self->staging.mapped, (size_t)piece);
        done += piece;
    }
    return status;
}
