// CYX_OP_CONV2D_GRAD_INPUT as implicit GEMM, one product a group: m input channel, n input pixel of the batch
// (N,H,W), k (o,kh,kw). A(m,k) = W[o,m,kh,kw], B(k,n) = dy at the output pixel whose tap (kh,kw) lay on this
// input pixel, 0 where there is none (between strides, outside the plane). A gather: no atomics.
//
// With bias and ReLU it is CYX_OP_CONV_TRANSPOSE2D, of the convolution that maps its output to its input: "dy" is
// its x, "dx" its y.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common.glsl"
#include "gemm.glsl"
#include "conv.glsl"

layout(binding = 0) readonly buffer Weight { float weight[]; };
layout(binding = 1) readonly buffer Dy { float dy[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Dx { float dx[]; };

struct Column {
    uint plane;
    int h, w; // input pixel plus padding
};

uint a_row(uint m)
{
    return group * OG * CG * KHW + m * KHW;
}

uint a_col(uint k)
{
    return k / KHW * (CG * KHW) + k % KHW;
}

float a_at(uint i)
{
    return weight[i];
}

Column b_column(uint n)
{
    uint image = n / HW, pixel = n % HW;
    return Column((image * GROUPS + group) * OG * OHW, int(pixel) / W + PH, int(pixel) % W + PW);
}

float b_at(uint k, Column column)
{
    uint o = k / KHW, tap = k % KHW;
    int th = column.h - int(tap / KW) * DH, tw = column.w - int(tap % KW) * DW;
    bool inside = th >= 0 && tw >= 0 && th % SH == 0 && tw % SW == 0 && th < OH * SH && tw < OW * SW;
    float value = dy[inside ? column.plane + o * OHW + uint(th / SH * OW + tw / SW) : 0u];
    return inside ? value : 0.0;
}

void store(uint m, uint n, float value)
{
    uint channel = group * CG + m;
    if ((pc.flags & FLAG_BIAS) != 0u)
        value += bias[channel];
    if ((pc.flags & FLAG_RELU) != 0u)
        value = value < 0.0 ? 0.0 : value; // lets NaN through, as PyTorch does
    dx[(n / HW * (GROUPS * CG) + channel) * HW + n % HW] = value;
}

void store_row_sum(uint m, float value)
{
}

#include "gemm_main.glsl"
