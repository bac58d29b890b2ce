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
    CYX_WORKERS_LIMIT = 64,      /* threads that make batches */
    CYX_LAYER_INPUTS_LIMIT = 64, /* of Add and Concat */
    CYX_PARAM_GROUPS_LIMIT = 8,  /* of the optimizer, with the one of all others */
    CYX_JOB_DEPTH_LIMIT = 32,    /* objects and lists within one another */
    CYX_JOB_NAME_LIMIT = 100,    /* characters */
    CYX_JOB_WISHES_LIMIT = 32,   /* labels, or regions */
    CYX_JOB_AFTER_LIMIT = 64,
    CYX_JOB_ARRAY_LIMIT = 1000,
    CYX_JOB_RETRIES_LIMIT = 20,
    CYX_JOB_NODES_LIMIT = 8, /* that train one model together */
    CYX_LAYER_NAME_LIMIT = 64,
};

enum cyx_layer_type {
    CYX_LAYER_LINEAR,
    CYX_LAYER_CONV2D,
    CYX_LAYER_CONV_TRANSPOSE2D,
    CYX_LAYER_MAX_POOL2D,
    CYX_LAYER_AVG_POOL2D,
    CYX_LAYER_ADAPTIVE_AVG_POOL2D,
    CYX_LAYER_GLOBAL_AVG_POOL2D,
    CYX_LAYER_FLATTEN,
    CYX_LAYER_RESHAPE,
    CYX_LAYER_RELU,
    CYX_LAYER_LEAKY_RELU,
    CYX_LAYER_GELU,
    CYX_LAYER_SILU,
    CYX_LAYER_SIGMOID,
    CYX_LAYER_TANH,
    CYX_LAYER_SOFTMAX,
    CYX_LAYER_LOG_SOFTMAX,
    CYX_LAYER_DROPOUT,
    CYX_LAYER_BATCH_NORM1D,
    CYX_LAYER_BATCH_NORM2D,
    CYX_LAYER_LAYER_NORM,
    CYX_LAYER_ADD,
    CYX_LAYER_CONCAT,
    CYX_LAYER_TYPE_COUNT
};

/* Element-wise functions other than ReLU; torch.nn's modules of these names. */
enum cyx_activation {
    CYX_ACTIVATION_NONE,
    CYX_ACTIVATION_LEAKY_RELU,
    CYX_ACTIVATION_GELU,      /* x Φ(x), by erf */
    CYX_ACTIVATION_GELU_TANH, /* approximate="tanh" */
    CYX_ACTIVATION_SILU,
    CYX_ACTIVATION_SIGMOID,
    CYX_ACTIVATION_TANH,
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

struct cyx_conv_transpose2d_spec {
    int64_t in_channels; /* 0: not given, taken from the input's shape */
    int64_t out_channels;
    int64_t kernel_size[2], stride[2], padding[2], dilation[2]; /* defaults 1, 0, 1 */
    int64_t output_padding[2];                                  /* below stride or dilation */
    int64_t groups;                                             /* default 1 */
    bool bias;                                                  /* default true */
};

struct cyx_max_pool2d_spec {
    int64_t kernel_size[2], stride[2], padding[2]; /* stride defaults to kernel_size */
    int64_t dilation[2];                           /* default 1 */
    bool ceil_mode;
};

struct cyx_avg_pool2d_spec {
    int64_t kernel_size[2], stride[2], padding[2]; /* stride defaults to kernel_size */
    bool ceil_mode;
    bool count_include_pad; /* default true */
};

struct cyx_adaptive_avg_pool2d_spec {
    int64_t output_size[2]; /* must divide the input's height and width */
};

/* Sizes of one to three dimensions, without the batch. */
struct cyx_sizes_spec {
    int64_t dim[3];
    size_t rank; /* 0: not given */
};

struct cyx_reshape_spec {
    struct cyx_sizes_spec shape; /* one may be -1: what is left */
};

struct cyx_activation_spec {
    enum cyx_activation function;
    bool approximate_tanh; /* GELU: approximate="tanh", default "none" */
    double negative_slope; /* LeakyReLU, default 0.01 */
};

struct cyx_softmax_spec {
    int64_t dim; /* as PyTorch: 1 …, or negative from the end; default -1 */
};

struct cyx_batch_norm_spec {
    int64_t num_features; /* 0: not given, taken from the input's shape */
    double eps, momentum; /* defaults 1e-5, 0.1 */
    bool affine;          /* default true */
};

struct cyx_layer_norm_spec {
    struct cyx_sizes_spec normalized_shape; /* trailing; not given: all but the batch */
    double eps;                             /* default 1e-5 */
    bool elementwise_affine;                /* default true */
    bool bias;                              /* default true */
};

struct cyx_concat_spec {
    int64_t dim; /* default 1 */
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
        struct cyx_conv_transpose2d_spec conv_transpose2d;
        struct cyx_max_pool2d_spec max_pool2d;
        struct cyx_avg_pool2d_spec avg_pool2d;
        struct cyx_adaptive_avg_pool2d_spec adaptive_avg_pool2d;
        struct cyx_flatten_spec flatten;
        struct cyx_reshape_spec reshape;
        struct cyx_activation_spec activation; /* LeakyReLU, GELU, SiLU, Sigmoid, Tanh */
        struct cyx_softmax_spec softmax;       /* Softmax, LogSoftmax */
        struct cyx_dropout_spec dropout;
        struct cyx_batch_norm_spec batch_norm; /* BatchNorm1d, BatchNorm2d */
        struct cyx_layer_norm_spec layer_norm;
        struct cyx_concat_spec concat;
    };
};

