// CYX_OP_AVG_POOL2D_GRAD by gather: an input pixel sums its part of every window that covers it, in a fixed order.
// One invocation an input pixel.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pool.glsl"

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) writeonly buffer Dx { float dx[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uint plane = i / uint(pc.h * pc.w);
    int pixel = int(i % uint(pc.h * pc.w));
    int h = pixel / pc.w + pc.pad_h, w = pixel % pc.w + pc.pad_w;
    int h_last = min(h / pc.stride_h, pc.oh - 1), w_last = min(w / pc.stride_w, pc.ow - 1);
    float sum = 0.0;
    for (int oh = first_window(h, pc.kernel_h, pc.stride_h); oh <= h_last; oh++) {
        for (int ow = first_window(w, pc.kernel_w, pc.stride_w); ow <= w_last; ow++)
            sum += dy[plane * uint(pc.oh * pc.ow) + uint(oh * pc.ow + ow)] / window_of(oh, ow).divisor;
    }
    dx[i] = sum;
}
