#include "contract/job_tables.h"

#include <string.h>

#include "base/banned.h"

/* Ranges that no honest spec leaves; what fits a device is judged by the model's cost. */
#define FEATURES_MAX 16777216.0
#define CHANNELS_MAX 65536.0
#define WINDOW_MAX 1024.0
#define RATE_MAX 1e6

/* ---- layers ---- */

#define AT(member) offsetof(struct cyx_layer_spec, member)
#define WINDOW(key_, member, least, default_, help_)                                               \
    .key = (key_), .kind = SPEC_PAIR, .offset = AT(member), .min = (least), .max = WINDOW_MAX,     \
    .fallback = (default_), .help = (help_)

static const struct spec_field linear_fields[] = {
    {.key = "in_features",
     .kind = SPEC_INTEGER,
     .offset = AT(linear.in_features),
     .min = 1,
     .max = FEATURES_MAX,
     .help = "Features of the input; taken from its shape when left out."},
    {.key = "out_features",
     .kind = SPEC_INTEGER,
     .offset = AT(linear.out_features),
     .required = true,
     .min = 1,
     .max = FEATURES_MAX,
     .help = "Features of the output."},
    {.key = "bias",
     .kind = SPEC_BOOLEAN,
     .offset = AT(linear.bias),
     .fallback = 1,
     .help = "Whether a learned bias is added."},
};

static const struct spec_field conv2d_fields[] = {
    {.key = "in_channels",
     .kind = SPEC_INTEGER,
     .offset = AT(conv2d.in_channels),
     .min = 1,
     .max = CHANNELS_MAX,
     .help = "Channels of the input; taken from its shape when left out."},
    {.key = "out_channels",
     .kind = SPEC_INTEGER,
     .offset = AT(conv2d.out_channels),
     .required = true,
     .min = 1,
     .max = CHANNELS_MAX,
     .help = "Channels of the output."},
    {WINDOW("kernel_size", conv2d.kernel_size, 1, 0, "Size of the kernel."), .required = true},
    {WINDOW("stride", conv2d.stride, 1, 1, "Step of the kernel.")},
    {.key = "padding",
     .kind = SPEC_CUSTOM,
     .offset = AT(conv2d.padding),
     .min = 0,
     .max = WINDOW_MAX,
     .read = spec_read_padding,
     .help = "Zeros around the input; \"same\" keeps height and width (stride 1), \"valid\" is 0.",
     .schema = "{\"anyOf\":[{\"enum\":[\"same\",\"valid\"]},"
               "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1024},"
               "{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,"
               "\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":1024}}],\"default\":0}"},
    {WINDOW("dilation", conv2d.dilation, 1, 1, "Distance between the kernel's elements.")},
    {.key = "groups",
     .kind = SPEC_INTEGER,
     .offset = AT(conv2d.groups),
     .min = 1,
     .max = CHANNELS_MAX,
     .fallback = 1,
     .help = "Groups of channels that see only one another; divides both channel counts."},
    {.key = "bias",
     .kind = SPEC_BOOLEAN,
     .offset = AT(conv2d.bias),
     .fallback = 1,
     .help = "Whether a learned bias is added."},
};

static const struct spec_field max_pool2d_fields[] = {
    {WINDOW("kernel_size", max_pool2d.kernel_size, 1, 0, "Size of the window."), .required = true},
    {WINDOW("stride", max_pool2d.stride, 1, 0, "Step of the window; kernel_size when left out.")},
    {WINDOW("padding", max_pool2d.padding, 0, 0,
            "Border that never wins, at most half of kernel_size.")},
};

static const struct spec_field flatten_fields[] = {
    {.key = "start_dim",
     .kind = SPEC_INTEGER,
     .offset = AT(flatten.start_dim),
     .min = 1,
     .max = 3,
     .fallback = 1,
     .help = "The first dimension that is folded; 0 is the batch and stays."},
};

static const struct spec_field dropout_fields[] = {
    {.key = "p",
     .kind = SPEC_NUMBER,
     .offset = AT(dropout.p),
     .min = 0,
     .max = 1,
     .below_max = true,
     .fallback = 0.5,
     .help = "Probability that an element becomes zero in training."},
};

