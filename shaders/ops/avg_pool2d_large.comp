// CYX_OP_AVG_POOL2D of large windows, as global average pooling has: one workgroup an output, its sum in a fixed order.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pool.glsl"
#include "reduce.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint i = group_index();
    if (i >= pc.count)
        return;
    uint plane = i / uint(pc.oh * pc.ow), pixel = i % uint(pc.oh * pc.ow);
    Window window = window_of(int(pixel) / pc.ow, int(pixel) % pc.ow);
    uint base = plane * uint(pc.h * pc.w), width = uint(window.w_end - window.w_begin);
    uint count = uint(window.h_end - window.h_begin) * width;
    float sum = 0.0;
    for (uint e = gl_LocalInvocationIndex; e < count; e += gl_WorkGroupSize.x)
        sum += x[base + (uint(window.h_begin) + e / width) * uint(pc.w) + uint(window.w_begin) + e % width];
    sum = reduce_sum(sum);
    if (gl_LocalInvocationIndex == 0u)
        y[i] = sum / window.divisor;
}
