// CYX_OP_SGD as torch.optim.SGD: g = dW + weight_decay W; the first momentum buffer is g itself, later
// buffer = momentum buffer + (1 - dampening) g; Nesterov steps by g + momentum buffer.
// p0: 1 has a momentum buffer, 2 Nesterov; f0 weight decay, f1 momentum, f2 1 - dampening.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"

layout(binding = 0) buffer Weight { vec4 weight[]; };
layout(binding = 1) readonly buffer Gradient { vec4 gradient[]; };
layout(binding = 2) readonly buffer Step { Scalars scalars; };
layout(binding = 3) buffer Momentum { vec4 momentum[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    vec4 w = weight[i];
    vec4 g = gradient[i] + pc.f0 * w;
    if ((pc.p0 & 1u) != 0u) {
        vec4 buf = g;
        if (scalars.step > 1u)
            buf = pc.f1 * momentum[i] + pc.f2 * g;
        momentum[i] = buf;
        g = (pc.p0 & 2u) != 0u ? g + pc.f1 * buf : buf;
    }
    weight[i] = w - scalars.lr * g;
}
