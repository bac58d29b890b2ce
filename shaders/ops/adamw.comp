// CYX_OP_ADAMW as torch.optim.AdamW: decays first, then moments, then
// W -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps).
// f0 weight decay, f1 1 - beta1, f2 beta2, f3 1 - beta2, f4 eps.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "elementwise.glsl"

layout(binding = 0) buffer Weight { vec4 weight[]; };
layout(binding = 1) readonly buffer Gradient { vec4 gradient[]; };
layout(binding = 2) readonly buffer Step { Scalars scalars; };
layout(binding = 3) buffer ExpAvg { vec4 exp_avg[]; };
layout(binding = 4) buffer ExpAvgSq { vec4 exp_avg_sq[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    vec4 g = gradient[i];
    vec4 w = weight[i] * (1.0 - scalars.lr * pc.f0);
    vec4 m = exp_avg[i];
    m += pc.f1 * (g - m);
    vec4 v = pc.f2 * exp_avg_sq[i] + pc.f3 * g * g;
    vec4 denominator = sqrt(v) / scalars.bias_correction2_sqrt + pc.f4;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    weight[i] = w - scalars.lr / scalars.bias_correction1 * (m / denominator);
}
