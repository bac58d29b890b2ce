/* Any bytes as an archive: refused, or files and folders that stay where they belong and within the limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "blob/tar.h"
#include "blob/tar_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cyx_tar_limits limits = {.bytes = 1 << 20, .entries = 64};

struct seen {
    bool open;
    int64_t bytes, entries;
};

static void check_path(const char *path)
{
    if (!*path || *path == '/' || !cyx_text_is_plain(path))
        abort();
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length == 1 && *part == '.') ||
            (length == 2 && !strncmp(part, "..", 2)))
            abort();
        part += length + (part[length] == '/');
    }
}

static void count(struct seen *seen, size_t bytes)
{
    seen->bytes += (int64_t)bytes;
    if (seen->bytes > limits.bytes || seen->entries > limits.entries)
        abort();
}

static enum cyx_status on_folder(void *ctx, const char *path, struct cyx_error *error)
{
    struct seen *seen = ctx;
    (void)error;
    check_path(path);
    seen->entries++;
    count(seen, 0);
    return CYX_OK;
}

static enum cyx_status on_begin(void *ctx, const char *path, struct cyx_error *error)
{
    struct seen *seen = ctx;
    if (seen->open)
        abort();
    seen->open = true;
    return on_folder(ctx, path, error);
}

static enum cyx_status on_bytes(void *ctx, const void *bytes, size_t length,
                                struct cyx_error *error)
{
    struct seen *seen = ctx;
    (void)bytes;
    (void)error;
    if (!seen->open)
        abort();
    count(seen, length);
    return CYX_OK;
}

static enum cyx_status on_end(void *ctx, struct cyx_error *error)
{
    struct seen *seen = ctx;
    (void)error;
    if (!seen->open)
        abort();
    seen->open = false;
    return CYX_OK;
}

/* Headers get their right checksums, else none would be looked into. */
static void mend(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + TAR_BLOCK_BYTES <= size; at += TAR_BLOCK_BYTES) {
        struct tar_header *header = (void *)(data + at);
        if (memcmp(header->magic, "ustar", 5) == 0)
            snprintf(header->checksum, sizeof(header->checksum), "%06o", tar_checksum(header));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int memory = -1;
    struct seen seen = {0};
    struct cyx_error err = {0};
    const struct cyx_tar_sink sink = {on_folder, on_begin, on_bytes, on_end, &seen};
    if (memory < 0)
        memory = memfd_create("fuzz", 0);
    uint8_t *mended = malloc(size + 1);
    memcpy(mended, data, size);
    mend(mended, size);
    if (ftruncate(memory, 0) != 0 || pwrite(memory, mended, size, 0) != (ssize_t)size ||
        lseek(memory, 0, SEEK_SET) != 0)
        abort();
    free(mended);
    if (cyx_tar_read(memory, &limits, &sink, &err) != CYX_OK && err.message[0] == '\0')
        abort();
    return 0;
}