enum cyx_transform_type {
    /* Of images; before ToTensor */
    CYX_TRANSFORM_RESIZE,
    CYX_TRANSFORM_CENTER_CROP,
    CYX_TRANSFORM_RANDOM_CROP,
    CYX_TRANSFORM_RANDOM_HORIZONTAL_FLIP,
    CYX_TRANSFORM_RANDOM_VERTICAL_FLIP,
    CYX_TRANSFORM_RANDOM_ROTATION,
    CYX_TRANSFORM_COLOR_JITTER,
    CYX_TRANSFORM_TO_TENSOR,
    /* Of numbers; behind ToTensor */
    CYX_TRANSFORM_NORMALIZE,
};

enum { CYX_CHANNELS_LIMIT = 4, CYX_TRANSFORMS_LIMIT = 16, CYX_IMAGE_SIDE_LIMIT = 16384 };

enum cyx_interpolation { CYX_NEAREST, CYX_BILINEAR, CYX_BICUBIC };

struct cyx_transform_spec {
    enum cyx_transform_type type;
    enum cyx_interpolation interpolation; /* Resize: BILINEAR; RandomRotation: NEAREST */
    /* Normalize: (x - mean) / std a channel; one number (n_channels 0) stands for every channel */
    double mean[CYX_CHANNELS_LIMIT], std[CYX_CHANNELS_LIMIT];
    size_t n_channels;
    /* Resize, CenterCrop, RandomCrop: (height, width). Resize with width 0: height is the shorter edge's. */
    int64_t size[2];
    int64_t padding;   /* RandomCrop: on every side, default 0 */
    int64_t fill;      /* RandomCrop, RandomRotation: the byte of what was added, default 0 */
    double p;          /* flips: default 0.5 */
    double degrees[2]; /* RandomRotation: from, to; counter-clockwise */
    /* ColorJitter: from which range the factors are drawn; 1 to 1 (hue: 0 to 0) leaves it alone */
    double brightness[2], contrast[2], saturation[2], hue[2];
    bool pad_if_needed; /* RandomCrop */
};

enum cyx_target_kind {
    CYX_TARGET_CLASSES, /* an int32 a sample: its class */
    CYX_TARGET_NUMBERS, /* n_targets floats a sample; 0: the data have none */
};

/* One sample as the model sees it, after the transforms. */
struct cyx_sample_shape {
    int rank;       /* 1 (F), 2 (C,L) or 3 (C,H,W); 0: unknown */
    int64_t dim[3]; /* without the batch */
    enum cyx_target_kind target;
    int64_t n_classes; /* CLASSES; 0: as many as the model has outputs */
    int64_t n_targets; /* NUMBERS; CYX_TARGETS_UNKNOWN: as many as the model has outputs */
};

