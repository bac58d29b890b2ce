// CYX_OP_SQUARE_SUM, second stage: one workgroup adds the parts, and the sum before where there is one.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"

layout(binding = 0) readonly buffer Parts { float parts[]; };
layout(binding = 1) readonly buffer Before { float before; };
layout(binding = 2) writeonly buffer Sum { float total; };

layout(push_constant) uniform Push {
    uint parts_count, has_before;
} pc;

void main()
{
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < pc.parts_count; i += gl_WorkGroupSize.x)
        sum += parts[i];
    sum = reduce_sum(sum);
    if (gl_LocalInvocationIndex == 0u)
        total = pc.has_before != 0u ? before + sum : sum;
}
