#include "nn/format/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "nn/format/safetensors_json.h"

#include "base/banned.h"

struct cyx_safetensors_memory {
    struct cyx_arena arena;
    int fd;
    const struct cyx_safetensors_tensor **by_name; /* sorted */
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[CYX_ST_DTYPE_COUNT] = {
    [CYX_ST_BOOL] = {"BOOL", 1},       [CYX_ST_U8] = {"U8", 1},
    [CYX_ST_I8] = {"I8", 1},           [CYX_ST_F8_E5M2] = {"F8_E5M2", 1},
    [CYX_ST_F8_E4M3] = {"F8_E4M3", 1}, [CYX_ST_I16] = {"I16", 2},
    [CYX_ST_U16] = {"U16", 2},         [CYX_ST_F16] = {"F16", 2},
    [CYX_ST_BF16] = {"BF16", 2},       [CYX_ST_I32] = {"I32", 4},
    [CYX_ST_U32] = {"U32", 4},         [CYX_ST_F32] = {"F32", 4},
    [CYX_ST_F64] = {"F64", 8},         [CYX_ST_I64] = {"I64", 8},
    [CYX_ST_U64] = {"U64", 8},
};

const char *cyx_safetensors_dtype_name(enum cyx_safetensors_dtype dtype)
{
    return (unsigned)dtype < CYX_ST_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

size_t cyx_safetensors_dtype_bytes(enum cyx_safetensors_dtype dtype)
{
    return (unsigned)dtype < CYX_ST_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

static int compare_offset(const void *a, const void *b)
{
    const struct cyx_safetensors_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_name(const void *a, const void *b)
{
    const struct cyx_safetensors_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Bytes that dtype and shape ask for; false when they overflow. */
static bool tensor_bytes(const struct cyx_safetensors_tensor *tensor, uint64_t *ret_bytes)
{
    uint64_t bytes = cyx_safetensors_dtype_bytes(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)tensor->shape[i], &bytes))
            return false;
    *ret_bytes = bytes;
    return true;
}

static enum cyx_status check_tensor(const struct cyx_safetensors_tensor *tensor, uint64_t expected,
                                    uint64_t data_bytes, struct cyx_error *ret_error)
{
    const char *name = tensor->name;
    unsigned long long begin = tensor->begin, end = tensor->end;
    if (begin > end || end > data_bytes)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: \"%.200s\" spans bytes %llu to %llu of %llu", name,
                             begin, end, (unsigned long long)data_bytes);
    if (begin != expected)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: \"%.200s\" begins at byte %llu, expected %llu (%s)",
                             name, begin, (unsigned long long)expected,
                             begin < expected ? "tensors overlap" : "a gap");
    uint64_t bytes = 0;
    if (!tensor_bytes(tensor, &bytes) || bytes != end - begin)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: \"%.200s\" has %llu bytes, which is not what its dtype "
                             "%s and shape need",
                             name, end - begin, cyx_safetensors_dtype_name(tensor->dtype));
    size_t width = cyx_safetensors_dtype_bytes(tensor->dtype);
    if (width == 0 || begin % width != 0)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: \"%.200s\" begins at byte %llu, not aligned for %s",
                             name, begin, cyx_safetensors_dtype_name(tensor->dtype));
    return CYX_OK;
}

static enum cyx_status index_names(struct cyx_safetensors *self, struct cyx_error *ret_error)
{
    struct cyx_safetensors_memory *memory = self->memory;
    const size_t width = sizeof(struct cyx_safetensors_tensor *);
    memory->by_name = cyx_arena_calloc(&memory->arena, self->n_tensors, width);
    if (!memory->by_name)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a header");
    for (size_t i = 0; i < self->n_tensors; i++)
        memory->by_name[i] = &self->tensors[i];
    if (self->n_tensors)
        qsort(memory->by_name, self->n_tensors, width, compare_name);
    for (size_t i = 1; i < self->n_tensors; i++)
        if (strcmp(memory->by_name[i - 1]->name, memory->by_name[i]->name) == 0)
            return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                                 "safetensors: two tensors are called \"%.200s\"",
                                 memory->by_name[i]->name);
    return CYX_OK;
}

static enum cyx_status validate(struct cyx_safetensors *self, uint64_t data_bytes,
                                struct cyx_error *ret_error)
{
    if (self->n_tensors)
        qsort(self->tensors, self->n_tensors, sizeof(*self->tensors), compare_offset);
    uint64_t expected = 0;
    for (size_t i = 0; i < self->n_tensors; i++) {
        enum cyx_status status = check_tensor(&self->tensors[i], expected, data_bytes, ret_error);
        if (status != CYX_OK)
            return status;
        expected = self->tensors[i].end;
    }
    if (expected != data_bytes)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: the tensors fill %llu bytes, the file has %llu",
                             (unsigned long long)expected, (unsigned long long)data_bytes);
    return index_names(self, ret_error);
}

