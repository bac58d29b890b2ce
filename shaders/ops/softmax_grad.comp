// CYX_OP_SOFTMAX_GRAD: dx = y (dy - Σ dy y); CYX_OP_LOG_SOFTMAX_GRAD: dx = dy - exp(y) Σ dy.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "softmax.glsl"

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) readonly buffer Y { float y[]; };
layout(binding = 2) writeonly buffer Dx { float dx[]; };

void main()
{
    uint i = row_index();
    if (i >= pc.rows)
        return;
    Row row = row_of(i);
    float sum = 0.0;
    for (uint k = row.first; k < pc.width; k += row.step) {
        uint at = row.base + k * pc.inner;
        sum += LOG ? dy[at] : dy[at] * y[at];
    }
    sum = row_sum(sum);
    for (uint k = row.first; k < pc.width; k += row.step) {
        uint at = row.base + k * pc.inner;
        dx[at] = LOG ? dy[at] - exp(y[at]) * sum : y[at] * (dy[at] - sum);
    }
}
