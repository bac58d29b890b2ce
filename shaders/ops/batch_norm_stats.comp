// CYX_OP_BATCH_NORM, first stage: mean and sum of squared differences of each channel, over one chunk of it. Each
// invocation by Welford's recurrence (Technometrics 1962), the tree by Chan, Golub and LeVeque's formula (1979): no
// difference of large squares. A channel of one chunk is finished here.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "channel.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Means { float means[]; };     // (splits, C)
layout(binding = 2) writeonly buffer Squares { float squares[]; }; // (splits, C)
layout(binding = 3) writeonly buffer M { float m[]; };
layout(binding = 4) writeonly buffer R { float r[]; };
layout(binding = 5) buffer RunningMean { float running_mean[]; };
layout(binding = 6) buffer RunningVar { float running_var[]; };

#include "batch_norm.glsl"

shared vec3 part[gl_WorkGroupSize.x]; // count, mean, squares

vec3 joined(vec3 a, vec3 b)
{
    float n = a.x + b.x;
    if (n == 0.0)
        return a;
    float d = b.y - a.y, share = b.x / n;
    return vec3(n, a.y + d * share, a.z + b.z + d * d * a.x * share);
}

void main()
{
    if (group_index() * LANES >= pc.channels)
        return;
    uint t = gl_LocalInvocationIndex;
    Place p = place();
    vec3 mine = vec3(0.0);
    for (uint e = p.begin; e < p.end; e += ROWS) {
        float value = x[element(p.channel, e)], d = value - mine.y;
        mine.x += 1.0;
        mine.y += d / mine.x;
        mine.z += d * (value - mine.y);
    }
    part[t] = mine;
    for (uint step = ROWS / 2u; step > 0u; step /= 2u) {
        barrier();
        if (t / LANES < step)
            part[t] = joined(part[t], part[t + step * LANES]);
    }
    if (t >= LANES || !p.inside)
        return;
    if (pc.splits == 1u) {
        finish(p.channel, part[t].y, part[t].z);
    } else {
        means[gl_WorkGroupID.z * pc.channels + p.channel] = part[t].y;
        squares[gl_WorkGroupID.z * pc.channels + p.channel] = part[t].z;
    }
}