/* Of data that nobody who judges the spec has opened. */
enum { CYX_TARGETS_UNKNOWN = -1 };

enum cyx_source_format {
    CYX_SOURCE_CATALOGUE, /* of contract/dataset.h */
    CYX_SOURCE_IDX,
    CYX_SOURCE_CSV,
    CYX_SOURCE_NPY,
    CYX_SOURCE_NPZ,
    CYX_SOURCE_SAFETENSORS,
    CYX_SOURCE_IMAGE_FOLDER,
    CYX_SOURCE_MEMORY, /* arrays that the caller hands over with the spec (nn/data/data.h) */
};

/* What a target is. AUTO: classes when it is integers (CSV: when it is one column), numbers otherwise. */
enum cyx_target_task { CYX_TASK_AUTO, CYX_TASK_CLASSES, CYX_TASK_NUMBERS };

/* A column of a CSV file. */
struct cyx_column_spec {
    const char *name; /* NULL: by index */
    int64_t index;    /* from 0 */
};

/*
 * Data in files: "dataset" as an object. Paths are as they were written; relative ones begin at the spec file's
 * folder. The parser touches no file: nn/data/data.h does, and tells the sample's shape.
 *
 * With `upload` the platform trains on them too: paths are relative and lie in the folder that was uploaded; of an
 * upload that is one file, `train` names that file by whatever name. Its shape is stated, since who judges the spec
 * does not open it; the trainer compares. On one's own machine `upload` and `sha256` say nothing.
 */
struct cyx_source_spec {
    enum cyx_source_format format;
    const char *upload; /* name or id of an account's upload; NULL: none */
    const char *sha256; /* of the upload; the gateway fills it in. NULL: whatever it is */
    struct cyx_sizes_spec
        shape;                /* a sample before the transforms, channels first; rank 0: not said */
    const char *train, *test; /* files or folders; test NULL: the split judges */
    /* IDX, NPY: the files of the targets. NPZ, safetensors: names of arrays, defaults "x" and "y", and those of
     * the test part where they differ. NULL: not given */
    const char *inputs, *targets, *test_inputs, *test_targets;
    enum cyx_target_task task;
    int64_t n_classes;                    /* 0: the largest class + 1 */
    bool channels_last;                   /* arrays of images are (N,H,W,C) */
    bool header;                          /* CSV: the first row names the columns; default true */
    char delimiter;                       /* CSV: default ',' */
    const struct cyx_column_spec *target; /* CSV: the columns to predict */
    size_t n_target;
    const struct cyx_column_spec *ignore; /* CSV: columns that are no input */
    size_t n_ignore;
    int64_t channels; /* image folder: 3 (default) or 1, to which every image is converted */
};

struct cyx_data_spec {
    const char *dataset;           /* a name in contract/dataset.h; NULL: see source */
    struct cyx_source_spec source; /* format CATALOGUE: see dataset */
    int64_t batch_size;
    const struct cyx_transform_spec *transforms; /* default: ToTensor */
    size_t n_transforms;
    bool shuffle;   /* default true */
    bool drop_last; /* default false */
    int64_t
        workers; /* threads that make batches; 0 (default): as the data and the machine want it */
    /* "split": {"validation": 0.1}; in [0, 0.5], default 0: the test set judges. */
    double validation_part;
    /* What the model gets: filled by the parser for the catalogue's sets; rank 0 where it is not known yet. */
    struct cyx_sample_shape sample;
};

enum cyx_loss_type {
    CYX_LOSS_CROSS_ENTROPY,
    CYX_LOSS_MSE,
    CYX_LOSS_L1,
    CYX_LOSS_SMOOTH_L1,
    CYX_LOSS_BCE_WITH_LOGITS
};

/* What the losses other than CrossEntropyLoss compare the output with. */
enum cyx_loss_target {
    CYX_LOSS_TARGET_DATA,    /* the data set's numbers (default) */
    CYX_LOSS_TARGET_ONE_HOT, /* its class as a vector of 0 and 1 */
    CYX_LOSS_TARGET_INPUT,   /* the input itself: autoencoders */
};

