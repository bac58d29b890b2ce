// Shared by every operation: the grid and the step's scalars.
//
// A grid of more than 65,535 workgroups is folded into x and y, so the index of a workgroup is x + y * width;
// the last row may hold workgroups past the end, which the edge guard of each shader sends home.

layout(local_size_x_id = 0) in; // specialisation constant 0, always: invocations of a workgroup

uint group_index()
{
    return gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
}

uint thread_index()
{
    return group_index() * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
}

// What changes from step to step, uploaded with the batch (struct cyx_vk_scalars in nn/vulkan/lower.h).
struct Scalars {
    uint seed_low, seed_high, step, pad0;
    float bias_correction1;      // 1 - beta1^step
    float bias_correction2_sqrt; // sqrt(1 - beta2^step)
    uint pad1, pad2;
    float lr[8]; // of each parameter group
};
