// main() of a matrix product; see gemm.glsl for what stands before it.

#if CYX_TILE_SHARED

const uint THREADS_N = BLOCK_N / TILE_N;
const uint A_PITCH = BLOCK_M + 1, B_PITCH = BLOCK_N + 1; // one more, so that columns fall in different banks

shared float shared_a[BLOCK_K * A_PITCH];
shared float shared_b[BLOCK_K * B_PITCH];

void load_tile_a(uint m0, uint k0, uint k_end)
{
    uint thread = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    uint inner = A_K_MAJOR ? BLOCK_K : BLOCK_M, outer = A_K_MAJOR ? BLOCK_M : BLOCK_K;
    uint i = thread % inner;
    for (uint o = thread / inner; o < outer; o += threads / inner) {
        uint m = A_K_MAJOR ? o : i, k = A_K_MAJOR ? i : o;
        bool inside = m0 + m < pc.m && k0 + k < k_end;
        float value = 0.0;
        if (inside)
            value = a_at(a_row(m0 + m) + a_col(k0 + k));
        shared_a[k * A_PITCH + m] = value;
    }
}

void load_tile_b(uint n0, uint k0, uint k_end)
{
    uint thread = gl_LocalInvocationIndex, threads = gl_WorkGroupSize.x;
    uint inner = B_K_MAJOR ? BLOCK_K : BLOCK_N, outer = B_K_MAJOR ? BLOCK_N : BLOCK_K;
    uint i = thread % inner;
    for (uint o = thread / inner; o < outer; o += threads / inner) {
        uint n = B_K_MAJOR ? o : i, k = B_K_MAJOR ? i : o;
        bool inside = n0 + n < pc.n && k0 + k < k_end;
        float value = 0.0;
        if (inside)
            value = b_at(k0 + k, b_column(n0 + n));
        shared_b[k * B_PITCH + n] = value;
    }
}

void main()
{
    PLACE_WORKGROUP();
    uint m0 = tile / pc.tiles_n * BLOCK_M, n0 = tile % pc.tiles_n * BLOCK_N;
    uint row = gl_LocalInvocationIndex / THREADS_N * TILE_M, column = gl_LocalInvocationIndex % THREADS_N;
    float sum[TILE_M * TILE_N];
    float row_sum[TILE_M];
    for (uint i = 0; i < TILE_M * TILE_N; i++)
        sum[i] = 0.0;
    for (uint i = 0; i < TILE_M; i++)
        row_sum[i] = 0.0;

    for (uint k0 = k_begin; k0 < k_end; k0 += BLOCK_K) {
        load_tile_a(m0, k0, k_end);
        load_tile_b(n0, k0, k_end);
        barrier();
        for (uint k = 0; k < BLOCK_K; k++) {
            float a[TILE_M], b[TILE_N];
            for (uint i = 0; i < TILE_M; i++)
                a[i] = shared_a[k * A_PITCH + row + i];
            for (uint j = 0; j < TILE_N; j++)
                b[j] = shared_b[k * B_PITCH + column + j * THREADS_N];
            for (uint i = 0; i < TILE_M; i++) {
                if (ROW_SUMS)
                    row_sum[i] += a[i];
                for (uint j = 0; j < TILE_N; j++)
                    sum[i * TILE_N + j] += a[i] * b[j];
            }
        }
        barrier();
    }

    for (uint i = 0; i < TILE_M; i++) {
        uint m = m0 + row + i;
        if (m >= pc.m)
            break;
        for (uint j = 0; j < TILE_N; j++) {
            uint n = n0 + column + j * THREADS_N;
            if (n < pc.n)
                store(m, n, sum[i * TILE_N + j]);
        }
        if (ROW_SUMS && n0 == 0u && column == 0u)
            store_row_sum(m, row_sum[i]);
    }
}

#else

void main()
{
    PLACE_WORKGROUP();
    uint lane = gl_SubgroupInvocationID, width = gl_WorkGroupSize.x;
    uint m0 = tile / pc.tiles_n * TILE_M, n0 = tile % pc.tiles_n * (TILE_N * width) + lane;
    float sum[TILE_M * TILE_N];
    float row_sum[TILE_M];
    Column columns[TILE_N];
    uint rows[TILE_M];
    [[unroll]] for (uint i = 0; i < TILE_M * TILE_N; i++)
        sum[i] = 0.0;
    [[unroll]] for (uint i = 0; i < TILE_M; i++) {
        row_sum[i] = 0.0;
        rows[i] = a_row(min(m0 + i, pc.m - 1)); // rows past the edge are computed from the last and not stored
    }
    [[unroll]] for (uint j = 0; j < TILE_N; j++)
        columns[j] = b_column(min(n0 + j * width, pc.n - 1));

    for (uint k0 = k_begin; k0 < k_end; k0 += width) {
        float a[TILE_M];
        uint a_k = a_col(min(k0 + lane, k_end - 1));
        [[unroll]] for (uint i = 0; i < TILE_M; i++)
            a[i] = a_at(rows[i] + a_k);
        uint count = min(width, k_end - k0);
        for (uint k = 0; k < count; k++) {
            float b[TILE_N];
            [[unroll]] for (uint j = 0; j < TILE_N; j++)
                b[j] = b_at(k0 + k, columns[j]);
            [[unroll]] for (uint i = 0; i < TILE_M; i++) {
                float a_k_i = subgroupBroadcast(a[i], k);
                if (ROW_SUMS)
                    row_sum[i] += a_k_i;
                [[unroll]] for (uint j = 0; j < TILE_N; j++)
                    sum[i * TILE_N + j] += a_k_i * b[j];
            }
        }
    }

    [[unroll]] for (uint i = 0; i < TILE_M; i++) {
        if (m0 + i >= pc.m)
            break;
        [[unroll]] for (uint j = 0; j < TILE_N; j++) {
            if (n0 + j * width < pc.n)
                store(m0 + i, n0 + j * width, sum[i * TILE_N + j]);
        }
        if (ROW_SUMS && n0 == 0u)
            store_row_sum(m0 + i, row_sum[i]);
    }
}

#endif
