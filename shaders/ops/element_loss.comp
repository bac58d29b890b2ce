// CYX_OP_ELEMENT_LOSS, first stage: one workgroup a chunk of a row writes (loss, correct, counts, 0) of it. With labels a
// row is one chunk, and correct where its largest element is the label's.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "element_loss.glsl"
#include "reduce.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { float target[]; };
layout(binding = 2) readonly buffer PosWeight { float pos_weight[]; };
layout(binding = 3) readonly buffer Labels { int labels[]; };
layout(binding = 4) writeonly buffer Rows { vec4 rows[]; };

#include "largest.glsl"

// struct element_loss_push in nn/vulkan/lower_loss.c
layout(push_constant) uniform Push {
    uint chunks; // of all rows
    uint width, splits, chunk;
    uint last; // elements of the last dimension
    float beta;
    uint has_pos_weight, has_labels;
} pc;

void main()
{
    uint i = group_index();
    if (i >= pc.chunks)
        return;
    uint row = i / pc.splits, split = i % pc.splits, base = row * pc.width;
    uint end = min(pc.width, (split + 1u) * pc.chunk);
    float sum = 0.0;
    for (uint k = split * pc.chunk + gl_LocalInvocationIndex; k < end; k += gl_WorkGroupSize.x) {
        float pos = pc.has_pos_weight != 0u ? pos_weight[k % pc.last] : 1.0;
        sum += loss_of(x[base + k], target[base + k], pc.beta, pos);
    }
    sum = reduce_sum(sum);
    float correct = 0.0;
    if (pc.has_labels != 0u)
        correct = int(largest_of(base, pc.width).at) == labels[row] ? 1.0 : 0.0;
    if (gl_LocalInvocationIndex == 0u)
        rows[i] = vec4(sum, correct, split == 0u ? 1.0 : 0.0, 0.0);
}