static enum cyx_status check_conv2d(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_conv2d_spec *conv = &((struct cyx_layer_spec *)target)->conv2d;
    if (conv->padding_same && (conv->stride[0] != 1 || conv->stride[1] != 1))
        return spec_fail_at(reader, "padding", "padding \"same\" needs stride 1");
    if (conv->out_channels % conv->groups != 0)
        return spec_fail_at(reader, "groups",
                            "out_channels (%lld) must be divisible by groups (%lld)",
                            (long long)conv->out_channels, (long long)conv->groups);
    if (conv->in_channels % conv->groups != 0)
        return spec_fail_at(reader, "groups",
                            "in_channels (%lld) must be divisible by groups (%lld)",
                            (long long)conv->in_channels, (long long)conv->groups);
    return CYX_OK;
}

static enum cyx_status check_max_pool2d(struct spec_reader *reader, json_t *json, void *target)
{
    struct cyx_max_pool2d_spec *pool = &((struct cyx_layer_spec *)target)->max_pool2d;
    for (int i = 0; i < 2; i++) {
        if (pool->stride[i] == 0)
            pool->stride[i] = pool->kernel_size[i];
        if (pool->padding[i] * 2 > pool->kernel_size[i])
            return spec_fail_at(reader, "padding",
                                "expected at most half of kernel_size (%lld), got %lld",
                                (long long)pool->kernel_size[i], (long long)pool->padding[i]);
    }
    if (memcmp(pool->stride, pool->kernel_size, sizeof(pool->stride)) == 0)
        json_object_del(json, "stride");
    return CYX_OK;
}

static const struct spec_object layer_variants[CYX_LAYER_TYPE_COUNT] = {
    [CYX_LAYER_LINEAR] = {"Linear", linear_fields, SPEC_COUNT(linear_fields),
                          .help = "y = x Wᵀ + b over the last dimension of (N, features)."},
    [CYX_LAYER_CONV2D] = {"Conv2d", conv2d_fields, SPEC_COUNT(conv2d_fields), check_conv2d,
                          .help = "Cross-correlation of (N, channels, height, width)."},
    [CYX_LAYER_MAX_POOL2D] = {"MaxPool2d", max_pool2d_fields, SPEC_COUNT(max_pool2d_fields),
                              check_max_pool2d, .help = "The largest element of each window."},
    [CYX_LAYER_FLATTEN] = {"Flatten", flatten_fields, SPEC_COUNT(flatten_fields),
                           .help = "Folds the dimensions from start_dim on into one."},
    [CYX_LAYER_RELU] = {"ReLU", NULL, 0, .help = "max(0, x)."},
    [CYX_LAYER_DROPOUT] = {"Dropout", dropout_fields, SPEC_COUNT(dropout_fields),
                           .help = "Zeroes elements at random in training; scales the others."},
};

size_t spec_layer_inputs(enum cyx_layer_type type)
{
    static const size_t counts[CYX_LAYER_TYPE_COUNT] = {1, 1, 1, 1, 1, 1};
    return counts[type];
}

#define TYPE_FIELD                                                                                 \
    {                                                                                              \
        .key = "type", .kind = SPEC_TAG, .required = true, .help = "Which one it is."              \
    }

static const struct spec_field layer_common[] = {
    TYPE_FIELD,
    {.key = "name",
     .kind = SPEC_TAG,
     .help = "Unique; the first part of its weights' names. The layer's index when left out.",
     .schema = "{\"type\":\"string\",\"maxLength\":64,\"pattern\":\"^([A-Za-z_][A-Za-z0-9_]*|[0-9]+"
               ")$\"}"},
    {.key = "inputs",
     .kind = SPEC_TAG,
     .help = "Names of earlier layers, or \"input\"; the layer before when left out.",
     .schema = "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}"},
};

const struct spec_union spec_layers = {
    .what = "layer type",
    .variants = layer_variants,
    .n_variants = SPEC_COUNT(layer_variants),
    .common = layer_common,
    .n_common = SPEC_COUNT(layer_common),
};

