#include "nn/vulkan/tiles.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/*
 * Shared memory, largest first. A tile is taken when the product fills at least `min_workgroups` of it, so that
 * a GPU's cores all have work; the last takes what is left. 128 x 128 needs 16.1 KiB of shared memory, just
 * over the 16 KiB that every device has, and is passed over where there is no more.
 */
static const struct {
    struct cyx_vk_tile tile;
    int64_t min_workgroups;
} SHARED_TILES[] = {
    {{.threads = 256, .tile_m = 8, .tile_n = 8, .block_m = 128, .block_n = 128, .block_k = 16},
     128},
    {{.threads = 256, .tile_m = 4, .tile_n = 4, .block_m = 64, .block_n = 64, .block_k = 16}, 64},
    {{.threads = 64, .tile_m = 4, .tile_n = 4, .block_m = 32, .block_n = 32, .block_k = 16}, 0},
};

/*
 * Registers: one subgroup a workgroup, threads and block_n are filled in from the subgroup's size. A load costs
 * llvmpipe some hundred times what a multiply-add of its eight lanes does, so larger tiles pay until the
 * compiler's time does not: CPU ms a step of the MNIST MLP and CNN examples (batch 128 and 64) were 43 and 630 with
 * 8 x 4, 32 and 538 with 8 x 8, 36 and 533 with 16 x 4, and beyond that compiling took longer than training.
 */
static const struct cyx_vk_tile REGISTERS_TILE = {.tile_m = 8, .tile_n = 8, .block_m = 8};

/* Splits are made until so many workgroups are there, and none shorter than MIN_CHUNK. */
enum { GPU_WORKGROUPS = 256, SOFTWARE_WORKGROUPS = 16, MIN_CHUNK = 256, SPLITS_LIMIT = 256 };

/* Elements an invocation of a reduction takes at least, before its row or channel is split. */
enum { CHANNEL_ITEMS = 8 };

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

enum cyx_status cyx_vk_tiling_choose(struct cyx_device *device, struct cyx_error *ret_error)
{
    const char *wanted = getenv("CYXWIZ_VULKAN_TILING");
    bool software = device->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    device->tiling =
        software && device->subgroup_broadcast ? CYX_VK_TILING_REGISTERS : CYX_VK_TILING_SHARED;
    if (!wanted || !wanted[0])
        return CYX_OK;
    if (strcmp(wanted, "shared") == 0)
        device->tiling = CYX_VK_TILING_SHARED;
    else if (strcmp(wanted, "registers") != 0)
        return cyx_error_set(
            ret_error, CYX_ERR_INVALID, NULL,
            "CYXWIZ_VULKAN_TILING: expected \"registers\" or \"shared\", got \"%s\"", wanted);
    else if (!device->subgroup_broadcast)
        return cyx_error_set(ret_error, CYX_ERR_UNSUPPORTED, NULL,
                             "%s has no subgroup broadcast: unset CYXWIZ_VULKAN_TILING",
                             device->properties.deviceName);
    else
        device->tiling = CYX_VK_TILING_REGISTERS;
    return CYX_OK;
}

static int64_t shared_bytes(const struct cyx_vk_tile *tile)
{
    return (int64_t)tile->block_k * (tile->block_m + 1 + tile->block_n + 1) *
           (int64_t)sizeof(float);
}

static struct cyx_vk_tile choose_shared(const struct cyx_device *device,
                                        const struct cyx_vk_product *product)
{
    const size_t last = sizeof SHARED_TILES / sizeof SHARED_TILES[0] - 1;
    const VkPhysicalDeviceLimits *limits = &device->properties.limits;
    for (size_t i = 0; i < last; i++) {
        const struct cyx_vk_tile *tile = &SHARED_TILES[i].tile;
        int64_t splits = product->may_split ? divide_up(product->k, MIN_CHUNK) : 1;
        int64_t workgroups = divide_up(product->m, tile->block_m) *
                             divide_up(product->n, tile->block_n) * product->groups * splits;
        bool fits = shared_bytes(tile) <= (int64_t)limits->maxComputeSharedMemorySize &&
                    tile->threads <= limits->maxComputeWorkGroupInvocations &&
                    tile->threads <= limits->maxComputeWorkGroupSize[0];
        bool filled = 2 * product->m > tile->block_m && 2 * product->n > tile->block_n;
        if (fits && filled && workgroups >= SHARED_TILES[i].min_workgroups)
            return *tile;
    }
    return SHARED_TILES[last].tile;
}

