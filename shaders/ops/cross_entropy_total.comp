// CYX_OP_CROSS_ENTROPY, second stage: one workgroup adds the rows in a fixed order and writes the result. No
// row that counts: the mean of nothing is NaN, as in PyTorch.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "loss.glsl"

layout(binding = 0) readonly buffer Rows { vec4 rows[]; };
layout(binding = 1) writeonly buffer Result { vec4 result; };

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
    float loss = part[0].z > 0.0 ? part[0].x / part[0].z : uintBitsToFloat(0x7fc00000u);
    result = vec4(loss, part[0].y, part[0].z, 0.0);
}
