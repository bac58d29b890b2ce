/*
 * How a matrix product is cut up, by device: the one place where numbers found by measuring stand.
 *
 * Two families (shaders/include/gemm.glsl): without shared memory for software rasterisers, with shared memory
 * for GPUs. A third, cooperative matrix, belongs here as a further enum cyx_vk_tiling and a further table in
 * tiles.c, chosen where the device has VK_KHR_cooperative_matrix; accumulation stays fp32.
 *
 * Everything is chosen from the device and the shape alone, never from load or time: same device, same bits.
 */
#ifndef CYX_NN_VULKAN_TILES_H
#define CYX_NN_VULKAN_TILES_H

#include "nn/vulkan/device.h"

struct cyx_vk_tile {
    uint32_t threads;          /* of a workgroup */
    uint32_t tile_m, tile_n;   /* results an invocation */
    uint32_t block_m, block_n; /* results a workgroup */
    uint32_t block_k;          /* depth of a slice in shared memory; 0 without */
};

/* What of a product decides its tile. */
struct cyx_vk_product {
    int64_t m, n, k;
    int64_t groups; /* products beside each other */
    bool may_split; /* k may be cut into splits, summed by a second stage */
};

struct cyx_vk_cut {
    struct cyx_vk_tile tile;
    int64_t tiles_m, tiles_n;
    int64_t splits, k_chunk; /* 1 split: k whole */
};

/*
 * Sets device->tiling: registers for software devices with a broadcast among the lanes, else shared. The
 * environment's CYXWIZ_VULKAN_TILING=registers|shared overrides, so that tests run both on one device; with
 * `shared` a software device gets a GPU's workgroups for everything else too;
 * CYX_ERR_INVALID for another word, CYX_ERR_UNSUPPORTED when the device cannot.
 */
enum cyx_status cyx_vk_tiling_choose(struct cyx_device *device, struct cyx_error *ret_error);

void cyx_vk_cut(const struct cyx_device *device, const struct cyx_vk_product *product,
                struct cyx_vk_cut *ret_cut);

/* Invocations of a workgroup for elementwise operations, and (a power of two) for one row of `length`. */
uint32_t cyx_vk_elementwise_threads(const struct cyx_device *device);
uint32_t cyx_vk_row_threads(const struct cyx_device *device, int64_t length);

/*
 * Sums of each channel over batch and plane, for (N,C,plane): a workgroup takes `lanes` channels side by side and
 * one of `splits` chunks of their N*plane elements; a second stage adds the chunks in order.
 */
struct cyx_vk_channel_cut {
    uint32_t threads, lanes;       /* powers of two */
    int64_t blocks, splits, chunk; /* workgroups across the channels; elements of a split */
};
void cyx_vk_cut_channels(const struct cyx_device *device, int64_t channels, int64_t count,
                         int64_t plane, struct cyx_vk_channel_cut *ret_cut);

/* Into how many chunks each of `rows` rows of `length` is cut, so that workgroups are enough. */
int64_t cyx_vk_row_splits(const struct cyx_device *device, int64_t rows, int64_t length);

/* Groups of four elements that one workgroup of an optimizer's update, or of a norm, takes of a parameter. */
uint32_t cyx_vk_piece(const struct cyx_device *device);

#endif
