/*
 * The Vulkan backend's inner types: what a device holds, and how its parts call each other. Private to
 * libs/nn/vulkan; the world sees nn/backend.h.
 *
 * Layers of this room, each knowing only those before it:
 *     vk.h          the loader's functions
 *     device        instance, choice of the GPU (select.c), queue, timeline, validation messages
 *     memory        buffers, and one-off copies between host and device
 *     pipelines     shader + specialisation constants -> pipeline; cache: the same on disk
 *     tiles         which tile size a matrix product gets, by device
 *     lower*        a graph's nodes -> a list of commands (commands.h), no Vulkan call but pipelines
 *     commands      that list -> a recorded command buffer with the barriers it needs
 *     session, program, backend   nn/backend.h
 *
 * Thread rule and ownership: nn/backend.h's. Sizes and offsets are bytes in int64_t.
 */
#ifndef CYX_NN_VULKAN_DEVICE_H
#define CYX_NN_VULKAN_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/backend.h"
#include "nn/vulkan/vk.h"
#include "shaders/spirv.h"

enum {
    CYX_VK_BINDINGS = 8,     /* storage buffers of the one descriptor set layout */
    CYX_VK_PUSH_BYTES = 128, /* what every device has */
    CYX_VK_CONSTANTS = 24,   /* specialisation constants of a shader, at most */
    CYX_VK_ALIGN = 256, /* of every value: the largest minStorageBufferOffsetAlignment there is */
    CYX_VK_STAGING_BYTES = 4 << 20,
};

struct cyx_vk_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    int64_t bytes;
    void *mapped; /* NULL unless host-visible */
};

struct cyx_vk_pipeline {
    enum cyx_shader shader;
    uint32_t constants[CYX_VK_CONSTANTS];
    VkPipeline pipeline;
};

/* Which tiling of include/gemm.glsl matrix products use; see tiles.h. */
enum cyx_vk_tiling { CYX_VK_TILING_REGISTERS, CYX_VK_TILING_SHARED };

struct cyx_device {
    struct cyx_vk_api vk;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    VkQueue
        upload_queue; /* copies batches up beside the computing; `queue` where there is only that */
    uint32_t upload_family, upload_index;

    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    bool tells_budget; /* VK_EXT_memory_budget */
    uint8_t uuid[VK_UUID_SIZE];
    uint32_t subgroup_size;
    bool subgroup_broadcast;      /* by an index that is not a constant */
    int64_t max_allocation_bytes; /* of one buffer */
    enum cyx_vk_tiling tiling;

    VkSemaphore timeline; /* counts submissions to the queue */
    uint64_t submitted;   /* its value once all that was submitted is done */
    VkSemaphore uploads;  /* the same for the upload queue */
    uint64_t uploaded;
    VkCommandPool pool, upload_pool;
    VkCommandBuffer once; /* one-off copies */
    struct cyx_vk_buffer staging;

    VkDescriptorSetLayout set_layout;
    VkPipelineLayout pipeline_layout;
    VkPipelineCache cache;
    char *cache_path; /* NULL: no cache on disk */
    bool cache_stale; /* pipelines were made since it was read */
    VkShaderModule modules[CYX_SHADER_COUNT];
    struct cyx_vk_pipeline *pipelines;
    size_t n_pipelines, pipelines_capacity;

    char validation_text
        [480]; /* first message of the validation layer since the last look, "" for none */
};

/* device.c */
enum cyx_status cyx_vk_device_open(const struct cyx_device_options *options,
                                   struct cyx_device **ret_device, struct cyx_error *ret_error);
void cyx_vk_device_close(struct cyx_device *self);
void cyx_vk_device_info(const struct cyx_device *self, struct cyx_device_info *ret_info);

/* The status that stands for a failed VkResult: a lost device is UNAVAILABLE. `doing`: "submit the step". */
enum cyx_status cyx_vk_failed(VkResult result, const char *doing, struct cyx_error *ret_error);

/* Turns a pending validation message into CYX_ERR_INTERNAL; else gives `status` back. */
enum cyx_status cyx_vk_checked(struct cyx_device *self, enum cyx_status status,
                               struct cyx_error *ret_error);

/*
 * Submits `commands`, to start when the `uploads` timeline shows `after_upload` (0: at once). *ret_value is
 * what the timeline shows once they are done.
 */
enum cyx_status cyx_vk_submit(struct cyx_device *self, VkCommandBuffer commands,
                              uint64_t after_upload, uint64_t *ret_value,
                              struct cyx_error *ret_error);
/* Submits `commands` to the upload queue; *ret_value is of the `uploads` timeline. */
enum cyx_status cyx_vk_submit_upload(struct cyx_device *self, VkCommandBuffer commands,
                                     uint64_t *ret_value, struct cyx_error *ret_error);
enum cyx_status cyx_vk_wait(struct cyx_device *self, uint64_t value, struct cyx_error *ret_error);

/* select.c: chooses self->physical and its queue families, discrete before integrated before virtual before software. */
enum cyx_status cyx_vk_select(struct cyx_device *self, int index, struct cyx_error *ret_error);

/* memory.c. `what` names the buffer in the error that says how much was wanted. */
enum cyx_status cyx_vk_buffer_create(struct cyx_device *self, int64_t bytes, bool host,
                                     const char *what, struct cyx_vk_buffer *ret_buffer,
                                     struct cyx_error *ret_error);
void cyx_vk_buffer_destroy(struct cyx_device *self, struct cyx_vk_buffer *buffer);
int64_t cyx_vk_device_heap_bytes(const struct cyx_device *self);
enum cyx_status cyx_vk_zero(struct cyx_device *self, struct cyx_vk_buffer *buffer,
                            struct cyx_error *ret_error);
/* After all that was submitted before. */
enum cyx_status cyx_vk_upload(struct cyx_device *self, struct cyx_vk_buffer *buffer, int64_t offset,
                              const void *data, int64_t bytes, struct cyx_error *ret_error);
enum cyx_status cyx_vk_download(struct cyx_device *self, struct cyx_vk_buffer *buffer,
                                int64_t offset, void *ret_data, int64_t bytes,
                                struct cyx_error *ret_error);

/* pipelines.c. constants[i] is specialisation constant i; constant 0 is the workgroup's size. */
enum cyx_status cyx_vk_pipelines_init(struct cyx_device *self, struct cyx_error *ret_error);
void cyx_vk_pipelines_finish(struct cyx_device *self);
enum cyx_status cyx_vk_pipeline_get(struct cyx_device *self, enum cyx_shader shader,
                                    const uint32_t *constants, size_t n_constants,
                                    VkPipeline *ret_pipeline, struct cyx_error *ret_error);

/* cache.c: a cache that cannot be read or written costs time, nothing else. */
enum cyx_status cyx_vk_cache_open(struct cyx_device *self, const char *cache_dir,
                                  struct cyx_error *ret_error);
void cyx_vk_cache_save(struct cyx_device *self);

static inline int64_t cyx_vk_align(int64_t bytes)
{
    return (bytes + CYX_VK_ALIGN - 1) / CYX_VK_ALIGN * CYX_VK_ALIGN;
}

#endif
