/* The layers: what each takes, as torch.nn's modules of these names. */
#include <string.h>

#include "contract/job_tables.h"

#include "base/banned.h"

/* Ranges that no honest spec leaves; what fits a device is judged by the model's cost. */
#define FEATURES_MAX 16777216.0
#define CHANNELS_MAX 65536.0
#define WINDOW_MAX 1024.0

#define AT(member) offsetof(struct cyx_layer_spec, member)

#define WINDOW(key_, member, least, default_, help_)                                               \
    .key = (key_), .kind = SPEC_PAIR, .offset = AT(member), .min = (least), .max = WINDOW_MAX,     \
    .fallback = (default_), .help = (help_)

#define BIAS(member)                                                                               \
    {                                                                                              \
        .key = "bias", .kind = SPEC_BOOLEAN, .offset = AT(member), .fallback = 1,                  \
        .help = "Whether a learned bias is added."                                                 \
    }
/* Two rows: in_channels and out_channels. */
#define CHANNELS(layer)                                                                            \
    {.key = "in_channels",                                                                         \
     .kind = SPEC_INTEGER,                                                                         \
     .offset = AT(layer.in_channels),                                                              \
     .min = 1,                                                                                     \
     .max = CHANNELS_MAX,                                                                          \
     .help = "Channels of the input; taken from its shape when left out."},                        \
    {                                                                                              \
        .key = "out_channels", .kind = SPEC_INTEGER, .offset = AT(layer.out_channels),             \
        .required = true, .min = 1, .max = CHANNELS_MAX, .help = "Channels of the output."         \
    }
#define GROUPS(member)                                                                             \
    {                                                                                              \
        .key = "groups", .kind = SPEC_INTEGER, .offset = AT(member), .min = 1,                     \
        .max = CHANNELS_MAX, .fallback = 1,                                                        \
        .help = "Groups of channels that see only one another; divides both channel counts."       \
    }
#define CEIL_MODE(member)                                                                          \
    {                                                                                              \
        .key = "ceil_mode", .kind = SPEC_BOOLEAN, .offset = AT(member),                            \
        .help = "Whether the output's size is rounded up instead of down."                         \
    }
#define EPS(member)                                                                                \
    {                                                                                              \
        .key = "eps", .kind = SPEC_NUMBER, .offset = AT(member), .min = 1e-30, .max = 1,           \
        .fallback = 1e-5, .help = "Added to the variance."                                         \
    }

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
    BIAS(linear.bias),
};

static const struct spec_field conv2d_fields[] = {
    CHANNELS(conv2d),
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
    GROUPS(conv2d.groups),
    BIAS(conv2d.bias),
};

static const struct spec_field max_pool2d_fields[] = {
    {WINDOW("kernel_size", max_pool2d.kernel_size, 1, 0, "Size of the window."), .required = true},
    {WINDOW("stride", max_pool2d.stride, 1, 0, "Step of the window; kernel_size when left out.")},
    {WINDOW("padding", max_pool2d.padding, 0, 0,
            "Border that never wins, at most half of kernel_size.")},
    {WINDOW("dilation", max_pool2d.dilation, 1, 1, "Distance between the window's elements.")},
    CEIL_MODE(max_pool2d.ceil_mode),
};

static const struct spec_field avg_pool2d_fields[] = {
    {WINDOW("kernel_size", avg_pool2d.kernel_size, 1, 0, "Size of the window."), .required = true},
    {WINDOW("stride", avg_pool2d.stride, 1, 0, "Step of the window; kernel_size when left out.")},
    {WINDOW("padding", avg_pool2d.padding, 0, 0, "Zeros around, at most half of kernel_size.")},
    CEIL_MODE(avg_pool2d.ceil_mode),
    {.key = "count_include_pad",
     .kind = SPEC_BOOLEAN,
     .offset = AT(avg_pool2d.count_include_pad),
     .fallback = 1,
     .help = "Whether padding counts in the mean."},
};

static const struct spec_field adaptive_avg_pool2d_fields[] = {
    {WINDOW("output_size", adaptive_avg_pool2d.output_size, 1, 0,
            "Height and width of the output; must divide the input's."),
     .required = true},
};

