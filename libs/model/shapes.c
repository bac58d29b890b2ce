/*
 * Shapes: what each layer makes of its input, and whether it fits. Letters: N batch, C channels, H and W
 * height and width, K kernel, S stride, D dilation, P padding. Formulas and words are those of the layers of
 * the same name in PyTorch 1.13's documentation (torch.nn).
 */
#include <stdarg.h>
#include <stdio.h>

#include "model/private.h"

#include "base/banned.h"

enum { SHAPE_TEXT = GRAPH_SHAPE_TEXT };

/* `member` of the layer, "" for the layer itself. */
static enum cyx_status fail_at(struct cyx_error *error, size_t index, const char *member,
                               const char *format, va_list args)
{
    char message[sizeof(error->message)], pointer[64];
    vsnprintf(message, sizeof(message), format, args);
    snprintf(pointer, sizeof(pointer), "/model/layers/%zu%s%s", index, *member ? "/" : "", member);
    return cyx_error_set(error, CYX_ERR_INVALID, pointer, "%s", message);
}

enum cyx_status graph_fail(struct cyx_error *error, size_t index, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum cyx_status status = fail_at(error, index, "", format, args);
    va_end(args);
    return status;
}

const char *graph_shape_text(const struct cyx_shape *shape, char text[SHAPE_TEXT])
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT, "(N");
    for (int i = 1; i < shape->rank && used < SHAPE_TEXT; i++)
        used +=
            (size_t)snprintf(text + used, SHAPE_TEXT - used, ", %lld", (long long)shape->dim[i]);
    if (used < SHAPE_TEXT)
        snprintf(text + used, SHAPE_TEXT - used, ")");
    return text;
}

/* Elements a sample, so that a hint can name them; shapes here are within the limits already. */
static int64_t features(const struct cyx_shape *shape)
{
    return cyx_shape_count(shape) / shape->dim[0];
}

/* One layer and what it reads. */
struct inference {
    const struct cyx_layer_spec *layer;
    size_t index;
    const struct cyx_shape *in; /* of each input */
    size_t n_in;
    struct layer_shape *ret;
    struct cyx_error *error;
};

/* Fails at a member that the layer's spec holds, where it alone is what does not fit. */
__attribute__((format(printf, 3, 4))) static enum cyx_status
refuse(const struct inference *at, const char *member, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum cyx_status status = fail_at(at->error, at->index, member, format, args);
    va_end(args);
    return status;
}

static enum cyx_status infer_linear(const struct inference *at)
{
    const struct cyx_linear_spec *linear = &at->layer->linear;
    const struct cyx_shape *in = at->in;
    char text[SHAPE_TEXT];
    if (in->rank > 3 || in->rank < 2)
        return graph_fail(at->error, at->index,
                          "Linear expects (N, features) or (N, L, features), got %s: put a Flatten "
                          "before it, which gives %lld inputs",
                          graph_shape_text(in, text), (long long)features(in));
    int64_t got = in->dim[in->rank - 1];
    if (linear->in_features != 0 && linear->in_features != got)
        return graph_fail(at->error, at->index, "Linear expects %lld inputs, got %lld",
                          (long long)linear->in_features, (long long)got);
    at->ret->out = *in;
    at->ret->out.dim[in->rank - 1] = linear->out_features;
    return CYX_OK;
}

static enum cyx_status expect_planes(const struct inference *at)
{
    char text[SHAPE_TEXT];
    if (at->in->rank == 4)
        return CYX_OK;
    return graph_fail(at->error, at->index,
                      "%s expects (N, channels, height, width), got %s: it must stand "
                      "before any Flatten or Linear",
                      cyx_layer_type_name(at->layer->type), graph_shape_text(at->in, text));
}

