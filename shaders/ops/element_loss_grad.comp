// CYX_OP_ELEMENT_LOSS_GRAD: dx = d loss(x, t) / dx over the number of elements. One invocation an element.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "element_loss.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { float target[]; };
layout(binding = 2) readonly buffer PosWeight { float pos_weight[]; };
layout(binding = 3) writeonly buffer Dx { float dx[]; };

// struct element_loss_grad_push in nn/vulkan/lower_loss.c
layout(push_constant) uniform Push {
    uint count;
    uint last; // elements of the last dimension
    float beta, scale;
    uint has_pos_weight;
} pc;

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    float pos = pc.has_pos_weight != 0u ? pos_weight[i % pc.last] : 1.0;
    dx[i] = slope_of(x[i], target[i], pc.beta, pos) * pc.scale;
}
