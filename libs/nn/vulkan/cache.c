/*
 * The pipeline cache on disk: <cache_dir>/vulkan-<device UUID>-<driver version>.bin, a header of ours and the
 * driver's bytes. Drivers trust what stands behind their own header, so ours carries a checksum; a file
 * that does not hold what it claims is ignored and written anew.
 */
#include "nn/vulkan/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

#include "base/banned.h"

enum { CACHE_LIMIT_BYTES = 256 << 20 };

static const char MAGIC[8] = "cyxvkpc1";

struct cache_header {
    char magic[8];
    uint64_t bytes;
    uint64_t checksum; /* FNV-1a of the bytes behind the header */
};

static uint64_t checksum(const uint8_t *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static char *cache_path(const struct cyx_device *self, const char *cache_dir)
{
    struct cyx_buf path = {0};
    cyx_buf_printf(&path, "%s/vulkan-", cache_dir);
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        cyx_buf_printf(&path, "%02x", self->uuid[i]);
    cyx_buf_puts(&path, "-");
    /* the driver's own UUID changes with its build, its version does not always */
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        cyx_buf_printf(&path, "%02x", self->properties.pipelineCacheUUID[i]);
    cyx_buf_printf(&path, "-%08x.bin", self->properties.driverVersion);
    return cyx_buf_steal(&path);
}

/* The driver's bytes within `file`, NULL when the file is not a whole cache. */
static const uint8_t *driver_bytes(const struct cyx_buf *file, size_t *ret_length)
{
    struct cache_header header;
    if (file->length < sizeof header)
        return NULL;
    memcpy(&header, file->data, sizeof header);
    const uint8_t *bytes = (const uint8_t *)file->data + sizeof header;
    if (memcmp(header.magic, MAGIC, sizeof MAGIC) != 0 ||
        header.bytes != file->length - sizeof header ||
        header.checksum != checksum(bytes, (size_t)header.bytes))
        return NULL;
    *ret_length = (size_t)header.bytes;
    return bytes;
}

enum cyx_status cyx_vk_cache_open(struct cyx_device *self, const char *cache_dir,
                                  struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf file = {0};
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (cache_dir) {
        mkdir(
            cache_dir,
            0700); /* there already, or cyx_vk_cache_save() will not be able to write: both fine */
        self->cache_path = cache_path(self, cache_dir);
        if (!self->cache_path)
            return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "out of memory");
        if (cyx_buf_read_file(&file, self->cache_path, CACHE_LIMIT_BYTES, NULL) == CYX_OK)
            info.pInitialData = driver_bytes(&file, &info.initialDataSize);
    }
    VkResult result = self->vk.CreatePipelineCache(self->device, &info, NULL, &self->cache);
    if (result != VK_SUCCESS)
        return cyx_vk_failed(result, "make the pipeline cache", ret_error);
    return CYX_OK;
}

void cyx_vk_cache_save(struct cyx_device *self)
{
    size_t length = 0;
    if (!self->cache_path || !self->cache || !self->cache_stale)
        return;
    self->cache_stale = false;
    if (self->vk.GetPipelineCacheData(self->device, self->cache, &length, NULL) != VK_SUCCESS ||
        length == 0 || length > CACHE_LIMIT_BYTES)
        return;
    struct cache_header header = {.bytes = length};
    uint8_t *file = malloc(sizeof header + length);
    if (!file)
        return;
    uint8_t *bytes = file + sizeof header;
    if (self->vk.GetPipelineCacheData(self->device, self->cache, &length, bytes) == VK_SUCCESS) {
        memcpy(header.magic, MAGIC, sizeof MAGIC);
        header.bytes = length;
        header.checksum = checksum(bytes, length);
        memcpy(file, &header, sizeof header);
        cyx_file_write_atomic(self->cache_path, file, sizeof header + length, 0600, NULL);
    }
    free(file);
}