/* Channels as the layer was told, if it was, and divisible by groups. */
static enum cyx_status expect_channels(const struct inference *at, int64_t wanted, int64_t groups)
{
    int64_t got = at->in->dim[1];
    const char *what = cyx_layer_type_name(at->layer->type);
    if (wanted != 0 && wanted != got)
        return graph_fail(at->error, at->index, "%s expects %lld channels, got %lld", what,
                          (long long)wanted, (long long)got);
    if (got % groups != 0)
        return refuse(at, "groups",
                      "%s: the input's %lld channels must be divisible by groups (%lld)", what,
                      (long long)got, (long long)groups);
    return CYX_OK;
}

/*
 * Out = floor((In + P - D (K - 1) - 1) / S) + 1, for height and width. With `ceil_mode` rounded up, but the last
 * window must begin within the input or the padding before it (torch.nn.functional.max_pool2d).
 */
static enum cyx_status slide(const struct inference *at, int64_t channels, bool ceil_mode)
{
    const struct cyx_window *window = &at->ret->window;
    struct cyx_shape *out = &at->ret->out;
    int64_t padded[2], extent[2];
    *out = (struct cyx_shape){4, {at->in->dim[0], channels}};
    for (int i = 0; i < 2; i++) {
        int64_t size = at->in->dim[2 + i];
        padded[i] = size + window->pad_begin[i] + window->pad_end[i];
        extent[i] = window->dilation[i] * (window->kernel[i] - 1) + 1;
        int64_t room = padded[i] - extent[i] + (ceil_mode ? window->stride[i] - 1 : 0);
        out->dim[2 + i] = room / window->stride[i] + 1;
        if (ceil_mode && (out->dim[2 + i] - 1) * window->stride[i] >= size + window->pad_begin[i])
            out->dim[2 + i]--;
    }
    if (extent[0] <= padded[0] && extent[1] <= padded[1])
        return CYX_OK;
    return refuse(at, "kernel_size",
                  "%s: the kernel (%lld x %lld) is larger than the padded input (%lld x %lld)",
                  cyx_layer_type_name(at->layer->type), (long long)extent[0], (long long)extent[1],
                  (long long)padded[0], (long long)padded[1]);
}

/* padding "same": P = D (K - 1), the extra one on the right and at the bottom. */
static struct cyx_window conv_window(const struct cyx_conv2d_spec *conv)
{
    struct cyx_window window = {.groups = conv->groups};
    for (int i = 0; i < 2; i++) {
        int64_t all = conv->dilation[i] * (conv->kernel_size[i] - 1);
        window.kernel[i] = conv->kernel_size[i];
        window.stride[i] = conv->stride[i];
        window.dilation[i] = conv->dilation[i];
        window.pad_begin[i] = conv->padding_same ? all / 2 : conv->padding[i];
        window.pad_end[i] = conv->padding_same ? all - all / 2 : conv->padding[i];
    }
    return window;
}

static enum cyx_status infer_conv2d(const struct inference *at)
{
    const struct cyx_conv2d_spec *conv = &at->layer->conv2d;
    enum cyx_status status = expect_planes(at);
    if (status == CYX_OK)
        status = expect_channels(at, conv->in_channels, conv->groups);
    if (status != CYX_OK)
        return status;
    at->ret->window = conv_window(conv);
    return slide(at, conv->out_channels, false);
}

/* Out = (In - 1) S - 2 P + D (K - 1) + output_padding + 1 */
static enum cyx_status infer_conv_transpose2d(const struct inference *at)
{
    const struct cyx_conv_transpose2d_spec *conv = &at->layer->conv_transpose2d;
    struct cyx_window *window = &at->ret->window;
    struct cyx_shape *out = &at->ret->out;
    enum cyx_status status = expect_planes(at);
    if (status == CYX_OK)
        status = expect_channels(at, conv->in_channels, conv->groups);
    if (status != CYX_OK)
        return status;
    *window = (struct cyx_window){.groups = conv->groups};
    *out = (struct cyx_shape){4, {at->in->dim[0], conv->out_channels}};
    for (int i = 0; i < 2; i++) {
        window->kernel[i] = conv->kernel_size[i];
        window->stride[i] = conv->stride[i];
        window->dilation[i] = conv->dilation[i];
        window->pad_begin[i] = window->pad_end[i] = conv->padding[i];
        out->dim[2 + i] = (at->in->dim[2 + i] - 1) * conv->stride[i] - 2 * conv->padding[i] +
                          conv->dilation[i] * (conv->kernel_size[i] - 1) + conv->output_padding[i] +
                          1;
    }
    if (out->dim[2] >= 1 && out->dim[3] >= 1)
        return CYX_OK;
    return refuse(at, "padding",
                  "ConvTranspose2d: the padding takes all of the output (%lld x %lld)",
                  (long long)out->dim[2], (long long)out->dim[3]);
}

