// Philox4x32-10, the twin of libs/nn/tensor/philox.h: the same words bit for bit.
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

const uint PHILOX_DROPOUT = 0u; // enum cyx_philox_purpose

uvec4 philox_block(uvec2 seed, uint step, uint stream, uint purpose, uint block)
{
    uvec4 c = uvec4(block, step, stream, purpose);
    uvec2 k = seed;
    for (int round = 0; round < 10; round++) {
        uint a_high, a_low, b_high, b_low;
        umulExtended(0xD2511F53u, c.x, a_high, a_low);
        umulExtended(0xCD9E8D57u, c.z, b_high, b_low);
        c = uvec4(b_high ^ c.y ^ k.x, b_low, a_high ^ c.w ^ k.y, a_low);
        k += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}
