// CYX_OP_CROSS_ENTROPY_GRAD, with p = softmax(x): dx = ((1 - s) w_t (p - [c = t]) + s / C (p Σ w - w)) / Σ w_t, the
// divisor being the one of the loss; 0 for a row that does not count. One workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { int target[]; };
layout(binding = 2) readonly buffer Result { float result[8]; }; // CYX_RESULT_*
layout(binding = 3) readonly buffer Weight { float weight[]; };
layout(binding = 4) writeonly buffer Dx { float dx[]; };

#include "reduce.glsl"
#include "largest.glsl"
#include "loss.glsl"

void main()
{
    uint i = group_index();
    if (i >= pc.rows)
        return;
    uint base = i * pc.classes;
    Row row = read_row(base);
    int t = target[i];
    bool counts = row_counts(t);
    float scale = counts ? 1.0 / result[3] : 0.0;
    float of_target = counts ? (1.0 - pc.smoothing) * weight_of(uint(t)) : 0.0;
    float of_all = pc.smoothing / float(pc.classes);
    for (uint c = gl_LocalInvocationIndex; c < pc.classes; c += gl_WorkGroupSize.x) {
        float p = exp(x[base + c] - row.largest.value) / row.exp_sum;
        float slope = of_target * (int(c) == t ? p - 1.0 : p);
        if (pc.smoothing > 0.0)
            slope += of_all * (p * row.weights - weight_of(c));
        dx[base + c] = counts ? slope * scale : 0.0;
    }
}
