// CYX_OP_MAX_POOL2D_GRAD by gather: each input pixel asks the windows that cover it whether it won. No atomics,
// a fixed order: the same bits each run. One invocation an input pixel.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pool.glsl"

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) readonly buffer Index { int index[]; };
layout(binding = 2) writeonly buffer Dx { float dx[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uint plane = i / uint(pc.h * pc.w);
    int pixel = int(i % uint(pc.h * pc.w));
    int h = pixel / pc.w + pc.pad_h, w = pixel % pc.w + pc.pad_w;
    int h_first = first_window(h, (pc.kernel_h - 1) * pc.dilation_h + 1, pc.stride_h);
    int w_first = first_window(w, (pc.kernel_w - 1) * pc.dilation_w + 1, pc.stride_w);
    int h_last = min(h / pc.stride_h, pc.oh - 1), w_last = min(w / pc.stride_w, pc.ow - 1);
    float sum = 0.0;
    for (int oh = h_first; oh <= h_last; oh++) {
        for (int ow = w_first; ow <= w_last; ow++) {
            uint o = plane * uint(pc.oh * pc.ow) + uint(oh * pc.ow + ow);
            if (index[o] == pixel)
                sum += dy[o];
        }
    }
    dx[i] = sum;
}
