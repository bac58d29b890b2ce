#include "nn/vulkan/commands.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* Accesses since the last barrier; when full, a barrier empties it early, which is always allowed. */
enum { HAZARDS_LIMIT = 256 };

struct hazards {
    struct {
        struct cyx_vk_range range;
        bool write;
    } items[HAZARDS_LIMIT];
    size_t count;
};

struct cyx_vk_command *cyx_vk_commands_add(struct cyx_vk_commands *self)
{
    if (self->count == self->capacity) {
        size_t capacity = self->capacity ? 2 * self->capacity : 64;
        struct cyx_vk_command *grown = realloc(self->items, capacity * sizeof *grown);
        if (!grown)
            return NULL;
        self->items = grown;
        self->capacity = capacity;
    }
    struct cyx_vk_command *command = &self->items[self->count++];
    memset(command, 0, sizeof *command);
    return command;
}

void cyx_vk_commands_finish(struct cyx_vk_commands *self)
{
    free(self->items);
    *self = (struct cyx_vk_commands){0};
}

void cyx_vk_barrier(struct cyx_device *device, VkCommandBuffer target)
{
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    device->vk.CmdPipelineBarrier(target, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static bool overlap(const struct cyx_vk_range *a, const struct cyx_vk_range *b)
{
    return a->space == b->space && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static bool clashes(const struct hazards *self, const struct cyx_vk_command *command)
{
    for (int i = 0; i < command->n_accesses; i++) {
        const struct cyx_vk_access *access = &command->accesses[i];
        for (size_t j = 0; j < self->count; j++) {
            if ((access->write || self->items[j].write) &&
                overlap(&access->range, &self->items[j].range))
                return true;
        }
    }
    return false;
}

static void guard(struct hazards *self, const struct cyx_vk_command *command,
                  struct cyx_device *device, VkCommandBuffer target)
{
    if (self->count + CYX_VK_BINDINGS > HAZARDS_LIMIT || clashes(self, command)) {
        cyx_vk_barrier(device, target);
        self->count = 0;
    }
    for (int i = 0; i < command->n_accesses; i++) {
        self->items[self->count].range = command->accesses[i].range;
        self->items[self->count++].write = command->accesses[i].write;
    }
}

static void record_copy(const struct cyx_vk_command *command, struct cyx_device *device,
                        const struct cyx_vk_placement *placement, VkCommandBuffer target)
{
    const struct cyx_vk_range *from = &command->accesses[0].range,
                              *to = &command->accesses[1].range;
    VkBufferCopy region = {
        .srcOffset = (VkDeviceSize)(placement->offsets[from->space] + from->offset),
        .dstOffset = (VkDeviceSize)(placement->offsets[to->space] + to->offset),
        .size = (VkDeviceSize)from->bytes,
    };
    device->vk.CmdCopyBuffer(target, placement->buffers[from->space], placement->buffers[to->space],
                             1, &region);
}

static enum cyx_status bind(const struct cyx_vk_command *command, struct cyx_device *device,
                            const struct cyx_vk_placement *placement, VkDescriptorPool descriptors,
                            VkCommandBuffer target, struct cyx_error *ret_error)
{
    VkDescriptorSet set;
    VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = descriptors,
        .descriptorSetCount = 1,
        .pSetLayouts = &device->set_layout,
    };
    VkResult result = device->vk.AllocateDescriptorSets(device->device, &info, &set);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "bind a shader's buffers", ret_error);
    VkDescriptorBufferInfo buffers[CYX_VK_BINDINGS];
    VkWriteDescriptorSet writes[CYX_VK_BINDINGS];
    for (int i = 0; i < command->n_accesses; i++) {
        const struct cyx_vk_range *range = &command->accesses[i].range;
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = placement->buffers[range->space],
            .offset = (VkDeviceSize)(placement->offsets[range->space] + range->offset),
            .range = (VkDeviceSize)range->bytes,
        };
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = command->accesses[i].binding,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffers[i],
        };
    }
    device->vk.UpdateDescriptorSets(device->device, (uint32_t)command->n_accesses, writes, 0, NULL);
    device->vk.CmdBindDescriptorSets(target, VK_PIPELINE_BIND_POINT_COMPUTE,
                                     device->pipeline_layout, 0, 1, &set, 0, NULL);
    return CYX_OK;
}

enum cyx_status cyx_vk_commands_record(const struct cyx_vk_commands *self,
                                       struct cyx_device *device,
                                       const struct cyx_vk_placement *placement,
                                       VkDescriptorPool descriptors, VkCommandBuffer target,
                                       struct cyx_error *ret_error)
{
    struct hazards hazards = {.count = 0};
    VkPipeline bound = VK_NULL_HANDLE;
    for (size_t i = 0; i < self->count; i++) {
        const struct cyx_vk_command *command = &self->items[i];
        guard(&hazards, command, device, target);
        if (!command->pipeline) {
            record_copy(command, device, placement, target);
            continue;
        }
        if (command->pipeline != bound)
            device->vk.CmdBindPipeline(target, VK_PIPELINE_BIND_POINT_COMPUTE, command->pipeline);
        bound = command->pipeline;
        enum cyx_status status = bind(command, device, placement, descriptors, target, ret_error);
        if (status != CYX_OK)
            return status;
        device->vk.CmdPushConstants(target, device->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                    command->push_bytes, command->push);
        device->vk.CmdDispatch(target, command->groups[0], command->groups[1], command->groups[2]);
    }
    return CYX_OK;
}
