#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct cyx_safetensors *golden_open(const char *name)
{
    char path[512];
    struct cyx_error error = {0};
    struct cyx_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/%s.safetensors", CYX_SOURCE_DIR, name);
    if (cyx_safetensors_open(path, &file, &error) != CYX_OK)
        fail_msg("%s", error.message);
    return file;
}

struct cyx_job_spec *golden_spec(const struct cyx_safetensors *file, const char *name)
{
    char key[GOLDEN_NAME];
    struct cyx_error error = {0};
    struct cyx_job_spec *spec = NULL;
    snprintf(key, sizeof key, "%s.spec", name);
    const char *text = cyx_safetensors_metadata(file, key);
    if (!text) {
        fail_msg("%s: no such case", name);
        return NULL;
    }
    if (cyx_job_spec_parse(text, strlen(text), &spec, &error) != CYX_OK)
        fail_msg("%s: %s %s", name, error.pointer, error.message);
    return spec;
}

const struct cyx_safetensors_tensor *golden_find(const struct cyx_safetensors *file,
                                                 const char *name, const char *part)
{
    char full[2 * GOLDEN_NAME];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return cyx_safetensors_find(file, full);
}

const struct cyx_safetensors_tensor *golden_need(const struct cyx_safetensors *file,
                                                 const char *name, const char *part)
{
    const struct cyx_safetensors_tensor *tensor = golden_find(file, name, part);
    if (!tensor)
        fail_msg("%s has no %s", name, part);
    return tensor;
}

void *golden_bytes(const struct cyx_safetensors *file, const struct cyx_safetensors_tensor *tensor)
{
    struct cyx_error error = {0};
    size_t length = (size_t)(tensor->end - tensor->begin);
    void *bytes = malloc(length);
    assert_non_null(bytes);
    assert_int_equal(cyx_safetensors_read(file, tensor, bytes, length, &error), CYX_OK);
    return bytes;
}

size_t golden_count(const struct cyx_safetensors_tensor *tensor)
{
    return (size_t)(tensor->end - tensor->begin) / cyx_safetensors_dtype_bytes(tensor->dtype);
}

struct cyx_shape golden_shape(const struct cyx_safetensors_tensor *tensor)
{
    struct cyx_shape shape = {.rank = tensor->rank};
    assert_true(tensor->rank <= CYX_RANK_LIMIT);
    for (int i = 0; i < tensor->rank; i++)
        shape.dim[i] = tensor->shape[i];
    return shape;
}

void golden_compare(const char *runner, const char *what, const float *got, const float *wanted,
                    size_t count, double rtol, double atol)
{
    for (size_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - (double)wanted[i]);
        if (!(off <= atol + rtol * fabs((double)wanted[i])))
            fail_msg("%s: %s[%zu of %zu] is %.9g, PyTorch has %.9g", runner, what, i, count,
                     (double)got[i], (double)wanted[i]);
    }
}

size_t golden_cases(const struct cyx_safetensors *file, const char *part, char ***ret_names)
{
    char suffix[GOLDEN_NAME];
    size_t count = 0, length = (size_t)snprintf(suffix, sizeof suffix, ".%s", part);
    char **names = calloc(file->n_tensors, sizeof *names);
    assert_non_null(names);
    for (size_t i = 0; i < file->n_tensors; i++) {
        const char *name = file->tensors[i].name;
        size_t all = strlen(name);
        if (all > length && strcmp(name + all - length, suffix) == 0 &&
            !memchr(name, '.', all - length))
            names[count++] = strndup(name, all - length);
    }
    *ret_names = names;
    return count;
}
