// CYX_OP_SOFTMAX and CYX_OP_LOG_SOFTMAX: exp(x - max) / Σ exp(x - max), or x - max - log of that sum.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "softmax.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint i = row_index();
    if (i >= pc.rows)
        return;
    Row row = row_of(i);
    float largest = x[row.base];
    for (uint k = row.first; k < pc.width; k += row.step)
        largest = max(largest, x[row.base + k * pc.inner]);
    if (TOGETHER)
        largest = reduce_max(largest);
    float sum = 0.0;
    for (uint k = row.first; k < pc.width; k += row.step)
        sum += exp(x[row.base + k * pc.inner] - largest);
    sum = row_sum(sum);
    float log_sum = log(sum);
    for (uint k = row.first; k < pc.width; k += row.step) {
        uint at = row.base + k * pc.inner;
        float shifted = x[at] - largest;
        y[at] = LOG ? shifted - log_sum : exp(shifted) / sum;
    }
}
