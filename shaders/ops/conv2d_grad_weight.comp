// CYX_OP_CONV2D_GRAD_WEIGHT as implicit GEMM, one product a group and split: m output channel, n (c,kh,kw),
// k output pixel of the batch (N,OH,OW). A(m,k) = dy, B(k,n) = x under tap (kh,kw) of that pixel; db = row sums
// of A. k is long and the result small, so it is split; sum_splits.comp adds the parts in order.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common.glsl"
#include "gemm.glsl"
#include "conv.glsl"

layout(binding = 0) readonly buffer Dy { float dy[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 3) writeonly buffer Dw { float dw[]; };
layout(binding = 4) writeonly buffer Db { float db[]; };

struct Column {
    uint plane; // offset of the channel within an image
    int h, w;   // the tap's distance from the window's corner, minus padding
};

uint a_row(uint m)
{
    return (group * OG + m) * OHW;
}

uint a_col(uint k)
{
    return k / OHW * (GROUPS * OG * OHW) + k % OHW;
}

float a_at(uint i)
{
    return dy[i];
}

Column b_column(uint n)
{
    uint c = n / KHW, tap = n % KHW;
    return Column((group * CG + c) * HW, int(tap / KW) * DH - PH, int(tap % KW) * DW - PW);
}

float b_at(uint k, Column column)
{
    uint image = k / OHW, pixel = k % OHW;
    int ih = int(pixel) / OW * SH + column.h, iw = int(pixel) % OW * SW + column.w;
    bool inside = ih >= 0 && ih < H && iw >= 0 && iw < W;
    float value = x[inside ? image * (GROUPS * CG * HW) + column.plane + uint(ih * W + iw) : 0u];
    return inside ? value : 0.0;
}

void store(uint m, uint n, float value)
{
    dw[split * pc.split_stride + (group * OG + m) * pc.n + n] = value;
}

void store_row_sum(uint m, float value)
{
    db[split * pc.split_stride + pc.sum_offset + group * OG + m] = value;
}

#include "gemm_main.glsl"