static struct cyx_vk_tile choose_registers(const struct cyx_device *device)
{
    struct cyx_vk_tile tile = REGISTERS_TILE;
    tile.threads = device->subgroup_size;
    tile.block_n = tile.tile_n * tile.threads;
    return tile;
}

void cyx_vk_cut(const struct cyx_device *device, const struct cyx_vk_product *product,
                struct cyx_vk_cut *ret_cut)
{
    bool registers = device->tiling == CYX_VK_TILING_REGISTERS;
    struct cyx_vk_cut cut = {
        .tile = registers ? choose_registers(device) : choose_shared(device, product),
        .splits = 1,
        .k_chunk = product->k,
    };
    cut.tiles_m = divide_up(product->m, cut.tile.block_m);
    cut.tiles_n = divide_up(product->n, cut.tile.block_n);
    if (product->may_split) {
        int64_t workgroups = cut.tiles_m * cut.tiles_n * product->groups;
        int64_t wanted = divide_up(registers ? SOFTWARE_WORKGROUPS : GPU_WORKGROUPS, workgroups);
        int64_t most = divide_up(product->k, MIN_CHUNK);
        if (wanted > most)
            wanted = most;
        if (wanted > SPLITS_LIMIT)
            wanted = SPLITS_LIMIT;
        cut.k_chunk = divide_up(product->k, wanted);
        cut.splits = divide_up(product->k, cut.k_chunk);
    }
    *ret_cut = cut;
}

static bool is_software(const struct cyx_device *device)
{
    return device->tiling == CYX_VK_TILING_REGISTERS;
}

uint32_t cyx_vk_elementwise_threads(const struct cyx_device *device)
{
    return is_software(device) ? 64 : 128;
}

/* 256, or the 128 that every device has. */
static uint32_t most_threads(const struct cyx_device *device)
{
    const VkPhysicalDeviceLimits *limits = &device->properties.limits;
    bool large =
        limits->maxComputeWorkGroupInvocations >= 256 && limits->maxComputeWorkGroupSize[0] >= 256;
    return large ? 256 : 128;
}

uint32_t cyx_vk_row_threads(const struct cyx_device *device, int64_t length)
{
    if (is_software(device))
        return 8;
    return length < 1024 ? 64 : most_threads(device);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void cyx_vk_cut_channels(const struct cyx_device *device, int64_t channels, int64_t count,
                         int64_t plane, struct cyx_vk_channel_cut *ret_cut)
{
    /* neighbours in memory are neighbours in the plane, or, where that is short, channels */
    bool side_by_side = plane < 8;
    struct cyx_vk_channel_cut cut = {
        .threads = is_software(device) ? 8 : most_threads(device),
        .lanes = !side_by_side         ? 1
                 : is_software(device) ? 2
                                       : 32,
    };
    int64_t rows = cut.threads / cut.lanes;
    cut.blocks = divide_up(channels, cut.lanes);
    int64_t wanted =
        divide_up(is_software(device) ? SOFTWARE_WORKGROUPS : 2 * GPU_WORKGROUPS, cut.blocks);
    int64_t most = divide_up(count, rows * CHANNEL_ITEMS);
    cut.chunk = divide_up(count, least(least(wanted, most), SPLITS_LIMIT));
    cut.splits = divide_up(count, cut.chunk);
    *ret_cut = cut;
}

int64_t cyx_vk_row_splits(const struct cyx_device *device, int64_t rows, int64_t length)
{
    int64_t wanted =
        divide_up(is_software(device) ? SOFTWARE_WORKGROUPS : 2 * GPU_WORKGROUPS, rows);
    int64_t most = divide_up(length, (int64_t)cyx_vk_row_threads(device, length) * CHANNEL_ITEMS);
    return least(least(wanted, most), SPLITS_LIMIT);
}

uint32_t cyx_vk_piece(const struct cyx_device *device)
{
    return cyx_vk_elementwise_threads(device) * 8;
}
