// CYX_OP_LAYER_NORM_GRAD, dx: r (g - mean(g) - x̂ mean(g x̂)) over each row, with g = dy w and x̂ = (x - m) r. One
// workgroup a row. dw and db are channel_sums.comp's.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
#include "layer_norm.glsl"

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Weight { float weight[]; };
layout(binding = 3) readonly buffer M { float m[]; };
layout(binding = 4) readonly buffer R { float r[]; };
layout(binding = 5) writeonly buffer Dx { float dx[]; };

float gradient(uint base, uint i)
{
    float g = dy[base + i];
    return (pc.flags & FLAG_WEIGHT) != 0u ? g * weight[i] : g;
}

void main()
{
    uint row = group_index(), t = gl_LocalInvocationIndex;
    if (row >= pc.rows)
        return;
    uint base = row * pc.width;
    float mean = m[row], scale = r[row];
    vec2 sums = vec2(0.0);
    for (uint i = t; i < pc.width; i += gl_WorkGroupSize.x) {
        float g = gradient(base, i);
        sums += vec2(g, g * ((x[base + i] - mean) * scale));
    }
    float mean_g = reduce_sum(sums.x) / float(pc.width), mean_product = reduce_sum(sums.y) / float(pc.width);
    for (uint i = t; i < pc.width; i += gl_WorkGroupSize.x) {
        float x_hat = (x[base + i] - mean) * scale;
        dx[base + i] = scale * (gradient(base, i) - mean_g - x_hat * mean_product);
    }
}
