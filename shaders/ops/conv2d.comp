// CYX_OP_CONV2D as implicit GEMM, one product a group: m output channel, n pixel of the batch (N,OH,OW),
// k (c,kh,kw). A = W, B(k,n) = x under the kernel's tap, 0 in the padding.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common.glsl"
#include "gemm.glsl"
#include "conv.glsl"

layout(binding = 0) readonly buffer Weight { float weight[]; };
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

struct Column {
    uint plane; // where the image's first channel of this group begins
    int ih, iw; // the input pixel under tap (0,0), may lie outside
};

uint a_row(uint m)
{
    return (group * OG + m) * (CG * KHW);
}

uint a_col(uint k)
{
    return k;
}

float a_at(uint i)
{
    return weight[i];
}

Column b_column(uint n)
{
    uint image = n / OHW, pixel = n % OHW;
    int oh = int(pixel) / OW, ow = int(pixel) % OW;
    return Column((image * GROUPS + group) * CG * HW, oh * SH - PH, ow * SW - PW);
}

float b_at(uint k, Column column)
{
    uint c = k / KHW, tap = k % KHW;
    int ih = column.ih + int(tap / KW) * DH, iw = column.iw + int(tap % KW) * DW;
    bool inside = ih >= 0 && ih < H && iw >= 0 && iw < W;
    float value = x[inside ? column.plane + c * HW + uint(ih * W + iw) : 0u];
    return inside ? value : 0.0;
}

void store(uint m, uint n, float value)
{
    uint channel = group * OG + m;
    if ((pc.flags & FLAG_BIAS) != 0u)
        value += bias[channel];
    if ((pc.flags & FLAG_RELU) != 0u)
        value = value < 0.0 ? 0.0 : value; // lets NaN through, as PyTorch does
    y[(n / OHW * (GROUPS * OG) + channel) * OHW + n % OHW] = value;
}

void store_row_sum(uint m, float value)
{
}

#include "gemm_main.glsl"