#undef AT

/* ---- data ---- */

#define AT(member) offsetof(struct cyx_transform_spec, member)
#define CHANNEL_SCHEMA(range)                                                                      \
    "{\"anyOf\":[{\"type\":\"number\"," range                                                      \
    "},{\"type\":\"array\",\"minItems\":1,\"maxItems\":4,"                                         \
    "\"items\":{\"type\":\"number\"," range "}}]}"

static const struct spec_field normalize_fields[] = {
    {.key = "mean",
     .kind = SPEC_CUSTOM,
     .offset = AT(mean),
     .required = true,
     .min = -RATE_MAX,
     .max = RATE_MAX,
     .read = spec_read_channels,
     .help = "Subtracted; one number, or one for each channel.",
     .schema = CHANNEL_SCHEMA("\"minimum\":-1e6,\"maximum\":1e6")},
    {.key = "std",
     .kind = SPEC_CUSTOM,
     .offset = AT(std),
     .required = true,
     .min = 1e-6,
     .max = RATE_MAX,
     .read = spec_read_channels,
     .help = "Divides; one number, or one for each channel.",
     .schema = CHANNEL_SCHEMA("\"minimum\":1e-6,\"maximum\":1e6")},
};

static const struct spec_field transform_common[] = {TYPE_FIELD};

static const struct spec_object transform_variants[] = {
    [CYX_TRANSFORM_TO_TENSOR] = {"ToTensor", NULL, 0, .help = "Bytes 0 to 255 to numbers 0 to 1."},
    [CYX_TRANSFORM_NORMALIZE] = {"Normalize", normalize_fields, SPEC_COUNT(normalize_fields),
                                 .help = "(x - mean) / std, a channel."},
};

const struct spec_union spec_transforms = {
    .what = "transform type",
    .variants = transform_variants,
    .n_variants = SPEC_COUNT(transform_variants),
    .common = transform_common,
    .n_common = SPEC_COUNT(transform_common),
};

#undef AT
#define AT(member) offsetof(struct cyx_data_spec, member)

static const struct spec_field split_fields[] = {
    {.key = "validation",
     .kind = SPEC_NUMBER,
     .offset = AT(validation_part),
     .min = 0,
     .max = 0.5,
     .help = "Part of the training set that judges instead of the test set."},
};

static const struct spec_object split_object = {"split", split_fields, SPEC_COUNT(split_fields),
                                                .help = "How the training set is divided."};

/* `dataset` stands first: the rows behind it look at it. */
static const struct spec_field data_fields[] = {
    {.key = "dataset",
     .kind = SPEC_CUSTOM,
     .offset = AT(dataset),
     .required = true,
     .read = spec_read_dataset,
     .help = "A name in the catalogue of data sets."},
    {.key = "batch_size",
     .kind = SPEC_INTEGER,
     .offset = AT(batch_size),
     .required = true,
     .min = 1,
     .max = CYX_JOB_BATCH_LIMIT,
     .help = "Samples a training step."},
    {.key = "transforms",
     .kind = SPEC_UNION_LIST,
     .offset = AT(transforms),
     .set = &spec_transforms,
     .items_min = 1,
     .items_max = 16,
     .read = spec_read_transforms,
     .help = "What is done to an image, in order; ToTensor comes first and is the default."},
    {.key = "split",
     .kind = SPEC_OBJECT,
     .object = &split_object,
     .help = "How the training set is divided."},
    {.key = "shuffle",
     .kind = SPEC_BOOLEAN,
     .offset = AT(shuffle),
     .fallback = 1,
     .help = "Whether each epoch has an order of its own."},
    {.key = "drop_last",
     .kind = SPEC_BOOLEAN,
     .offset = AT(drop_last),
     .help = "Whether an incomplete last batch is left out."},
};

static const struct spec_object data_object = {"data", data_fields, SPEC_COUNT(data_fields),
                                               .help = "What the model learns from."};

#undef AT

/* ---- loss, optimizer, scheduler ---- */