static struct cyx_window pool_window(const int64_t kernel[2], const int64_t stride[2],
                                     const int64_t padding[2], const int64_t dilation[2])
{
    struct cyx_window window = {.groups = 1};
    for (int i = 0; i < 2; i++) {
        window.kernel[i] = kernel[i];
        window.stride[i] = stride[i];
        window.dilation[i] = dilation ? dilation[i] : 1;
        window.pad_begin[i] = window.pad_end[i] = padding ? padding[i] : 0;
    }
    return window;
}

static enum cyx_status infer_max_pool2d(const struct inference *at)
{
    const struct cyx_max_pool2d_spec *pool = &at->layer->max_pool2d;
    enum cyx_status status = expect_planes(at);
    if (status != CYX_OK)
        return status;
    at->ret->window = pool_window(pool->kernel_size, pool->stride, pool->padding, pool->dilation);
    return slide(at, at->in->dim[1], pool->ceil_mode);
}

static enum cyx_status infer_avg_pool2d(const struct inference *at)
{
    const struct cyx_avg_pool2d_spec *pool = &at->layer->avg_pool2d;
    enum cyx_status status = expect_planes(at);
    if (status != CYX_OK)
        return status;
    at->ret->window = pool_window(pool->kernel_size, pool->stride, pool->padding, NULL);
    at->ret->window.count_include_pad = pool->count_include_pad;
    return slide(at, at->in->dim[1], pool->ceil_mode);
}

/* The largest divisor of n up to `limit` (1 or more), for a hint. */
static int64_t divisor_up_to(int64_t n, int64_t limit)
{
    int64_t divisor = limit < n ? limit : n;
    while (n % divisor != 0)
        divisor--;
    return divisor;
}

/* Equal windows: the mean over H/OH x W/OW elements. */
static enum cyx_status infer_adaptive_avg_pool2d(const struct inference *at)
{
    static const int64_t one[2] = {1, 1};
    enum cyx_status status = expect_planes(at);
    if (status != CYX_OK)
        return status;
    bool global = at->layer->type == CYX_LAYER_GLOBAL_AVG_POOL2D;
    const int64_t *size = global ? one : at->layer->adaptive_avg_pool2d.output_size;
    const int64_t *in = &at->in->dim[2];
    if (in[0] % size[0] != 0 || in[1] % size[1] != 0)
        return refuse(at, "output_size",
                      "AdaptiveAvgPool2d: output_size (%lld x %lld) must divide the input's "
                      "height and width (%lld x %lld): [%lld, %lld] does",
                      (long long)size[0], (long long)size[1], (long long)in[0], (long long)in[1],
                      (long long)divisor_up_to(in[0], size[0]),
                      (long long)divisor_up_to(in[1], size[1]));
    int64_t window[2] = {in[0] / size[0], in[1] / size[1]};
    at->ret->window = pool_window(window, window, NULL, NULL);
    return slide(at, at->in->dim[1], false);
}

static enum cyx_status infer_flatten(const struct inference *at)
{
    int start = (int)at->layer->flatten.start_dim;
    const struct cyx_shape *in = at->in;
    char text[SHAPE_TEXT];
    if (start >= in->rank)
        return refuse(at, "start_dim", "Flatten: start_dim %d is out of range for %s", start,
                      graph_shape_text(in, text));
    at->ret->out = *in;
    at->ret->out.rank = start + 1;
    for (int i = start + 1; i < in->rank; i++)
        at->ret->out.dim[start] *= in->dim[i];
    return CYX_OK;
}

