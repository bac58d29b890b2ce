// CYX_OP_CLIP_NORM: the factor of torch.nn.utils.clip_grad_norm_, and the norm into the result. One invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(binding = 0) readonly buffer Sum { float sum; };
layout(binding = 1) writeonly buffer Result { float result[8]; }; // CYX_RESULT_*
layout(binding = 2) writeonly buffer Factor { float factor; };

layout(push_constant) uniform Push {
    float max_norm;
} pc;

void main()
{
    if (thread_index() != 0u)
        return;
    float norm = sqrt(sum), wanted = pc.max_norm / (norm + 1e-6);
    result[4] = norm;
    factor = wanted > 1.0 ? 1.0 : wanted; // NaN stays NaN
}
