/*
 * The job spec: what a user asks to be trained, as data. docs/contracts/job.schema.json says the same in
 * JSON Schema; cyx_job_spec_parse() is the one validator that every service, the CLI and Python share.
 *
 * Parsing checks types, ranges, unknown keys and names; whether shapes fit is judged by model/graph.h.
 * Errors carry a JSON Pointer to the place ("/model/layers/4/out_channels") and say what was expected.
 *
 * Ownership: a spec is one block; every pointer in it lives until cyx_job_spec_destroy(). Immutable after
 * parsing, so any number of threads may read it. Names, defaults and meanings are PyTorch's.
 *
 *     struct cyx_job_spec *spec = NULL;
 *     struct cyx_error err = {0};
 *     if (cyx_job_spec_parse(text, length, &spec, &err) != CYX_OK) …
 *     cyx_job_spec_destroy(spec);
 */
#ifndef CYX_CONTRACT_JOB_SPEC_H
#define CYX_CONTRACT_JOB_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    CYX_JOB_SPEC_LIMIT_BYTES = 1024 * 1024,
    CYX_JOB_LAYERS_LIMIT = 4096,
    CYX_JOB_EPOCHS_LIMIT = 100000,
    CYX_JOB_BATCH_LIMIT = 65536,
    CYX_JOB_DEPTH_LIMIT = 32, /* objects and lists within one another */
    CYX_JOB_NAME_LIMIT = 100, /* characters */
    CYX_LAYER_NAME_LIMIT = 64,
};

enum cyx_layer_type {
    CYX_LAYER_LINEAR,
    CYX_LAYER_CONV2D,
    CYX_LAYER_MAX_POOL2D,
    CYX_LAYER_FLATTEN,
    CYX_LAYER_RELU,
    CYX_LAYER_DROPOUT,
    CYX_LAYER_TYPE_COUNT
};

struct cyx_linear_spec {
    int64_t in_features; /* 0: not given, taken from the input's shape */
    int64_t out_features;
    bool bias; /* default true */
};

/* Pairs are (height, width); a single number in JSON sets both. */
struct cyx_conv2d_spec {
    int64_t in_channels; /* 0: not given, taken from the input's shape */
    int64_t out_channels;
    int64_t kernel_size[2], stride[2], padding[2], dilation[2]; /* defaults 1, 0, 1 */
    bool padding_same;                                          /* "same": stride must be 1 */
    int64_t groups;                                             /* default 1 */
    bool bias;                                                  /* default true */
};

struct cyx_max_pool2d_spec {
    int64_t kernel_size[2], stride[2], padding[2]; /* stride defaults to kernel_size */
};

struct cyx_flatten_spec {
    int64_t start_dim; /* default 1 */
};

struct cyx_dropout_spec {
    double p; /* probability of a zero, in [0, 1); default 0.5 */
};

struct cyx_layer_spec {
    enum cyx_layer_type type;
    const char *name; /* unique; the layer's index in decimal when none was given */
    /* Names of layers, or "input"; the layer before (or "input") when not given. */
    const char **inputs;
    /* The same as indices of layers, always before this one; -1: "input". */
    const int32_t *input_index;
    size_t n_inputs;
    union {
        struct cyx_linear_spec linear;
        struct cyx_conv2d_spec conv2d;
        struct cyx_max_pool2d_spec max_pool2d;
        struct cyx_flatten_spec flatten;
        struct cyx_dropout_spec dropout;
    };
};

enum cyx_transform_type { CYX_TRANSFORM_TO_TENSOR, CYX_TRANSFORM_NORMALIZE };

enum { CYX_CHANNELS_LIMIT = 4 };

struct cyx_transform_spec {
    enum cyx_transform_type type;
    /* Normalize: (x - mean) / std a channel; one number stands for every channel */
    double mean[CYX_CHANNELS_LIMIT], std[CYX_CHANNELS_LIMIT];
    size_t n_channels;
};

struct cyx_data_spec {
    const char *dataset; /* a name in contract/dataset.h; existence is checked by the parser */
    int64_t batch_size;
    const struct cyx_transform_spec *transforms; /* default: ToTensor */
    size_t n_transforms;
    bool shuffle;   /* default true */
    bool drop_last; /* default false */
    /* "split": {"validation": 0.1}; in [0, 0.5], default 0: the test set judges. */
    double validation_part;
};

