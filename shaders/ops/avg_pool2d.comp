// CYX_OP_AVG_POOL2D: the mean of the window; see pool.glsl for its divisor. One invocation an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pool.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uint plane = i / uint(pc.oh * pc.ow), pixel = i % uint(pc.oh * pc.ow);
    Window window = window_of(int(pixel) / pc.ow, int(pixel) % pc.ow);
    uint base = plane * uint(pc.h * pc.w);
    float sum = 0.0;
    for (int h = window.h_begin; h < window.h_end; h++) {
        for (int w = window.w_begin; w < window.w_end; w++)
            sum += x[base + uint(h * pc.w + w)];
    }
    y[i] = sum / window.divisor;
}
