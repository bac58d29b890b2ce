// CYX_OP_ONE_HOT: y(N,C) is 1 where the class is, 0 elsewhere. One invocation an element.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer Target { int target[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

layout(push_constant) uniform Push {
    uint count, classes;
} pc;

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    y[i] = target[i / pc.classes] == int(i % pc.classes) ? 1.0 : 0.0;
}
