// C = A B for matrices that are read through functions, so that a convolution is a matrix product whose B
// is never written down (implicit GEMM). A is (m,k), B is (k,n), C is (m,n), one such product a group (grouped
// convolution) and a split (a slice of k whose partial sums sum_splits.comp adds up in a fixed order, so that
// the same input always gives the same bits; float atomics would not).
//
// The includer defines, for the group in `group`:
//     uint a_row(uint m), uint a_col(uint k), float a_at(uint i)   A(m,k) = a_at(a_row(m) + a_col(k))
//     Column                                                       what B needs to know of a column n
//     Column b_column(uint n), float b_at(uint k, Column c)        B(k,n) = b_at(k, b_column(n))
//     void store(uint m, uint n, float value)
//     void store_row_sum(uint m, float value)                      the sum of A's row, only called with ROW_SUMS
// Both loads are only asked for indices inside the matrix. Accumulation is fp32.
//
// Two tilings, chosen by nn/vulkan/tiles.c:
// CYX_TILE_SHARED 0: one subgroup a workgroup. Each invocation keeps TILE_M x TILE_N results in registers, its columns
//     SUBGROUP apart. The lanes load A for SUBGROUP values of k at once and pass it round by subgroupBroadcast, since
//     a load is what costs on a software rasteriser (there it is a loop over the lanes), arithmetic is not.
// CYX_TILE_SHARED 1: BLOCK_M x BLOCK_N results a workgroup, slices of BLOCK_K staged in shared memory, TILE_M x TILE_N
//     results an invocation. A_K_MAJOR and B_K_MAJOR say that neighbours in k lie side by side in memory, so
//     that neighbouring invocations load neighbouring addresses.

layout(constant_id = 1) const uint TILE_M = 8;
layout(constant_id = 2) const uint TILE_N = 4;
layout(constant_id = 3) const uint BLOCK_M = 64;
layout(constant_id = 4) const uint BLOCK_N = 64;
layout(constant_id = 5) const uint BLOCK_K = 16;
layout(constant_id = 6) const bool A_K_MAJOR = true;
layout(constant_id = 7) const bool B_K_MAJOR = false;
layout(constant_id = 8) const bool ROW_SUMS = false; // the bias gradient: db is the row sums of dyᵀ

const uint FLAG_BIAS = 1u, FLAG_RELU = 2u;

// struct gemm_push in nn/vulkan/lower_gemm.c
layout(push_constant) uniform Push {
    uint m, n, k; // of one group
    uint k_chunk; // how much of k one split takes
    uint splits;
    uint tiles_n, tiles;           // tiles across; tiles of one group and split
    uint flags;
    uint a_m, a_k, b_k, b_n;       // strides, Linear only
    uint split_stride, sum_offset; // where a split's C begins, and its row sums behind it
} pc;

uint group, split; // which product this workgroup works on

#define PLACE_WORKGROUP()                                                                          \
    group = gl_WorkGroupID.z / pc.splits;                                                          \
    split = gl_WorkGroupID.z % pc.splits;                                                          \
    uint tile = group_index();                                                                     \
    if (tile >= pc.tiles)                                                                          \
        return;                                                                                    \
    uint k_begin = split * pc.k_chunk, k_end = min(pc.k, k_begin + pc.k_chunk)

