// CYX_OP_BATCH_NORM, second stage: joins the chunks of a channel in order. One invocation a channel.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "channel.glsl"

layout(binding = 0) readonly buffer Means { float means[]; };     // (splits, C)
layout(binding = 1) readonly buffer Squares { float squares[]; }; // (splits, C)
layout(binding = 2) writeonly buffer M { float m[]; };
layout(binding = 3) writeonly buffer R { float r[]; };
layout(binding = 4) buffer RunningMean { float running_mean[]; };
layout(binding = 5) buffer RunningVar { float running_var[]; };

#include "batch_norm.glsl"

void main()
{
    uint c = thread_index();
    if (c >= pc.channels)
        return;
    float n = 0.0, mean = 0.0, sum = 0.0;
    for (uint s = 0; s < pc.splits; s++) {
        float part = float(min(pc.chunk, pc.count - s * pc.chunk)), d = means[s * pc.channels + c] - mean;
        float share = part / (n + part);
        sum += squares[s * pc.channels + c] + d * d * n * share;
        mean += d * share;
        n += part;
    }
    finish(c, mean, sum);
}
