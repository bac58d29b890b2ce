// A softmax's row of x(outer, width, inner), along the middle dimension: one workgroup a row, or (TOGETHER false: short rows,
// or rows whose neighbours in memory are other rows) one invocation a row. struct softmax_push in
// nn/vulkan/lower_softmax.c.
layout(constant_id = 1) const bool TOGETHER = true;
layout(constant_id = 2) const bool LOG = false; // LOG_SOFTMAX

layout(push_constant) uniform Push {
    uint rows, width, inner;
} pc;

struct Row {
    uint base, first, step; // element i stands at base + i * inner; this invocation's are first, first + step, …
};

uint row_index()
{
    return TOGETHER ? group_index() : thread_index();
}

Row row_of(uint row)
{
    uint base = row / pc.inner * pc.width * pc.inner + row % pc.inner;
    return TOGETHER ? Row(base, gl_LocalInvocationIndex, gl_WorkGroupSize.x) : Row(base, 0u, 1u);
}

float row_sum(float mine)
{
    return TOGETHER ? reduce_sum(mine) : mine;
}