enum cyx_loss_type { CYX_LOSS_CROSS_ENTROPY };

struct cyx_loss_spec {
    enum cyx_loss_type type;
    double label_smoothing; /* [0, 1), default 0 */
};

enum cyx_optimizer_type { CYX_OPTIMIZER_SGD, CYX_OPTIMIZER_ADAMW };

struct cyx_optimizer_spec {
    enum cyx_optimizer_type type;
    double lr;           /* SGD and AdamW default 1e-3 */
    double weight_decay; /* SGD 0, AdamW 1e-2 */
    double momentum;     /* SGD, default 0 */
    double dampening;    /* SGD, default 0 */
    bool nesterov;       /* SGD, default false */
    double betas[2];     /* AdamW, default 0.9, 0.999 */
    double eps;          /* AdamW, default 1e-8 */
};

enum cyx_scheduler_type {
    CYX_SCHEDULER_NONE,
    CYX_SCHEDULER_STEP_LR,             /* step_size, gamma = 0.1; stepped once an epoch */
    CYX_SCHEDULER_EXPONENTIAL_LR,      /* gamma; once an epoch */
    CYX_SCHEDULER_COSINE_ANNEALING_LR, /* T_max (default: all), eta_min = 0 */
};

struct cyx_scheduler_spec {
    enum cyx_scheduler_type type;
    int64_t step_size;
    int64_t t_max; /* 0: all steps or epochs of the job, as `per_step` says */
    double gamma, eta_min;
    bool per_step; /* "interval": "step" | "epoch" (default): when step() is called */
};

enum cyx_priority {
    CYX_PRIORITY_LOW,
    CYX_PRIORITY_NORMAL,
    CYX_PRIORITY_HIGH,
    CYX_PRIORITY_CRITICAL
};

struct cyx_resources_spec {
    const char *backend; /* "auto" (default), "cpu" or "vulkan" */
    /* Least device memory wanted besides the plan's own need; default 0. */
    int64_t device_memory_bytes;
    int64_t threads; /* CPU threads; 0 (default): what the node offers */
};

struct cyx_job_spec {
    const char *name; /* 1 to 100 printable characters */
    struct cyx_layer_spec *layers;
    size_t n_layers;
    struct cyx_data_spec data;
    struct cyx_loss_spec loss;
    struct cyx_optimizer_spec optimizer;
    struct cyx_scheduler_spec scheduler;
    int64_t epochs;
    uint64_t seed;        /* default 0, below 2^53, so that every JSON reader keeps it exact */
    bool metric_accuracy; /* "metrics": ["accuracy"], the default */
    struct cyx_resources_spec resources;
    enum cyx_priority priority;
    int64_t budget_base_units; /* "budget": "2.5 CYX"; most that the job may cost; default 10 CYX */
    int64_t checkpoint_steps;  /* "checkpoint": {"every_steps": 200}; default 200 */
    const char *canonical;    /* the whole spec as compact JSON, keys in order, defaults left out */
    const char *dataset_hash; /* cyx_dataset's fingerprint, hexadecimal SHA-256 */
};

/*
 * Parses and validates `length` bytes of JSON. CYX_ERR_INVALID (with pointer and sentence) for anything that
 * is not a spec, CYX_ERR_TOO_LARGE over CYX_JOB_SPEC_LIMIT_BYTES, CYX_ERR_NO_MEMORY.
 */
enum cyx_status cyx_job_spec_parse(const char *json, size_t length, struct cyx_job_spec **ret_spec,
                                   struct cyx_error *ret_error);

void cyx_job_spec_destroy(struct cyx_job_spec *self);

/*
 * The JSON Schema (draft 2020-12) of a job spec, made from the parser's own tables; free() it. NULL when memory
 * ran out. docs/contracts/job.schema.json is this text.
 */
char *cyx_job_schema_text(void);

/* "Conv2d" and so on, as the spec spells it. */
const char *cyx_layer_type_name(enum cyx_layer_type type);
const char *cyx_priority_name(enum cyx_priority priority);

#endif
