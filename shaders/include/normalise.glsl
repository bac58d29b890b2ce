// Elementwise over (N,C,PLANE), four elements an invocation, each with its channel; struct normalise_push in
// nn/vulkan/lower_norm.c.
layout(constant_id = 1) const uint PLANE = 1;

layout(push_constant) uniform Push {
    uint count; // groups of four
    uint channels;
    uint flags;
    float eps;      // BATCH_NORM_INFERENCE
    float elements; // of a channel: BATCH_NORM_GRAD
} pc;

const uint FLAG_WEIGHT = 1u, FLAG_BIAS = 2u, FLAG_RELU = 4u;

// The channels of group of four i. The last group may reach past the end: any channel does for what lies there.
uvec4 channels_of(uint i)
{
    if (PLANE % 4u == 0u)
        return uvec4(i * 4u / PLANE % pc.channels);
    return (uvec4(i * 4u) + uvec4(0u, 1u, 2u, 3u)) / PLANE % pc.channels;
}
