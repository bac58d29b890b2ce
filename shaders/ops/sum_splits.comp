// The second stage of a split product: adds the parts in order. A part holds the `count` elements of dW, then
// those of db.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer Parts { float parts[]; };
layout(binding = 1) writeonly buffer Dw { float dw[]; };
layout(binding = 2) writeonly buffer Db { float db[]; };

layout(push_constant) uniform Push {
    uint count, sum_count; // elements of dW and db
    uint splits, stride;
} pc;

void main()
{
    uint i = thread_index();
    if (i >= pc.count + pc.sum_count)
        return;
    float sum = 0.0;
    for (uint s = 0; s < pc.splits; s++)
        sum += parts[s * pc.stride + i];
    if (i < pc.count)
        dw[i] = sum;
    else
        db[i - pc.count] = sum;
}