static const struct spec_field cross_entropy_fields[] = {
    {.key = "label_smoothing",
     .kind = SPEC_NUMBER,
     .offset = offsetof(struct cyx_loss_spec, label_smoothing),
     .min = 0,
     .max = 1,
     .below_max = true,
     .help = "Part of the target that is spread over all classes."},
};

static const struct spec_field loss_common[] = {TYPE_FIELD};

static const struct spec_object loss_variants[] = {
    [CYX_LOSS_CROSS_ENTROPY] = {"CrossEntropyLoss", cross_entropy_fields,
                                SPEC_COUNT(cross_entropy_fields),
                                .help = "Takes logits, so the model ends without a softmax."},
};

const struct spec_union spec_losses = {
    .what = "loss type",
    .variants = loss_variants,
    .n_variants = SPEC_COUNT(loss_variants),
    .common = loss_common,
    .n_common = SPEC_COUNT(loss_common),
};

#define AT(member) offsetof(struct cyx_optimizer_spec, member)
#define RATE(key_, member, default_, help_)                                                        \
    .key = (key_), .kind = SPEC_NUMBER, .offset = AT(member), .min = 0, .max = RATE_MAX,           \
    .fallback = (default_), .help = (help_)

static const struct spec_field optimizer_common[] = {
    TYPE_FIELD,
    {RATE("lr", lr, 1e-3, "Learning rate at the start."), .above_min = true},
};

static const struct spec_field sgd_fields[] = {
    {.key = "momentum",
     .kind = SPEC_NUMBER,
     .offset = AT(momentum),
     .min = 0,
     .max = 1,
     .below_max = true,
     .help = "Part of the last step that goes on."},
    {.key = "dampening",
     .kind = SPEC_NUMBER,
     .offset = AT(dampening),
     .min = 0,
     .max = 1,
     .help = "Part of the gradient that momentum leaves out."},
    {RATE("weight_decay", weight_decay, 0, "Times the weight, added to its gradient.")},
    {.key = "nesterov",
     .kind = SPEC_BOOLEAN,
     .offset = AT(nesterov),
     .help = "Nesterov's momentum; needs momentum above 0 and dampening 0."},
};

static const struct spec_field adamw_fields[] = {
    {.key = "betas",
     .kind = SPEC_CUSTOM,
     .offset = AT(betas),
     .min = 0,
     .max = 1,
     .below_max = true,
     .read = spec_read_betas,
     .help = "How slowly the two moments forget.",
     .schema = "{\"type\":\"array\",\"minItems\":2,\"maxItems\":2,\"items\":{\"type\":\"number\","
               "\"minimum\":0,\"exclusiveMaximum\":1},\"default\":[0.9,0.999]}"},
    {.key = "eps",
     .kind = SPEC_NUMBER,
     .offset = AT(eps),
     .min = 1e-30,
     .max = 1,
     .fallback = 1e-8,
     .help = "Added to the denominator."},
    {RATE("weight_decay", weight_decay, 1e-2, "Times lr and the weight, taken off it each step.")},
};

static enum cyx_status check_sgd(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_optimizer_spec *sgd = target;
    if (sgd->nesterov && (sgd->momentum == 0 || sgd->dampening != 0))
        return spec_fail_at(reader, "nesterov", "nesterov needs momentum above 0 and dampening 0");
    return CYX_OK;
}

static const struct spec_object optimizer_variants[] = {
    [CYX_OPTIMIZER_SGD] = {"SGD", sgd_fields, SPEC_COUNT(sgd_fields), check_sgd,
                           .help = "Gradient descent with momentum, as torch.optim.SGD."},
    [CYX_OPTIMIZER_ADAMW] = {"AdamW", adamw_fields, SPEC_COUNT(adamw_fields),
                             .help = "Adam with decoupled weight decay, as torch.optim.AdamW."},
};

const struct spec_union spec_optimizers = {
    .what = "optimizer type",
    .variants = optimizer_variants,
    .n_variants = SPEC_COUNT(optimizer_variants),
    .common = optimizer_common,
    .n_common = SPEC_COUNT(optimizer_common),
};

