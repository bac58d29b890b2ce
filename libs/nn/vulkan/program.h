/*
 * A graph compiled against a session: memory planned, the whole step recorded once a slot of the ring.
 *
 * The ring has CYX_STEPS_IN_FLIGHT slots, each [input | target | scalars | result], once in host memory and once
 * on the device. submit writes the slot's host side and replays two recordings: the copy up, on the upload queue,
 * which touches this slot alone and so runs while the step before still computes; and, once that is done, the step:
 * forward, loss, backward, optimizer, copy the result down.
 */
#ifndef CYX_NN_VULKAN_PROGRAM_H
#define CYX_NN_VULKAN_PROGRAM_H

#include "model/plan.h"
#include "nn/vulkan/commands.h"
#include "nn/vulkan/session.h"

struct cyx_vk_slot {
    VkCommandBuffer upload, commands;
    uint64_t done; /* the timeline's value once its last submission is done */
};

struct cyx_program {
    struct cyx_session *session;
    const struct cyx_graph *graph;
    const struct cyx_optimizer_spec *adam; /* for bias correction; NULL without Adam and AdamW */
    bool keeps_values;                     /* every transient has bytes of its own */
    struct cyx_vk_range *ranges; /* of each value; 0 bytes for what is not in the graph's nodes */
    struct cyx_vk_buffer arena, ring_host, ring_device, tables;
    int64_t input_offset, target_offset, scalars_offset, result_offset, slot_bytes;
    VkDescriptorPool descriptors;
    struct cyx_vk_slot slots[CYX_STEPS_IN_FLIGHT];
    uint64_t submitted, waited; /* tickets: 1, 2, … */
};

enum cyx_status cyx_vk_program_create(struct cyx_session *session, const struct cyx_graph *graph,
                                      struct cyx_program **ret_program,
                                      struct cyx_error *ret_error);
void cyx_vk_program_destroy(struct cyx_program *self);
enum cyx_status cyx_vk_program_submit(struct cyx_program *self, const struct cyx_feed *feed,
                                      uint64_t *ret_ticket, struct cyx_error *ret_error);
enum cyx_status cyx_vk_program_wait(struct cyx_program *self, uint64_t ticket,
                                    struct cyx_step_result *ret_result,
                                    struct cyx_error *ret_error);
enum cyx_status cyx_vk_transient_read(struct cyx_program *self, const char *name, float *ret_data,
                                      size_t count, struct cyx_error *ret_error);
int64_t cyx_vk_program_memory_bytes(const struct cyx_program *self);

#endif
