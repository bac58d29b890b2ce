// Elementwise operations work on four elements an invocation. Every value is padded to a multiple of 16
// bytes, so the last group of four may touch padding and nothing else.
layout(push_constant) uniform Push {
    uint count; // groups of four
    uint p0, p1;
    float f0, f1, f2, f3, f4;
} pc;
