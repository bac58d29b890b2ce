// The second stage of every loss: one workgroup adds the rows (loss, correct, counts, weight) in a fixed order and
// writes the result. The loss is divided by the weights (CROSS_ENTROPY: the mean of nothing is NaN, as in PyTorch), or
// by the number of elements where that is given.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer Rows { vec4 rows[]; };
layout(binding = 1) writeonly buffer Result { float result[8]; }; // CYX_RESULT_*

// struct total_push in nn/vulkan/lower_loss.c
layout(push_constant) uniform Push {
    uint rows;
    float elements;
} pc;

shared vec4 part[gl_WorkGroupSize.x];

void main()
{
    uint t = gl_LocalInvocationIndex;
    vec4 sum = vec4(0.0);
    for (uint i = t; i < pc.rows; i += gl_WorkGroupSize.x)
        sum += rows[i];
    part[t] = sum;
    for (uint step = gl_WorkGroupSize.x / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t < step)
            part[t] += part[t + step];
    }
    if (t != 0u)
        return;
    float divisor = pc.elements > 0.0 ? pc.elements : part[0].w;
    result[0] = divisor > 0.0 ? part[0].x / divisor : uintBitsToFloat(0x7fc00000u);
    result[1] = part[0].y;
    result[2] = part[0].z;
    result[3] = part[0].w;
    for (uint i = 4u; i < 8u; i++)
        result[i] = 0.0;
}
