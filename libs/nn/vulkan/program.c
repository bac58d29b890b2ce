#include "nn/vulkan/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/vulkan/lower.h"

#include "base/banned.h"

static int64_t value_bytes(const struct cyx_graph *graph, int32_t value)
{
    /* padded to 16 bytes: elementwise shaders work on four elements at once; both dtypes take 4 bytes */
    return (cyx_shape_count(&graph->values[value].shape) * 4 + 15) / 16 * 16;
}

/* The value whose bytes this one shares. */
static int32_t root_of(const struct cyx_graph *graph, int32_t value)
{
    while (value != CYX_NO_VALUE && graph->values[value].alias_of != CYX_NO_VALUE)
        value = graph->values[value].alias_of;
    return value;
}

static int64_t ring_bytes(const struct cyx_graph *graph, int32_t value)
{
    return cyx_vk_align(value == CYX_NO_VALUE ? 0 : value_bytes(graph, value));
}

static void lay_out_ring(struct cyx_program *self)
{
    const struct cyx_graph *graph = self->graph;
    self->input_offset = 0;
    self->target_offset = self->input_offset + ring_bytes(graph, graph->input);
    self->scalars_offset = self->target_offset + ring_bytes(graph, graph->target);
    self->result_offset =
        self->scalars_offset + cyx_vk_align((int64_t)sizeof(struct cyx_vk_scalars));
    self->slot_bytes =
        self->result_offset + cyx_vk_align(CYX_RESULT_ELEMENTS * (int64_t)sizeof(float));
}

static enum cyx_status plan_arena(struct cyx_program *self, const int64_t *scratch,
                                  int64_t *ret_offsets, int64_t *ret_scratch_offsets,
                                  int64_t *ret_bytes, struct cyx_error *ret_error)
{
    const struct cyx_graph *graph = self->graph;
    int64_t *sizes = calloc(graph->n_values, sizeof *sizes);
    if (!sizes)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < graph->n_values; i++)
        sizes[i] = value_bytes(graph, (int32_t)i);
    struct cyx_plan *plan = NULL;
    enum cyx_status status = (self->keeps_values ? cyx_plan_create_apart : cyx_plan_create)(
        graph, sizes, scratch, CYX_VK_ALIGN, ret_scratch_offsets, &plan, ret_error);
    if (status == CYX_OK) {
        memcpy(ret_offsets, plan->offset_bytes, graph->n_values * sizeof *ret_offsets);
        *ret_bytes = plan->arena_bytes;
    }
    cyx_plan_destroy(plan);
    free(sizes);
    return status;
}

/* Where the value's bytes lie. `value` shares nothing with another (a root). */
static enum cyx_status place(struct cyx_program *self, int32_t value, const int64_t *arena_offsets,
                             struct cyx_vk_range *ret_range, struct cyx_error *ret_error)
{
    const struct cyx_value *v = &self->graph->values[value];
    const struct cyx_vk_persistent *persistent;
    struct cyx_vk_range range = {.space = CYX_VK_RING, .bytes = value_bytes(self->graph, value)};
    switch (v->kind) {
    case CYX_VALUE_INPUT:
        range.offset = self->input_offset;
        break;
    case CYX_VALUE_TARGET:
        range.offset = self->target_offset;
        break;
    case CYX_VALUE_RESULT:
        range.offset = self->result_offset;
        break;
    case CYX_VALUE_PARAM:
    case CYX_VALUE_BUFFER:
    case CYX_VALUE_STATE:
    case CYX_VALUE_CONSTANT:
        persistent = cyx_vk_session_find(self->session, v->name);
        if (!persistent || persistent->count != cyx_shape_count(&v->shape))
            return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                                 "the session was made without %s: make it from the training graph",
                                 v->name);
        range.space = CYX_VK_PERSISTENT;
        range.offset = persistent->offset_bytes;
        break;
    case CYX_VALUE_TRANSIENT:
        range.space = CYX_VK_ARENA;
        range.offset = arena_offsets[value];
        if (range.offset < 0) /* no node touches it */
            range = (struct cyx_vk_range){.space = CYX_VK_ARENA};
        break;
    }
    *ret_range = range;
    return CYX_OK;
}