#undef AT
#define AT(member) offsetof(struct cyx_scheduler_spec, member)
#define GAMMA                                                                                      \
    .key = "gamma", .kind = SPEC_NUMBER, .offset = AT(gamma), .min = 0, .max = 10,                 \
    .above_min = true, .help = "Factor on the learning rate."

static const char *const interval_names[] = {"epoch", "step", NULL};

static const struct spec_field scheduler_common[] = {
    TYPE_FIELD,
    {.key = "interval",
     .kind = SPEC_CHOICE_BOOL,
     .offset = AT(per_step),
     .choices = interval_names,
     .help = "When the schedule advances."},
};

static const struct spec_field step_lr_fields[] = {
    {.key = "step_size",
     .kind = SPEC_INTEGER,
     .offset = AT(step_size),
     .required = true,
     .min = 1,
     .max = 1e12,
     .help = "Intervals between two decays."},
    {GAMMA, .fallback = 0.1},
};

static const struct spec_field exponential_lr_fields[] = {{GAMMA, .required = true}};

static const struct spec_field cosine_fields[] = {
    {.key = "T_max",
     .kind = SPEC_INTEGER,
     .offset = AT(t_max),
     .min = 1,
     .max = 1e12,
     .help = "Intervals until eta_min; the whole job when left out."},
    {.key = "eta_min",
     .kind = SPEC_NUMBER,
     .offset = AT(eta_min),
     .min = 0,
     .max = RATE_MAX,
     .help = "Learning rate at the end."},
};

static const struct spec_object scheduler_variants[] = {
    {"StepLR", step_lr_fields, SPEC_COUNT(step_lr_fields),
     .help = "Times gamma every step_size intervals."},
    {"ExponentialLR", exponential_lr_fields, SPEC_COUNT(exponential_lr_fields),
     .help = "Times gamma every interval."},
    {"CosineAnnealingLR", cosine_fields, SPEC_COUNT(cosine_fields),
     .help = "Half a cosine from lr down to eta_min."},
};

const struct spec_union spec_schedulers = {
    .what = "scheduler type",
    .first_value = CYX_SCHEDULER_STEP_LR,
    .variants = scheduler_variants,
    .n_variants = SPEC_COUNT(scheduler_variants),
    .common = scheduler_common,
    .n_common = SPEC_COUNT(scheduler_common),
};

#undef AT

/* ---- the job ---- */

#define AT(member) offsetof(struct cyx_job_spec, member)

static const struct spec_field model_fields[] = {
    {.key = "layers",
     .kind = SPEC_UNION_LIST,
     .offset = AT(layers),
     .required = true,
     .set = &spec_layers,
     .items_min = 1,
     .items_max = CYX_JOB_LAYERS_LIMIT,
     .read = spec_read_layers,
     .help = "The layers, in the order in which they run."},
};

static const struct spec_object model_object = {"model", model_fields, SPEC_COUNT(model_fields),
                                                .help = "The network."};

static const char *const backend_names[] = {"auto", "cpu", "vulkan", NULL};
static const char *const priority_names[] = {"low", "normal", "high", "critical", NULL};

static const struct spec_field resources_fields[] = {
    {.key = "backend",
     .kind = SPEC_CHOICE_TEXT,
     .offset = offsetof(struct cyx_resources_spec, backend),
     .choices = backend_names,
     .help = "What computes; auto takes a GPU where there is one."},
    {.key = "device_memory_bytes",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, device_memory_bytes),
     .min = 0,
     .max = 1e15,
     .help = "Least device memory wanted besides the plan's own need."},
    {.key = "threads",
     .kind = SPEC_INTEGER,
     .offset = offsetof(struct cyx_resources_spec, threads),
     .min = 0,
     .max = 1024,
     .help = "CPU threads; 0 takes what the node offers."},
};

static const struct spec_object resources_object = {"resources", resources_fields,
                                                    SPEC_COUNT(resources_fields),
                                                    .help = "What the job wants of a node."};

