/* Pipelines by shader and specialisation constants, made on first use and kept as long as the device. */
#include "nn/vulkan/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* One layout for all: CYX_VK_BINDINGS storage buffers and 128 bytes of push constants. */
enum cyx_status cyx_vk_pipelines_init(struct cyx_device *self, struct cyx_error *ret_error)
{
    VkDescriptorSetLayoutBinding bindings[CYX_VK_BINDINGS];
    for (uint32_t i = 0; i < CYX_VK_BINDINGS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = CYX_VK_BINDINGS,
        .pBindings = bindings,
    };
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                .size = CYX_VK_PUSH_BYTES};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &self->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    VkResult result =
        self->vk.CreateDescriptorSetLayout(self->device, &set, NULL, &self->set_layout);
    if (result == VK_SUCCESS)
        result = self->vk.CreatePipelineLayout(self->device, &layout, NULL, &self->pipeline_layout);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "lay out the shaders' bindings", ret_error);
    return CYX_OK;
}

void cyx_vk_pipelines_finish(struct cyx_device *self)
{
    for (size_t i = 0; i < self->n_pipelines; i++)
        self->vk.DestroyPipeline(self->device, self->pipelines[i].pipeline, NULL);
    self->n_pipelines = 0;
    for (int i = 0; i < CYX_SHADER_COUNT; i++)
        self->vk.DestroyShaderModule(self->device, self->modules[i], NULL);
    self->vk.DestroyPipelineCache(self->device, self->cache, NULL);
    self->vk.DestroyPipelineLayout(self->device, self->pipeline_layout, NULL);
    self->vk.DestroyDescriptorSetLayout(self->device, self->set_layout, NULL);
}

static VkResult load_module(struct cyx_device *self, enum cyx_shader shader)
{
    if (self->modules[shader])
        return VK_SUCCESS;
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = cyx_shaders[shader].bytes,
        .pCode = cyx_shaders[shader].words,
    };
    return self->vk.CreateShaderModule(self->device, &info, NULL, &self->modules[shader]);
}

static VkResult create(struct cyx_device *self, struct cyx_vk_pipeline *entry, size_t n_constants)
{
    VkSpecializationMapEntry map[CYX_VK_CONSTANTS];
    for (uint32_t i = 0; i < n_constants; i++)
        map[i] = (VkSpecializationMapEntry){
            .constantID = i, .offset = i * sizeof(uint32_t), .size = sizeof(uint32_t)};
    VkSpecializationInfo specialisation = {
        .mapEntryCount = (uint32_t)n_constants,
        .pMapEntries = map,
        .dataSize = n_constants * sizeof(uint32_t),
        .pData = entry->constants,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = self->modules[entry->shader],
                .pName = "main",
                .pSpecializationInfo = &specialisation,
            },
        .layout = self->pipeline_layout,
    };
    return self->vk.CreateComputePipelines(self->device, self->cache, 1, &info, NULL,
                                           &entry->pipeline);
}

static bool reserve(struct cyx_device *self)
{
    if (self->n_pipelines < self->pipelines_capacity)
        return true;
    size_t capacity = self->pipelines_capacity ? 2 * self->pipelines_capacity : 32;
    struct cyx_vk_pipeline *grown = realloc(self->pipelines, capacity * sizeof *grown);
    if (!grown)
        return false;
    self->pipelines = grown;
    self->pipelines_capacity = capacity;
    return true;
}

enum cyx_status cyx_vk_pipeline_get(struct cyx_device *self, enum cyx_shader shader,
                                    const uint32_t *constants, size_t n_constants,
                                    VkPipeline *ret_pipeline, struct cyx_error *ret_error)
{
    struct cyx_vk_pipeline wanted = {.shader = shader};
    memcpy(wanted.constants, constants, n_constants * sizeof *constants);
    for (size_t i = 0; i < self->n_pipelines; i++) {
        const struct cyx_vk_pipeline *entry = &self->pipelines[i];
        if (entry->shader == shader &&
            memcmp(entry->constants, wanted.constants, sizeof wanted.constants) == 0) {
            *ret_pipeline = entry->pipeline;
            return CYX_OK;
        }
    }
    if (!reserve(self))
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    VkResult result = load_module(self, shader);
    if (result == VK_SUCCESS)
        result = create(self, &wanted, n_constants);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "compile a shader", ret_error);
    self->pipelines[self->n_pipelines++] = wanted;
    self->cache_stale = true;
    *ret_pipeline = wanted.pipeline;
    return CYX_OK;
}
