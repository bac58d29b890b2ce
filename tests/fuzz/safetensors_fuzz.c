/* Any bytes as a safetensors file: refused, or tensors that lie within it and can all be read. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nn/format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct cyx_safetensors *file, size_t size)
{
    for (size_t i = 0; i < file->n_tensors; i++) {
        const struct cyx_safetensors_tensor *tensor = &file->tensors[i];
        struct cyx_error err = {0};
        size_t length = (size_t)(tensor->end - tensor->begin);
        if (tensor->end < tensor->begin || file->data_offset_bytes + tensor->end > size)
            abort();
        void *bytes = malloc(length + 1);
        size_t count = length / cyx_safetensors_dtype_bytes(tensor->dtype);
        float *numbers = malloc((count + 1) * sizeof(float));
        if (cyx_safetensors_read(file, tensor, bytes, length, &err) != CYX_OK)
            abort();
        (void)cyx_safetensors_read_as_f32(file, tensor, numbers, count, &err);
        if (cyx_safetensors_find(file, tensor->name) != tensor)
            abort();
        free(numbers);
        free(bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int memory = -1;
    static char path[32];
    struct cyx_safetensors *file = NULL;
    struct cyx_error err = {0};
    if (memory < 0) {
        memory = memfd_create("fuzz", 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    }
    if (ftruncate(memory, 0) != 0 || pwrite(memory, data, size, 0) != (ssize_t)size)
        abort();
    if (cyx_safetensors_open(path, &file, &err) == CYX_OK)
        read_all(file, size);
    else if (err.message[0] == '\0')
        abort();
    cyx_safetensors_close(file);
    return 0;
}