static enum cyx_status place_values(struct cyx_program *self, const int64_t *arena_offsets,
                                    struct cyx_error *ret_error)
{
    const struct cyx_graph *graph = self->graph;
    for (size_t i = 0; i < graph->n_values; i++) {
        enum cyx_status status =
            place(self, root_of(graph, (int32_t)i), arena_offsets, &self->ranges[i], ret_error);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

/* What lowering makes. */
struct lowered {
    struct cyx_vk_commands commands;
    struct cyx_vk_tables tables;
};

static enum cyx_status lower_nodes(struct cyx_program *self, const int64_t *scratch,
                                   const int64_t *scratch_offsets, struct lowered *lowered,
                                   struct cyx_error *ret_error)
{
    struct cyx_vk_lowering lowering = {
        .device = self->session->device,
        .graph = self->graph,
        .ranges = self->ranges,
        .scalars = {.space = CYX_VK_RING,
                    .offset = self->scalars_offset,
                    .bytes = sizeof(struct cyx_vk_scalars)},
        .commands = &lowered->commands,
        .tables = &lowered->tables,
    };
    for (size_t i = 0; i < self->graph->n_nodes; i++) {
        lowering.scratch = (struct cyx_vk_range){.space = CYX_VK_ARENA,
                                                 .offset = scratch[i] ? scratch_offsets[i] : 0,
                                                 .bytes = scratch[i]};
        enum cyx_status status = cyx_vk_lower(&lowering, &self->graph->nodes[i], ret_error);
        if (status != CYX_OK)
            return status;
    }
    return CYX_OK;
}

/* Bias correction is one pair of scalars a step, so all Adam and AdamW nodes must share their betas. */
static enum cyx_status find_adam(struct cyx_program *self, struct cyx_error *ret_error)
{
    for (size_t i = 0; i < self->graph->n_nodes; i++) {
        const struct cyx_node *node = &self->graph->nodes[i];
        if (node->op != CYX_OP_ADAM && node->op != CYX_OP_ADAMW)
            continue;
        if (self->adam && (self->adam->betas[0] != node->optimizer->betas[0] ||
                           self->adam->betas[1] != node->optimizer->betas[1]))
            return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                                 "the vulkan backend takes one pair of betas a model");
        self->adam = node->optimizer;
    }
    return CYX_OK;
}

static enum cyx_status create_tables(struct cyx_program *self, const struct cyx_vk_tables *tables,
                                     struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    int64_t bytes = (int64_t)(tables->count * sizeof *tables->words);
    if (bytes == 0)
        return CYX_OK;
    enum cyx_status status = cyx_vk_buffer_create(device, bytes, false, "tables of the parameters",
                                                  &self->tables, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_upload(device, &self->tables, 0, tables->words, bytes, ret_error);
    return status;
}

static enum cyx_status create_buffers(struct cyx_program *self, int64_t arena_bytes,
                                      struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    int64_t ring = self->slot_bytes * CYX_STEPS_IN_FLIGHT;
    enum cyx_status status = cyx_vk_buffer_create(
        device, arena_bytes, false, "the step's activations", &self->arena, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_buffer_create(device, ring, false, "the batches on the device",
                                      &self->ring_device, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_buffer_create(device, ring, true, "the batches on their way to the device",
                                      &self->ring_host, ret_error);
    if (status == CYX_OK) { /* so that a graph without a loss has a result too */
        memset(self->ring_host.mapped, 0, (size_t)self->ring_host.bytes);
        status = cyx_vk_zero(device, &self->ring_device, ret_error);
    }
    return status;
}

static enum cyx_status create_descriptors(struct cyx_program *self, size_t n_commands,
                                          struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    uint32_t sets = (uint32_t)(n_commands * CYX_STEPS_IN_FLIGHT) + 1;
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                 .descriptorCount = sets * CYX_VK_BINDINGS};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = sets,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkResult result =
        device->vk.CreateDescriptorPool(device->device, &pool, NULL, &self->descriptors);
    for (int i = 0; i < CYX_STEPS_IN_FLIGHT && result == VK_SUCCESS; i++) {
        VkCommandBufferAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
            .commandPool = device->pool,
            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
            .commandBufferCount = 1,
        };
        result = device->vk.AllocateCommandBuffers(device->device, &info, &self->slots[i].commands);
        info.commandPool = device->upload_pool;
        if (result == VK_SUCCESS)
            result =
                device->vk.AllocateCommandBuffers(device->device, &info, &self->slots[i].upload);
    }
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "prepare the step's recording", ret_error);
    return CYX_OK;
}

/* Input, target and scalars go up; the semaphore that the step waits for makes them visible to it. */
static enum cyx_status record_upload(struct cyx_program *self, int slot,
                                     struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    VkCommandBuffer target = self->slots[slot].upload;
    VkBufferCopy region = {
        .srcOffset = (VkDeviceSize)(slot * self->slot_bytes),
        .dstOffset = (VkDeviceSize)(slot * self->slot_bytes),
        .size = (VkDeviceSize)self->result_offset,
    };
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkResult result = device->vk.BeginCommandBuffer(target, &begin);
    if (result == VK_SUCCESS) {
        device->vk.CmdCopyBuffer(target, self->ring_host.buffer, self->ring_device.buffer, 1,
                                 &region);
        result = device->vk.EndCommandBuffer(target);
    }
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "record the upload", ret_error);
    return CYX_OK;
}

