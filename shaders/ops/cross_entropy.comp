// CYX_OP_CROSS_ENTROPY, first stage: one workgroup a row writes (loss, correct, counts, weight) of that row.
// loss = -(1 - s) w_t log p[t] - s / C Σ w log p, with log p[c] = x[c] - max - log Σ exp(x - max).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Target { int target[]; };
layout(binding = 2) readonly buffer Weight { float weight[]; };
layout(binding = 3) writeonly buffer Rows { vec4 rows[]; };

#include "reduce.glsl"
#include "largest.glsl"
#include "loss.glsl"

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
    float loss = weight_of(uint(t)) * (log_sum - (x[i * pc.classes + uint(t)] - row.largest.value));
    if (pc.smoothing > 0.0)
        loss = (1.0 - pc.smoothing) * loss +
               pc.smoothing / float(pc.classes) * (row.weights * log_sum - row.sum);
    rows[i] = vec4(loss, row.largest.at == uint(t) ? 1.0 : 0.0, 1.0, weight_of(uint(t)));
}
