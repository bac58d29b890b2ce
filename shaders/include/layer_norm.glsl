// Rows of LAYER_NORM, one workgroup each; struct layer_norm_push in nn/vulkan/lower_norm.c.
layout(push_constant) uniform Push {
    uint rows, width;
    uint flags;
    float eps;
} pc;

const uint FLAG_WEIGHT = 1u, FLAG_BIAS = 2u;
