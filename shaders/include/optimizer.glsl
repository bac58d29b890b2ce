// One dispatch updates all parameters that share an optimizer, a group and clipping: a workgroup takes a piece of one
// of them, as a table says. Every value is padded to a multiple of 16 bytes, so the last group of four may touch
// padding and nothing else. The includer defines update(), which gets the gradient as clipping leaves it.

// struct optimizer_push in nn/vulkan/lower_optimizer.c
layout(push_constant) uniform Push {
    uint pieces;
    uint group; // whose learning rate
    uint flags;
    float clip_value;
    float weight_decay;
    float f0, f1, f2, f3; // as the optimizer says
} pc;

const uint FLAG_FACTOR = 1u, FLAG_CLIP_VALUE = 2u;

struct Piece {
    uint weight, gradient, state0, state1, state2; // groups of four, from where each buffer begins
    uint count;
    uint pad0, pad1;
};

layout(binding = 0) buffer Weight { vec4 weight[]; };
layout(binding = 1) readonly buffer Gradient { vec4 gradient[]; };
layout(binding = 2) readonly buffer Pieces { Piece pieces[]; };
layout(binding = 3) readonly buffer Step { Scalars scalars; };
layout(binding = 4) readonly buffer Factor { float factor; }; // CYX_OP_CLIP_NORM

void update(Piece piece, uint i, vec4 g, float lr);

void main()
{
    uint at = group_index();
    if (at >= pc.pieces)
        return;
    Piece piece = pieces[at];
    float lr = scalars.lr[pc.group];
    for (uint i = gl_LocalInvocationIndex; i < piece.count; i += gl_WorkGroupSize.x) {
        vec4 g = gradient[piece.gradient + i];
        if ((pc.flags & FLAG_FACTOR) != 0u)
            g *= factor;
        if ((pc.flags & FLAG_CLIP_VALUE) != 0u) { // lets NaN through, as torch.clamp does
            g = mix(g, vec4(pc.clip_value), greaterThan(g, vec4(pc.clip_value)));
            g = mix(g, vec4(-pc.clip_value), lessThan(g, vec4(-pc.clip_value)));
        }
        update(piece, i, g, lr);
    }
}
