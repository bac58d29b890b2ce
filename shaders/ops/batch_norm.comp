// CYX_OP_BATCH_NORM, last stage, and CYX_OP_BATCH_NORM_INFERENCE: y = act((x - m) r w + b). INFERENCE: m and r come from the
// running mean and variance, and R is the latter.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "normalise.glsl"

layout(constant_id = 2) const bool INFERENCE = false;

layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer M { float m[]; };
layout(binding = 4) readonly buffer R { float r[]; };
layout(binding = 5) writeonly buffer Y { vec4 y[]; };

float normalised(float value, uint c)
{
    float scale = INFERENCE ? 1.0 / sqrt(r[c] + pc.eps) : r[c];
    value = (value - m[c]) * scale;
    if ((pc.flags & FLAG_WEIGHT) != 0u)
        value *= weight[c];
    if ((pc.flags & FLAG_BIAS) != 0u)
        value += bias[c];
    return value;
}

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uvec4 c = channels_of(i);
    vec4 v = x[i];
    v = vec4(normalised(v.x, c.x), normalised(v.y, c.y), normalised(v.z, c.z), normalised(v.w, c.w));
    if ((pc.flags & FLAG_RELU) != 0u)
        v = mix(v, vec4(0.0), lessThan(v, vec4(0.0))); // lets NaN through
    y[i] = v;
}