/* The result goes down to the host side of the slot, and becomes visible to the host. */
static void record_result(struct cyx_program *self, int64_t slot_offset, VkCommandBuffer target)
{
    struct cyx_device *device = self->session->device;
    VkBufferCopy region = {
        .srcOffset = (VkDeviceSize)(slot_offset + self->result_offset),
        .dstOffset = (VkDeviceSize)(slot_offset + self->result_offset),
        .size = CYX_RESULT_ELEMENTS * sizeof(float),
    };
    VkMemoryBarrier to_host = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    cyx_vk_barrier(device, target);
    device->vk.CmdCopyBuffer(target, self->ring_device.buffer, self->ring_host.buffer, 1, &region);
    device->vk.CmdPipelineBarrier(target, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                  VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host, 0, NULL, 0, NULL);
}

static enum cyx_status record_slot(struct cyx_program *self, int slot,
                                   const struct cyx_vk_commands *commands,
                                   struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    VkCommandBuffer target = self->slots[slot].commands;
    int64_t slot_offset = slot * self->slot_bytes;
    struct cyx_vk_placement placement = {
        .buffers = {[CYX_VK_ARENA] = self->arena.buffer,
                    [CYX_VK_PERSISTENT] = self->session->buffer.buffer,
                    [CYX_VK_RING] = self->ring_device.buffer,
                    [CYX_VK_TABLES] = self->tables.buffer},
        .offsets = {[CYX_VK_RING] = slot_offset},
    };
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkResult result = device->vk.BeginCommandBuffer(target, &begin);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "record the step", ret_error);
    cyx_vk_barrier(device, target); /* behind the step before, whose parameters it reads */
    enum cyx_status status =
        cyx_vk_commands_record(commands, device, &placement, self->descriptors, target, ret_error);
    if (status != CYX_OK)
        return status;
    record_result(self, slot_offset, target);
    result = device->vk.EndCommandBuffer(target);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "record the step", ret_error);
    return CYX_OK;
}

/* Plans, lowers and records. `work` holds three arrays: value offsets, scratch sizes, scratch offsets. */
static enum cyx_status compile(struct cyx_program *self, int64_t *work, struct lowered *lowered,
                               struct cyx_error *ret_error)
{
    const struct cyx_graph *graph = self->graph;
    struct cyx_device *device = self->session->device;
    int64_t *offsets = work, *scratch = work + graph->n_values;
    int64_t *scratch_offsets = scratch + graph->n_nodes, arena_bytes = 0;
    for (size_t i = 0; i < graph->n_nodes; i++)
        scratch[i] = cyx_vk_scratch_bytes(device, graph, &graph->nodes[i]);
    lay_out_ring(self);
    enum cyx_status status = find_adam(self, ret_error);
    if (status == CYX_OK)
        status = plan_arena(self, scratch, offsets, scratch_offsets, &arena_bytes, ret_error);
    if (status == CYX_OK)
        status = place_values(self, offsets, ret_error);
    if (status == CYX_OK)
        status = lower_nodes(self, scratch, scratch_offsets, lowered, ret_error);
    if (status == CYX_OK)
        status = create_buffers(self, arena_bytes, ret_error);
    if (status == CYX_OK)
        status = create_tables(self, &lowered->tables, ret_error);
    if (status == CYX_OK)
        status = create_descriptors(self, lowered->commands.count, ret_error);
    for (int slot = 0; slot < CYX_STEPS_IN_FLIGHT && status == CYX_OK; slot++) {
        status = record_upload(self, slot, ret_error);
        if (status == CYX_OK)
            status = record_slot(self, slot, &lowered->commands, ret_error);
    }
    return status;
}

