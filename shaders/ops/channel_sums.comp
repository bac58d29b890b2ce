// For each channel over one chunk, Σ dy and Σ dy x̂, with x̂ = (x - m) r: what the gradients of BATCH_NORM (m and r a
// channel) and LAYER_NORM (m and r a row, whose plane is 1) need; or Σ dy alone, the bias gradient of
// CONV_TRANSPOSE2D. The sums of several chunks are added by channel_sums_total.comp.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "channel.glsl"

const uint PLAIN = 0u, BY_CHANNEL = 1u, BY_ROW = 2u; // enum channel_sums in nn/vulkan/lower_norm.c
layout(constant_id = 3) const uint KIND = PLAIN;

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer M { float m[]; };
layout(binding = 3) readonly buffer R { float r[]; };
layout(binding = 4) writeonly buffer Sums { float sums[]; };         // (splits, C) of dy
layout(binding = 5) writeonly buffer Products { float products[]; }; // (splits, C) of dy x̂

shared vec2 part[gl_WorkGroupSize.x];

void main()
{
    if (group_index() * LANES >= pc.channels)
        return;
    uint t = gl_LocalInvocationIndex;
    Place p = place();
    vec2 mine = vec2(0.0);
    float mean = 0.0, scale = 0.0;
    if (KIND == BY_CHANNEL && p.inside) {
        mean = m[p.channel];
        scale = r[p.channel];
    }
    for (uint e = p.begin; e < p.end; e += ROWS) {
        uint at = element(p.channel, e);
        float g = dy[at];
        mine.x += g;
        if (KIND == BY_ROW) {
            mean = m[e];
            scale = r[e];
        }
        if (KIND != PLAIN)
            mine.y += g * ((x[at] - mean) * scale);
    }
    part[t] = mine;
    for (uint step = ROWS / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t / LANES < step)
            part[t] += part[t + step * LANES];
    }
    if (t >= LANES || !p.inside)
        return;
    sums[gl_WorkGroupID.z * pc.channels + p.channel] = part[t].x;
    if (KIND != PLAIN)
        products[gl_WorkGroupID.z * pc.channels + p.channel] = part[t].y;
}