static enum cyx_status infer_reshape(const struct inference *at)
{
    const struct cyx_sizes_spec *shape = &at->layer->reshape.shape;
    int64_t left = features(at->in), known = 1;
    int open = -1;
    struct cyx_shape out = {(int)shape->rank + 1, {at->in->dim[0]}};
    for (size_t i = 0; i < shape->rank; i++) {
        out.dim[i + 1] = shape->dim[i];
        if (shape->dim[i] < 0)
            open = (int)i + 1;
        else if (__builtin_mul_overflow(known, shape->dim[i], &known))
            known = INT64_MAX;
    }
    if (open > 0 && left % known == 0)
        out.dim[open] = left / known;
    else if (open > 0 || known != left)
        return refuse(at, "shape",
                      "Reshape: the input has %lld elements a sample, which do not fill the "
                      "shape (%lld%s)",
                      (long long)left, (long long)known, open > 0 ? " times what is left" : "");
    at->ret->out = out;
    return CYX_OK;
}

static enum cyx_status infer_same(const struct inference *at)
{
    at->ret->out = *at->in;
    return CYX_OK;
}

/* `dim` as PyTorch counts, from 1 or from the end. */
static enum cyx_status resolve_dim(const struct inference *at, int64_t dim)
{
    char text[SHAPE_TEXT];
    int64_t resolved = dim < 0 ? dim + at->in->rank : dim;
    if (resolved < 1 || resolved >= at->in->rank)
        return refuse(at, "dim", "%s: dim %lld is out of range for %s",
                      cyx_layer_type_name(at->layer->type), (long long)dim,
                      graph_shape_text(at->in, text));
    at->ret->dim = (int)resolved;
    return CYX_OK;
}

static enum cyx_status infer_softmax(const struct inference *at)
{
    at->ret->out = *at->in;
    return resolve_dim(at, at->layer->softmax.dim);
}

static enum cyx_status infer_batch_norm(const struct inference *at)
{
    bool flat = at->layer->type == CYX_LAYER_BATCH_NORM1D;
    char text[SHAPE_TEXT];
    at->ret->out = *at->in;
    if (flat ? at->in->rank > 3 || at->in->rank < 2 : at->in->rank != 4)
        return graph_fail(at->error, at->index, "%s expects %s, got %s: take %s",
                          cyx_layer_type_name(at->layer->type),
                          flat ? "(N, C) or (N, C, L)" : "(N, channels, height, width)",
                          graph_shape_text(at->in, text), flat ? "BatchNorm2d" : "BatchNorm1d");
    return expect_channels(at, at->layer->batch_norm.num_features, 1);
}

static enum cyx_status infer_layer_norm(const struct inference *at)
{
    const struct cyx_sizes_spec *wanted = &at->layer->layer_norm.normalized_shape;
    int rank = wanted->rank ? (int)wanted->rank : at->in->rank - 1;
    char text[SHAPE_TEXT];
    at->ret->out = *at->in;
    at->ret->norm_dims = rank;
    bool fits = rank < at->in->rank;
    for (int i = 0; i < (int)wanted->rank && fits; i++)
        fits = wanted->dim[i] == at->in->dim[at->in->rank - rank + i];
    return fits ? CYX_OK
                : refuse(at, "normalized_shape",
                         "LayerNorm: normalized_shape is not what %s ends with",
                         graph_shape_text(at->in, text));
}

static enum cyx_status refuse_shapes(const struct inference *at, size_t other, const char *rule)
{
    char first[SHAPE_TEXT], text[SHAPE_TEXT];
    return graph_fail(at->error, at->index,
                      "%s expects inputs of %s, got %s from \"%s\" and %s "
                      "from \"%s\"",
                      cyx_layer_type_name(at->layer->type), rule, graph_shape_text(at->in, first),
                      at->layer->inputs[0], graph_shape_text(&at->in[other], text),
                      at->layer->inputs[other]);
}