struct cyx_loss_spec {
    enum cyx_loss_type type;
    double label_smoothing; /* CrossEntropyLoss: [0, 1), default 0 */
    int64_t ignore_index;   /* CrossEntropyLoss: default -100 */
    /* CrossEntropyLoss: `weight` a class; BCEWithLogitsLoss: `pos_weight` an output. NULL: all 1 */
    const float *weight;
    size_t n_weight;
    double beta; /* SmoothL1Loss, above 0, default 1 */
    enum cyx_loss_target target;
};

enum cyx_optimizer_type {
    CYX_OPTIMIZER_SGD,
    CYX_OPTIMIZER_ADAM,
    CYX_OPTIMIZER_ADAMW,
    CYX_OPTIMIZER_RMSPROP
};

/* Parameters whose names match one of the patterns (fnmatch: "conv1.*", "*.bias"); the first group that
 * matches takes a parameter, group 0 is all that is left. */
struct cyx_param_group_spec {
    const char **params;
    size_t n_params;
    double lr, weight_decay; /* the optimizer's own where not given */
};

struct cyx_optimizer_spec {
    enum cyx_optimizer_type type;
    double lr;                                 /* default 1e-3, RMSprop 1e-2 */
    double weight_decay;                       /* default 0, AdamW 1e-2 */
    double momentum;                           /* SGD, RMSprop: default 0 */
    double dampening;                          /* SGD, default 0 */
    bool nesterov;                             /* SGD, default false */
    double betas[2];                           /* Adam, AdamW: default 0.9, 0.999 */
    double eps;                                /* Adam, AdamW, RMSprop: default 1e-8 */
    double alpha;                              /* RMSprop, default 0.99 */
    bool centered;                             /* RMSprop, default false */
    const struct cyx_param_group_spec *groups; /* group g of a node is groups[g - 1] */
    size_t n_groups;                           /* below CYX_PARAM_GROUPS_LIMIT */
};

enum cyx_scheduler_type {
    CYX_SCHEDULER_NONE,
    CYX_SCHEDULER_STEP_LR,              /* step_size, gamma = 0.1; stepped once an epoch */
    CYX_SCHEDULER_EXPONENTIAL_LR,       /* gamma; once an epoch */
    CYX_SCHEDULER_COSINE_ANNEALING_LR,  /* T_max (default: all), eta_min = 0 */
    CYX_SCHEDULER_REDUCE_LR_ON_PLATEAU, /* once an epoch, by the evaluation's loss or accuracy */
};

struct cyx_scheduler_spec {
    enum cyx_scheduler_type type;
    int64_t step_size;
    int64_t t_max; /* 0: all steps or epochs of the job, as `per_step` says */
    double gamma, eta_min;
    bool per_step; /* "interval": "step" | "epoch" (default): when step() is called */
    /* ReduceLROnPlateau: defaults 0.1, 10, 1e-4, relative, 0, 0, 1e-8 */
    double factor, threshold, min_lr, plateau_eps;
    int64_t patience, cooldown;
    bool threshold_absolute;
    bool monitor_accuracy; /* "monitor": "loss" (default, mode min) | "accuracy" (mode max) */
};

/* Linear warm-up, as torch's LinearLR to 1: from start_factor to 1 over `iters` calls, before the scheduler
 * begins (SequentialLR). */
struct cyx_warmup_spec {
    int64_t total_iters; /* 0: none */
    double start_factor; /* (0, 1], default 1/3 */
    bool per_epoch;      /* "interval": "step" (default) | "epoch" */
};

/* Gradient clipping; at most one of the two. 0: none */
struct cyx_clip_spec {
    double norm, value;
};

enum cyx_priority {
    CYX_PRIORITY_LOW,
    CYX_PRIORITY_NORMAL,
    CYX_PRIORITY_HIGH,
    CYX_PRIORITY_CRITICAL
};

/* A list of texts. */
struct cyx_texts_spec {
    const char **items;
    size_t n;
};

