// CYX_OP_MAX_POOL2D: the largest of the window, the first in row-major order when equal; padding never wins,
// a NaN always does (as in PyTorch). One invocation an output.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "pool.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };
layout(binding = 2) writeonly buffer Index { int index[]; };

void main()
{
    uint i = thread_index();
    if (i >= pc.count)
        return;
    uint plane = i / uint(pc.oh * pc.ow), pixel = i % uint(pc.oh * pc.ow);
    int h0 = int(pixel) / pc.ow * pc.stride_h - pc.pad_h, w0 = int(pixel) % pc.ow * pc.stride_w - pc.pad_w;
    uint base = plane * uint(pc.h * pc.w);
    float best = uintBitsToFloat(0xff800000u); // -infinity: of a window that holds padding alone
    int best_at = -1;
    for (int kh = 0; kh < pc.kernel_h; kh++) {
        int ih = h0 + kh * pc.dilation_h;
        if (ih < 0 || ih >= pc.h)
            continue;
        for (int kw = 0; kw < pc.kernel_w; kw++) {
            int iw = w0 + kw * pc.dilation_w;
            if (iw < 0 || iw >= pc.w)
                continue;
            float value = x[base + uint(ih * pc.w + iw)];
            if (best_at < 0 || value > best || (isnan(value) && !isnan(best))) {
                best = value;
                best_at = ih * pc.w + iw;
            }
        }
    }
    y[i] = best;
    index[i] = best_at;
}
