/*
 * A step as a list of commands, independent of where its buffers lie, and its recording with barriers.
 *
 * A range is bytes in one of four spaces: the program's arena, the session's persistent values, the slot of the
 * ring that a submission uses, or the program's tables. The list is built once (lower.h) and recorded once a
 * slot.
 *
 * Barriers: a command waits for an earlier one when one of them writes bytes that the other touches (the arena
 * is shared, so a value's bytes may have been another's). Recording keeps the accesses since the last
 * barrier and sets one, for all of memory, only where a new command would clash with them.
 */
#ifndef CYX_NN_VULKAN_COMMANDS_H
#define CYX_NN_VULKAN_COMMANDS_H

#include "nn/vulkan/device.h"

enum cyx_vk_space { CYX_VK_ARENA, CYX_VK_PERSISTENT, CYX_VK_RING, CYX_VK_TABLES, CYX_VK_SPACES };

struct cyx_vk_range {
    enum cyx_vk_space space;
    int64_t offset, bytes; /* RING: within the slot */
};

struct cyx_vk_access {
    struct cyx_vk_range range;
    uint32_t binding;
    bool write;
};

struct cyx_vk_command {
    VkPipeline pipeline; /* VK_NULL_HANDLE: a copy of accesses[0] to accesses[1] */
    struct cyx_vk_access accesses[CYX_VK_BINDINGS];
    int n_accesses;
    uint32_t groups[3];
    uint8_t push[CYX_VK_PUSH_BYTES];
    uint32_t push_bytes;
};

struct cyx_vk_commands {
    struct cyx_vk_command *items;
    size_t count, capacity;
};

/* A zeroed command at the end of the list; NULL when memory ran out. */
struct cyx_vk_command *cyx_vk_commands_add(struct cyx_vk_commands *self);
void cyx_vk_commands_finish(struct cyx_vk_commands *self);

/* Where the spaces lie for one slot. */
struct cyx_vk_placement {
    VkBuffer buffers[CYX_VK_SPACES];
    int64_t offsets[CYX_VK_SPACES];
};

/* One descriptor set a dispatch from `descriptors`, then the commands with their barriers into `target`. */
enum cyx_status cyx_vk_commands_record(const struct cyx_vk_commands *self,
                                       struct cyx_device *device,
                                       const struct cyx_vk_placement *placement,
                                       VkDescriptorPool descriptors, VkCommandBuffer target,
                                       struct cyx_error *ret_error);

/* A barrier between all that came before, earlier submissions included, and all that follows. */
void cyx_vk_barrier(struct cyx_device *device, VkCommandBuffer target);

#endif
