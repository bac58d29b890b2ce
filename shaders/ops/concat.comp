// CYX_OP_CONCAT of up to six values x(outer, size, inner) along the middle dimension. One invocation an element of y.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer X0 { float x0[]; };
layout(binding = 1) readonly buffer X1 { float x1[]; };
layout(binding = 2) readonly buffer X2 { float x2[]; };
layout(binding = 3) readonly buffer X3 { float x3[]; };
layout(binding = 4) readonly buffer X4 { float x4[]; };
layout(binding = 5) readonly buffer X5 { float x5[]; };
layout(binding = 6) writeonly buffer Y { float y[]; };

// struct concat_push in nn/vulkan/lower_elementwise.c
layout(push_constant) uniform Push {
    uint count;
    uint row;     // elements of y for one outer index
    uint ends[6]; // where each value's part of that row ends; those that are not there end where the last does
} pc;

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uint outer = i / pc.row, at = i % pc.row;
    uint which = 0u, begin = 0u;
    for (uint k = 0u; k < 5u; k++) {
        if (at >= pc.ends[k]) {
            which = k + 1u;
            begin = pc.ends[k];
        }
    }
    uint from = outer * (pc.ends[which] - begin) + at - begin;
    float value = 0.0;
    switch (which) {
    case 0u: value = x0[from]; break;
    case 1u: value = x1[from]; break;
    case 2u: value = x2[from]; break;
    case 3u: value = x3[from]; break;
    case 4u: value = x4[from]; break;
    default: value = x5[from]; break;
    }
    y[i] = value;
}
