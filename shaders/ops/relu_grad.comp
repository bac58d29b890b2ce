// CYX_OP_RELU_GRAD: dx = dy where y > 0, else 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"

layout(binding = 0) readonly buffer Dy { vec4 dy[]; };
layout(binding = 1) readonly buffer Y { vec4 y[]; };
layout(binding = 2) writeonly buffer Dx { vec4 dx[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    dx[i] = mix(vec4(0.0), dy[i], greaterThan(y[i], vec4(0.0)));
}
