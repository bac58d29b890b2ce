// CYX_OP_BATCH_NORM_GRAD, last stage: dx = w r (dy - mean(dy) - x̂ mean(dy x̂)), x̂ = (x - m) r.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "normalise.glsl"

layout(binding = 0) readonly buffer Dy { vec4 dy[]; };
layout(binding = 1) readonly buffer X { vec4 x[]; };
layout(binding = 2) readonly buffer Weight { float weight[]; };
layout(binding = 3) readonly buffer M { float m[]; };
layout(binding = 4) readonly buffer R { float r[]; };
layout(binding = 5) readonly buffer Sums { float sums[]; };         // Σ dy of each channel
layout(binding = 6) readonly buffer Products { float products[]; }; // Σ dy x̂
layout(binding = 7) writeonly buffer Dx { vec4 dx[]; };

float gradient(float g, float value, uint c)
{
    float scale = r[c], x_hat = (value - m[c]) * scale;
    if ((pc.flags & FLAG_WEIGHT) != 0u)
        scale *= weight[c];
    return scale * (g - sums[c] / pc.elements - x_hat * (products[c] / pc.elements));
}

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uvec4 c = channels_of(i);
    vec4 g = dy[i], v = x[i];
    dx[i] = vec4(gradient(g.x, v.x, c.x), gradient(g.y, v.y, c.y), gradient(g.z, v.z, c.z), gradient(g.w, v.w, c.w));
}