enum cyx_status cyx_safetensors_parse(const char *header, size_t length, uint64_t data_bytes,
                                      struct cyx_safetensors **ret_file,
                                      struct cyx_error *ret_error)
{
    if (length > CYX_SAFETENSORS_HEADER_LIMIT_BYTES)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: header of %zu bytes, at most %d are allowed", length,
                             CYX_SAFETENSORS_HEADER_LIMIT_BYTES);
    struct cyx_safetensors *self = calloc(1, sizeof(*self));
    struct cyx_safetensors_memory *memory = calloc(1, sizeof(*memory));
    if (!self || !memory) {
        free(self);
        free(memory);
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a header");
    }
    memory->fd = -1;
    self->memory = memory;
    enum cyx_status status =
        cyx_safetensors_json_parse(header, length, &memory->arena, self, ret_error);
    if (status == CYX_OK)
        status = validate(self, data_bytes, ret_error);
    if (status != CYX_OK) {
        cyx_safetensors_close(self);
        return status;
    }
    self->data_offset_bytes = 8 + length;
    *ret_file = self;
    return CYX_OK;
}

static enum cyx_status read_at(int fd, void *bytes, size_t length, uint64_t offset,
                               struct cyx_error *ret_error)
{
    char *to = bytes;
    while (length) {
        ssize_t n = pread(fd, to, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cyx_error_errno(ret_error, "cannot read a safetensors file");
        if (n == 0)
            return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                                 "safetensors: the file ends early");
        to += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return CYX_OK;
}

static enum cyx_status open_fd(int fd, struct cyx_safetensors **ret_file,
                               struct cyx_error *ret_error)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return cyx_error_errno(ret_error, "cannot read a safetensors file");
    if (!S_ISREG(info.st_mode) || info.st_size < 10)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: the file is too short to hold a header");
    unsigned char prefix[8];
    enum cyx_status status = read_at(fd, prefix, sizeof(prefix), 0, ret_error);
    if (status != CYX_OK)
        return status;
    uint64_t length = 0, rest = (uint64_t)info.st_size - 8;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | prefix[i];
    if (length > CYX_SAFETENSORS_HEADER_LIMIT_BYTES || length > rest)
        return cyx_error_set(ret_error, CYX_ERR_CORRUPT, NULL,
                             "safetensors: header of %llu bytes in a file of %llu (at most %d)",
                             (unsigned long long)length, (unsigned long long)info.st_size,
                             CYX_SAFETENSORS_HEADER_LIMIT_BYTES);
    char *header = malloc((size_t)length + 1);
    if (!header)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL, "no memory for a header");
    status = read_at(fd, header, (size_t)length, 8, ret_error);
    if (status == CYX_OK)
        status = cyx_safetensors_parse(header, (size_t)length, rest - length, ret_file, ret_error);
    free(header);
    return status;
}

enum cyx_status cyx_safetensors_open(const char *path, struct cyx_safetensors **ret_file,
                                     struct cyx_error *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cyx_error_errno(ret_error, "cannot open %s", path);
    struct cyx_error why = {0};
    enum cyx_status status = open_fd(fd, ret_file, &why);
    if (status != CYX_OK) {
        close(fd);
        return cyx_error_set(ret_error, status, NULL, "%.200s: %s", path, why.message);
    }
    (*ret_file)->memory->fd = fd;
    return CYX_OK;
}

void cyx_safetensors_close(struct cyx_safetensors *self)
{
    if (!self)
        return;
    if (self->memory->fd >= 0)
        close(self->memory->fd);
    cyx_arena_finish(&self->memory->arena);
    free(self->memory);
    free(self);
}

const struct cyx_safetensors_tensor *cyx_safetensors_find(const struct cyx_safetensors *self,
                                                          const char *name)
{
    const struct cyx_safetensors_tensor **names = self->memory->by_name;
    size_t low = 0, high = self->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, names[middle]->name);
        if (order == 0)
            return names[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *cyx_safetensors_metadata(const struct cyx_safetensors *self, const char *key)
{
    for (size_t i = 0; i < self->n_metadata; i++)
        if (strcmp(self->metadata[i].key, key) == 0)
            return self->metadata[i].value;
    return NULL;
}

enum cyx_status cyx_safetensors_read(const struct cyx_safetensors *self,
                                     const struct cyx_safetensors_tensor *tensor, void *ret_bytes,
                                     size_t length, struct cyx_error *ret_error)
{
    if (length != tensor->end - tensor->begin)
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL,
                             "\"%.200s\" has %llu bytes, %zu were asked for", tensor->name,
                             (unsigned long long)(tensor->end - tensor->begin), length);
    return read_at(self->memory->fd, ret_bytes, length, self->data_offset_bytes + tensor->begin,
                   ret_error);
}

