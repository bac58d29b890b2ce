// CYX_OP_ADAM as torch.optim.Adam: weight decay is added to the gradient.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "optimizer.glsl"
#include "adam.glsl"

void update(Piece piece, uint i, vec4 g, float lr)
{
    vec4 w = weight[piece.weight + i];
    adam_step(piece, i, w, g + pc.weight_decay * w, lr);
}
