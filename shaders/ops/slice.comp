// CYX_OP_SLICE: y(outer, size, inner) is a part of x(outer, size of x, inner). One invocation an element of y.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

// struct slice_push in nn/vulkan/lower_elementwise.c
layout(push_constant) uniform Push {
    uint count;
    uint row, from_row, offset; // elements of y and of x for one outer index; where y begins in x's
} pc;

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    y[i] = x[i / pc.row * pc.from_row + pc.offset + i % pc.row];
}
