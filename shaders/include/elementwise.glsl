// Elementwise operations work on four elements an invocation. Every value is padded to a multiple of 16
// bytes, so the last group of four may touch padding and nothing else. struct elementwise_push in
// nn/vulkan/lower_elementwise.c.
layout(push_constant) uniform Push {
    uint count; // groups of four
    uint p0, p1;
    float f0;
} pc;