static const struct spec_field conv_transpose2d_fields[] = {
    CHANNELS(conv_transpose2d),
    {WINDOW("kernel_size", conv_transpose2d.kernel_size, 1, 0, "Size of the kernel."),
     .required = true},
    {WINDOW("stride", conv_transpose2d.stride, 1, 1, "Step of the kernel in the output.")},
    {WINDOW("padding", conv_transpose2d.padding, 0, 0, "Rows and columns taken off each side.")},
    {WINDOW("output_padding", conv_transpose2d.output_padding, 0, 0,
            "Rows and columns added at the bottom and the right; below stride or dilation.")},
    {WINDOW("dilation", conv_transpose2d.dilation, 1, 1,
            "Distance between the kernel's elements.")},
    GROUPS(conv_transpose2d.groups),
    BIAS(conv_transpose2d.bias),
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

static const struct spec_field reshape_fields[] = {
    {.key = "shape",
     .kind = SPEC_CUSTOM,
     .offset = AT(reshape.shape),
     .required = true,
     .min = -1,
     .max = FEATURES_MAX,
     .read = spec_read_sizes,
     .help = "Sizes without the batch; one may be -1, which takes what is left.",
     .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":3,\"items\":{\"type\":\"integer\","
               "\"minimum\":-1,\"maximum\":16777216}}"},
};

static const struct spec_field leaky_relu_fields[] = {
    {.key = "negative_slope",
     .kind = SPEC_NUMBER,
     .offset = AT(activation.negative_slope),
     .min = -10,
     .max = 10,
     .fallback = 0.01,
     .help = "Factor on what is below 0."},
};

static const char *const approximations[] = {"none", "tanh", NULL};

static const struct spec_field gelu_fields[] = {
    {.key = "approximate",
     .kind = SPEC_CHOICE_BOOL,
     .offset = AT(activation.approximate_tanh),
     .choices = approximations,
     .help = "tanh takes the approximation by tanh instead of erf."},
};

static const struct spec_field softmax_fields[] = {
    {.key = "dim",
     .kind = SPEC_INTEGER,
     .offset = AT(softmax.dim),
     .min = -3,
     .max = 3,
     .fallback = -1,
     .help = "The dimension that sums to 1; negative ones count from the end, 0 is the batch."},
};

static const struct spec_field batch_norm_fields[] = {
    {.key = "num_features",
     .kind = SPEC_INTEGER,
     .offset = AT(batch_norm.num_features),
     .min = 1,
     .max = FEATURES_MAX,
     .help = "Channels of the input; taken from its shape when left out."},
    EPS(batch_norm.eps),
    {.key = "momentum",
     .kind = SPEC_NUMBER,
     .offset = AT(batch_norm.momentum),
     .min = 0,
     .max = 1,
     .fallback = 0.1,
     .help = "Part of each batch in the running statistics."},
    {.key = "affine",
     .kind = SPEC_BOOLEAN,
     .offset = AT(batch_norm.affine),
     .fallback = 1,
     .help = "Whether a learned weight and bias follow."},
};

static const struct spec_field layer_norm_fields[] = {
    {.key = "normalized_shape",
     .kind = SPEC_CUSTOM,
     .offset = AT(layer_norm.normalized_shape),
     .min = 1,
     .max = FEATURES_MAX,
     .read = spec_read_sizes,
     .help = "The trailing dimensions, a number or a list; all but the batch when left out.",
     .schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":16777216},"
               "{\"type\":\"array\",\"minItems\":1,\"maxItems\":3,\"items\":{\"type\":\"integer\","
               "\"minimum\":1,\"maximum\":16777216}}]}"},
    EPS(layer_norm.eps),
    {.key = "elementwise_affine",
     .kind = SPEC_BOOLEAN,
     .offset = AT(layer_norm.elementwise_affine),
     .fallback = 1,
     .help = "Whether a learned weight and bias follow."},
    {.key = "bias",
     .kind = SPEC_BOOLEAN,
     .offset = AT(layer_norm.bias),
     .fallback = 1,
     .help = "Whether the bias is among them."},
};

static const struct spec_field concat_fields[] = {
    {.key = "dim",
     .kind = SPEC_INTEGER,
     .offset = AT(concat.dim),
     .min = -3,
     .max = 3,
     .fallback = 1,
     .help = "The dimension along which inputs are put together; 0 is the batch."},
};

/* `in` is 0 where the spec leaves it to the input's shape. */
static enum cyx_status check_groups(struct spec_reader *reader, int64_t in, int64_t out,
                                    int64_t groups)
{
    if (out % groups == 0 && in % groups == 0)
        return CYX_OK;
    return spec_fail_at(reader, "groups", "%s (%lld) must be divisible by groups (%lld)",
                        out % groups != 0 ? "out_channels" : "in_channels",
                        (long long)(out % groups != 0 ? out : in), (long long)groups);
}

static enum cyx_status check_conv2d(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_conv2d_spec *conv = &((struct cyx_layer_spec *)target)->conv2d;
    if (conv->padding_same && (conv->stride[0] != 1 || conv->stride[1] != 1))
        return spec_fail_at(reader, "padding", "padding \"same\" needs stride 1");
    return check_groups(reader, conv->in_channels, conv->out_channels, conv->groups);
}

static enum cyx_status check_conv_transpose2d(struct spec_reader *reader, json_t *json,
                                              void *target)
{
    (void)json;
    const struct cyx_conv_transpose2d_spec *conv =
        &((struct cyx_layer_spec *)target)->conv_transpose2d;
    for (int i = 0; i < 2; i++)
        if (conv->output_padding[i] >= conv->stride[i] &&
            conv->output_padding[i] >= conv->dilation[i])
            return spec_fail_at(reader, "output_padding",
                                "expected less than stride (%lld) or dilation (%lld), got %lld",
                                (long long)conv->stride[i], (long long)conv->dilation[i],
                                (long long)conv->output_padding[i]);
    return check_groups(reader, conv->in_channels, conv->out_channels, conv->groups);
}

/* The stride's default, and PyTorch's rule for padding. */
static enum cyx_status check_pool(struct spec_reader *reader, json_t *json,
                                  const int64_t kernel_size[2], int64_t stride[2],
                                  const int64_t padding[2])
{
    for (int i = 0; i < 2; i++) {
        if (stride[i] == 0)
            stride[i] = kernel_size[i];
        if (padding[i] * 2 > kernel_size[i])
            return spec_fail_at(reader, "padding",
                                "expected at most half of kernel_size (%lld), got %lld",
                                (long long)kernel_size[i], (long long)padding[i]);
    }
    if (stride[0] == kernel_size[0] && stride[1] == kernel_size[1])
        json_object_del(json, "stride");
    return CYX_OK;
}

static enum cyx_status check_max_pool2d(struct spec_reader *reader, json_t *json, void *target)
{
    struct cyx_max_pool2d_spec *pool = &((struct cyx_layer_spec *)target)->max_pool2d;
    return check_pool(reader, json, pool->kernel_size, pool->stride, pool->padding);
}

static enum cyx_status check_avg_pool2d(struct spec_reader *reader, json_t *json, void *target)
{
    struct cyx_avg_pool2d_spec *pool = &((struct cyx_layer_spec *)target)->avg_pool2d;
    return check_pool(reader, json, pool->kernel_size, pool->stride, pool->padding);
}

static enum cyx_status check_reshape(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    const struct cyx_sizes_spec *shape = &((struct cyx_layer_spec *)target)->reshape.shape;
    int free_dims = 0;
    for (size_t i = 0; i < shape->rank; i++) {
        free_dims += shape->dim[i] < 0;
        if (shape->dim[i] == 0 || free_dims > 1)
            return spec_fail_at(reader, "shape",
                                "expected sizes from 1 on, and -1 at most once (what is left)");
    }
    return CYX_OK;
}

static enum cyx_status check_dim(struct spec_reader *reader, int64_t dim)
{
    return dim != 0 ? CYX_OK
                    : spec_fail_at(reader, "dim", "0 is the batch, whose samples stay apart");
}

static enum cyx_status check_softmax(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    return check_dim(reader, ((struct cyx_layer_spec *)target)->softmax.dim);
}

static enum cyx_status check_concat(struct spec_reader *reader, json_t *json, void *target)
{
    (void)json;
    return check_dim(reader, ((struct cyx_layer_spec *)target)->concat.dim);
}

/* Which function an activation's layer type means. */
static enum cyx_status check_activation(struct spec_reader *reader, json_t *json, void *target)
{
    static const enum cyx_activation functions[CYX_LAYER_TYPE_COUNT] = {
        [CYX_LAYER_LEAKY_RELU] = CYX_ACTIVATION_LEAKY_RELU,
        [CYX_LAYER_GELU] = CYX_ACTIVATION_GELU,
        [CYX_LAYER_SILU] = CYX_ACTIVATION_SILU,
        [CYX_LAYER_SIGMOID] = CYX_ACTIVATION_SIGMOID,
        [CYX_LAYER_TANH] = CYX_ACTIVATION_TANH,
    };
    (void)reader;
    (void)json;
    struct cyx_layer_spec *layer = target;
    layer->activation.function =
        layer->activation.approximate_tanh ? CYX_ACTIVATION_GELU_TANH : functions[layer->type];
    return CYX_OK;
}

static const struct spec_object layer_variants[CYX_LAYER_TYPE_COUNT] = {
    [CYX_LAYER_LINEAR] =
        {"Linear", linear_fields, SPEC_COUNT(linear_fields),
         .help = "y = x Wᵀ + b over the last dimension of (N, features) or (N, L, features)."},
    [CYX_LAYER_CONV2D] = {"Conv2d", conv2d_fields, SPEC_COUNT(conv2d_fields), check_conv2d,
                          .help = "Cross-correlation of (N, channels, height, width)."},
    [CYX_LAYER_CONV_TRANSPOSE2D] =
        {"ConvTranspose2d", conv_transpose2d_fields, SPEC_COUNT(conv_transpose2d_fields),
         check_conv_transpose2d,
         .help = "The transpose of a Conv2d: makes height and width larger by stride."},
    [CYX_LAYER_MAX_POOL2D] = {"MaxPool2d", max_pool2d_fields, SPEC_COUNT(max_pool2d_fields),
                              check_max_pool2d, .help = "The largest element of each window."},
    [CYX_LAYER_AVG_POOL2D] = {"AvgPool2d", avg_pool2d_fields, SPEC_COUNT(avg_pool2d_fields),
                              check_avg_pool2d, .help = "The mean of each window."},
    [CYX_LAYER_ADAPTIVE_AVG_POOL2D] =
        {"AdaptiveAvgPool2d", adaptive_avg_pool2d_fields, SPEC_COUNT(adaptive_avg_pool2d_fields),
         .help = "The mean of as many equal windows as output_size says."},
    [CYX_LAYER_GLOBAL_AVG_POOL2D] = {"GlobalAvgPool2d", NULL, 0,
                                     .help = "The mean of each channel: (N, channels, 1, 1)."},
    [CYX_LAYER_FLATTEN] = {"Flatten", flatten_fields, SPEC_COUNT(flatten_fields),
                           .help = "Folds the dimensions from start_dim on into one."},
    [CYX_LAYER_RESHAPE] = {"Reshape", reshape_fields, SPEC_COUNT(reshape_fields), check_reshape,
                           .help = "The same elements in another shape."},
    [CYX_LAYER_RELU] = {"ReLU", NULL, 0, .help = "max(0, x)."},
    [CYX_LAYER_LEAKY_RELU] = {"LeakyReLU", leaky_relu_fields, SPEC_COUNT(leaky_relu_fields),
                              check_activation, .help = "x, times negative_slope below 0."},
    [CYX_LAYER_GELU] = {"GELU", gelu_fields, SPEC_COUNT(gelu_fields), check_activation,
                        .help = "x Φ(x), Φ the normal distribution."},
    [CYX_LAYER_SILU] = {"SiLU", NULL, 0, check_activation, .help = "x times its sigmoid."},
    [CYX_LAYER_SIGMOID] = {"Sigmoid", NULL, 0, check_activation, .help = "1 / (1 + exp(-x))."},
    [CYX_LAYER_TANH] = {"Tanh", NULL, 0, check_activation, .help = "The hyperbolic tangent."},
    [CYX_LAYER_SOFTMAX] =
        {"Softmax", softmax_fields, SPEC_COUNT(softmax_fields), check_softmax,
         .help =
             "Probabilities along dim; CrossEntropyLoss wants logits, so it has none before it."},
    [CYX_LAYER_LOG_SOFTMAX] = {"LogSoftmax", softmax_fields, SPEC_COUNT(softmax_fields),
                               check_softmax, .help = "Logarithms of the softmax along dim."},
    [CYX_LAYER_DROPOUT] = {"Dropout", dropout_fields, SPEC_COUNT(dropout_fields),
                           .help = "Zeroes elements at random in training; scales the others."},
    [CYX_LAYER_BATCH_NORM1D] =
        {"BatchNorm1d", batch_norm_fields, SPEC_COUNT(batch_norm_fields),
         .help = "Normalises each channel of (N, C) or (N, C, L) over the batch."},
    [CYX_LAYER_BATCH_NORM2D] = {"BatchNorm2d", batch_norm_fields, SPEC_COUNT(batch_norm_fields),
                                .help = "Normalises each channel of (N, C, H, W) over the batch."},
    [CYX_LAYER_LAYER_NORM] = {"LayerNorm", layer_norm_fields, SPEC_COUNT(layer_norm_fields),
                              .help = "Normalises each sample over its trailing dimensions."},
    [CYX_LAYER_ADD] = {"Add", NULL, 0,
                       .help =
                           "The sum of its inputs, which have one shape: residual connections."},
    [CYX_LAYER_CONCAT] = {"Concat", concat_fields, SPEC_COUNT(concat_fields), check_concat,
                          .help = "Its inputs put together along dim."},
};

struct spec_input_range spec_layer_inputs(enum cyx_layer_type type)
{
    bool joins = type == CYX_LAYER_ADD || type == CYX_LAYER_CONCAT;
    return joins ? (struct spec_input_range){2, CYX_LAYER_INPUTS_LIMIT}
                 : (struct spec_input_range){1, 1};
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
     .help =
         "Names of earlier layers, or \"input\"; the layer before when left out. Add and Concat "
         "take two or more.",
     .schema =
         "{\"type\":\"array\",\"minItems\":1,\"maxItems\":64,\"items\":{\"type\":\"string\"}}"},
};

const struct spec_union spec_layers = {
    .what = "layer type",
    .variants = layer_variants,
    .n_variants = SPEC_COUNT(layer_variants),
    .common = layer_common,
    .n_common = SPEC_COUNT(layer_common),
};