static const struct spec_field checkpoint_fields[] = {
    {.key = "every_steps",
     .kind = SPEC_INTEGER,
     .offset = AT(checkpoint_steps),
     .min = 1,
     .max = 1e9,
     .fallback = 200,
     .help = "Optimizer steps between two checkpoints: the most that a lost node costs."},
};

static const struct spec_object checkpoint_object = {"checkpoint", checkpoint_fields,
                                                     SPEC_COUNT(checkpoint_fields),
                                                     .help = "When the training is saved."};

static const struct spec_field job_fields[] = {
    {.key = "$schema",
     .kind = SPEC_IGNORED,
     .help = "For editors; ignored.",
     .schema = "{\"type\":\"string\"}"},
    {.key = "name",
     .kind = SPEC_CUSTOM,
     .offset = AT(name),
     .required = true,
     .read = spec_read_job_name,
     .help = "What people call the job.",
     .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":100}"},
    {.key = "model",
     .kind = SPEC_OBJECT,
     .required = true,
     .object = &model_object,
     .help = "The network."},
    {.key = "data",
     .kind = SPEC_OBJECT,
     .offset = AT(data),
     .required = true,
     .object = &data_object,
     .help = "What the model learns from."},
    {.key = "loss",
     .kind = SPEC_UNION,
     .offset = AT(loss),
     .required = true,
     .set = &spec_losses,
     .help = "What the training makes small."},
    {.key = "optimizer",
     .kind = SPEC_UNION,
     .offset = AT(optimizer),
     .required = true,
     .set = &spec_optimizers,
     .help = "How weights follow their gradients."},
    {.key = "scheduler",
     .kind = SPEC_UNION,
     .offset = AT(scheduler),
     .set = &spec_schedulers,
     .help = "How the learning rate changes; it stays when left out."},
    {.key = "epochs",
     .kind = SPEC_INTEGER,
     .offset = AT(epochs),
     .required = true,
     .min = 1,
     .max = CYX_JOB_EPOCHS_LIMIT,
     .help = "Passes over the training set."},
    {.key = "seed",
     .kind = SPEC_INTEGER,
     .offset = AT(seed),
     .min = 0,
     .max = SPEC_INTEGER_MAX,
     .help = "Same seed, same backend, same device: same bits."},
    {.key = "metrics",
     .kind = SPEC_CUSTOM,
     .offset = AT(metric_accuracy),
     .read = spec_read_metrics,
     .help = "What is measured besides the loss.",
     .schema = "{\"type\":\"array\",\"maxItems\":1,\"items\":{\"enum\":[\"accuracy\"]},"
               "\"default\":[\"accuracy\"]}"},
    {.key = "resources",
     .kind = SPEC_OBJECT,
     .offset = AT(resources),
     .object = &resources_object,
     .help = "What the job wants of a node."},
    {.key = "priority",
     .kind = SPEC_CHOICE,
     .offset = AT(priority),
     .choices = priority_names,
     .fallback = CYX_PRIORITY_NORMAL,
     .help = "Which of the waiting jobs goes first."},
    {.key = "budget",
     .kind = SPEC_CUSTOM,
     .offset = AT(budget_base_units),
     .read = spec_read_budget,
     .help = "The most that the job may cost, an amount with its unit.",
     .schema = "{\"type\":\"string\",\"pattern\":\"^(0|[1-9][0-9]*)(\\\\.[0-9]{1,9})? CYX$\","
               "\"default\":\"10 CYX\",\"examples\":[\"2.5 CYX\"]}"},
    {.key = "checkpoint",
     .kind = SPEC_OBJECT,
     .object = &checkpoint_object,
     .help = "When the training is saved."},
};

const struct spec_object spec_job = {"the job", job_fields, SPEC_COUNT(job_fields),
                                     .help = "A training job, as CyxWiz takes it."};

const char *cyx_layer_type_name(enum cyx_layer_type type)
{
    return (unsigned)type < CYX_LAYER_TYPE_COUNT ? layer_variants[type].what : "unknown";
}

const char *cyx_priority_name(enum cyx_priority priority)
{
    return (unsigned)priority <= CYX_PRIORITY_CRITICAL ? priority_names[priority] : "unknown";
}