struct cyx_resources_spec {
    const char *backend; /* "auto" (default), "cpu" or "vulkan" */
    /* Least device memory wanted besides the plan's own need; default 0. */
    int64_t device_memory_bytes;
    int64_t threads;           /* CPU threads; 0 (default): what the node offers */
    int64_t host_memory_bytes; /* least main memory of the node; default 0 */
    /* A node has all of `labels`, none of `avoid_labels`, lies in one of `regions` and in none of
     * `avoid_regions`; an empty list asks nothing. */
    struct cyx_texts_spec labels, avoid_labels, regions, avoid_regions;
    int64_t max_price_per_hour_base_units; /* "max_price_per_hour": "2 CYX"; 0: none */
    double min_reputation;                 /* [0, 1], default 0 */
    int64_t nodes; /* that train it together, each as above; 1 (default) to CYX_JOB_NODES_LIMIT */
};

/* When a job runs, and how often it is tried. */
struct cyx_schedule_spec {
    struct cyx_texts_spec after; /* ids of jobs that complete first */
    int64_t deadline_ms;         /* Unix time; 0: none */
    int64_t retries;             /* after failures that may pass; default 2 */
    int64_t array;               /* copies, whose seeds count up; default 1 */
};

/* "initial": the weights that training begins with, a safetensors file with PyTorch's names; none: as PyTorch draws them. */
struct cyx_initial_spec {
    const char *file;   /* on this machine; relative ones begin at the spec file's folder */
    const char *upload; /* name or id of an account's uploaded model, for the platform */
    const char *sha256; /* of the upload; the gateway fills it in */
    bool
        partial; /* take what has the same name and shape, leave the rest as drawn; default false */
};

struct cyx_job_spec {
    const char *name; /* 1 to 100 printable characters */
    struct cyx_layer_spec *layers;
    size_t n_layers;
    struct cyx_initial_spec initial;
    struct cyx_data_spec data;
    struct cyx_loss_spec loss;
    struct cyx_optimizer_spec optimizer;
    struct cyx_scheduler_spec scheduler;
    struct cyx_warmup_spec warmup; /* "warmup": {"total_iters": 500, "start_factor": 0.1} */
    struct cyx_clip_spec clip;     /* "clip": {"norm": 1} or {"value": 0.5} */
    int64_t epochs;
    uint64_t seed;        /* default 0, below 2^53, so that every JSON reader keeps it exact */
    bool metric_accuracy; /* "metrics": ["accuracy"], the default */
    struct cyx_resources_spec resources;
    struct cyx_schedule_spec schedule;
    enum cyx_priority priority;
    int64_t budget_base_units; /* "budget": "2.5 CYX"; most that the job may cost; default 10 CYX */
    int64_t checkpoint_steps;  /* "checkpoint": {"every_steps": 200}; default 200 */
    int64_t sync_steps;        /* "sync": {"every_steps": 16}: of several nodes; default 16 */
    const char *canonical; /* the whole spec as compact JSON, keys in order, defaults left out */
    /* cyx_dataset's fingerprint, hexadecimal SHA-256; "" for data in files: cyx_data's is its own */
    const char *dataset_hash;
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

/*
 * Whether the network can train it: data on the caller's own machine are CYX_ERR_INVALID, with what to do
 * instead, and so is an upload whose samples' shape nobody can know. Whoever takes a spec from outside asks this
 * first. That the upload is there is the gateway's to say.
 */
enum cyx_status cyx_job_spec_check_shared(const struct cyx_job_spec *self,
                                          struct cyx_error *ret_error);

/* Whether a text can be a node's label or region: 1 to 64 letters, digits and ._=/-, a letter or digit first. */
bool cyx_label_valid(const char *text);

/* "Conv2d" and so on, as the spec spells it. */
const char *cyx_layer_type_name(enum cyx_layer_type type);
const char *cyx_loss_type_name(enum cyx_loss_type type);
const char *cyx_transform_name(enum cyx_transform_type type);
const char *cyx_source_format_name(enum cyx_source_format format);
const char *cyx_priority_name(enum cyx_priority priority);

/* What to call the data in sentences: the catalogue's name, the upload's, the training part's path, or "memory". */
const char *cyx_data_spec_name(const struct cyx_data_spec *self);

#endif
