// CYX_OP_DROPOUT and its gradient, which is the same map: y = x * mask / (1 - p). Element i is zeroed where
// cyx_philox_uniform() is below p; compared as integers: (word >> 8) < ceil(p * 2^24).
// p0 the layer's stream, p1 that threshold, f0 = 1 / (1 - p).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"
#include "philox.glsl"

layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
layout(binding = 2) readonly buffer Step { Scalars scalars; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uvec2 seed = uvec2(scalars.seed_low, scalars.seed_high);
    uvec4 words = philox_block(seed, scalars.step, pc.p0, PHILOX_DROPOUT, i) >> 8u;
    y[i] = mix(x[i] * pc.f0, vec4(0.0), lessThan(words, uvec4(pc.p1)));
}
