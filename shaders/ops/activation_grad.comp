// CYX_OP_ACTIVATION_GRAD: dx = dy f'(x); s is y for Sigmoid and Tanh, x for the others. f0: LeakyReLU's slope.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"
#include "activation.glsl"

layout(binding = 0) readonly buffer Dy { vec4 dy[]; };
layout(binding = 1) readonly buffer S { vec4 s[]; };
layout(binding = 2) writeonly buffer Dx { vec4 dx[]; };

float slope(float v)
{
    float p, u;
    switch (FUNCTION) {
    case GELU: // Φ(x) + x φ(x)
        return normal_cdf(v) + v * 0.39894228040143268 * exp(-0.5 * v * v);
    case GELU_TANH: // p + x p (1 - p) d(2u)/dx
        u = gelu_tanh_argument(v);
        p = sigmoid(u);
        return p + v * p * sigmoid(-u) * 1.5957691216057308 * (1.0 + 0.134145 * v * v);
    case SILU:
        p = sigmoid(v);
        return p + v * p * sigmoid(-v);
    case SIGMOID:
        return v * (1.0 - v);
    case TANH:
        return 1.0 - v * v;
    default:
        return v > 0.0 ? 1.0 : pc.f0;
    }
}

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    vec4 v = s[i];
    dx[i] = dy[i] * vec4(slope(v.x), slope(v.y), slope(v.z), slope(v.w));
}
