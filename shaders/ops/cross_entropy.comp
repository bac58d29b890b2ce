// CYX_OP_CROSS_ENTROPY, first stage: one workgroup a row writes (loss, correct, counts) of that row.
// loss = -(1 - s) log p[target] - s / C Σ log p, with log p[c] = x[c] - max - log Σ exp(x - max).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "loss.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { int target[]; };
layout(binding = 2) writeonly buffer Rows { vec4 rows[]; };

#include "row.glsl"

void main()
{
    uint i = group_index();
    if (i >= pc.rows)
        return;
    Row row = read_row(i * pc.classes);
    if (gl_LocalInvocationIndex != 0u)
        return;
    int t = target[i];
    if (!row_counts(t)) {
        rows[i] = vec4(0.0);
        return;
    }
    float log_sum = log(row.exp_sum);
    float loss_target = log_sum - (x[i * pc.classes + uint(t)] - row.largest);
    float loss_all = float(pc.classes) * log_sum - row.sum;
    float loss = (1.0 - pc.smoothing) * loss_target;
    if (pc.smoothing > 0.0)
        loss += pc.smoothing / float(pc.classes) * loss_all;
    rows[i] = vec4(loss, row.largest_at == uint(t) ? 1.0 : 0.0, 1.0, 0.0);
}