static enum cyx_status infer_add(const struct inference *at)
{
    at->ret->out = at->in[0];
    for (size_t i = 1; i < at->n_in; i++)
        if (!cyx_shape_equal(&at->in[0], &at->in[i]))
            return refuse_shapes(at, i, "one shape");
    return CYX_OK;
}

static enum cyx_status infer_concat(const struct inference *at)
{
    enum cyx_status status = resolve_dim(at, at->layer->concat.dim);
    if (status != CYX_OK)
        return status;
    int dim = at->ret->dim;
    at->ret->out = at->in[0];
    for (size_t i = 1; i < at->n_in; i++) {
        struct cyx_shape other = at->in[i];
        other.dim[dim] = at->in[0].dim[dim];
        if (!cyx_shape_equal(&at->in[0], &other))
            return refuse_shapes(at, i, "shapes that differ in nothing but dim");
        at->ret->out.dim[dim] += at->in[i].dim[dim];
    }
    return CYX_OK;
}

static bool within_limit(const struct cyx_shape *shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        if (__builtin_mul_overflow(count, shape->dim[i], &count))
            return false;
    return count <= CYX_VALUE_ELEMENTS_LIMIT;
}

static enum cyx_status (*const infer[CYX_LAYER_TYPE_COUNT])(const struct inference *) = {
    [CYX_LAYER_LINEAR] = infer_linear,
    [CYX_LAYER_CONV2D] = infer_conv2d,
    [CYX_LAYER_CONV_TRANSPOSE2D] = infer_conv_transpose2d,
    [CYX_LAYER_MAX_POOL2D] = infer_max_pool2d,
    [CYX_LAYER_AVG_POOL2D] = infer_avg_pool2d,
    [CYX_LAYER_ADAPTIVE_AVG_POOL2D] = infer_adaptive_avg_pool2d,
    [CYX_LAYER_GLOBAL_AVG_POOL2D] = infer_adaptive_avg_pool2d,
    [CYX_LAYER_FLATTEN] = infer_flatten,
    [CYX_LAYER_RESHAPE] = infer_reshape,
    [CYX_LAYER_RELU] = infer_same,
    [CYX_LAYER_LEAKY_RELU] = infer_same,
    [CYX_LAYER_GELU] = infer_same,
    [CYX_LAYER_SILU] = infer_same,
    [CYX_LAYER_SIGMOID] = infer_same,
    [CYX_LAYER_TANH] = infer_same,
    [CYX_LAYER_SOFTMAX] = infer_softmax,
    [CYX_LAYER_LOG_SOFTMAX] = infer_softmax,
    [CYX_LAYER_DROPOUT] = infer_same,
    [CYX_LAYER_BATCH_NORM1D] = infer_batch_norm,
    [CYX_LAYER_BATCH_NORM2D] = infer_batch_norm,
    [CYX_LAYER_LAYER_NORM] = infer_layer_norm,
    [CYX_LAYER_ADD] = infer_add,
    [CYX_LAYER_CONCAT] = infer_concat,
};

enum cyx_status graph_infer(const struct cyx_layer_spec *layer, size_t index,
                            const struct cyx_shape *in, size_t n_in, struct layer_shape *ret_shape,
                            struct cyx_error *error)
{
    char text[SHAPE_TEXT];
    *ret_shape = (struct layer_shape){0};
    const struct inference at = {layer, index, in, n_in, ret_shape, error};
    enum cyx_status status = infer[layer->type](&at);
    if (status == CYX_OK && !within_limit(&ret_shape->out))
        return graph_fail(error, index,
                          "the output %s at batch %lld has more than %lld elements; make the layer "
                          "or the batch smaller",
                          graph_shape_text(&ret_shape->out, text), (long long)in->dim[0],
                          (long long)CYX_VALUE_ELEMENTS_LIMIT);
    return status;
}
