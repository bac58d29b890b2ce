// CYX_OP_CROSS_ENTROPY_GRAD: dx = (softmax(x) - q) / rows that count; 0 for a row that does not.
// One workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "loss.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { int target[]; };
layout(binding = 2) readonly buffer Result { vec4 result; };
layout(binding = 3) writeonly buffer Dx { float dx[]; };

#include "row.glsl"

void main()
{
    uint i = group_index();
    if (i >= pc.rows)
        return;
    uint base = i * pc.classes;
    Row row = read_row(base);
    int t = target[i];
    float scale = row_counts(t) ? 1.0 / result.z : 0.0;
    for (uint c = gl_LocalInvocationIndex; c < pc.classes; c += gl_WorkGroupSize.x) {
        float q = pc.smoothing / float(pc.classes) + (int(c) == t ? 1.0 - pc.smoothing : 0.0);
        float p = exp(x[base + c] - row.largest) / row.exp_sum;
        dx[base + c] = scale > 0.0 ? (p - q) * scale : 0.0;
    }
}
