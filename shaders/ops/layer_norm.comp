// CYX_OP_LAYER_NORM: y = (x - m) r w + b over each row, r = 1 / sqrt(v + eps); w and b are as long as a row. The mean
// first, then the mean of squared differences from it: no difference of large squares. One workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "layer_norm.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };
layout(binding = 4) writeonly buffer M { float m[]; };
layout(binding = 5) writeonly buffer R { float r[]; };

void main()
{
    uint row = group_index(), t = gl_LocalInvocationIndex;
    if (row >= pc.rows)
        return;
    uint base = row * pc.width;
    float sum = 0.0, squares = 0.0;
    for (uint i = t; i < pc.width; i += gl_WorkGroupSize.x)
        sum += x[base + i];
    float mean = reduce_sum(sum) / float(pc.width);
    for (uint i = t; i < pc.width; i += gl_WorkGroupSize.x) {
        float d = x[base + i] - mean;
        squares += d * d;
    }
    float scale = 1.0 / sqrt(reduce_sum(squares) / float(pc.width) + pc.eps);
    for (uint i = t; i < pc.width; i += gl_WorkGroupSize.x) {
        float value = (x[base + i] - mean) * scale;
        if ((pc.flags & FLAG_WEIGHT) != 0u)
            value *= weight[i];
        if ((pc.flags & FLAG_BIAS) != 0u)
            value += bias[i];
        y[base + i] = value;
    }
    if (t == 0u) {
        m[row] = mean;
        r[row] = scale;
    }
}