enum cyx_status cyx_vk_program_create(struct cyx_session *session, const struct cyx_graph *graph,
                                      struct cyx_program **ret_program, struct cyx_error *ret_error)
{
    const char *keep = getenv("CYXWIZ_KEEP_VALUES");
    struct lowered lowered = {0};
    struct cyx_program *self = calloc(1, sizeof *self);
    int64_t *work = calloc(graph->n_values + 2 * graph->n_nodes + 1, sizeof *work);
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (self) {
        self->session = session;
        self->graph = graph;
        self->keeps_values = keep && strcmp(keep, "1") == 0;
        self->ranges = calloc(graph->n_values + 1, sizeof *self->ranges);
    }
    if (self && self->ranges && work)
        status = compile(self, work, &lowered, ret_error);
    else
        cyx_error_set(ret_error, status, NULL, "out of memory");
    cyx_vk_commands_finish(&lowered.commands);
    free(lowered.tables.words);
    free(work);
    status = cyx_vk_checked(session->device, status, ret_error);
    if (status != CYX_OK) {
        cyx_vk_program_destroy(self);
        return status;
    }
    cyx_vk_cache_save(session->device); /* so that a killed run leaves it behind too */
    *ret_program = self;
    return CYX_OK;
}

void cyx_vk_program_destroy(struct cyx_program *self)
{
    if (!self)
        return;
    struct cyx_device *device = self->session->device;
    device->vk.DeviceWaitIdle(device->device); /* steps nobody waited for */
    for (int i = 0; i < CYX_STEPS_IN_FLIGHT; i++) {
        struct cyx_vk_slot *slot = &self->slots[i];
        if (slot->commands)
            device->vk.FreeCommandBuffers(device->device, device->pool, 1, &slot->commands);
        if (slot->upload)
            device->vk.FreeCommandBuffers(device->device, device->upload_pool, 1, &slot->upload);
    }
    device->vk.DestroyDescriptorPool(device->device, self->descriptors, NULL);
    cyx_vk_buffer_destroy(device, &self->arena);
    cyx_vk_buffer_destroy(device, &self->ring_device);
    cyx_vk_buffer_destroy(device, &self->ring_host);
    cyx_vk_buffer_destroy(device, &self->tables);
    free(self->ranges);
    free(self);
}

static void write_scalars(const struct cyx_program *self, const struct cyx_feed *feed,
                          struct cyx_vk_scalars *ret_scalars)
{
    struct cyx_vk_scalars scalars = {
        .seed_low = (uint32_t)feed->seed,
        .seed_high = (uint32_t)(feed->seed >> 32),
        .step = (uint32_t)feed->step,
        .bias_correction1 = 1.0f,
        .bias_correction2_sqrt = 1.0f,
    };
    for (int i = 0; i < CYX_PARAM_GROUPS_LIMIT; i++)
        scalars.lr[i] = (float)feed->lr[i];
    if (self->adam && feed->step > 0) {
        double t = (double)feed->step;
        scalars.bias_correction1 = (float)(1.0 - pow(self->adam->betas[0], t));
        scalars.bias_correction2_sqrt = (float)sqrt(1.0 - pow(self->adam->betas[1], t));
    }
    *ret_scalars = scalars;
}

