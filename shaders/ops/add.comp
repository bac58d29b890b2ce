// CYX_OP_ADD: y = a + b, with a ReLU where p0 is 1.
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
    vec4 value = a[i] + b[i];
    if (pc.p0 != 0u)
        value = mix(value, vec4(0.0), lessThan(value, vec4(0.0))); // lets NaN through
    y[i] = value;
}
