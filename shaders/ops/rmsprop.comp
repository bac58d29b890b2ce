// CYX_OP_RMSPROP as torch.optim.RMSprop: W -= lr g / (sqrt(s) + eps), s the running mean of squares; centered: less the
// square of the running mean; with momentum: by buffer = momentum buffer + g / (sqrt(s) + eps).
// f0 alpha, f1 1 - alpha, f2 momentum, f3 eps. state0 square_avg, state1 momentum_buffer, state2 grad_avg.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "optimizer.glsl"

const uint FLAG_MOMENTUM = 4u, FLAG_CENTERED = 8u;

layout(binding = 5) buffer SquareAvg { vec4 square_avg[]; };
layout(binding = 6) buffer Momentum { vec4 momentum[]; };
layout(binding = 7) buffer GradAvg { vec4 grad_avg[]; };

void update(Piece piece, uint i, vec4 g, float lr)
{
    vec4 w = weight[piece.weight + i];
    g += pc.weight_decay * w;
    vec4 s = pc.f0 * square_avg[piece.state0 + i] + pc.f1 * g * g;
    square_avg[piece.state0 + i] = s;
    if ((pc.flags & FLAG_CENTERED) != 0u) {
        vec4 mean = grad_avg[piece.state2 + i];
        mean += pc.f1 * (g - mean);
        grad_avg[piece.state2 + i] = mean;
        s = max(s - mean * mean, vec4(0.0)); // a variance; rounding may take it below 0
    }
    vec4 by = g / (sqrt(s) + pc.f3);
    if ((pc.flags & FLAG_MOMENTUM) != 0u) {
        by += pc.f2 * momentum[piece.state1 + i];
        momentum[piece.state1 + i] = by;
    }
    weight[piece.weight + i] = w - lr * by;
}
