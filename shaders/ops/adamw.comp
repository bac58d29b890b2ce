// CYX_OP_ADAMW as torch.optim.AdamW: decays the weight first.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "optimizer.glsl"
#include "adam.glsl"

void update(Piece piece, uint i, vec4 g, float lr)
{
    adam_step(piece, i, weight[piece.weight + i] * (1.0 - lr * pc.weight_decay), g, lr);
}
