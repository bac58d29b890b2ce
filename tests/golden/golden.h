/*
 * The files that generate.py recorded from PyTorch, and what is compared with them.
 *
 * Tolerance of one operation: torch.testing's own for float32 (rtol 1.3e-6, atol 1e-5).
 */
#ifndef CYX_TESTS_GOLDEN_GOLDEN_H
#define CYX_TESTS_GOLDEN_GOLDEN_H

#include "model/graph.h"
#include "nn/format/safetensors.h"

#define GOLDEN_RTOL 1.3e-6
#define GOLDEN_ATOL 1e-5

enum { GOLDEN_NAME = 128 };

/* "layers" and so on; the test fails when it is not there. cyx_safetensors_close() it. */
struct cyx_safetensors *golden_open(const char *name);

/* The spec of a case, parsed. */
struct cyx_job_spec *golden_spec(const struct cyx_safetensors *file, const char *name);

/* Tensor "<name>.<part>", NULL when there is none. */
const struct cyx_safetensors_tensor *golden_find(const struct cyx_safetensors *file,
                                                 const char *name, const char *part);

/* The same; the test fails when there is none. */
const struct cyx_safetensors_tensor *golden_need(const struct cyx_safetensors *file,
                                                 const char *name, const char *part);

/* Bytes of a tensor, on the heap. */
void *golden_bytes(const struct cyx_safetensors *file, const struct cyx_safetensors_tensor *tensor);

size_t golden_count(const struct cyx_safetensors_tensor *tensor);

struct cyx_shape golden_shape(const struct cyx_safetensors_tensor *tensor);

/* |got - wanted| <= atol + rtol |wanted| for every element; a NaN is off too. */
void golden_compare(const char *runner, const char *what, const float *got, const float *wanted,
                    size_t count, double rtol, double atol);

/* The names of the cases of a file, whose tensors "<name>.<part>" there are; the caller frees each and the list. */
size_t golden_cases(const struct cyx_safetensors *file, const char *part, char ***ret_names);

#endif
