// CYX_OP_LINEAR, LINEAR_GRAD_INPUT and LINEAR_GRAD_WEIGHT: one product, told apart by strides.
//   y = x Wᵀ + b:  A = x,   B(k,n) = W[n,k]
//   dx = dy W:     A = dy,  B = W
//   dW = dyᵀ x:    A(m,k) = dy[k,m], B = x; db = row sums of A
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common.glsl"
#include "gemm.glsl"

layout(binding = 0) readonly buffer A { float a_data[]; };
layout(binding = 1) readonly buffer B { float b_data[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer C { float c_data[]; };
layout(binding = 4) writeonly buffer Sums { float sums[]; };

struct Column {
    uint offset;
};

uint a_row(uint m)
{
    return m * pc.a_m;
}

uint a_col(uint k)
{
    return k * pc.a_k;
}

float a_at(uint i)
{
    return a_data[i];
}

Column b_column(uint n)
{
    return Column(n * pc.b_n);
}

float b_at(uint k, Column column)
{
    return b_data[k * pc.b_k + column.offset];
}

void store(uint m, uint n, float value)
{
    if ((pc.flags & FLAG_BIAS) != 0u)
        value += bias[n];
    if ((pc.flags & FLAG_RELU) != 0u)
        value = value < 0.0 ? 0.0 : value; // lets NaN through, as PyTorch does
    c_data[split * pc.split_stride + m * pc.n + n] = value;
}

void store_row_sum(uint m, float value)
{
    sums[split * pc.split_stride + pc.sum_offset + m] = value;
}

#include "gemm_main.glsl"