enum cyx_status cyx_safetensors_read_f32(const struct cyx_safetensors *self, const char *name,
                                         float *ret_data, size_t count, struct cyx_error *ret_error)
{
    const struct cyx_safetensors_tensor *tensor = cyx_safetensors_find(self, name);
    if (!tensor)
        return cyx_error_set(ret_error, CYX_ERR_NOT_FOUND, NULL, "the file has no \"%.200s\"",
                             name);
    if (tensor->dtype != CYX_ST_F32 || (tensor->end - tensor->begin) / sizeof(float) != count)
        return cyx_error_set(
            ret_error, CYX_ERR_INVALID, NULL,
            "\"%.200s\": expected %zu elements of F32, the file has %llu bytes of %s", name, count,
            (unsigned long long)(tensor->end - tensor->begin),
            cyx_safetensors_dtype_name(tensor->dtype));
    return cyx_safetensors_read(self, tensor, ret_data, count * sizeof(float), ret_error);
}

static void append_entry(struct cyx_buf *header, const struct cyx_safetensors_entry *entry,
                         uint64_t begin, uint64_t end)
{
    cyx_buf_json_string(header, entry->name);
    cyx_buf_printf(header, ":{\"dtype\":\"%s\",\"shape\":[",
                   cyx_safetensors_dtype_name(entry->dtype));
    for (int i = 0; i < entry->rank; i++)
        cyx_buf_printf(header, i ? ",%lld" : "%lld", (long long)entry->shape[i]);
    cyx_buf_printf(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                   (unsigned long long)end);
}

static uint64_t entry_bytes(const struct cyx_safetensors_entry *entry)
{
    uint64_t bytes = cyx_safetensors_dtype_bytes(entry->dtype);
    for (int i = 0; i < entry->rank; i++)
        bytes *= (uint64_t)entry->shape[i];
    return bytes;
}

static void append_metadata(struct cyx_buf *header, const struct cyx_safetensors_pair *metadata,
                            size_t n_metadata)
{
    cyx_buf_puts(header, "\"__metadata__\":{");
    for (size_t i = 0; i < n_metadata; i++) {
        cyx_buf_puts(header, i ? "," : "");
        cyx_buf_json_string(header, metadata[i].key);
        cyx_buf_puts(header, ":");
        cyx_buf_json_string(header, metadata[i].value);
    }
    cyx_buf_puts(header, "}");
}

static void append_header(struct cyx_buf *header, const struct cyx_safetensors_entry *entries,
                          size_t n_entries, const struct cyx_safetensors_pair *metadata,
                          size_t n_metadata, uint64_t *ret_data_bytes)
{
    cyx_buf_puts(header, "{");
    if (n_metadata)
        append_metadata(header, metadata, n_metadata);
    uint64_t offset = 0;
    bool first = n_metadata == 0;
    for (size_t width = 8; width; width /= 2) {
        for (size_t i = 0; i < n_entries; i++) {
            if (cyx_safetensors_dtype_bytes(entries[i].dtype) != width)
                continue;
            uint64_t end = offset + entry_bytes(&entries[i]);
            cyx_buf_puts(header, first ? "" : ",");
            append_entry(header, &entries[i], offset, end);
            first = false;
            offset = end;
        }
    }
    cyx_buf_puts(header, "}");
    while (header->length % 8 != 0 && !header->failed)
        cyx_buf_puts(header, " ");
    *ret_data_bytes = offset;
}

enum cyx_status cyx_safetensors_encode(const struct cyx_safetensors_entry *entries,
                                       size_t n_entries,
                                       const struct cyx_safetensors_pair *metadata,
                                       size_t n_metadata, struct cyx_buf *ret_bytes,
                                       struct cyx_error *ret_error)
{
    CYX_CLEANUP_BUF struct cyx_buf header = {0};
    uint64_t data_bytes = 0;
    append_header(&header, entries, n_entries, metadata, n_metadata, &data_bytes);
    struct cyx_safetensors *check = NULL;
    enum cyx_status status = CYX_ERR_NO_MEMORY;
    if (header.failed)
        return cyx_error_set(ret_error, status, NULL, "no memory to write a safetensors file");
    status = cyx_safetensors_parse(header.data, header.length, data_bytes, &check, ret_error);
    if (status == CYX_ERR_CORRUPT) {
        struct cyx_error why = ret_error ? *ret_error : (struct cyx_error){0};
        return cyx_error_set(ret_error, CYX_ERR_INVALID, NULL, "cannot write: %s", why.message);
    }
    if (status != CYX_OK)
        return status;
    cyx_safetensors_close(check);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)((uint64_t)header.length >> 8 * i);
    cyx_buf_clear(ret_bytes);
    cyx_buf_append(ret_bytes, prefix, sizeof(prefix));
    cyx_buf_append(ret_bytes, header.data, header.length);
    for (size_t width = 8; width; width /= 2)
        for (size_t i = 0; i < n_entries; i++)
            if (cyx_safetensors_dtype_bytes(entries[i].dtype) == width)
                cyx_buf_append(ret_bytes, entries[i].data, (size_t)entry_bytes(&entries[i]));
    if (ret_bytes->failed)
        return cyx_error_set(ret_error, CYX_ERR_NO_MEMORY, NULL,
                             "no memory to write a safetensors file of %llu bytes",
                             (unsigned long long)data_bytes);
    return CYX_OK;
}
