// CYX_OP_SQUARE_SUM, first stage: one workgroup adds the squares of one piece of a gradient, in a fixed order; one dispatch
// does all gradients, as a table says.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"

struct Piece {
    uint begin, count; // groups of four
    uint past_end;     // elements of the last group that are padding
    uint pad;
};

layout(binding = 0) readonly buffer Gradient { vec4 gradient[]; };
layout(binding = 1) readonly buffer Pieces { Piece pieces[]; };
layout(binding = 2) writeonly buffer Parts { float parts[]; };

layout(push_constant) uniform Push {
    uint pieces_here, first; // where this dispatch's parts begin
} pc;

void main()
{
    uint at = group_index();
    if (at >= pc.pieces_here)
        return;
    Piece piece = pieces[at];
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < piece.count; i += gl_WorkGroupSize.x) {
        vec4 g = gradient[piece.begin + i];
        if (i == piece.count - 1u)
            g = mix(g, vec4(0.0), lessThan(uvec4(3u, 2u, 1u, 0u), uvec4(piece.past_end)));
        sum += dot(g, g);
    }
    sum = reduce_sum(sum);
    if (gl_LocalInvocationIndex == 0u)
        parts[pc.first + at] = sum;
}
