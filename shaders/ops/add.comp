// CYX_OP_ADD: y = a + b.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"

layout(binding = 0) readonly buffer A { vec4 a[]; };
layout(binding = 1) readonly buffer B { vec4 b[]; };
layout(binding = 2) writeonly buffer Y { vec4 y[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    y[i] = a[i] + b[i];
}
