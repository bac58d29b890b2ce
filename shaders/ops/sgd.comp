// CYX_OP_SGD as torch.optim.SGD: g = dW + weight_decay W; the first momentum buffer is g itself, later
// buffer = momentum buffer + (1 - dampening) g; Nesterov steps by g + momentum buffer.
// f0 momentum, f1 1 - dampening. state0 the momentum buffer, where there is one.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "optimizer.glsl"

const uint FLAG_MOMENTUM = 4u, FLAG_NESTEROV = 8u;

layout(binding = 5) buffer Momentum { vec4 momentum[]; };

void update(Piece piece, uint i, vec4 g, float lr)
{
    vec4 w = weight[piece.weight + i];
    g += pc.weight_decay * w;
    if ((pc.flags & FLAG_MOMENTUM) != 0u) {
        vec4 buf = g;
        if (scalars.step > 1u)
            buf = pc.f0 * momentum[piece.state0 + i] + pc.f1 * g;
        momentum[piece.state0 + i] = buf;
        g = (pc.flags & FLAG_NESTEROV) != 0u ? g + pc.f0 * buf : buf;
    }
    weight[piece.weight + i] = w - lr * g;
}
