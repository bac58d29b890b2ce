/*
 * Reads ONNX models (https://onnx.ai/onnx/repo-docs/IR.html): nodes with their attributes, initializers, and tensors
 * that stand alone in a file. What the operators mean is not judged here: whoever imports converts them, since
 * ONNX's defaults differ from PyTorch's and change with the opset.
 *
 * The reader trusts nothing: a tensor whose bytes do not fit its shape, one that lies in another file, a rank over
 * CYX_ONNX_RANK_LIMIT or a file over its limit is refused with a sentence. Graphs within attributes are passed over.
 *
 * Ownership: what is read lives until its destroy(), which takes NULL. Immutable: any thread may read.
 *
 *     struct cyx_onnx_model *model = NULL;
 *     if (cyx_onnx_model_open("model.onnx", &model, &err) != CYX_OK) …
 *     int64_t groups = cyx_onnx_int(&model->nodes[0], "group", 1);
 *     cyx_onnx_model_destroy(model);
 */
#ifndef CYX_NN_FORMAT_ONNX_H
#define CYX_NN_FORMAT_ONNX_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { CYX_ONNX_RANK_LIMIT = 8, CYX_ONNX_FILE_LIMIT_BYTES = 1024 * 1024 * 1024 };

/* TensorProto.DataType's numbers; others are kept as they are. */
enum cyx_onnx_dtype {
    CYX_ONNX_FLOAT = 1,
    CYX_ONNX_UINT8 = 2,
    CYX_ONNX_INT8 = 3,
    CYX_ONNX_INT32 = 6,
    CYX_ONNX_INT64 = 7,
    CYX_ONNX_BOOL = 9,
};

struct cyx_onnx_tensor {
    const char *name;
    int32_t
        dtype; /* enum cyx_onnx_dtype, or another of ONNX's numbers, whose elements are not read */
    int rank;
    int64_t dim[CYX_ONNX_RANK_LIMIT];
    size_t count;
    const float *floats;     /* FLOAT */
    const int64_t *integers; /* UINT8, INT8, INT32, INT64 and BOOL, widened */
};

struct cyx_onnx_attribute {
    const char *name;
    float f;
    int64_t i;
    const char *s; /* NULL when it is no string */
    const float *floats;
    size_t n_floats;
    const int64_t *ints;
    size_t n_ints;
    const struct cyx_onnx_tensor *tensor;
};

struct cyx_onnx_node {
    const char *op_type, *domain; /* domain "" is ONNX's own */
    const char **inputs;          /* "": an optional one that is left out */
    size_t n_inputs;
    const char **outputs;
    size_t n_outputs;
    const struct cyx_onnx_attribute *attributes;
    size_t n_attributes;
};

struct cyx_onnx_model {
    int64_t opset; /* of ONNX's own operators */
    const struct cyx_onnx_node *nodes;
    size_t n_nodes;
    const struct cyx_onnx_tensor *initializers;
    size_t n_initializers;
    const char **inputs; /* names; before IR version 4 initializers are among them */
    size_t n_inputs;
    const char **outputs;
    size_t n_outputs;
    struct cyx_onnx_memory *memory; /* private */
};

/* CYX_ERR_CORRUPT for what is no model, CYX_ERR_UNSUPPORTED for what is not read, CYX_ERR_NO_MEMORY. */
enum cyx_status cyx_onnx_model_parse(const void *bytes, size_t length,
                                     struct cyx_onnx_model **ret_model,
                                     struct cyx_error *ret_error);
enum cyx_status cyx_onnx_model_open(const char *path, struct cyx_onnx_model **ret_model,
                                    struct cyx_error *ret_error);
void cyx_onnx_model_destroy(struct cyx_onnx_model *self);

/* A tensor that is a file of its own (ONNX's test data). */
enum cyx_status cyx_onnx_tensor_open(const char *path, struct cyx_onnx_tensor **ret_tensor,
                                     struct cyx_error *ret_error);
void cyx_onnx_tensor_destroy(struct cyx_onnx_tensor *self);

/* NULL when there is none. */
const struct cyx_onnx_attribute *cyx_onnx_attribute(const struct cyx_onnx_node *node,
                                                    const char *name);

/* The attribute, or `fallback` when it is not given. */
int64_t cyx_onnx_int(const struct cyx_onnx_node *node, const char *name, int64_t fallback);
double cyx_onnx_float(const struct cyx_onnx_node *node, const char *name, double fallback);
const char *cyx_onnx_string(const struct cyx_onnx_node *node, const char *name,
                            const char *fallback);

#endif
