// CYX_OP_ACTIVATION: y = f(x), f the constant FUNCTION. f0: LeakyReLU's slope.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"
#include "activation.glsl"

layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };

float activate(float v)
{
    switch (FUNCTION) {
    case GELU:
        return v * normal_cdf(v);
    case GELU_TANH:
        return v * sigmoid(gelu_tanh_argument(v));
    case SILU:
        return v * sigmoid(v);
    case SIGMOID:
        return sigmoid(v);
    case TANH:
        return tanh_of(v);
    default:
        return v > 0.0 ? v : v * pc.f0;
    }
}

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    vec4 v = x[i];
    y[i] = vec4(activate(v.x), activate(v.y), activate(v.z), activate(v.w));
}
