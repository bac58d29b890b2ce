// Sums over batch and plane of each channel of (N,C,plane), cut by cyx_vk_cut_channels(): a workgroup takes LANES
// channels side by side and one chunk of their N*plane elements; gl_WorkGroupID.z is which chunk. Invocation t
// works on channel t % LANES and on every ROWS-th element from t / LANES. struct channel_push in
// nn/vulkan/lower_norm.c.
layout(constant_id = 1) const uint LANES = 1;
layout(constant_id = 2) const uint PLANE = 1;

layout(push_constant) uniform Push {
    uint channels, count; // elements of a channel
    uint chunk, splits;
    float eps, momentum; // BATCH_NORM
} pc;

const uint ROWS = gl_WorkGroupSize.x / LANES; // a power of two

struct Place {
    uint channel, begin, end;
    bool inside; // the last workgroup may hold channels past the end: their invocations take part in the tree alone
};

Place place()
{
    uint t = gl_LocalInvocationIndex;
    uint begin = gl_WorkGroupID.z * pc.chunk;
    Place p = Place(group_index() * LANES + t % LANES, begin + t / LANES, min(pc.count, begin + pc.chunk), true);
    p.inside = p.channel < pc.channels;
    if (!p.inside)
        p.end = 0u;
    return p;
}

// Where element e of a channel stands.
uint element(uint channel, uint e)
{
    return (e / PLANE * pc.channels + channel) * PLANE + e % PLANE;
}
