// CYX_OP_RELU: y = max(x, 0), NaN stays NaN.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"

layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    vec4 value = x[i];
    y[i] = mix(value, vec4(0.0), lessThan(value, vec4(0.0)));
}