enum cyx_status cyx_vk_program_submit(struct cyx_program *self, const struct cyx_feed *feed,
                                      uint64_t *ret_ticket, struct cyx_error *ret_error)
{
    const struct cyx_graph *graph = self->graph;
    struct cyx_device *device = self->session->device;
    if (self->submitted - self->waited >= CYX_STEPS_IN_FLIGHT)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL,
                             "%d steps are under way: wait for the first", CYX_STEPS_IN_FLIGHT);
    if ((graph->input != CYX_NO_VALUE && !feed->input) ||
        (graph->target != CYX_NO_VALUE && !feed->target))
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "a step needs its input and target");
    size_t index = (size_t)(self->submitted % CYX_STEPS_IN_FLIGHT);
    struct cyx_vk_slot *slot = &self->slots[index];
    char *host = (char *)self->ring_host.mapped + (int64_t)index * self->slot_bytes;
    if (graph->input != CYX_NO_VALUE)
        memcpy(host + self->input_offset, feed->input,
               (size_t)cyx_shape_count(&graph->values[graph->input].shape) * sizeof *feed->input);
    if (graph->target != CYX_NO_VALUE)
        memcpy(host + self->target_offset, feed->target,
               (size_t)cyx_shape_count(&graph->values[graph->target].shape) * sizeof(int32_t));
    struct cyx_vk_scalars scalars;
    write_scalars(self, feed, &scalars);
    memcpy(host + self->scalars_offset, &scalars, sizeof scalars);
    uint64_t uploaded = 0;
    enum cyx_status status = cyx_vk_submit_upload(device, slot->upload, &uploaded, ret_error);
    if (status == CYX_OK)
        status = cyx_vk_submit(device, slot->commands, uploaded, &slot->done, ret_error);
    status = cyx_vk_checked(device, status, ret_error);
    if (status == CYX_OK)
        *ret_ticket = ++self->submitted;
    return status;
}

enum cyx_status cyx_vk_program_wait(struct cyx_program *self, uint64_t ticket,
                                    struct cyx_step_result *ret_result, struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    if (ticket != self->waited + 1 || ticket > self->submitted)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "tickets are waited for in order, once each: got %llu",
                             (unsigned long long)ticket);
    size_t index = (size_t)((ticket - 1) % CYX_STEPS_IN_FLIGHT);
    enum cyx_status status = cyx_vk_wait(device, self->slots[index].done, ret_error);
    self->waited = ticket;
    status = cyx_vk_checked(device, status, ret_error);
    if (status != CYX_OK)
        return status;
    float result[CYX_RESULT_ELEMENTS];
    memcpy(result,
           (char *)self->ring_host.mapped + (int64_t)index * self->slot_bytes + self->result_offset,
           sizeof result);
    *ret_result = (struct cyx_step_result){.loss = result[CYX_RESULT_LOSS],
                                           .correct = result[CYX_RESULT_CORRECT],
                                           .count = result[CYX_RESULT_COUNT],
                                           .grad_norm = result[CYX_RESULT_GRAD_NORM]};
    return CYX_OK;
}

/* Its bytes are nobody else's until the next step. */
static bool is_kept(const struct cyx_program *self, int32_t value)
{
    return self->keeps_values || self->ranges[value].space == CYX_VK_RING ||
           root_of(self->graph, value) == root_of(self->graph, self->graph->output);
}

enum cyx_status cyx_vk_transient_read(struct cyx_program *self, const char *name, float *ret_data,
                                      size_t count, struct cyx_error *ret_error)
{
    struct cyx_device *device = self->session->device;
    int32_t value = cyx_graph_find(self->graph, name);
    if (value == CYX_NO_VALUE)
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "the graph has no value %s", name);
    if ((size_t)cyx_shape_count(&self->graph->values[value].shape) != count)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "%s has %lld elements, got %zu",
                             name, (long long)cyx_shape_count(&self->graph->values[value].shape),
                             count);
    const struct cyx_vk_range *range = &self->ranges[value];
    if (range->space == CYX_VK_PERSISTENT)
        return cyx_vk_value_read(self->session,
                                 self->graph->values[root_of(self->graph, value)].name, ret_data,
                                 count, ret_error);
    if (self->submitted == 0)
        return cyx_error_set(ret_error, CYX_ERR_CONFLICT, NULL, "no step has run yet");
    if (range->bytes == 0 || !is_kept(self, value))
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "%s is not kept behind the step: set CYXWIZ_KEEP_VALUES=1", name);
    bool in_ring = range->space == CYX_VK_RING;
    int64_t slot = in_ring ? (int64_t)((self->submitted - 1) % CYX_STEPS_IN_FLIGHT) : 0;
    enum cyx_status status = cyx_vk_download(device, in_ring ? &self->ring_device : &self->arena,
                                             range->offset + slot * self->slot_bytes, ret_data,
                                             (int64_t)(count * sizeof *ret_data), ret_error);
    return cyx_vk_checked(device, status, ret_error);
}

int64_t cyx_vk_program_memory_bytes(const struct cyx_program *self)
{
    return self->session->buffer.bytes + self->arena.bytes + self->ring_device.bytes +
           self->ring_host.bytes + self->tables.bytes;
}
