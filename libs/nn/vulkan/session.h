/*
 * The persistent values of one model (parameters, optimizer state) in one buffer on the device.
 */
#ifndef CYX_NN_VULKAN_SESSION_H
#define CYX_NN_VULKAN_SESSION_H

#include "nn/vulkan/device.h"

struct cyx_vk_persistent {
    char *name;
    int64_t count, offset_bytes;
};

struct cyx_session {
    struct cyx_device *device;
    struct cyx_vk_buffer buffer;
    struct cyx_vk_persistent *values;
    size_t n_values;
};

enum cyx_status cyx_vk_session_create(struct cyx_device *device, const struct cyx_graph *graph,
                                      struct cyx_session **ret_session,
                                      struct cyx_error *ret_error);
void cyx_vk_session_destroy(struct cyx_session *self);

/* NULL when there is none of that name. */
const struct cyx_vk_persistent *cyx_vk_session_find(const struct cyx_session *self,
                                                    const char *name);

enum cyx_status cyx_vk_value_write(struct cyx_session *self, const char *name, const float *data,
                                   size_t count, struct cyx_error *ret_error);
enum cyx_status cyx_vk_value_read(struct cyx_session *self, const char *name, float *ret_data,
                                  size_t count, struct cyx_error *ret_error);

#endif
