// Adds the chunks of channel_sums.comp in order. One invocation a channel.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "channel.glsl"

const uint PLAIN = 0u;
layout(constant_id = 3) const uint KIND = PLAIN;

layout(binding = 0) readonly buffer Sums { float sums[]; };
layout(binding = 1) readonly buffer Products { float products[]; };
layout(binding = 2) writeonly buffer Sum { float total_sum[]; };
layout(binding = 3) writeonly buffer Product { float total_product[]; };

void main()
{
    uint c = thread_index();
    if (c >= pc.channels)
        return;
    vec2 total = vec2(0.0);
    for (uint s = 0; s < pc.splits; s++) {
        total.x += sums[s * pc.channels + c];
        if (KIND != PLAIN)
            total.y += products[s * pc.channels + c];
    }
    total_sum[c] = total.x;
    if (KIND != PLAIN)
        total_product[c] = total.y;
}
