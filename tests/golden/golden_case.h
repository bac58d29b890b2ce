/*
 * A layer or a loss that generate.py recorded: its spec with the samples as recorded, and its training graph.
 *
 * A graph gives no gradient of its input, so the input is made a parameter here before differentiating: layers
 * without parameters have something to train, and its place as what is fed takes "fed", one number that nothing reads.
 */
#ifndef CYX_TESTS_GOLDEN_GOLDEN_CASE_H
#define CYX_TESTS_GOLDEN_GOLDEN_CASE_H

#include "golden.h"

/* The caller destroys it. */
struct cyx_job_spec *golden_case_spec(const struct cyx_safetensors *file, const char *name);

int64_t golden_case_batch(const struct cyx_safetensors *file, const char *name);

/* Forward pass, loss and gradients; the caller destroys it before the spec. */
struct cyx_graph *golden_case_graph(const struct cyx_safetensors *file, const char *name,
                                    const struct cyx_job_spec *spec);

/* What the file holds of a parameter or buffer before the first step; NULL for other values. */
const struct cyx_safetensors_tensor *golden_case_first(const struct cyx_safetensors *file,
                                                       const char *name,
                                                       const struct cyx_value *value);

#endif
